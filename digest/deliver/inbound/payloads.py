"""Providers' requests and mailbox messages, stored as received, applied, and deleted after 30 days.

Their events are processed in transactions of at most 500 events.
"""

import hashlib
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import select, update

from digest.deliver.events import event_processor
from digest.deliver.events.delivery_event import DeliveryEvent, EventKind
from digest.deliver.events.mailbox import incoming_mail
from digest.deliver.providers import registry
from digest.store.delivery_models import Delivery, ReceivedEventPayload
from digest.store.engine import Database
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.encrypted_values import decrypt_bytes, encrypt_bytes
from subscribers.crypto.keys import DecryptionError, KeyRing
from subscribers.loggers import get_logger
from subscribers.store.database import upsert

RETENTION = timedelta(days=30)
READ_PAGE_SIZE = 25  # compressed payloads to read at once: about 2 KB each, at most 768 KB
# Payloads to delete per transaction. secure_delete overwrites each of their pages.
DELETE_PAGE_SIZE = 200

log = get_logger("inbound")


@dataclass(frozen=True, slots=True)
class StoredPayload:
    """A stored request or message. `body` is None if it can't be decrypted."""

    id: int
    origin: str
    at: datetime
    body: bytes | None


def store_payload(
    database: Database,
    keys: KeyRing,
    body: bytes,
    *,
    origin: str,
    now: datetime,
) -> bool:
    """Store a payload's body durably. Return False if the same body is already stored.

    `origin` names its parser: a provider, or the bounce mailbox (`incoming_mail.REPORTED_BY`).
    """
    body_hash = hashlib.sha256(body).hexdigest()
    ciphertext, key_id = encrypt_bytes(keys, zlib.compress(body, 1), bound_to=_payload_binding(body_hash))
    row = {"at": now, "origin": origin, "body_hash": body_hash, "ciphertext": ciphertext, "key_id": key_id}
    with database.write() as session:
        insert = upsert(session, ReceivedEventPayload).on_conflict_do_nothing().returning(ReceivedEventPayload.id)
        return session.connection().scalar(insert, row) is not None


def _payload_binding(body_hash: str) -> str:
    return f"inbound {body_hash}"


def stream_unapplied_payloads(database: Database, keys: KeyRing) -> Iterator[StoredPayload]:
    """Yield the payloads that haven't been applied, oldest first.

    They're read in pages and decrypted one by one.

    Raises:
        KeyFileError: a payload's key isn't in the key file. The payload waits until the key is
            back.
    """
    after = 0
    while True:
        waiting = select(ReceivedEventPayload).where(
            ReceivedEventPayload.applied_at.is_(None), ReceivedEventPayload.id > after
        )
        with database.read() as session:
            rows = session.scalars(waiting.order_by(ReceivedEventPayload.id).limit(READ_PAGE_SIZE)).all()
        yield from (_open_payload(keys, row) for row in rows)
        if len(rows) < READ_PAGE_SIZE:
            return
        after = rows[-1].id


def _open_payload(keys: KeyRing, row: ReceivedEventPayload) -> StoredPayload:
    body = None
    try:
        encrypted = row.ciphertext, row.key_id
        body = zlib.decompress(decrypt_bytes(keys, encrypted, bound_to=_payload_binding(row.body_hash)))
    except (DecryptionError, zlib.error):  # a damaged row must not block the rows after it
        log.error("a payload can't be decrypted", inbound=row.id)  # noqa: TRY400 - no trace needed
    return StoredPayload(row.id, row.origin, row.at, body)


def delete_old_payloads(database: Database, *, now: datetime) -> int:
    """Delete payloads that arrived more than 30 days ago, applied or not, and return their number."""
    return database.delete_in_batches(
        ReceivedEventPayload, ReceivedEventPayload.at < now - RETENTION, size=DELETE_PAGE_SIZE
    )


@dataclass(slots=True)
class _EventBatch:
    """Events that have been read but not yet applied, and the payloads that they came from."""

    events: list[DeliveryEvent] = field(default_factory=list)
    payload_ids: list[int] = field(default_factory=list)


