"""Holding: nothing leaves the installation, no edition, no notice, no word about anybody to a provider, until it is released.

A pause concerns one edition (`steering`); holding concerns all that leaves, for a copy that must not mail anybody,
or for an hour in which nobody knows what is wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from digest.deliver.control import installation_state
from digest.store.models import AuditEntry

HOLD_STATE_KEY = "held"


@dataclass(frozen=True, slots=True)
class InstallationHold:
    """Why nothing leaves, who said so, and since when."""

    reason: str
    actor: str
    since: datetime

    def __str__(self) -> str:
        """Say it as one sentence, with what to do."""
        why = f": {self.reason}" if self.reason else ""
        return (
            f"held by {self.actor} since {self.since:%Y-%m-%d %H:%M} UTC{why}. 'digest release' lets mail leave again."
        )


def current_hold(session: Session) -> InstallationHold | None:
    """Say whether the installation is held."""
    found = installation_state.read_installation_state(session, HOLD_STATE_KEY)
    return None if found is None else parse_hold(found)


def parse_hold(stored: Mapping[str, str]) -> InstallationHold:
    """Read what holds the installation out of its memo."""
    return InstallationHold(stored["because"], stored["actor"], datetime.fromisoformat(stored["since"]))


def hold_installation(session: Session, reason: str, *, actor: str, now: datetime) -> InstallationHold:
    """Hold the installation; one that is held already stays held as it was."""
    standing = current_hold(session)
    if standing is not None:
        return standing
    installation_state.write_installation_state(
        session, HOLD_STATE_KEY, {"because": reason, "actor": actor, "since": now.isoformat()}, now=now
    )
    _add_audit_entry(session, "held", {"because": reason} if reason else {}, actor=actor, now=now)
    return InstallationHold(reason, actor, now)


def release_installation(session: Session, *, actor: str, now: datetime) -> InstallationHold | None:
    """Let mail leave again; give what held it, or None where nothing did."""
    standing = current_hold(session)
    if standing is not None:
        installation_state.delete_installation_state(session, HOLD_STATE_KEY)
        _add_audit_entry(session, "released", {}, actor=actor, now=now)
    return standing


def _add_audit_entry(session: Session, act: str, detail: dict[str, str], *, actor: str, now: datetime) -> None:
    session.add(AuditEntry(at=now, actor=actor, act=act, subject="installation", detail=detail))
    session.flush()
