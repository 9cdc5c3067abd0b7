"""What this package asks to be mailed: it sends nothing itself, and is handed a way to queue."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy.orm import Session

Kind = Literal["confirm", "remind", "known", "link", "welcome"]


@dataclass(frozen=True, slots=True)
class Note:
    """One mail that a person is owed. `serial` tells it from others of its kind to the same person.

    `facts` are plain JSON values that the mail is written from; they are kept encrypted until it has gone out.
    """

    kind: Kind
    person: int
    serial: str
    facts: dict[str, Any] = field(default_factory=dict)


Queue = Callable[[Session, Note], None]
"""Takes a note into the session's own transaction: it is committed together with what brought it about."""
