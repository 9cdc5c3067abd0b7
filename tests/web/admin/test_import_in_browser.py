"""The pages of an import in a browser, where the file's own words leave no place to break a line."""

from typing import Any

import pytest
from playwright.sync_api import Browser

from digest.web.server import open_page_server
from tests.browser import SCHEMES, excess_width, show_views, sign_in
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
