"""Dates as publishers write them: read, doubted, and named by what they rest on; deadlines found in a text.

The rules and their reasons stand in docs/decisions/0004-dates.md.
"""

import re
from calendar import timegm
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

from dateutil import parser as dateutil_parser
from feedparser.datetimes import _parse_date

from digest.collect.parsed_document import DateBasis

OLDEST_YEAR = 1990
MAX_FUTURE = timedelta(days=2)  # clocks and zones go wrong by that much; more is an error or an embargo
_MAX_LENGTH = 100  # characters

# Hours from UTC: RFC 822 section 5.1, with the names that US agencies use besides.
_ZONE_HOURS = (
    "EST -5, EDT -4, ET -5, CST -6, CDT -5, CT -6, MST -7, MDT -6, MT -7, PST -8, PDT -7, PT -8, AKST -9, AKDT -8, HST -10, "
    "AST -4, ADT -3, GMT 0, UT 0, BST 1, WET 0, CET 1, CEST 2, EET 2, EEST 3, IST 5.5, JST 9, AEST 10, AEDT 11"
)
_US_ZONES = {name: int(float(hours) * 3600) for name, hours in re.findall(r"(\w+) (-?[\d.]+)", _ZONE_HOURS)}
# feedparser's own table lacks these and takes them for UTC.
_DATEUTIL_FIRST = re.compile(r"\b(?:BST|CES?T|EES?T|WES?T|AK[SD]T|HST|IST|JST|AE[SD]T|UTC)\b|\d[+-]\d{4}$|^\d{8}T\d{4}")
_TIME_PATTERN = re.compile(r"\d{1,2}:\d{2}|\d{1,2}\s?[ap]\.?m\b|T\d{4,6}", re.IGNORECASE)
_ZONE_PATTERN = re.compile(
    r"(?:Z|[+-]\d{2}:?\d{2}|[+-]\d{2}|\b(?:" + "|".join([*_US_ZONES, "UTC"]) + r"))\)?\s*$", re.IGNORECASE
)
# A year, a month, a time or a bare number names no day.
_NO_DAY = re.compile(
    r"\d{1,4}(?:[-/.]\d{1,2})?|[A-Za-z]+\.?,? \d{4}|[\d:. ]{3,12}(?:[ap]\.?m\.?)?|\d{9,}", re.IGNORECASE
)


def parse_date(text: str | None, now: datetime) -> tuple[datetime | None, DateBasis]:
    """Read one date as a publisher wrote it.

    feedparser's reader comes first, then dateutil with the zones that US agencies name. A date without a
    time is taken as noon UTC, so that it is the same day in almost every zone.

    Args:
        text: the date; None or blank where the publisher gave none.
        now: the present, UTC, against which a date is doubted.

    Returns:
        The moment in UTC and `PUBLISHED` or `ZONE_ASSUMED`; or None and why the date is missing or refused.
    """
    text = " ".join((text or "").split())
    if not text:
        return None, DateBasis.FIRST_SEEN_NO_DATE
    moment = _parse_datetime(text)
    if moment is None:
        return None, DateBasis.FIRST_SEEN_UNREADABLE
    refused = date_objection(moment, now)
    if refused:
        return None, refused
    if not _TIME_PATTERN.search(text):
        return datetime.combine(moment.date(), time(12), UTC), DateBasis.ZONE_ASSUMED
    return moment, DateBasis.PUBLISHED if _ZONE_PATTERN.search(text) else DateBasis.ZONE_ASSUMED


def date_objection(moment: datetime, now: datetime) -> DateBasis | None:
    """Explain why a date can't be an article's: before 1990, or more than two days ahead. None: it can."""
    if moment.year < OLDEST_YEAR:
        return DateBasis.FIRST_SEEN_ANCIENT
    return DateBasis.FIRST_SEEN_FUTURE if moment > now + MAX_FUTURE else None


def parse_item_dates(
    published: str | None, updated: str | None, now: datetime
) -> tuple[datetime | None, datetime | None, DateBasis]:
    """Read both dates of an item and say which counts: the publication's, else the change's, else neither."""
    first, basis = parse_date(published, now)
    changed, why_not = parse_date(updated, now)
    if first is None and changed is not None:
        return None, changed, DateBasis.UPDATED
    if first is None and basis is DateBasis.FIRST_SEEN_NO_DATE:
        basis = why_not
    return first, changed, basis


def parse_event_time(text: str | None) -> tuple[datetime | None, bool]:
    """Read the time of an event, which may lie in any year ahead: the moment in UTC, and whether it is a bare day."""
    text = " ".join((text or "").split())
    moment = _parse_datetime(text) if text else None
    if moment is None or not OLDEST_YEAR <= moment.year <= 2200:
        return None, False
    if _TIME_PATTERN.search(text):
        return moment, False
    return noon_utc(moment.date()), True


def noon_utc(day: date) -> datetime:
    """Return noon UTC of a day: how a date without a time is kept."""
    return datetime.combine(day, time(12), UTC)


def _parse_datetime(text: str) -> datetime | None:
    if len(text) > _MAX_LENGTH or not any(c.isdigit() for c in text) or _NO_DAY.fullmatch(text):
        return None
    readers = (
        (_parse_with_dateutil, _parse_with_feedparser)
        if _DATEUTIL_FIRST.search(text)
        else (_parse_with_feedparser, _parse_with_dateutil)
    )
    return next((moment for reader in readers if (moment := reader(text))), None)


