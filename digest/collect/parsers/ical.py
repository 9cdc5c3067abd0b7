"""iCalendar events (RFC 5545, section 3.6.1).

Times are in UTC, and repeating events are returned as their next occurrences.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from html import escape
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from dateutil import parser as dateutil_parser
from dateutil.rrule import rrulestr
from icalendar import BrokenCalendarProperty, Calendar

from digest.collect.documents.parsed_document import DocumentKind, ParsedDocument, RejectedEntry
from digest.collect.parsers.raw_item import ParseContext, RawItem, clean_document
from digest.collect.texts import text_cleanup

# dateutil walks a rule from its start. The start is therefore moved forward unless occurrences are
# counted, and rules that repeat within a day aren't parsed. For a day that never occurs (February
# 30), it walks to the year 9999, which takes up to three seconds. The child process's CPU limit
# stops calendars with many such rules.
LOOK_AHEAD = timedelta(days=120)
MAX_OCCURRENCES = 10
_LOOK_BACK = timedelta(days=3 * 366)  # maximum time over which the occurrences of a rule with COUNT are counted
_STEP_DAYS = {"DAILY": 1, "WEEKLY": 7, "MONTHLY": None, "YEARLY": None}  # days between occurrences, if constant
_KNOWN_PARTS = {"FREQ", "INTERVAL", "COUNT", "UNTIL", "BYDAY", "BYMONTHDAY", "BYMONTH", "BYSETPOS", "WKST"}
_MAX_SERIES = 1_000  # maximum number of repeating events to read from a calendar
# Daylight saving time starts and ends on such a day each year. Walking other rules could take hours.
_UNSAFE_ZONE_RULE = re.compile(
    r"^RRULE:(?!FREQ=YEARLY;(?:BYMONTH=\d{1,2};BYDAY=-?[1-4](?:SU|MO|TU|WE|TH|FR|SA)|BYDAY=-?[1-4][A-Z]{2};BYMONTH=\d{1,2})(?:;UNTIL=\w+)?\s*$).*$\n?",
    re.MULTILINE,
)

_FLAG_CODE = re.compile(
    r"\s*:[a-z][a-z_-]{1,30}:(?=\s|$)"
)  # "Berlin :de:", on sites that replace such codes with images of flags


@dataclass(frozen=True, slots=True)
class _EventTime:
    """The start and duration of an event.

    For all-day events, `start` is a date. Otherwise, it has a time zone.
    """

    start: datetime | date
    duration: timedelta | None
    floating: bool

    @property
    def day(self) -> date:
        return self.start.date() if isinstance(self.start, datetime) else self.start

    @property
    def zone_name(self) -> str:
        """The IANA name of the time zone.

        It's empty for a day, an unknown zone, or UTC, which servers use by default.
        """
        zone = self.start.tzinfo if isinstance(self.start, datetime) else None
        name = str(getattr(zone, "key", ""))
        return "" if name == "UTC" else name

    def move_to(self, day: date) -> "_EventTime":
        """Return the same local time on another day."""
        if isinstance(self.start, datetime):
            return replace(self, start=datetime.combine(day, self.start.timetz()))
        return replace(self, start=day)

    def as_iso_text(self) -> tuple[str, str]:
        """Return the start and end in ISO format.

        An all-day event ends on its last day, not the next one.
        """
        length = self.duration or timedelta()
        if isinstance(self.start, datetime):
            return _utc_text(self.start), _utc_text(self.start + length) if length else ""
        last = self.start + length - timedelta(days=1)
        return self.start.isoformat(), last.isoformat() if last > self.start else ""


def parse(document: str, kind: DocumentKind, context: ParseContext) -> ParsedDocument:
    """Parse a calendar's events.

    A time without a zone is in the calendar's zone (X-WR-TIMEZONE). If there's none, it's taken as
    UTC, which the item's date basis records. Canceled events are rejected. A repeating event yields
    one item for each of its next occurrences, at most ten and within 120 days. A calendar never
    fails as a whole; events that can't be parsed are rejected one by one.
    """
    lines = re.split(r"\r?\n", document.strip("\ufeff \t\r\n\0"))
    document = "\n".join(line.rstrip(" \t") for line in lines) + "\n"
    document = re.sub(r"\n[ \t]", "", document)  # unfold lines
    document = re.sub(r"(?im)^(?:begin|end):v\w+$", lambda mark: mark[0].upper(), document)
    zones = _defined_zones(document)
    events = [_parse_event(block, zones) for block in _components(document, "VEVENT")]
    if document.rfind("\nBEGIN:VEVENT\n") > document.rfind("\nEND:VEVENT\n"):
        events.append(RejectedEntry(0, "the document ends within this event"))
    zone = _load_zone(_calendar_property(document, "X-WR-TIMEZONE"))
    title = text_cleanup.clean_title(_calendar_property(document, "X-WR-CALNAME"))
    return clean_document(kind, _raw_items(events, context, zone), context, title=title)


def _components(document: str, name: str) -> Iterator[str]:
    """Yield the components with the given name, except those that don't end before the next one begins."""
    opening, closing, at = f"\nBEGIN:{name}\n", f"\nEND:{name}\n", 0
    while (end := document.find(closing, at)) >= 0:
        start = document.rfind(opening, at, end + 1)
        if start >= 0:
            yield document[start + 1 : end + len(closing)]
        at = end + len(closing) - 1


