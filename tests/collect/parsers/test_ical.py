"""Calendars: events in UTC, repeating ones as their next occurrences, with limits on hostile rules."""

from datetime import UTC, date, datetime, time, timedelta

import pytest
from dateutil.rrule import rrulestr
from hypothesis import given
from hypothesis import strategies as st
from icalendar import vRecur

from digest.collect.documents.parsed_document import DateBasis, DocumentKind, ParsedDocument
from digest.collect.parsers import parse_document
from digest.collect.parsers.ical import LOOK_AHEAD, MAX_OCCURRENCES, list_next_occurrences
from tests.moments import AFTER_RELEASE as NOW


def reading(*events: str, head: str = "") -> ParsedDocument:
    body = "".join(
        f"BEGIN:VEVENT\nUID:{n}@example.org\nSUMMARY:Event {n}\n{e}\nEND:VEVENT\n" for n, e in enumerate(events)
    )
    document = f"BEGIN:VCALENDAR\nVERSION:2.0\nX-WR-CALNAME:Drills\n{head}{body}END:VCALENDAR\n"
    return parse_document(document.replace("\n", "\r\n").encode(), url="https://example.org/cal.ics", now=NOW)


def test_an_event_comes_in_with_its_zone_place_and_page() -> None:
    got = reading(
        "DTSTART;TZID=America/New_York:20261203T130000\nDTEND;TZID=America/New_York:20261203T160000\nLOCATION:Port Ellery\\, pier 3\n"
        "URL:https://example.org/events/1\nDESCRIPTION:Free.\\nBring\n  boots.\nORGANIZER;CN=Ada Quill:mailto:ada@example.org\n"
        "CATEGORIES:Ports,Drills\nCREATED:20261101T080000Z"
    )
    event = got.items[0]
    assert (got.kind, got.title, got.item_count) == (DocumentKind.ICALENDAR, "Drills", 1)
    assert (event.starts_at, event.ends_at) == (
        datetime(2026, 12, 3, 18, tzinfo=UTC),
        datetime(2026, 12, 3, 21, tzinfo=UTC),
    )
    assert (event.place, event.link, event.author) == (
        "Port Ellery, pier 3",
        "https://example.org/events/1",
        "Ada Quill",
    )
    assert (event.summary, event.categories, event.all_day) == ("Free. Bring boots.", ("Ports", "Drills"), False)
    assert (event.published, event.date_basis) == (datetime(2026, 11, 1, 8, tzinfo=UTC), DateBasis.PUBLISHED)


def test_a_description_that_is_only_an_address_is_no_summary() -> None:
    (event,) = reading("DTSTART;VALUE=DATE:20270114\nDESCRIPTION:https://example.org/summit ").items
    assert (event.summary, event.link) == ("", "https://example.org/summit")


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("Berlin :de:", "Berlin"),
        ("Galway :ireland: :de:", "Galway"),
        ("Room 4: the hall", "Room 4: the hall"),
        (":us:", ""),
    ],
)
def test_codes_that_a_site_shows_as_flags_are_no_part_of_a_place(written: str, place: str) -> None:
    (event,) = reading(f"DTSTART;VALUE=DATE:20270114\nLOCATION:{written}").items
    assert (event.place or "") == place


def test_day_long_events_are_kept_at_noon_and_end_on_their_last_day() -> None:
    one, three = reading("DTSTART;VALUE=DATE:20270114", "DTSTART;VALUE=DATE:20270114\nDTEND;VALUE=DATE:20270117").items
    assert (one.starts_at, one.ends_at, one.all_day) == (datetime(2027, 1, 14, 12, tzinfo=UTC), None, True)
    assert three.ends_at == datetime(2027, 1, 16, 12, tzinfo=UTC)


def test_a_time_without_zone_is_the_calendars_own_or_utc_and_then_said() -> None:
    floating = reading("DTSTART:20261203T130000\nDURATION:PT90M").items[0]
    assert (floating.starts_at, floating.date_basis) == (datetime(2026, 12, 3, 13, tzinfo=UTC), DateBasis.ZONE_ASSUMED)
    assert floating.ends_at == datetime(2026, 12, 3, 14, 30, tzinfo=UTC)
    zoned = reading("DTSTART:20261203T130000", head="X-WR-TIMEZONE:Europe/Paris\n").items[0]
    assert (zoned.starts_at, zoned.date_basis) == (datetime(2026, 12, 3, 12, tzinfo=UTC), DateBasis.FIRST_SEEN_NO_DATE)


