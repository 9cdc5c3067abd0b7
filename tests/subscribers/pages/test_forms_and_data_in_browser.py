"""Sign-up from another site, the welcome page, and answers to data requests in a real browser: by pointer and by keyboard."""

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from pytest_httpserver import HTTPServer

from digest.app.sending.background_tasks import process_signup_requests
from digest.web.server import open_page_server
from tests.browser import download_by_keyboard, follow, page_faults, press_by_keyboard, write_by_keyboard
from tests.conftest import ROOT
from tests.moments import DRAFTING as NOW
from tests.subscribers.pages.test_my_data import ADA, Inbox, ask, secret_of
from tests.subscribers.pages.test_signup import asked_link
from tests.web.conftest import WebSetup

pytestmark = pytest.mark.chromium
WIDTHS = (390, 1440)
BO = "bo.peep@county.example"
STRICT_POLICY = "default-src 'none'; form-action http://127.0.0.1:*"
EACH_HAND = pytest.mark.parametrize(("width", "press"), [(390, follow), (1440, press_by_keyboard)])


def write(field: Locator, text: str, press: Callable[[Locator], None]) -> None:
    if press is follow:
        field.fill(text)
    else:
        write_by_keyboard(field, text)


def check(page: Page) -> None:
    """Check the page in light and dark, on a phone and a desktop; it stays in the width it had."""
    size = page.viewport_size
    assert size is not None
    assert page_faults(page, widths=WIDTHS) == ""
    page.set_viewport_size(size)


def download(button: Locator, press: Callable[[Locator], None]) -> str:
    if press is not follow:
        return download_by_keyboard(button)
    with button.page.expect_download() as download_info:
        button.click()
    return Path(download_info.value.path()).read_text("utf-8")


@EACH_HAND
def test_the_form_of_the_guide_works_under_a_strict_policy(
    browser: Browser, world: WebSetup, httpserver: HTTPServer, press: Callable[[Locator], None], width: int
) -> None:
    guide = (ROOT / "docs" / "embedding.md").read_text("utf-8")
    (form,) = re.findall(r"```html\n(<form.*?)```", guide, re.DOTALL)
    page = browser.new_page(viewport={"width": width, "height": 900})
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        text = form.replace("https://news.example.org", f"http://127.0.0.1:{serving.port}")
        httpserver.expect_request("/").respond_with_data(
            f'<html lang="en"><title>A site</title><main><h1>News</h1>{text}</main>',
            content_type="text/html",
            headers={"Content-Security-Policy": STRICT_POLICY},
        )
        page.goto(httpserver.url_for("/"))
        expect(page.locator('[name="website"]')).to_be_hidden()
        write(page.get_by_label("Your email address"), BO, press)
        press(page.get_by_role("button", name="Email me the link"))
        expect(page.get_by_role("heading", name="Check your inbox")).to_be_visible()
    page.close()
    assert sum(process_signup_requests(world.install, clock=lambda: NOW).values()) == 1


@EACH_HAND
def test_a_form_whose_hidden_field_a_browser_filled_in_is_sent_once_more(
    browser: Browser, world: WebSetup, press: Callable[[Locator], None], width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        page.goto(f"http://127.0.0.1:{serving.port}/subscribe")
        write(page.get_by_label("Your email address"), BO, press)
        page.locator('[name="website"]').evaluate("field => { field.value = 'https://county.example' }")
        press(page.get_by_role("button", name="Email me the link"))
        expect(page.get_by_role("heading", name="One more step")).to_be_visible()
        expect(page.get_by_text(BO)).to_be_visible()
        check(page)
        press(page.get_by_role("button", name="Send the form"))
        expect(page.get_by_role("heading", name="Check your inbox")).to_be_visible()
    page.close()
    assert sum(process_signup_requests(world.install, clock=lambda: NOW).values()) == 1


@EACH_HAND
def test_the_welcome_page_leads_to_the_preferences(
    browser: Browser, world: WebSetup, press: Callable[[Locator], None], width: int
) -> None:
    link = asked_link(world, BO)
    page = browser.new_page(viewport={"width": width, "height": 900})
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        page.goto(f"http://127.0.0.1:{serving.port}{link}")
        press(page.get_by_role("button", name="Yes, email me HLS.Today"))
        check(page)
        press(page.get_by_role("link", name="Choose preferences"))
        expect(page.get_by_role("heading", name="Your preferences for HLS.Today")).to_be_visible()
    page.close()


@EACH_HAND
def test_a_person_reads_the_answer_to_a_data_request_and_takes_a_copy_along(
    browser: Browser, world: WebSetup, press: Callable[[Locator], None], width: int
) -> None:
    ask(world)
    (mail,) = Inbox(world).new()
    page = browser.new_page(viewport={"width": width, "height": 900}, bypass_csp=True)
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        address = f"http://127.0.0.1:{serving.port}/my-data/{secret_of(mail)}"
        page.goto(address)
        check(page)
        copy = download(page.get_by_role("button", name="Download as CSV"), press)
        assert [row["email"] for row in csv.DictReader(io.StringIO(copy.removeprefix("\ufeff")))] == [ADA]
        page.goto(address)
        press(page.get_by_role("button", name="Show all my data"))
        expect(page.get_by_role("heading", name="Your rights (Article 15(1), points e and f)")).to_be_visible()
        check(page)
    page.close()
