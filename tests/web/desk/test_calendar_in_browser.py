"""The calendar in a real browser: checked by axe, on narrow screens, and with an edition skipped and restored by keyboard."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from playwright.sync_api import Browser, expect

from digest.web.server import open_page_server
from tests.browser import faulty_pages, follow, page_faults, sign_in, tab_to
from tests.web.desk.sample_week import SampleWeek

pytestmark = pytest.mark.chromium

PATH = "/desk/calendar"
SECOND = "2026-11-27T11:00:00%2B00:00"


@pytest.fixture
def served(week: SampleWeek) -> Iterator[tuple[SampleWeek, str]]:
    """Serve a copy of the week, with the forms' tokens as in life."""
    week.app.config["WTF_CSRF_ENABLED"] = True
    with open_page_server(week.app, "127.0.0.1", 0) as serving:
        yield week, f"http://127.0.0.1:{serving.port}"


def test_on_a_phone_buttons_stand_apart_and_the_day_stands_beside_the_time(
    browser: Browser, served: tuple[SampleWeek, str]
) -> None:
    week, address = served
    context = browser.new_context(viewport={"width": 390, "height": 844})
    sign_in(context, week, address, "dana")
    page = context.new_page()
    page.goto(f"{address}{PATH}?ask=move&release={SECOND}")
    buttons = page.locator("table.calendar > tbody > tr[id]").first.locator("td.r .btn")
    expect(buttons).to_have_count(3)
    places = [button.bounding_box() for button in buttons.all()]
    for before, after in pairwise(places):
        assert before
        assert after
        assert after["x"] - before["x"] - before["width"] >= 8 or after["y"] > before["y"]
    legend, day, clock = (page.locator(f"tr.on {part}").bounding_box() for part in ("legend", "#day", "#clock"))
    assert legend
    assert day
    assert clock
    assert day["y"] >= legend["y"] + legend["height"]
    assert (clock["y"], clock["x"] + clock["width"] <= 390) == (day["y"], True)
    context.close()


def test_an_edition_is_skipped_and_brought_back_by_keyboard_and_axe_finds_nothing(
    browser: Browser, served: tuple[SampleWeek, str]
) -> None:
    week, address = served
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    sign_in(context, week, address, "dana")
    page = context.new_page()
    asked = [f"{PATH}?ask={act}&release={SECOND}" for act in ("skip", "move")]
    assert faulty_pages(page, address, [PATH, f"{PATH}?ask=add", *asked], widths=(1440, 768, 360)) == {}

    page.set_viewport_size({"width": 1440, "height": 900})
    page.goto(address + PATH)
    row = page.locator("table.calendar > tbody > tr[id]").nth(1)
    expect(row).to_contain_text("No. 148")
    follow(tab_to(row.get_by_role("link", name="Skip No. 148"), within=40), "Enter")
    # The page opens at the row: its button is a few tabs away, and not behind the whole menu again.
    follow(tab_to(page.get_by_role("button", name="Skip No. 148"), within=5), "Enter")
    expect(row).to_contain_text("Skipped")
    assert not page_faults(page, widths=(360, 1440))
    follow(tab_to(row.get_by_role("button", name="Restore"), within=5), "Enter")
    expect(row).to_contain_text("No. 148")
    context.close()
