"""From stored payloads to events that are applied, in transactions of at most 500 events."""

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
from digest.deliver.events.mailbox.incoming_mail import MailboxEvent
from digest.deliver.events.payloads import StoredPayload
from digest.deliver.events.processor import MAX_EVENTS_PER_TRANSACTION
from digest.deliver.providers import registry
from digest.store.delivery_models import Delivery
from digest.store.engine import Database
from subscribers.consent.departure_log import DepartureLog
from subscribers.crypto.keys import KeyRing

log = structlog.get_logger("inbound")


@dataclass(slots=True)
class _EventBatch:
    """Events that are read and not applied yet, and the payloads that they come from."""

    events: list[DeliveryEvent] = field(default_factory=list)
    payload_ids: list[int] = field(default_factory=list)


def apply_stored_payloads(
    database: Database, keys: KeyRing, journal: DepartureLog, *, clock: Callable[[], datetime]
) -> Counter[str]:
    """Apply every payload that waits; count what came of it (see `events.process_events`).

    A payload is marked in the transaction that applies the last of it: cut short, it is applied again, and events
    that are there already change nothing.

    Raises:
        OSError: the journal could not be written.
        KeyFileError: a payload was sealed with a key that is not in the key file.
    """
    _resolve_left_over(database, clock)
    counts: Counter[str] = Counter()
    batch = _EventBatch()
    for payload in payloads.unapplied_payloads(database, keys):
        batch.events += _read_payload_events(database, keys, payload)
        batch.payload_ids.append(payload.id)
        if len(batch.events) >= MAX_EVENTS_PER_TRANSACTION:
            counts += _apply_batch(database, batch, keys, journal, clock)
            batch = _EventBatch()
    if batch.payload_ids:
        counts += _apply_batch(database, batch, keys, journal, clock)
    return counts


def _read_payload_events(database: Database, keys: KeyRing, payload: StoredPayload) -> list[DeliveryEvent]:
    events = None
    provider = registry.find_provider(payload.origin)
    if payload.body is not None and payload.origin == incoming_mail.REPORTED_BY:
        mail = incoming_mail.read_incoming_mail(payload.body, keys=keys, received_at=payload.at)
        events = [_attribute_to_delivery(database, mail)] if isinstance(mail, MailboxEvent) else None
    elif payload.body is not None and provider and provider.webhook:
        events = provider.webhook.parse_body(payload.body, payload.at)
    if events is None:
        log.error("a payload cannot be read", inbound=payload.id)
    return events or []


def _attribute_to_delivery(database: Database, mailbox_event: MailboxEvent) -> DeliveryEvent:
    """Find the delivery of what names a reader: a complaint, if it quotes the Message-ID of a message to that reader.

    The token alone may be had of a forwarded mail. It is worth what it grants to its holder, and no more: a departure,
    noted at the last message that was handed over.
    """
    if mailbox_event.reader is None:
        return mailbox_event.event
    handed = (
        select(Delivery.id)
        .where(Delivery.person == mailbox_event.reader.person, Delivery.handed_at.is_not(None))
        .order_by(Delivery.handed_at.desc())
        .limit(1)
    )
    with database.read() as session:
        quoted = session.scalar(handed.where(Delivery.message_id == mailbox_event.reader.message_id))
        if quoted is not None:
            return replace(mailbox_event.event, delivery_id=quoted)
        return replace(mailbox_event.event, delivery_id=session.scalar(handed), kind=EventKind.UNSUBSCRIBED)


def _apply_batch(
    database: Database, batch: _EventBatch, keys: KeyRing, journal: DepartureLog, clock: Callable[[], datetime]
) -> Counter[str]:
    counts: Counter[str] = Counter()
    last = max(0, (len(batch.events) - 1) // MAX_EVENTS_PER_TRANSACTION)
    for part in range(last + 1):
        said = batch.events[part * MAX_EVENTS_PER_TRANSACTION : (part + 1) * MAX_EVENTS_PER_TRANSACTION]
        with database.write() as session:
            counts += processor.process_events(session, said, keys=keys, departure_log=journal, now=clock())
            if part == last:
                payloads.mark_payloads_applied(session, batch.payload_ids, now=clock())
    return counts


def _resolve_left_over(database: Database, clock: Callable[[], datetime]) -> None:
    while True:
        with database.read() as session:
            ids = processor.deliveries_with_pending_events(session)
        if ids:
            with database.write() as session:
                processor.apply_pending_events(session, ids, now=clock())
        if len(ids) < MAX_EVENTS_PER_TRANSACTION:
            return
