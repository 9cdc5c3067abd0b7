"""Repeating events (RFC 5545 section 3.3.10): the next days on which a rule falls, in bounded time.

dateutil walks a rule from its start and can walk for ever (`FREQ=SECONDLY`, or 30 February). Here each of
the days in question is asked whether the rule falls on it, so a hostile rule costs no more than a kind one.
"""

from calendar import monthrange
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

from dateutil import parser as dateutil_parser

LOOK_AHEAD = timedelta(days=120)
MAX_OCCURRENCES = 10
_LOOK_BACK = timedelta(days=3 * 366)  # how far a rule with COUNT is counted
_WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_KNOWN_PARTS = {"FREQ", "INTERVAL", "COUNT", "UNTIL", "BYDAY", "BYMONTHDAY", "BYMONTH", "BYSETPOS", "WKST"}


@dataclass(frozen=True, slots=True)
class RecurrenceRule:
    """A repeating rule of days. Empty tuples mean: not restricted. `by_day` pairs weekday (0 is Monday) with n or 0."""

    start: date
    frequency: str
    interval: int = 1
    count: int | None = None
    until: date | None = None
    by_day: tuple[tuple[int, int], ...] = ()
    by_month_day: tuple[int, ...] = ()
    by_month: tuple[int, ...] = ()
    by_position: tuple[int, ...] = ()
    week_start: int = 0


def parse_recurrence_rule(parts: Mapping[str, Sequence[object]], start: date) -> RecurrenceRule:
    """Read an RRULE's parts, as icalendar gives them.

    Raises:
        ValueError: the rule repeats within a day, or uses parts that no public calendar does.
    """
    frequency = str(next(iter(parts.get("FREQ", ())), "")).upper()
    if frequency not in {"DAILY", "WEEKLY", "MONTHLY", "YEARLY"}:
        raise ValueError(f"it repeats {frequency.lower()[:20] or 'at no frequency'}; only daily to yearly is read")
    if odd := sorted(str(p)[:20] for p in set(parts) - _KNOWN_PARTS):
        raise ValueError(f"its rule has {', '.join(odd)[:80]}, which is not read")
    until = next(iter(parts.get("UNTIL", ())), None)
    return RecurrenceRule(
        start=start,
        frequency=frequency,
        interval=min(max(_int_part(parts, "INTERVAL") or 1, 1), 1_000),
        count=_int_part(parts, "COUNT"),
        until=_to_date(until) if until is not None else None,
        by_day=tuple(_parse_weekday(str(day)) for day in parts.get("BYDAY", ())),
        by_month_day=_int_parts(parts, "BYMONTHDAY"),
        by_month=_int_parts(parts, "BYMONTH"),
        by_position=_int_parts(parts, "BYSETPOS"),
        week_start=_WEEKDAYS.index(str(next(iter(parts.get("WKST", ())), "MO")).upper()),
    )


def next_occurrences(rule: RecurrenceRule, today: date) -> list[date]:
    """Return the next days, today or later, on which a rule falls: at most ten, within 120 days."""
    first, last = max(rule.start, today), min(rule.until or date.max, today + LOOK_AHEAD)
    if rule.count is not None:
        if today - rule.start > _LOOK_BACK:
            return []  # ended, or too old to count
        fallen = [day for day in _days_between(rule.start, last) if matches_rule(rule, day)][: rule.count]
        return [day for day in fallen if day >= first][:MAX_OCCURRENCES]
    days: list[date] = []
    for day in _days_between(first, last):
        if matches_rule(rule, day):
            days.append(day)
        if len(days) == MAX_OCCURRENCES:
            break
    return days


def matches_rule(rule: RecurrenceRule, day: date) -> bool:
    """Return whether a rule falls on a day, leaving out COUNT."""
    if (
        day < rule.start
        or (rule.until and day > rule.until)
        or not _in_interval(rule, day)
        or not _matches_parts(rule, day)
    ):
        return False
    if not rule.by_position:
        return True
    return day in _days_at_positions(rule, *_period(rule, day))


