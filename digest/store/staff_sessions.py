"""Sessions of staff members. Only a hash of each cookie's token is stored."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache

from sqlalchemy import ColumnElement, Select, bindparam, delete, select
from sqlalchemy.orm import Session

from digest.store.account_models import StaffSession
from digest.store.delivery_models import StaffMember
from digest.store.staff_revocations import read_revocations
from subscribers.store.keyed_row_seals import filter_genuine_rows, is_genuine_row, keep_if_genuine

SESSION_LIFETIME = timedelta(days=30)  # counted from signing in
IDLE_LIMIT = timedelta(days=7)  # maximum time between requests
TOKEN_BYTES = 32


def hash_session_token(token: str) -> str:
    """Return the hash that's stored in place of a token.

    The token's 256 random bits make a salt or a slow hash unnecessary.
    """
    return hashlib.sha256(b"staff session\0" + token.encode()).hexdigest()


def begin_session(session: Session, member: StaffMember, *, network: str, browser: str, now: datetime) -> str:
    """Store a session for a member who just signed in, and return the token for the cookie."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    session.add(
        StaffSession(
            hash=hash_session_token(token),
            staff=member.id,
            began_at=now,
            used_at=now,
            fresh_at=now,
            network=network,
            browser=browser,
        )
    )
    session.flush()
    return token


def find_session(session: Session, token: str, *, now: datetime) -> tuple[StaffSession, StaffMember] | None:
    """Return the session that a token belongs to and the session's member, or None.

    Return None if the session is unknown, expired, ended, or forged.
    """
    parameters = {"token_hash": hash_session_token(token), **_alive_at(now)}
    row = session.execute(_select_session(), parameters).one_or_none()
    if row is None or not (is_genuine_row(session, row[0]) and is_genuine_row(session, row[1])):
        return None
    revoked = read_revocations(session)[row[1].id]
    return (row[0], row[1]) if revoked.is_current_session(row[0]) and revoked.is_current_member(row[1]) else None


@cache  # every staff page uses it
def _select_session() -> Select[StaffSession, StaffMember]:
    return (
        select(StaffSession, StaffMember)
        .join(StaffMember, StaffMember.id == StaffSession.staff)
        .where(StaffSession.hash == bindparam("token_hash"), _is_alive(), StaffMember.removed_at.is_(None))
    )


def list_sessions(session: Session, staff: int, *, now: datetime) -> Sequence[StaffSession]:
    """Return a member's unexpired sessions, most recently used first."""
    query = select(StaffSession).where(StaffSession.staff == staff, _is_alive())
    latest_first = query.order_by(StaffSession.used_at.desc(), StaffSession.id.desc())
    return filter_genuine_rows(session, session.scalars(latest_first, _alive_at(now)))


def touch_session(session: Session, session_id: int, *, now: datetime) -> None:
    """Update the time when a session was last used."""
    row = session.get(StaffSession, session_id)
    if row is not None:
        row.used_at = now


def reauthenticate_session(session: Session, session_id: int, *, now: datetime) -> str | None:
    """Replace a session's token after its member has confirmed their identity.

    Return the new token, or None if the session has ended.
    """
    row = keep_if_genuine(session, session.get(StaffSession, session_id, with_for_update=True))
    if row is None:
        return None
    token = secrets.token_urlsafe(TOKEN_BYTES)
    row.hash, row.fresh_at, row.used_at = hash_session_token(token), now, now
    session.flush()
    return token


def end_session(session: Session, staff: int, session_id: int) -> bool:
    """End one of a member's sessions, and return True if it existed."""
    return _delete_sessions(session, (StaffSession.staff == staff) & (StaffSession.id == session_id)) > 0


def end_session_of_token(session: Session, token: str) -> None:
    """End the session that a token belongs to, if any."""
    _delete_sessions(session, StaffSession.hash == hash_session_token(token))


def end_sessions(session: Session, staff: int, *, keep: int | None = None) -> int:
    """End a member's sessions, optionally keeping one, and return the number of sessions ended."""
    mine = StaffSession.staff == staff
    return _delete_sessions(session, mine if keep is None else mine & (StaffSession.id != keep))


def end_every_session(session: Session) -> int:
    """End the sessions of all members, and return the number of sessions ended."""
    return _delete_sessions(session, StaffSession.id.is_not(None))


def delete_old_sessions(session: Session, *, now: datetime) -> int:
    """Delete expired sessions, and return the number deleted."""
    return _delete_sessions(session, ~_is_alive(), _alive_at(now))


def _is_alive() -> ColumnElement[bool]:
    """Return the condition for unexpired sessions. `_alive_at` returns its parameters."""
    return (StaffSession.began_at > bindparam("began_after")) & (StaffSession.used_at > bindparam("used_after"))


def _alive_at(now: datetime) -> dict[str, datetime]:
    return {"began_after": now - SESSION_LIFETIME, "used_after": now - IDLE_LIMIT}


def _delete_sessions(
    session: Session, condition: ColumnElement[bool], parameters: Mapping[str, datetime] | None = None
) -> int:
    statement = delete(StaffSession).where(condition)
    return session.connection().execute(statement, parameters).rowcount
