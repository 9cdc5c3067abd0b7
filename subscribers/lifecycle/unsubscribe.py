"""Leaving: at once, for good, and written down twice before anybody is told that it is done; and taking it back."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from subscribers.consent import ledger, suppression
from subscribers.consent.departure_log import DepartureLog
from subscribers.crypto.keys import KeyRing
from subscribers.store import people
from subscribers.store.models import ConsentKind, Person, PersonState

UNDO_PERIOD = timedelta(days=7)
UNDOABLE_METHODS = frozenset({"one-click", "page"})  # what a reader did, a reader may take back; an admin's act not
UNSUBSCRIBE_REASONS = {
    "often": "It comes too often",
    "topics": "It is not about what I need",
    "long": "It is too long to read",
    "never": "I did not ask for it",
    "moved": "I read it elsewhere, or at another address",
    "job": "My work has changed",
}  # by the key that the ledger keeps; no free text, for people write names and addresses into that


@dataclass(frozen=True, slots=True)
class UnsubscribeResult:
    """What came of a wish to leave. `changed` is False where the person had left before, or is not there."""

    changed: bool


@dataclass(frozen=True, slots=True)
class UndoResult:
    """What came of a wish to take it back; `lookup` and its key's id are for the departure log where `changed`."""

    changed: bool
    lookup: str = ""
    lookup_key: str = ""


def unsubscribe_person(
    session: Session, departure_log: DepartureLog, number: int, *, method: str, now: datetime, reason: str = ""
) -> UnsubscribeResult:
    """Withdraw a person's consent; a second time changes nothing.

    The departure log is synced inside the caller's transaction: should the commit then fail, the log knows a
    departure too many, and the person is answered with an error. The other order could forget one.
    Messages that wait for this person are not touched: whoever hands over asks `audience.filter_mailable` first.

    `session` is a write transaction; the caller commits, and answers only after that. `method` is "one-click", "page" or
    "admin: reason"; a `reason` that is no key of `UNSUBSCRIBE_REASONS` is dropped.

    Raises:
        OSError: the departure log could not be written.
    """
    person = ledger.lock_person(session, number)
    if person is None or person.state in ledger.DEPARTED_STATES:
        return UnsubscribeResult(changed=False)
    body = {"method": method, "reason": reason} if reason in UNSUBSCRIBE_REASONS else {"method": method}
    ledger.append_event(session, person, ConsentKind.WITHDRAWN, body, now)
    if person.lookup and person.lookup_key:
        departure_log.append(person.lookup, person.lookup_key, kind="left", at=now)
    return UnsubscribeResult(changed=True)


def find_undo_deadline(session: Session, number: int, *, now: datetime) -> datetime | None:
    """Return until when a person may take back that they left; None where they may not, or no longer.

    Who left by their own hand may for 7 days, unless they were erased or complained since: both move a person on
    from `withdrawn`, for good.
    """
    person = session.get(Person, number)
    if person is None or person.state != PersonState.WITHDRAWN or person.ciphertext is None:
        return None
    last = ledger.find_last_event(session, number, {ConsentKind.WITHDRAWN})
    if last is None or json.loads(last.body).get("method") not in UNDOABLE_METHODS:
        return None
    until = last.at + UNDO_PERIOD
    return until if now < until else None


def undo_unsubscribe(session: Session, keys: KeyRing, number: int, *, now: datetime) -> UndoResult:
    """Put a person back who left a moment ago; twice is once, and without a right to it nothing happens.

    The departure log is told afterwards, with `log_undo`: a departure log that knows of an undoing which the database
    lost would bring somebody back who is gone.

    Raises:
        DecryptionError: the encrypted address does not open.
    """
    person = ledger.lock_person(session, number)
    if person is None or find_undo_deadline(session, number, now=now) is None:
        return UndoResult(changed=False)
    address = people.decrypt_person_address(keys, person)
    if address is None or suppression.find_suppression(session, keys, address) is not None:
        return UndoResult(changed=False)
    ledger.append_event(session, person, ConsentKind.UNDONE, {"method": "page", "actor": "reader"}, now)
    return UndoResult(changed=True, lookup=person.lookup or "", lookup_key=person.lookup_key or "")


def log_undo(departure_log: DepartureLog, result: UndoResult, *, at: datetime) -> None:
    """Tell the departure log of an undoing that is committed.

    Raises:
        OSError: it could not be written; a copy that is restored then holds the person to be gone.
    """
    if result.changed and result.lookup:
        departure_log.append(result.lookup, result.lookup_key, kind="undone", at=at)
