"""Days, times of day, and time zones in English texts, parsed at a given position.

All patterns match a bounded number of characters, so that parsing takes linear time even for hostile texts.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

MONTH_NAMES = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|"
    r"nov(?:ember)?|dec(?:ember)?)"
)
_MONTHS = "janfebmaraprmayjunjulaugsepoctnovdec"  # three letters for each month
_DASH = r"(?: ?[-–—] ?| to | through | and | & )"  # noqa: RUF001  dashes of every width
_YEAR = r"(?:19|20)\d{2}"
_WEEKDAY = r"(?:(?:mon|tues?|wed(?:nes)?|thu(?:rs?)?|fri|sat(?:ur)?|sun)(?:day)?\.?,? {1,2})"
_ORDINAL = r"(?:st|nd|rd|th)?"
_DAY = re.compile(
    rf"{_WEEKDAY}?(?:"
    r"(?P<iso>\d{4}-\d{2}-\d{2})(?!\d)"
    rf"|(?P<month1>{MONTH_NAMES})\.? {{1,2}}(?P<day1>\d{{1,2}}){_ORDINAL}(?!\d|:)"
    rf"(?:{_DASH}{_WEEKDAY}?(?:(?P<last_month1>{MONTH_NAMES})\.? )?(?P<last1>\d{{1,2}}){_ORDINAL}(?!\d|:| ?[ap]\.?m\b))?"
    rf"(?:,? {{1,2}}(?P<year1>{_YEAR})\b)?"
    rf"|(?P<day2>\d{{1,2}}){_ORDINAL}(?:{_DASH}(?P<last2>\d{{1,2}}){_ORDINAL})? {{1,2}}(?:of )?(?P<month2>{MONTH_NAMES})\b\.?"
    rf"(?:,? {{1,2}}(?P<year2>{_YEAR})\b)?"
    rf"|(?P<us_month>\d{{1,2}})/(?P<us_day>\d{{1,2}})/(?P<us_year>{_YEAR})\b)",
    re.IGNORECASE,
)
_MAX_INFERRED_AHEAD = timedelta(days=300)  # an inferred year that puts a day further ahead is only a guess

_CLOCK = re.compile(
    r"(?:(?P<hour>\d{1,2})(?:[:.](?P<minute>\d{2}))?(?::\d{2})? ?(?P<half>[ap])\.? ?m\b\.?"
    r"|(?P<hour24>\d{1,2}):(?P<minute24>\d{2})(?::\d{2})?(?: ?(?:hrs|hours|h)\b)?(?! ?[ap]\.?m)"
    r"|(?P<noon>(?:12(?::00)? )?noon)\b)",
    re.IGNORECASE,
)
# Common zone names mean local time: "EST" is written all summer, but never means an hour later. AoE
# is "anywhere on Earth", until the day has ended in all zones.
_ZONE_TABLE = """
America/New_York     et est edt eastern
America/Chicago      ct cst cdt central
America/Denver       mt mst mdt mountain
America/Los_Angeles  pt pst pdt pacific
America/Anchorage    akst akdt akt alaska
Pacific/Honolulu     hst hawaii
America/Puerto_Rico  ast atlantic
Europe/London        bst london
Europe/Brussels      cet cest brussels
Europe/Vienna        vienna
Europe/Paris         paris
Europe/Athens        eet eest
Asia/Tokyo           jst
Australia/Sydney     aest aedt
UTC                  utc gmt z
UTC-12:00            aoe
"""
_ZONES_BY_NAME: dict[str, str] = {}
for _zone, *_names in map(str.split, _ZONE_TABLE.strip().splitlines()):
    _ZONES_BY_NAME |= dict.fromkeys(_names, _zone)
_ZONE = re.compile(
    r" ?\(?(?:u\.?s\.? )?(?:"
    r"(?:utc|gmt) ?(?P<sign>[+−-]) ?(?P<hours>\d{1,2})(?::?(?P<minutes>\d{2}))?(?!\d)"  # noqa: RUF001  minus sign
    r"|(?P<wide>anywhere on earth)\b"
    r"|(?P<region>eastern|central|mountain|pacific|alaska|hawaii|atlantic)\b(?: (?:standard|daylight|prevailing))?(?: time)?\b"
    r"|(?P<city>brussels|london|paris|vienna) time\b"
    rf"|(?P<short>{'|'.join(sorted(_ZONES_BY_NAME, key=len, reverse=True))})\b"
    r")\)?",
    re.IGNORECASE,
)


_SHARED_HALF = re.compile(
    r"(?P<hour>\d{1,2})(?:[:.](?P<minute>\d{2}))?(?: ?[-–—] ?| to )(?P<until>\d{1,2})(?:[:.]\d{2})? ?(?P<half>[ap])\.? ?m\b\.?",  # noqa: RUF001  dashes
    re.IGNORECASE,
)
_CLOCK_RANGE = re.compile(r" ?[-–—] ?| (?:to|until|and) ", re.IGNORECASE)  # noqa: RUF001  dashes of every width


@dataclass(frozen=True, slots=True)
class WrittenDay:
    """A day or range of days found in a text. `end` is the index after it."""

    first: date
    last: date
    end: int


@dataclass(frozen=True, slots=True)
class WrittenClock:
    """A time of day found in a text, and its zone, which may be empty.

    `end` is the index after them.
    """

    clock: time
    zone: str
    end: int


def is_ahead(day: date, published: datetime | None) -> bool:
    """Return True unless a day had ended everywhere on Earth when a text was published.

    Return True if `published` is None.
    """
    return published is None or day >= published.date() - timedelta(days=1)


def find_days(text: str, published: datetime | None) -> Iterator[WrittenDay]:
    """Yield all days in a text, whatever they refer to. Years are inferred as in `read_day`."""
    for match in _DAY.finditer(text):
        if day := _read_matched_day(match, published):
            yield day


def read_day(text: str, start: int, published: datetime | None) -> WrittenDay | None:
    """Return the day written at `start`, or None.

    Examples are "Dec. 4", "4 December 2026", "October 12-14", and "2026-12-04". A day without a
    year is the first such day on or after the publication date, if it's within 300 days. Without a
    publication date, the result is None.
    """
    match = _DAY.match(text, start)
    return _read_matched_day(match, published) if match else None


def _read_matched_day(match: re.Match[str], published: datetime | None) -> WrittenDay | None:
    try:
        first = _read_first_day(match, published)
        last = _read_last_day(match, first) if first else None
    except ValueError:
        return None
    return WrittenDay(first, last or first, match.end()) if first else None


def _read_first_day(match: re.Match[str], published: datetime | None) -> date | None:
    if match["iso"]:
        return date.fromisoformat(match["iso"])
    if match["us_year"]:
        return date(*map(int, match.group("us_year", "us_month", "us_day")))
    month = _month_number(match["month1"] or match["month2"])
    day = int(match["day1"] or match["day2"])
    if year := match["year1"] or match["year2"]:
        ends_next_year = match["last_month1"] and _month_number(match["last_month1"]) < month
        return date(int(year) - bool(ends_next_year), month, day)
    return _next_anniversary(month, day, published) if published else None


def _read_last_day(match: re.Match[str], first: date) -> date | None:
    day = match["last1"] or match["last2"]
    if not day:
        return None
    month = _month_number(match["last_month1"]) if match["last_month1"] else first.month
    last = date(first.year + (month < first.month), month, int(day))
    return last if last > first else None


def _month_number(name: str) -> int:
    return _MONTHS.index(name[:3].lower()) // 3 + 1


def _next_anniversary(month: int, day: int, published: datetime) -> date | None:
    for year in (published.year, published.year + 1):
        anniversary = date(year, month, day)
        if anniversary >= published.date():
            return anniversary if anniversary - published.date() <= _MAX_INFERRED_AHEAD else None
    return None


def read_day_and_time(
    text: str,
    start: int,
    published: datetime | None,
    *,
    filler: re.Pattern[str],
    read_time: Callable[[str, int], WrittenClock | None],
    max_steps: int,
) -> tuple[WrittenDay, WrittenClock | None, int] | None:
    """Return the first day at or after `start`, the time written before it (or None), and the day's index.

    Only times, and text that `filler` matches, may precede the day; otherwise, the result is None.
    Each of these is a step, and the search ends after `max_steps` steps.
    """
    at, clock = start, None
    for _ in range(max_steps):
        if day := read_day(text, at, published):
            return day, clock, at
        if hour := None if clock else read_time(text, at):
            clock, at = hour, hour.end
        elif gap := filler.match(text, at):
            at = gap.end()
        else:
            return None
    return None


def read_clock(text: str, start: int) -> WrittenClock | None:
    """Return the time written at `start`, with its zone, or None.

    Examples are "5 p.m. ET", "17:00 (Brussels time)", and "noon UTC+2".
    """
    match = _CLOCK.match(text, start)
    clock = _clock_value(match) if match else None
    return _with_zone(clock, text, match.end()) if match and clock else None


def _clock_value(match: re.Match[str]) -> time | None:
    if match["noon"]:
        return time(12)
    if not match["half"]:
        hour, minute = int(match["hour24"]), int(match["minute24"])
        return time(hour, minute) if hour < 24 and minute < 60 else None
    hour, minute = int(match["hour"]), int(match["minute"] or 0)
    if not 1 <= hour <= 12 or minute >= 60:
        return None
    return time(hour % 12 + 12 * (match["half"].lower() == "p"), minute)


def _zone_name(match: re.Match[str]) -> str:
    if match["sign"]:
        hours, minutes = int(match["hours"]), int(match["minutes"] or 0)
        return f"UTC{'+' if match['sign'] == '+' else '-'}{hours:02d}:{minutes:02d}" if hours <= 14 else ""
    if match["wide"]:
        return _ZONES_BY_NAME["aoe"]
    return _ZONES_BY_NAME[(match["region"] or match["city"] or match["short"]).lower()]


def read_clock_range(text: str, start: int) -> WrittenClock | None:
    """Return the start of a range of times, with the zone after the range, or None.

    Examples are "1-3 p.m. ET" and "9 a.m. to noon (Eastern)".
    """
    if match := _SHARED_HALF.match(text, start):
        hour, until = int(match["hour"]) % 12, int(match["until"]) % 12
        afternoon = match["half"].lower() == "p" and hour <= until  # "11 to 1 p.m." begins in the morning
        minute = int(match["minute"] or 0)
        if int(match["hour"]) > 12 or minute >= 60:
            return None
        return _with_zone(time(hour + 12 * afternoon, minute), text, match.end())
    first = read_clock(text, start)
    if first is None or first.zone:
        return first
    between = _CLOCK_RANGE.match(text, first.end)
    last = read_clock(text, between.end()) if between else None
    return WrittenClock(first.clock, last.zone, last.end) if last else first


def _with_zone(clock: time, text: str, end: int) -> WrittenClock:
    if zone := _ZONE.match(text, end):
        return WrittenClock(clock, _zone_name(zone), zone.end())
    return WrittenClock(clock, "", end)