def test_a_zone_that_the_calendar_defines_is_used() -> None:
    zone = "BEGIN:VTIMEZONE\nTZID:Ours\nBEGIN:STANDARD\nDTSTART:19700101T000000\nTZOFFSETFROM:-0300\nTZOFFSETTO:-0300\nEND:STANDARD\nEND:VTIMEZONE\n"
    assert reading("DTSTART;TZID=Ours:20261203T130000", head=zone).items[0].starts_at == datetime(
        2026, 12, 3, 16, tzinfo=UTC
    )


def test_cancelled_and_unreadable_events_are_named_and_the_others_go_on() -> None:
    got = reading(
        "DTSTART:20261203T130000Z\nSTATUS:CANCELLED", "DTSTART:nonsense", "SUMMARY2:x", "DTSTART:20261203T130000Z"
    )
    assert len(got.items) == 1
    assert [r.place for r in got.rejected] == [1, 2, 3]
    assert got.rejected[0].reason == "the event is canceled"


def test_events_without_a_page_have_addresses_of_their_own() -> None:
    got = reading(
        "DTSTART:20261203T130000Z",
        "DTSTART:20261204T130000Z",
        "DTSTART:20261205T130000Z\nDESCRIPTION:See https://example.org/e/3.",
    )
    assert len({i.url for i in got.items}) == 3
    assert got.items[2].link == "https://example.org/e/3"
    assert got.items[0].link.startswith("https://example.org/cal.ics?event=")


def test_a_series_gives_its_next_occurrences_at_the_same_hour_by_the_clock() -> None:
    got = reading(
        "DTSTART;TZID=America/New_York:20260102T090000\nRRULE:FREQ=MONTHLY;BYDAY=1FR\nEXDATE;TZID=America/New_York:20270101T090000"
    )
    assert [i.starts_at for i in got.items] == [
        datetime(2026, 12, 4, 14, tzinfo=UTC),
        datetime(2027, 2, 5, 14, tzinfo=UTC),
        datetime(2027, 3, 5, 14, tzinfo=UTC),
    ]
    assert len({i.guid for i in got.items}) == 3


def test_a_moved_occurrence_takes_the_place_of_the_series_own() -> None:
    series = "BEGIN:VEVENT\nUID:s\nSUMMARY:Weekly\nDTSTART:20261123T100000Z\nRRULE:FREQ=WEEKLY;COUNT=3\nEND:VEVENT\n"
    override = (
        "BEGIN:VEVENT\nUID:s\nSUMMARY:Moved\nRECURRENCE-ID:20261130T100000Z\nDTSTART:20261201T100000Z\nEND:VEVENT\n"
    )
    got = parse_document(
        f"BEGIN:VCALENDAR\n{series}{override}END:VCALENDAR\n".encode(), url="https://example.org/c", now=NOW
    )
    assert [(i.title, i.starts_at and i.starts_at.day) for i in got.items] == [
        ("Weekly", 23),
        ("Weekly", 7),
        ("Moved", 1),
    ]


def test_a_series_of_long_ago_keeps_its_turns() -> None:
    got = reading("DTSTART:19900101T090000Z\nRRULE:FREQ=WEEKLY;INTERVAL=12;WKST=SU;BYDAY=MO,SU")
    walked = rrulestr("FREQ=WEEKLY;INTERVAL=12;WKST=SU;BYDAY=MO,SU", dtstart=datetime(1990, 1, 1, 9, tzinfo=UTC))
    assert [i.starts_at for i in got.items] == walked.between(NOW, NOW + LOOK_AHEAD)
    assert len(got.items) == 2


def test_a_series_that_is_over_is_named() -> None:
    got = reading("DTSTART:20240101T100000Z\nRRULE:FREQ=WEEKLY;UNTIL=20240601T000000Z", "DTSTART:20261203T130000Z")
    assert "not in the next 120 days" in got.rejected[0].reason


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=SECONDLY",
        "FREQ=MINUTELY;INTERVAL=0",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=DAILY;COUNT=999999999999",
        "FREQ=DAILY;INTERVAL=999999999",
        "FREQ=YEARLY;BYDAY=MO,TU,WE;BYSETPOS=-366,366;COUNT=99999",
        "FREQ=WEEKLY;BYHOUR=1,2,3,4",
        "FREQ=MONTHLY;BYMONTHDAY=99,-99,0",
        "FREQ=NONSENSE",
        "COUNT=-5;FREQ=DAILY",
    ],
)
def test_hostile_rules_end(rule: str) -> None:
    got = reading(f"DTSTART:19900101T000000Z\nRRULE:{rule}", "DTSTART:20261203T130000Z")
    assert any(i.title == "Event 1" for i in got.items)
    assert len(got.items) <= 1 + MAX_OCCURRENCES


