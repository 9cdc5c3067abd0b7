"""Queueing notices: the delivery and what the notice is written from, in the transaction of whatever caused it."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from digest.deliver.compose.identifiers import make_delivery_id, make_message_id
from digest.settings import Settings
from digest.store.delivery_models import Delivery, DeliveryState, Notice
from subscribers.crypto.encrypted_values import encrypt_json
from subscribers.crypto.keys import KeyRing
from subscribers.mail_requests import MailRequest, QueueMail
from subscribers.store.models import Person


def make_notice_queue(keys: KeyRing, settings: Settings, clock: Callable[[], datetime]) -> QueueMail:
    """Return the callable with which readers' pages and the processing of forms queue their mails."""

    def queue_notice(session: Session, request: MailRequest) -> None:
        purpose = f"{request.kind}:{request.serial}"
        delivery_id = make_delivery_id(keys, purpose, request.person or 0)
        due_at = request.due_at or clock()
        ciphertext, key_id = encrypt_json(keys, request.context, bound_to=f"notice {delivery_id}")
        delivery = Delivery(
            id=delivery_id,
            purpose=purpose,
            person=request.person,
            state=DeliveryState.WAITING,
            due_at=due_at,
            next_try_at=due_at,
            domain_tag=session.scalar(select(Person.domain_tag).where(Person.number == request.person)),
            message_id=make_message_id(purpose, delivery_id, settings.file.sender.list_id),
        )
        session.add(delivery)
        session.flush()
        session.add(Notice(delivery=delivery_id, kind=request.kind, ciphertext=ciphertext, key_id=key_id))
        session.flush()

    return queue_notice


def prepare_notices(
    keys: KeyRing, settings: Settings, requests: Sequence[MailRequest], now: datetime
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Encrypt many notices to people, as rows for `write_notices`: outside of a write transaction."""
    rows = []
    for request in requests:
        assert request.person is not None, "many notices go to people"
        purpose = f"{request.kind}:{request.serial}"
        delivery_id = make_delivery_id(keys, purpose, request.person)
        ciphertext, key_id = encrypt_json(keys, request.context, bound_to=f"notice {delivery_id}")
        delivery = {
            "id": delivery_id,
            "purpose": purpose,
            "person": request.person,
            "state": DeliveryState.WAITING,
            "due_at": now,
            "next_try_at": now,
            "tries": 0,
            "message_id": make_message_id(purpose, delivery_id, settings.file.sender.list_id),
            "transport": "",
            "reply": "",
        }
        notice = {"delivery": delivery_id, "kind": request.kind, "ciphertext": ciphertext, "key_id": key_id}
        rows.append((delivery, notice))
    return rows


def write_notices(session: Session, rows: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> int:
    """Queue many notices (at most 1,000) that have no delivery yet; return how many. A second time it changes nothing."""
    if not rows:
        return 0
    known = set(session.scalars(select(Delivery.id).where(Delivery.id.in_([delivery["id"] for delivery, _ in rows]))))
    new = [(delivery, notice) for delivery, notice in rows if delivery["id"] not in known]
    if new:
        people = [delivery["person"] for delivery, _ in new]
        found = session.execute(select(Person.number, Person.domain_tag).where(Person.number.in_(people)))
        tags: dict[int, str | None] = {row.number: row.domain_tag for row in found}
        deliveries = [delivery | {"domain_tag": tags.get(delivery["person"])} for delivery, _ in new]
        session.execute(insert(Delivery), deliveries)
        session.execute(insert(Notice), [notice for _, notice in new])
    return len(new)
