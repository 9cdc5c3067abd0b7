"""The database's side of an import: what is known of some addresses, and everything of a step in one commit."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import compress
from typing import Any

from sqlalchemy import event, func, select, text
from sqlalchemy.orm import Session

from subscribers.consent import ledger, suppression
from subscribers.crypto.stored_addresses import AddressHashes
from subscribers.store.compiled_statements import matches_any
from subscribers.store.database import PeopleDatabase, is_postgresql
from subscribers.store.models import ConsentEvent, ImportBatch, Person
from subscribers.transfer.decisions import ConsentEventSummary, ExistingPerson
from subscribers.transfer.row_builder import DecidedRow, PersonChange

_LOCK_TIMEOUT = "200ms"
_FORCE_CUSTOM_PLAN = func.set_config("plan_cache_mode", "force_custom_plan", True)
_CACHE_KIB = 32_000  # KiB


@dataclass(frozen=True, slots=True)
class ImportStep:
    """What one commit is to write. `new_rows` and `people` belong together, and so do `people` and `events`."""

    new_rows: Sequence[DecidedRow]
    people: Sequence[dict[str, Any]]
    events: Sequence[dict[str, Any]]
    changed_rows: Sequence[DecidedRow]
    changes: Sequence[PersonChange]
    suppressed_rows: Sequence[DecidedRow]


def find_existing_people(session: Session, hashes: Sequence[AddressHashes]) -> dict[str, ExistingPerson]:
    """Find the people behind some addresses (at most 1,000), each by their address's current look-up hash."""
    current = {old: address.lookup for address in hashes for old in (address.lookup, *address.older_lookups)}
    unfinished = set(session.scalars(select(ImportBatch.id).where(ImportBatch.done_at.is_(None))))
    columns = (
        *(Person.number, Person.lookup, Person.lookup_key, Person.state, Person.batch),
        *(Person.asked_at, Person.chain_head),
    )
    rows = session.execute(select(*columns).where(matches_any(session, Person.lookup, list(current))))
    return {
        current[row.lookup]: ExistingPerson(
            number=row.number,
            state=row.state,
            batch=row.batch,
            import_unfinished=row.batch in unfinished,
            asked_at=row.asked_at,
            chain_head=row.chain_head,
            lookup=row.lookup,
            lookup_key=row.lookup_key,
        )
        for row in rows
    }


def load_event_chains(session: Session, numbers: Sequence[int]) -> dict[int, list[ConsentEventSummary]]:
    """Return the chains of some people (at most 1,000): place, kind, time and commitment of each link."""
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
    """Return why addresses (at most 1,000) are suppressed, by their current look-up hash; the others are missing."""
    rows = suppression.find_suppressions(session, [address.suppressions for address in hashes])
    return {address.lookup: row.reason for address, row in zip(hashes, rows, strict=True) if row is not None}


def reserve_person_numbers(session: Session, count: int) -> range | list[int]:
    """Take numbers for people to come: sealing needs them before the rows are there. Unused ones stay unused."""
    if is_postgresql(session):
        query = text("SELECT nextval(pg_get_serial_sequence('person', 'number')) FROM generate_series(1, :several)")
        return [int(number) for number in session.scalars(query, {"several": count})]
    # AUTOINCREMENT keeps its counter in an ordinary table that may be written (https://sqlite.org/autoinc.html).
    add = text("UPDATE sqlite_sequence SET seq = seq + :several WHERE name = 'person' RETURNING seq")
    last = session.scalar(add, {"several": count})
    if last is None:
        session.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES ('person', :several)"), {"several": count})
        last = count
    return range(int(last) - count + 1, int(last) + 1)


def lock_if_unfinished(session: Session, batch: int) -> bool:
    """Return whether an import goes on, and let nobody drop it before our commit."""
    query = select(ImportBatch.done_at).where(ImportBatch.id == batch).with_for_update()
    return session.execute(query).scalar_one() is None


def write_step(session: Session, step: ImportStep, *, now: datetime) -> list[DecidedRow]:
    """Write a step, as far as it still holds.

    Returns:
        The rows whose people or suppressions are no longer what was decided on: they are to be judged again.
    """
    _lock_suppressions(session)
    overtaken = _find_overtaken(session, step)
    if overtaken:
        step = _without_overtaken(step, overtaken)
    ledger.write_links(session, step.events, new_people=step.people)
    late = _write_changes(session, step)
    requested = [
        (row.hashes.suppressions, row.decision.suppression_reason)
        for row in step.suppressed_rows
        if row not in late and row.decision.suppression_reason is not None
    ]
    suppression.store_suppressions(session, requested, now)
    return [*overtaken.values(), *late]


