"""The database side of an import: looking up addresses, and writing each step in one commit."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import event, func, select, text
from sqlalchemy.orm import Session

from subscribers.consent import ledger, suppression
from subscribers.consent.suppression import SuppressionReason
from subscribers.crypto.stored_addresses import AddressHashes
from subscribers.store.compiled_statements import Columns, build_any_hash_condition
from subscribers.store.database import PeopleDatabase, is_postgresql
from subscribers.store.models import ConsentEvent, ImportBatch, Person
from subscribers.transfer.decisions import ConsentEventSummary, ExistingPerson
from subscribers.transfer.import_undo import check_no_undo_interrupted
from subscribers.transfer.row_builder import PersonChange

_LOCK_TIMEOUT = "200ms"
_PLAN_CACHE_MODE = "plan_cache_mode"
_CACHE_KIB = 32_000  # in KiB


class ConcurrentChangeError(Exception):
    """Raised when another process changed something that a step was based on."""


class RequestedSuppression(NamedTuple):
    """An address to suppress because of a row, and whether it belongs to a person in the database."""

    hashes: AddressHashes
    reason: SuppressionReason
    of_person: bool


@dataclass(frozen=True, slots=True)
class ImportStep:
    """The content of one commit of an import.

    It only contains hashes and ciphertexts of addresses, so another process can write it.
    `newcomers` are the hashes for the rows of `people`, whose first events are in `events`.
    """

    newcomers: Sequence[AddressHashes]
    people: Columns
    events: Columns
    changes: Sequence[PersonChange]
    suppressions: Sequence[RequestedSuppression]


def find_existing_people(session: Session, hashes: Sequence[AddressHashes]) -> dict[str, ExistingPerson]:
    """Return the people who have these addresses (at most 1,000), by the current lookup hash of the address.

    Raises:
        ImportUndoError: an import is being undone, even if its undo began after this import.
    """
    check_no_undo_interrupted(session)
    current = {old: address.lookup for address in hashes for old in (address.lookup, *address.older_lookups)}
    statement = select(ImportBatch.id).where(ImportBatch.done_at.is_(None))
    unfinished = set(session.scalars(statement))
    columns = (
        *(Person.number, Person.lookup, Person.lookup_key, Person.state, Person.batch),
        *(Person.asked_at, Person.chain_head, Person.choices),
    )
    query = select(*columns).where(build_any_hash_condition(session, Person.lookup, list(current)))
    rows = session.execute(query).mappings()
    return {current[row["lookup"]]: ExistingPerson(**row, import_unfinished=row["batch"] in unfinished) for row in rows}


def load_event_chains(session: Session, numbers: Sequence[int]) -> dict[int, list[ConsentEventSummary]]:
    """Return people's chains (for at most 1,000 people), by number.

    Each event has its position, kind, time, and commitment.
    """
    query = (
        select(ConsentEvent.person, ConsentEvent.seq, ConsentEvent.kind, ConsentEvent.at, ConsentEvent.commitment)
        .where(ConsentEvent.person.in_(numbers))
        .order_by(ConsentEvent.person, ConsentEvent.seq)
    )
    chains: dict[int, list[ConsentEventSummary]] = {number: [] for number in numbers}
    for row in session.execute(query):
        chains[row.person].append(ConsentEventSummary(row.seq, row.kind, row.at, row.commitment))
    return chains


def find_suppression_reasons(session: Session, hashes: Sequence[AddressHashes]) -> dict[str, str]:
    """Return the suppression reasons for addresses (at most 1,000), by current lookup hash.

    Addresses that aren't suppressed are omitted.
    """
    rows = suppression.find_suppressions(session, [address.suppressions for address in hashes])
    pairs = zip(hashes, rows, strict=True)
    return {address.lookup: row.reason for address, row in pairs if row is not None}


def reserve_person_numbers(session: Session, count: int) -> Sequence[int]:
    """Reserve numbers for new people.

    They're needed for encryption before the rows exist. Some may never be used.
    """
    if is_postgresql(session):
        # OFFSET 0 makes PostgreSQL look up the name of the sequence only once.
        query = text(
            "SELECT array_agg(nextval(name)) FROM generate_series(1, :several),"
            " (SELECT CAST(pg_get_serial_sequence('person', 'number') AS regclass) AS name OFFSET 0) AS sequence"
        )
        numbers: list[int] = session.execute(query, {"several": count}).scalar_one()
        return numbers
    # AUTOINCREMENT keeps its counter in an ordinary, writable table
    # (https://sqlite.org/autoinc.html).
    add = text("UPDATE sqlite_sequence SET seq = seq + :several WHERE name = 'person' RETURNING seq")
    last = session.scalar(add, {"several": count})
    if last is None:
        session.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES ('person', :several)"), {"several": count})
        last = count
    return range(int(last) - count + 1, int(last) + 1)


def lock_unfinished_batch(session: Session, batch: int) -> int | None:
    """Lock an import until the commit, and return its last processed row, or None if the import has ended."""
    query = select(ImportBatch.done_at, ImportBatch.reached).where(ImportBatch.id == batch).with_for_update()
    row = session.execute(query).one()
    return row.reached if row.done_at is None else None


def write_step(
    session: Session,
    step: ImportStep,
    links: ledger.NewPeopleWithFirstLinks,
    *,
    now: datetime,
) -> None:
    """Write a step whose people and events are in `links` (from `ledger.prepare_people_with_first_links`).

    Raises:
        ConcurrentChangeError: the step is outdated; roll back the transaction, and decide the
            step again.
    """
    _lock_suppressions(session)
    with force_custom_plans(session):
        _check_strangers(session, step)
        _lock_changed_people(session, step)
    ledger.insert_people_with_first_links(session, links)
    events = [event for change in step.changes for event in change.events]
    ledger.insert_chain_links(session, events, changed_people=[change.person_values for change in step.changes])
    if step.suppressions:
        with force_custom_plans(session):
            suppressions = [(requested.hashes.suppressions, requested.reason) for requested in step.suppressions]
            suppression.store_suppressions(session, suppressions, now)


def _lock_suppressions(session: Session) -> None:
    """Block suppressions between the check and the commit, so that `suppress` will find the person who was added.

    SQLite's write transaction already does that. On PostgreSQL, give up soon if another transaction holds
    a person's row and waits for this one. The other transaction succeeds, and the step is tried again.
    """
    if is_postgresql(session):
        session.execute(select(func.set_config("lock_timeout", _LOCK_TIMEOUT, True)))
        session.execute(text("LOCK TABLE suppression IN SHARE ROW EXCLUSIVE MODE"))
    else:
        _defer_checkpoints(session)


@contextmanager
def force_custom_plans(session: Session) -> Iterator[None]:
    """During the block, make PostgreSQL plan each query for the table's current contents.

    A plan from its first rows would scan it. This is only for lookups. Otherwise, the foreign key
    check would be planned again for each written row.
    """
    if is_postgresql(session):
        session.execute(select(func.set_config(_PLAN_CACHE_MODE, "force_custom_plan", True)))
    yield
    if is_postgresql(session):
        session.execute(select(func.set_config(_PLAN_CACHE_MODE, "auto", True)))


def _defer_checkpoints(session: Session) -> None:
    """Enlarge SQLite's cache, because each step uses all parts of an index of a million hashes.

    Commits are kept short. Otherwise, a commit would also copy the whole log back into the
    database, and sync it. `checkpoint_sqlite` does that between steps, when others can write. The
    connection is returned to the pool unchanged.
    """
    driver: Any = session.connection().connection.driver_connection
    (usual,) = driver.execute("PRAGMA wal_autocheckpoint").fetchone()
    driver.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    driver.execute("PRAGMA wal_autocheckpoint = 0")

    def restore(_session: Session, *_: Any) -> None:
        driver.execute(f"PRAGMA wal_autocheckpoint = {usual}")

    event.listen(session, "after_commit", restore)
    event.listen(session, "after_soft_rollback", restore)


def checkpoint_sqlite(database: PeopleDatabase) -> None:
    """Copy SQLite's log back into the database, as far as readers permit.

    Writers aren't blocked.
    """
    with database.read() as session:
        if not is_postgresql(session):
            session.execute(text("PRAGMA wal_checkpoint(PASSIVE)"))


def _check_strangers(session: Session, step: ImportStep) -> None:
    """Raise an error if another process has added or suppressed a person who was unknown when the step was decided.

    A person added with the current key doesn't have to be checked. Their unique lookup hash
    prevents ours from being inserted, and the step is decided again.

    Raises:
        ConcurrentChangeError: a person was added or suppressed.
    """
    unknown = [requested for requested in step.suppressions if not requested.of_person]
    strangers = _list_strangers(step.newcomers, unknown)
    lookups = [lookup for hashes, _ in strangers for lookup in hashes.older_lookups]
    lookups += [requested.hashes.lookup for requested in unknown]
    if strangers and (_is_suppressed_since(session, strangers) or _is_there(session, lookups)):
        raise ConcurrentChangeError


def _list_strangers(
    newcomers: Iterable[AddressHashes], suppressions: Iterable[RequestedSuppression]
) -> list[tuple[AddressHashes, str]]:
    """Return the people who weren't on the list, each with the reason to suppress them, or "" for newcomers."""
    to_suppress = [(requested.hashes, requested.reason) for requested in suppressions]
    return [*((hashes, "") for hashes in newcomers), *to_suppress]


