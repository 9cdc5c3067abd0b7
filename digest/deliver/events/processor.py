"""Events: what was said of messages that left, and the one door through which it changes anything.

Whoever hears something (the webhook, the bounce mailbox) makes it into `DeliveryEvent`, and `process_events` does the rest: each event
is counted once, deliveries are settled, and people who may not be mailed any more are suppressed or taken off.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from digest.deliver.events.consequences import EventKind, feedback_of_event, state_after_events
from digest.deliver.events.delivery_event import DeliveryEvent
from digest.deliver.providers.replies import MAX_REPLY_LENGTH
from digest.store.delivery_models import Delivery, DeliveryState, Event
from subscribers.consent.departure_log import DepartureLog, PendingDeparture
from subscribers.crypto.keys import DecryptionError, KeyRing
from subscribers.lifecycle import feedback as heeding
from subscribers.lifecycle.feedback import FeedbackReport
from subscribers.store.database import upsert

MAX_EVENTS_PER_TRANSACTION = 500  # events: some 20 ms on SQLite

# Goes to an address that somebody says is their new one: what comes back is not about the address that we hold.
NEW_ADDRESS_PURPOSE = "move:"

log = structlog.get_logger("events")


def process_events(
    session: Session, events: Sequence[DeliveryEvent], *, keys: KeyRing, departure_log: DepartureLog, now: datetime
) -> Counter[str]:
    """Take events in (at most 500), and do what they mean; count what came of them.

    Counted are the kinds of new events, "known" for repeated ones, "foreign" for what speaks of no delivery of ours,
    and the words that changed where a person stands. The journal is synced before the caller commits, as with leaving.

    Args:
        session: inside a write transaction; the caller commits.
        events: the events.
        keys: the installation's keys.
        departure_log: the journal of departures.
        now: the moment.

    Raises:
        OSError: the journal could not be written.
    """
    owed = _load_deliveries(session, {s.delivery_id for s in events if s.delivery_id})
    ours = [s for s in events if s.delivery_id in owed or s.kind is EventKind.UNKNOWN]
    counts: Counter[str] = Counter({"foreign": len(events) - len(ours)})
    new = _insert_new_events(session, ours, owed)
    counts["known"] = len(ours) - len(new)
    counts.update(str(s.kind) for s in new)
    _update_delivery_states(
        session, _group_by_delivery((s.delivery_id, s.kind, s.detail) for s in new if s.delivery_id in owed), now
    )
    reports = [r for s in new if (r := _feedback_report(s, owed))]
    counts.update(apply_feedback(session, reports, keys=keys, departure_log=departure_log, now=now))
    return +counts


def _load_deliveries(session: Session, ids: Collection[str]) -> dict[str, Any]:
    columns = (Delivery.id, Delivery.purpose, Delivery.person, Delivery.state, Delivery.handed_at)
    return {row.id: row for row in session.execute(select(*columns).where(Delivery.id.in_(ids)))}


def _insert_new_events(
    session: Session, events: Sequence[DeliveryEvent], deliveries: Mapping[str, Any]
) -> list[DeliveryEvent]:
    """Write the events that are not there; give those."""
    if not events:
        return []
    by_mark = {s.provider_mark or s.fingerprint: s for s in events}  # a post may repeat itself
    once = {s.fingerprint: s for s in sorted(by_mark.values(), key=lambda s: s.fingerprint)}
    put = upsert(session, Event).on_conflict_do_nothing().returning(Event.fingerprint)
    rows = [_event_row(s, deliveries) for s in once.values()]
    return [once[fingerprint] for fingerprint in session.scalars(put, rows)]


def _event_row(event: DeliveryEvent, deliveries: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "delivery": event.delivery_id if event.delivery_id in deliveries else None,
        "kind": str(event.kind),
        "cause": str(event.cause),
        "at": event.occurred_at,
        "received_at": event.received_at,
        "fingerprint": event.fingerprint,
        "provider_mark": event.provider_mark,
        "detail": dict(event.detail),
    }


@dataclass(slots=True)
class _DeliveryFeedback:
    """What was said of one delivery, and the words to keep for it."""

    kinds: set[EventKind]
    reply: str


def _group_by_delivery(
    reports: Iterable[tuple[str | None, EventKind, Mapping[str, str]]],
) -> dict[str, _DeliveryFeedback]:
    found: dict[str, _DeliveryFeedback] = {}
    for delivery, kind, detail in reports:
        assert delivery is not None, "it is among those that we know"
        words = " ".join(filter(None, (kind, detail.get("status"), detail.get("reason"))))[:MAX_REPLY_LENGTH]
        one = found.setdefault(delivery, _DeliveryFeedback(set(), words))
        one.kinds.add(kind)
        if kind in {EventKind.BOUNCED, EventKind.DROPPED}:
            one.reply = words
    return found


def _update_delivery_states(session: Session, feedback: Mapping[str, _DeliveryFeedback], now: datetime) -> None:
    """Bring deliveries to where events put them. What somebody else holds at the moment is settled next time."""
    query = select(Delivery.id, Delivery.state).where(Delivery.id.in_(feedback)).order_by(Delivery.id)
    states = {row.id: row.state for row in session.execute(query)}
    moving = {i for i, state in states.items() if state_after_events(state, feedback[i].kinds) is not state}
    waits = {i for i, state in states.items() if state is DeliveryState.HANDING_OVER}
    # A row that is locked is being written by whoever hands it over: waiting for them could end in a deadlock.
    locked = query.where(Delivery.id.in_(moving)).with_for_update(skip_locked=True)
    held = {row.id: row.state for row in session.execute(locked)} if moving else {}
    for delivery, state in held.items():
        one = feedback[delivery]
        values = {"state": state_after_events(state, one.kinds), "reply": one.reply, "owner": None, "lease_until": None}
        if values["state"] is not state:
            session.execute(update(Delivery).where(Delivery.id == delivery).values(**values))
    waits |= moving - held.keys()
    waits |= {i for i, state in held.items() if state is DeliveryState.HANDING_OVER}
    if waits:
        session.execute(update(Event).where(Event.delivery.in_(waits)).values(unsettled_since=now))


def deliveries_with_pending_events(session: Session) -> list[str]:
    """Name deliveries (at most 500) that were in the air when their events came, and are no longer."""
    query = (
        select(Event.delivery)
        .join(Delivery, Delivery.id == Event.delivery)
        .where(Event.unsettled_since.is_not(None), Delivery.state != DeliveryState.HANDING_OVER)
        .distinct()
        .limit(MAX_EVENTS_PER_TRANSACTION)
    )
    return [delivery for delivery in session.scalars(query) if delivery]


def apply_pending_events(session: Session, delivery_ids: Collection[str], *, now: datetime) -> None:
    """Settle such deliveries by all that was ever said of them."""
    rows = session.execute(select(Event.delivery, Event.kind, Event.detail).where(Event.delivery.in_(delivery_ids)))
    told = _group_by_delivery((row.delivery, EventKind(row.kind), row.detail) for row in rows)
    session.execute(update(Event).where(Event.delivery.in_(delivery_ids)).values(unsettled_since=None))
    _update_delivery_states(session, told, now)


def _feedback_report(event: DeliveryEvent, deliveries: Mapping[str, Any]) -> FeedbackReport | None:
    word = feedback_of_event(event.kind, event.cause)
    delivery = deliveries.get(event.delivery_id) if event.delivery_id else None
    if word is None or delivery is None or delivery.person is None:
        return None
    if delivery.purpose.startswith(NEW_ADDRESS_PURPOSE):
        return None
    at = (delivery.handed_at or event.occurred_at) if word is heeding.FeedbackKind.BOUNCED else event.occurred_at
    detail = {"delivery": delivery.id, "said": str(event.kind)}
    if event.detail.get("status"):
        detail["status"] = event.detail["status"]
    return FeedbackReport(delivery.person, word, at, event.reported_by, detail)


def apply_feedback(
    session: Session, reports: Iterable[FeedbackReport], *, keys: KeyRing, departure_log: DepartureLog, now: datetime
) -> Counter[str]:
    """Do to people what was said of them, and write their departures into the journal with one sync."""
    counts: Counter[str] = Counter()
    gone: list[PendingDeparture] = []
    # By number, so that two processes never wait for each other in a circle.
    for report in sorted(reports, key=lambda r: r.person):
        try:
            changed, departed = heeding.apply_feedback_report(session, keys, report, now=now)
        except DecryptionError:  # a damaged row must not hold up everybody behind it
            log.error("address does not open", person=report.person)  # noqa: TRY400 - no trace needed
            continue
        counts[f"person {report.kind}"] += changed
        gone += [departed] if departed else []
    departure_log.append_all(gone, at=now)
    return +counts
