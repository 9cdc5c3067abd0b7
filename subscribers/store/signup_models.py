"""Tables for signing up: queued forms, counts, one-time tokens, and data that's deleted after a set time."""

from datetime import datetime
from typing import Literal

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from subscribers.store.column_types import RowId, Str16, Str20, Str40, Str64
from subscribers.store.keyed_row_seals import KeyedSealModel
from subscribers.store.models import Base, Json, Moment

FormKind = Literal["subscribe", "lost link"]


class SignupRequest(Base):
    """A sign-up form in the queue.

    It hasn't been checked whether its address is known. `turn` is its number in the hour from its
    wide network, counted from 1. `wide_tag`, `middle_tag`, and `network_tag` are keyed hashes of
    its nested networks (`rate_limits.NetworkHashes`), and `mailbox_tag` is one of the mailbox
    (`rate_limits.hash_mailbox`). `ciphertext` contains the whole form (`request_queue`). The row is
    deleted once it's answered, or after a day.
    """

    __tablename__ = "signup_request"
    __table_args__ = (
        # For finding the network with the most forms.
        Index("ix_signup_request_networks", "wide_tag", "middle_tag", "network_tag"),
    )

    id: Mapped[RowId]
    at: Mapped[Moment]
    kind: Mapped[FormKind] = mapped_column(String(20))
    turn: Mapped[int] = mapped_column(default=1, server_default="1")
    wide_tag: Mapped[Str64] = mapped_column(default="", server_default="")
    middle_tag: Mapped[Str64] = mapped_column(default="", server_default="")
    network_tag: Mapped[Str64] = mapped_column(default="", server_default="")
    mailbox_tag: Mapped[Str64]
    ciphertext: Mapped[bytes]
    key_id: Mapped[Str16]


class StoredSignupReplyAllowance(Base):
    """The number of forms that could be answered at a given time (see `request_queue.SignupReplyAllowance`).

    There's one row, which doesn't exist until a form is answered.
    """

    __tablename__ = "signup_allowance"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[Moment]
    first: Mapped[float]
    further: Mapped[float]


class RateLimitCount(Base):
    """A count in the time window that begins at `began`.

    `tag` is a keyed hash, or empty for the whole installation.
    """

    __tablename__ = "limit_count"

    scope: Mapped[Str20] = mapped_column(primary_key=True)
    tag: Mapped[Str64] = mapped_column(primary_key=True)
    began: Mapped[Moment] = mapped_column(primary_key=True)
    count: Mapped[int]


class SignupMail(Base):
    """An email that was caused by a form.

    It's kept even if the person's row isn't, so signing up again doesn't reset the limits.
    """

    __tablename__ = "signup_mail"
    __table_args__ = (
        # For finding the recent emails to a mailbox.
        Index("ix_signup_mail_mailbox", "mailbox_tag", "at"),
        # For finding rows to delete.
        Index("ix_signup_mail_at", "at"),
    )

    id: Mapped[RowId]
    mailbox_tag: Mapped[Str64]
    kind: Mapped[Str20]
    at: Mapped[Moment]


class SignupSurge(Base):
    """A surge in sign-ups that an admin should check.

    It's over once `ended_at` is set.
    """

    __tablename__ = "alarm"
    # For checking whether a surge is open.
    __table_args__ = (Index("ix_alarm_open", "kind", "ended_at"),)

    id: Mapped[RowId]
    kind: Mapped[Str40]
    at: Mapped[Moment]
    ended_at: Mapped[datetime | None]
    detail: Mapped[Json]


class OneTimeToken(KeyedSealModel):
    """A token that works once, stored only as a hash, with its purpose, expiry, and use.

    `serial` says what it belongs to. For `confirm`, it's the position of the request in the
    person's chain. `ended_at` is set when it was used (`used`), replaced, or found to be expired.
    `bound_to` binds it to an address (`one_time_tokens`), and is NULL for tokens of the team.
    """

    __tablename__ = "one_time"
    __sealed__ = ("hash", "purpose", "person", "serial", "made_at", "expires_at", "ended_at", "used", "bound_to")
    __unsealed__ = ("id",)
    __table_args__ = (
        UniqueConstraint("hash", name="uq_one_time_one_row_a_token"),
        # For checking whether a person has an open token.
        Index("ix_one_time_person", "person", "purpose"),
        # For finding the tokens that have expired.
        Index("ix_one_time_expiry", "purpose", "ended_at", "expires_at"),
    )

    hash: Mapped[Str64]
    purpose: Mapped[Str20]
    person: Mapped[int | None] = mapped_column(ForeignKey("person.number"))
    serial: Mapped[Str40] = mapped_column(default="")
    made_at: Mapped[Moment]
    expires_at: Mapped[Moment]
    ended_at: Mapped[datetime | None]
    used: Mapped[bool] = mapped_column(default=False)
    bound_to: Mapped[Str64 | None]


class RequestEvidence(Base):
    """The encrypted IP address and user agent of an event, with the salt of their digests.

    The digests are permanently in the chain. When this row is deleted, nothing can connect them to
    a device anymore.
    """

    __tablename__ = "consent_trace"
    # For finding rows to delete.
    __table_args__ = (Index("ix_consent_trace_keep_until", "keep_until"),)

    event: Mapped[int] = mapped_column(ForeignKey("consent_event.id"), primary_key=True, autoincrement=False)
    salt: Mapped[bytes]
    ciphertext: Mapped[bytes]
    key_id: Mapped[Str16]
    keep_until: Mapped[Moment]


class StoredAddressChange(Base):
    """An address change, with both addresses encrypted, kept until it can no longer be confirmed or undone.

    `hash` is the hash of the one-time token emailed to the new address, and `stop_hash` is that of the
    token emailed to the old address. `old_lookup` is the keyed hash of the old address. `changed_at`
    is when the new address replaced it, and is NULL until then. The row is deleted after `until`.
    """

    __tablename__ = "address_move"
    __table_args__ = (
        Index("ix_address_move_person", "person"),  # for erasing a person
        # A confirmed sign-up with this address ends the undo.
        Index("ix_address_move_old_lookup", "old_lookup"),
    )

    hash: Mapped[Str64] = mapped_column(primary_key=True)
    person: Mapped[int] = mapped_column(ForeignKey("person.number"))
    until: Mapped[Moment]
    ciphertext: Mapped[bytes]
    key_id: Mapped[Str16]
    stop_hash: Mapped[Str64]
    old_lookup: Mapped[Str64]
    changed_at: Mapped[datetime | None]