def _is_suppressed_since(session: Session, strangers: Sequence[tuple[AddressHashes, str]]) -> bool:
    """Return True if any of the addresses has been suppressed.

    A suppression that's milder than that of the row doesn't count.
    """
    suppressed = find_suppression_reasons(session, [hashes for hashes, _ in strangers])
    return any(
        hashes.lookup in suppressed and not suppression.outweighs_reason(reason, suppressed[hashes.lookup])
        for hashes, reason in strangers
    )


def _is_there(session: Session, lookups: Sequence[str]) -> bool:
    return bool(lookups) and (
        session.scalar(select(Person.number).where(build_any_hash_condition(session, Person.lookup, lookups)).limit(1))
        is not None
    )


def _lock_changed_people(session: Session, step: ImportStep) -> None:
    """Lock the people whose chains the step extends.

    Raises:
        ConcurrentChangeError: a chain has grown since the step was decided.
    """
    if not step.changes:
        return
    query = (
        select(Person.number, Person.chain_head)
        .where(Person.number.in_([change.number for change in step.changes]))
        .order_by(Person.number)
        .with_for_update()
    )
    heads = {row.number: row.chain_head for row in session.execute(query)}
    if any(heads.get(change.number) != change.expected_head for change in step.changes):
        raise ConcurrentChangeError
