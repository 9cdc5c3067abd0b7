"""Tables about people, and the `MetaData` that all of the product's tables share.

`digest.store.models` adds the newsletter's tables to the same metadata. One Alembic tree covers both.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated, Any

from sqlalchemy import (
    JSON,
    DateTime,
    Enum,
    ForeignKey,
    Index,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from subscribers.import_names import FILE_OPTION, PLAIN_LIST
from subscribers.store.column_types import (
    DamageTolerantInteger,
    RowId,
    Str16,
    Str20,
    Str32,
    Str40,
    Str64,
    Str80,
    Str200,
)

DAMAGED_MOMENT = datetime(1970, 1, 1, tzinfo=UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """A timezone-aware moment in UTC, regardless of how the database stores it.

    Values in SQLite that aren't moments are read as `DAMAGED_MOMENT`, for the reasons given for
    `DamageTolerantInteger`.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert a moment for storage in the database.

        Naive times are rejected because their meaning depends on the machine.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time without a time zone can't be stored: {value!r}")
        moment = value if value.tzinfo is UTC else value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def result_processor(self, dialect: Dialect, coltype: Any) -> Callable[[Any], Any]:
        """Return a processor that reads a moment, or `DAMAGED_MOMENT` if the stored value is damaged."""
        return _read_or(DAMAGED_MOMENT, super().result_processor(dialect, coltype))

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Restore the time zone, which SQLite doesn't store."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# Invalid JSON is read as this text, which we never store there.
DAMAGED_JSON = "damaged"


class DamageTolerantJson(TypeDecorator[Any]):
    """A JSON column whose damaged values are read as `DAMAGED_JSON`, so that other rows can still be read."""

    impl = JSON
    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: Any) -> Callable[[Any], Any]:
        """Return a processor that reads a value, or `DAMAGED_JSON` if the stored value is damaged.

        PostgreSQL rejects invalid JSON, but SQLite doesn't.
        """
        return _read_or(DAMAGED_JSON, super().result_processor(dialect, coltype))


def _read_or(
    stand_in: Any,
    read: Callable[[Any], Any] | None,
) -> Callable[[Any], Any]:
    def read_or_replace(value: Any) -> Any:
        try:
            return read(value) if read else value
        except (ValueError, TypeError, RecursionError):
            return stand_in

    return read_or_replace


def enum_by_value(enum_type: type[StrEnum]) -> Enum:
    """Return an enum column type that stores each member's value, rather than its Python name, as a plain string."""
    return Enum(enum_type, native_enum=False, length=40, values_callable=lambda e: [m.value for m in e])


Moment = Annotated[datetime, mapped_column(UtcDateTime)]
Json = Annotated[dict[str, Any], mapped_column(JSON)]


class Base(DeclarativeBase):
    """The base class of all tables.

    Names of constraints are fixed so that migrations can use them.
    """

    type_annotation_map = {datetime: UtcDateTime, str: Text, int: DamageTolerantInteger}  # noqa: RUF012

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def table_of(model: type[Base]) -> Table:
    """Return the table of a model, for statements that bypass the ORM."""
    table = model.__table__
    assert isinstance(table, Table)
    return table


class PersonState(StrEnum):
    """The state of a person.

    Only people who are `subscribed` are in the audience.
    """

    REQUESTED = "requested"
    UNVERIFIED = "unverified"
    SUBSCRIBED = "subscribed"
    WITHDRAWN = "withdrawn"
    SUPPRESSED = "suppressed"
    ERASED = "erased"
    REMOVED = "removed"  # the only import that had added them was undone


EMPTIED_STATES = frozenset({PersonState.ERASED, PersonState.REMOVED})  # their rows contain no personal data


class ConsentKind(StrEnum):
    """A kind of consent event."""

    REQUESTED = "requested"
    CONFIRMED = "confirmed"
    # Listed in a file without evidence, so they may not be emailed.
    LISTED = "listed"
    IMPORTED = "imported"
    ATTESTED = "attested"
    WITHDRAWN = "withdrawn"
    UNDONE = "undone"
    RE_ASKED = "re-asked"
    ADDRESS_CHANGED = "address changed"
    CHOICES_CHANGED = "choices changed"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    SUPPRESSED = "suppressed"
    ERASED = "erased"
    # By undoing the only import that had added them. A later import may add them again.
    REMOVED = "removed"
    EXPIRED = "expired"
    WITHDRAWN_AGAIN = "withdrawn again"  # by the person, after an admin had unsubscribed them
    # By the admin who had unsubscribed them by mistake. It isn't the person's own consent.
    RESTORED = "restored"
    # The links in earlier emails can only be used to unsubscribe.
    LINKS_RENEWED = "links renewed"


