"""The first few hundred of a large edition go ahead, and the rest waits for what they bring about.

Those of the staff who read it come first, then one in a hundred, but 20 to 500, spread by the hash that a delivery's
id is. They are due before all others (`FIRST`), and while they go out nobody looks further than that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from digest import staff
from digest.db import Edition
from digest.deliver.planning import purpose_of
from digest.delivery_db import Delivery, DeliveryState
from subscribers import people
from subscribers.addresses import read_address
from subscribers.vault import Keys

NONE_UNDER = 1000
FEWEST, MOST = 20, 500
FIRST = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Phase:
    """How far to look: deliveries due until `horizon` may go. With `until`, nothing goes before that."""

    horizon: datetime
    first: bool = False
    until: datetime | None = None


def size(waiting: int) -> int:
    """Say how many of an edition's readers go ahead."""
    return 0 if waiting < NONE_UNDER else min(MOST, max(FEWEST, waiting // 100))


def phase(canary: int | None, until: datetime | None, now: datetime) -> Phase:
    """Say how far to look, given how many go ahead and until when the rest waits for them."""
    if not canary:
        return Phase(now)
    if until is None:
        return Phase(FIRST, first=True)
    return Phase(now, until=until) if now < until else Phase(now)


def choose(session: Session, keys: Keys, edition: Edition, *, now: datetime, watched: bool) -> int:
    """Choose who goes ahead, once an edition; give how many. `watched` is whether anybody shall.

    Call it once all deliveries are planned, in a write transaction that holds the edition's row.
    """
    if edition.canary is None:
        ahead = _ahead(session, keys, edition, now) if watched else []
        if ahead:
            session.execute(update(Delivery), [{"id": id_, "next_try_at": FIRST} for id_ in ahead])
        edition.canary = len(ahead)
        session.flush()
    return edition.canary


def _ahead(session: Session, keys: Keys, edition: Edition, now: datetime) -> Sequence[str]:
    many = size(edition.planned or 0)
    due = (
        Delivery.purpose == purpose_of(edition.name),
        Delivery.state == DeliveryState.WAITING,
        Delivery.next_try_at <= now,
    )
    if not many:
        return []
    spread = session.scalars(select(Delivery.id).where(*due).order_by(Delivery.id).limit(many))
    ours = session.scalars(
        select(Delivery.id).where(*due, Delivery.person.in_(_readers_of_ours(session, keys)))
    )
    return sorted({*spread, *ours})


def _readers_of_ours(session: Session, keys: Keys) -> list[int]:
    """Give those of the staff who are readers too."""
    members = (people.number_of(session, keys, read_address(m.email)) for m in staff.proven(session))
    return [number for number in members if number is not None]


def over(session: Session, edition: str, *, now: datetime, watch: timedelta) -> datetime:
    """Note that those who go ahead are out; give the moment until which the rest waits."""
    until = now + watch
    named = (Edition.name == edition, Edition.canary_until.is_(None))
    session.execute(update(Edition).where(*named).values(canary_until=until))
    return until
