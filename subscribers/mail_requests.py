"""What this package asks to be mailed: it sends nothing itself, and is handed a way to queue."""

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
    """One mail that a person is owed; without a person it goes to us. `serial` tells it from others of its kind.

    `context` are plain JSON values that the mail is written from; they are kept encrypted until it has gone out.
    A fact `to` is an address that it goes to in place of the person's own. It goes out at once, or not before `due_at`.
    """

    kind: MailKind
    person: int | None
    serial: str
    context: dict[str, Any] = field(default_factory=dict)
    due_at: datetime | None = None


QueueMail = Callable[[Session, MailRequest], None]
"""Takes a note into the session's own transaction: it is committed together with what brought it about."""
