"""One-time tokens: 128 random bits in a mail, of which the database holds the hash alone.

Unlike a mail token (`tokens`) they run out, work once, and open what a forwarded mail must not: a consent, one's
data, another address, erasure, a desk. Opening a page with one only looks; `use` is for the button.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from subscribers.signup_db import OneTime

Purpose = Literal["confirm", "change address", "my data", "erase", "sign in", "staff address"]
LENGTH = 22  # characters: 128 bits in base64url
KEPT = timedelta(days=60)  # after its end, so that the page can say "used" or "ran out" and not "unknown"


class Standing(StrEnum):
    """What a token is worth now."""

    UNKNOWN = "unknown"
    FRESH = "fresh"
    USED = "used"
    EXPIRED = "expired"  # it ran out, or a newer one took its place


@dataclass(frozen=True, slots=True)
class Looked:
    """A token looked up: for an unknown one the rest is empty."""

    standing: Standing
    person: int | None = None
    serial: str = ""
    expires_at: datetime | None = None
    ended_at: datetime | None = None


def issue(
    session: Session,
    purpose: Purpose,
    person: int | None,
    *,
    now: datetime,
    expires_at: datetime,
    serial: str = "",
) -> str:
    """Make a token (22 characters of base64url) and store its hash. Nobody can read the token back."""
    token = secrets.token_urlsafe(16)
    row = OneTime(
        hash=hashed(token), purpose=purpose, person=person, serial=serial, made_at=now, expires_at=expires_at
    )
    session.add(row)
    session.flush()
    return token


def hashed(token: str) -> str:
    """Give what is stored: 128 random bits need no salt and no slow hash."""
    return hashlib.sha256(b"one-time\0" + token.encode()).hexdigest()


def look(session: Session, token: str, purpose: Purpose, *, now: datetime) -> Looked:
    """Say what a token is worth; nothing is changed. A token for another purpose is unknown."""
    return _looked(_row(session, token, purpose), now)


def use(session: Session, token: str, purpose: Purpose, *, now: datetime) -> Looked:
    """Use a token up; give what it was worth before. Of two that use it at once, one finds it fresh."""
    row = _row(session, token, purpose, lock=True)
    found = _looked(row, now)
    if row is not None and found.standing is Standing.FRESH:
        row.ended_at, row.used = now, True
        session.flush()
    return found


def end(session: Session, person: int, purpose: Purpose, *, now: datetime, used: bool = False) -> None:
    """End what is open of a purpose for a person: it was done by another token, or is not wanted any more."""
    ended = update(OneTime).where(
        OneTime.person == person, OneTime.purpose == purpose, OneTime.ended_at.is_(None)
    )
    session.execute(ended.values(ended_at=now, used=used), execution_options={"synchronize_session": False})


def end_all(session: Session, person: int, *, now: datetime) -> None:
    """Spend every open token of a person, whatever it is for: there is nobody left whom it could serve."""
    mine = update(OneTime).where(OneTime.person == person, OneTime.ended_at.is_(None))
    session.execute(mine.values(ended_at=now, used=True), execution_options={"synchronize_session": False})


def open_for(session: Session, person: int, purpose: Purpose, *, now: datetime) -> OneTime | None:
    """Give the first token that is still open for a person, None where there is none."""
    return next(iter(all_open_for(session, person, purpose, now=now)), None)


def all_open_for(session: Session, person: int, purpose: Purpose, *, now: datetime) -> Sequence[OneTime]:
    """Give the tokens that are still open for a person, the first one first."""
    query = (
        select(OneTime)
        .where(
            OneTime.person == person,
            OneTime.purpose == purpose,
            OneTime.ended_at.is_(None),
            OneTime.expires_at > now,
        )
        .order_by(OneTime.id)
    )
    return session.scalars(query).all()


def tidy(session: Session, *, now: datetime) -> None:
    """Drop tokens that ended long ago, or ran out long ago; confirmations only after `expiring` settled them."""
    old = now - KEPT
    ran_out = (OneTime.expires_at < old) & (OneTime.purpose != "confirm")
    session.execute(delete(OneTime).where((OneTime.ended_at < old) | ran_out))


def _row(session: Session, token: str, purpose: Purpose, *, lock: bool = False) -> OneTime | None:
    if len(token) != LENGTH or not token.isascii():
        return None
    query = select(OneTime).where(OneTime.hash == hashed(token), OneTime.purpose == purpose)
    return session.scalar(query.with_for_update() if lock else query)


def _looked(row: OneTime | None, now: datetime) -> Looked:
    if row is None:
        return Looked(Standing.UNKNOWN)
    if row.ended_at is not None:
        standing = Standing.USED if row.used else Standing.EXPIRED
    else:
        standing = Standing.FRESH if row.expires_at > now else Standing.EXPIRED
    return Looked(standing, row.person, row.serial, row.expires_at, row.ended_at)
