"""Apply stored payloads: read their events and process them, in transactions of at most 500 events."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog
from sqlalchemy import select

from digest.deliver.events import payloads, processor
from digest.deliver.events.consequences import EventKind
from digest.deliver.events.delivery_event import DeliveryEvent
from digest.deliver.events.mailbox import incoming_mail
from digest.deliver.providers import registry
from digest.store.delivery_models import Delivery
from digest.store.engine import Database
from subscribers.consent.departure_log import DepartureLog
from subscribers.crypto.keys import KeyRing

log = structlog.get_logger("inbound")


@dataclass(slots=True)
class _EventBatch:
    """Events that are read but not applied yet, and the payloads that they come from."""

    events: list[DeliveryEvent] = field(default_factory=list)
    payload_ids: list[int] = field(default_factory=list)


def apply_stored_payloads(
    database: Database, keys: KeyRing, departure_log: DepartureLog, *, clock: Callable[[], datetime]
) -> Counter[str]:
    """Apply every payload that waits; return the counts of `processor.process_events`.

    A payload is marked in the transaction that applies its last event: cut short, it is applied again, and events
    that are stored already change nothing.

    Raises:
        OSError: the departure log could not be written.
        KeyFileError: a payload was encrypted with a key that is not in the key file.
    """
    _apply_pending_events(database, clock)
    counts: Counter[str] = Counter()
    batch = _EventBatch()
    for payload in payloads.unapplied_payloads(database, keys):
        batch.events += _read_payload_events(database, keys, payload)
        batch.payload_ids.append(payload.id)
        if len(batch.events) >= processor.MAX_EVENTS_PER_TRANSACTION:
            counts += _apply_batch(database, batch, keys, departure_log, clock)
            batch = _EventBatch()
    if batch.payload_ids:
        counts += _apply_batch(database, batch, keys, departure_log, clock)
    return counts


def _read_payload_events(database: Database, keys: KeyRing, payload: payloads.StoredPayload) -> list[DeliveryEvent]:
    events = None
    provider = registry.find_provider(payload.origin)
    if payload.body is not None and payload.origin == incoming_mail.REPORTED_BY:
        mail = incoming_mail.read_incoming_mail(payload.body, keys=keys, received_at=payload.at)
        events = [_attribute_to_delivery(database, mail)] if isinstance(mail, incoming_mail.MailboxEvent) else None
    elif payload.body is not None and provider and provider.webhook:
        events = provider.webhook.parse_body(payload.body, payload.at)
    if events is None:
        log.error("a payload cannot be read", inbound=payload.id)
    return events or []


def _attribute_to_delivery(database: Database, mailbox_event: incoming_mail.MailboxEvent) -> DeliveryEvent:
    """Find the delivery of an event that names a reader: a complaint must quote the Message-ID of a message to them.

    The token alone may come from a forwarded mail. It grants what it grants to its holder, and no more: an
    unsubscription, recorded at the last message that was handed over.
    """
    if mailbox_event.reader is None:
        return mailbox_event.event
    latest = (
        select(Delivery.id)
        .where(Delivery.person == mailbox_event.reader.person, Delivery.handed_at.is_not(None))
        .order_by(Delivery.handed_at.desc())
        .limit(1)
    )
    with database.read() as session:
        quoted = session.scalar(latest.where(Delivery.message_id == mailbox_event.reader.message_id))
        if quoted is not None:
            return replace(mailbox_event.event, delivery_id=quoted)
        return replace(mailbox_event.event, delivery_id=session.scalar(latest), kind=EventKind.UNSUBSCRIBED)


def _apply_batch(
    database: Database, batch: _EventBatch, keys: KeyRing, departure_log: DepartureLog, clock: Callable[[], datetime]
) -> Counter[str]:
    counts: Counter[str] = Counter()
    for start in range(0, max(1, len(batch.events)), processor.MAX_EVENTS_PER_TRANSACTION):
        end = start + processor.MAX_EVENTS_PER_TRANSACTION
        with database.write() as session:
            counts += processor.process_events(
                session, batch.events[start:end], keys=keys, departure_log=departure_log, now=clock()
            )
            if end >= len(batch.events):
                payloads.mark_payloads_applied(session, batch.payload_ids, now=clock())
    return counts


def _apply_pending_events(database: Database, clock: Callable[[], datetime]) -> None:
    while True:
        with database.read() as session:
            ids = processor.deliveries_with_pending_events(session)
        if ids:
            with database.write() as session:
                processor.apply_pending_events(session, ids, now=clock())
        if len(ids) < processor.MAX_EVENTS_PER_TRANSACTION:
            return
