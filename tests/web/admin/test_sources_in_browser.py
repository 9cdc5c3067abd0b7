"""A source gets another of its site's feeds, and is paused, in a browser, by the pointer and by the keyboard."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from pytest_httpserver import HTTPServer

from digest.settings import load_settings
from digest.web.server import open_page_server
from tests.browser import (
    choose_by_keyboard,
    follow,
    page_faults,
    press_by_keyboard,
    sign_in,
    tick_by_keyboard,
    write_by_keyboard,
)
from tests.web.admin.test_sources import filed, site_with_feeds, source_number

__all__ = ["filed", "site_with_feeds"]

pytestmark = pytest.mark.chromium


@pytest.mark.parametrize("way", ["pointer", "keyboard"])
@pytest.mark.parametrize("width", [390, 1440])
def test_an_admin_chooses_another_feed_and_pauses_the_source(
    browser: Browser, filed: Any, site_with_feeds: str, httpserver: HTTPServer, tmp_path: Path, width: int, way: str
) -> None:
    number = source_number(filed, "https://alpha.example/feed")
    with open_page_server(filed.app, "127.0.0.1", 0) as serving:
        address = f"http://127.0.0.1:{serving.port}"
        context = browser.new_context(viewport={"width": width, "height": 844}, java_script_enabled=way == "pointer")
        sign_in(context, filed, address, "admin")
        page = context.new_page()
        page.goto(f"{address}/admin/sources/{number}")
        url, save = page.get_by_label("URL"), page.get_by_role("button", name="Save source")
        ships, paused = page.get_by_role("radio", name="Ships"), page.get_by_role("checkbox", name="Paused")
        if way == "pointer":
            url.fill(site_with_feeds)
            follow(save)
            ships.check()
            paused.check()
            faults = page_faults(page)
            follow(save)
        else:
            write_by_keyboard(url, site_with_feeds)
            press_by_keyboard(save)
            choose_by_keyboard(ships)
            tick_by_keyboard(paused)
            faults = ""
            press_by_keyboard(save)
        expect(page.get_by_text("Saved.", exact=True)).to_be_visible()
        expect(page.locator(".pill").first).to_have_text("Paused")
        context.close()
    assert faults == ""
    [source] = load_settings(tmp_path / "digest.toml", {}).file.sources
    assert (source.url, source.name, source.paused) == (f"{site_with_feeds}ships/feed", "Alpha", True)
