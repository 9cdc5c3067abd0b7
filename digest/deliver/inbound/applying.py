"""From stored payloads to events that are applied, in transactions of at most 500 events."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog
from sqlalchemy import select

from digest.db import Database
from digest.deliver import events
from digest.deliver.events import MOST_A_TRANSACTION, Said
from digest.deliver.inbound import mail, payloads, sendgrid
from digest.deliver.inbound.mail import Heard
from digest.deliver.inbound.payloads import Payload
from digest.deliver.judging import Kind
from digest.delivery_db import Delivery
from subscribers.journal import Journal
from subscribers.vault import Keys

log = structlog.get_logger("inbound")


@dataclass(slots=True)
class _Batch:
    """Events that are read and not applied yet, and the payloads that they come from."""

    said: list[Said] = field(default_factory=list)
    payloads: list[int] = field(default_factory=list)


def apply_all(
    database: Database, keys: Keys, journal: Journal, *, clock: Callable[[], datetime]
) -> Counter[str]:
    """Apply every payload that waits; count what came of it (see `events.apply`).

    A payload is marked in the transaction that applies the last of it: cut short, it is applied again, and events
    that are there already change nothing.

    Raises:
        OSError: the journal could not be written.
        KeyFileError: a payload was sealed with a key that is not in the key file.
    """
    _settle_left_over(database, clock)
    counts: Counter[str] = Counter()
    batch = _Batch()
    for payload in payloads.unapplied(database, keys):
        batch.said += _read(database, keys, payload)
        batch.payloads.append(payload.id)
        if len(batch.said) >= MOST_A_TRANSACTION:
            counts += _apply(database, batch, keys, journal, clock)
            batch = _Batch()
    if batch.payloads:
        counts += _apply(database, batch, keys, journal, clock)
    return counts


def _read(database: Database, keys: Keys, payload: Payload) -> list[Said]:
    said = None
    if payload.body is not None and payload.origin == "mailbox":
        heard = mail.read(payload.body, keys=keys, received_at=payload.at)
        said = [_whole(database, heard)] if isinstance(heard, Heard) else None
    elif payload.body is not None:
        said = sendgrid.read(payload.body, received_at=payload.at)
    if said is None:
        log.error("a payload cannot be read", inbound=payload.id)
    return said or []


def _whole(database: Database, heard: Heard) -> Said:
    """Find the delivery of what names a reader: a complaint, if it quotes the Message-ID of a message to that reader.

    The token alone may be had of a forwarded mail. It is worth what it grants to its holder, and no more: a departure,
    noted at the last message that was handed over.
    """
    if heard.reader is None:
        return heard.said
    handed = (
        select(Delivery.id)
        .where(Delivery.person == heard.reader.person, Delivery.handed_at.is_not(None))
        .order_by(Delivery.handed_at.desc())
        .limit(1)
    )
    with database.read() as session:
        quoted = session.scalar(handed.where(Delivery.message_id == heard.reader.message_id))
        if quoted is not None:
            return replace(heard.said, delivery=quoted)
        return replace(heard.said, delivery=session.scalar(handed), kind=Kind.UNSUBSCRIBED)


def _apply(
    database: Database, batch: _Batch, keys: Keys, journal: Journal, clock: Callable[[], datetime]
) -> Counter[str]:
    counts: Counter[str] = Counter()
    last = max(0, (len(batch.said) - 1) // MOST_A_TRANSACTION)
    for part in range(last + 1):
        said = batch.said[part * MOST_A_TRANSACTION : (part + 1) * MOST_A_TRANSACTION]
        with database.write() as session:
            counts += events.apply(session, said, keys=keys, journal=journal, now=clock())
            if part == last:
                payloads.mark_applied(session, batch.payloads, now=clock())
    return counts


def _settle_left_over(database: Database, clock: Callable[[], datetime]) -> None:
    while True:
        with database.read() as session:
            ids = events.left_over(session)
        if ids:
            with database.write() as session:
                events.settle_left_over(session, ids, now=clock())
        if len(ids) < MOST_A_TRANSACTION:
            return