def _defined_zones(document: str) -> dict[str, str]:
    """Return the zones that the calendar defines, by name.

    Rules that could take hours to walk are removed.
    """
    blocks = itertools.islice(_components(document, "VTIMEZONE"), 100)
    zones = (_UNSAFE_ZONE_RULE.sub("", block) for block in blocks)
    return {_calendar_property(zone, "TZID"): zone for zone in zones}


def _parse_event(block: str, zones: dict[str, str]) -> Any:
    """Parse an event separately, so that a broken one doesn't affect the others."""
    names = zones.keys() & re.findall(r";TZID=\"?([^\":;\n]{1,80})", block)
    defined = "".join(zones[name] for name in sorted(names) if _load_zone(name) is None)
    text = f"BEGIN:VCALENDAR\n{defined}{block}END:VCALENDAR\n"
    try:
        calendar = Calendar.from_ical(text.replace("\n", "\r\n"))
        return next(iter(calendar.walk("VEVENT")), RejectedEntry(0, "no event in it"))
    except Exception as exc:  # noqa: BLE001  icalendar lets its internals' errors through; the event is rejected
        return RejectedEntry(0, f"the event can't be read: {type(exc).__name__}: {str(exc)[:100]}")


def _calendar_property(document: str, name: str) -> str:
    match = re.search(rf"^{name}(?:;[^:\n]*)?:(.*)$", document[:20_000], re.MULTILINE)
    return re.sub(r"\\([,;\\])", r"\1", match[1]).strip() if match else ""


def _load_zone(name: str) -> tzinfo | None:
    try:
        return ZoneInfo(name) if re.fullmatch(r"[A-Za-z_+/0-9-]{1,60}", name) else None
    except (KeyError, ValueError, OSError):
        return None


def _raw_items(
    events: list[Any], context: ParseContext, default_zone: tzinfo | None
) -> Iterator[RawItem | RejectedEntry]:
    overridden = _overridden_days(events, default_zone)
    series = 0
    for event in events:
        if isinstance(event, RejectedEntry):
            yield event
            continue
        try:
            series += "RRULE" in event
            if series > _MAX_SERIES and "RRULE" in event:
                raise ValueError(f"more than {_MAX_SERIES:,} repeating events")  # noqa: TRY301  one way to reject
            yield from _event_items(event, overridden, context, default_zone)
        except Exception as exc:  # noqa: BLE001  a value that icalendar read with odd parts; the event is rejected
            yield RejectedEntry(0, f"the event can't be read: {str(exc)[:150] or type(exc).__name__}")


