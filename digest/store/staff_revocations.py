"""Staff access that the audit log says was revoked, so that restoring an old sealed row has no effect.

A seal proves that we wrote a row, but not that it's the latest version. The rows of the audit log
that change someone's access are followed from its end. If one is missing, only members added since
then are trusted.
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.store.account_models import AuthenticatorApp, Passkey, StaffSession
from digest.store.audit import (
    INVITATION_CHANGED,
    INVITATION_WITHDRAWN,
    PASSWORD_SET,
    ROLE_CHANGED,
    SIGN_IN_RESET,
    SIGNED_OUT,
    STAFF_ADDED,
    STAFF_REMOVED,
    list_unchained_entries,
    read_staff_access_changes,
)
from digest.store.delivery_models import StaffMember
from subscribers.loggers import get_logger
from subscribers.store.keyed_row_seals import find_keys_of_session

# Adding a member is included. If a row was deleted and its ID is reused, nothing carries over to
# the new member.
_REMOVALS = (STAFF_REMOVED, INVITATION_WITHDRAWN)
_ROLES = (STAFF_ADDED, INVITATION_CHANGED, ROLE_CHANGED)
_ENDING_METHODS = (STAFF_ADDED, *_REMOVALS, SIGN_IN_RESET)
_ENDING_SESSIONS = (*_ENDING_METHODS, INVITATION_CHANGED, ROLE_CHANGED, SIGNED_OUT)
_MEMBER = re.compile(r"staff (\d+)", re.ASCII)
_NEVER = datetime.min.replace(tzinfo=UTC)

log = get_logger("row-seals")


@dataclass(slots=True)
class Revocations:
    """The access of a member that was revoked according to the audit log, and the times.

    `role` is the last role given, or "" if none is recorded. `is_known` is False if rows that could
    say more are missing.
    """

    is_known: bool = True
    removed: bool = False
    role: str = ""
    reset_at: datetime = _NEVER
    sessions_ended_at: datetime = _NEVER
    password_at: datetime = _NEVER

    def add(self, act: str, at: datetime, detail: object) -> None:
        """Apply an entry from the audit log."""
        values = detail if isinstance(detail, dict) else {}
        if act in (STAFF_ADDED, *_REMOVALS):
            self.is_known = self.is_known or act == STAFF_ADDED
            self.removed = act in _REMOVALS  # an early version reused the ID of a returning member
        if act in _ROLES:
            self.role = str(values.get("role", ""))
        if act in _ENDING_METHODS:
            self.reset_at = max(self.reset_at, at)
        if act in _ENDING_SESSIONS:
            self.sessions_ended_at = max(self.sessions_ended_at, at)
        if act in _ENDING_METHODS or (act == PASSWORD_SET and values.get("password")):
            self.password_at = max(self.password_at, at)

    def is_current_member(self, member: StaffMember) -> bool:
        """Return True if a member's row is as new as the audit log.

        The row must have the latest role and password, and the log must not say that the member was removed.
        """
        if not self.is_known:
            return False
        is_older_password = member.password_at is not None and member.password_at < self.password_at
        has_other_role = bool(self.role) and self.role != member.role
        return not (is_older_password or has_other_role or (self.removed and member.removed_at is None))

    def is_current_method(self, method: Passkey | AuthenticatorApp) -> bool:
        """Return True if a sign-in method was created after the member was added and after their last reset."""
        return method.made_at >= self.reset_at

    def is_current_session(self, row: StaffSession) -> bool:
        """Return True if a session began after the member's sessions were last ended."""
        return row.began_at >= self.sessions_ended_at


def read_revocations(session: Session) -> defaultdict[int, Revocations]:
    """Return the revocations, keyed by staff ID."""
    rows, is_complete = read_staff_access_changes(session, find_keys_of_session(session))
    if not is_complete:
        log.error("audit log rows about the staff are missing, so only members added since then count")
    revocations: defaultdict[int, Revocations] = defaultdict(lambda: Revocations(is_known=is_complete))
    access_rows = [(row.subject, row.act, row.moment, row.read_detail()) for row in reversed(rows)]
    waiting = [(entry.subject, entry.act, entry.at, entry.detail) for entry in list_unchained_entries(session)]
    for subject, act, at, detail in access_rows + waiting:
        if match := _MEMBER.fullmatch(subject):
            revocations[int(match[1])].add(act, at, detail)
    return revocations


def filter_current_members(session: Session, members: list[StaffMember]) -> list[StaffMember]:
    """Return the members whose rows are as new as the audit log, and log an error about the others."""
    if not members:
        return []  # also works without keys
    revocations = read_revocations(session)
    current = [member for member in members if revocations[member.id].is_current_member(member)]
    for member in members:
        if member not in current:
            log.error("a staff row is older than the audit log, so it was ignored", row=member.id)
    return current


def list_members_missing_staff_rows(session: Session) -> list[str]:
    """Return the actor names of members who are in the audit log but whose rows were deleted.

    A row normally stays when its member leaves.
    """
    revocations = read_revocations(session)
    missing_numbers = sorted(revocations.keys() - set(session.scalars(select(StaffMember.id))))
    return [f"staff {number}" for number in missing_numbers]
