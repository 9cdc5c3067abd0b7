"""The canary: the first few hundred deliveries of a large edition, whose results the others wait for.

The canary is 1% of the edition (20 to 500 deliveries), picked by hashed ID, plus the deliveries of
staff members who subscribe. They're due before all others (`CANARY_DUE_AT`), and no others are
claimed until they've been sent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from digest.deliver.plan.delivery_plan import IS_WAITING, is_delivery_of_edition
from digest.store import staff
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.models import BREAKING_NEWS_NUMBER, Edition
from subscribers.address import read_address
from subscribers.crypto.keys import KeyRing
from subscribers.store import people

MIN_EDITION_SIZE = 1000
MIN_CANARY_SIZE, MAX_CANARY_SIZE = 20, 500
MAX_BREAKING_NEWS_WAIT = timedelta(minutes=2)  # how long the rest of breaking news waits for the canary's results
CANARY_DUE_AT = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class CanaryPhase:
    """A phase of sending an edition that may have a canary.

    Deliveries due until `horizon` may be sent, but not before `wait_until`, if it's set.
    """

    horizon: datetime
    canary_only: bool = False
    wait_until: datetime | None = None


def compute_canary_size(waiting: int) -> int:
    """Return the canary's size for a given number of waiting deliveries, or 0 if there are too few."""
    return 0 if waiting < MIN_EDITION_SIZE else min(MAX_CANARY_SIZE, max(MIN_CANARY_SIZE, waiting // 100))


def find_canary_phase(canary_subscribers: int | None, wait_until: datetime | None, now: datetime) -> CanaryPhase:
    """Return the current phase of sending.

    `wait_until` is the time until which the other deliveries wait for the canary's results.
    """
    if not canary_subscribers:
        return CanaryPhase(now)
    if wait_until is None:
        return CanaryPhase(CANARY_DUE_AT, canary_only=True)
    return CanaryPhase(now, wait_until=wait_until) if now < wait_until else CanaryPhase(now)


def choose_canary(
    session: Session,
    keys: KeyRing,
    edition: Edition,
    *,
    now: datetime,
    enabled: bool,
) -> int:
    """Choose the canary once per edition, unless it's disabled, and return its size.

    Call this after all deliveries were planned, in a write transaction that has locked the edition's row.
    """
    if edition.canary is None:
        canary_ids = _select_canary_deliveries(session, keys, edition, now) if enabled else []
        if canary_ids:
            session.execute(update(Delivery), [{"id": id_, "next_try_at": CANARY_DUE_AT} for id_ in canary_ids])
        edition.canary = len(canary_ids)
        session.flush()
    return edition.canary


def _select_canary_deliveries(session: Session, keys: KeyRing, edition: Edition, now: datetime) -> Sequence[str]:
    size = compute_canary_size(edition.planned or 0)
    due = (is_delivery_of_edition(edition.name), IS_WAITING, Delivery.next_try_at <= now)
    if not size:
        return []
    ids = select(Delivery.id).where(*due)
    spread = session.scalars(ids.order_by(Delivery.id).limit(size))
    staff_ids = session.scalars(ids.where(Delivery.person.in_(_staff_subscribers(session, keys))))
    return sorted({*spread, *staff_ids})


def _staff_subscribers(session: Session, keys: KeyRing) -> list[int]:
    """Return the subscriber numbers of staff members who are also subscribers."""
    members = (
        people.find_person_number(session, keys, read_address(m.email)) for m in staff.list_verified_staff(session)
    )
    return [number for number in members if number is not None]


def record_canary_end(session: Session, edition: str, *, now: datetime, observe_for: timedelta) -> datetime:
    """Record that the canary was sent, and return the time at which the wait for its results ends.

    For breaking news, that's at most two minutes from now.
    """
    number = session.scalar(select(Edition.number).where(Edition.name == edition))
    until = now + (min(observe_for, MAX_BREAKING_NEWS_WAIT) if number == BREAKING_NEWS_NUMBER else observe_for)
    waits = (Edition.name == edition, Edition.canary_until.is_(None))
    session.execute(update(Edition).where(*waits).values(canary_until=until))
    return until


def count_canary_deliveries(session: Session, edition: str) -> Mapping[DeliveryState, int]:
    """Count the canary's deliveries by state.

    Deferred ones are sent with the rest, and not counted.
    """
    went_ahead = (
        is_delivery_of_edition(edition),
        Delivery.state.in_(DeliveryState),  # the first column of the index
        Delivery.next_try_at == CANARY_DUE_AT,
    )
    by_state = select(Delivery.state, func.count()).where(*went_ahead).group_by(Delivery.state)
    return dict.fromkeys(DeliveryState, 0) | dict(session.execute(by_state).all())
