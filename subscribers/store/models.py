"""Tables about people, and the `MetaData` shared by every table of the product.

`digest.store.models` adds the newsletter's tables to the same metadata; one Alembic tree covers both.
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
    """A timezone-aware moment in UTC, however the database stores it.

    Values in SQLite that aren't moments are read as `DAMAGED_MOMENT`, for the reasons given for
    `DamageTolerantInteger`.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert a moment for the database. Naive times are rejected because their meaning depends on the machine."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time without a time zone can't be stored: {value!r}")
        moment = value if value.tzinfo is UTC else value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def result_processor(self, dialect: Dialect, coltype: Any) -> Callable[[Any], Any]:
        """Return a processor that reads a moment, or `DAMAGED_MOMENT`."""
        return _read_or(DAMAGED_MOMENT, super().result_processor(dialect, coltype))

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Restore the time zone, which SQLite doesn't store."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


DAMAGED_JSON = "damaged"  # replaces invalid JSON; we never store text there


class DamageTolerantJson(TypeDecorator[Any]):
    """JSON whose damaged values are read as `DAMAGED_JSON`, so that other rows can still be read."""

    impl = JSON
    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: Any) -> Callable[[Any], Any]:
        """Return a processor that reads a value, or `DAMAGED_JSON`. PostgreSQL rejects invalid JSON; SQLite doesn't."""
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
    """Return an enum column type that stores the value instead of the Python name, as a plain string in SQL."""
    return Enum(enum_type, native_enum=False, length=40, values_callable=lambda e: [m.value for m in e])


Moment = Annotated[datetime, mapped_column(UtcDateTime)]
Json = Annotated[dict[str, Any], mapped_column(JSON)]


class Base(DeclarativeBase):
    """Base class of all tables. Constraint names are fixed so that migrations can use them."""

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
    """Return a model's table, for statements that bypass the ORM."""
    table = model.__table__
    assert isinstance(table, Table)
    return table


class PersonState(StrEnum):
    """The state of a person. Only people who are `subscribed` are in the audience."""

    REQUESTED = "requested"
    UNVERIFIED = "unverified"
    SUBSCRIBED = "subscribed"
    WITHDRAWN = "withdrawn"
    SUPPRESSED = "suppressed"
    ERASED = "erased"
    REMOVED = "removed"  # the only import that had added them was undone


EMPTIED_STATES = frozenset({PersonState.ERASED, PersonState.REMOVED})  # their rows have no personal data


class ConsentKind(StrEnum):
    """Kinds of consent events."""

    REQUESTED = "requested"
    CONFIRMED = "confirmed"
    LISTED = "listed"  # listed in a file without evidence, so they may not be emailed
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
    REMOVED = "removed"  # by undoing the only import that had added them; a later one may add them again
    EXPIRED = "expired"
    WITHDRAWN_AGAIN = "withdrawn again"  # by the person, after an admin had unsubscribed them
    RESTORED = "restored"  # by the admin who had unsubscribed them by mistake; it isn't the person's own consent
    LINKS_RENEWED = "links renewed"  # links in earlier emails can only unsubscribe


def _index_preference(index: str, preference: str, *columns: str) -> Index:
    """Declare an index of the people with a preference.

    `stored_preferences.build_preference_column` must write the condition the same way, or the index isn't used.
    """
    on_sqlite = f"CASE WHEN json_valid(choices) THEN json_extract(choices, '$.' || '{preference}') END IS NOT NULL"
    on_postgresql = f"(choices ->> '{preference}') IS NOT NULL"
    return Index(index, *columns, sqlite_where=text(on_sqlite), postgresql_where=text(on_postgresql))


