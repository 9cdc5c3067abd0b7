"""The stored results of each edition: messages handed over, refusals, complaints, and hours of sending.

An edition is counted every night for a month after its send time, because bounces and complaints
come late. After that, its results don't change. They outlive its deliveries. Results without a
valid seal aren't shown, and are counted again the next night.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice

from sqlalchemy import ColumnElement, String, cast, delete, func, select
from sqlalchemy.orm import Session

from digest.deliver.plan.delivery_plan import count_deliveries, make_edition_delivery_purpose
from digest.store.delivery_models import Delivery, DeliveryState, KeptEditionCounts, StoredDeliveryEvent
from digest.store.engine import Database
from digest.store.models import BREAKING_NEWS_NUMBER, Edition, EditionState
from subscribers.store.database import is_postgresql
from subscribers.store.keyed_row_seals import filter_genuine_rows, is_genuine_row

COUNTED_FOR = timedelta(days=30)  # after the send time
_GONE_STATES = (EditionState.SENDING, EditionState.SENT, EditionState.CANCELLED)


def store_edition_figures(database: Database, *, now: datetime) -> int:
    """Store the results of the last month's editions, and of older ones whose results weren't stored.

    Return the number of these editions.
    """
    with database.read() as session:
        stored_names = [
            figures.name for figures in filter_genuine_rows(session, session.scalars(select(KeptEditionCounts)))
        ]
        condition = Edition.state.in_(_GONE_STATES) & (Edition.planned_at.is_not(None))
        condition &= (Edition.release_at > now - COUNTED_FOR) | Edition.name.not_in(stored_names)
        editions = list(session.scalars(select(Edition).where(condition).order_by(Edition.release_at)))
    for edition in editions:
        with database.read() as session:
            values = _count_edition(session, edition)
        with database.write() as session:
            session.execute(delete(KeptEditionCounts).where(KeptEditionCounts.name == edition.name))
            session.add(KeptEditionCounts(name=edition.name, counted_at=now, **values))
    return len(editions)


def load_edition_figures(session: Session, limit: int) -> Sequence[KeptEditionCounts]:
    """Return the stored results of the latest `limit` regular editions, oldest first."""
    regular = select(KeptEditionCounts).where(KeptEditionCounts.number != BREAKING_NEWS_NUMBER)
    newest_first = session.scalars(regular.order_by(KeptEditionCounts.release_at.desc()))
    genuine = (figures for figures in newest_first if is_genuine_row(session, figures))
    return list(reversed(list(islice(genuine, limit))))


def _count_edition(session: Session, edition: Edition) -> dict[str, object]:
    purpose = make_edition_delivery_purpose(edition.name)
    counts = count_deliveries(session, purpose)
    complaints = (
        select(func.count(func.distinct(StoredDeliveryEvent.delivery)))
        .join(Delivery, Delivery.id == StoredDeliveryEvent.delivery)
        .where(
            StoredDeliveryEvent.kind == "complained",
            StoredDeliveryEvent.received_at >= edition.release_at,
            Delivery.purpose == purpose,
        )
    )
    hour = _hour_text(session)
    was_handed_over = Delivery.first_handed_at.is_not(None)
    went = select(hour, func.count()).where(Delivery.purpose == purpose, was_handed_over)
    return {
        "number": edition.number,
        "release_at": edition.release_at,
        "handed_over": counts.handed_over,
        "refused": counts[DeliveryState.REFUSED],
        "complained": session.scalar(complaints) or 0,
        "hours": {str(at): number for at, number in session.execute(went.group_by(hour))},
    }


def _hour_text(session: Session) -> ColumnElement[str]:
    """Return an SQL expression for the hour (UTC) of a delivery, formatted as "2026-11-20 11"."""
    if is_postgresql(session):
        return func.to_char(func.timezone("UTC", Delivery.first_handed_at), "YYYY-MM-DD HH24")
    return func.substr(cast(Delivery.first_handed_at, String), 1, 13)
