"""Paused subscribers are found, and a record is opened by its number, in a browser, by pointer and by keyboard."""

from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from digest.web.server import open_page_server
from subscribers.consent.preferences import Preferences, change_preferences
from subscribers.signup.manual_signup import add_subscriber
from tests.browser import (
    follow,
    page_faults,
    press_by_keyboard,
    select_by_keyboard,
    sign_in,
    write_by_keyboard,
    write_day_by_keyboard,
)
from tests.moments import DRAFTING as NOW
from tests.web.conftest import sample_evidence

pytestmark = pytest.mark.chromium


@pytest.mark.parametrize(("width", "way"), [(390, "pointer"), (1440, "keyboard")])
def test_paused_subscribers_are_found_and_opened_by_number(browser: Browser, both: Any, width: int, way: str) -> None:
    with both.database.write() as session:
        paused = add_subscriber(session, both.install.keys, "bo@county.example", evidence=sample_evidence(), now=NOW)
        change_preferences(session, paused.number, Preferences(pause_until=NOW.date() + timedelta(days=9)), NOW)
    with open_page_server(both.app, "127.0.0.1", 0) as serving:
        address = f"http://127.0.0.1:{serving.port}"
        context = browser.new_context(viewport={"width": width, "height": 844})
        sign_in(context, both, address, "admin")
        page = context.new_page()
        page.goto(f"{address}/admin/")
        expect(page.get_by_role("heading", level=1)).to_have_text("2 subscribers")
        press = press_by_keyboard if way == "keyboard" else follow
        day = NOW.date() + timedelta(days=1)
        if way == "keyboard":
            select_by_keyboard(page.get_by_label("State"), "Paused")
            write_day_by_keyboard(page.get_by_label("Signed up until"), day)
        else:
            page.get_by_label("State").select_option("paused")
            page.get_by_label("Signed up until").fill(day.isoformat())
        press(page.get_by_role("button", name="Filter"))
        rows = page.locator("tbody tr")
        expect(rows).to_have_count(1)
        expect(rows).to_contain_text("Paused until")
        faults = page_faults(page)
        if way == "keyboard":
            write_by_keyboard(page.get_by_label("Subscriber number"), str(paused.number))
        else:
            page.get_by_label("Subscriber number").fill(str(paused.number))
        press(page.get_by_role("button", name="Open record"))
        expect(page.get_by_role("heading", level=1)).to_have_text(f"Subscriber {paused.number}")
        context.close()
    assert faults == ""
