"""The rows about people, and the one `MetaData` that every table of the product hangs on.

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
    """A moment in UTC: aware on the way in and on the way out, whatever the database keeps.

    What SQLite keeps and isn't a moment is read as `DAMAGED_MOMENT`, for the reasons given at `DamageTolerantInteger`.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a time without a zone: it would be read as another moment elsewhere."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time without a time zone can't be stored: {value!r}")
        moment = value if value.tzinfo is UTC else value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def result_processor(self, dialect: Dialect, coltype: Any) -> Callable[[Any], Any]:
        """Read the moment, or its stand-in."""
        return _read_or(DAMAGED_MOMENT, super().result_processor(dialect, coltype))

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Restore the zone, which SQLite does not keep."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


DAMAGED_JSON = "damaged"  # stands for what is no JSON; what we store there is never a text


class DamageTolerantJson(TypeDecorator[Any]):
    """JSON of which a damaged row is read as `DAMAGED_JSON`: it must not keep the others from being read."""

    impl = JSON
    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: Any) -> Callable[[Any], Any]:
        """Read the value, or say that it is damaged. PostgreSQL takes no text that is no JSON, SQLite takes any."""
        return _read_or(DAMAGED_JSON, super().result_processor(dialect, coltype))


def _read_or(stand_in: Any, read: Callable[[Any], Any] | None) -> Callable[[Any], Any]:
    def read_or_replace(value: Any) -> Any:
        try:
            return read(value) if read else value
        except (ValueError, TypeError, RecursionError):
            return stand_in

    return read_or_replace


def enum_by_value(enum_type: type[StrEnum]) -> Enum:
    """An enum column that stores the value, not the Python name, and stays a plain string in SQL."""
    return Enum(enum_type, native_enum=False, length=40, values_callable=lambda e: [m.value for m in e])


Moment = Annotated[datetime, mapped_column(UtcDateTime)]
Json = Annotated[dict[str, Any], mapped_column(JSON)]


class Base(DeclarativeBase):
    """The parent of every table; constraint names are fixed so that migrations can name them."""

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
    """Return the table of a model, for statements that go around the ORM."""
    table = model.__table__
    assert isinstance(table, Table)
    return table


class PersonState(StrEnum):
    """Where a person stands; the audience mails `subscribed` only."""

    REQUESTED = "requested"
    UNVERIFIED = "unverified"
    SUBSCRIBED = "subscribed"
    WITHDRAWN = "withdrawn"
    SUPPRESSED = "suppressed"
    ERASED = "erased"
    REMOVED = "removed"  # the import that alone had brought them was undone


EMPTIED_STATES = frozenset({PersonState.ERASED, PersonState.REMOVED})  # their rows keep nothing of the person


class ConsentKind(StrEnum):
    """What a consent event says happened."""

    REQUESTED = "requested"
    CONFIRMED = "confirmed"
    LISTED = "listed"  # a list named them and showed no evidence: they may not be mailed
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
    REMOVED = "removed"  # by undoing the import that alone had brought them: a later one may bring them again
    EXPIRED = "expired"
    WITHDRAWN_AGAIN = "withdrawn again"  # by the person themselves, whom an admin had unsubscribed
    RESTORED = "restored"  # by the admin who had unsubscribed them by mistake: not the person's own word
    LINKS_RENEWED = "links renewed"  # those of the emails before it unsubscribe, and do no more
    BOUND = "bound"  # a chain of before links carried commitments was given one


UNSALTED_ADDRESS = "salt IS NULL AND ciphertext IS NOT NULL"
# `subscriber_list.count_paused` writes its condition the same way, or the index isn't used.
_PAUSED_ON_SQLITE = "CASE WHEN json_valid(choices) THEN json_extract(choices, '$.' || 'pause_until') END IS NOT NULL"
_PAUSED_ON_POSTGRESQL = "(choices ->> 'pause_until') IS NOT NULL"


