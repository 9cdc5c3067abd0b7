"""Unsubscribing, which takes effect immediately and is recorded twice before it's confirmed to anyone."""

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
    """Withdraw a person's consent. Return True unless they had already left or don't exist.

    The unsubscribe log is synced in the caller's transaction. If the commit then fails, the log has
    one departure too many, and the person gets an error. In the opposite order, a departure could
    be lost. Queued messages aren't changed, because `audience.filter_mailable` is checked when
    they're submitted.

    `session` is a write transaction. The caller commits before answering. `method` is "one-click",
    "page", or "admin: reason" with the admin as `actor`. A `reason` that isn't a key of
    `ledger.UNSUBSCRIBE_REASONS` is ignored.

    Raises:
        OSError: the unsubscribe log couldn't be written.
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
    """Record, once, that a person whom an admin had unsubscribed also unsubscribed themselves.

    The admin then can't undo it anymore.
    """
    if find_unsubscribe_by_admin(session, person) is not None:
        ledger.append_event(session, person, ConsentKind.WITHDRAWN_AGAIN, {"method": method}, now)


def find_unsubscribe_by_admin(session: Session, person: Person) -> tuple[ConsentEvent, str] | None:
    """Return the event by which an admin unsubscribed a person who is now off the list, and that admin.

    Return None if it wasn't an admin, or if the person has unsubscribed themselves since then.
    """
    if person.state is not PersonState.WITHDRAWN:
        return None
    last = ledger.find_last_event(session, person.number, {ConsentKind.WITHDRAWN, ConsentKind.WITHDRAWN_AGAIN})
    body = json.loads(last.body) if last is not None and last.kind is ConsentKind.WITHDRAWN else {}
    return (last, body.get("actor", "")) if last is not None and ledger.is_by_admin(body) else None
