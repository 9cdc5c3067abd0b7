"""Dropping an import that was not finished: nobody whom it brought stays, and whoever was there before stands as before.

The chains of those who go are closed with a link, not removed: a seal may cover them already. They hold no address.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Table, bindparam, func, insert, select, update
from sqlalchemy.orm import Session

from subscribers import ledger
from subscribers.db import ConsentEvent, ConsentKind, ImportBatch, Person, PersonState
from subscribers.transfer.books import Books, links

PAGE = 500  # people a transaction
_NEVER_COUNTED = frozenset({PersonState.SUBSCRIBED, PersonState.UNVERIFIED})


@dataclass(slots=True)
class Abandoned:
    """How many people went, and how many who were there before stand as they did."""

    gone: int = 0
    stay: int = 0


def abandon(books: Books, batch: int, *, actor: str, now: datetime) -> Abandoned | None:
    """Drop an import; None where there is no such one, or it was finished. Cut short, it is finished by the next run.

    Departures that the file told of stay: they were ours to heed. The file can be imported again afterwards.
    """
    with books.read() as session:
        row = session.get(ImportBatch, batch)
        if row is None or row.done_at is not None:
            return None
    done, after = Abandoned(), 0
    while True:
        with books.write() as session:
            _hold(session, batch)
            people = _page(session, batch, after)
            if not people and not after:
                _close(session, batch, now)
                return done
            _drop(session, batch, people, done, actor=actor, now=now)
            after = (
                people[-1].number if people else 0
            )  # once more from the start: an import may run on beside us


def _hold(session: Session, batch: int) -> None:
    """Let no import go on with this batch while we look: it takes the same row at every step."""
    session.execute(select(ImportBatch.id).where(ImportBatch.id == batch).with_for_update())


def _page(session: Session, batch: int, after: int) -> Sequence[Any]:
    query = (
        select(Person.number, Person.state, Person.chain_head)
        .where(Person.batch == batch, Person.number > after)
        .order_by(Person.number)
        .limit(PAGE)
        .with_for_update()
    )
    return session.execute(query).all()


def _close(session: Session, batch: int, now: datetime) -> None:
    """Mark the batch as over, so that its file is not taken for one that came in before."""
    row = session.get_one(ImportBatch, batch)
    row.done_at, row.counts, row.salt = now, {}, None
    row.options = {**row.options, "abandoned": True}


def _drop(
    session: Session, batch: int, people: Sequence[Any], done: Abandoned, *, actor: str, now: datetime
) -> None:
    """Empty those whom this import alone brought; take its word back from the others."""
    chains = links(session, [person.number for person in people])
    events: list[dict[str, Any]] = []
    gone: list[int] = []
    heads: list[dict[str, Any]] = []
    for person in people:
        chain, kind = chains[person.number], None
        if len(chain) == 1 and person.state in _NEVER_COUNTED:
            kind = ConsentKind.ERASED
            gone.append(person.number)
        elif person.state is PersonState.SUBSCRIBED:
            kind = ConsentKind.EXPIRED
        if kind is not None:
            event = _event(person, chain[-1].seq + 1, kind, batch, actor, now)
            events.append(event)
            state = ledger.standing(person.state, kind)
            heads.append({"of": person.number, "to": state, "head": event["hash"]})
    if events:
        session.execute(insert(_table(ConsentEvent)), events)
        of = update(_table(Person)).where(Person.number == bindparam("of"))
        session.connection().execute(of.values(state=bindparam("to"), chain_head=bindparam("head")), heads)
    numbers = [person.number for person in people]
    session.execute(update(Person).where(Person.number.in_(numbers)).values(batch=None))
    emptied = ("lookup", "lookup_key", "domain_tag", "ciphertext", "key_id")
    session.execute(update(Person).where(Person.number.in_(gone)).values(dict.fromkeys(emptied)))
    done.gone += len(gone)
    done.stay += len(people) - len(gone)


def _event(person: Any, seq: int, kind: ConsentKind, batch: int, actor: str, now: datetime) -> dict[str, Any]:
    at = ledger.to_the_millisecond(now)
    body = ledger.canonical({"actor": actor, "batch": batch, "method": "import abandoned"})
    hashed = ledger.hash_of(person.number, seq, kind, at, body=body, previous=person.chain_head)
    return {
        "person": person.number,
        "seq": seq,
        "kind": kind,
        "at": at,
        "body": body,
        "previous": person.chain_head,
        "hash": hashed,
    }


def _table(of: type[Person] | type[ConsentEvent]) -> Table:
    table = of.__table__
    assert isinstance(table, Table)
    return table


def people_of(session: Session, batch: int) -> int:
    """Count the people who stand in an import."""
    return session.scalar(select(func.count()).select_from(Person).where(Person.batch == batch)) or 0
