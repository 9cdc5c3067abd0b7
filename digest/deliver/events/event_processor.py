"""Processing events.

Reports from webhooks, the bounce mailbox, and SMTP replies become `DeliveryEvent`s, which are
passed to `process_events`. Each event counts once: it changes the state of its delivery and, if it
says something about the person, the person.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from digest.deliver.events.delivery_event import (
    DeliveryEvent,
    EventKind,
    convert_event_to_feedback_kind,
    find_state_after_events,
    is_refusal,
)
from digest.deliver.events.mailbox import incoming_mail
from digest.deliver.events.server_replies import MAX_REPLY_LENGTH
from digest.store.delivery_models import CLAIMED_STATES, Delivery, DeliveryState, StoredDeliveryEvent
from subscribers.consent.unsubscribe_log import PendingUnsubscribeLogEntry, UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.lifecycle.feedback import DeliveryFeedbackKind, DeliveryFeedbackReport, apply_feedback_to_person
from subscribers.loggers import get_logger
from subscribers.store.database import upsert

MAX_EVENTS_PER_TRANSACTION = 500  # takes about 20 ms on SQLite

# The recipient claims this as their new address, so its events don't concern the stored one.
NEW_ADDRESS_PURPOSE = "move:"

log = get_logger("events")


def process_events(
    session: Session, events: Sequence[DeliveryEvent], *, keys: KeyRing, unsubscribe_log: UnsubscribeLog, now: datetime
) -> Counter[str]:
    """Store and apply up to 500 events within a write transaction, and count the results.

    New events are counted by kind, duplicates as "known", and events about unknown deliveries as
    "foreign". People who changed are counted by kind of feedback. The unsubscribe log is synced
    before the caller commits.

    Raises:
        OSError: the unsubscribe log couldn't be written.
    """
    deliveries = _load_deliveries(session, {event.delivery_id for event in events} - {None})
    ours = [e for e in events if e.delivery_id in deliveries or e.person is not None or e.kind is EventKind.UNKNOWN]
    new = _insert_new_events(session, ours, deliveries)
    counts = Counter({"foreign": len(events) - len(ours), "known": len(ours) - len(new)})
    counts.update(str(event.kind) for event in new)
    reports = _group_by_delivery((e.delivery_id, e.kind, e.detail) for e in new if e.delivery_id in deliveries)
    _update_delivery_states(session, reports, now)
    feedback = filter(None, (_feedback_report(event, deliveries) for event in new))
    counts.update(apply_feedback_to_people(session, feedback, keys=keys, unsubscribe_log=unsubscribe_log, now=now))
    return +counts


def _load_deliveries(
    session: Session,
    ids: Collection[str | None],
) -> dict[str | None, Any]:
    columns = (Delivery.id, Delivery.purpose, Delivery.person, Delivery.handed_at)
    query = select(*columns).where(Delivery.id.in_(ids))
    return {row.id: row for row in session.execute(query)}


def _insert_new_events(
    session: Session, events: Sequence[DeliveryEvent], deliveries: Mapping[str | None, Any]
) -> list[DeliveryEvent]:
    """Insert the events that aren't stored yet, and return them."""
    if not events:
        return []
    by_mark = {event.provider_mark or event.fingerprint: event for event in events}  # a request may contain duplicates
    ordered = sorted(by_mark.values(), key=lambda event: event.fingerprint)
    by_fingerprint = {event.fingerprint: event for event in ordered}
    insert = upsert(session, StoredDeliveryEvent).on_conflict_do_nothing().returning(StoredDeliveryEvent.fingerprint)
    rows = [
        {
            "delivery": event.delivery_id if event.delivery_id in deliveries else None,
            "kind": str(event.kind),
            "cause": str(event.cause),
            "at": event.occurred_at,
            "received_at": event.received_at,
            "fingerprint": event.fingerprint,
            "provider_mark": event.provider_mark,
            "detail": dict(event.detail),
        }
        for event in by_fingerprint.values()
    ]
    return [by_fingerprint[fingerprint] for fingerprint in session.scalars(insert, rows)]


@dataclass(slots=True)
class _DeliveryReports:
    """Everything that was reported about a delivery, and the reply to store for it."""

    kinds: set[EventKind]
    reply: str


def _group_by_delivery(
    events: Iterable[tuple[str | None, EventKind, Mapping[str, str]]],
) -> dict[str | None, _DeliveryReports]:
    """Group events, given as (delivery, kind, detail), by delivery."""
    reports: dict[str | None, _DeliveryReports] = {}
    for delivery, kind, detail in events:
        words = filter(None, (kind, detail.get("status"), detail.get("reason")))
        reply = " ".join(words)[:MAX_REPLY_LENGTH]
        report = reports.setdefault(delivery, _DeliveryReports(set(), reply))
        report.kinds.add(kind)
        if is_refusal(kind):
            report.reply = reply
    return reports


