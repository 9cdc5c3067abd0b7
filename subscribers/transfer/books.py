"""The database's side of an import: what is known of some addresses, and everything of a step in one commit."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from itertools import compress
from typing import Any, Protocol, cast

from sqlalchemy import Table, bindparam, event, func, insert, select, text, tuple_, update
from sqlalchemy.orm import Session

from subscribers.db import ConsentEvent, ImportBatch, Person, Suppression
from subscribers.suppression import gravity
from subscribers.transfer.bulk import among, insert_many
from subscribers.transfer.deciding import Known, Link
from subscribers.transfer.sealing import Change, Hashes, Settled

_PEOPLE = cast("Table", Person.__table__)  # not the classes: those would go through the ORM, row by row
_EVENTS = cast("Table", ConsentEvent.__table__)
_LOCK_WAIT = "200ms"
_PLAN_ANEW = func.set_config("plan_cache_mode", "force_custom_plan", True)
_CACHE = 32_000  # KiB
_CHANGED = update(_PEOPLE).where(_PEOPLE.c.number == bindparam("changed"))


class Books(Protocol):
    """Where people are kept: sessions for looking, and sessions that commit at the end of their block."""

    def read(self) -> AbstractContextManager[Session]:
        """Lend a session for looking only."""

    def write(self) -> AbstractContextManager[Session]:
        """Lend a session that commits."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one commit is to write. `new` and `people` belong together, and so do `people` and `events`."""

    new: Sequence[Settled]
    people: Sequence[dict[str, Any]]
    events: Sequence[dict[str, Any]]
    changing: Sequence[Settled]
    changes: Sequence[Change]
    barring: Sequence[Settled]


def find(session: Session, hashes: Sequence[Hashes]) -> dict[str, Known]:
    """Find the people behind some addresses (at most 1,000), each by their address's current look-up hash."""
    current = {old: one.lookup for one in hashes for old in (one.lookup, *one.older)}
    unfinished = set(session.scalars(select(ImportBatch.id).where(ImportBatch.done_at.is_(None))))
    columns = (
        *(Person.number, Person.lookup, Person.lookup_key, Person.state, Person.batch),
        *(Person.asked_at, Person.chain_head),
    )
    found: dict[str, Known] = {}
    for row in session.execute(select(*columns).where(among(session, Person.lookup, list(current)))):
        found[current[row.lookup]] = Known(
            number=row.number,
            state=row.state,
            batch=row.batch,
            pending=row.batch in unfinished,
            asked_at=row.asked_at,
            chain_head=row.chain_head,
            lookup=row.lookup,
            lookup_key=row.lookup_key,
        )
    return found


def links(session: Session, numbers: Sequence[int]) -> dict[int, list[Link]]:
    """Give the chains of some people (at most 1,000): place, kind and time of each link."""
    query = (
        select(ConsentEvent.person, ConsentEvent.seq, ConsentEvent.kind, ConsentEvent.at)
        .where(ConsentEvent.person.in_(numbers))
        .order_by(ConsentEvent.person, ConsentEvent.seq)
    )
    chains: dict[int, list[Link]] = {number: [] for number in numbers}
    for row in session.execute(query):
        chains[row.person].append(Link(row.seq, row.kind, row.at))
    return chains


def barred(session: Session, hashes: Sequence[Hashes]) -> dict[str, str]:
    """Give those of some addresses (at most 1,000) that are suppressed, by whichever key, with the gravest reason."""
    lookups = {pair: one.lookup for one in hashes for pair in one.suppressions}
    by_key: dict[str, list[str]] = {}
    for value, key_id in lookups:
        by_key.setdefault(key_id, []).append(value)
    found: dict[str, str] = {}
    for key_id, values in by_key.items():
        query = select(Suppression.hash, Suppression.reason).where(
            among(session, Suppression.hash, values), Suppression.key_id == key_id
        )
        for hashed, reason in session.execute(query):
            who = lookups[hashed, key_id]
            found[who] = min(found.get(who, reason), reason, key=gravity)
    return found


def reserve(session: Session, several: int) -> range | list[int]:
    """Take numbers for people to come: sealing needs them before the rows are there. Unused ones stay unused."""
    if session.get_bind().dialect.name == "postgresql":
        query = text(
            "SELECT nextval(pg_get_serial_sequence('person', 'number')) FROM generate_series(1, :several)"
        )
        return [int(number) for number in session.scalars(query, {"several": several})]
    # AUTOINCREMENT keeps its counter in an ordinary table that may be written (https://sqlite.org/autoinc.html).
    add = text("UPDATE sqlite_sequence SET seq = seq + :several WHERE name = 'person' RETURNING seq")
    last = session.scalar(add, {"several": several})
    if last is None:
        session.execute(
            text("INSERT INTO sqlite_sequence (name, seq) VALUES ('person', :several)"), {"several": several}
        )
        last = several
    return range(int(last) - several + 1, int(last) + 1)


def still_open(session: Session, batch: int) -> bool:
    """Say whether an import goes on, and let nobody drop it before our commit."""
    query = select(ImportBatch.done_at).where(ImportBatch.id == batch).with_for_update()
    return session.execute(query).scalar_one() is None


def write(session: Session, step: Step, *, now: datetime) -> list[Settled]:
    """Write a step, as far as it still holds.

    Returns:
        The rows whose people or suppressions are no longer what was decided on: they are to be judged again.
    """
    _prepare(session)
    again = _overtaken(session, step)
    if again:
        step = _without(step, again)
    if step.people:
        insert_many(session, _PEOPLE, step.people)
        insert_many(session, _EVENTS, step.events)
    late = _change(session, step)
    _bar(session, [one for one in step.barring if one not in late], now)
    return [*again.values(), *late]


