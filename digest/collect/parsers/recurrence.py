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

AHEAD = timedelta(days=120)
MOST = 10
_LOOK_BACK = timedelta(days=3 * 366)  # how far a rule with COUNT is counted
_DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_KNOWN = {"FREQ", "INTERVAL", "COUNT", "UNTIL", "BYDAY", "BYMONTHDAY", "BYMONTH", "BYSETPOS", "WKST"}


@dataclass(frozen=True, slots=True)
class Rule:
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


def read_rule(parts: Mapping[str, Sequence[object]], start: date) -> Rule:
    """Read an RRULE's parts, as icalendar gives them.

    Raises:
        ValueError: the rule repeats within a day, or uses parts that no public calendar does.
    """
    frequency = str(next(iter(parts.get("FREQ", ())), "")).upper()
    if frequency not in {"DAILY", "WEEKLY", "MONTHLY", "YEARLY"}:
        raise ValueError(
            f"it repeats {frequency.lower()[:20] or 'at no frequency'}; only daily to yearly is read"
        )
    if odd := sorted(str(p)[:20] for p in set(parts) - _KNOWN):
        raise ValueError(f"its rule has {', '.join(odd)[:80]}, which is not read")
    until = next(iter(parts.get("UNTIL", ())), None)
    return Rule(
        start=start,
        frequency=frequency,
        interval=min(max(_number(parts, "INTERVAL") or 1, 1), 1_000),
        count=_number(parts, "COUNT"),
        until=_as_day(until) if until is not None else None,
        by_day=tuple(_weekday(str(day)) for day in parts.get("BYDAY", ())),
        by_month_day=_numbers(parts, "BYMONTHDAY"),
        by_month=_numbers(parts, "BYMONTH"),
        by_position=_numbers(parts, "BYSETPOS"),
        week_start=_DAYS.index(str(next(iter(parts.get("WKST", ())), "MO")).upper()),
    )


def next_days(rule: Rule, today: date) -> list[date]:
    """Give the next days, today or later, on which a rule falls: at most ten, within 120 days."""
    first, last = max(rule.start, today), min(rule.until or date.max, today + AHEAD)
    if rule.count is not None:
        if today - rule.start > _LOOK_BACK:
            return []  # ended, or too old to count
        fallen = [day for day in _between(rule.start, last) if falls_on(rule, day)][: rule.count]
        return [day for day in fallen if day >= first][:MOST]
    days: list[date] = []
    for day in _between(first, last):
        if falls_on(rule, day):
            days.append(day)
        if len(days) == MOST:
            break
    return days


def falls_on(rule: Rule, day: date) -> bool:
    """Say whether a rule falls on a day, leaving out COUNT."""
    if (
        day < rule.start
        or (rule.until and day > rule.until)
        or not _in_phase(rule, day)
        or not _fits(rule, day)
    ):
        return False
    if not rule.by_position:
        return True
    return day in _at_positions(rule, *_period(rule, day))


@lru_cache(maxsize=16)
def _at_positions(rule: Rule, first: date, last: date) -> frozenset[date]:
    """Give the days of a period that BYSETPOS picks from those that fit."""
    fitting = [day for day in _between(first, last) if _fits(rule, day)]
    picked = {position - 1 if position > 0 else position for position in rule.by_position}
    return frozenset(fitting[at] for at in picked if -len(fitting) <= at < len(fitting))


def _between(first: date, last: date) -> Iterator[date]:
    for offset in range((last - first).days + 1):
        yield first + timedelta(days=offset)


def _in_phase(rule: Rule, day: date) -> bool:
    """Say whether a day lies in a period that the interval doesn't skip."""
    months = (day.year - rule.start.year) * 12 + day.month - rule.start.month
    steps = {
        "DAILY": (day - rule.start).days,
        "WEEKLY": (_week(day, rule.week_start) - _week(rule.start, rule.week_start)).days // 7,
        "MONTHLY": months,
        "YEARLY": day.year - rule.start.year,
    }
    return steps[rule.frequency] % rule.interval == 0


def _week(day: date, week_start: int) -> date:
    back = (day.weekday() - week_start) % 7
    return day - timedelta(days=back) if day.toordinal() > back else day


def _fits(rule: Rule, day: date) -> bool:
    """Say whether a day has the month, the day of the month and the weekday that a rule asks for."""
    if rule.by_month and day.month not in rule.by_month:
        return False
    length = monthrange(day.year, day.month)[1]
    if rule.by_month_day and not {day.day, day.day - length - 1} & set(rule.by_month_day):
        return False
    if rule.by_day:
        return any(_is_weekday(rule, day, weekday, nth) for weekday, nth in rule.by_day)
    return bool(rule.by_month_day) or _fits_start(rule, day)


def _fits_start(rule: Rule, day: date) -> bool:
    """Say whether a day repeats the start's: what the rule leaves open, the start says."""
    if rule.frequency == "WEEKLY":
        return day.weekday() == rule.start.weekday()
    if rule.frequency in {"MONTHLY", "YEARLY"} and day.day != rule.start.day:
        return False
    return rule.frequency != "YEARLY" or bool(rule.by_month) or day.month == rule.start.month


def _is_weekday(rule: Rule, day: date, weekday: int, nth: int) -> bool:
    """Say whether a day is such a weekday, or the nth (from the end if negative) of its month or year."""
    if day.weekday() != weekday:
        return False
    if not nth or rule.frequency in {"DAILY", "WEEKLY"}:
        return True
    if rule.frequency == "YEARLY" and not rule.by_month:
        first, last = date(day.year, 1, 1), date(day.year, 12, 31)
    else:
        first, last = day.replace(day=1), day.replace(day=monthrange(day.year, day.month)[1])
    return nth in {(day - first).days // 7 + 1, -((last - day).days // 7 + 1)}


def _period(rule: Rule, day: date) -> tuple[date, date]:
    """Give the first and last day of the period whose days BYSETPOS counts."""
    if rule.frequency == "YEARLY":
        return date(day.year, 1, 1), date(day.year, 12, 31)
    if rule.frequency == "MONTHLY":
        return day.replace(day=1), day.replace(day=monthrange(day.year, day.month)[1])
    if rule.frequency == "WEEKLY":
        first = _week(day, rule.week_start)
        return first, first + timedelta(days=6)
    return day, day


def _number(parts: Mapping[str, Sequence[object]], name: str) -> int | None:
    found = _numbers(parts, name)
    return found[0] if found else None


def _numbers(parts: Mapping[str, Sequence[object]], name: str) -> tuple[int, ...]:
    return tuple(int(str(value)) for value in list(parts.get(name, ()))[:400])


def _weekday(text: str) -> tuple[int, int]:
    return _DAYS.index(text[-2:].upper()), int(text[:-2] or 0)


def _as_day(value: object) -> date:
    if isinstance(value, date):
        return date(value.year, value.month, value.day)
    return dateutil_parser.parse(str(value)).date()
