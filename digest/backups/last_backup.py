"""The result of the last scheduled backup, and whether the next one is overdue."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from digest.deliver.control import installation_hold
from digest.settings import SettingsFileContent
from digest.store.engine import Database
from digest.store.schedule_slots import MAX_JOB_LATENESS, is_job_running
from subscribers.english_text import short_day_and_hour

BACKUP_STATE_KEY = "backup"


def save_backup_outcome(database: Database, outcome: Mapping[str, Any], *, now: datetime) -> None:
    """Store the result of a backup in the folder, keeping what's known about the last verified backup."""
    with database.write() as session:
        _save_outcome(session, {**outcome, "tried_at": now.isoformat()}, now)


def record_restored_backup(session: Session, file_name: str, made_at: datetime, *, now: datetime) -> None:
    """Record in a restored database that its backup was made and verified."""
    _save_outcome(session, {"trouble": "", "proved_at": made_at.isoformat(), "file": file_name}, now)


def _save_outcome(session: Session, outcome: Mapping[str, Any], now: datetime) -> None:
    before = installation_hold.read_installation_value(session, BACKUP_STATE_KEY) or {}
    installation_hold.write_installation_value(session, BACKUP_STATE_KEY, {**before, **outcome}, now=now)


@dataclass(frozen=True, slots=True)
class BackupOutcome:
    """The state of the backups in the folder.

    `tried_at` is the time of the last attempt, and `trouble` why it failed. `proved_at`, `file`, and `bytes` describe
    the last verified backup, which may be an earlier one. Unknown values are None or empty.
    """

    tried_at: datetime | None = None
    trouble: str = ""
    proved_at: datetime | None = None
    file: str = ""
    bytes: int = 0


def read_backup_outcome(session: Session) -> BackupOutcome:
    """Return the result of the last backup in the folder, and of the last verified one."""
    stored = installation_hold.read_installation_value(session, BACKUP_STATE_KEY) or {}
    tried_at, proved_at = (
        datetime.fromisoformat(stored[name]) if name in stored else None for name in ("tried_at", "proved_at")
    )
    return BackupOutcome(
        tried_at, stored.get("trouble", ""), proved_at, stored.get("file", ""), int(stored.get("bytes", 0))
    )


def find_last_verified_backup(session: Session) -> datetime | None:
    """Return the time of the last verified backup, or None if there's none."""
    return read_backup_outcome(session).proved_at


def explain_missing_backup(
    session: Session, file: SettingsFileContent, now: datetime, *, way: str = "'digest backup'"
) -> str:
    """Return why the last scheduled backup is missing or failed, or "" if it's there or no backups are configured.

    `way` says how to make one, at the end of a sentence.
    """
    zone = file.publication.zone
    if not file.backup.folder:
        return ""
    outcome = read_backup_outcome(session)
    if outcome.trouble and outcome.tried_at:
        at = short_day_and_hour(outcome.tried_at.astimezone(zone))
        return f"The backup of {at} failed ({outcome.trouble.rstrip('.')}). To try again, use {way}."
    proved_at = outcome.proved_at
    if is_job_running(session, "backup", now):
        return ""
    if proved_at is None:
        return f"No backup has been made yet. To make one now, use {way}."
    if proved_at < max(rule.latest_time(now - MAX_JOB_LATENESS, zone) for rule in file.backup.rules):
        local = proved_at.astimezone(zone)
        return (
            f"The last backup is from {short_day_and_hour(local)}, and another one is overdue. Check that 'digest "
            f"serve' or 'hls-scheduler' is running. To make a backup now, use {way}."
        )
    return ""
