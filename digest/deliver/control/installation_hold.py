"""Hold the installation: no edition, no notice, no word about anybody to a provider leaves it until it is released.

A pause concerns one edition (`edition_control`); a hold concerns all that leaves: for a copy that must not mail
anybody, or for an hour in which nobody knows what is wrong.
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
from subscribers.phrases import sentence
from subscribers.store.database import upsert

# Where the database belongs: the name, machine or server that it was last opened on.
IDENTITY_STATE_KEY = "at home"


def read_installation_state(session: Session, key: str) -> Mapping[str, Any] | None:
    """Return the state of a name, or None."""
    stored: Mapping[str, Any] | None = session.scalar(_select_state(), {"state_name": key})
    return stored


@cache  # every page of the desk asks for several
def _select_state() -> Select[dict[str, Any]]:
    return select(StoredInstallationValue.value).where(StoredInstallationValue.name == bindparam("state_name"))


def write_installation_state(session: Session, key: str, value: Mapping[str, Any], *, now: datetime) -> None:
    """Store the state of a name in place of the one before."""
    values = {"value": dict(value), "at": now}
    statement = upsert(session, StoredInstallationValue).values(name=key, **values)
    session.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))


def delete_installation_state(session: Session, key: str) -> bool:
    """Delete the state of a name; False where there was none."""
    deletion = delete(StoredInstallationValue).where(StoredInstallationValue.name == key)
    return session.connection().execute(deletion).rowcount == 1


_PULL_TROUBLES = "{} pull trouble"  # by provider


def save_pull_troubles(session: Session, provider: str, troubles: Sequence[str], *, now: datetime) -> None:
    """Store what the last pull couldn't read of a provider's suppression lists; nothing if it read all."""
    key = _PULL_TROUBLES.format(provider)
    if troubles:
        write_installation_state(session, key, {"troubles": list(troubles)}, now=now)
    else:
        delete_installation_state(session, key)


def read_pull_troubles(session: Session) -> str:
    """Return what the last pull couldn't read of providers' suppression lists, and why; empty if it read all."""
    rows = select(StoredInstallationValue.value).where(StoredInstallationValue.name.like(_PULL_TROUBLES.format("%")))
    return "; ".join(trouble for stored in session.scalars(rows) for trouble in stored["troubles"])


HOLD_STATE_KEY = "held"


@dataclass(frozen=True, slots=True)
class InstallationHold:
    """Why nothing leaves, who said so, and since when. One of what `may_be_copy` was made by the program, not by somebody's wish."""

    reason: str
    actor: str
    since: datetime
    may_be_copy: bool = False

    def __str__(self) -> str:
        """Say who paused sending, when, and why, and how to resume it, in sentences."""
        paused = f"All sending has been paused by {self.actor} since {self.since:%Y-%m-%d %H:%M} UTC"
        if self.may_be_copy:
            return f"{paused}. {sentence(self.reason)} To resume sending, run 'digest resume --all'."
        if not self.reason:
            return f"{paused}, without a reason. Ask whether the pause is still needed. If it isn't, run 'digest resume --all'."
        return f"{paused} (\"{self.reason.rstrip('.')}\"). Ask whether that's resolved. If it is, run 'digest resume --all'."


def read_current_hold(session: Session) -> InstallationHold | None:
    """Return what holds the installation, or None."""
    stored = read_installation_state(session, HOLD_STATE_KEY)
    return None if stored is None else parse_hold(stored)


def parse_hold(stored: Mapping[str, Any]) -> InstallationHold:
    """Read a hold from the installation's state."""
    since = datetime.fromisoformat(stored["since"])
    return InstallationHold(stored["because"], stored["actor"], since, bool(stored.get("may_be_copy")))


def pause_all_sending(session: Session, reason: str, *, actor: str, now: datetime, may_be_copy: bool = False) -> bool:
    """Pause all sending; return False where it is paused already, and leave that pause as it was.

    One that somebody made is replaced where the installation may be a copy: from a copy nothing leaves, no exempt email either.
    """
    before = read_current_hold(session)
    if before is not None:
        if before.may_be_copy or not may_be_copy:
            return False
        words = f': "{before.reason.rstrip(".")}"' if before.reason else ""
        reason = f"{reason.rstrip('.')}. {before.actor} had already paused it{words}"
    stored = {"because": reason, "actor": actor, "since": now.isoformat(), "may_be_copy": may_be_copy}
    write_installation_state(session, HOLD_STATE_KEY, stored, now=now)
    return True


def pause_possible_copy(session: Session, reason: str, *, actor: str, now: datetime) -> bool:
    """Hold the installation because it may be a copy, with an audit row; False where it is held already."""
    changed = pause_all_sending(session, reason, actor=actor, now=now, may_be_copy=True)
    if changed:
        record_audit(session, "held", "installation", {"because": reason}, actor=actor, now=now)
    return changed


def resume_all_sending(session: Session) -> bool:
    """Let mail leave again; False where nothing held the installation."""
    return delete_installation_state(session, HOLD_STATE_KEY)
