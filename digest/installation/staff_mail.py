"""Mail to the staff about an edition: to every member whose address is proven, once for each occasion."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.deliver.send.notices.notice_queue import make_notice_queue
from digest.installation.opened import Installation
from digest.store.delivery_models import Delivery
from digest.store.staff import list_proven_staff
from subscribers.mail_requests import MailRequest


def queue_staff_mail(
    session: Session,
    installation: Installation,
    kind: Literal["alarm", "alert", "deadline", "gone"],
    occasion: str,
    facts: Mapping[str, str],
    *,
    now: datetime,
    admins_only: bool = False,
) -> int:
    """Queue a mail of a kind for each member, or each admin, who has none of this occasion yet; return for how many.

    Where nobody's address is proven it goes to the editors' own.
    """
    queue = make_notice_queue(installation.keys, installation.settings, lambda: now)
    recipients = [
        (str(member.id), {"to": member.email})
        for member in list_proven_staff(session)
        if member.role == "admin" or not admins_only
    ]
    queued = 0
    for number, to in recipients or [("0", {})]:
        serial = f"{number}-{occasion}"
        if session.scalar(select(Delivery.id).where(Delivery.purpose == f"{kind}:{serial}")) is None:
            queue(session, MailRequest(kind, None, serial, {**facts, **to}))
            queued += 1
    return queued
