"""The audit log: who did what, when. Append-only, and without any reader's address."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from digest.store.models import AuditEntry


def record_audit(
    session: Session, act: str, subject: str, detail: Mapping[str, Any], *, actor: str, now: datetime
) -> None:
    """Append a row to the audit log, in the caller's transaction."""
    session.add(AuditEntry(at=now, actor=actor, act=act, subject=subject[:200], detail=dict(detail)))
    session.flush()
