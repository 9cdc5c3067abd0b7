"""The queue of transactional emails, and emails to verified staff about an edition, once per occasion."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.deliver.send.notices.notice_queue import make_notice_queue
from digest.installation.opened_installation import Installation
from digest.store.delivery_models import Delivery
from digest.store.staff import list_verified_staff
from subscribers.mail_requests import MailRequest, QueueMail

StaffMailKind = Literal["alarm", "alert", "deadline", "gone"]


def make_mail_queue(installation: Installation, now: datetime) -> QueueMail:
    """Return a function that queues transactional emails.

    They're due at `now`, unless a request says otherwise.
    """
    return make_notice_queue(installation.keys, installation.settings, lambda: now)


def queue_staff_mail(
    session: Session,
    installation: Installation,
    kind: StaffMailKind,
    occasion: str,
    facts: Mapping[str, str],
    *,
    now: datetime,
    admins_only: bool = False,
) -> int:
    """Queue an email to each staff member who hasn't had one for this occasion.

    With `admins_only`, queue it only to admins. Return the number of emails queued. If no address
    is verified, a single email goes to the editors' reply address.
    """
    queue = make_mail_queue(installation, now)
    recipients = [
        (str(member.id), {"to": member.email})
        for member in list_verified_staff(session)
        if member.role == "admin" or not admins_only
    ]
    queued = 0
    for number, to in recipients or [("0", {})]:
        if not _is_queued(session, kind, occasion, [number]):
            queue(session, MailRequest(kind, None, f"{number}-{occasion}", {**facts, **to}))
            queued += 1
    return queued


def make_deadline_email_key(slot: str, what: str, moment: datetime) -> str:
    """Return the key that identifies an email about a deadline.

    It consists of the edition's slot, the topic, and the time that the email is about.
    """
    return f"{slot}-{what}-{moment:%Y%m%d%H%M}"


def make_pause_email_key(name: str, paused_at: datetime) -> str:
    """Return the key that identifies an email about a pause by a stop rule."""
    return f"{name}-{paused_at:%Y%m%d%H%M%S%f}"


def is_staff_mailed(session: Session, kind: StaffMailKind, occasion: str) -> bool:
    """Return True if an email for an occasion was queued to anyone who would get it now."""
    return _is_queued(session, kind, occasion, [str(member.id) for member in list_verified_staff(session)] or ["0"])


def _is_queued(session: Session, kind: StaffMailKind, occasion: str, numbers: Sequence[str]) -> bool:
    purposes = [f"{kind}:{number}-{occasion}" for number in numbers]
    return session.scalar(select(Delivery.id).where(Delivery.purpose.in_(purposes)).limit(1)) is not None
