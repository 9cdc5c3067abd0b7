"""How long is left until an edition's deadline, in words."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from subscribers.phrases import clock_hour, weekday_month_day

_MANY_HOURS = 48  # from here on days are counted


@dataclass(frozen=True, slots=True)
class Countdown:
    """A deadline as a page shows it: until when, and what is left; `is_over` once nothing is. Moments are ISO 8601 for scripts."""

    until_text: str
    left_text: str
    is_over: bool
    until: str
    now: str


def count_down(deadline: datetime, now: datetime, zone: ZoneInfo) -> Countdown:
    """Write a deadline, and the time that is left until it."""
    local = deadline.astimezone(zone)
    text = f"{weekday_month_day(local)}, {clock_hour(local)}"
    return Countdown(text, describe_time_left(deadline - now), deadline <= now, deadline.isoformat(), now.isoformat())


def describe_time_left(left: timedelta) -> str:
    """Write "5 h 56 min left", "56 min left", "3 days left"; the script of the desk writes the same."""
    minutes = max(0, int(left.total_seconds() // 60))
    hours = minutes // 60
    if hours >= _MANY_HOURS:
        return f"{hours // 24} days left"
    return f"{hours} h {minutes % 60} min left" if hours else f"{minutes} min left"
