"""For whom an edition is, by how often they want one, and when it is due, by the hour that they chose: pure."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from digest.timetable import wall
from subscribers.choices import Choices

LATE = timedelta(hours=1)  # an edition released later than that counts from when it really went
_WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Issue:
    """One edition on its way out: `released` when, `previous` when the one before it was, `zone` the publication's."""

    released: datetime
    previous: datetime | None
    zone: ZoneInfo

    def due(self, choices: Choices) -> datetime | None:
        """Say when it is due for a reader of these choices, in UTC; None where it is not for them."""
        return due_at(choices, self.released) if wanted(choices, self) else None


def released(release_at: datetime, now: datetime) -> datetime:
    """Say from when hours are counted: the slot, or now where the edition goes early or more than an hour late.

    A few seconds after the slot are the slot: who chose its very hour must not wait for a day.
    """
    return release_at if timedelta() <= now - release_at <= LATE else now


def wanted(choices: Choices, issue: Issue) -> bool:
    """Say whether an edition is for a reader, by how often they want one.

    Monthly is the first edition of a month. Fortnightly is the first of every second week, counted from the
    week in which the reader chose it; parity of ISO week numbers alone would break at week 53. Days, weeks and
    months are the publication's.
    """
    if choices.frequency == "weekly":
        return True
    day = issue.released.astimezone(issue.zone).date()
    before = issue.previous.astimezone(issue.zone).date() if issue.previous else None
    if choices.frequency == "monthly":
        return before is None or (before.year, before.month) != (day.year, day.month)
    weeks = (_monday(day) - _monday(choices.start or date.min)) // _WEEK
    return weeks % 2 == 0 and (before is None or _monday(before) != _monday(day))


def _monday(day: date) -> date:
    return date.fromordinal(day.toordinal() - day.weekday())


def due_at(choices: Choices, start: datetime) -> datetime:
    """Give the first moment at or after `start` (UTC) at which a reader's clock shows their hour.

    In a gap (spring) it is the next minute that exists; of an hour that comes twice (autumn) both count, and the
    first that is not before `start` is taken. Without an hour, or with a zone that this machine does not know,
    it is `start` itself.
    """
    zone = _zone(choices.zone) if choices.hour is not None else None
    if zone is None or choices.hour is None:
        return start
    return _first_at(choices.hour, zone, start)


@lru_cache(maxsize=4096)  # a wave of readers shares the hour and the zone
def _first_at(hour: int, zone: ZoneInfo, start: datetime) -> datetime:
    today = start.astimezone(zone).date()
    days = (today + timedelta(days=n) for n in range(-1, 4))
    moments = (moment for day in days for moment in _shows(day, time(hour), zone))
    return min(moment for moment in moments if moment >= start)


def _shows(day: date, at: time, zone: ZoneInfo) -> set[datetime]:
    """Give the moments at which clocks in `zone` show `at` on `day`: one, or two where the hour comes twice."""
    second = datetime.combine(day, at, tzinfo=zone).replace(fold=1).astimezone(UTC)
    there = second.astimezone(zone).replace(tzinfo=None) == datetime.combine(day, at)
    return {wall(day, at, zone), second} if there else {wall(day, at, zone)}


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # the zones of another machine, or of another year
        return None
