"""What tests in a real browser share: Chromium as they start it, signing in, following to the next page, and what axe finds.

A click does not wait for the page that it leads to, and a look at the page right after it may see the old one. So `follow` what leads
to another page, and look by `expect`, which waits; `tests/test_browser_tests.py` refuses the looks that do not.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from tests.conftest import WAIT_TIMEOUT

CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PAGE_TIMEOUT = WAIT_TIMEOUT * 1000  # milliseconds
# axe cannot look into frames whose scripts are off, and says so: the mail in them has tests of its own.
AXE = {"resultTypes": ["violations"], "iframes": False}
# A mail is shown inside a page that has the landmarks.
AXE_MAIL = AXE | {"rules": {"region": {"enabled": False}}}

expect.set_options(timeout=PAGE_TIMEOUT)


@contextmanager
def open_browser(path: str) -> Iterator[Browser]:
    """Start the Chromium at `path`; it ends with the block."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(CHROMIUM_FLAGS), timeout=PAGE_TIMEOUT)
        yield browser
        browser.close()


def follow(locator: Locator, key: str = "") -> None:
    """Click what leads to another page, or press a key on it, and wait until that page has loaded."""
    with locator.page.expect_navigation(timeout=PAGE_TIMEOUT):
        if key:
            locator.press(key)
        else:
            locator.click()


def sign_in(context: BrowserContext, world: Any, address: str, role: str = "editor") -> None:
    """Give a browser the session of a member."""
    name, value = world.session_cookie(role)
    cookie = {"name": name, "value": value, "url": address.replace("http:", "https:"), "secure": True}
    context.add_cookies([cookie])  # type: ignore[list-item]  # a mapping of the shape that Playwright asks for


def axe_report(page: Page, options: dict[str, Any] = AXE) -> str:
    """Return what axe finds on the page as it stands; nothing where it finds nothing."""
    result = Axe().run(page, options=options)
    return str(result.generate_report()) if result.violations_count else ""


def page_faults(page: Page, options: dict[str, Any] = AXE) -> str:
    """Return what axe finds on the page as it stands, and whether it scrolls sideways; nothing where all is well."""
    width, space = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    return axe_report(page, options) + (f"It is {width} pixels wide, in {space}." if width > space else "")


def faulty_pages(page: Page, address: str, paths: list[str]) -> dict[str, str]:
    """Open each page with all its details, and return the faults of those that have some, by path."""
    found = {}
    for path in paths:
        page.goto(address + path)
        open_all_details(page)
        if faults := page_faults(page):
            found[path] = faults
    return found


def open_all_details(page: Page) -> None:
    """Open whatever a page keeps folded."""
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