def _event_items(
    event: Any, overridden: dict[str, set[date]], context: ParseContext, default_zone: tzinfo | None
) -> Iterator[RawItem | RejectedEntry]:
    if _text_value(event, "STATUS").upper() == "CANCELLED":
        yield RejectedEntry(0, "the event is canceled")
        return
    when, uid = _event_time(event, default_zone), _text_value(event, "UID")
    if "RRULE" not in event or "RECURRENCE-ID" in event:
        if uid and "RECURRENCE-ID" in event:
            uid += f"/{_first(event, 'RECURRENCE-ID').to_ical().decode()}"
        yield _raw_item(event, when, uid, context)
        return
    days = _occurrence_days(event, when, overridden.get(uid, set()), context.now)
    if not days:
        yield RejectedEntry(0, f"the event repeats, but not in the next {LOOK_AHEAD.days} days")
    for day in days:
        yield _raw_item(event, when.move_to(day), f"{uid}/{day.isoformat()}", context)


def _raw_item(event: Any, event_time: _EventTime, guid: str, context: ParseContext) -> RawItem:
    starts, ends = event_time.as_iso_text()
    described, place = _text_value(event, "DESCRIPTION"), _text_value(event, "LOCATION")
    written_link = re.search(r"https?://[^\s<>\"')\]]{4,500}", f"{described} {place}")
    link = _text_value(event, "URL") or (written_link[0].rstrip(".,;") if written_link else "")
    if re.fullmatch(r"https?://\S+", described.strip()):
        described = ""  # the event has no description
    organizer = getattr(event.get("ORGANIZER"), "params", {})
    return RawItem(
        guid=guid,
        link=link or _event_link(context.url, guid or starts),
        title=_text_value(event, "SUMMARY"),
        summary=described if re.search(r"<\w+[ />]", described) else escape(described, quote=False),
        authors=[str(organizer.get("CN", ""))],
        categories=_categories(event),
        published=_timestamp_text(event, "CREATED"),  # not DTSTAMP, which on most servers is the time of the request
        updated=_timestamp_text(event, "LAST-MODIFIED"),
        starts=starts,
        ends=ends,
        zone_missing=event_time.floating,
        zone=event_time.zone_name,
        place=_FLAG_CODE.sub("", place),
    )


def _occurrence_days(
    event: Any,
    event_time: _EventTime,
    overridden: set[date],
    now: datetime,
) -> list[date]:
    start = event_time.start
    today = (now.astimezone(start.tzinfo) if isinstance(start, datetime) else now).date()
    days = list_next_occurrences(_first(event, "RRULE"), event_time.day, today)
    added = (day for day in _day_list(event, "RDATE") if today <= day <= today + LOOK_AHEAD)
    left_out = overridden.union(_day_list(event, "EXDATE"))
    return sorted({*days, *added} - left_out)[:10]


def _overridden_days(
    events: list[Any],
    zone: tzinfo | None,
) -> dict[str, set[date]]:
    """Return, by UID, the days on which separate events replace occurrences of a series."""
    days: dict[str, set[date]] = {}
    for event in events:
        instead = None if isinstance(event, RejectedEntry) else _time_value(event, "RECURRENCE-ID")
        if isinstance(instead, date):
            own_days = days.setdefault(_text_value(event, "UID"), set())
            own_days.add(_to_date(instead))
            if isinstance(instead, datetime) and instead.tzinfo and zone:
                own_days.add(instead.astimezone(zone).date())
    return days


def _event_time(event: Any, zone: tzinfo | None) -> _EventTime:
    start = _time_value(event, "DTSTART")
    if not isinstance(start, date) or not 1990 <= start.year <= 2200:
        raise ValueError("no readable start time")
    end = _time_value(event, "DTEND")
    length = _time_value(event, "DURATION")
    zoned_start = _with_zone(start, zone)
    if isinstance(end, date) and isinstance(end, datetime) == isinstance(start, datetime):
        length = _with_zone(end, zone) - zoned_start
    is_usable = isinstance(length, timedelta) and timedelta(0) < length < timedelta(days=400)
    floating = isinstance(start, datetime) and start.tzinfo is None and zone is None
    return _EventTime(zoned_start, length if is_usable else None, floating)


def _time_value(event: Any, name: str) -> Any:
    """Return a time or duration, or None if there's no readable one."""
    try:
        return event.get(name).dt
    except (AttributeError, ValueError, BrokenCalendarProperty):
        return None


