"""Records of free disk space, used by the doctor to predict when the disk will be full."""

import shutil
from collections.abc import Mapping
from datetime import date, datetime, timedelta

from sqlalchemy.orm import Session

from digest.deliver.control.installation_hold import read_installation_value, write_installation_value
from digest.installation.opened_installation import Installation

STATE_KEY = "disk free by night"
KEPT_FOR = timedelta(days=60)
MIN_SPAN = timedelta(days=7)  # a shorter span reflects a single edition rather than the trend


def record_free_space(installation: Installation, now: datetime) -> str:
    """Store the free space on the disk that has the installation's files."""
    free = shutil.disk_usage(installation.settings.home).free
    with installation.write() as session:
        oldest = now.date() - KEPT_FOR
        free_by_day = {day: size for day, size in read_free_space(session).items() if day > oldest}
        free_by_day[now.date()] = free
        stored = {day.isoformat(): size for day, size in free_by_day.items()}
        write_installation_value(session, STATE_KEY, stored, now=now)
    return f"{free // 1_000_000:,} MB of disk free"


def read_free_space(session: Session) -> dict[date, int]:
    """Return the recorded free space in bytes, by day."""
    stored = read_installation_value(session, STATE_KEY) or {}
    return {date.fromisoformat(day): int(size) for day, size in stored.items()}


def forecast_days_left(free_by_day: Mapping[date, int], free: int) -> float | None:
    """Return the predicted number of days until the disk is full.

    Return None if usage isn't growing or is unknown.
    """
    if not free_by_day:
        return None
    first, last = min(free_by_day), max(free_by_day)
    used = free_by_day[first] - free_by_day[last]
    if last - first < MIN_SPAN or used <= 0:
        return None
    return free / (used / (last - first).days)
