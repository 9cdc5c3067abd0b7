"""A source's feed is replaced by another of its site's, and paused, in a browser, by pointer and by keyboard."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, expect
from pytest_httpserver import HTTPServer

from digest.settings import load_settings
from digest.store.models import Source
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


@pytest.mark.parametrize(("width", "way"), [(390, "pointer"), (1440, "keyboard")])
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


@pytest.mark.parametrize(("width", "press"), [(390, follow), (1440, press_by_keyboard)])
def test_an_admin_updates_the_url_of_a_moved_source_and_undoes_it(
    browser: Browser, filed: Any, tmp_path: Path, width: int, press: Callable[[Locator], None]
) -> None:
    number, moved = source_number(filed, "https://alpha.example/feed"), "https://alpha.example/news/feed"
    with filed.database.write() as session:
        session.get_one(Source, number).moved_to = moved
    with open_page_server(filed.app, "127.0.0.1", 0) as serving:
        address = f"http://127.0.0.1:{serving.port}"
        context = browser.new_context(viewport={"width": width, "height": 844}, java_script_enabled=press is follow)
        sign_in(context, filed, address, "admin")
        page = context.new_page()
        page.goto(f"{address}/admin/sources/{number}")
        press(page.get_by_role("link", name="Update URL…"))
        expect(page.get_by_role("definition")).to_have_text(["https://alpha.example/feed", moved])
        faults = page_faults(page) if press is follow else ""
        press(page.get_by_role("button", name="Update URL"))
        expect(page.get_by_role("status")).to_contain_text("Articles will now be collected from the new URL.")
        press(page.get_by_role("button", name="Undo the URL change"))
        expect(page.get_by_role("status")).to_contain_text("Undone.")
        context.close()
    assert faults == ""
    [source] = load_settings(tmp_path / "digest.toml", {}).file.sources
    assert source.url == "https://alpha.example/feed"