def apply_stored_payloads(
    database: Database, keys: KeyRing, unsubscribe_log: UnsubscribeLog, *, clock: Callable[[], datetime]
) -> Counter[str]:
    """Apply all waiting payloads, and return the counts of `event_processor.process_events`.

    A payload is marked as applied in the transaction that applies its last event. After an
    interruption, it's applied again, and events that are already stored have no effect.

    Raises:
        OSError: the unsubscribe log couldn't be written.
        KeyFileError: a payload's key isn't in the key file.
    """
    _apply_pending_events(database, clock)
    counts: Counter[str] = Counter()
    batch = _EventBatch()
    for payload in stream_unapplied_payloads(database, keys):
        batch.events += _read_payload_events(database, keys, payload)
        batch.payload_ids.append(payload.id)
        if len(batch.events) >= event_processor.MAX_EVENTS_PER_TRANSACTION:
            counts += _apply_batch(database, batch, keys, unsubscribe_log, clock)
            batch = _EventBatch()
    if batch.payload_ids:
        counts += _apply_batch(database, batch, keys, unsubscribe_log, clock)
    return counts


def _read_payload_events(database: Database, keys: KeyRing, payload: StoredPayload) -> list[DeliveryEvent]:
    events = None
    provider = registry.find_provider(payload.origin)
    if payload.body is not None and payload.origin == incoming_mail.REPORTED_BY:
        mail = incoming_mail.read_incoming_mail(payload.body, keys=keys, received_at=payload.at)
        events = [_attribute_to_delivery(database, mail)] if isinstance(mail, incoming_mail.MailboxEvent) else None
    elif payload.body is not None and provider and provider.webhook:
        events = provider.webhook.parse_body(payload.body, payload.at)
    if events is None:
        log.error("a payload can't be read", inbound=payload.id)
    return events or []


def _attribute_to_delivery(database: Database, mailbox_event: incoming_mail.MailboxEvent) -> DeliveryEvent:
    """Find the delivery of an event that identifies only a subscriber.

    A complaint must quote the Message-ID of a message to the subscriber. The token alone may come from any
    email to them, even a forwarded one. It unsubscribes its owner, but says nothing about any delivery.
    """
    subscriber = mailbox_event.subscriber
    if subscriber is None:
        return mailbox_event.event
    if subscriber.message_id:
        quoted = select(Delivery.id).where(
            Delivery.person == subscriber.person,
            Delivery.message_id == subscriber.message_id,
            Delivery.handed_at.is_not(None),
        )
        with database.read() as session:
            delivery = session.scalar(quoted.order_by(Delivery.handed_at.desc()).limit(1))
        if delivery is not None:
            return replace(mailbox_event.event, delivery_id=delivery)
    return replace(mailbox_event.event, person=subscriber.person, kind=EventKind.UNSUBSCRIBED)


def _apply_batch(
    database: Database,
    batch: _EventBatch,
    keys: KeyRing,
    unsubscribe_log: UnsubscribeLog,
    clock: Callable[[], datetime],
) -> Counter[str]:
    counts: Counter[str] = Counter()
    for start in range(0, max(1, len(batch.events)), event_processor.MAX_EVENTS_PER_TRANSACTION):
        end = start + event_processor.MAX_EVENTS_PER_TRANSACTION
        with database.write() as session:
            counts += event_processor.process_events(
                session, batch.events[start:end], keys=keys, unsubscribe_log=unsubscribe_log, now=clock()
            )
            if end >= len(batch.events):
                applied = update(ReceivedEventPayload).where(ReceivedEventPayload.id.in_(batch.payload_ids))
                session.execute(applied.values(applied_at=clock()))
    return counts


def _apply_pending_events(database: Database, clock: Callable[[], datetime]) -> None:
    while True:
        with database.read() as session:
            ids = event_processor.list_deliveries_with_pending_events(session)
        if ids:
            with database.write() as session:
                event_processor.apply_pending_events(session, ids, now=clock())
        if len(ids) < event_processor.MAX_EVENTS_PER_TRANSACTION:
            return
