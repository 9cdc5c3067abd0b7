"""What came of the last backup by the clock, and whether one is missing."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from digest.deliver.control import installation_hold
from digest.settings import SettingsFile
from digest.store.engine import Database

BACKUP_STATE_KEY = "backup"
MAX_BACKUP_LATENESS = timedelta(hours=6)  # after its time, until somebody is asked to look


def remember_outcome(database: Database, outcome: Mapping[str, Any], *, now: datetime) -> None:
    """Remember what came of a backup into the folder; what is known of the one that was proved last stays."""
    with database.write() as session:
        before = installation_hold.read_installation_state(session, BACKUP_STATE_KEY) or {}
        stored = {**before, **outcome, "tried_at": now.isoformat()}
        installation_hold.write_installation_state(session, BACKUP_STATE_KEY, stored, now=now)


def find_last_proof(session: Session) -> datetime | None:
    """Return when the last backup was made that was proved; None where there is none."""
    stored = installation_hold.read_installation_state(session, BACKUP_STATE_KEY) or {}
    return datetime.fromisoformat(stored["proved_at"]) if "proved_at" in stored else None


def explain_missing_backup(session: Session, file: SettingsFile, now: datetime) -> str:
    """Explain why the newest backup by the clock is not there; empty where it is, and where none is wanted."""
    zone = file.publication.zone
    if not file.backup.folder:
        return ""
    stored = installation_hold.read_installation_state(session, BACKUP_STATE_KEY) or {}
    if trouble := stored.get("trouble"):
        tried = datetime.fromisoformat(stored["tried_at"]).astimezone(zone)
        return f"The backup of {tried:%b %d %H:%M %Z} failed: {trouble}"
    proved_at = find_last_proof(session)
    if proved_at is None:
        return "No backup was made yet. 'digest backup' makes one now."
    if proved_at < max(rule.latest_time(now - MAX_BACKUP_LATENESS, zone) for rule in file.backup.rules):
        local = proved_at.astimezone(zone)
        return (
            f"The last backup is of {local:%b %d %H:%M %Z}, and another was due since. Does 'digest serve' or "
            "'hls-scheduler' run? 'digest backup' makes one now."
        )
    return ""
