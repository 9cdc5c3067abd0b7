"""Nightly suppression of addresses that bounce repeatedly, based on events rather than counters.

Only messages old enough that providers won't report anything more about them are considered, so the
order of events doesn't matter.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from digest.deliver.events.delivery_event import DeliveryAttempt, EventKind, has_failed_too_often
from digest.deliver.events.event_processor import NEW_ADDRESS_PURPOSE, apply_feedback_to_people
from digest.deliver.events.failure_causes import FailureCause
from digest.deliver.providers import registry
from digest.store.delivery_models import Delivery, DeliveryState, StoredDeliveryEvent
from digest.store.engine import Database
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.lifecycle.feedback import DeliveryFeedbackKind, DeliveryFeedbackReport, find_start_of_counted_feedback
from subscribers.store.models import Person, PersonState

PEOPLE_PER_TRANSACTION = 200


def suppress_repeated_bounces(
    database: Database, keys: KeyRing, unsubscribe_log: UnsubscribeLog, *, now: datetime, lookback: timedelta
) -> int:
    """Suppress all addresses that have bounced too often, and return their number.

    Messages handed over more than `lookback` ago don't count. That's the retention period of
    deliveries, so the result doesn't depend on whether they've already been aggregated.

    Raises:
        OSError: the unsubscribe log couldn't be written.
    """
    suppressed = after = 0
    max_event_delay = max(kind.max_event_delay for kind in registry.load_provider_kinds())
    since = now - lookback
    while True:
        with database.read() as session:
            people = _people_with_bounces(session, after, since)
            reports = list(_feedback_reports(session, people, since, now - max_event_delay))
        if reports:
            with database.write() as session:
                counts = apply_feedback_to_people(session, reports, keys=keys, unsubscribe_log=unsubscribe_log, now=now)
                suppressed += counts[f"person {DeliveryFeedbackKind.BOUNCED}"]
        if len(people) < PEOPLE_PER_TRANSACTION:
            return suppressed
        after = people[-1]


def _people_with_bounces(session: Session, after: int, since: datetime) -> Sequence[int]:
    """Return the next subscribers who have had at least two messages bounce."""
    query = (
        select(Delivery.person)
        .join(StoredDeliveryEvent, StoredDeliveryEvent.delivery == Delivery.id)
        .join(Person, Person.number == Delivery.person)
        .where(text("event.cause IN ('hard', 'soft')"), StoredDeliveryEvent.at >= since)
        .where(Person.state == PersonState.SUBSCRIBED, Delivery.person > after)
        .where(~Delivery.purpose.startswith(NEW_ADDRESS_PURPOSE))
        .group_by(Delivery.person)
        .having(func.count(Delivery.id.distinct()) > 1)
        .order_by(Delivery.person)
        .limit(PEOPLE_PER_TRANSACTION)
    )
    return [number for number in session.scalars(query) if number is not None]


def _feedback_reports(
    session: Session, people: Sequence[int], since: datetime, until: datetime
) -> Iterator[DeliveryFeedbackReport]:
    columns = (Delivery.person, Delivery.id, Delivery.state, Delivery.transport, Delivery.handed_at)
    query = (
        select(*columns, StoredDeliveryEvent.kind, StoredDeliveryEvent.cause, StoredDeliveryEvent.at)
        .outerjoin(StoredDeliveryEvent, StoredDeliveryEvent.delivery == Delivery.id)
        .where(Delivery.person.in_(people), ~Delivery.purpose.startswith(NEW_ADDRESS_PURPOSE))
        .order_by(Delivery.person, Delivery.id)
    )
    for person, rows in groupby(session.execute(query), key=lambda row: row.person):
        cutoff = find_start_of_counted_feedback(session, person, DeliveryFeedbackKind.BOUNCED)
        start = since if cutoff is None else max(since, cutoff)
        attempts = [a for a in _delivery_attempts(rows) if start <= a.handed_at <= until]
        if has_failed_too_often(attempts):
            last = max(attempts)
            detail = {"delivery": last.delivery_id, "said": "kept failing", "cause": str(last.cause)}
            yield DeliveryFeedbackReport(person, DeliveryFeedbackKind.BOUNCED, last.handed_at, "events", detail)


def _delivery_attempts(rows: Iterable[Any]) -> Iterator[DeliveryAttempt]:
    grouped = groupby(rows, key=lambda row: row.id)
    yield from filter(None, (_delivery_attempt(delivery, list(events)) for delivery, events in grouped))


def _delivery_attempt(delivery_id: str, rows: Sequence[Any]) -> DeliveryAttempt | None:
    """Return the result of a message, or None if it's unknown or not attributable to the address."""
    at = rows[0].handed_at or min(filter(None, (row.at for row in rows)), default=None)
    cause = _judge_message(rows)
    return None if at is None or cause is None else DeliveryAttempt(at, delivery_id, cause)


def _judge_message(rows: Sequence[Any]) -> FailureCause | None:
    """Return why a message failed because of the address.

    Return NONE if it arrived, or None if that's unknown. Some providers report arrivals. Others,
    such as mail servers, report nothing once they've accepted a message.
    """
    causes = {row.cause for row in rows}
    for cause in (FailureCause.HARD, FailureCause.SOFT):
        if cause in causes:
            return cause
    if any(row.kind == EventKind.DELIVERED for row in rows):
        return FailureCause.NONE
    provider = registry.find_provider(rows[0].transport) if rows[0].state is DeliveryState.ACCEPTED else None
    return FailureCause.NONE if provider is not None and provider.acceptance_is_arrival else None
