"""Dropping an import that was not finished: nobody whom it brought stays, and whoever was there before stands as before.

The chains of those who go are closed with a link, not removed: a seal may cover them already. They hold no address.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from subscribers.consent import ledger
from subscribers.store.database import PeopleDatabase
from subscribers.store.models import ConsentKind, ImportBatch, Person, PersonState
from subscribers.store.people import empty_people
from subscribers.transfer.import_store import load_event_chains

PAGE_SIZE = 500  # people a transaction
_IMPORTED_STATES = frozenset({PersonState.SUBSCRIBED, PersonState.UNVERIFIED})
_SILENT_KINDS = frozenset({ConsentKind.BOUND, ConsentKind.LINKS_RENEWED})  # not a person's word on being subscribed


@dataclass(slots=True)
class AbandonmentResult:
    """How many people went, and how many who were there before stand as they did."""

    removed: int = 0
    kept: int = 0


def abandon_batch(database: PeopleDatabase, batch: int, *, actor: str, now: datetime) -> AbandonmentResult | None:
    """Drop an import; None where there is no such one, or it was finished. Cut short, it is finished by the next run.

    Departures that the file told of stay: they were ours to heed. The file can be imported again afterwards.
    """
    with database.read() as session:
        row = session.get(ImportBatch, batch)
        if row is None or row.done_at is not None:
            return None
    result, after = AbandonmentResult(), 0
    while True:
        with database.write() as session:
            # No import goes on with this batch while we look: it takes the same row at every step.
            session.execute(select(ImportBatch.id).where(ImportBatch.id == batch).with_for_update())
            people = _next_people(session, batch, after)
            if not people and not after:
                _close_batch(session, batch, now)
                return result
            _remove_people(session, batch, people, result, actor=actor, now=now)
            after = people[-1].number if people else 0  # once more from the start: an import may run on beside us


def _next_people(session: Session, batch: int, after: int) -> Sequence[Any]:
    query = (
        select(Person.number, Person.state, Person.chain_head)
        .where(Person.batch == batch, Person.number > after)
        .order_by(Person.number)
        .limit(PAGE_SIZE)
        .with_for_update()
    )
    return session.execute(query).all()


def _close_batch(session: Session, batch: int, now: datetime) -> None:
    """Mark the batch as over, so that its file is not taken for one that came in before."""
    row = session.get_one(ImportBatch, batch)
    row.done_at, row.counts, row.salt = now, {}, None
    row.options = {**row.options, "abandoned": True}


def _remove_people(
    session: Session, batch: int, people: Sequence[Any], result: AbandonmentResult, *, actor: str, now: datetime
) -> None:
    """Empty those whom this import alone brought; take its word back from the others."""
    chains = load_event_chains(session, [person.number for person in people])
    body = ledger.canonical_json({"actor": actor, "batch": batch, "method": "import abandoned"})
    events: list[dict[str, Any]] = []
    changes: list[dict[str, Any]] = []
    removed: list[int] = []
    for person in people:
        chain, kind = chains[person.number], None
        change: dict[str, Any] = {"number": person.number, "batch": None}
        if len([link for link in chain if link.kind not in _SILENT_KINDS]) == 1 and person.state in _IMPORTED_STATES:
            kind = ConsentKind.ERASED
            removed.append(person.number)
        elif person.state is PersonState.SUBSCRIBED:
            kind = ConsentKind.EXPIRED
        if kind is not None:
            link = ledger.build_link(
                person.number,
                person.state,
                kind,
                body,
                now,
                seq=chain[-1].seq + 1,
                previous=person.chain_head,
                commitment=chain[-1].commitment,
            )
            events.append(link.event)
            change |= link.person
        changes.append(change)
    ledger.write_links(session, events, changed_people=changes)
    empty_people(session, removed)
    result.removed += len(removed)
    result.kept += len(people) - len(removed)


def count_batch_people(session: Session, batch: int) -> int:
    """Count the people who stand in an import."""
    return session.scalar(select(func.count()).select_from(Person).where(Person.batch == batch)) or 0
