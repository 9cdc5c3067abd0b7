"""Steering one edition while it goes out: pause, resume, cancel. Each is heeded at the very next claim."""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from digest.deliver.plan.delivery_plan import edition_purpose
from digest.edition.queries import find_edition
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.engine import Database
from digest.store.models import AuditEntry, EditionState
from subscribers.errors import ApplicationError

ROWS_PER_TRANSACTION = 1000  # rows of one write transaction
PAUSABLE_STATES = frozenset({EditionState.APPROVED, EditionState.SENDING})


class EditionControlError(ApplicationError):
    """The edition can't be steered so; the message says why and what to do."""


def pause_edition(session: Session, name: str, reason: str, *, actor: str, now: datetime) -> bool:
    """Let an edition rest; False where it rested already. What is being handed over at this moment still arrives.

    Raises:
        UnknownEditionError: there is no such edition.
        EditionControlError: it is neither approved nor being sent.
    """
    edition = find_edition(session, name, lock=True)
    if edition.state not in PAUSABLE_STATES:
        raise EditionControlError(f"{name} is {edition.state}: only what goes out can be paused.")
    if edition.paused_at is not None:
        return False
    edition.paused_at, edition.paused_because = now, reason
    _add_audit_entry(session, "paused", name, {"because": reason} if reason else {}, actor=actor, now=now)
    return True


def resume_edition(session: Session, name: str, *, actor: str, now: datetime) -> bool:
    """Let a paused edition go on; False where it did not rest. What had gone wrong until now no longer counts.

    Raises:
        UnknownEditionError: there is no such edition.
    """
    edition = find_edition(session, name, lock=True)
    if edition.paused_at is None:
        return False
    edition.paused_at, edition.paused_because, edition.resumed_at = None, "", now
    _add_audit_entry(session, "resumed", name, {}, actor=actor, now=now)
    return True


def cancel_edition(database: Database, name: str, *, actor: str, clock: Callable[[], datetime]) -> int:
    """Cancel an edition for good: whoever has it keeps it, nobody else gets it. Gives how many were cancelled.

    Raises:
        UnknownEditionError: there is no such edition.
        EditionControlError: it went out already.
    """
    with database.write() as session:
        edition = find_edition(session, name, lock=True)
        if edition.state is EditionState.SENT:
            raise EditionControlError(f"{name} is sent: there is nothing left to cancel.")
        if edition.state is not EditionState.CANCELLED:
            _add_audit_entry(session, "cancelled", name, {"was": str(edition.state)}, actor=actor, now=clock())
        edition.state = EditionState.CANCELLED
        edition.paused_at, edition.paused_because = None, ""
    return cancel_waiting_deliveries(database, name)


def cancel_waiting_deliveries(database: Database, name: str) -> int:
    """Cancel all deliveries of a cancelled edition that wait, in pages; give how many."""
    waiting = (Delivery.purpose == edition_purpose(name), Delivery.state == DeliveryState.WAITING)
    done = 0
    while True:
        with database.write() as session:
            some = select(Delivery.id).where(*waiting).limit(ROWS_PER_TRANSACTION).with_for_update(skip_locked=True)
            ids = list(session.scalars(some))
            if ids:
                rows = [{"id": delivery, "state": DeliveryState.CANCELLED} for delivery in ids]
                session.execute(update(Delivery), rows)
        done += len(ids)
        if len(ids) < ROWS_PER_TRANSACTION:
            return done


def _add_audit_entry(
    session: Session, act: str, name: str, detail: dict[str, str], *, actor: str, now: datetime
) -> None:
    session.add(AuditEntry(at=now, actor=actor, act=act, subject=name, detail=detail))
    session.flush()
