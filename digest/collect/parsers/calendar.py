"""iCalendar (RFC 5545): events with their times in UTC; repeating ones as their next occurrences."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from html import escape
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from icalendar import BrokenCalendarProperty, Calendar

from digest.collect import text
from digest.collect.items import Kind, Reading, Rejected
from digest.collect.parsers.found import Found, Place, take
from digest.collect.parsers.recurrence import AHEAD, next_days, read_rule

_MOST_SERIES = 1_000  # repeating events of one calendar that are followed
# Summer time comes on such a day each year; any other rule could be walked for hours.
_ZONE_RULE = re.compile(
    r"^RRULE:(?!FREQ=YEARLY;(?:BYMONTH=\d{1,2};BYDAY=-?[1-4](?:SU|MO|TU|WE|TH|FR|SA)|BYDAY=-?[1-4][A-Z]{2};BYMONTH=\d{1,2})(?:;UNTIL=\w+)?\s*$).*$\n?",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class _Time:
    """When an event starts and how long it is; `start` is a date for day-long events, else it has a zone."""

    start: datetime | date
    length: timedelta | None
    floating: bool

    @property
    def day(self) -> date:
        return self.start.date() if isinstance(self.start, datetime) else self.start

    def on(self, day: date) -> "_Time":
        """Move to another day, at the same time of day by the clock on the wall."""
        if isinstance(self.start, datetime):
            return replace(self, start=datetime.combine(day, self.start.timetz()))
        return replace(self, start=day)

    def written(self) -> tuple[str, str]:
        """Give start and end as `found` reads them. A day-long event ends on its last day, not on the next."""
        end = self.start + self.length if self.length else None
        if not isinstance(self.start, datetime):
            last = end - timedelta(days=1) if end else None
            return self.start.isoformat(), last.isoformat() if last and last > self.start else ""
        return _utc(self.start), _utc(end) if isinstance(end, datetime) else ""


def read_calendar(document: str, where: Place) -> Reading:
    """Read a calendar's events.

    A time without zone is taken in the calendar's zone (X-WR-TIMEZONE), else for UTC, which the item's basis
    says. Cancelled events are rejected. A repeating event gives one item for each of its next occurrences, at
    most ten and within 120 days. A calendar never fails as a whole: each event that can't be read is rejected.
    """
    document = re.sub(r"[ \t]*\r?\n", "\n", document.strip("\ufeff \t\r\n\0")) + "\n"
    document = re.sub(r"\n[ \t]", "", document)  # folded lines
    document = re.sub(
        r"^(?:begin|end):v\w+$", lambda found: found[0].upper(), document, flags=re.MULTILINE | re.IGNORECASE
    )
    zones = _zones(document)
    events = [_event(block, zones) for block in _blocks(document, "VEVENT")]
    if _is_cut(document):
        events.append(Rejected(0, "the document breaks off within this event"))
    zone = _zone(_property(document, "X-WR-TIMEZONE"))
    items, rejected = take(_all_found(events, where, zone), where)
    return Reading(
        kind=Kind.ICALENDAR,
        items=items,
        rejected=rejected,
        title=text.title(_property(document, "X-WR-CALNAME")),
        language=where.language,
    )


def _blocks(document: str, name: str) -> Iterator[str]:
    """Give the components of a name. One that doesn't end before the next begins is passed over."""
    opening, closing, at = f"\nBEGIN:{name}\n", f"\nEND:{name}\n", 0
    while (end := document.find(closing, at)) >= 0:
        start = document.rfind(opening, at, end + 1)
        if start >= 0:
            yield document[start + 1 : end + len(closing)]
        at = end + len(closing) - 1


def _zones(document: str) -> dict[str, str]:
    """Give the zones that the calendar defines by their names, without rules that could be walked for hours."""
    zones = (_ZONE_RULE.sub("", block) for block in itertools.islice(_blocks(document, "VTIMEZONE"), 100))
    return {_property(zone, "TZID"): zone for zone in zones}


def _event(block: str, zones: dict[str, str]) -> Any:
    """Read one event by itself, so that a broken one spoils no other."""
    names = set(re.findall(r";TZID=\"?([^\":;\n]{1,80})", block))
    defined = "".join(zones[name] for name in sorted(names & set(zones)) if _zone(name) is None)
    try:
        calendar = Calendar.from_ical(
            f"BEGIN:VCALENDAR\n{defined}{block}END:VCALENDAR\n".replace("\n", "\r\n")
        )
        return next(iter(calendar.walk("VEVENT")), Rejected(0, "no event in it"))
    except Exception as exc:  # noqa: BLE001  icalendar lets its internals' errors through; the event is rejected
        return Rejected(0, f"the event can't be read: {type(exc).__name__}: {str(exc)[:100]}")


def _is_cut(document: str) -> bool:
    return document.rfind("\nBEGIN:VEVENT\n") > document.rfind("\nEND:VEVENT\n")


def _property(document: str, name: str) -> str:
    found = re.search(rf"^{name}(?:;[^:\n]*)?:(.*)$", document[:20_000], re.MULTILINE)
    return re.sub(r"\\([,;\\])", r"\1", found[1]).strip() if found else ""


def _zone(name: str) -> tzinfo | None:
    try:
        return ZoneInfo(name) if re.fullmatch(r"[A-Za-z_+/0-9-]{1,60}", name) else None
    except (KeyError, ValueError, OSError):
        return None


def _all_found(events: list[Any], where: Place, zone: tzinfo | None) -> Iterator[Found | Rejected]:
    moved = _moved(events, zone)
    series = 0
    for event in events:
        if isinstance(event, Rejected):
            yield event
            continue
        try:
            series += "RRULE" in event
            if series > _MOST_SERIES and "RRULE" in event:
                raise ValueError(f"more than {_MOST_SERIES:,} repeating events")  # noqa: TRY301  one way to reject
            yield from _found(event, moved, where, zone)
        except Exception as exc:  # noqa: BLE001  a value that icalendar read with odd parts; the event is rejected
            yield Rejected(0, f"the event can't be read: {str(exc)[:150] or type(exc).__name__}")


