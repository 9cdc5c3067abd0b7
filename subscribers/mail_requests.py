"""Requests for emails.

This package doesn't send anything. Callers pass a function that queues email.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sqlalchemy.orm import Session

MailKind = Literal[
    "confirm",
    "remind",
    "ask",
    "stay",
    "known",
    "link",
    "welcome",
    "data",
    "move",
    "moving",
    "undo",
    "restored",
    "choices",
    "leave",
    "contact",
    "staff",
    "seal",
    "gone",
    "alarm",
    "alert",
    "correction",
    "deadline",
    "guard",
    "summary",
]


@dataclass(frozen=True, slots=True)
class MailRequest:
    """A request for an email to a person, or to the team if there's no person.

    `serial` distinguishes it from others of its kind. `context` contains plain JSON values for the
    template, which are stored encrypted until the email is sent. A value `to` is an address that
    replaces the person's own. The email is sent immediately, or no earlier than `due_at`.
    """

    kind: MailKind
    person: int | None
    serial: str
    context: dict[str, Any] = field(default_factory=dict)
    due_at: datetime | None = None


# A function that queues an email in the session's transaction, so that it's committed together with
# the event that caused it.
QueueMail = Callable[[Session, MailRequest], None]