def _update_delivery_states(session: Session, reports: Mapping[str | None, _DeliveryReports], now: datetime) -> None:
    """Apply reports to their deliveries.

    Events about deliveries that a run has claimed stay pending.
    """
    query = select(Delivery.id, Delivery.state).order_by(Delivery.id)
    states = dict(session.execute(query.where(Delivery.id.in_(reports))).all())
    changing = {i for i, state in states.items() if find_state_after_events(state, reports[i].kinds) is not state}
    # A locked row is being written by the run that hands over its message. Waiting for it could
    # cause a deadlock.
    unlocked = query.where(Delivery.id.in_(changing)).with_for_update(skip_locked=True)
    locked = dict(session.execute(unlocked).all()) if changing else {}
    for delivery, state in locked.items():
        _change_state(session, delivery, state, reports[delivery])
    pending = changing - locked.keys()
    pending |= {i for i, state in (states | locked).items() if state in CLAIMED_STATES}
    if pending:
        session.execute(
            update(StoredDeliveryEvent).where(StoredDeliveryEvent.delivery.in_(pending)).values(unsettled_since=now)
        )


def _change_state(session: Session, delivery: str, state: DeliveryState, report: _DeliveryReports) -> None:
    new_state = find_state_after_events(state, report.kinds)
    if new_state is not state:
        values = {"state": new_state, "reply": report.reply, "owner": None, "lease_until": None}
        session.execute(update(Delivery).where(Delivery.id == delivery).values(**values))


def list_deliveries_with_pending_events(session: Session) -> list[str]:
    """Return up to 500 deliveries with events that arrived during a handover that's now over."""
    query = (
        select(StoredDeliveryEvent.delivery)
        .join(Delivery, Delivery.id == StoredDeliveryEvent.delivery)
        .where(StoredDeliveryEvent.unsettled_since.is_not(None), Delivery.state.not_in(CLAIMED_STATES))
        .distinct()
        .limit(MAX_EVENTS_PER_TRANSACTION)
    )
    return [delivery for delivery in session.scalars(query) if delivery]


def apply_pending_events(session: Session, delivery_ids: Collection[str], *, now: datetime) -> None:
    """Apply deliveries' pending events, together with all their other events."""
    concerned = StoredDeliveryEvent.delivery.in_(delivery_ids)
    rows = session.execute(
        select(StoredDeliveryEvent.delivery, StoredDeliveryEvent.kind, StoredDeliveryEvent.detail).where(concerned)
    )
    reports = _group_by_delivery((row.delivery, EventKind(row.kind), row.detail) for row in rows)
    session.execute(update(StoredDeliveryEvent).where(concerned).values(unsettled_since=None))
    _update_delivery_states(session, reports, now)


def _feedback_report(event: DeliveryEvent, deliveries: Mapping[str | None, Any]) -> DeliveryFeedbackReport | None:
    kind = convert_event_to_feedback_kind(event.kind, event.cause)
    delivery = deliveries.get(event.delivery_id)
    if kind is not None and event.person is not None:
        return DeliveryFeedbackReport(
            event.person, kind, event.occurred_at, event.reported_by, {"said": str(event.kind)}
        )
    if kind is None or delivery is None or not _concerns_address(delivery):
        return None
    if kind is DeliveryFeedbackKind.COMPLAINED and event.reported_by == incoming_mail.REPORTED_BY:
        kind = DeliveryFeedbackKind.COMPLAINED_BY_MAIL
    at = (delivery.handed_at or event.occurred_at) if kind is DeliveryFeedbackKind.BOUNCED else event.occurred_at
    detail = {"delivery": delivery.id, "said": str(event.kind)}
    if event.detail.get("status"):
        detail["status"] = event.detail["status"]
    return DeliveryFeedbackReport(delivery.person, kind, at, event.reported_by, detail)


def _concerns_address(delivery: Any) -> bool:
    """Return True if a delivery's events concern its person's stored address."""
    return delivery.person is not None and not delivery.purpose.startswith(NEW_ADDRESS_PURPOSE)


def apply_feedback_to_people(
    session: Session,
    reports: Iterable[DeliveryFeedbackReport],
    *,
    keys: KeyRing,
    unsubscribe_log: UnsubscribeLog,
    now: datetime,
) -> Counter[str]:
    """Apply feedback to the people whom it concerns.

    Their unsubscribes are appended to the log with a single sync. Return the number of people whom
    each kind of feedback changed, by `person <kind>`.

    Raises:
        OSError: the unsubscribe log couldn't be written.
    """
    counts: Counter[str] = Counter()
    departures: list[PendingUnsubscribeLogEntry] = []
    # Sorted by number, so that two processes can't deadlock.
    for report in sorted(reports, key=lambda r: r.person):
        changed, departure = apply_feedback_to_person(session, keys, report, now=now)
        counts[f"person {report.kind}"] += changed
        departures += [departure] if departure else []
    unsubscribe_log.append_all(departures, at=now)
    return +counts