def _lock_suppressions(session: Session) -> None:
    """Let nobody be suppressed between our look and our commit: `suppress` then finds the person that we add.

    SQLite's write transaction has that already. On PostgreSQL we give up soon where somebody holds a person's row
    and waits for us: theirs goes through, and the step is tried again.
    """
    if is_postgresql(session):
        session.execute(select(func.set_config("lock_timeout", _LOCK_TIMEOUT, True), _FORCE_CUSTOM_PLAN))
        session.execute(text("LOCK TABLE suppression IN SHARE ROW EXCLUSIVE MODE"))
    else:
        _defer_checkpoints(session)


def force_custom_plans(session: Session) -> None:
    """Have PostgreSQL plan each look for the table as it is now: a plan kept from its first rows reads it whole."""
    if is_postgresql(session):
        session.execute(select(_FORCE_CUSTOM_PLAN))


def _defer_checkpoints(session: Session) -> None:
    """Give SQLite room for an index of a million hashes, which each step touches all over, and keep commits short.

    A commit would else copy the whole log back into the database, and sync that too. `checkpoint_sqlite` does it between
    steps, when others may write. The connection goes back to the pool as it came.
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
    """Copy SQLite's log back into the database, as far as no reader stands in the way; it stops no writer."""
    with database.read() as session:
        if not is_postgresql(session):
            session.execute(text("PRAGMA wal_checkpoint(PASSIVE)"))


def _find_overtaken(session: Session, step: ImportStep) -> dict[str, DecidedRow]:
    """Find whom somebody else added or suppressed since the step was decided.

    A person added under the current key needs no look: the unique look-up refuses ours, and the step is judged anew.
    """
    strangers = [*step.new_rows, *(row for row in step.suppressed_rows if row.existing is None)]
    if not strangers:
        return {}
    suppressed = find_suppression_reasons(session, [row.hashes for row in strangers])
    lookups = [old for row in step.new_rows for old in row.hashes.older_lookups]
    lookups += [old for row in step.suppressed_rows for old in (row.hashes.lookup, *row.hashes.older_lookups)]
    taken_lookups: set[str | None] = set()
    if lookups:
        taken_lookups.update(session.scalars(select(Person.lookup).where(matches_any(session, Person.lookup, lookups))))
    return {
        row.hashes.lookup: row
        for row in strangers
        if _is_suppressed(row, suppressed)
        or not taken_lookups.isdisjoint((row.hashes.lookup, *row.hashes.older_lookups))
    }


def _is_suppressed(row: DecidedRow, suppressed: dict[str, str]) -> bool:
    """Return whether a suppression stands in the way of a row: one that the row itself would make graver does not."""
    reason = suppressed.get(row.hashes.lookup)
    return reason is not None and not suppression.is_graver(row.decision.suppression_reason or "", reason)


def _without_overtaken(step: ImportStep, overtaken: dict[str, DecidedRow]) -> ImportStep:
    stays = [row.hashes.lookup not in overtaken for row in step.new_rows]
    return ImportStep(
        list(compress(step.new_rows, stays)),
        list(compress(step.people, stays)),
        list(compress(step.events, stays)),
        step.changed_rows,
        step.changes,
        [row for row in step.suppressed_rows if row.hashes.lookup not in overtaken],
    )


def _write_changes(session: Session, step: ImportStep) -> list[DecidedRow]:
    """Write the links of people who were there; return those whose chain has grown meanwhile."""
    if not step.changes:
        return []
    query = (
        select(Person.number, Person.chain_head)
        .where(Person.number.in_([change.number for change in step.changes]))
        .order_by(Person.number)
        .with_for_update()
    )
    heads = {row.number: row.chain_head for row in session.execute(query)}
    sound = [change for change in step.changes if heads.get(change.number) == change.expected_head]
    events = [change.event_values for change in sound if change.event_values is not None]
    ledger.write_links(session, events, changed_people=[change.person_values for change in sound])
    pairs = zip(step.changed_rows, step.changes, strict=True)
    return [changed_row for changed_row, change in pairs if heads.get(change.number) != change.expected_head]
