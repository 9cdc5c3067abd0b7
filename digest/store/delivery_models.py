"""The tables for sending: deliveries, their events, and the state of the installation.

They continue the data flow of `digest.store.models`: edition → delivery → event.
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

# Only transactional emails are sealed, at night. Including editions' deliveries would slow down sending.
UNSEALED_NOTICE = "sealed_in IS NULL AND substr(purpose, 1, 8) <> 'edition:'"


class DeliveryState(StrEnum):
    """The state of a delivery. See `deliver.plan.delivery_plan` for counting deliveries by state."""

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


CLAIMED_STATES = (DeliveryState.RESERVED, DeliveryState.HANDING_OVER)  # claimed by a run
OPEN_STATES = (DeliveryState.WAITING, *CLAIMED_STATES)


class Delivery(RowCommitmentMixin, Base):
    """A message owed to one person, who has at most one for each purpose."""

    __tablename__ = "delivery"
    __table_args__ = (
        UniqueConstraint("purpose", "person", name="uq_delivery_one_message_a_person"),
        Index("ix_delivery_person", "person"),  # everything sent to a person
        Index("ix_delivery_next", "state", "purpose", "next_try_at"),  # counts by state; time of the next one due
        # Claims, in order.
        partial_index("ix_delivery_waiting", ("purpose", "next_try_at", "person"), "state = 'waiting'"),
        *row_commitment_indexes("delivery", UNSEALED_NOTICE),
    )

    id: Mapped[Str26] = mapped_column(primary_key=True)  # opaque
    purpose: Mapped[Str80]  # "edition:2026-W47", "confirm:…", "welcome:…"
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
    handed_at: Mapped[datetime | None]  # most recent handover
    first_handed_at: Mapped[datetime | None]  # first handover; also the message's Date, even when it's sent again
    # The variant of an edition that was last handed over (`VariantKey.as_text`). NULL for other emails.
    variant: Mapped[str | None]


class RunLease(Base):
    """The lease of a run that claims deliveries under a name stored in `Delivery.owner`.

    The run renews `beat_at`, a Unix time by the database's clock. Revoking its claims increments
    `epoch`. `home` is where its progress file is located. See `deliver.send.claims.run_lease`.
    """

    __tablename__ = "run_lease"

    owner: Mapped[Str80] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(default=1)
    beat_at: Mapped[float]
    home: Mapped[str]


class KeptEditionCounts(KeyedSealModel):
    """The results of an edition, counted nightly and kept after the edition's deliveries are deleted.

    See `deliver.retention.edition_figures`.
    """

    __tablename__ = "edition_figures"
    __sealed__ = ("name", "number", "release_at", "handed_over", "refused", "complained", "hours", "counted_at")
    __unsealed__ = ("id",)

    name: Mapped[Str20] = mapped_column(unique=True)
    number: Mapped[int]
    release_at: Mapped[datetime] = mapped_column(index=True)
    handed_over: Mapped[int]
    refused: Mapped[int]
    complained: Mapped[int]
    hours: Mapped[dict[str, int]] = mapped_column(JSON)  # messages by hour in UTC: {"2026-11-20 11": 11964}
    counted_at: Mapped[Moment]


class QueuedNoticeEmail(Base):
    """The encrypted content of a queued transactional email.

    It's deleted with the last attempt of its delivery.
    """

    __tablename__ = "notice"
    # Every second: emails that people wait for, no matter how many corrections are queued.
    __table_args__ = (partial_index("ix_notice_urgent", "delivery", "kind <> 'correction'"),)

    delivery: Mapped[str] = mapped_column(ForeignKey("delivery.id"), primary_key=True)
    kind: Mapped[Str20]
    ciphertext: Mapped[bytes]
    key_id: Mapped[Str16]


# The parentheses are needed because the condition is combined with others by AND, which binds more
# tightly than OR.
STOP_RULE_EVENTS = "(cause IN ('no mailbox', 'hard', 'policy') OR kind = 'complained')"


class StoredDeliveryEvent(Base):
    """A normalized report about a delivery from a provider or a bounce.

    Two events are the same if they have the same hash of the provider's ID or the same fingerprint
    of their content. `unsettled_since` is set if the delivery was still being handed over when the
    event arrived. See `deliver.events`.
    """

    __tablename__ = "event"
    __table_args__ = (
        UniqueConstraint("fingerprint", name="uq_event_counted_once"),
        UniqueConstraint("provider_mark", name="uq_event_one_row_a_provider_mark"),
        Index("ix_event_delivery", "delivery"),  # all events of a delivery
        partial_index("ix_event_unsettled", "unsettled_since", "unsettled_since IS NOT NULL"),
        partial_index("ix_event_strikes", "at", "cause IN ('hard', 'soft')"),  # repeated bounces, every night
        # Every few seconds during a send: events that can pause it.
        partial_index("ix_event_alarms", "received_at", STOP_RULE_EVENTS),
    )

    id: Mapped[RowId]
    delivery: Mapped[Str26 | None]
    kind: Mapped[Str40]
    cause: Mapped[Str20] = mapped_column(default="")  # why it failed; see `deliver.events.failure_causes`
    at: Mapped[Moment]
    received_at: Mapped[Moment]
    fingerprint: Mapped[Str64]
    provider_mark: Mapped[Str64 | None]
    unsettled_since: Mapped[datetime | None]
    detail: Mapped[Json]  # scrubbed of addresses


class ReceivedEventPayload(Base):
    """A provider's request, or an email from the mailbox, as received.

    It's compressed, encrypted, and bound to its hash, and kept for 30 days. `origin` identifies its
    parser: a provider, or "mailbox".
    """

    __tablename__ = "inbound"
    __table_args__ = (
        UniqueConstraint("body_hash", name="uq_inbound_one_row_a_body"),
        Index("ix_inbound_at", "at"),  # deletion of old rows, every night
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
    """The number of a purpose's deleted deliveries that had ended in a given state."""

    __tablename__ = "delivery_total"

    purpose: Mapped[Str80] = mapped_column(primary_key=True)
    state: Mapped[DeliveryState] = mapped_column(enum_by_value(DeliveryState), primary_key=True)
    count: Mapped[int]


