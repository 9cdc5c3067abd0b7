"""The audit log: who did what, when. Append-only, chained, and without any reader's address.

A row gets its place in the chain in the last moment before its transaction commits, so that the lock that writers on
PostgreSQL take for it is held for no longer than the commit and can block nobody who waits for another lock.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import event, inspect, select, text
from sqlalchemy.orm import Session

from digest.store.models import AuditEntry
from subscribers.consent.ledger import canonical_json
from subscribers.store.database import is_postgresql

# Any number that no other advisory lock of the product has.
_CHAIN_LOCK = 0x6175646974
SETTINGS_CHANGED = "settings changed"  # the act whose subject is a table of the settings
SOURCE_ADDED, SOURCE_CHANGED, LOGO_KEPT = "source added", "source changed", "logo kept"
APPROVED, APPROVAL_VOIDED, SENT_BACK = "approve", "void approval", "sent back"
_WAITING = "audit entries to be chained"


def record_audit(
    session: Session, act: str, subject: str, detail: Mapping[str, Any], *, actor: str, now: datetime
) -> None:
    """Append a row to the audit log, in the caller's transaction."""
    entry = AuditEntry(at=now, actor=actor, act=act, subject=subject[:200], detail=dict(detail))
    session.add(entry)
    session.flush()
    session.info.setdefault(_WAITING, []).append(entry)


def hash_audit_entry(seq: int, at: str, actor: str, act: str, subject: str, detail: object, *, previous: str) -> str:
    """Compute the hash (64 hex digits) of a row from all that it says; `at` in UTC as 2026-11-20 12:00:00.123000."""
    fields = {"seq": seq, "at": at, "actor": actor, "act": act, "subject": subject, "detail": detail}
    return hashlib.sha256(canonical_json(fields | {"previous": previous}).encode()).hexdigest()


def read_audit_head(session: Session) -> tuple[int, str]:
    """Return the place and the hash of the newest row of the chain; 0 and an empty text where there is none."""
    newest = select(AuditEntry.seq, AuditEntry.hash).where(AuditEntry.seq.is_not(None))
    newest_first = newest.order_by(AuditEntry.seq.desc())
    row = session.execute(newest_first.limit(1)).one_or_none()
    return (row.seq or 0, row.hash) if row else (0, "")


def chain_audit_entries(session: Session) -> None:
    """Chain the rows that this session's transaction has recorded.

    A session does it by itself when it commits. One that shares the transaction of a connection never does: call it then.
    """
    recorded = session.info.pop(_WAITING, [])
    # A row of a savepoint that was rolled back is no row.
    entries = [entry for entry in recorded if inspect(entry).persistent]
    if not entries:
        return
    if is_postgresql(session):
        session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _CHAIN_LOCK})
    seq, head = read_audit_head(session)
    for entry in entries:
        seq += 1
        at = f"{entry.at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"
        entry.seq, entry.previous = seq, head
        entry.hash = head = hash_audit_entry(
            seq, at, entry.actor, entry.act, entry.subject, entry.detail, previous=entry.previous
        )
    session.flush()


@event.listens_for(Session, "before_commit")
def _chain_before_commit(session: Session) -> None:
    if session.info.get(_WAITING) and not session.in_nested_transaction():
        chain_audit_entries(session)
