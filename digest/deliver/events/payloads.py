"""What a provider posted or the bounce mailbox held: stored as it came until it is applied, and dropped after 30 days."""

import hashlib
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from digest.store.delivery_models import InboundPayload
from digest.store.engine import Database
from subscribers.crypto.encrypted_values import decrypt_bytes, encrypt_bytes
from subscribers.crypto.keys import DecryptionError, KeyRing
from subscribers.store.database import upsert

RETENTION = timedelta(days=30)
READ_PAGE_SIZE = 25  # payloads read at a time, compressed: some 2 KB each, at most 768 KB
DELETE_PAGE_SIZE = 200  # payloads deleted in one transaction: secure_delete overwrites each of their pages

log = structlog.get_logger("inbound")


@dataclass(frozen=True, slots=True)
class StoredPayload:
    """One posted body, or one message. `body` is None where it cannot be decrypted."""

    id: int
    origin: str
    at: datetime
    body: bytes | None


def store_payload(database: Database, keys: KeyRing, body: bytes, *, origin: str, now: datetime) -> bool:
    """Store a body, durably when this returns; return False where the same body is stored already.

    `origin` names who can read it: a provider, or the bounce mailbox (`incoming_mail.REPORTED_BY`).
    """
    body_hash = hashlib.sha256(body).hexdigest()
    ciphertext, key_id = encrypt_bytes(keys, zlib.compress(body, 1), bound_to=_payload_binding(body_hash))
    row = {"at": now, "origin": origin, "body_hash": body_hash, "ciphertext": ciphertext, "key_id": key_id}
    with database.write() as session:
        insert = upsert(session, InboundPayload).on_conflict_do_nothing().returning(InboundPayload.id)
        return session.connection().scalar(insert, row) is not None


def _payload_binding(body_hash: str) -> str:
    return f"inbound {body_hash}"


def unapplied_payloads(database: Database, keys: KeyRing) -> Iterator[StoredPayload]:
    """Yield the payloads that wait to be applied, oldest first, read by pages and decrypted one by one.

    Raises:
        KeyFileError: one was encrypted with a key that is not in the key file; it waits until the key is back.
    """
    after = 0
    while True:
        waiting = select(InboundPayload).where(InboundPayload.applied_at.is_(None), InboundPayload.id > after)
        with database.read() as session:
            rows = session.scalars(waiting.order_by(InboundPayload.id).limit(READ_PAGE_SIZE)).all()
        yield from (_open_payload(keys, row) for row in rows)
        if len(rows) < READ_PAGE_SIZE:
            return
        after = rows[-1].id


def _open_payload(keys: KeyRing, row: InboundPayload) -> StoredPayload:
    body = None
    try:
        encrypted = row.ciphertext, row.key_id
        body = zlib.decompress(decrypt_bytes(keys, encrypted, bound_to=_payload_binding(row.body_hash)))
    except (DecryptionError, zlib.error):  # a damaged row must not hold up those behind it
        log.error("a payload does not open", inbound=row.id)  # noqa: TRY400 - no trace needed
    return StoredPayload(row.id, row.origin, row.at, body)


def mark_payloads_applied(session: Session, payload_ids: Collection[int], *, now: datetime) -> None:
    """Record that everything in these payloads has been applied."""
    session.execute(update(InboundPayload).where(InboundPayload.id.in_(payload_ids)).values(applied_at=now))


def drop_old_payloads(database: Database, *, now: datetime) -> int:
    """Delete the payloads that arrived more than 30 days ago, applied or not; return how many."""
    return database.delete_in_batches(InboundPayload, InboundPayload.at < now - RETENTION, size=DELETE_PAGE_SIZE)
