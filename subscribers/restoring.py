"""After a restore: the journal knows who left since the copy was made, and tells the copy.

The journal holds keyed hashes, no addresses. Whoever is in the copy is matched by their look-up; of the others the
hash itself becomes a suppression, so that no later import brings them back either.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from subscribers import erasing, ledger, suppression
from subscribers.addresses import read_address
from subscribers.db import ConsentEvent, ConsentKind, Person, PersonState
from subscribers.erasing import Forget
from subscribers.journal import Departure, Journal, Kind
from subscribers.vault import Keys, left_hash, lookup, open_

PAGE = 1000
OWN_WORD = frozenset({ConsentKind.CONFIRMED, ConsentKind.UNDONE})  # what ends a departure: no import does
_REASON: dict[Kind, suppression.Reason] = {kind: reason for reason, kind in suppression.KINDS.items()}
_OVER = frozenset({PersonState.WITHDRAWN, PersonState.SUPPRESSED, PersonState.ERASED})


@dataclass(slots=True)
class Merged:
    """How many people of the copy had departed since, by how; how many unknown hashes were barred."""

    people: Counter[Kind] = field(default_factory=Counter)
    strangers: int = 0


def merge_journal(session: Session, journal: Journal, keys: Keys, *, forget: Forget, now: datetime) -> Merged:
    """Bring every departure of the journal into a restored copy; a second time changes nothing.

    A departure counts unless the person gave their own word after it: a departure that is older than the
    confirmation in the copy is over. Where the word itself was lost with the restore, they stay away: the safe side.

    Args:
        session: inside a write transaction of the restored copy, from which nothing is sent yet.
        journal: the journal that lay outside of the database.
        keys: the keys, with all older ones that the journal names.
        forget: lets go of whoever was erased, where this package does not reach.
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
        names = _names(keys, person, pairs) & departures.keys()
        if names:
            known |= names
            theirs = [departure for who in sorted(names) for departure in departures[who]]
            _depart(session, journal, keys, person.number, theirs, merged, forget=forget, now=now)
    for who in departures.keys() - known:
        merged.strangers += _bar(session, departures[who], now)
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
    forget: Forget,
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
    light = [d for d in since if d.kind != "erased"]
    if light and _take_off(session, keys, person, _gravest(light), now):
        merged.people[_gravest(light).kind] += 1
    if len(light) == len(since):
        return
    last = max((d for d in since if d.kind == "erased"), key=lambda d: d.at)
    erasing.erase(session, keys, journal, number, method=_said(last), forget=forget, now=now)
    merged.people["erased"] += 1
    for departure in departures:  # the emptied row is not found by these hashes any more
        _bar(session, [departure], now)


def _take_off(session: Session, keys: Keys, person: Person, last: Departure, now: datetime) -> bool:
    """Take somebody off the list; the journal knows it already, so nothing is written there."""
    if last.kind != "left":
        reason = _REASON[last.kind]
        barred = suppression.bar_person(session, keys, person, reason=reason, actor=_said(last), now=now)
        return barred is not None
    if person.state in _OVER:
        return False
    ledger.append(session, person, ConsentKind.WITHDRAWN, {"method": _said(last)}, now)
    return True


def _said(last: Departure) -> str:
    return f"journal: {last.kind} {last.at.astimezone(UTC):%Y-%m-%d %H:%M} UTC, before this copy was restored"


def _gravest(departures: Iterable[Departure]) -> Departure:
    return min(departures, key=lambda d: (suppression.gravity(_REASON[d.kind]), -d.at.timestamp()))


def _bar(session: Session, departures: Sequence[Departure], now: datetime) -> bool:
    """Bar an address of which only the journal's hash is known; say whether that is new."""
    last = _gravest(departures)
    return suppression.bar_hash(session, last.who, last.key_id, _REASON[last.kind], now)
