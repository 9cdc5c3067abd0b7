"""The tables of sending: deliveries, their events, and the state of the installation.

They continue the flow of data of `digest.store.models`: edition → delivery → event.
"""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import JSON, ForeignKey, Index, String, UniqueConstraint, true
from sqlalchemy.orm import Mapped, mapped_column

from subscribers.store.column_types import RowId, Str16, Str20, Str26, Str32, Str40, Str60, Str64, Str80, Str200
from subscribers.store.keyed_row_seals import KeyedSealModel
from subscribers.store.models import (
    Base,
    Json,
    Moment,
    RowCommitmentMixin,
    enum_by_value,
    partial_index,
    row_commitment_indexes,
)

# Only what the night seals: an index of what editions send would slow each of their messages down.
UNSEALED_NOTICE = "sealed_in IS NULL AND substr(purpose, 1, 8) <> 'edition:'"


class DeliveryState(StrEnum):
    """The state of one owed message; `deliver.plan.delivery_plan` counts them."""

    WAITING = "waiting"
    RESERVED = "reserved"
    HANDING_OVER = "handing over"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNCERTAIN = "uncertain"
    WITHDRAWN = "withdrawn"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


CLAIMED_STATES = (DeliveryState.RESERVED, DeliveryState.HANDING_OVER)  # a run has them
OPEN_STATES = (DeliveryState.WAITING, *CLAIMED_STATES)


class Delivery(RowCommitmentMixin, Base):
    """One message owed to one person. A second row for the same purpose and person cannot exist."""

    __tablename__ = "delivery"
    __table_args__ = (
        UniqueConstraint("purpose", "person", name="uq_delivery_one_message_a_person"),
        Index("ix_delivery_person", "person"),  # what went to one person
        Index("ix_delivery_next", "state", "purpose", "next_try_at"),  # counts by state; when the next is due
        # claims, in order
        partial_index("ix_delivery_waiting", ("purpose", "next_try_at", "person"), "state = 'waiting'"),
        *row_commitment_indexes("delivery", UNSEALED_NOTICE),
    )

    id: Mapped[Str26] = mapped_column(primary_key=True)  # opaque
    purpose: Mapped[Str80]  # edition:2026-W47, confirm:…, welcome:…
    person: Mapped[int | None] = mapped_column(ForeignKey("person.number"))  # NULL after erasure
    state: Mapped[DeliveryState] = mapped_column(enum_by_value(DeliveryState))
    due_at: Mapped[Moment]
    next_try_at: Mapped[Moment]
    tries: Mapped[int] = mapped_column(default=0)
    owner: Mapped[Str80 | None]
    lease_until: Mapped[datetime | None]
    domain_tag: Mapped[Str32 | None]
    message_id: Mapped[Str200] = mapped_column(default="")
    transport: Mapped[Str20] = mapped_column(default="")
    reply: Mapped[str] = mapped_column(default="")  # scrubbed of addresses
    handed_at: Mapped[datetime | None]  # the last time
    first_handed_at: Mapped[datetime | None]  # its Date, whenever it is repeated
    # Of an edition: the variant that was handed over the last time (`VariantKey.as_text`); NULL before 0036, and of other mails.
    variant: Mapped[str | None]


class RunLease(Base):
    """The lease of a run that claims deliveries, under its name in `Delivery.owner`; see `deliver.send.claims.run_lease`.

    The run renews `beat_at`, a Unix time by the database's clock. Taking its claims away raises `epoch`. `home` says where its file is.
    """

    __tablename__ = "run_lease"

    owner: Mapped[Str80] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(default=1)
    beat_at: Mapped[float]
    home: Mapped[str]


class EditionFigures(KeyedSealModel):
    """What came of one edition, counted at night; see `deliver.retention.edition_figures`. It outlives the deliveries."""

    __tablename__ = "edition_figures"
    __sealed__ = ("name", "number", "release_at", "handed_over", "refused", "complained", "hours", "counted_at")
    __unsealed__ = ("id",)

    name: Mapped[Str20] = mapped_column(unique=True)
    number: Mapped[int]
    release_at: Mapped[datetime] = mapped_column(index=True)
    handed_over: Mapped[int]
    refused: Mapped[int]
    complained: Mapped[int]
    hours: Mapped[dict[str, int]] = mapped_column(JSON)  # by the hour in UTC: {"2026-11-20 11": 11964}
    counted_at: Mapped[Moment]


