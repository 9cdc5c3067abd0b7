"""What tests of pages in a real browser share: signing in, and what axe finds."""

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page

# axe cannot look into frames whose scripts are off, and says so: the mail in them has tests of its own.
AXE = {"resultTypes": ["violations"], "iframes": False}


def axe_findings(page: Page, address: str, paths: list[str]) -> dict[str, str]:
    found = {}
    for path in paths:
        page.goto(address + path)
        open_all_details(page)
        result = Axe().run(page, options=AXE)
        if result.violations_count:
            found[path] = result.generate_report()
    return found


def open_all_details(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")


def sign_in(context: BrowserContext, world: Any, address: str, role: str = "editor") -> None:
    """Give a browser the session of a member."""
    name, value = world.session_cookie(role)
    cookie = {"name": name, "value": value, "url": address.replace("http:", "https:"), "secure": True}
    context.add_cookies([cookie])  # type: ignore[list-item]  # a mapping of the shape that Playwright asks for