class Person(Base):
    """One person. The address is only stored as ciphertext, and found by a keyed hash.

    `ciphertext` is AES-GCM bound to `number`; it's NULL once the person is erased. `domain_tag` is a keyed hash of the
    domain, for limits per receiving domain. `salt` is used in the chain's commitments. Deleting it removes the last
    connection between the chain and an address.
    """

    __tablename__ = "person"
    __table_args__ = (
        UniqueConstraint("lookup", name="uq_person_one_row_an_address"),
        Index("ix_person_roll", "state", "number"),  # audience.load_audience_page: people in a state, by number
        # subscriber_list.load_subscriber_page: people of an import, or from a sign-up source, by number
        Index("ix_person_batch", "batch", "number"),
        Index("ix_person_asked_where", "asked_where", "number"),
        # breaking_news.count_breaking_news_audience: people who chose breaking news
        _index_preference("ix_person_breaking_news", "breaking_news", "state", "batch"),
        # subscriber_list.count_paused: people with a pause, including past ones
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
    batch: Mapped[int | None] = mapped_column(ForeignKey("import_batch.id"))  # the import that they belong to
    link_generation: Mapped[int] = mapped_column(default=0, server_default="0")  # see `crypto.link_tokens`


class ConsentEvent(Base):
    """One event in a person's consent chain: canonical JSON, hashed with the previous event.

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
    """The number of consent events per day, kind, and method (`subscribers.consent.daily_consent_counts`)."""

    __tablename__ = "consent_day"

    day: Mapped[date] = mapped_column(primary_key=True)
    kind: Mapped[Str20] = mapped_column(primary_key=True)
    way: Mapped[Str200] = mapped_column(primary_key=True)  # the sign-up source or the import; no address
    count: Mapped[int]


class PublishedConsentText(Base):
    """A consent text that was shown or agreed to, under its permanent version. Append-only.

    `text` contains the publication's name at that time. `subscribers.consent.consent_texts` assigns the versions.
    """

    __tablename__ = "wording"
    __table_args__ = (UniqueConstraint("hash", "language", name="uq_wording_one_row_a_text"),)

    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    language: Mapped[str] = mapped_column(String(35))
    text: Mapped[str]
    hash: Mapped[Str64]
    first_used_at: Mapped[Moment]


class Seal(Base):
    """A nightly hash over the heads of all chains, chained to the previous seal; see `subscribers.consent.seals`.

    `through` is the highest event that it covers, `root` the hash over the chain heads, and `hash` the seal's own hash.
    The columns about suppressions and consent texts say the same of those tables.
    """

    __tablename__ = "seal"
    __table_args__ = (UniqueConstraint("previous", name="uq_seal_follows_once"),)  # the chain can't fork

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
    disclosures_through: Mapped[int]  # the newest entry of the disclosure log
    disclosures_head: Mapped[Str64]
    wordings_through: Mapped[int]
    wordings: Mapped[int]
    wordings_root: Mapped[Str64]
    previous: Mapped[Str64]
    hash: Mapped[Str64]


class Suppression(Base):
    """A suppression of an address, or its end, as a keyed hash that outlives the person's row. Append-only.

    The IDs of adopted keys have a prefix (`crypto.stored_addresses.ADOPTED_MARK`).

    `subscribers.consent.suppression` decides which of an address's rows counts.
    """

    __tablename__ = "suppression"
    __table_args__ = (Index("ix_suppression_hash", "hash", "key_id"),)  # is this address suppressed?

    id: Mapped[RowId]
    hash: Mapped[Str64]
    key_id: Mapped[Str16]
    reason: Mapped[Str40]
    at: Mapped[Moment]


class SuppressionAdoption(Base):
    """A suppression file of another installation, with its keys as encrypted JSON.

    See `subscribers.transfer.suppressions.suppression_adoption`.

    `reached` entries of the file, and people up to number `people_reached`, are processed; a second run continues
    there. The keys count from the start.
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
    """One entry of the disclosure log, an append-only chain; see `subscribers.consent.disclosure_log`.

    `batch` is the entry that sealed the rows, and `rows` and `root` describe what's left of that batch after this
    entry. `folded` is how many of its rows became totals, `erased` how many of those had lost their salt, and `added`
    the increase of the recipients' totals.
    """

    __tablename__ = "disclosure_log"
    __table_args__ = (
        UniqueConstraint("previous", name="uq_disclosure_log_follows_once"),  # the chain can't fork
        Index("ix_disclosure_log_batch", "batch", "id"),  # what's left of a batch
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[Moment]
    kind: Mapped[Str20]
    source: Mapped[Str40]  # the table's name
    subject: Mapped[Str80]  # edition:2026-W47; empty for everything else
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
    """The columns of a row sealed by a commitment; see `subscribers.consent.sealed_rows`.

    `salt` is deleted when the person is erased. `sealed_in` is the entry of the disclosure log whose root covers
    `commitment`.
    """

    salt: Mapped[bytes | None]
    commitment: Mapped[Str64 | None]
    sealed_in: Mapped[int | None]


def row_commitment_indexes(table: str, unsealed: str = "sealed_in IS NULL") -> tuple[Index, Index]:
    """Return indexes of a table's batches, and of the unsealed rows, which match the condition `unsealed`."""
    return (
        partial_index(f"ix_{table}_sealed_in", "sealed_in", "sealed_in IS NOT NULL"),
        partial_index(f"ix_{table}_unsealed", "id", unsealed),
    )


def partial_index(name: str, columns: str | Sequence[str], condition: str) -> Index:
    """Return an index of the rows that match an SQL condition."""
    names = [columns] if isinstance(columns, str) else columns
    return Index(name, *names, sqlite_where=text(condition), postgresql_where=text(condition))


class Disclosure(RowCommitmentMixin, Base):
    """One disclosure of an address other than a delivery, which is its own record."""

    __tablename__ = "disclosure"
    __table_args__ = (
        Index("ix_disclosure_person", "person", "at"),  # a subscriber's own list
        *row_commitment_indexes("disclosure"),
    )

    id: Mapped[RowId]
    person: Mapped[int | None] = mapped_column(ForeignKey("person.number"))
    at: Mapped[Moment]
    to_whom: Mapped[Str200]
    why: Mapped[Str200]
    reference: Mapped[Str200]


class DisclosureTotal(Base):
    """A total of disclosures older than 400 days: how often an address was disclosed to whom and why.

    `commitment` covers the current values and is renewed when they grow
    (`subscribers.consent.disclosures.aggregate_disclosures`).
    """

    __tablename__ = "disclosure_total"
    __table_args__ = (UniqueConstraint("person", "to_whom", "why", name="uq_disclosure_total_one_row_a_recipient"),)

    id: Mapped[RowId]
    person: Mapped[int | None] = mapped_column(ForeignKey("person.number"))  # NULL after erasure
    to_whom: Mapped[Str200]
    why: Mapped[Str200]
    times: Mapped[int]
    first_at: Mapped[Moment]
    last_at: Mapped[Moment]
    salt: Mapped[bytes | None]
    commitment: Mapped[Str64 | None]


class ListExport(RowCommitmentMixin, Base):
    """An export of the list as a file: recipient and reason. Its parts record the people; `parts_hash` seals them."""

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

    A row per person would be a million rows for one file. Bits are as exact, and take 125 kB.
    """

    __tablename__ = "list_export_part"

    export: Mapped[int] = mapped_column(ForeignKey("list_export.id"), primary_key=True)
    first: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    bits: Mapped[bytes]


class ImportBatch(Base):
    """One imported list. Its people only count once `done_at` is set.

    `options` says how to read the file, and `reached` is the last processed row, where a second run of the same file
    with the same options continues. The name of the file is among them (`FILE_OPTION`). `salt` is used for digests of
    IP addresses in these people's chains; once it's deleted, they can't be guessed.
    """

    __tablename__ = "import_batch"
    __table_args__ = (Index("ix_import_batch_file", "file_hash"),)  # is this file known?

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
        """The name of the file, with its service if it's known."""
        file = self.options.get(FILE_OPTION, "")
        service = "" if self.origin == PLAIN_LIST else self.origin
        return " from ".join(filter(None, (file, service))) or self.origin
