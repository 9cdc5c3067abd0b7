"""Publishers' dates, which are parsed, checked, and stored with their basis.

The rules and their reasons are in docs/decisions/0004-dates.md.
"""

import re
from calendar import timegm
from datetime import UTC, datetime, timedelta

from dateutil import parser as dateutil_parser
from feedparser.datetimes import _parse_date

from digest.collect.documents.parsed_document import DateBasis, noon_utc

OLDEST_YEAR = 1990
MAX_FUTURE = timedelta(days=2)  # tolerance for wrong clocks and zones; a later date is an error or an embargo
_MAX_LENGTH = 100  # maximum number of characters

# Hours from UTC for the zones in RFC 822, section 5.1, and other names that US agencies use.
_ZONE_HOURS = (
    "EST -5, EDT -4, ET -5, CST -6, CDT -5, CT -6, MST -7, MDT -6, MT -7, PST -8, PDT -7, PT -8, AKST -9, AKDT -8, HST -10, "
    "AST -4, ADT -3, GMT 0, UT 0, BST 1, WET 0, CET 1, CEST 2, EET 2, EEST 3, IST 5.5, JST 9, AEST 10, AEDT 11"
)
_ZONE_PAIRS = map(str.split, _ZONE_HOURS.split(","))
_US_ZONES = {name: int(float(hours) * 3600) for name, hours in _ZONE_PAIRS}
# feedparser's own table lacks these zones and treats them as UTC.
_DATEUTIL_FIRST = re.compile(r"\b(?:BST|CES?T|EES?T|WES?T|AK[SD]T|HST|IST|JST|AE[SD]T|UTC)\b|\d[+-]\d{4}$|^\d{8}T\d{4}")
_TIME_PATTERN = re.compile(r"\d{1,2}:\d{2}|\d{1,2}\s?[ap]\.?m\b|T\d{4,6}", re.IGNORECASE)
_ZONE_PATTERN = re.compile(
    r"(?:Z|[+-]\d{2}:?\d{2}|[+-]\d{2}|\b(?:" + "|".join([*_US_ZONES, "UTC"]) + r"))\)?\s*$", re.IGNORECASE
)
# A year, a month, a time, or a bare number doesn't name a day.
_NO_DAY = re.compile(
    r"\d{1,4}(?:[-/.]\d{1,2})?|[A-Za-z]+\.?,? \d{4}|[\d:. ]{3,12}(?:[ap]\.?m\.?)?|\d{9,}", re.IGNORECASE
)


def parse_date(text: str | None, now: datetime) -> tuple[datetime | None, DateBasis]:
    """Parse a publisher's date.

    feedparser's parser is tried first, then dateutil with the zones that US agencies use. A date
    without a time is noon UTC, so that it's the same day in almost every zone.

    Args:
        text: the date; None or blank if there's none.
        now: the current time in UTC, against which dates are checked.

    Returns:
        The time in UTC and `PUBLISHED` or `ZONE_ASSUMED`, or None and why the date is missing
        or was rejected.
    """
    text = " ".join((text or "").split())
    if not text:
        return None, DateBasis.FIRST_SEEN_NO_DATE
    moment = _parse_datetime(text)
    if moment is None:
        return None, DateBasis.FIRST_SEEN_UNREADABLE
    refused = explain_unusable_date(moment, now)
    if refused:
        return None, refused
    if not _TIME_PATTERN.search(text):
        return noon_utc(moment.date()), DateBasis.ZONE_ASSUMED
    return moment, DateBasis.PUBLISHED if _ZONE_PATTERN.search(text) else DateBasis.ZONE_ASSUMED


def explain_unusable_date(moment: datetime, now: datetime) -> DateBasis | None:
    """Return why a date can't be the date of an article, or None if it can.

    A date before 1990 or more than two days ahead can't.
    """
    if moment.year < OLDEST_YEAR:
        return DateBasis.FIRST_SEEN_ANCIENT
    return DateBasis.FIRST_SEEN_FUTURE if moment > now + MAX_FUTURE else None


def parse_item_dates(
    published: str | None, updated: str | None, now: datetime
) -> tuple[datetime | None, datetime | None, DateBasis]:
    """Return an item's publication date, its update date, and the basis of the first usable one.

    If neither is usable, the basis says why.
    """
    first, basis = parse_date(published, now)
    changed, why_not = parse_date(updated, now)
    if first is None and changed is not None:
        return None, changed, DateBasis.UPDATED
    if first is None and basis is DateBasis.FIRST_SEEN_NO_DATE:
        basis = why_not
    return first, changed, basis


def parse_event_time(text: str | None) -> tuple[datetime | None, bool]:
    """Return an event's time in UTC, and whether it's a day without a time.

    A day without a time is noon UTC. The time is None if it's unreadable.
    """
    text = " ".join((text or "").split())
    moment = _parse_datetime(text) if text else None
    if moment is None or not OLDEST_YEAR <= moment.year <= 2200:
        return None, False
    if _TIME_PATTERN.search(text):
        return moment, False
    return noon_utc(moment.date()), True


def _parse_datetime(text: str) -> datetime | None:
    if len(text) > _MAX_LENGTH or _NO_DAY.fullmatch(text):
        return None
    if not any(map(str.isdigit, text)):
        return None
    if _DATEUTIL_FIRST.search(text):
        return _parse_with_dateutil(text) or _parse_with_feedparser(text)
    return _parse_with_feedparser(text) or _parse_with_dateutil(text)


def _parse_with_feedparser(text: str) -> datetime | None:
    try:
        parts = _parse_date(text)
        return datetime.fromtimestamp(timegm(parts), UTC) if parts else None
    except (ValueError, OverflowError, TypeError, OSError, IndexError):
        return None


def _parse_with_dateutil(text: str) -> datetime | None:
    """Parse a date with dateutil.

    It's parsed twice with different defaults, so that missing parts aren't filled in.
    """
    try:
        moment, with_other_default = (
            dateutil_parser.parse(text, default=default, tzinfos=_US_ZONES)
            for default in (datetime(2000, 1, 1), datetime(2001, 2, 2))  # noqa: DTZ001  zones come from the text
        )
        if moment.date() != with_other_default.date():
            return None
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError, TypeError, AttributeError, IndexError, ArithmeticError):
        return None  # dateutil lets internal errors through
