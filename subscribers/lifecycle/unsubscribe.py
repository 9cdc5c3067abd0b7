"""Leaving: at once, for good, and written down twice before anybody is told that it is done."""

import json
from datetime import datetime

from sqlalchemy.orm import Session

from subscribers.consent import ledger
from subscribers.consent.unsubscribe_log import PendingUnsubscribeLogEntry, UnsubscribeLog
from subscribers.store.models import ConsentEvent, ConsentKind, Person, PersonState


def unsubscribe_person(
    session: Session,
    unsubscribe_log: UnsubscribeLog,
    number: int,
    *,
    method: str,
    now: datetime,
    reason: str = "",
    actor: str = "",
) -> bool:
    """Withdraw a person's consent; return False where they had left before, or are not there.

    The departure log is synced inside the caller's transaction: should the commit then fail, the log knows a
    departure too many, and the person is answered with an error. The other order could forget one.
    Messages that wait for this person are not touched: whoever hands over asks `audience.filter_mailable` first.

    `session` is a write transaction; the caller commits, and answers only after that. `method` is "one-click", "page" or
    "admin: reason", by the admin `actor`; a `reason` that is no key of `ledger.UNSUBSCRIBE_REASONS` is dropped.

    Raises:
        OSError: the departure log could not be written.
    """
    person = ledger.lock_person(session, number)
    if person is None or person.state in ledger.DEPARTED_STATES:
        if person is not None and not actor:
            record_repeated_unsubscribe(session, person, method, now)
        return False
    body = {"method": method} | ({"reason": reason} if reason in ledger.UNSUBSCRIBE_REASONS else {})
    body |= {"actor": actor} if actor else {}
    ledger.append_event(session, person, ConsentKind.WITHDRAWN, body, now)
    unsubscribe_log.append(PendingUnsubscribeLogEntry.of_person(person, "left"), at=now)
    return True


def record_repeated_unsubscribe(session: Session, person: Person, method: str, now: datetime) -> None:
    """Record, once, that a person wants to leave whom an admin had unsubscribed: the admin can't undo that anymore."""
    if find_unsubscribe_by_admin(session, person) is not None:
        ledger.append_event(session, person, ConsentKind.WITHDRAWN_AGAIN, {"method": method}, now)


def find_unsubscribe_by_admin(session: Session, person: Person) -> tuple[ConsentEvent, str] | None:
    """Return the event by which a person who is off the list was unsubscribed, and the admin who did it.

    None where it was no admin, or the person has unsubscribed themselves since.
    """
    if person.state is not PersonState.WITHDRAWN:
        return None
    last = ledger.find_last_event(session, person.number, {ConsentKind.WITHDRAWN, ConsentKind.WITHDRAWN_AGAIN})
    body = json.loads(last.body) if last is not None and last.kind is ConsentKind.WITHDRAWN else {}
    return (last, body.get("actor", "")) if last is not None and ledger.is_by_admin(body) else None
