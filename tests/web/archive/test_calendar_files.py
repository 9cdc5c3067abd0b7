"""Deadlines and events as iCalendar files: for one edition and to follow, read back by icalendar, vobject, and by hand."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import vobject
from icalendar import Calendar

from digest.edition.content.edition_content import EntryDate
from digest.store.models import EditionState
from tests.moments import RELEASE
from tests.web.conftest import sample_content, store_image

DATES = ("dtstart", "dtend", "dtstamp")


def events_of(body: bytes) -> list[dict[str, Any]]:
    calendar = Calendar.from_ical(body)
    return [
        {"summary": str(e["summary"]), "start": e.decoded("dtstart"), "uid": str(e["uid"]), "url": str(e["url"])}
        for e in calendar.walk("VEVENT")
    ]


def test_an_editions_calendar_holds_its_early_dates(both: Any) -> None:
    name = both.edition(state=EditionState.SENT)
    answer = both.client.get(f"/editions/{name}.ics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/calendar; charset=utf-8; method=PUBLISH"
    event, deadline = events_of(answer.data)
    assert event["summary"] == "Port resilience exercise, open to observers"
    assert event["start"] == date(2026, 12, 3)
    assert deadline["summary"] == "Deadline: Request for information: counter-drone sensors"
    lines = answer.data.replace(b"\r\n ", b"").split(b"\r\n")
    assert b"LOCATION:Long Beach" in lines
    assert b"DTEND;VALUE=DATE:20261204" in lines
    assert all(len(line) <= 75 for line in answer.data.split(b"\r\n")), "RFC 5545, 3.1"


def test_the_calendar_to_follow_has_each_date_once_as_the_newest_edition_has_it(world: Any) -> None:
    for number, weeks in ((145, 2), (146, 1)):
        release_at = RELEASE - timedelta(weeks=weeks)
        world.edition(name=f"2026-W{46 - weeks + 1}", number=number, state=EditionState.SENT, release_at=release_at)
    world.edition(name="2026-W47", number=147, state=EditionState.APPROVED)
    events = events_of(world.client.get("/calendar.ics").data)
    assert len({event["uid"] for event in events}) == len(events) == 4, "two of each edition that went out"
    assert "2026-W47" not in str(events)
    assert not any(mark in str(events) for mark in ("token", "leave", "preferences"))


def test_another_parser_finds_the_same_events(world: Any) -> None:
    """vobject shares no line with icalendar, by which the files are written and read above."""
    world.edition(name="2026-W46", number=146, state=EditionState.SENT, release_at=RELEASE - timedelta(weeks=1))
    world.edition(name="2026-W47", number=147, state=EditionState.SENT)
    for path, count in (("/calendar.ics", 4), ("/editions/2026-W47.ics", 2)):
        body = world.client.get(path).data
        ours, theirs = Calendar.from_ical(body), vobject.readOne(body.decode(), validate=True)
        assert theirs.version.value == "2.0"
        assert theirs.prodid.value == str(ours["prodid"])
        found = [
            (e.uid.value, e.summary.value, e.dtstart.value, e.dtend.value, e.dtstamp.value, e.url.value)
            for e in theirs.vevent_list
        ]
        expected = [
            (*(str(e[name]) for name in ("uid", "summary")), *(e.decoded(n) for n in DATES), str(e["url"]))
            for e in ours.walk("VEVENT")
        ]
        assert found == expected, path
        assert len(found) == count


def test_an_edition_that_has_not_gone_out_has_no_calendar(world: Any) -> None:
    assert world.client.get(f"/editions/{world.edition(state=EditionState.APPROVED)}.ics").status_code == 404
    assert world.client.get("/editions/2020-W01.ics").status_code == 404
    assert events_of(world.client.get("/calendar.ics").data) == []


def test_a_deadline_that_a_story_states_is_an_entry_of_its_own(world: Any) -> None:
    content = sample_content(store_image(world.install.database), "2026-W47", 147, "Ports")
    featured, *others = content.sections
    due = EntryDate("deadline", date(2026, 11, 30), "Monday, November 30", "Responses due")
    entries = (replace(featured.entries[0], due=due), *featured.entries[1:])
    name = world.edition(
        state=EditionState.SENT, content=replace(content, sections=(replace(featured, entries=entries), *others))
    )
    for path in (f"/editions/{name}.ics", "/calendar.ics"):
        stated, *rest = sorted(events_of(world.client.get(path).data), key=lambda event: str(event["start"]))
        assert stated["start"] == date(2026, 11, 30)
        assert stated["summary"] == f"Responses due: {featured.entries[0].headline}"
        assert len(rest) == 2
        assert len({event["uid"] for event in (stated, *rest)}) == 3
