"""Stopping an address change in a real browser: by pointer and by keyboard, on a phone and a desktop, checked by axe."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from playwright.sync_api import Browser, Locator, expect

from digest.web.server import open_page_server
from tests.browser import follow, page_faults, press_by_keyboard
from tests.moments import DRAFTING as NOW
from tests.subscribers.pages.test_my_data import ADA, Inbox
from tests.subscribers.pages.test_stopped_address_change import THIEF, Hijacker, address_of
from tests.web.conftest import WebSetup

pytestmark = pytest.mark.chromium
WIDTHS = (390, 1440)


@pytest.mark.parametrize(("width", "press"), [(390, follow), (1440, press_by_keyboard)])
def test_the_owner_of_the_old_address_undoes_one_change_and_stops_the_next(
    browser: Browser, world: WebSetup, press: Callable[[Locator], None], width: int
) -> None:
    thief = Hijacker(world, Inbox(world), "")
    thief.renew_data_link()
    undo = thief.change(THIEF)
    page = browser.new_page(viewport={"width": width, "height": 900})
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        address = f"http://127.0.0.1:{serving.port}"
        page.goto(address + undo)
        expect(page.get_by_role("heading", name="Undo the address change?")).to_be_visible()
        assert page_faults(page, widths=WIDTHS) == ""
        page.set_viewport_size({"width": width, "height": 900})
        press(page.get_by_role("button", name="Undo the change"))
        expect(page.get_by_role("status")).to_contain_text("a•••@analytical.example, again.")
        assert page_faults(page, widths=WIDTHS, in_another_state=True) == ""
        assert address_of(world) == ADA
        thief.renew_data_link()
        stop = thief.request(THIEF, NOW + timedelta(hours=1))[ADA]
        page.goto(address + stop)
        expect(page.get_by_role("heading", name="Stop the address change?")).to_be_visible()
        assert page_faults(page, widths=WIDTHS) == ""
        page.set_viewport_size({"width": width, "height": 900})
        press(page.get_by_role("button", name="Stop the change"))
        expect(page.get_by_role("status")).to_contain_text("The address hasn’t changed.")
        page.goto(address + undo)
        expect(page.get_by_role("heading", name="The address change is canceled")).to_be_visible()
        assert page_faults(page, widths=WIDTHS) == ""
    page.close()
    assert address_of(world) == ADA
