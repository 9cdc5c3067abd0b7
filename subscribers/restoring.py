"""After a restore: the journal knows who left since the copy was made, and tells the copy.

The journal holds keyed hashes, no addresses. Whoever is in the copy is matched by their look-up; of the others the
hash itself becomes a suppression, so that no later import brings them back either.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from subscribers import erasing, ledger, suppression
from subscribers.addresses import read_address
from subscribers.db import ConsentEvent, ConsentKind, Person, PersonState, Suppression
from subscribers.journal import Departure, Journal
from subscribers.vault import Keys, left_hash, lookup, open_

PAGE = 1000
OWN_WORD = frozenset({ConsentKind.CONFIRMED, ConsentKind.UNDONE})  # what ends a departure: no import does
_WEIGHT = {"left": 0, "complained": 1, "erased": 2}
_REASON: dict[str, suppression.Reason] = {
    "left": "left elsewhere",
    "complained": "complained",
    "erased": "erased",
}
_OVER = frozenset({PersonState.WITHDRAWN, PersonState.SUPPRESSED, PersonState.ERASED})


@dataclass(slots=True)
class Merged:
    """How many people of the copy had left, complained, been erased since; how many unknown hashes were barred."""

    left: int = 0
    complained: int = 0
    erased: int = 0
    barred: int = 0


def merge_journal(session: Session, journal: Journal, keys: Keys, *, now: datetime) -> Merged:
    """Bring every departure of the journal into a restored copy; a second time changes nothing.

    A departure counts unless the person gave their own word after it: a departure that is older than the
    confirmation in the copy is over. Where the word itself was lost with the restore, they stay away: the safe side.

    Args:
        session: inside a write transaction of the restored copy, from which nothing is sent yet.
        journal: the journal that lay outside of the database.
        keys: the keys, with all older ones that the journal names.
        now: the moment.

    Raises:
        JournalError: the journal is damaged.
        KeyFileError: the journal names a key that is not in the key file.
        OSError: the journal could not be written.
    """
    departures = _by_who(journal.read())
    merged = Merged()
    known: set[str] = set()
    pairs = sorted({(d.key_id, d.lookup_key) for several in departures.values() for d in several})
    for person in _people(session) if departures else ():
        for who in _names(keys, person, pairs):
            if who in departures:
                known.add(who)
                _depart(session, journal, keys, person.number, departures[who], merged, now=now)
    for who in departures.keys() - known:
        merged.barred += _bar(session, departures[who], now)
    return merged


def _by_who(departures: Iterable[Departure]) -> dict[str, list[Departure]]:
    found: dict[str, list[Departure]] = {}
    for departure in departures:
        if departure.kind == "undone":
            found[departure.who] = [d for d in found.get(departure.who, ()) if not _undoes(departure, d)]
        else:
            found.setdefault(departure.who, []).append(departure)
    return {who: several for who, several in found.items() if several}


def _undoes(undone: Departure, departure: Departure) -> bool:
    """Say whether a reader took a departure back: only leaving can be."""
    return departure.kind == "left" and departure.at <= undone.at


def _people(session: Session) -> Iterator[Any]:
    columns = (Person.number, Person.lookup, Person.lookup_key, Person.ciphertext, Person.key_id)
    after = 0
    while rows := session.execute(
        select(*columns).where(Person.number > after).order_by(Person.number).limit(PAGE)
    ).all():
        yield from rows
        after = rows[-1].number


def _names(keys: Keys, person: Any, pairs: Sequence[tuple[str, str]]) -> set[str]:
    """Give the hashes under which the journal may know a person: by each look-up key and suppression key in it."""
    if person.lookup is None:
        return set()
    lookups = {person.lookup_key: person.lookup}
    wanted = {lookup_key for _, lookup_key in pairs} - lookups.keys()
    if wanted and person.ciphertext is not None:
        address = read_address(open_(keys, (person.ciphertext, person.key_id), person.number))
        lookups |= {key_id: lookup(keys, address, key_id=key_id) for key_id in wanted}
    return {
        left_hash(keys.by_id("suppression", key_id), lookups[lookup_key])
        for key_id, lookup_key in pairs
        if lookup_key in lookups
    }


def _depart(
    session: Session,
    journal: Journal,
    keys: Keys,
    number: int,
    departures: Sequence[Departure],
    merged: Merged,
    *,
    now: datetime,
) -> None:
    """Do to one person what the journal says happened to them after their last own word."""
    person = ledger.hold(session, number)
    assert person is not None
    word = session.scalar(
        select(ConsentEvent.at)
        .where(ConsentEvent.person == number, ConsentEvent.kind.in_(OWN_WORD))
        .order_by(ConsentEvent.seq.desc())
        .limit(1)
    )
    since = [d for d in departures if word is None or d.at >= word]
    if not since or person.state == PersonState.ERASED:
        return
    last = max(since, key=lambda d: (_WEIGHT[d.kind], d.at))
    said = f"journal: {last.kind} {last.at.astimezone(UTC):%Y-%m-%d %H:%M} UTC, before this copy was restored"
    if last.kind == "erased":
        erasing.erase(session, keys, journal, number, method=said, now=now)
        _bar(session, [last], now)  # the row that is emptied now is not found by this hash the next time
        merged.erased += 1
    elif last.kind == "complained" and person.state != PersonState.SUPPRESSED:
        _complain(session, keys, person, last, said, now)
        merged.complained += 1
    elif last.kind == "left" and person.state not in _OVER:
        ledger.append(session, person, ConsentKind.WITHDRAWN, {"method": said}, now)
        merged.left += 1


def _complain(
    session: Session, keys: Keys, person: Person, last: Departure, said: str, now: datetime
) -> None:
    if person.ciphertext is not None and person.key_id is not None:
        address = read_address(open_(keys, (person.ciphertext, person.key_id), person.number))
        suppression.suppress(session, keys, address, reason="complained", actor=said, now=now)
        return
    ledger.append(session, person, ConsentKind.COMPLAINED, {"reason": "complained", "actor": said}, now)
    _bar(session, [last], now)


def _bar(session: Session, departures: Sequence[Departure], now: datetime) -> bool:
    """Bar an address of which only the journal's hash is known; say whether that is new."""
    last = max(departures, key=lambda d: (_WEIGHT[d.kind], d.at))
    same = select(Suppression.id).where(Suppression.hash == last.who, Suppression.key_id == last.key_id)
    if session.scalar(same) is not None:
        return False
    session.add(Suppression(hash=last.who, key_id=last.key_id, reason=_REASON[last.kind], at=now))
    session.flush()
    return True