def _prepare(session: Session) -> None:
    """Let nobody be suppressed between our look and our commit: `suppress` then finds the person that we add.

    SQLite's write transaction has that already. On PostgreSQL we give up soon where somebody holds a person's row
    and waits for us: theirs goes through, and the step is tried again.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.set_config("lock_timeout", _LOCK_WAIT, True), _PLAN_ANEW))
        session.execute(text("LOCK TABLE suppression IN SHARE ROW EXCLUSIVE MODE"))
    else:
        _leave_checkpoints_for_later(session)


def plan_anew(session: Session) -> None:
    """Have PostgreSQL plan each look for the table as it is now: a plan kept from its first rows reads it whole."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(_PLAN_ANEW))


def _leave_checkpoints_for_later(session: Session) -> None:
    """Give SQLite room for an index of a million hashes, which each step touches all over, and keep commits short.

    A commit would else copy the whole log back into the database, and sync that too. `checkpoint` does it between
    steps, when others may write. The connection goes back to the pool as it came.
    """
    driver: Any = session.connection().connection.driver_connection
    (usual,) = driver.execute("PRAGMA wal_autocheckpoint").fetchone()
    driver.execute(f"PRAGMA cache_size = -{_CACHE}")
    driver.execute("PRAGMA wal_autocheckpoint = 0")

    def restore(_session: Session, *_: Any) -> None:
        driver.execute(f"PRAGMA wal_autocheckpoint = {usual}")

    event.listen(session, "after_commit", restore)
    event.listen(session, "after_soft_rollback", restore)


def checkpoint(books: Books) -> None:
    """Copy SQLite's log back into the database, as far as no reader stands in the way; it stops no writer."""
    with books.read() as session:
        if session.get_bind().dialect.name == "sqlite":
            session.execute(text("PRAGMA wal_checkpoint(PASSIVE)"))


def _overtaken(session: Session, step: Step) -> dict[str, Settled]:
    """Find whom somebody else added or suppressed since the step was decided.

    A person added under the current key needs no look: the unique look-up refuses ours, and the step is judged anew.
    """
    strangers = [*step.new, *(one for one in step.barring if one.known is None)]
    if not strangers:
        return {}
    shut = barred(session, [one.hashes for one in strangers])
    asked = [old for one in step.new for old in one.hashes.older]
    asked += [old for one in step.barring for old in (one.hashes.lookup, *one.hashes.older)]
    taken: set[str | None] = set()
    if asked:
        taken.update(session.scalars(select(Person.lookup).where(among(session, Person.lookup, asked))))
    return {
        one.hashes.lookup: one
        for one in strangers
        if _shut(one, shut) or not taken.isdisjoint((one.hashes.lookup, *one.hashes.older))
    }


def _shut(one: Settled, shut: dict[str, str]) -> bool:
    """Say whether a suppression stands in the way of a row: one that the row itself would make graver does not."""
    there = shut.get(one.hashes.lookup)
    return there is not None and not _raises(one, there)


def _raises(one: Settled, there: str) -> bool:
    return one.decision.suppress is not None and gravity(one.decision.suppress) < gravity(there)


def _without(step: Step, again: dict[str, Settled]) -> Step:
    stays = [one.hashes.lookup not in again for one in step.new]
    return Step(
        list(compress(step.new, stays)),
        list(compress(step.people, stays)),
        list(compress(step.events, stays)),
        step.changing,
        step.changes,
        [one for one in step.barring if one.hashes.lookup not in again],
    )


def _change(session: Session, step: Step) -> list[Settled]:
    """Write the links of people who were there; give back those whose chain has grown meanwhile."""
    if not step.changes:
        return []
    query = (
        select(Person.number, Person.chain_head)
        .where(Person.number.in_([change.number for change in step.changes]))
        .order_by(Person.number)
        .with_for_update()
    )
    heads = {row.number: row.chain_head for row in session.execute(query)}
    sound = [change for change in step.changes if heads.get(change.number) == change.expected]
    events = [change.event for change in sound if change.event is not None]
    for fields in {tuple(sorted(change.person)) for change in sound}:
        rows = [
            {"changed": change.number, **change.person}
            for change in sound
            if tuple(sorted(change.person)) == fields
        ]
        session.execute(_CHANGED.values({name: bindparam(name) for name in fields}), rows)
    if events:
        insert_many(session, _EVENTS, events)
    pairs = zip(step.changing, step.changes, strict=True)
    return [one for one, change in pairs if heads.get(change.number) != change.expected]


def _bar(session: Session, barring: Sequence[Settled], now: datetime) -> None:
    """Write suppressions under the current key; of those that stand already, only lighter ones are changed."""
    if not barring:
        return
    shut = barred(session, [one.hashes for one in barring])
    rows = []
    for one in barring:
        there, reason = shut.get(one.hashes.lookup), one.decision.suppress
        if there is None:
            hashed, key_id = one.hashes.suppressions[-1]
            rows.append({"hash": hashed, "key_id": key_id, "reason": reason, "at": now})
        elif _raises(one, there):
            theirs = tuple_(Suppression.hash, Suppression.key_id).in_(one.hashes.suppressions)
            session.execute(update(Suppression).where(theirs).values(reason=reason, at=now))
    if rows:
        session.execute(insert(Suppression), rows)
