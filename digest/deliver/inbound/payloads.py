"""What a provider posted or a mailbox held, kept as it came until it is applied, and for 30 days after it arrived."""

import hashlib
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, cast

import structlog
from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from digest.db import Database
from digest.delivery_db import Inbound
from subscribers.sealed import open_bytes, seal_bytes
from subscribers.vault import Keys, VaultError

KEPT = timedelta(days=30)
AT_ONCE = 25  # payloads read at a time, compressed: of SendGrid's some 2 KB each, at most 768 KB
PAGE = 200  # payloads deleted in one transaction: secure_delete writes each of their pages over

# Made once: a post is answered within a millisecond or two. Where the body is known, nothing is written.
_PUT = {
    dialect.__name__.rpartition(".")[2]: dialect.insert(Inbound)
    .on_conflict_do_nothing()
    .returning(Inbound.id)
    for dialect in (postgresql, sqlite)
}

Origin = Literal["sendgrid", "mailbox"]  # who can read it

log = structlog.get_logger("inbound")


@dataclass(frozen=True, slots=True)
class Payload:
    """One posted body, or one message. `body` is None where it does not open."""

    id: int
    origin: Origin
    at: datetime
    body: bytes | None


def store(database: Database, keys: Keys, body: bytes, *, now: datetime, origin: Origin = "sendgrid") -> bool:
    """Keep a body, durably when this returns. False: the same body is there already, and nothing was written."""
    body_hash = hashlib.sha256(body).hexdigest()
    ciphertext, key_id = seal_bytes(keys, zlib.compress(body, 1), bound_to=_bound(body_hash))
    row = {"at": now, "origin": origin, "body_hash": body_hash, "ciphertext": ciphertext, "key_id": key_id}
    with database.write() as session:
        connection = session.connection()
        return connection.scalar(_PUT[connection.dialect.name], row) is not None


def _bound(body_hash: str) -> str:
    return f"inbound {body_hash}"


def unapplied(database: Database, keys: Keys) -> Iterator[Payload]:
    """Give the payloads that wait to be applied, the oldest first. Some are read at a time, and opened one by one.

    Raises:
        KeyFileError: one was sealed with a key that is not in the key file; it waits until the key is back.
    """
    columns = (Inbound.id, Inbound.origin, Inbound.at, Inbound.body_hash, Inbound.ciphertext, Inbound.key_id)
    after = 0
    while True:
        waiting = select(*columns).where(Inbound.applied_at.is_(None), Inbound.id > after)
        with database.read() as session:
            rows = session.execute(waiting.order_by(Inbound.id).limit(AT_ONCE)).all()
        yield from (_opened(keys, row) for row in rows)
        if len(rows) < AT_ONCE:
            return
        after = rows[-1].id


def _opened(keys: Keys, row: Any) -> Payload:
    plain = None
    try:
        sealed = row.ciphertext, row.key_id
        plain = zlib.decompress(open_bytes(keys, sealed, bound_to=_bound(row.body_hash)))
    except (VaultError, zlib.error):  # a damaged row must not hold up those behind it
        log.error("a payload does not open", inbound=row.id)  # noqa: TRY400 - no trace needed
    return Payload(row.id, cast("Origin", row.origin), row.at, plain)


def mark_applied(session: Session, payloads: Collection[int], *, now: datetime) -> None:
    """Note that everything that stands in these payloads has been applied."""
    session.execute(update(Inbound).where(Inbound.id.in_(payloads)).values(applied_at=now))


def drop_old(database: Database, *, now: datetime) -> int:
    """Delete what came more than 30 days ago, applied or not; give how many."""
    dropped = 0
    old = select(Inbound.id).where(Inbound.at < now - KEPT).order_by(Inbound.at).limit(PAGE)
    while True:
        with database.write() as session:
            ids = session.scalars(old).all()
            session.execute(delete(Inbound).where(Inbound.id.in_(ids)))
        dropped += len(ids)
        if len(ids) < PAGE:
            return dropped
