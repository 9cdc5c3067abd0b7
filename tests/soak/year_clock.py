"""The clock of the simulated year, and wall-clock calculations that share no code with the product."""

import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

# Every zone's offset, and every change of a clock since 1980, lies on a quarter of an hour of UTC.
QUARTER = timedelta(minutes=15)


class SimulatedClock:
    """The time (UTC) of all processes of a simulated machine; any thread may move it."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._lock = threading.Lock()

    def __call__(self) -> datetime:
        """Return the time."""
        return self._now

    def move_to(self, moment: datetime) -> None:
        """Show another time from now on, also an earlier one."""
        with self._lock:
            self._now = moment

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        with self._lock:
            self._now += timedelta(seconds=seconds)


class SimulatedStop(threading.Event):
    """What tells jobs to end. Who waits for it lets the simulated time pass, and no other."""

    def __init__(self, clock: SimulatedClock) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        """Let so many seconds of the simulated time pass, unless it is set."""
        if timeout and not self.is_set():
            self._clock.advance(timeout)
        return self.is_set()


@lru_cache(maxsize=65536)
def find_wall_moment(start: datetime, at: time, zone: ZoneInfo) -> datetime:
    """Return the first moment at or after `start` at which a clock in `zone` shows `at`, or jumps over it.

    It looks at a clock every quarter of an hour, as somebody would who waits beside it.
    """
    moment = _next_quarter(start)
    before = _read_clock(moment - QUARTER, zone)
    while True:
        shown = _read_clock(moment, zone)
        # In Nuuk the hour before midnight is left out: the clock jumps over a time of the day before.
        for day in {before.date(), shown.date()}:
            wanted = datetime.combine(day, at)
            if shown == wanted or before < wanted < shown:
                return moment
        before, moment = shown, moment + QUARTER


def _next_quarter(moment: datetime) -> datetime:
    passed = (moment - datetime(2020, 1, 1, tzinfo=UTC)) % QUARTER
    return moment + (QUARTER - passed if passed else timedelta())


def _read_clock(moment: datetime, zone: ZoneInfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def wall_moment_on(day: date, at: time, zone: ZoneInfo) -> datetime:
    """Return the moment of a wall-clock time on a day: the first of two, and the next one that exists where it is left out."""
    midnight = datetime.combine(day, time(0), tzinfo=zone).astimezone(UTC)
    return find_wall_moment(midnight, at, zone)


def iterate_wall_moments(first: date, days: int, at: time, zone: ZoneInfo) -> Iterator[datetime]:
    """Yield a wall-clock time of each of so many days."""
    return (wall_moment_on(first + timedelta(days=number), at, zone) for number in range(days))