@lru_cache(maxsize=16)
def _days_at_positions(rule: RecurrenceRule, first: date, last: date) -> frozenset[date]:
    """Return the days of a period that BYSETPOS picks from those that fit."""
    fitting = [day for day in _days_between(first, last) if _matches_parts(rule, day)]
    picked = {position - 1 if position > 0 else position for position in rule.by_position}
    return frozenset(fitting[at] for at in picked if -len(fitting) <= at < len(fitting))


def _days_between(first: date, last: date) -> Iterator[date]:
    for offset in range((last - first).days + 1):
        yield first + timedelta(days=offset)


def _in_interval(rule: RecurrenceRule, day: date) -> bool:
    """Return whether a day lies in a period that the interval doesn't skip."""
    months = (day.year - rule.start.year) * 12 + day.month - rule.start.month
    steps = {
        "DAILY": (day - rule.start).days,
        "WEEKLY": (_start_of_week(day, rule.week_start) - _start_of_week(rule.start, rule.week_start)).days // 7,
        "MONTHLY": months,
        "YEARLY": day.year - rule.start.year,
    }
    return steps[rule.frequency] % rule.interval == 0


def _start_of_week(day: date, week_start: int) -> date:
    back = (day.weekday() - week_start) % 7
    return day - timedelta(days=back) if day.toordinal() > back else day


def _matches_parts(rule: RecurrenceRule, day: date) -> bool:
    """Return whether a day has the month, the day of the month and the weekday that a rule asks for."""
    if rule.by_month and day.month not in rule.by_month:
        return False
    length = monthrange(day.year, day.month)[1]
    if rule.by_month_day and not {day.day, day.day - length - 1} & set(rule.by_month_day):
        return False
    if rule.by_day:
        return any(_is_nth_weekday(rule, day, weekday, nth) for weekday, nth in rule.by_day)
    return bool(rule.by_month_day) or _matches_start(rule, day)


def _matches_start(rule: RecurrenceRule, day: date) -> bool:
    """Return whether a day repeats the start's: what the rule leaves open, the start says."""
    if rule.frequency == "WEEKLY":
        return day.weekday() == rule.start.weekday()
    if rule.frequency in {"MONTHLY", "YEARLY"} and day.day != rule.start.day:
        return False
    return rule.frequency != "YEARLY" or bool(rule.by_month) or day.month == rule.start.month


def _is_nth_weekday(rule: RecurrenceRule, day: date, weekday: int, nth: int) -> bool:
    """Return whether a day is such a weekday, or the nth (from the end if negative) of its month or year."""
    if day.weekday() != weekday:
        return False
    if not nth or rule.frequency in {"DAILY", "WEEKLY"}:
        return True
    first, last = _year_of(day) if rule.frequency == "YEARLY" and not rule.by_month else _month_of(day)
    return nth in {(day - first).days // 7 + 1, -((last - day).days // 7 + 1)}


def _period(rule: RecurrenceRule, day: date) -> tuple[date, date]:
    """Return the first and last day of the period whose days BYSETPOS counts."""
    if rule.frequency == "YEARLY":
        return _year_of(day)
    if rule.frequency == "MONTHLY":
        return _month_of(day)
    if rule.frequency == "WEEKLY":
        first = _start_of_week(day, rule.week_start)
        return first, first + timedelta(days=6)
    return day, day


def _year_of(day: date) -> tuple[date, date]:
    return date(day.year, 1, 1), date(day.year, 12, 31)


def _month_of(day: date) -> tuple[date, date]:
    return day.replace(day=1), day.replace(day=monthrange(day.year, day.month)[1])


def _int_part(parts: Mapping[str, Sequence[object]], name: str) -> int | None:
    numbers = _int_parts(parts, name)
    return numbers[0] if numbers else None


def _int_parts(parts: Mapping[str, Sequence[object]], name: str) -> tuple[int, ...]:
    return tuple(int(str(value)) for value in list(parts.get(name, ()))[:400])


def _parse_weekday(text: str) -> tuple[int, int]:
    return _WEEKDAYS.index(text[-2:].upper()), int(text[:-2] or 0)


def _to_date(value: object) -> date:
    if isinstance(value, date):
        return date(value.year, value.month, value.day)
    return dateutil_parser.parse(str(value)).date()
