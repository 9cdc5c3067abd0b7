"""Pausing all sending.

While it's paused, no edition, transactional email, or request to a provider leaves the
installation. Pausing an edition (`edition_control`) affects only that edition. This pause is for
copies of an installation, which must not email anyone, and for emergencies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, delete, select
from sqlalchemy.orm import Session

from digest.store.audit import record_audit
from digest.store.delivery_models import StoredInstallationValue
from subscribers.english_text import sentence
from subscribers.store.database import upsert

# Name, machine, and server with which the database was last opened.
IDENTITY_STATE_KEY = "at home"


def read_installation_value(session: Session, key: str) -> Mapping[str, Any] | None:
    """Return the value stored under a name, or None if there's none."""
    stored: Mapping[str, Any] | None = session.scalar(_select_state(), {"state_name": key})
    return stored


@cache  # every page of the editor reads several
def _select_state() -> Select[dict[str, Any]]:
    return select(StoredInstallationValue.value).where(StoredInstallationValue.name == bindparam("state_name"))


def write_installation_value(
    session: Session,
    key: str,
    value: Mapping[str, Any],
    *,
    now: datetime,
) -> None:
    """Store a value under a name, replacing the previous one."""
    values = {"value": dict(value), "at": now}
    statement = upsert(session, StoredInstallationValue).values(name=key, **values)
    session.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))


def delete_installation_value(session: Session, key: str) -> bool:
    """Delete the value stored under a name. Return True if there was one."""
    deletion = delete(StoredInstallationValue).where(StoredInstallationValue.name == key)
    return session.connection().execute(deletion).rowcount == 1


_PULL_TROUBLES = "{} pull trouble"  # "{}" is replaced by the provider


def save_pull_troubles(
    session: Session,
    provider: str,
    troubles: Sequence[str],
    *,
    now: datetime,
) -> None:
    """Store any problems found in the last pull of a provider's suppression lists."""
    key = _PULL_TROUBLES.format(provider)
    if troubles:
        write_installation_value(session, key, {"troubles": list(troubles)}, now=now)
    else:
        delete_installation_value(session, key)


def read_pull_troubles(session: Session) -> str:
    """Return the problems found in the last pull from each provider's suppression lists, or "" if there were none."""
    rows = select(StoredInstallationValue.value).where(StoredInstallationValue.name.like(_PULL_TROUBLES.format("%")))
    return "; ".join(trouble for stored in session.scalars(rows) for trouble in stored["troubles"])


HOLD_STATE_KEY = "held"


@dataclass(frozen=True, slots=True)
class InstallationHold:
    """A pause of all sending: the reason, the actor, and the time.

    If `may_be_copy` is true, the program paused sending because the installation may be a copy.
    """

    reason: str
    actor: str
    since: datetime
    may_be_copy: bool = False

    def __str__(self) -> str:
        """Return sentences that say who paused sending, when, and why, and how to resume it."""
        paused = f"All sending has been paused by {self.actor} since {self.since:%Y-%m-%d %H:%M} UTC"
        if self.may_be_copy:
            return f"{paused}. {sentence(self.reason)} To resume sending, run 'digest resume --all'."
        if not self.reason:
            return f"{paused}, without a reason. Ask whether the pause is still needed. If it isn't, run 'digest resume --all'."
        return f"{paused} (\"{self.reason.rstrip('.')}\"). Ask whether the problem is resolved. If it is, run 'digest resume --all'."


def read_current_hold(session: Session) -> InstallationHold | None:
    """Return the current pause of all sending, or None if sending isn't paused."""
    stored = read_installation_value(session, HOLD_STATE_KEY)
    return None if stored is None else parse_hold(stored)


def parse_hold(stored: Mapping[str, Any]) -> InstallationHold:
    """Parse a pause from its stored state."""
    since = datetime.fromisoformat(stored["since"])
    return InstallationHold(stored["because"], stored["actor"], since, bool(stored.get("may_be_copy")))


def pause_all_sending(
    session: Session,
    reason: str,
    *,
    actor: str,
    now: datetime,
    may_be_copy: bool = False,
) -> bool:
    """Pause all sending. Return False, and keep the existing pause, if it's already paused.

    If the installation may be a copy, a person's pause is replaced, because no email may leave a
    copy, not even an exempt one.
    """
    before = read_current_hold(session)
    if before is not None:
        if before.may_be_copy or not may_be_copy:
            return False
        words = f': "{before.reason.rstrip(".")}"' if before.reason else ""
        reason = f"{reason.rstrip('.')}. It had already been paused{words}"
    stored = {"because": reason, "actor": actor, "since": now.isoformat(), "may_be_copy": may_be_copy}
    write_installation_value(session, HOLD_STATE_KEY, stored, now=now)
    return True


def pause_possible_copy(session: Session, reason: str, *, actor: str, now: datetime) -> bool:
    """Pause all sending because the installation may be a copy, and record the pause in the audit log.

    Return False if it's already paused for this reason.
    """
    changed = pause_all_sending(session, reason, actor=actor, now=now, may_be_copy=True)
    if changed:
        record_audit(session, "held", "installation", {"because": reason}, actor=actor, now=now)
    return changed


def resume_all_sending(session: Session) -> bool:
    """Resume all sending. Return False if it wasn't paused."""
    return delete_installation_value(session, HOLD_STATE_KEY)
