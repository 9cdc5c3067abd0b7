"""What was taken from members, by the audit log: a row that was put back as it once was, seal and all, isn't believed.

A seal proves that we wrote a row, not that it's the newest. The audit log is chained, and whoever deletes from it is found out.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.store.account_models import CodeApp, Passkey, StaffSession
from digest.store.delivery_models import StaffMember
from digest.store.models import AuditEntry

ADDED, REMOVED, ROLE_CHANGED, RESET = "staff added", "staff removed", "staff role changed", "sign-in reset"
SIGNED_OUT, PASSWORD_SET = "staff signed out", "password or app set"
_ENDING_SESSIONS = (ROLE_CHANGED, RESET, SIGNED_OUT)
_MEMBER = re.compile(r"staff \d+", re.ASCII)
_NEVER = datetime.min.replace(tzinfo=UTC)

log = structlog.get_logger("row-seals")


@dataclass(slots=True)
class Revocations:
    """What the audit log says was taken from a member, and when. `role` is the last one given, empty where the log has none."""

    removed: bool = False
    role: str = ""
    reset_at: datetime = _NEVER
    sessions_ended_at: datetime = _NEVER
    password_at: datetime = _NEVER

    def add(self, act: str, at: datetime, detail: object) -> None:
        """Add a row of the log."""
        said = detail if isinstance(detail, dict) else {}
        if act in (ADDED, REMOVED):
            self.removed = act == REMOVED  # an early version brought who came back under the same number
        if act in (ADDED, ROLE_CHANGED):
            self.role = str(said.get("role", ""))
        if act == RESET:
            self.reset_at = max(self.reset_at, at)
        if act in _ENDING_SESSIONS:
            self.sessions_ended_at = max(self.sessions_ended_at, at)
        if act == RESET or (act == PASSWORD_SET and said.get("password")):
            self.password_at = max(self.password_at, at)

    def allow_member(self, member: StaffMember) -> bool:
        """Return whether a member's row is as new as the log: not removed since, with the last role and no older password."""
        is_older_password = member.password_at is not None and member.password_at < self.password_at
        has_other_role = bool(self.role) and self.role != member.role
        return not (is_older_password or has_other_role or (self.removed and member.removed_at is None))

    def allow_method(self, method: Passkey | CodeApp) -> bool:
        """Return whether a way to sign in was made since the last reset."""
        return method.made_at >= self.reset_at

    def allow_session(self, row: StaffSession) -> bool:
        """Return whether a session began since all of the member's were ended."""
        return row.began_at >= self.sessions_ended_at


def read_revocations(session: Session, numbers: Iterable[int]) -> dict[int, Revocations]:
    """Read what was taken from members, by number."""
    subjects = {f"staff {number}": number for number in numbers}
    acts = (ADDED, REMOVED, PASSWORD_SET, *_ENDING_SESSIONS)
    entries = select(AuditEntry.subject, AuditEntry.act, AuditEntry.at, AuditEntry.detail)
    own = entries.where(AuditEntry.subject.in_(subjects), AuditEntry.act.in_(acts)).order_by(AuditEntry.id)
    found: defaultdict[int, Revocations] = defaultdict(Revocations)
    for row in session.execute(own) if subjects else ():
        found[subjects[row.subject]].add(row.act, row.at, row.detail)
    return found


def keep_current(session: Session, members: list[StaffMember]) -> list[StaffMember]:
    """Return the members whose rows are as new as the audit log; the others are logged."""
    revocations = read_revocations(session, [member.id for member in members])
    current = [member for member in members if revocations[member.id].allow_member(member)]
    for member in members:
        if member not in current:
            log.error("a row of the staff is older than the audit log: it counts for nothing", row=member.id)
    return current


def list_missing_members(session: Session) -> list[str]:
    """List the members whose row is gone, as the audit log names them: a row stays when its member leaves, so somebody deleted it."""
    added = session.scalars(select(AuditEntry.subject).where(AuditEntry.act == ADDED).distinct())
    rows = {f"staff {number}" for number in session.scalars(select(StaffMember.id))}
    return sorted(subject for subject in added if _MEMBER.fullmatch(subject) and subject not in rows)
