"""The plan of a simulated year: publications, subscribers, weeks, and what goes wrong in each. It contains only values."""

import random
from dataclasses import dataclass, field
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from subscribers.consent.preferences import Preferences
from tests.soak.year_clock import find_wall_moment
from tests.soak.year_machine import PublicationPlan

TIMED_BACKUP = "of the timetable"  # a backup that was made by the clock, before the edition was drafted
RESTORE_KINDS = ("before release", "during the day", TIMED_BACKUP)
FIRST_MONDAY = date(2025, 12, 29)  # of 2026-W01; that ISO year has 53 weeks
PLANS = (
    PublicationPlan("America/New_York", "02:30"),  # left out in March; 01:30, when it collects, comes twice in November
    PublicationPlan("Europe/London", "01:30"),  # left out in March, twice in October
    PublicationPlan("Asia/Kathmandu", "00:45"),  # no change at home: the readers' clocks change within its day
    PublicationPlan(
        "Australia/Lord_Howe", "02:00", collect="01:45"
    ),  # changes by half an hour; left out, and 01:45 twice
)
ZONES = tuple(plan.zone for plan in PLANS)
SUBSCRIBER_ZONES = (
    *("America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles", "America/Anchorage"),
    *("Pacific/Honolulu", "America/Halifax", "America/St_Johns", "America/Sao_Paulo", "America/Santiago"),
    *("America/Asuncion", "America/Havana", "America/Nuuk", "America/Bogota", "Atlantic/Azores"),
    *("Europe/London", "Europe/Dublin", "Europe/Berlin", "Europe/Athens", "Europe/Chisinau", "Africa/Cairo"),
    *("Africa/Casablanca", "Africa/Lagos", "Africa/Nairobi", "Asia/Beirut", "Asia/Jerusalem", "Asia/Gaza"),
    *("Asia/Tehran", "Asia/Dubai", "Asia/Karachi", "Asia/Kolkata", "Asia/Kathmandu", "Asia/Yangon", "Asia/Tokyo"),
    *("Australia/Adelaide", "Australia/Sydney", "Australia/Lord_Howe", "Pacific/Auckland", "Pacific/Chatham"),
    "Pacific/Apia",
)


@dataclass
class YearSubscriber:
    """A reader of the year. `left_at` is when they left."""

    name: int
    preferences: Preferences
    joined_at: datetime
    number: int = 0  # in the database
    left_at: datetime | None = None

    @property
    def address(self) -> str:
        """Their address."""
        return f"reader{self.name}@county{self.name % 17}.example.net"

    def find_hour(self, start: datetime) -> datetime:
        """Return when an edition that goes out at `start` is due for them."""
        if self.preferences.hour is None:
            return start
        return find_wall_moment(start, time(self.preferences.hour), ZoneInfo(self.preferences.zone))


@dataclass
class WeekPlan:
    """What the simulation means to happen in a week."""

    monday: date
    release_at: datetime
    approve_at: datetime
    edits_first: bool = False

    @property
    def name(self) -> str:
        """The edition's name."""
        year, week, _ = self.monday.isocalendar()
        return f"{year}-W{week:02d}"


@dataclass(frozen=True)
class YearIncidents:
    """In which weeks what goes wrong, by the number of the week. `restart_share` is that of ticks before which all start anew,
    `kill_share` that of releases at which whoever sends is killed; as many are told to stop.
    """

    first_week: int = 0
    late_approvals: frozenset[int] = frozenset()
    back_jumps: frozenset[int] = frozenset()
    forward_jumps: frozenset[int] = frozenset()
    restores: dict[int, str] = field(default_factory=dict)
    restart_share: float = 0.05
    kill_share: float = 0.15

    @classmethod
    def spread(cls, weeks: int, seed: int, *, first_week: int = 0) -> "YearIncidents":
        """Spread incidents over a year, or over some weeks of one."""
        rng = random.Random(f"incidents {seed}")
        usual = [week for week in range(1, weeks) if week % 17 != 12]
        restores = dict(zip(range(12, weeks, 17), rng.sample(RESTORE_KINDS, 3), strict=False))
        return cls(
            first_week=first_week,
            late_approvals=frozenset(rng.sample(usual, len(usual) // 10)),
            back_jumps=frozenset(rng.sample(usual, len(usual) // 3)),
            forward_jumps=frozenset(rng.sample(usual, len(usual) // 3)),
            restores=restores,
        )
