"""Runs that went silent: their leases are set back, so that no test waits for half a minute."""

from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from digest.deliver.send.claims import delivery_claims as claims
from digest.deliver.send.claims.delivery_claims import ClaimedDelivery, LeaseTerms
from digest.store.delivery_models import Delivery, RunLease
from digest.store.engine import Database
from tests.moments import RELEASE


def silence_runs(database: Database, home: str | None = None) -> None:
    """Make all leases as old as can be, and perhaps those of another home."""
    values = {"beat_at": 0.0} | ({"home": home} if home else {})
    with database.write() as session:
        session.execute(update(RunLease).values(**values))


def hand_over(session: Session, lease: LeaseTerms, delivery_ids: Sequence[str]) -> None:
    """Mark reserved deliveries as being handed over, as a run does that keeps its lease."""
    session.add(RunLease(owner=lease.owner, beat_at=0.0, home="", epoch=1))
    session.flush()
    rows = session.scalars(select(Delivery).where(Delivery.id.in_(delivery_ids)))
    claimed = [
        ClaimedDelivery(row.id, row.message_id, row.tries, row.due_at, RELEASE, RELEASE, row.person, row.domain_tag)
        for row in rows
    ]
    assert claims.mark_handing_over(session, lease, 1, claimed)
