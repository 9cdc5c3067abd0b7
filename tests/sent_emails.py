"""Emails sent in tests, read as an email client would."""

from datetime import datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, select

from digest.app.sending import background_tasks
from digest.installation.opened_installation import Installation
from digest.store.delivery_models import Delivery


def read_email(octets: bytes) -> EmailMessage:
    """Read the bytes of an email."""
    return message_from_bytes(octets, policy=policy.default)


def read_folder(folder: Path) -> list[EmailMessage]:
    """Read the emails that lie in a folder of the outbox."""
    return [read_email(file.read_bytes()) for file in folder.glob("*.eml")]


def plain_text(email: EmailMessage) -> str:
    """Return the text/plain part of an email."""
    part = email.get_body(("plain",))
    assert part is not None
    return str(part.get_content())


def send_notices(
    install: Installation, *conditions: ColumnElement[bool], now: datetime, by: Any = Delivery.handed_at
) -> list[EmailMessage]:
    """Hand over the notices that are due; return all that were handed over so far and meet the conditions, the oldest first."""
    background_tasks.send_due_transactional_emails(install, clock=lambda: now)
    with install.database.read() as session:
        sent = select(Delivery.id).where(Delivery.handed_at.is_not(None), *conditions).order_by(by)
        files = [install.settings.outbox_folder / "notice" / f"{name}.eml" for name in session.scalars(sent)]
    return [read_email(file.read_bytes()) for file in files]