class ProviderHandoverCount(Base):
    """The number of messages that the installation handed over in a given minute.

    It's updated in the claim's transaction, and only if a limit in the settings requires it.
    """

    __tablename__ = "handed"

    minute: Mapped[Moment] = mapped_column(primary_key=True)
    messages: Mapped[int]


class SendSpacingState(Base):
    """The time when a rate limit next allows messages to be sent.

    The limit is the installation's, or that of a domain, which is identified by its tag. The row is
    updated in the claim's transaction, and only if the limit is set. `recent` lists how many
    messages were sent in the last second, and when (`digest.deliver.send.limits.rate_limiter`).
    It's NULL for a domain.
    """

    __tablename__ = "spaced_limit"

    name: Mapped[Str32] = mapped_column(primary_key=True)
    ready_at: Mapped[Moment]
    recent: Mapped[list[tuple[int, int]] | None] = mapped_column(JSON)


class DomainGroupMember(Base):
    """The group that a recipient domain belongs to.

    A group consists of the domains whose MX records belong to the same operator. Both columns are
    keyed tags. If a domain is alone, its group is its own tag
    (`digest.deliver.plan.domain_groups`).
    """

    __tablename__ = "domain_group"

    domain_tag: Mapped[Str32] = mapped_column(primary_key=True)
    group_tag: Mapped[Str32]
    fresh_until: Mapped[Moment]


class QueuedMail(Base):
    """A message in the queue of a mail server whose log we follow.

    `id` consists of the queue ID and the server's name.
    """

    __tablename__ = "queued_mail"

    id: Mapped[Str80] = mapped_column(primary_key=True)
    delivery: Mapped[Str26]
    at: Mapped[Moment]


class RunningBackup(Base):
    """A backup in progress.

    While the row exists, triggers record changes to sealed deliveries, and to events up to `last_event`,
    in `ChangedRow`. See `digest.backups.early_rows`, and the first migration for the triggers.
    """

    __tablename__ = "running_backup"

    id: Mapped[RowId]
    started_at: Mapped[Moment]
    last_event: Mapped[int]


class ChangedRow(Base):
    """A row in the table `source` that was added, changed, or deleted while a backup was in progress."""

    __tablename__ = "changed_row"
    __table_args__ = (Index("ix_changed_row_backup", "backup", "source"),)

    id: Mapped[RowId]
    backup: Mapped[int]
    source: Mapped[Str20]
    key: Mapped[Str26]


class StoredInstallationValue(Base):
    """A named value stored for the installation, such as whether sending is paused."""

    __tablename__ = "memo"

    name: Mapped[Str60] = mapped_column(primary_key=True)
    value: Mapped[Json]
    at: Mapped[Moment]


class StaffMember(KeyedSealModel):
    """A current or former staff member.

    `proven_at` is set once they've verified their address. The address is a sign-in name, stored in
    clear text and only in this table; subscribers' addresses never are. Other tables refer to members
    by ID. Therefore, the row stays when a member leaves, with `staff 3` in place of the address.
    """

    __tablename__ = "staff"
    __sealed__ = ("id", "email", "role", "proven_at", "removed_at", "password_hash", "password_at")
    __unsealed__ = ("name", "added_at", "added_by", "failures_seen_at", "letter_keys")
    __table_args__ = (UniqueConstraint("email", name="uq_staff_one_row_an_address"),)

    email: Mapped[str] = mapped_column(String(320))  # case-folded; replaced when the member is removed
    name: Mapped[Str80] = mapped_column(default="", server_default="")  # as shown to colleagues
    role: Mapped[Str20]  # editor | admin
    added_at: Mapped[Moment]
    added_by: Mapped[Str200]
    proven_at: Mapped[datetime | None]
    removed_at: Mapped[datetime | None]
    password_hash: Mapped[Str200 | None]  # Argon2id, with its parameters and salt
    password_at: Mapped[datetime | None]
    # When the member last viewed the failed sign-ins.
    failures_seen_at: Mapped[datetime | None]
    letter_keys: Mapped[bool] = mapped_column(default=True, server_default=true())  # keyboard shortcuts are on


class ProviderErasure(Base):
    """The encrypted address of an erased person, which the provider must also erase.

    The row is deleted once the provider has accepted the request, and after 30 days at the latest.
    """

    __tablename__ = "provider_erasure"

    id: Mapped[RowId]
    provider: Mapped[Str20]
    mark: Mapped[Str26]  # random value that the ciphertext is bound to
    ciphertext: Mapped[bytes]
    key_id: Mapped[Str16]
    asked_at: Mapped[Moment]
    tries: Mapped[int] = mapped_column(default=0)
    next_try_at: Mapped[Moment]