def _parse_with_feedparser(text: str) -> datetime | None:
    try:
        parts = _parse_date(text)
        return datetime.fromtimestamp(timegm(parts), UTC) if parts else None
    except (ValueError, OverflowError, TypeError, OSError, IndexError):
        return None


def _parse_with_dateutil(text: str) -> datetime | None:
    """Read with dateutil, twice with other defaults: what the text doesn't say must not come from today."""
    try:
        moment, with_other_default = (
            dateutil_parser.parse(text, default=default, tzinfos=_US_ZONES)
            for default in (datetime(2000, 1, 1), datetime(2001, 2, 2))  # noqa: DTZ001  zones come from the text
        )
        if moment.date() != with_other_default.date():
            return None
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError, TypeError, AttributeError, IndexError, ArithmeticError):
        return None  # dateutil lets its internals' errors through


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH_PATTERN = (
    r"(?P<month{n}>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|"
    r"oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAY_PATTERN = (
    rf"(?:(?P<iso>\d{{4}}-\d{{2}}-\d{{2}})"
    rf"|{_MONTH_PATTERN.format(n=1)}\s+(?P<day1>\d{{1,2}})(?:st|nd|rd|th)?(?!\d|:)(?:,?\s+(?P<year1>(?:19|20)\d{{2}})\b)?"
    rf"|(?P<day2>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?{_MONTH_PATTERN.format(n=2)}\b(?:,?\s+(?P<year2>(?:19|20)\d{{2}})\b)?"
    r"|(?P<us_month>\d{1,2})/(?P<us_day>\d{1,2})/(?P<us_year>\d{4}))"
)
_RESPONSE_WORDS = (
    r"(?:apply|appl(?:ication|ying)s?|regist(?:er|ration|rations)|submit(?:ted)?|submissions?|respon(?:d|ses?)|"
    r"rsvp|proposals?|nominations?|bids?|comments?|entries|abstracts?|quotes?)"
)
_DEADLINE_CUE = re.compile(
    r"\b(?:clos(?:es|ing)|deadline(?: (?:for|to) [^.:;]{1,60}? (?:is|are)\b)?|due|open (?:until|till|through)|"
    rf"{_RESPONSE_WORDS}\b[^.:;]{{0,60}}? (?:by|before|until|till|through|no later than|on or before))\b",
    re.IGNORECASE,
)
_FILLER = re.compile(
    r"(?:[\s,:–—-]+|(?:on|by|at|is|are|the|of|date|before|midnight|noon|close of business|cob|local time|"  # noqa: RUF001  en dash
    r"(?:mon|tues?|wed(?:nes)?|thu(?:rs?)?|fri|sat(?:ur)?|sun)(?:day)?\.?|\d{1,2}(?::\d{2})?\s?[ap]\.?m\.?|\d{1,2}:\d{2}|"
    r"[ecmp][sd]?t|eastern|central|mountain|pacific|utc|gmt|time)(?![a-z0-9]))*+",
    re.IGNORECASE,
)
_DATE_PATTERN = re.compile(_DAY_PATTERN, re.IGNORECASE)
_CUE_DISTANCE = 100  # characters between the words that announce a deadline and the end of its date
_MAX_INFERRED_AHEAD = timedelta(days=300)  # an inferred year that puts the day farther ahead than this is a guess


def find_deadline(text: str, published: datetime | None) -> date | None:
    """Find the day until which a text says one may apply, register, answer or bid.

    "closes Dec 4", "deadline: December 12, 2026", "apply by 4 December", "due on 2026-12-04". A day without a
    year is the first such day on or after the publication; without a publication date it is left alone.
    """
    for cue in _DEADLINE_CUE.finditer(text):
        after = text[cue.end() : cue.end() + _CUE_DISTANCE]
        filler = _FILLER.match(after)
        match = _DATE_PATTERN.match(after, filler.end() if filler else 0)
        day = _deadline_day(match.groupdict(), published) if match else None
        if day and (published is None or day >= published.date() - timedelta(days=1)):
            return day
    return None


def _deadline_day(groups: dict[str, str | None], published: datetime | None) -> date | None:
    try:
        if groups["iso"]:
            return date.fromisoformat(groups["iso"])
        if groups["us_year"]:
            return date(int(groups["us_year"]), int(groups["us_month"] or 0), int(groups["us_day"] or 0))
        month = _MONTHS.index((groups["month1"] or groups["month2"] or "")[:3].lower()) + 1
        day = int(groups["day1"] or groups["day2"] or 0)
        if year := groups["year1"] or groups["year2"]:
            return date(int(year), month, day)
        return _next_anniversary(month, day, published) if published else None
    except ValueError:
        return None


def _next_anniversary(month: int, day: int, published: datetime) -> date | None:
    years: Sequence[int] = (published.year, published.year + 1)
    for year in years:
        anniversary = date(year, month, day)
        if anniversary >= published.date():
            return anniversary if anniversary - published.date() <= _MAX_INFERRED_AHEAD else None
    return None