def _index_preference(index: str, preference: str, *columns: str) -> Index:
    """Declare an index of the people who have a preference.

    `stored_preferences.build_preference_column` has to write the condition in the same way, or the
    index isn't used.
    """
    on_sqlite = f"CASE WHEN json_valid(choices) THEN json_extract(choices, '$.' || '{preference}') END IS NOT NULL"
    on_postgresql = f"(choices ->> '{preference}') IS NOT NULL"
    return Index(index, *columns, sqlite_where=text(on_sqlite), postgresql_where=text(on_postgresql))


class Person(Base):
    """A person.

    The address is only stored as ciphertext, and is found by a keyed hash. `ciphertext` is
    encrypted with AES-GCM and bound to `number`. It's NULL once the person is erased. `domain_tag`
    is a keyed hash of the domain, for limits per receiving domain. `salt` is used in the
    commitments of the chain. When it's deleted, nothing connects the chain with an address anymore.
    """

    __tablename__ = "person"
    __table_args__ = (
        UniqueConstraint("lookup", name="uq_person_one_row_an_address"),
        # For audience.load_audience_page: people in a state, by number.
        Index("ix_person_roll", "state", "number"),
        # For subscriber_list.load_subscriber_page: people of an import, or from a sign-up source, by number.
        Index("ix_person_batch", "batch", "number"),
        Index("ix_person_asked_where", "asked_where", "number"),
        # For breaking_news.count_breaking_news_audience: people who chose breaking news.
        _index_preference("ix_person_breaking_news", "breaking_news", "state", "batch"),
        # For subscriber_list.count_paused: people with a pause, including past ones.
        _index_preference("ix_person_paused", "pause_until", "state", "number"),
        {"sqlite_autoincrement": True},
    )

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    lookup: Mapped[Str64 | None]
    lookup_key: Mapped[Str16 | None]
    domain_tag: Mapped[Str32 | None]
    ciphertext: Mapped[bytes | None]
    key_id: Mapped[Str16 | None]
    salt: Mapped[bytes | None]
    state: Mapped[PersonState] = mapped_column(enum_by_value(PersonState))
    choices: Mapped[dict[str, Any]] = mapped_column(DamageTolerantJson)
    chain_head: Mapped[Str64] = mapped_column(default="")
    asked_at: Mapped[Moment]
    asked_where: Mapped[Str200]
    # The import that they belong to.
    batch: Mapped[int | None] = mapped_column(ForeignKey("import_batch.id"))
    link_generation: Mapped[int] = mapped_column(default=0, server_default="0")  # see `crypto.link_tokens`


class ConsentEvent(Base):
    """An event in a person's consent chain: canonical JSON, hashed with the previous event.

    `commitment` is the keyed, salted commitment to the address that the consent is for
    (`subscribers.crypto.stored_addresses.compute_address_commitment`).
    """

    __tablename__ = "consent_event"
    __table_args__ = (UniqueConstraint("person", "seq", name="uq_consent_event_one_link_a_place"),)

    id: Mapped[RowId]
    person: Mapped[int] = mapped_column(ForeignKey("person.number"))
    seq: Mapped[int]
    kind: Mapped[ConsentKind] = mapped_column(enum_by_value(ConsentKind))
    at: Mapped[Moment]
    body: Mapped[str]
    commitment: Mapped[Str64]
    previous: Mapped[Str64]
    hash: Mapped[Str64]


class DailyConsentCount(Base):
    """The number of consent events by day, kind, and method (see `subscribers.consent.daily_consent_counts`)."""

    __tablename__ = "consent_day"

    day: Mapped[date] = mapped_column(primary_key=True)
    kind: Mapped[Str20] = mapped_column(primary_key=True)
    # The sign-up source or the import, but never an address.
    way: Mapped[Str200] = mapped_column(primary_key=True)
    count: Mapped[int]


