"""Leaving: at once, for good, and written down twice before anybody is told that it is done; and taking it back."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from subscribers import ledger, suppression
from subscribers.addresses import read_address
from subscribers.db import ConsentEvent, ConsentKind, Person, PersonState
from subscribers.journal import Journal
from subscribers.vault import Keys, open_

UNDO_WITHIN = timedelta(days=7)
OWN_HAND = frozenset({"one-click", "page"})  # what a reader did, a reader may take back; an admin's act not
REASONS = {
    "often": "It comes too often",
    "topics": "It is not about what I need",
    "long": "It is too long to read",
    "never": "I did not ask for it",
    "moved": "I read it elsewhere, or at another address",
    "job": "My work has changed",
}  # by the key that the ledger keeps; no free text, for people write names and addresses into that
_GONE = frozenset({PersonState.WITHDRAWN, PersonState.SUPPRESSED, PersonState.ERASED})


@dataclass(frozen=True, slots=True)
class Left:
    """What came of a wish to leave. `new` is False where the person had left before, or is not there."""

    new: bool


@dataclass(frozen=True, slots=True)
class Undone:
    """What came of a wish to take it back; `lookup` and its key's id are for the journal where `new`."""

    new: bool
    lookup: str = ""
    lookup_key: str = ""


def leave(
    session: Session, journal: Journal, number: int, *, method: str, now: datetime, reason: str = ""
) -> Left:
    """Withdraw a person's consent; a second time changes nothing.

    The journal is synced inside the caller's transaction: should the commit then fail, the journal knows a
    departure too many, and the person is answered with an error. The other order could forget one.
    Messages that wait for this person are not touched: whoever hands over asks `roll.still` first.

    Args:
        session: inside a write transaction; the caller commits, and answers only after that.
        journal: the journal of the installation.
        number: the person's number, e.g. out of a token.
        method: how: "one-click", "page", "admin: reason".
        now: the moment.
        reason: one of the keys of `REASONS`; anything else is dropped.

    Raises:
        OSError: the journal could not be written.
    """
    person = ledger.hold(session, number)
    if person is None or person.state in _GONE:
        return Left(new=False)
    said = {"method": method, "reason": reason} if reason in REASONS else {"method": method}
    ledger.append(session, person, ConsentKind.WITHDRAWN, said, now)
    if person.lookup and person.lookup_key:
        journal.append(person.lookup, person.lookup_key, kind="left", at=now)
    return Left(new=True)


def undo_until(session: Session, number: int, *, now: datetime) -> datetime | None:
    """Say until when a person may take back that they left; None where they may not, or no longer.

    Who left by their own hand may for 7 days, unless they were erased or complained since: both move a person on
    from `withdrawn`, for good.
    """
    person = session.get(Person, number)
    if person is None or person.state != PersonState.WITHDRAWN or person.ciphertext is None:
        return None
    query = (
        select(ConsentEvent)
        .where(ConsentEvent.person == number, ConsentEvent.kind == ConsentKind.WITHDRAWN)
        .order_by(ConsentEvent.seq.desc())
        .limit(1)
    )
    last = session.scalar(query)
    if last is None or json.loads(last.body).get("method") not in OWN_HAND:
        return None
    until = last.at + UNDO_WITHIN
    return until if now < until else None


def undo(session: Session, keys: Keys, number: int, *, now: datetime) -> Undone:
    """Put a person back who left a moment ago; twice is once, and without a right to it nothing happens.

    The journal is told afterwards, with `note_undone`: a journal that knows of an undoing which the database
    lost would bring somebody back who is gone.

    Raises:
        VaultError: the sealed address does not open.
    """
    person = ledger.hold(session, number)
    if person is None or undo_until(session, number, now=now) is None or _barred(session, keys, person):
        return Undone(new=False)
    ledger.append(session, person, ConsentKind.UNDONE, {"method": "page", "actor": "reader"}, now)
    return Undone(new=True, lookup=person.lookup or "", lookup_key=person.lookup_key or "")


def _barred(session: Session, keys: Keys, person: Person) -> bool:
    assert person.ciphertext is not None
    assert person.key_id is not None
    address = read_address(open_(keys, (person.ciphertext, person.key_id), person.number))
    return suppression.find(session, keys, address) is not None


def note_undone(journal: Journal, undone: Undone, *, at: datetime) -> None:
    """Tell the journal of an undoing that is committed.

    Raises:
        OSError: it could not be written; a copy that is restored then holds the person to be gone.
    """
    if undone.new and undone.lookup:
        journal.append(undone.lookup, undone.lookup_key, kind="undone", at=at)
