"""An admin corrects an address in a real browser: by pointer and by keyboard, on a phone and a desktop, checked by axe."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Locator, expect

from digest.web.server import open_page_server
from tests.browser import follow, page_faults, press_by_keyboard, sign_in, write_by_keyboard
from tests.subscribers.pages.test_my_data import Inbox
from tests.subscribers.pages.test_stopped_address_change import address_of, read_link
from tests.web.admin.subscribers.test_corrected_addresses import NEW
from tests.web.conftest import WebSetup

pytestmark = pytest.mark.chromium
WIDTHS = (390, 1440)


@pytest.mark.parametrize(
    ("width", "press", "write"), [(390, follow, Locator.fill), (1440, press_by_keyboard, write_by_keyboard)]
)
def test_an_admin_asks_and_the_new_owner_agrees(
    browser: Browser,
    world: WebSetup,
    press: Callable[[Locator], None],
    write: Callable[[Locator, str], None],
    width: int,
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900})
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        base = f"http://127.0.0.1:{serving.port}"
        sign_in(context, world, base, "admin")
        page = context.new_page()
        page.goto(f"{base}/admin/readers/{world.ada}")
        press(page.get_by_role("link", name="Correct the address…"))
        expect(page.get_by_role("heading", name="Correct the address of subscriber 1")).to_be_visible()
        if press is follow:
            assert page_faults(page, widths=WIDTHS) == ""
            page.set_viewport_size({"width": width, "height": 900})
        write(page.get_by_label("New address"), NEW)
        write(page.get_by_label("Reason"), "new job")
        press(page.get_by_role("button", name="Email the new address"))
        expect(page.get_by_role("status")).to_contain_text("The correction takes effect once its owner confirms it.")
        (link,) = [read_link(mail) for mail in Inbox(world).new() if mail["To"] == NEW]
        page.goto(base + link)
        expect(page.get_by_role("blockquote")).to_be_visible()
        if press is follow:
            assert page_faults(page, widths=WIDTHS) == ""
            page.set_viewport_size({"width": width, "height": 900})
        press(page.get_by_role("button", name="Use this address"))
        expect(page.get_by_role("heading", name="Your address has changed")).to_be_visible()
    context.close()
    assert address_of(world) == NEW
