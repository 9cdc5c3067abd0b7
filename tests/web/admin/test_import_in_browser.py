"""Import pages in a browser, with texts in the file that leave no place to break a line."""

import re
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from digest.web.server import open_page_server
from subscribers.consent.audience import count_audience
from tests.browser import (
    SCHEMES,
    download_by_keyboard,
    excess_width,
    follow,
    page_faults,
    press_by_keyboard,
    select_by_keyboard,
    show_views,
    sign_in,
    write_by_keyboard,
)
from tests.packed_lists import write_workbook
from tests.run_database import PARAMETER_KINDS
from tests.web.admin.subscribers.test_import_pages import post_step, upload

pytestmark = pytest.mark.chromium

LONG = "x" * 90


def test_no_name_heading_or_value_of_a_file_widens_the_pages(browser: Browser, world: Any) -> None:
    client = world.signed_in_client("admin")
    path = upload(client, f"email,{LONG},status_{LONG}\nada2@county.example,{LONG},vip\n", f"{LONG}.csv")
    form = {"column-2": "status"}
    post_step(world, client, path, "try", **form)
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        address = f"http://127.0.0.1:{serving.port}"
        context = browser.new_context()
        sign_in(context, world, address, "admin")
        page = context.new_page()
        found = {}
        for each in ("/admin/import", path):
            page.goto(address + each)
            for width, _ in show_views(page, (360, 768, 1440), SCHEMES[:1]):
                found[each, width] = excess_width(page)
        context.close()
    assert {view: wide for view, wide in found.items() if wide} == {}


@pytest.mark.parametrize(
    ("database", "by_keyboard"), [*zip(PARAMETER_KINDS, (False, True), strict=False)], indirect=["database"]
)
def test_a_workbook_with_its_owners_headings_is_imported_and_its_skipped_rows_come_back(
    browser: Browser,
    both: Any,
    by_keyboard: bool,  # noqa: FBT001 (a parameter of the test)
) -> None:
    sheet = [
        ["Mitglied", "Eingewilligt am", "Rhythmus"],
        ["bo@county.example", "2024-03-02", "monthly"],
        ["cy@county.example", "2024-03-02", "sometimes"],
    ]
    file = {"name": "Liste.xlsx", "mimeType": "application/zip", "buffer": write_workbook({"Liste": sheet})}
    with open_page_server(both.app, "127.0.0.1", 0) as serving:
        address = f"http://127.0.0.1:{serving.port}"
        context = browser.new_context()
        sign_in(context, both, address, "admin")
        page = context.new_page()
        page.goto(f"{address}/admin/import")
        press = press_by_keyboard if by_keyboard else follow
        page.get_by_label("File").set_input_files(file)  # type: ignore[arg-type]  # a mapping of the shape that Playwright asks for
        press(page.get_by_role("button", name="Upload file"))
        expect(page.locator(".note")).to_contain_text("The addresses are in the column “Mitglied.”")
        expect(page.get_by_label("Import Mitglied as")).to_have_value("address")
        faults = [] if by_keyboard else [page_faults(page, widths=(390, 1440))]
        for heading, meaning in (("Eingewilligt am", "Consent or confirmation time (UTC)"), ("Rhythmus", "How often")):
            select = page.get_by_label(f"Import {heading} as")
            if by_keyboard:
                select_by_keyboard(select, meaning)
            else:
                select.select_option(label=meaning)
        press(page.get_by_role("button", name="Start dry run"))
        expect(page.get_by_role("row", name="Consent with evidence")).to_contain_text("1")
        expect(page.get_by_role("row", name="Invalid")).to_contain_text("1")
        if not by_keyboard:
            faults.append(page_faults(page, widths=(390, 1440), in_another_state=True))
        button = page.get_by_role("button", name="Download skipped rows")
        if by_keyboard:
            skipped = download_by_keyboard(button)
        else:
            with page.expect_download() as given:
                button.click()
            skipped = given.value.path().read_text("utf-8")
        press(page.get_by_role("button", name="Import subscribers"))
        expect(page.locator(".note.ok")).to_contain_text("Import 1 is finished. 1 subscriber")
        context.close()
    assert "".join(faults) == ""
    assert "cy@county.example" in skipped
    assert "bo@county.example" not in skipped


@pytest.mark.parametrize(
    ("database", "way"), [*zip(PARAMETER_KINDS, ("pointer", "keyboard"), strict=False)], indirect=["database"]
)
def test_a_finished_import_is_undone(browser: Browser, both: Any, way: str) -> None:
    client = both.signed_in_client("admin")
    path = upload(client, "email,confirmed_at\nbo@county.example,2024-01-01\n")
    post_step(both, client, path, "try")
    post_step(both, client, path, "commit")
    with open_page_server(both.app, "127.0.0.1", 0) as serving:
        address = f"http://127.0.0.1:{serving.port}"
        context = browser.new_context()
        sign_in(context, both, address, "admin")
        page = context.new_page()
        page.goto(f"{address}/admin/import")
        press = press_by_keyboard if way == "keyboard" else follow
        faults = [page_faults(page, widths=(390, 1440))] if press is follow else []
        press(page.get_by_role("link", name="Undo import 1…"))
        expect(page.get_by_role("row", name="Added by this import")).to_contain_text("1")
        faults += [page_faults(page, widths=(390, 1440))] if press is follow else []
        for label, text in (("Reason", "wrong file"), ("Type 1", "1")):
            if way == "keyboard":
                write_by_keyboard(page.get_by_label(label), text)
            else:
                page.get_by_label(label).fill(text)
        press(page.get_by_role("button", name="Undo import 1"))
        expect(page.get_by_role("status")).to_have_text("Import 1 was undone. 1 person was removed from the list.")
        expect(page.get_by_role("cell", name=re.compile("^Undone "))).to_have_count(1)
        context.close()
    assert "".join(faults) == ""
    with both.database.read() as session:
        assert count_audience(session) == 1
