"""The consent ledger: one append-only chain a person, each link hashed together with the one before it."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from subscribers.db import ConsentEvent, ConsentKind, Person, PersonState

GRANTS = frozenset({ConsentKind.CONFIRMED, ConsentKind.IMPORTED, ConsentKind.ATTESTED, ConsentKind.UNDONE})
_STANDING = {
    ConsentKind.REQUESTED: PersonState.REQUESTED,
    ConsentKind.RE_ASKED: PersonState.REQUESTED,
    ConsentKind.LISTED: PersonState.UNVERIFIED,
    **dict.fromkeys(GRANTS, PersonState.SUBSCRIBED),
    ConsentKind.WITHDRAWN: PersonState.WITHDRAWN,
    ConsentKind.EXPIRED: PersonState.WITHDRAWN,
    ConsentKind.COMPLAINED: PersonState.SUPPRESSED,
    ConsentKind.SUPPRESSED: PersonState.SUPPRESSED,
    ConsentKind.ERASED: PersonState.ERASED,
}  # the others (bounced, address changed, choices changed) leave a person where they stand
_NOT_YET = {
    PersonState.REQUESTED,
    PersonState.UNVERIFIED,
}  # neither has consented: which, the chain can't say


@dataclass(frozen=True, slots=True)
class Broken:
    """The first link that does not hold: whose chain, which link (from 1), and what is wrong with it."""

    person: int
    seq: int
    fault: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What a check of the ledger found."""

    people: int
    links: int
    broken: Broken | None


def hold(session: Session, number: int) -> Person | None:
    """Read a person for changing: whoever else wants to waits until this transaction ends."""
    return session.get(Person, number, with_for_update=True, populate_existing=True)


def append(
    session: Session, person: Person, kind: ConsentKind, body: dict[str, Any], at: datetime
) -> ConsentEvent:
    """Append what happened to a person's chain and bring their state along.

    `person` was read with `hold`, or is new. `body` holds plain JSON values; times are kept to the millisecond.
    """
    last = session.scalar(
        select(ConsentEvent.seq)
        .where(ConsentEvent.person == person.number)
        .order_by(ConsentEvent.seq.desc())
        .limit(1)
    )
    event = ConsentEvent(
        person=person.number,
        seq=(last or 0) + 1,
        kind=kind,
        at=to_the_millisecond(at),
        body=canonical(body),
        previous=person.chain_head,
    )
    event.hash = person.chain_head = link_hash(event)
    person.state = standing(person.state, kind)
    if kind == ConsentKind.CONFIRMED:
        person.batch = None  # their own word: it counts, whatever becomes of the import that named them first
    session.add(event)
    session.flush()
    return event


def standing(before: PersonState, kind: ConsentKind) -> PersonState:
    """Decide where a person stands after `kind` happened to somebody who stood at `before`."""
    return _STANDING.get(kind, before)


def canonical(body: dict[str, Any]) -> str:
    """Write JSON in the one form that is hashed: sorted keys, no spaces, letters as they are."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def link_hash(event: ConsentEvent) -> str:
    """Compute the hash (64 hex digits) of one link from everything that it says."""
    return hash_of(event.person, event.seq, event.kind, event.at, body=event.body, previous=event.previous)


def hash_of(person: int, seq: int, kind: ConsentKind, at: datetime, *, body: str, previous: str) -> str:
    """Compute the hash of a link that stands in no row yet: imports make many at once."""
    said = {
        "previous": previous,
        "person": person,
        "seq": seq,
        "kind": str(kind),
        "at": at.astimezone(UTC).isoformat(timespec="milliseconds"),
        "body": body,
    }
    return hashlib.sha256(canonical(said).encode()).hexdigest()


def to_the_millisecond(at: datetime) -> datetime:
    """Cut a time to what a link keeps."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def verify(session: Session) -> Verified:
    """Check every link of every chain, its place, the head that the person's row names, and their state.

    What it cannot show: a whole chain, with its person, replaced by another that is sound in itself.
    """
    people = links = 0
    broken: Broken | None = None
    for person, events in _chains(session):
        people += 1
        links += len(events)
        broken = broken or _check(person, events)
    return Verified(people, links, broken or _orphan(session))


def _check(person: Person, events: list[ConsentEvent]) -> Broken | None:
    head, state = "", PersonState.REQUESTED
    for place, event in enumerate(events, start=1):
        if event.seq != place:
            return Broken(person.number, place, f"link {place} is missing; the next there is {event.seq}")
        if event.previous != head:
            return Broken(person.number, place, "it does not follow from the link before it")
        if event.hash != link_hash(event):
            return Broken(person.number, place, "its content is not what was hashed")
        head, state = event.hash, standing(state, event.kind)
    if head != person.chain_head:
        return Broken(
            person.number, len(events) + 1, "the chain's last link is not the one that the person names"
        )
    if events and state != person.state and {state, person.state} != _NOT_YET:
        return Broken(
            person.number, len(events), f"by the chain the person is {state}, the row says {person.state}"
        )
    return None


def _chains(session: Session, page: int = 500) -> Iterator[tuple[Person, list[ConsentEvent]]]:
    """Walk people by number, each with their links in order, holding one page in memory."""
    after = 0
    while people := list(
        session.scalars(select(Person).where(Person.number > after).order_by(Person.number).limit(page))
    ):
        after = people[-1].number
        within = and_(ConsentEvent.person >= people[0].number, ConsentEvent.person <= after)
        chains: dict[int, list[ConsentEvent]] = {p.number: [] for p in people}
        for event in session.scalars(
            select(ConsentEvent).where(within).order_by(ConsentEvent.person, ConsentEvent.seq)
        ):
            chains.setdefault(event.person, []).append(event)
        for person in people:
            yield person, chains[person.number]
        session.expunge_all()


def _orphan(session: Session) -> Broken | None:
    """Find a link whose person is gone: people are emptied, never removed."""
    gone = (
        select(ConsentEvent)
        .outerjoin(Person, Person.number == ConsentEvent.person)
        .where(Person.number.is_(None))
        .order_by(ConsentEvent.person, ConsentEvent.seq)
        .limit(1)
    )
    event = session.scalar(gone)
    return (
        Broken(event.person, event.seq, "it belongs to nobody: the person's row is gone") if event else None
    )
