"""Leaving: at once, for good, and written down twice before anybody is told that it is done."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from subscribers import ledger
from subscribers.db import ConsentKind, PersonState
from subscribers.journal import Journal

_GONE = frozenset({PersonState.WITHDRAWN, PersonState.SUPPRESSED, PersonState.ERASED})


@dataclass(frozen=True, slots=True)
class Left:
    """What came of a wish to leave. `new` is False where the person had left before, or is not there."""

    new: bool


def leave(session: Session, journal: Journal, number: int, *, method: str, now: datetime) -> Left:
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

    Raises:
        OSError: the journal could not be written.
    """
    person = ledger.hold(session, number)
    if person is None or person.state in _GONE:
        return Left(new=False)
    ledger.append(session, person, ConsentKind.WITHDRAWN, {"method": method}, now)
    if person.lookup and person.lookup_key:
        journal.append(person.lookup, person.lookup_key, kind="left", at=now)
    return Left(new=True)
