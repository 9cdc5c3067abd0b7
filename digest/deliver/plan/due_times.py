"""Which readers get an edition, by their frequency, and when it is due, by the hour that they chose. Pure."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from digest.timetable import resolve_wall_time
from subscribers.consent.preferences import Preferences

MAX_LATENESS = timedelta(hours=1)  # an edition released later counts from when it really went
_WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class EditionRelease:
    """The release of one edition and of the one before it; `zone` is the publication's."""

    released_at: datetime
    previous_release_at: datetime | None
    zone: ZoneInfo

    def due_time(self, preferences: Preferences, *, had_one_this_month: bool) -> datetime | None:
        """Return when it is due for a reader with these preferences, in UTC; None where it is not for them."""
        wanted = is_wanted_by_reader(preferences, self, had_one_this_month=had_one_this_month)
        return first_due_time(preferences, self.released_at) if wanted else None


def effective_release_time(release_at: datetime, now: datetime) -> datetime:
    """Return from when hours are counted: the slot, or now where the edition goes early or more than an hour late.

    A few seconds after the slot count as the slot: a reader who chose its hour must not wait for a day.
    """
    return release_at if timedelta() <= now - release_at <= MAX_LATENESS else now


def find_month(moment: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return when the month of a moment begins and when the next one does."""
    begins = moment.astimezone(zone).replace(day=1, hour=0, minute=0, second=0, microsecond=0, fold=0)
    ends = (begins + timedelta(days=31)).replace(day=1)
    return begins.astimezone(UTC), ends.astimezone(UTC)


def is_wanted_by_reader(preferences: Preferences, release: EditionRelease, *, had_one_this_month: bool) -> bool:
    """Return whether an edition is for a reader, by how often they want one.

    Monthly is the first edition of a month that they can get: whose mail rested at the first gets the next. Fortnightly
    is the first of every second week, counted from the week in which the reader chose it; parity of ISO week numbers
    alone would break at week 53. Days, weeks and months are the publication's.
    """
    if preferences.frequency == "weekly":
        return True
    if preferences.frequency == "monthly":
        return not had_one_this_month
    day = release.released_at.astimezone(release.zone).date()
    before = release.previous_release_at.astimezone(release.zone).date() if release.previous_release_at else None
    weeks = (_monday_of(day) - _monday_of(preferences.start or date.min)) // _WEEK
    return weeks % 2 == 0 and (before is None or _monday_of(before) != _monday_of(day))


def _monday_of(day: date) -> date:
    return date.fromordinal(day.toordinal() - day.weekday())


def first_due_time(preferences: Preferences, start: datetime) -> datetime:
    """Return the first moment at or after `start` (UTC) at which a reader's clock shows their hour.

    In a gap (spring) it is the next minute that exists; of an hour that comes twice (autumn) both count, and the
    first that is not before `start` is taken. Without an hour, or with a zone that this machine does not know,
    it is `start` itself.
    """
    zone = _load_zone(preferences.zone) if preferences.hour is not None else None
    if zone is None or preferences.hour is None:
        return start
    return _first_hour_after(preferences.hour, zone, start)


@lru_cache(maxsize=4096)  # a wave of readers shares the hour and the zone
def _first_hour_after(hour: int, zone: ZoneInfo, start: datetime) -> datetime:
    today = start.astimezone(zone).date()
    days = (today + timedelta(days=n) for n in range(-1, 4))
    moments = (moment for day in days for moment in _moments_showing(day, time(hour), zone))
    return min(moment for moment in moments if moment >= start)


def _moments_showing(day: date, wall_time: time, zone: ZoneInfo) -> set[datetime]:
    """Return the moments at which clocks in `zone` show `wall_time` on `day`: one, or two where the hour comes twice."""
    second = datetime.combine(day, wall_time, tzinfo=zone).replace(fold=1).astimezone(UTC)
    first = resolve_wall_time(day, wall_time, zone)
    second_exists = second.astimezone(zone).replace(tzinfo=None) == datetime.combine(day, wall_time)
    return {first, second} if second_exists else {first}


@lru_cache(maxsize=1024)
def _load_zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # the zones of another machine, or of another year
        return None
