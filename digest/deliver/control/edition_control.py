"""Pausing, resuming, and canceling an edition while it's being sent.

The edition's send loop obeys at the next claim.
"""

from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from digest.deliver.plan.delivery_plan import IS_WAITING, is_delivery_of_edition
from digest.edition.edition_queries import find_edition
from digest.store.audit import record_audit
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.engine import Database
from digest.store.models import AuditEntry, Edition, EditionState
from subscribers.errors import ApplicationError
from subscribers.store.database import MAX_TRANSACTION_ROWS

PAUSABLE_STATES = frozenset({EditionState.APPROVED, EditionState.SENDING})
AUTOMATIC_ACTOR = "digest"


class EditionControlError(ApplicationError):
    """Raised when the edition's state doesn't allow the action.

    The message says why and what to do.
    """


def pause_edition(session: Session, name: str, reason: str, *, now: datetime) -> bool:
    """Pause an edition. Return False if it's already paused.

    Messages that are being handed over at that moment still arrive.

    Raises:
        UnknownEditionError: the edition doesn't exist.
        EditionControlError: the edition is neither approved nor being sent.
    """
    edition = find_edition(session, name, lock=True)
    if edition.state not in PAUSABLE_STATES:
        raise EditionControlError(
            f"{name} is {edition.state.predicate} and can't be paused.", "Reload the page to see the latest state."
        )
    if edition.paused_at is not None:
        return False
    edition.paused_at, edition.paused_because = now, reason
    return True


def pause_automatically(session: Session, name: str, reason: str, *, now: datetime) -> bool:
    """Pause an edition because of its deliveries' results, and record the pause in the audit log.

    Return False if it's already paused.

    Raises:
        UnknownEditionError: the edition doesn't exist.
        EditionControlError: the edition is neither approved nor being sent.
    """
    paused = pause_edition(session, name, reason, now=now)
    if paused:
        record_audit(session, "paused", name, {"because": reason}, actor=AUTOMATIC_ACTOR, now=now)
    return paused


def is_paused_automatically(session: Session, edition: Edition) -> bool:
    """Return True if an edition was paused automatically rather than by a person."""
    paused = select(AuditEntry.actor).where(AuditEntry.subject == edition.name, AuditEntry.act == "paused")
    last = session.scalar(paused.order_by(AuditEntry.id.desc()).limit(1))
    return edition.paused_at is not None and last == AUTOMATIC_ACTOR


def resume_edition(session: Session, name: str, *, now: datetime) -> bool:
    """Resume an edition. Return False if it isn't paused.

    Failures before `now` no longer count.

    Raises:
        UnknownEditionError: the edition doesn't exist.
    """
    edition = find_edition(session, name, lock=True)
    if edition.paused_at is None:
        return False
    edition.paused_at, edition.paused_because, edition.resumed_at = None, "", now
    return True


def mark_edition_cancelled(session: Session, name: str) -> EditionState:
    """Permanently mark an edition as canceled, and return its previous state.

    Call `cancel_waiting_deliveries` once this has been committed.

    Raises:
        UnknownEditionError: the edition doesn't exist.
        EditionControlError: the edition has been sent.
    """
    edition = find_edition(session, name, lock=True)
    if edition.state is EditionState.SENT:
        raise EditionControlError(f"{name} has already been sent.", "Correct the edition in the archive instead.")
    state_before = edition.state
    edition.state = EditionState.CANCELLED
    edition.paused_at, edition.paused_because = None, ""
    return state_before


def mark_sent_edition_as_sending(edition: Edition) -> None:
    """Change a sent edition's state back to sending, because it has waiting messages again.

    The caller must have locked its row.
    """
    if edition.state is EditionState.SENT:
        edition.state, edition.sent_at = EditionState.SENDING, None


def cancel_waiting_deliveries(database: Database, name: str) -> int:
    """Cancel the waiting deliveries of a canceled edition, and return their number.

    At most 1,000 are canceled per transaction.
    """
    waiting = (is_delivery_of_edition(name), IS_WAITING)
    page = select(Delivery.id).where(*waiting).limit(MAX_TRANSACTION_ROWS).with_for_update(skip_locked=True)
    cancelled = 0
    while True:
        with database.write() as session:
            ids = list(session.scalars(page))
            if ids:
                rows = [{"id": delivery, "state": DeliveryState.CANCELLED} for delivery in ids]
                session.execute(update(Delivery), rows)
        cancelled += len(ids)
        if len(ids) < MAX_TRANSACTION_ROWS:
            return cancelled