class QueuedNoticeEmail(Base):
    """What a notice is written from, encrypted. The row is deleted with the last try of its delivery."""

    __tablename__ = "notice"
    # Every second, for what somebody waits for, however many corrections wait beside it.
    __table_args__ = (partial_index("ix_notice_urgent", "delivery", "kind <> 'correction'"),)

    delivery: Mapped[str] = mapped_column(ForeignKey("delivery.id"), primary_key=True)
    kind: Mapped[Str20]
    ciphertext: Mapped[bytes]
    key_id: Mapped[Str16]


# In parentheses: SQL as text is joined to other conditions by AND, which binds more closely than OR.
STOP_RULE_EVENTS = "(cause IN ('no mailbox', 'hard', 'policy') OR kind = 'complained')"


class StoredDeliveryEvent(Base):
    """What a provider or a bounce said about a delivery, normalised; see `deliver.events`.

    Two events are the same if they share either the provider's own id, hashed, or the fingerprint of their content.
    `unsettled_since` is set while its delivery was still being handed over.
    """

    __tablename__ = "event"
    __table_args__ = (
        UniqueConstraint("fingerprint", name="uq_event_counted_once"),
        UniqueConstraint("provider_mark", name="uq_event_one_row_a_provider_mark"),
        Index("ix_event_delivery", "delivery"),  # the events of one message
        partial_index("ix_event_unsettled", "unsettled_since", "unsettled_since IS NOT NULL"),
        partial_index("ix_event_strikes", "at", "cause IN ('hard', 'soft')"),  # every night: repeated bounces
        # every few seconds of a send: what may pause it
        partial_index("ix_event_alarms", "received_at", STOP_RULE_EVENTS),
    )

    id: Mapped[RowId]
    delivery: Mapped[Str26 | None]
    kind: Mapped[Str40]
    cause: Mapped[Str20] = mapped_column(default="")  # why it failed: `deliver.events.failure_causes`
    at: Mapped[Moment]
    received_at: Mapped[Moment]
    fingerprint: Mapped[Str64]
    provider_mark: Mapped[Str64 | None]
    unsettled_since: Mapped[datetime | None]
    detail: Mapped[Json]  # scrubbed of addresses


class ReceivedEventPayload(Base):
    """What a provider posted or a mailbox held, as received: compressed, encrypted, bound to the hash of its body.

    `origin` names what reads it (a provider, or `mailbox`). Kept for 30 days.
    """

    __tablename__ = "inbound"
    __table_args__ = (
        UniqueConstraint("body_hash", name="uq_inbound_one_row_a_body"),
        Index("ix_inbound_at", "at"),  # every night: old ones are deleted
        partial_index("ix_inbound_unapplied", "id", "applied_at IS NULL"),
    )

    id: Mapped[RowId]
    at: Mapped[Moment]
    origin: Mapped[Str20]
    body_hash: Mapped[Str64]
    ciphertext: Mapped[bytes]
    key_id: Mapped[Str16]
    applied_at: Mapped[datetime | None]


class DeliveryTotal(Base):
    """How many deliveries of a purpose ended in a state, of those whose rows are deleted."""

    __tablename__ = "delivery_total"

    purpose: Mapped[Str80] = mapped_column(primary_key=True)
    state: Mapped[DeliveryState] = mapped_column(enum_by_value(DeliveryState), primary_key=True)
    count: Mapped[int]


class ProviderHandoverCount(Base):
    """How many messages the whole installation handed over within a minute.

    Written only where a limit of the settings needs it, in the transaction of the claim.
    """

    __tablename__ = "handed"

    minute: Mapped[Moment] = mapped_column(primary_key=True)
    messages: Mapped[int]


