"""What the installation itself remembers, by name: one row each, in the caller's transaction."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import delete
from sqlalchemy.orm import Session

from digest.delivery_db import Memo


def recall(session: Session, name: str) -> Mapping[str, Any] | None:
    """Give what is remembered under a name, or None."""
    memo = session.get(Memo, name)
    return None if memo is None else memo.value


def remember(session: Session, name: str, value: Mapping[str, Any], *, now: datetime) -> None:
    """Remember something under a name, instead of what was there."""
    session.merge(Memo(name=name, value=dict(value), at=now))
    session.flush()


def forget(session: Session, name: str) -> bool:
    """Forget what is under a name; say whether there was something."""
    return session.connection().execute(delete(Memo).where(Memo.name == name)).rowcount == 1