class PublishedConsentText(Base):
    """A consent text that was shown or agreed to, with its permanent version. Append-only.

    `text` contains the name of the publication at that time. Versions are assigned by
    `subscribers.consent.consent_texts`.
    """

    __tablename__ = "wording"
    __table_args__ = (UniqueConstraint("hash", "language", name="uq_wording_one_row_a_text"),)

    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    language: Mapped[str] = mapped_column(String(35))
    text: Mapped[str]
    hash: Mapped[Str64]
    first_used_at: Mapped[Moment]


class Seal(Base):
    """A nightly hash of the heads of all chains, chained to the previous seal (see `subscribers.consent.seals`).

    `through` is the highest event that it covers, `root` is the hash of the chain heads, and `hash` is
    the seal's own hash. The columns for suppressions and consent texts are the same for those tables.
    """

    __tablename__ = "seal"
    # This prevents the chain from forking.
    __table_args__ = (UniqueConstraint("previous", name="uq_seal_follows_once"),)

    id: Mapped[RowId]
    at: Mapped[Moment]
    through: Mapped[int]
    people: Mapped[int]
    links: Mapped[int]
    root: Mapped[Str64]
    suppressions_through: Mapped[int]
    suppressions: Mapped[int]
    suppressions_root: Mapped[Str64]
    log_through: Mapped[int | None]
    log_head: Mapped[Str64 | None]
    # The latest entry of the disclosure log.
    disclosures_through: Mapped[int]
    disclosures_head: Mapped[Str64]
    wordings_through: Mapped[int]
    wordings: Mapped[int]
    wordings_root: Mapped[Str64]
    previous: Mapped[Str64]
    hash: Mapped[Str64]


class Suppression(Base):
    """The suppression of an address, or its end, as a keyed hash that's kept even if the person's row isn't.

    Append-only.

    The IDs of adopted keys have a prefix (`crypto.stored_addresses.ADOPTED_MARK`).
    `subscribers.consent.suppression` determines which row of an address is in effect.
    """

    __tablename__ = "suppression"
    # For checking whether an address is suppressed.
    __table_args__ = (Index("ix_suppression_hash", "hash", "key_id"),)

    id: Mapped[RowId]
    hash: Mapped[Str64]
    key_id: Mapped[Str16]
    reason: Mapped[Str40]
    at: Mapped[Moment]


class SuppressionAdoption(Base):
    """Another installation's suppression file that was adopted, with its keys as encrypted JSON.

    See `subscribers.transfer.suppressions.suppression_adoption`. `reached` entries of the file, and
    people up to number `people_reached`, have been processed. A second run continues there. The
    keys are in effect from the start.
    """

    __tablename__ = "suppression_adoption"

    id: Mapped[RowId]
    file_id: Mapped[Str32] = mapped_column(unique=True)
    actor: Mapped[Str200]
    started_at: Mapped[Moment]
    done_at: Mapped[datetime | None]
    reached: Mapped[int] = mapped_column(default=0)
    people_reached: Mapped[int] = mapped_column(default=0)
    counts: Mapped[Json]
    ciphertext: Mapped[bytes]
    key_id: Mapped[Str16]


