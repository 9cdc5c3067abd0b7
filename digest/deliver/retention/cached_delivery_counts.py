"""A cache of past editions' delivery counts.

With it, a list of editions doesn't have to count millions of rows. It's rebuilt every night, because
late bounces may change counts, and updated when an admin resolves deliveries with unknown status.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.deliver.control.installation_hold import read_installation_value, write_installation_value
from digest.deliver.plan.delivery_plan import DeliveryCounts, count_deliveries, make_edition_delivery_purpose
from digest.store.delivery_models import DeliveryState
from digest.store.engine import Database
from digest.store.models import Edition, EditionState

KEPT_COUNTS_KEY = "delivery counts"
KEPT_AFTER = timedelta(days=8)  # after the send time; newer editions are counted on demand
_OVER_STATES = (EditionState.SENT, EditionState.CANCELLED)


def cache_delivery_counts(database: Database, *, now: datetime) -> int:
    """Cache the delivery counts of sent and canceled editions whose send time was over eight days ago.

    Return the number of these editions.
    """
    over = select(Edition.name).where(Edition.state.in_(_OVER_STATES))
    counts = {}
    with database.read() as session:
        long_ago = Edition.release_at < now - KEPT_AFTER
        names = session.scalars(over.where(long_ago).order_by(Edition.release_at)).all()
    for name in names:
        with database.read() as session:
            counts[name] = _counts_as_json(count_deliveries(session, make_edition_delivery_purpose(name)))
    with database.write() as session:
        write_installation_value(session, KEPT_COUNTS_KEY, counts, now=now)
    return len(counts)


def refresh_cached_delivery_counts(session: Session, edition: str, *, now: datetime) -> None:
    """Recount an edition's deliveries if its counts are cached.

    This way, a decision on its deliveries shows up immediately.
    """
    stored_counts = dict(read_installation_value(session, KEPT_COUNTS_KEY) or {})
    if edition in stored_counts:
        session.flush()
        stored_counts[edition] = _counts_as_json(count_deliveries(session, make_edition_delivery_purpose(edition)))
        write_installation_value(session, KEPT_COUNTS_KEY, stored_counts, now=now)


def load_cached_delivery_counts(session: Session) -> dict[str, DeliveryCounts]:
    """Return the cached counts, keyed by edition name."""
    stored_counts: Mapping[str, Any] = read_installation_value(session, KEPT_COUNTS_KEY) or {}
    return {
        name: DeliveryCounts(stored["planned"], {state: stored.get(str(state), 0) for state in DeliveryState})
        for name, stored in stored_counts.items()
    }


def _counts_as_json(counts: DeliveryCounts) -> dict[str, int]:
    some = {str(state): count for state, count in counts.by_state.items() if count}
    return {"planned": counts.planned} | some
