"""An admin changes a subscriber's preferences in a real browser: by pointer and by keyboard, on a phone and a desktop, checked by axe."""

from collections.abc import Callable
from datetime import date

import pytest
from playwright.sync_api import Browser, Locator, expect

from digest.web.server import open_page_server
from subscribers.consent.preferences import Preferences
from tests.browser import follow, page_faults, press_by_keyboard, sign_in, write_by_keyboard, write_day_by_keyboard
from tests.subscribers.pages.test_choice_changes import chosen, restore_path_of
from tests.subscribers.pages.test_first_choices import leave_out_by_buttons
from tests.subscribers.pages.test_my_data import Inbox
from tests.web.conftest import WebSetup

pytestmark = pytest.mark.chromium
WIDTHS = (390, 1440)
UNTIL = date(2026, 12, 31)


@pytest.mark.parametrize(("width", "press"), [(390, follow), (1440, press_by_keyboard)])
def test_an_admin_pauses_emails_and_the_subscriber_undoes_it(
    browser: Browser, world: WebSetup, press: Callable[[Locator], None], width: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900})
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        address = f"http://127.0.0.1:{serving.port}"
        sign_in(context, world, address, "admin")
        page = context.new_page()
        page.goto(f"{address}/admin/readers/{world.ada}")
        press(page.get_by_role("link", name="Pause emails…"))
        expect(page.get_by_text("restores the earlier preferences. The link works for seven days")).to_be_visible()
        if press is follow:
            assert page_faults(page, widths=WIDTHS) == ""
            page.set_viewport_size({"width": width, "height": 900})
        day, reason = page.get_by_label("Pause emails until"), page.get_by_label("Reason")
        if press is follow:
            day.fill(str(UNTIL))
            reason.fill("asked by phone")
        else:
            write_day_by_keyboard(day, UNTIL)
            write_by_keyboard(reason, "asked by phone")
        press(page.get_by_role("button", name="Pause emails"))
        expect(page.get_by_role("status")).to_contain_text("The pause was saved.")
        expect(page.get_by_text("Reason: asked by phone (entered by an admin).")).to_be_visible()
        (mail,) = Inbox(world).new()
        page.goto(address + restore_path_of(mail))
        expect(page.get_by_text("Our team changed your preferences.")).to_be_visible()
        if press is follow:
            assert page_faults(page, widths=WIDTHS) == ""
            page.set_viewport_size({"width": width, "height": 900})
        press(page.get_by_role("button", name="Restore my preferences"))
        expect(page.get_by_role("status")).to_contain_text("We’ve restored your preferences.")
    context.close()
    assert chosen(world) == Preferences()


@pytest.mark.parametrize(("width", "by_keyboard"), [(390, False), (1440, True)])
def test_an_admin_leaves_out_a_topic(browser: Browser, both: WebSetup, width: int, *, by_keyboard: bool) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900})
    with open_page_server(both.app, "127.0.0.1", 0) as serving:
        address = f"http://127.0.0.1:{serving.port}"
        sign_in(context, both, address, "admin")
        page = context.new_page()
        page.goto(f"{address}/admin/readers/{both.ada}/preferences")
        reason = page.get_by_label("Reason")
        if by_keyboard:
            write_by_keyboard(reason, "asked by phone")
        else:
            reason.fill("asked by phone")
        leave_out_by_buttons(page.get_by_role("checkbox", name="Public health"), by_keyboard=by_keyboard)
        expect(reason).to_have_value("asked by phone")
        if not by_keyboard:
            assert page_faults(page, widths=WIDTHS) == ""
            page.set_viewport_size({"width": width, "height": 900})
        (press_by_keyboard if by_keyboard else follow)(page.get_by_role("button", name="Change preferences"))
        expect(page.get_by_role("status")).to_contain_text("The preferences were changed.")
        context.close()
    assert chosen(both) == Preferences(omit_topics=frozenset({"public-health"}))
