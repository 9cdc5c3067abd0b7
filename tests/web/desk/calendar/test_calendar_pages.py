"""The editors' calendar: each action is a form that first shows its consequences."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from flask import get_template_attribute
from sqlalchemy import select

from digest.store.models import Edition, EditionState
from tests.conftest import ROOT
from tests.moments import Clock
from tests.web.desk.sample_week import SampleWeek, later

PATH = "/desk/calendar"


def rows(page: str) -> list[str]:
    """Give the rows of the calendar as text."""
    body = re.search(r"<tbody>(.*?)</tbody>", page, re.DOTALL)
    assert body
    return [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in re.findall(r"<tr id.*?</tr>", body[1], re.DOTALL)]


def keys(page: str) -> list[str]:
    """Give what names the releases that can be moved, in forms."""
    found = re.findall(r"ask=move&amp;release=([^\"#]+)", page)
    return [key.replace("%3A", ":").replace("%2B", "+") for key in found]


def test_the_calendar_shows_ten_releases_and_what_happens_before_each(week: SampleWeek) -> None:
    page = week.client().get(PATH).text
    listed = rows(page)
    assert len(listed) == 10
    assert listed[0].startswith("Friday, November 20 6:00 a.m. No. 147 In draft.")
    assert "Approve by Thu, Nov. 19, 8 p.m." in listed[0]
    assert listed[1].startswith("Friday, November 27 6:00 a.m. No. 148 Draft Thu, Nov. 26, 5:30 p.m.")
    assert "All of the next 10 are due at their usual time." in page


def test_an_edition_that_is_due_and_has_not_gone_stands_first_and_keeps_its_number(
    week: SampleWeek, clock: Clock
) -> None:
    clock.now = datetime(2026, 11, 20, 15, tzinfo=UTC)
    page = week.client().get(PATH).text
    listed = rows(page)
    assert len(listed) == 11
    assert listed[0] == "Friday, November 20 6:00 a.m. No. 147 Due, but not approved. Open No. 147"
    assert listed[1].startswith("Friday, November 27 6:00 a.m. No. 148 ")
    assert "No. 147 was due but hasn\u2019t been sent. The next edition is due Friday, November 27." in page
    assert "<h2>Next 10</h2>" in page
    home = unescape(week.client().get("/").text).replace("\u00a0", " ")
    assert "The next edition is No. 148, on Friday, November 27" in home


def test_an_edition_is_skipped_brought_back_moved_and_put_back_by_forms(week: SampleWeek) -> None:
    client = week.client()
    second = keys(client.get(PATH).text)[1]
    asked = client.get(PATH, query_string={"ask": "skip", "release": second}).text
    assert "The next edition covers its week" in asked
    assert client.post(f"{PATH}/skip", data={"release": second}).status_code == 303
    skipped = rows(client.get(PATH).text)[1]
    assert skipped.startswith("Friday, November 27 Skipped The next edition covers its week. Skipped by Dana.")
    assert client.post(f"{PATH}/skip", data={"release": second}).status_code == 409
    client.post(f"{PATH}/restore", data={"release": second})
    form = {"release": second, "day": "2026-11-25", "clock": "06:00"}
    led = client.post(f"{PATH}/move/preview", data=form | {"csrf_token": "secret"})
    assert "secret" not in led.location
    preview = client.get(led.location).text
    assert "New schedule: Draft Tue, Nov. 24, 5:30 p.m." in preview
    assert "Moved" not in rows(preview)[1]
    assert client.post(f"{PATH}/move", data=form).status_code == 303
    page = client.get(PATH).text
    moved = rows(page)[1]
    assert moved.startswith("Wednesday, November 25 6:00 a.m. No. 148 Moved from Friday, November 27 by Dana.")
    assert (
        "Move it back to Friday, November 27"
        in client.get(PATH, query_string={"ask": "move", "release": keys(page)[1]}).text
    )
    client.post(f"{PATH}/restore", data={"release": keys(page)[1]})
    assert "Moved" not in client.get(PATH).text


def test_the_edition_that_is_drafted_moves_with_its_day_and_is_set_aside_with_its_changes(week: SampleWeek) -> None:
    client = week.client()
    first = keys(client.get(PATH).text)[0]
    week.act(f"drop {week.anchors('featured')[0]}")
    asked = client.get(PATH, query_string={"ask": "skip", "release": first}).text
    assert "The draft, with 1 change by editors is saved" in asked
    client.post(f"{PATH}/move", data={"release": first, "day": "2026-11-21", "clock": "09:30"})
    page = client.get(PATH).text
    assert rows(page)[0].startswith("Saturday, November 21 9:30 a.m. No. 147")
    assert "November 21" in client.get(f"{week.path}/approve").text
    client.post(f"{PATH}/skip", data={"release": keys(page)[0]})
    with week.installation.database.read() as session:
        assert session.scalars(select(Edition.state)).all() == [EditionState.CANCELLED]
    assert "Its draft is saved, with 1 change by editors." in rows(client.get(PATH).text)[0]


def test_an_extra_edition_is_added_and_what_cannot_be_is_refused_with_the_reason(week: SampleWeek) -> None:
    client = week.client()
    assert "takes the next number" in client.get(f"{PATH}?ask=add").text
    assert client.post(f"{PATH}/add", data={"day": "2026-11-24", "clock": "12:00"}).status_code == 303
    listed = rows(client.get(PATH).text)
    assert listed[1].startswith("Tuesday, November 24 12:00 noon No. 148 Extra, added by Dana.")
    assert listed[2].startswith("Friday, November 27 6:00 a.m. No. 149")
    refusals: list[tuple[dict[str, Any], str]] = [
        ({"day": "2026-11-24", "clock": "14:00"}, "less than six hours"),
        ({"day": "2026-11-10", "clock": "14:00"}, "in the past"),
        ({"day": "24.11.", "clock": "14:00"}, "The day or time is missing"),
        ({"day": "9999-12-31", "clock": "14:00"}, "more than a year ahead"),
    ]
    for form, why in refusals:
        answer = client.post(f"{PATH}/add", data=form)
        assert (answer.status_code, why in answer.text) == (409, True), why
    for release in ("", "x", "9999-12-31T23:59:59+00:00", "2026-11-27T11:00:00"):
        assert client.post(f"{PATH}/skip", data={"release": release}).status_code == 409


def test_the_edition_counts_down_to_its_deadline_and_says_when_that_is_over(
    copy_week: Callable[[Callable[[], datetime]], SampleWeek],
) -> None:
    clock = [later()]
    week = copy_week(lambda: clock[0])
    client = week.client()
    for state in (EditionState.INCOMPLETE, EditionState.DRAFT):
        with week.installation.database.write() as session:
            session.scalars(select(Edition)).one().state = state
        for path in (week.path, f"{week.path}/approve"):
            page = " ".join(re.sub(r"<[^>]+>", "", client.get(path).text).split())
            assert "Approve by Thursday, November 19, 8 p.m.: 2 h 25 min left." in page
    clock[0] += timedelta(hours=3)
    over = "The deadline, Thursday, November 19, 8 p.m., has passed. The edition can still be approved.</span>"
    banner = "No. 147 wasn’t approved by its deadline (Thursday, November 19, 8 p.m.). It can still be approved"
    for path in (week.path, f"{week.path}/approve"):
        page = client.get(path).text
        assert over in page
        assert banner not in unescape(page)
    assert banner not in unescape(client.get(f"{week.path}/preview").text)
    assert f"{banner}, and it will be sent at its send time." in unescape(client.get("/desk/calendar").text)
    clock[0] = datetime(2026, 11, 20, 12, tzinfo=UTC)  # after its release, and late
    late = client.get(week.path).text
    assert over in late
    assert banner not in unescape(late)


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (timedelta(hours=5, minutes=56, seconds=59), "5 h 56 min left"),
        (timedelta(minutes=59), "59 min left"),
        (timedelta(hours=71), "2 days left"),
        (-timedelta(hours=1), "0 min left"),
    ],
)
def test_the_time_that_is_left_is_said_in_hours_and_minutes(week: SampleWeek, left: timedelta, words: str) -> None:
    with week.app.app_context():
        assert get_template_attribute("web/desk/calendar/countdown.html", "time_left")(left) == words


def test_no_form_puts_its_token_into_an_address() -> None:
    templates = [file.read_text("utf-8") for file in (ROOT / "templates" / "web").rglob("*.html")]
    forms = [form for text in templates for form in re.findall(r"(?s)<form\b.*?</form>", text)]
    assert len(forms) > 50
    by_get = [form for form in forms if 'method="post"' not in form.partition(">")[0]]
    assert [form for form in by_get if "token" in form] == []
    assert [form for form in forms if "formmethod" in form] == []