def _found(
    event: Any, moved: dict[str, set[date]], where: Place, zone: tzinfo | None
) -> Iterator[Found | Rejected]:
    if _words(event, "STATUS").upper() == "CANCELLED":
        yield Rejected(0, "the event is cancelled")
        return
    when, uid = _time(event, zone), _words(event, "UID")
    if "RRULE" not in event or "RECURRENCE-ID" in event:
        own = f"/{_words(event, 'RECURRENCE-ID', raw=True)}" if "RECURRENCE-ID" in event else ""
        yield _one(event, when, f"{uid}{own}" if uid else "", where)
        return
    days = _days(event, when, moved.get(uid, set()), where.now)
    if not days:
        yield Rejected(0, f"the event repeats, but not in the next {AHEAD.days} days")
    for day in days:
        yield _one(event, when.on(day), f"{uid}/{day.isoformat()}", where)


def _one(event: Any, when: _Time, guid: str, where: Place) -> Found:
    starts, ends = when.written()
    described = _words(event, "DESCRIPTION")
    organiser = event.get("ORGANIZER")
    return Found(
        guid=guid,
        link=_words(event, "URL")
        or _link_in(f"{described} {_words(event, 'LOCATION')}")
        or _own_link(where.url, guid or starts),
        title=_words(event, "SUMMARY"),
        summary=described if re.search(r"<\w+[ />]", described) else escape(described, quote=False),
        authors=[str(organiser.params.get("CN", ""))] if hasattr(organiser, "params") else (),
        categories=_categories(event),
        published=_written(event, "CREATED"),  # not DTSTAMP: most servers write the time of the request there
        updated=_written(event, "LAST-MODIFIED"),
        starts=starts,
        ends=ends,
        floating=when.floating,
        place=_words(event, "LOCATION"),
    )


def _days(event: Any, when: _Time, moved: set[date], now: datetime) -> list[date]:
    rule = event.get("RRULE")
    rule = rule[0] if isinstance(rule, list) else rule
    left_out = {_day(value) for value in _listed(event, "EXDATE")} | moved
    today = now.astimezone(when.start.tzinfo).date() if isinstance(when.start, datetime) else now.date()
    days = {day for day in next_days(read_rule(rule, when.day), today) if day not in left_out}
    added = {day for value in _listed(event, "RDATE") if today <= (day := _day(value)) <= today + AHEAD}
    return sorted(days | (added - left_out))[:10]


def _moved(events: list[Any], zone: tzinfo | None) -> dict[str, set[date]]:
    """Say which days of which series have an event of their own in place of the series'."""
    moved: dict[str, set[date]] = {}
    for event in events:
        instead = None if isinstance(event, Rejected) else _value(event, "RECURRENCE-ID")
        if isinstance(instead, date):
            in_zone = (
                instead.astimezone(zone)
                if isinstance(instead, datetime) and instead.tzinfo and zone
                else instead
            )
            moved.setdefault(_words(event, "UID"), set()).update({_day(instead), _day(in_zone)})
    return moved


def _time(event: Any, zone: tzinfo | None) -> _Time:
    start = _value(event, "DTSTART")
    if not isinstance(start, date) or not 1990 <= start.year <= 2200:
        raise ValueError("no readable start")
    end = _value(event, "DTEND")
    length = _value(event, "DURATION")
    if isinstance(end, date) and isinstance(end, datetime) == isinstance(start, datetime):
        length = _aware(end, zone) - _aware(start, zone)
    lasting = (
        length if isinstance(length, timedelta) and timedelta(0) < length < timedelta(days=400) else None
    )
    floating = isinstance(start, datetime) and start.tzinfo is None and zone is None
    return _Time(_aware(start, zone), lasting, floating)


def _value(event: Any, name: str) -> Any:
    """Give a time or a length; None where there is none that can be read."""
    try:
        return event.get(name).dt
    except (AttributeError, ValueError, BrokenCalendarProperty):
        return None


def _aware(value: Any, zone: tzinfo | None) -> Any:
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=zone or UTC)
    return value


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _day(value: Any) -> date:
    return value.date() if isinstance(value, datetime) else value


def _listed(event: Any, name: str) -> Iterator[date]:
    given = event.get(name)
    for part in (given if isinstance(given, list) else [given])[:100]:
        for one in getattr(part, "dts", [])[:1_000]:
            if isinstance(one.dt, date):
                yield one.dt


def _words(event: Any, name: str, *, raw: bool = False) -> str:
    value = event.get(name)
    value = value[0] if isinstance(value, list) and value else value
    if value is None:
        return ""
    return value.to_ical().decode() if raw else str(value)


def _written(event: Any, name: str) -> str:
    moment = _value(event, name)
    return _utc(_aware(moment, None)) if isinstance(moment, datetime) else ""


def _categories(event: Any) -> list[str]:
    given = event.get("CATEGORIES")
    parts = given if isinstance(given, list) else [given]
    return [str(name) for part in parts for name in getattr(part, "cats", [])]


def _link_in(words: str) -> str:
    found = re.search(r"https?://[^\s<>\"')\]]{4,500}", words)
    return found[0].rstrip(".,;") if found else ""


def _own_link(url: str, key: str) -> str:
    """Give an event without a page the calendar's address, made its own by a parameter that servers pass over."""
    plain = url.partition("#")[0]
    return f"{plain}{'&' if '?' in plain else '?'}event={quote(key, safe='')[:300]}"
