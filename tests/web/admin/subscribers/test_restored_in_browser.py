"""An admin undoes a mistake in a real browser: by pointer and by keyboard, on a phone and a desktop, checked by axe."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Locator, expect

from digest.web.server import open_page_server
from subscribers.store.models import PersonState
from tests.browser import follow, page_faults, press_by_keyboard, sign_in, write_by_keyboard
from tests.web.admin.subscribers.test_restored_subscribers import person_of
from tests.web.conftest import WebSetup

pytestmark = pytest.mark.chromium
WIDTHS = (390, 1440)


@pytest.mark.parametrize(
    ("width", "press", "write"), [(390, follow, Locator.fill), (1440, press_by_keyboard, write_by_keyboard)]
)
def test_unsubscribing_the_wrong_person_and_restoring_them(
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
        press(page.get_by_role("link", name="Unsubscribe…"))
        expect(page.locator(".say")).to_contain_text("You can undo this once, for seven days")
        write(page.get_by_label("Reason"), "asked by phone")
        press(page.get_by_role("button", name="Unsubscribe"))
        expect(page.locator(".note.warn")).to_contain_text("Wrong person?")
        if press is follow:
            assert page_faults(page, widths=WIDTHS) == ""
            page.set_viewport_size({"width": width, "height": 900})
        press(page.get_by_role("link", name="Restore subscriber…"))
        expect(page.get_by_role("heading", name="Restore subscriber 1")).to_be_visible()
        if press is follow:
            assert page_faults(page, widths=WIDTHS) == ""
            page.set_viewport_size({"width": width, "height": 900})
        write(page.get_by_label("Reason"), "wrong person")
        press(page.get_by_role("button", name="Restore subscriber"))
        expect(page.get_by_role("status")).to_contain_text("This person is subscribed again")
        if press is follow:
            assert page_faults(page, widths=WIDTHS) == ""
    context.close()
    assert person_of(world).state is PersonState.SUBSCRIBED
