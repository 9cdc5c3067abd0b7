"""The calendar in a real browser: checked by axe, on narrow screens, and with an edition moved, skipped, and restored."""

from collections.abc import Callable, Iterator
from datetime import date
from itertools import pairwise

import pytest
from playwright.sync_api import Browser, expect

from digest.web.server import open_page_server
from tests.browser import faulty_pages, follow, page_faults, press_by_keyboard, sign_in, write_day_by_keyboard
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


def test_axe_finds_nothing(browser: Browser, served: tuple[SampleWeek, str]) -> None:
    week, address = served
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    sign_in(context, week, address, "dana")
    asked = [f"{PATH}?ask={act}&release={SECOND}" for act in ("skip", "move")]
    assert faulty_pages(context.new_page(), address, [PATH, f"{PATH}?ask=add", *asked], widths=(1440, 768, 360)) == {}
    context.close()


@pytest.mark.parametrize(("width", "press"), [(1440, press_by_keyboard), (390, press_by_keyboard), (390, follow)])
def test_an_edition_is_moved_skipped_and_brought_back(
    browser: Browser, served: tuple[SampleWeek, str], width: int, press: Callable[..., None]
) -> None:
    week, address = served
    context = browser.new_context(viewport={"width": width, "height": 844})
    sign_in(context, week, address, "dana")
    page = context.new_page()
    # The page opens at the row: its controls are close by, and not behind the whole menu again.
    nearby = {} if press is follow else {"within": 15}
    page.goto(address + PATH)
    row = page.locator("table.calendar > tbody > tr[id]").nth(1)
    expect(row).to_contain_text("No. 148")
    press(row.get_by_role("link", name="Move No. 148"))
    day = page.get_by_label("Day")
    if press is follow:
        day.fill("2026-11-25")
    else:
        write_day_by_keyboard(day, date(2026, 11, 25))
    press(page.get_by_role("button", name="Preview changes"), **nearby)
    expect(page.get_by_role("status")).to_contain_text("New schedule")
    press(page.get_by_role("button", name="Move edition"), **nearby)
    expect(row).to_contain_text("November 25")
    press(row.get_by_role("link", name="Move No. 148"))
    press(page.get_by_role("button", name="Move it back to Friday, November 27"), **nearby)
    expect(row).to_contain_text("November 27")
    press(row.get_by_role("link", name="Skip No. 148"))
    press(page.get_by_role("button", name="Skip No. 148"), **nearby)
    expect(row).to_contain_text("Skipped")
    assert not page_faults(page, widths=(360, 1440))
    press(row.get_by_role("button", name="Restore"), **nearby)
    expect(row).to_contain_text("No. 148")
    context.close()