class SendSpacingState(Base):
    """From when messages may leave again under a limit that spaces them: the installation's, or that of a domain's tag.

    Written only where there is such a limit, in the transaction of the claim. `recent` is how many left in the last second, and
    when (`digest.deliver.send.limits.rate_limiter`); NULL for a domain.
    """

    __tablename__ = "spaced_limit"

    name: Mapped[Str32] = mapped_column(primary_key=True)
    ready_at: Mapped[Moment]
    recent: Mapped[list[tuple[int, int]] | None] = mapped_column(JSON)


class RecipientDomainGroup(Base):
    """The group of a receiving domain: domains whose email the same operator's servers take, by their MX records.

    Both are keyed tags; a domain that's alone has its own tag as its group (`digest.deliver.plan.domain_groups`).
    """

    __tablename__ = "domain_group"

    domain_tag: Mapped[Str32] = mapped_column(primary_key=True)
    group_tag: Mapped[Str32]
    fresh_until: Mapped[Moment]


class QueuedMail(Base):
    """A message that is in the queue of a mail server whose log is followed: by its queue ID there, and the server's name."""

    __tablename__ = "queued_mail"

    id: Mapped[Str80] = mapped_column(primary_key=True)
    delivery: Mapped[Str26]
    at: Mapped[Moment]


class RunningBackup(Base):
    """A backup under way. While its row is there, triggers note in `ChangedRow` each change of a sealed delivery, and of an event up to `last_event`.

    See `digest.backups.early_rows`, and migration 0074 for the triggers.
    """

    __tablename__ = "running_backup"

    id: Mapped[RowId]
    started_at: Mapped[Moment]
    last_event: Mapped[int]


class ChangedRow(Base):
    """A row of the table `source` that was changed or deleted, or turned up, while a backup ran."""

    __tablename__ = "changed_row"
    __table_args__ = (Index("ix_changed_row_backup", "backup", "source"),)

    id: Mapped[RowId]
    backup: Mapped[int]
    source: Mapped[Str20]
    key: Mapped[Str26]


class StoredInstallationValue(Base):
    """What the installation remembers by name: that it is held, how far a provider's lists were read."""

    __tablename__ = "memo"

    name: Mapped[Str60] = mapped_column(primary_key=True)
    value: Mapped[Json]
    at: Mapped[Moment]


class StaffMember(KeyedSealModel):
    """Somebody who works on the newsletter, or did. `proven_at` is set once they answered from the address.

    A staff member's address is a sign-in name and stored in clear, here alone; no reader's ever is. Everything else
    names them by number, so the row stays when they leave, as the audit log refers to it; in place of the address it
    says `staff 3` then.
    """

    __tablename__ = "staff"
    __sealed__ = ("id", "email", "role", "proven_at", "removed_at", "password_hash", "password_at")
    __unsealed__ = ("name", "added_at", "added_by", "failures_seen_at", "letter_keys")
    __table_args__ = (UniqueConstraint("email", name="uq_staff_one_row_an_address"),)

    email: Mapped[str] = mapped_column(String(320))  # case-folded; of who was removed, no address
    name: Mapped[Str80] = mapped_column(default="", server_default="")  # as colleagues see it
    role: Mapped[Str20]  # editor | admin
    added_at: Mapped[Moment]
    added_by: Mapped[Str200]
    proven_at: Mapped[datetime | None]
    removed_at: Mapped[datetime | None]
    password_hash: Mapped[Str200 | None]  # Argon2id, with its parameters and salt
    password_at: Mapped[datetime | None]
    # up to when the member has looked at failed sign-ins
    failures_seen_at: Mapped[datetime | None]
    letter_keys: Mapped[bool] = mapped_column(default=True, server_default=true())  # single letters act at the desk


class ProviderErasure(Base):
    """An erased person's address, encrypted, that the provider is to be asked to erase too.

    The row is deleted once the provider accepted the request, and after 30 days in any case.
    """

    __tablename__ = "provider_erasure"

    id: Mapped[RowId]
    provider: Mapped[Str20]
    mark: Mapped[Str26]  # random; the ciphertext is bound to it
    ciphertext: Mapped[bytes]
    key_id: Mapped[Str16]
    asked_at: Mapped[Moment]
    tries: Mapped[int] = mapped_column(default=0)
    next_try_at: Mapped[Moment]
