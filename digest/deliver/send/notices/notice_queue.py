"""Queuing transactional emails.

A delivery and its content are stored in the transaction that causes the email.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import exists, func, insert, literal_column, select
from sqlalchemy.orm import Session

from digest.deliver.compose.identifiers import make_delivery_id, make_message_id
from digest.deliver.plan.delivery_plan import IS_WAITING
from digest.settings import Settings
from digest.store.delivery_models import Delivery, DeliveryState, QueuedNoticeEmail
from subscribers.crypto.encrypted_values import encrypt_json
from subscribers.crypto.keys import KeyRing
from subscribers.mail_requests import MailRequest, QueueMail
from subscribers.store.models import Person

# The number of attempts after which a warning to an admin was tried with the senders before and
# after the action.
MANY_TRIES = 2
# These use a literal instead of a parameter, so that the index of urgent emails is used, however
# many corrections there are.
IS_URGENT = QueuedNoticeEmail.kind != literal_column("'correction'")
IS_GUARD = QueuedNoticeEmail.kind == literal_column("'guard'")
# Without its links, a team whose only admin signs in by link couldn't resume sending.
IS_EXEMPT_FROM_PAUSE = QueuedNoticeEmail.kind.in_((literal_column("'guard'"), literal_column("'staff'")))

# The values of the delivery, and those of the email's content.
NoticeRows = tuple[dict[str, Any], dict[str, Any]]


def make_notice_queue(keys: KeyRing, settings: Settings, clock: Callable[[], datetime]) -> QueueMail:
    """Return the function that subscriber pages and forms call to queue an email within their transaction."""

    def queue_notice(session: Session, request: MailRequest) -> None:
        rows = _prepare_notice(keys, settings, request, clock())
        tag = session.scalar(select(Person.domain_tag).where(Person.number == request.person))
        _insert_rows(session, [rows], {request.person: tag})

    return queue_notice


def prepare_notices(
    keys: KeyRing, settings: Settings, requests: Sequence[MailRequest], now: datetime
) -> list[NoticeRows]:
    """Encrypt transactional emails to people, and return them as rows for `insert_notices`.

    This isn't done in a write transaction.
    """
    return [_prepare_notice(keys, settings, request, now) for request in requests]


def _prepare_notice(keys: KeyRing, settings: Settings, request: MailRequest, now: datetime) -> NoticeRows:
    purpose, due_at = f"{request.kind}:{request.serial}", request.due_at or now
    delivery_id = make_delivery_id(keys, purpose, request.person or 0)
    ciphertext, key_id = encrypt_json(keys, request.context, bound_to=f"notice {delivery_id}")
    delivery = {
        "id": delivery_id,
        "purpose": purpose,
        "person": request.person,
        "state": DeliveryState.WAITING,
        "due_at": due_at,
        "next_try_at": due_at,
        "tries": 0,
        "message_id": make_message_id(purpose, delivery_id, settings.file.sender.list_id),
        "transport": "",
        "reply": "",
    }
    return delivery, {"delivery": delivery_id, "kind": request.kind, "ciphertext": ciphertext, "key_id": key_id}


def insert_notices(session: Session, rows: Sequence[NoticeRows], **columns: Any) -> int:
    """Queue up to 1,000 transactional emails that don't have a delivery yet, and return their number.

    This is idempotent. `columns` are delivery values that replace the defaults.
    """
    ids = [delivery["id"] for delivery, _ in rows]
    stored = select(Delivery.id).where(Delivery.id.in_(ids))
    stored_ids = set(session.scalars(stored)) if ids else set()
    new = [(delivery | columns, notice) for delivery, notice in rows if delivery["id"] not in stored_ids]
    if new:
        numbers = [delivery["person"] for delivery, _ in new]
        people = session.execute(select(Person.number, Person.domain_tag).where(Person.number.in_(numbers)))
        _insert_rows(session, new, {person.number: person.domain_tag for person in people})
    return len(new)


def _insert_rows(
    session: Session,
    rows: Sequence[NoticeRows],
    domain_tags: Mapping[int | None, str | None],
) -> None:
    deliveries = [delivery | {"domain_tag": domain_tags.get(delivery["person"])} for delivery, _ in rows]
    session.execute(insert(Delivery), deliveries)
    session.execute(insert(QueuedNoticeEmail), [notice for _, notice in rows])


def count_retried_admin_warnings(session: Session) -> int:
    """Return the number of waiting warnings to admins that have been tried at least twice."""
    # This isn't a join, because SQLite would begin it with all waiting deliveries of an edition.
    is_retried = exists().where(Delivery.id == QueuedNoticeEmail.delivery, IS_WAITING, Delivery.tries >= MANY_TRIES)
    query = select(func.count()).select_from(QueuedNoticeEmail).where(IS_URGENT, IS_GUARD, is_retried)
    return session.scalar(query) or 0
