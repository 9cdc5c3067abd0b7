"""A filtered list is exported in a browser, by pointer and by keyboard, and the audit log lists it in its group."""

import csv
import io
from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from digest.web.server import open_page_server
from subscribers.signup.manual_signup import add_subscriber
from tests.browser import (
    download_by_keyboard,
    follow,
    page_faults,
    press_by_keyboard,
    select_by_keyboard,
    sign_in,
    write_by_keyboard,
)
from tests.moments import DRAFTING as NOW
from tests.web.conftest import sample_evidence

pytestmark = pytest.mark.chromium


@pytest.mark.parametrize(("way", "width"), [("pointer", 390), ("keyboard", 1440)])
def test_the_subscribers_of_a_source_are_exported(browser: Browser, both: Any, way: str, width: int) -> None:
    with both.database.write() as session:
        evidence = replace(sample_evidence(), page="Expo")
        add_subscriber(session, both.install.keys, "bo@county.example", evidence=evidence, now=NOW)
    with open_page_server(both.app, "127.0.0.1", 0) as serving:
        address = f"http://127.0.0.1:{serving.port}"
        context = browser.new_context(viewport={"width": width, "height": 900})
        sign_in(context, both, address, "admin")
        page = context.new_page()
        page.goto(f"{address}/admin/readers")
        press = press_by_keyboard if way == "keyboard" else follow
        if way == "keyboard":
            select_by_keyboard(page.get_by_label("Sign-up source"), "Expo")
        else:
            page.get_by_label("Sign-up source").select_option("Expo")
        press(page.get_by_role("button", name="Filter"))
        press(page.get_by_role("link", name="Export these subscribers…"))
        expect(page.get_by_role("row", name="Sign-up source")).to_contain_text("Expo")
        faults = page_faults(page, widths=(390, 1440)) if press is follow else ""
        page.set_viewport_size({"width": width, "height": 900})
        button = page.get_by_role("button", name="Download CSV")
        if way == "keyboard":
            write_by_keyboard(page.get_by_label("Reason"), "survey")
            write_by_keyboard(page.get_by_label("Recipient"), "us")
            text = download_by_keyboard(button)
        else:
            page.get_by_label("Reason").fill("survey")
            page.get_by_label("Recipient").fill("us")
            with page.expect_download() as given:
                button.click()
            text = given.value.path().read_text("utf-8")
        page.goto(f"{address}/admin/audit")
        group = page.get_by_label("Action")
        if way == "keyboard":
            select_by_keyboard(group, "Access to addresses: all")
        else:
            group.select_option("Access to addresses: all")
        press(page.get_by_role("button", name="Filter", exact=True))
        expect(page.locator("tbody tr")).to_contain_text(["exported the subscriber list"])
        expect(group.locator("option:checked")).to_have_text("Access to addresses: all")
        faults += page_faults(page, widths=(390, 1440)) if press is follow else ""
        context.close()
    assert faults == ""
    (row,) = csv.DictReader(io.StringIO(text))
    assert (row["email"], row["asked_where"], row["consent_text"]) == (
        "bo@county.example",
        "Expo",
        "Send me the weekly mail.",
    )
