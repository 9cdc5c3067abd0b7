"""The first few hundred of a large edition go ahead, and the rest waits for what they bring about.

Those of the staff who read it come first, then one in a hundred, but 20 to 500, spread by the hash that a delivery's
id is. They are due before all others (`CANARY_DUE_AT`), and while they go out nobody looks further than that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from digest.deliver.plan.delivery_plan import edition_purpose
from digest.store import staff
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.models import Edition
from subscribers.address import read_address
from subscribers.crypto.keys import KeyRing
from subscribers.store import people

MIN_EDITION_SIZE = 1000
MIN_CANARY_SIZE, MAX_CANARY_SIZE = 20, 500
CANARY_DUE_AT = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class CanaryPhase:
    """How far to look: deliveries due until `horizon` may go. With `wait_until`, nothing goes before that."""

    horizon: datetime
    canary_only: bool = False
    wait_until: datetime | None = None


def canary_size(waiting: int) -> int:
    """Say how many of an edition's readers go ahead."""
    return 0 if waiting < MIN_EDITION_SIZE else min(MAX_CANARY_SIZE, max(MIN_CANARY_SIZE, waiting // 100))


def current_canary_phase(canary_readers: int | None, wait_until: datetime | None, now: datetime) -> CanaryPhase:
    """Say how far to look, given how many go ahead and until when the rest waits for them."""
    if not canary_readers:
        return CanaryPhase(now)
    if wait_until is None:
        return CanaryPhase(CANARY_DUE_AT, canary_only=True)
    return CanaryPhase(now, wait_until=wait_until) if now < wait_until else CanaryPhase(now)


def choose_canary(session: Session, keys: KeyRing, edition: Edition, *, now: datetime, enabled: bool) -> int:
    """Choose who goes ahead, once an edition; give how many. `enabled` is whether anybody shall.

    Call it once all deliveries are planned, in a write transaction that holds the edition's row.
    """
    if edition.canary is None:
        ahead = _select_canary_deliveries(session, keys, edition, now) if enabled else []
        if ahead:
            session.execute(update(Delivery), [{"id": id_, "next_try_at": CANARY_DUE_AT} for id_ in ahead])
        edition.canary = len(ahead)
        session.flush()
    return edition.canary


def _select_canary_deliveries(session: Session, keys: KeyRing, edition: Edition, now: datetime) -> Sequence[str]:
    many = canary_size(edition.planned or 0)
    due = (
        Delivery.purpose == edition_purpose(edition.name),
        Delivery.state == DeliveryState.WAITING,
        Delivery.next_try_at <= now,
    )
    if not many:
        return []
    spread = session.scalars(select(Delivery.id).where(*due).order_by(Delivery.id).limit(many))
    ours = session.scalars(select(Delivery.id).where(*due, Delivery.person.in_(_staff_readers(session, keys))))
    return sorted({*spread, *ours})


def _staff_readers(session: Session, keys: KeyRing) -> list[int]:
    """Give those of the staff who are readers too."""
    members = (
        people.find_person_number(session, keys, read_address(m.email)) for m in staff.list_proven_staff(session)
    )
    return [number for number in members if number is not None]


def end_canary(session: Session, edition: str, *, now: datetime, observe_for: timedelta) -> datetime:
    """Note that those who go ahead are out; give the moment until which the rest waits."""
    until = now + observe_for
    named = (Edition.name == edition, Edition.canary_until.is_(None))
    session.execute(update(Edition).where(*named).values(canary_until=until))
    return until
