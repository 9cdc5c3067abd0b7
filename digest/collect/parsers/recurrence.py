"""Repeating events (RFC 5545 section 3.3.10): the next days on which a rule falls.

dateutil walks a rule from its start, so the start is brought near where nothing is to be counted, and rules within a
day are not read. What never falls (30 February) it walks to the year 9999, for three seconds at the most: the limit on
the child process's computing ends a calendar of many such rules.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from itertools import islice, takewhile

from dateutil import parser as dateutil_parser
from dateutil.rrule import rrulestr

LOOK_AHEAD = timedelta(days=120)
MAX_OCCURRENCES = 10
_LOOK_BACK = timedelta(days=3 * 366)  # how far a rule with COUNT is counted
_STEP_DAYS = {"DAILY": 1, "WEEKLY": 7, "MONTHLY": None, "YEARLY": None}  # days from one turn to the next, where fixed
_KNOWN_PARTS = {"FREQ", "INTERVAL", "COUNT", "UNTIL", "BYDAY", "BYMONTHDAY", "BYMONTH", "BYSETPOS", "WKST"}


def next_occurrences(parts: Mapping[str, Sequence[object]], start: date, today: date) -> list[date]:
    """Give the days within `LOOK_AHEAD` on which an RRULE falls; its parts are as icalendar gives them.

    Raises:
        ValueError: the rule repeats within a day, or uses parts that no public calendar does.
    """
    frequency = _check_rule(parts)
    interval = min(max(int(str(next(iter(parts.get("INTERVAL", ())), 1))), 1), 1_000)
    if "COUNT" in parts:
        if today - start > _LOOK_BACK:
            return []  # ended, or too old to count
    elif step := _STEP_DAYS[frequency]:
        start += timedelta(days=max(0, (today - start).days // (step * interval) - 1) * step * interval)
    last = min((today + LOOK_AHEAD, *map(_to_date, parts.get("UNTIL", ()))))
    lists = {name: list(values)[:400] for name, values in parts.items() if name != "UNTIL"} | {"INTERVAL": [interval]}
    text = ";".join(f"{name}={','.join(map(str, values))}" for name, values in lists.items())
    falls_on = rrulestr(text, dtstart=datetime.combine(start, time())).xafter(datetime.combine(today, time()), inc=True)
    return list(islice(takewhile(lambda day: day <= last, (moment.date() for moment in falls_on)), MAX_OCCURRENCES))


def _check_rule(parts: Mapping[str, Sequence[object]]) -> str:
    """Return the frequency of a rule that can be read."""
    frequency = str(next(iter(parts.get("FREQ", ())), "")).upper()
    if frequency not in _STEP_DAYS:
        raise ValueError(f"it repeats {frequency.lower()[:20] or 'at no frequency'}; only daily to yearly is read")
    if odd := sorted(str(p)[:20] for p in set(parts) - _KNOWN_PARTS):
        raise ValueError(f"its rule has {', '.join(odd)[:80]}, which is not read")
    return frequency


def _to_date(value: object) -> date:
    """Read a date, of a date, a time or a text."""
    if isinstance(value, date):
        return date(value.year, value.month, value.day)
    return dateutil_parser.parse(str(value)).date()