def test_a_zone_with_a_hostile_rule_is_not_walked() -> None:
    zone = "BEGIN:VTIMEZONE\nTZID:Ours\nBEGIN:STANDARD\nDTSTART:19700101T000000\nTZOFFSETFROM:-0300\nTZOFFSETTO:-0300\nRRULE:FREQ=SECONDLY\nEND:STANDARD\nEND:VTIMEZONE\n"
    assert reading("DTSTART;TZID=Ours:20261203T130000", head=zone).items[0].starts_at == datetime(
        2026, 12, 3, 16, tzinfo=UTC
    )


def test_a_truncated_calendar_keeps_its_whole_events() -> None:
    text = "BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:1\nSUMMARY:Whole\nDTSTART:20261203T130000Z\nEND:VEVENT\nBEGIN:VEVENT\nUID:2\nSUMM"
    got = parse_document(text.encode(), url="https://example.org/c", now=NOW)
    assert [i.title for i in got.items] == ["Whole"]
    assert got.rejected[0].reason == "the document ends within this event"


def test_a_calendar_of_nothing_readable_names_each_event_and_an_empty_one_is_no_error() -> None:
    assert [r.reason for r in reading("DTSTART:nonsense").rejected] == [
        "the event can't be read: no readable start time"
    ]
    assert reading().item_count == 0


_DAY = st.sampled_from(["MO", "TU", "WE", "TH", "FR", "SA", "SU"])
_RULES = st.one_of(
    st.builds("FREQ=DAILY;INTERVAL={}".format, st.integers(1, 40)),
    st.builds(
        "FREQ=WEEKLY;INTERVAL={};WKST={};BYDAY={}".format,
        st.integers(1, 6),
        _DAY,
        st.lists(_DAY, min_size=1, max_size=3, unique=True).map(",".join),
    ),
    st.builds("FREQ=WEEKLY;INTERVAL={}".format, st.integers(1, 6)),
    st.builds(
        "FREQ=MONTHLY;INTERVAL={};BYDAY={}{}".format, st.integers(1, 4), st.sampled_from([1, 2, 3, 4, 5, -1, -2]), _DAY
    ),
    st.builds("FREQ=MONTHLY;BYMONTHDAY={}".format, st.sampled_from([1, 15, 28, 30, 31, -1, -3])),
    st.builds(
        "FREQ=MONTHLY;BYDAY={};BYSETPOS={}".format,
        st.lists(_DAY, min_size=1, max_size=5, unique=True).map(",".join),
        st.sampled_from([1, 2, -1]),
    ),
    st.builds("FREQ=YEARLY;BYMONTH={};BYMONTHDAY={}".format, st.integers(1, 12), st.integers(1, 28)),
    st.builds("FREQ=YEARLY;BYMONTH={};BYDAY={}{}".format, st.integers(1, 12), st.sampled_from([1, 2, -1]), _DAY),
    st.builds("FREQ=YEARLY;BYDAY={}{}".format, st.integers(1, 52), _DAY),
    st.just("FREQ=YEARLY"),
    st.just("FREQ=MONTHLY"),
)
_TAILS = st.one_of(
    st.just(""),
    st.integers(1, 60).map(";COUNT={}".format),
    st.dates(date(2026, 10, 1), date(2027, 2, 1)).map(";UNTIL={:%Y%m%d}".format),
)


@given(_RULES, _TAILS, st.dates(date(2024, 6, 1), date(2027, 1, 1)))
def test_the_days_of_a_rule_are_those_that_dateutil_walks_to(rule: str, tail: str, start: date) -> None:
    today = NOW.date()
    walked = rrulestr(rule + tail, dtstart=datetime.combine(start, time()))
    first = datetime.combine(today, time())
    expected = [d.date() for d in walked.between(first, first + LOOK_AHEAD, inc=True)]
    assert list_next_occurrences(vRecur.from_ical(rule + tail), start, today) == expected[:MAX_OCCURRENCES]


def test_the_bounds_are_what_the_docs_say() -> None:
    assert timedelta(days=120) == LOOK_AHEAD
    assert MAX_OCCURRENCES == 10
