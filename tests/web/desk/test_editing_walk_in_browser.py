"""One walk through an edition: a place is filled, stories return, are found, signed for, and counted."""

import re
from datetime import date

import pytest
from playwright.sync_api import expect

from digest.app.editing import changes as editing
from digest.app.editing.edit_application import EditForm
from subscribers.consent.preferences import Preferences
from tests.actors import EDITOR
from tests.web.desk.edition.test_previews import add_subscriber
from tests.web.desk.sample_week import later
from tests.web.desk.test_queue_in_browser import WIDE, ServedWeek, order, press_key, row, served

__all__ = ["served"]
pytestmark = pytest.mark.chromium


def test_a_place_is_filled_and_a_story_returns_is_found_dated_signed_and_counted(served: ServedWeek) -> None:
    week = served.week
    add_subscriber(week, Preferences(pause_until=date(2027, 1, 1)))
    # Found by a search, although it isn't suggested.
    unfit = next(out for out in week.state.arrangement.left_out if not out.scored.is_ours)
    title = unfit.scored.story.lead.title
    older = {"title": "A lesson from the storm", "dated_at": "2025-11-18T12:00:00+00:00", "has_date": True}
    form = EditForm(week.name, EDITOR, later())
    editing.add_written_story(week.installation, form, older, section="featured", topic="")
    page = served.open(WIDE)
    before = order(page)
    # The year of an older story, and the check that asks for it.
    expect(row(page, before[-1])).to_contain_text("is from Nov 18, 2025, before this edition’s week")
    for number, anchor in enumerate((before[-1], before[2]), 2):
        press_key(page, anchor, "x")
        expect(row(page, anchor)).to_have_count(0)
        expect(page.locator("#desk")).to_have_attribute("data-seq", str(number))
    page.get_by_role("button", name=re.compile("^Fill (the|an) empty place")).click()
    expect(page.locator("ol[data-section=featured] > li.st")).to_have_count(len(before) - 1)
    filled = order(page)
    (added,) = set(filled) - set(before)
    # What an editor chose stays when the removed story is back.
    page.goto(f"{served.address}{week.path}?tab=stories")
    page.locator("#removed > summary").click()
    page.locator("#removed").get_by_role("button", name=re.compile("^Restore")).first.click()
    expect(row(page, before[2])).to_have_count(1)
    expect(row(page, added)).to_have_count(1)
    expect(page.locator("li.cand h3", has_text=title)).to_have_count(0)
    page.get_by_role("searchbox", name="Search all of this week’s stories").fill(title)
    found = page.locator("li.cand", has_text=title)
    expect(found).to_be_visible()
    expect(found).not_to_contain_text("Fits ")
    # The intro is signed by its author.
    page.goto(f"{served.address}{week.path}?tab=edition&open=head")
    page.get_by_label("Intro").fill("Good morning from the port.")
    page.get_by_role("button", name="Save and close").click()
    expect(page.locator(".mailhead")).to_contain_text("Good morning from the port.")
    page.goto(f"{served.address}{week.path}/approve")
    expect(page.locator("main")).to_contain_text("0 subscribers")
    expect(page.locator("main")).to_contain_text("1 is paused.")
    expect(page.frame_locator("iframe").first.locator("body")).to_contain_text("—Dana")