class DisclosureLogEntry(Base):
    """An entry in the disclosure log, an append-only chain (see `subscribers.consent.disclosure_log`).

    `batch` is the entry that sealed the rows, and `rows` and `root` describe what's left of that
    batch after this entry. `folded` is how many of its rows became totals, `erased` is how many of
    those had lost their salt, and `added` is the increase of the totals.
    """

    __tablename__ = "disclosure_log"
    __table_args__ = (
        # This prevents the chain from forking.
        UniqueConstraint("previous", name="uq_disclosure_log_follows_once"),
        # For finding what's left of a batch.
        Index("ix_disclosure_log_batch", "batch", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[Moment]
    kind: Mapped[Str20]
    source: Mapped[Str40]  # the name of the table
    subject: Mapped[Str80]  # edition:2026-W47, or empty for everything else
    batch: Mapped[int | None]
    rows: Mapped[int]
    folded: Mapped[int]
    erased: Mapped[int]
    added: Mapped[int]
    root: Mapped[Str64]
    previous: Mapped[Str64]
    hash: Mapped[Str64]
    mac: Mapped[Str64]  # with a `commitment` key


class RowCommitmentMixin:
    """The columns of a row that's sealed by a commitment (see `subscribers.consent.sealed_rows`).

    `salt` is deleted when the person is erased. `sealed_in` is the entry of the disclosure log
    whose root covers `commitment`.
    """

    salt: Mapped[bytes | None]
    commitment: Mapped[Str64 | None]
    sealed_in: Mapped[int | None]


def row_commitment_indexes(table: str, unsealed: str = "sealed_in IS NULL") -> tuple[Index, Index]:
    """Return two indexes of a table: one of its batches, and one of its unsealed rows.

    The unsealed rows match the condition `unsealed`.
    """
    return (
        partial_index(f"ix_{table}_sealed_in", "sealed_in", "sealed_in IS NOT NULL"),
        partial_index(f"ix_{table}_unsealed", "id", unsealed),
    )


def partial_index(name: str, columns: str | Sequence[str], condition: str) -> Index:
    """Return an index of the rows that match an SQL condition."""
    names = [columns] if isinstance(columns, str) else columns
    return Index(name, *names, sqlite_where=text(condition), postgresql_where=text(condition))


class Disclosure(RowCommitmentMixin, Base):
    """A disclosure of an address other than a delivery, which has its own record."""

    __tablename__ = "disclosure"
    __table_args__ = (
        # For the list of a subscriber's own disclosures.
        Index("ix_disclosure_person", "person", "at"),
        *row_commitment_indexes("disclosure"),
    )

    id: Mapped[RowId]
    person: Mapped[int | None] = mapped_column(ForeignKey("person.number"))
    at: Mapped[Moment]
    to_whom: Mapped[Str200]
    why: Mapped[Str200]
    reference: Mapped[Str200]


class DisclosureTotal(Base):
    """A total of disclosures older than 400 days: how often an address was disclosed, to whom, and why.

    `commitment` covers the current values and is renewed when they increase
    (`subscribers.consent.disclosures.aggregate_disclosures`).
    """

    __tablename__ = "disclosure_total"
    __table_args__ = (UniqueConstraint("person", "to_whom", "why", name="uq_disclosure_total_one_row_a_recipient"),)

    id: Mapped[RowId]
    # NULL after an erasure.
    person: Mapped[int | None] = mapped_column(ForeignKey("person.number"))
    to_whom: Mapped[Str200]
    why: Mapped[Str200]
    times: Mapped[int]
    first_at: Mapped[Moment]
    last_at: Mapped[Moment]
    salt: Mapped[bytes | None]
    commitment: Mapped[Str64 | None]


class ListExport(RowCommitmentMixin, Base):
    """An export of the list to a file, with its recipient and reason.

    The people are in its parts, which are sealed by `parts_hash`.
    """

    __tablename__ = "list_export"
    __table_args__ = row_commitment_indexes("list_export")

    id: Mapped[RowId]
    at: Mapped[Moment]
    to_whom: Mapped[Str200]
    why: Mapped[Str200]
    reference: Mapped[Str200]
    done_at: Mapped[datetime | None]
    people: Mapped[int] = mapped_column(default=0)
    parts_hash: Mapped[Str64 | None]


class ListExportPart(Base):
    """The people in an export: one bit per person, from number `first`, lowest bit first.

    With a row per person, a file could require a million rows. Bits are just as exact, and take 125 kB.
    """

    __tablename__ = "list_export_part"

    export: Mapped[int] = mapped_column(ForeignKey("list_export.id"), primary_key=True)
    first: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    bits: Mapped[bytes]


class ImportBatch(Base):
    """An imported list.

    Its people only count once `done_at` is set. `options` says how to read the file, and includes
    its name (`FILE_OPTION`). `reached` is the last processed row, after which a second run with the
    same file and options continues. `salt` is used for digests of IP addresses in these people's
    chains. Once it's deleted, they can't be guessed.
    """

    __tablename__ = "import_batch"
    # For checking whether a file is known.
    __table_args__ = (Index("ix_import_batch_file", "file_hash"),)

    id: Mapped[RowId]
    origin: Mapped[Str40]
    file_hash: Mapped[Str64]
    options: Mapped[Json]
    reached: Mapped[int] = mapped_column(default=0)
    salt: Mapped[bytes | None]
    actor: Mapped[Str200]
    started_at: Mapped[Moment]
    done_at: Mapped[datetime | None]
    counts: Mapped[Json]

    @property
    def name(self) -> str:
        """The name of the file, along with its service if that's known."""
        file = self.options.get(FILE_OPTION, "")
        service = "" if self.origin == PLAIN_LIST else self.origin
        return " from ".join(filter(None, (file, service))) or self.origin