class Person(Base):
    """One person: the address only as ciphertext, found only by a keyed hash of it.

    `ciphertext` is AES-GCM bound to `number`; it is NULL once the person is erased. `domain_tag` is a
    keyed hash of the domain, so that a cap per receiving domain needs no address. `salt` goes into the commitments of
    the chain; with it goes all that could tie the chain to an address.
    """

    __tablename__ = "person"
    __table_args__ = (
        UniqueConstraint("lookup", name="uq_person_one_row_an_address"),
        Index("ix_person_roll", "state", "number"),  # audience.load_audience_page: people in a state, by number
        # subscriber_list.load_subscriber_page: people of an import, or who asked at one place, by number
        Index("ix_person_batch", "batch", "number"),
        Index("ix_person_asked_where", "asked_where", "number"),
        Index(  # address_binding: who came before addresses had salts
            "ix_person_unsalted", "number", sqlite_where=text(UNSALTED_ADDRESS), postgresql_where=text(UNSALTED_ADDRESS)
        ),
        Index(  # subscriber_list.count_paused: people with a pause, past ones too
            "ix_person_paused",
            "state",
            "number",
            sqlite_where=text(_PAUSED_ON_SQLITE),
            postgresql_where=text(_PAUSED_ON_POSTGRESQL),
        ),
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
    batch: Mapped[int | None] = mapped_column(ForeignKey("import_batch.id"))  # the import that they count with
    link_generation: Mapped[int] = mapped_column(default=0, server_default="0")  # see `crypto.link_tokens`


class ConsentEvent(Base):
    """One link of a person's consent chain: canonical JSON, hashed together with the link before it.

    `commitment` is that to the address which the consent stands for, keyed and salted
    (`subscribers.crypto.stored_addresses.commit_address`); NULL in links of before there were any.
    """

    __tablename__ = "consent_event"
    __table_args__ = (UniqueConstraint("person", "seq", name="uq_consent_event_one_link_a_place"),)

    id: Mapped[RowId]
    person: Mapped[int] = mapped_column(ForeignKey("person.number"))
    seq: Mapped[int]
    kind: Mapped[ConsentKind] = mapped_column(enum_by_value(ConsentKind))
    at: Mapped[Moment]
    body: Mapped[str]
    commitment: Mapped[Str64 | None]
    previous: Mapped[Str64]
    hash: Mapped[Str64]


class DailyConsentCount(Base):
    """How many consent events of one kind and way there were on one day; see `subscribers.consent.daily_consent_counts`."""

    __tablename__ = "consent_day"

    day: Mapped[date] = mapped_column(primary_key=True)
    kind: Mapped[Str20] = mapped_column(primary_key=True)
    way: Mapped[Str200] = mapped_column(primary_key=True)  # where they asked, or the import; no address
    count: Mapped[int]


class PublishedConsentText(Base):
    """A text that people were asked to agree to, or agreed to, under the version that it has for good; appended only.

    The publication's name stands in `text` as it was then. `subscribers.consent.consent_texts` gives the versions.
    """

    __tablename__ = "wording"
    __table_args__ = (UniqueConstraint("hash", "language", name="uq_wording_one_row_a_text"),)

    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    language: Mapped[str] = mapped_column(String(35))
    text: Mapped[str]
    hash: Mapped[Str64]
    first_used_at: Mapped[Moment]


class Seal(Base):
    """One night's hash over the heads of all chains, chained to the seal before it; see `subscribers.consent.seals`.

    `through` is the highest link that it covers, `root` the hash over those heads, `hash` the hash of the seal. The
    three columns about suppressions say the same of that table, and those about wordings of theirs; NULL in seals of before
    they covered it.
    """

    __tablename__ = "seal"
    __table_args__ = (UniqueConstraint("previous", name="uq_seal_follows_once"),)  # the chain cannot fork

    id: Mapped[RowId]
    at: Mapped[Moment]
    through: Mapped[int]
    people: Mapped[int]
    links: Mapped[int]
    root: Mapped[Str64]
    suppressions_through: Mapped[int | None]
    suppressions: Mapped[int | None]
    suppressions_root: Mapped[Str64 | None]
    log_through: Mapped[int | None]
    log_head: Mapped[Str64 | None]
    disclosures_through: Mapped[
        int | None
    ]  # the newest entry of the disclosure log; NULL in seals from before there was one
    disclosures_head: Mapped[Str64 | None]
    wordings_through: Mapped[int | None]
    wordings: Mapped[int | None]
    wordings_root: Mapped[Str64 | None]
    previous: Mapped[Str64]
    hash: Mapped[Str64]


class Suppression(Base):
    """That an address is not to be mailed, or is again, as a keyed hash that outlives the person's row; appended only.

    The ID of an adopted key has a mark (`crypto.stored_addresses.ADOPTED_MARK`).

    What counts of several rows of an address is the matter of `subscribers.consent.suppression`.
    """

    __tablename__ = "suppression"
    __table_args__ = (Index("ix_suppression_hash", "hash", "key_id"),)  # is this address suppressed?

    id: Mapped[RowId]
    hash: Mapped[Str64]
    key_id: Mapped[Str16]
    reason: Mapped[Str40]
    at: Mapped[Moment]


class SuppressionAdoption(Base):
    """A suppression file of another installation, with its keys as encrypted JSON; see `subscribers.transfer.suppressions.suppression_adoption`.

    `reached` entries of the file and people up to number `people_reached` are done: a second run continues there. The keys
    count from the start.
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

    `batch` is the entry that sealed the rows in question, `rows` and `root` say what is left of that batch after this entry. `folded`
    rows of it became totals, `erased` of them had lost their salt, and `added` is by how much the totals of recipients grew.
    """

    __tablename__ = "disclosure_log"
    __table_args__ = (
        UniqueConstraint("previous", name="uq_disclosure_log_follows_once"),  # the chain can't fork
        Index("ix_disclosure_log_batch", "batch", "id"),  # what is left of a batch
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[Moment]
    kind: Mapped[Str20]
    source: Mapped[Str40]  # the table
    subject: Mapped[Str80]  # edition:2026-W47; empty for everything else
    batch: Mapped[int | None]
    rows: Mapped[int]
    folded: Mapped[int]
    erased: Mapped[int]
    added: Mapped[int]
    root: Mapped[Str64]
    previous: Mapped[Str64]
    hash: Mapped[Str64]
    mac: Mapped[Str64]  # by a key of the kind `commitment`


class RowCommitmentMixin:
    """The columns of a row that is sealed by a commitment; see `subscribers.consent.sealed_rows`.

    `salt` goes with the person who is erased; `sealed_in` is the entry of the disclosure log whose root covers `commitment`.
    """

    salt: Mapped[bytes | None]
    commitment: Mapped[Str64 | None]
    sealed_in: Mapped[int | None]


def row_commitment_indexes(table: str, unsealed: str = "sealed_in IS NULL") -> tuple[Index, Index]:
    """Index a table's batches, and the rows that still have to be sealed, which the condition `unsealed` tells."""
    return (
        partial_index(f"ix_{table}_sealed_in", "sealed_in", "sealed_in IS NOT NULL"),
        partial_index(f"ix_{table}_unsealed", "id", unsealed),
    )


def partial_index(name: str, columns: str | Sequence[str], condition: str) -> Index:
    """Index columns of the rows that match a condition, which is SQL."""
    names = [columns] if isinstance(columns, str) else columns
    return Index(name, *names, sqlite_where=text(condition), postgresql_where=text(condition))


class Disclosure(RowCommitmentMixin, Base):
    """One disclosure of an address out of the system that was not a delivery (those are their own record)."""

    __tablename__ = "disclosure"
    __table_args__ = (
        Index("ix_disclosure_person", "person", "at"),  # a reader's own list
        *row_commitment_indexes("disclosure"),
    )

    id: Mapped[RowId]
    person: Mapped[int | None] = mapped_column(ForeignKey("person.number"))
    at: Mapped[Moment]
    to_whom: Mapped[Str200]
    why: Mapped[Str200]
    reference: Mapped[Str200]


class DisclosureTotal(Base):
    """What remains of disclosures after 400 days: how often an address went to whom and why.

    `commitment` is that of the row as it stands, made anew whenever it grows (`subscribers.consent.disclosures.aggregate_disclosures`).
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
    """The whole list handed out as a file: to whom and why. Its parts say whose addresses went; `parts_hash` seals those."""

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
    """Whose addresses an export holds: one bit a person, from number `first` on, the lowest bit first.

    A row a person would be a million rows for one file; a bit a person is as exact, and 125 kB.
    """

    __tablename__ = "list_export_part"

    export: Mapped[int] = mapped_column(ForeignKey("list_export.id"), primary_key=True)
    first: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    bits: Mapped[bytes]


class ImportBatch(Base):
    """One list that was brought in; its people count only once `done_at` is set.

    `options` is how the operator wanted the file to be read, `reached` the last row that is processed: a second
    run of the same file with the same options goes on there. `salt` goes into the digests of network
    addresses in the chains of these people; once it is dropped, nobody can guess them back.
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
