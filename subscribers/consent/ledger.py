"""The consent ledger: one append-only chain a person, each link hashed together with the one before it."""

import hashlib
import json
from datetime import UTC, datetime
from json.encoder import encode_basestring
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from subscribers.store.models import ConsentEvent, ConsentKind, Person, PersonState

GRANT_KINDS = frozenset({ConsentKind.CONFIRMED, ConsentKind.IMPORTED, ConsentKind.ATTESTED, ConsentKind.UNDONE})
_STATE_AFTER = {
    **dict.fromkeys(GRANT_KINDS, PersonState.SUBSCRIBED),
    ConsentKind.WITHDRAWN: PersonState.WITHDRAWN,
    ConsentKind.COMPLAINED: PersonState.SUPPRESSED,
    ConsentKind.SUPPRESSED: PersonState.SUPPRESSED,
    ConsentKind.ERASED: PersonState.ERASED,
}  # the others (requested, bounced, address changed, choices changed) leave a person where they stand
_UNDECIDED_TRANSITIONS = {
    (PersonState.UNVERIFIED, ConsentKind.RE_ASKED): PersonState.REQUESTED,
    (PersonState.REQUESTED, ConsentKind.LISTED): PersonState.UNVERIFIED,
    (PersonState.REQUESTED, ConsentKind.EXPIRED): PersonState.WITHDRAWN,
    (PersonState.UNVERIFIED, ConsentKind.EXPIRED): PersonState.WITHDRAWN,
    (PersonState.SUBSCRIBED, ConsentKind.EXPIRED): PersonState.UNVERIFIED,  # the import was dropped
}  # these move nobody who left, or consented by their own word: anybody can type an address into a form


def lock_person(session: Session, number: int) -> Person | None:
    """Read a person for changing: whoever else wants to waits until this transaction ends."""
    return session.get(Person, number, with_for_update=True, populate_existing=True)


def append_event(
    session: Session, person: Person, kind: ConsentKind, body: dict[str, Any], at: datetime
) -> ConsentEvent:
    """Append what happened to a person's chain and bring their state along.

    `person` was read with `lock_person`, or is new. `body` holds plain JSON values; times are kept to the millisecond.
    """
    last = session.scalar(
        select(ConsentEvent.seq).where(ConsentEvent.person == person.number).order_by(ConsentEvent.seq.desc()).limit(1)
    )
    event = ConsentEvent(
        person=person.number,
        seq=(last or 0) + 1,
        kind=kind,
        at=truncate_to_millisecond(at),
        body=canonical_json(body),
        previous=person.chain_head,
    )
    event.hash = person.chain_head = hash_event(event)
    person.state = next_state(person.state, kind)
    if kind == ConsentKind.CONFIRMED:
        person.batch = None  # their own word: it counts, whatever becomes of the import that named them first
    session.add(event)
    session.flush()
    return event


def next_state(state: PersonState, kind: ConsentKind) -> PersonState:
    """Decide where a person stands after `kind` happened to somebody who stood at `state`.

    A request moves nobody: who left has left until they confirm, or a form would open the door to an import.
    """
    return _STATE_AFTER.get(kind) or _UNDECIDED_TRANSITIONS.get((state, kind), state)


_CANONICAL_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_json(body: dict[str, Any]) -> str:
    """Write JSON in the one form that is hashed: sorted keys, no spaces, letters as they are."""
    return _CANONICAL_ENCODER.encode(body)


def hash_event(event: ConsentEvent) -> str:
    """Compute the hash (64 hex digits) of one link from everything that it says."""
    return hash_link(event.person, event.seq, event.kind, event.at, body=event.body, previous=event.previous)


def hash_link(person: int, seq: int, kind: ConsentKind, at: datetime, *, body: str, previous: str) -> str:
    """Compute the hash of a link that stands in no row yet: imports make many at once."""
    moment = at.astimezone(UTC).isoformat(timespec="milliseconds")
    return hash_raw_link(person, seq, kind, moment, body=body, previous=previous)


def hash_raw_link(person: int, seq: int, kind: str, moment: str, *, body: str, previous: str) -> str:
    """Compute the hash of a link from the very texts that it consists of; `moment` as 2026-11-20T12:00:00.123+00:00.

    What is hashed is the canonical JSON of the link, written out here: it takes a fifth of the encoder's time.
    `kind` must be one of ours and `previous` a hash: neither is escaped.
    """
    said = (
        f'{{"at":"{moment}","body":{encode_basestring(body)},"kind":"{kind}",'
        f'"person":{person},"previous":"{previous}","seq":{seq}}}'
    )
    return hashlib.sha256(said.encode()).hexdigest()


def truncate_to_millisecond(at: datetime) -> datetime:
    """Cut a time to what a link keeps."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000)