def _with_zone(value: Any, zone: tzinfo | None) -> Any:
    is_naive = isinstance(value, datetime) and value.tzinfo is None
    return value.replace(tzinfo=zone or UTC) if is_naive else value


def _utc_text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _to_date(value: Any) -> date:
    return value.date() if isinstance(value, datetime) else value


def _values(event: Any, name: str) -> list[Any]:
    value = event.get(name)
    return value if isinstance(value, list) else [value]


def _first(event: Any, name: str) -> Any:
    return next(iter(_values(event, name)), None)


def _day_list(event: Any, name: str) -> Iterator[date]:
    for part in _values(event, name)[:100]:
        for entry in getattr(part, "dts", [])[:1_000]:
            if isinstance(entry.dt, date):
                yield _to_date(entry.dt)


def _text_value(event: Any, name: str) -> str:
    value = _first(event, name)
    return "" if value is None else str(value)


def _timestamp_text(event: Any, name: str) -> str:
    moment = _time_value(event, name)
    return _utc_text(_with_zone(moment, None)) if isinstance(moment, datetime) else ""


def _categories(event: Any) -> list[str]:
    parts = _values(event, "CATEGORIES")
    return [str(name) for part in parts for name in getattr(part, "cats", [])]


def _event_link(url: str, key: str) -> str:
    """Return a unique URL for an event without a page.

    It's the calendar's URL with a parameter that servers ignore.
    """
    plain = url.partition("#")[0]
    return f"{plain}{'&' if '?' in plain else '?'}event={quote(key, safe='')[:300]}"


def list_next_occurrences(
    parts: Mapping[str, Sequence[object]],
    start: date,
    today: date,
) -> list[date]:
    """Return the next days of an RRULE (RFC 5545, section 3.3.10), at most ten within 120 days.

    `parts` is the rule as parsed by icalendar. For a rule with COUNT that started over three years
    ago, the result is empty.

    Raises:
        ValueError: the rule repeats within a day, or uses parts that public calendars don't.
    """
    frequency = _check_rule(parts)
    stated_interval = next(iter(parts.get("INTERVAL", ())), 1)
    interval = min(max(int(str(stated_interval)), 1), 1_000)
    if "COUNT" in parts:
        if today - start > _LOOK_BACK:
            return []  # ended, or too old to count
    elif step := _STEP_DAYS[frequency]:
        turns = (today - start).days // (step * interval)
        start += timedelta(days=max(0, turns - 1) * step * interval)
    ends = map(_read_until, parts.get("UNTIL", ()))
    last = min((today + LOOK_AHEAD, *ends))
    lists = {**parts, "INTERVAL": [interval]}
    lists.pop("UNTIL", None)
    text = ";".join(f"{name}={','.join(map(str, list(values)[:400]))}" for name, values in lists.items())
    rule = rrulestr(text, dtstart=datetime.combine(start, time()))
    moments = rule.xafter(datetime.combine(today, time()), inc=True)
    days = itertools.takewhile(lambda day: day <= last, map(_to_date, moments))
    return list(itertools.islice(days, MAX_OCCURRENCES))


def _check_rule(parts: Mapping[str, Sequence[object]]) -> str:
    """Return the frequency of a supported rule.

    Raises:
        ValueError: the rule isn't supported.
    """
    stated = next(iter(parts.get("FREQ", ())), "")
    frequency = str(stated).upper()
    if frequency not in _STEP_DAYS:
        raise ValueError(
            f"the event repeats {frequency.lower()[:20] or '(no frequency)'}; only daily, weekly, monthly, "
            "and yearly are supported"
        )
    if unknown_parts := sorted(str(p)[:20] for p in set(parts) - _KNOWN_PARTS):
        raise ValueError(f"the recurrence rule has {', '.join(unknown_parts)[:80]}, which isn't supported")
    return frequency


def _read_until(value: object) -> date:
    """Return the day of a date, datetime, or string."""
    if isinstance(value, date):
        return date(value.year, value.month, value.day)
    return dateutil_parser.parse(str(value)).date()
