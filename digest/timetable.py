"""The schedule: pure functions that decide which jobs are due.

A rule is `daily 06:00`, `fri 06:00`, `mon,thu 17:30`, or `every 5m`. The first three are wall-clock
times in the publication's time zone. A time that's skipped by a clock change is moved to the next
minute that exists. A time that occurs twice is used only the first time. `every N` (s, m, or h)
counts from the epoch.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from types import MappingProxyType
from zoneinfo import ZoneInfo

_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_EVERY_FORM = re.compile(r"every (\d{1,4})(s|m|h)")
_WALL_CLOCK_FORM = re.compile(r"(daily|[a-z]{3}(?:,[a-z]{3})*) (\d{2}):(\d{2})")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class ScheduleRule:
    """A recurring time: at `at` on each of `days` (0 is Monday), or every `period`."""

    days: frozenset[int] = frozenset()
    at: time = time(0)
    period: timedelta | None = None

    def next_time(self, moment: datetime, zone: ZoneInfo) -> datetime:
        """Return the first time after `moment`, in UTC."""
        return min(at for at in self._times_around(moment, zone) if at > moment)

    def latest_time(self, moment: datetime, zone: ZoneInfo) -> datetime:
        """Return the latest time at or before `moment`, in UTC."""
        return max(at for at in self._times_around(moment, zone) if at <= moment)

    def iterate_times(self, after: datetime, zone: ZoneInfo) -> Iterator[datetime]:
        """Yield all times after a moment, in UTC, in order and without end."""
        if self.period:
            at = self.next_time(after, zone)
            while True:
                yield at
                at += self.period
        day = after.astimezone(zone).date() - timedelta(days=1)
        while True:
            if day.weekday() in self.days and (at := resolve_wall_time(day, self.at, zone)) > after:
                yield at
            day += timedelta(days=1)

    def _times_around(self, moment: datetime, zone: ZoneInfo) -> Iterator[datetime]:
        """Return the times near a moment.

        If there's a period, they're the two times around the moment. Otherwise, they're all times
        within eight days of it.
        """
        if self.period:
            seconds = int(self.period.total_seconds())
            latest = datetime.fromtimestamp(int(moment.timestamp()) // seconds * seconds, UTC)
            return iter((latest, latest + self.period))
        today = moment.astimezone(zone).date()
        days = (today + timedelta(days=distance) for distance in range(-8, 9))
        return (resolve_wall_time(day, self.at, zone) for day in days if day.weekday() in self.days)


def parse_schedule_rule(text: str) -> ScheduleRule:
    """Return the rule that a text describes.

    Raises:
        ValueError: the text isn't a rule. The message shows the valid forms.
    """
    words = " ".join(text.lower().split())
    if (every := _EVERY_FORM.fullmatch(words)) and int(every[1]):
        return ScheduleRule(period=timedelta(seconds=int(every[1]) * _UNIT_SECONDS[every[2]]))
    if at := _WALL_CLOCK_FORM.fullmatch(words):
        names = _WEEKDAYS if at[1] == "daily" else tuple(at[1].split(","))
        if all(n in _WEEKDAYS for n in names) and int(at[2]) < 24 and int(at[3]) < 60:
            return ScheduleRule(frozenset(_WEEKDAYS.index(n) for n in names), time(int(at[2]), int(at[3])))
    raise ValueError(f"{text!r} isn't a schedule; use 'daily 06:00', 'fri 06:00', 'mon,thu 17:30', or 'every 5m'")


def resolve_wall_time(day: date, at: time, zone: ZoneInfo) -> datetime:
    """Return the moment, in UTC, at which clocks in `zone` show `at` on `day`.

    If the time is in a gap (in spring), return the first minute after the gap. If it's in a fold
    (in fall), return the first of the two moments.
    """
    local = datetime.combine(day, at, tzinfo=zone).replace(fold=0)
    moment = local.astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == local.replace(tzinfo=None):
        return moment
    # PEP 495: in a gap, fold=0 applies the offset from before the gap, so the result is as far past
    # the gap as `at` is into it. Walk back to the end of the gap, where the offset last changed.
    offset = moment.astimezone(zone).utcoffset()
    while (moment - timedelta(minutes=1)).astimezone(zone).utcoffset() == offset:
        moment -= timedelta(minutes=1)
    return moment


@dataclass(frozen=True, slots=True)
class JobSlot:
    """A slot of the schedule: a job and the time when it's due, in UTC."""

    job: str
    at: datetime


def find_due_jobs(
    now: datetime,
    timetable: Mapping[str, tuple[ScheduleRule, ...]],
    finished: Collection[JobSlot],
    *,
    zone: ZoneInfo,
    since: datetime,
    planned: Mapping[str, Collection[datetime]] = MappingProxyType({}),
) -> tuple[JobSlot, ...]:
    """Return the latest slot of each job up to `now`, if it's after `since` and not in `finished`.

    The slots of a job come from its rules and from `planned`, such as the moments in the calendar.
    A machine that slept through several slots of a job runs the job once, not once per slot.
    `since` is when the schedule was first used, and nothing before it is due.
    """
    return tuple(d for d in _latest_slots(now, timetable, zone, planned) if d.at > since and d not in finished)


def _latest_slots(
    now: datetime,
    timetable: Mapping[str, tuple[ScheduleRule, ...]],
    zone: ZoneInfo,
    planned: Mapping[str, Collection[datetime]],
) -> Iterator[JobSlot]:
    for job, rules in timetable.items():
        slots = [rule.latest_time(now, zone) for rule in rules]
        slots += [at for at in planned.get(job, ()) if at <= now]
        if slots:
            yield JobSlot(job, max(slots))
