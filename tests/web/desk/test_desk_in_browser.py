"""An editor arranges and writes in a real browser: without scripts, on a phone, checked by axe."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from digest.store.engine import open_database
from digest.web.server import open_page_server
from tests.browser import faulty_pages, follow, sign_in
from tests.run_database import HomeDatabases
from tests.web.desk.sample_week import SampleWeek, build_sample_week

pytestmark = pytest.mark.chromium

LIKE_ROWS = "li.st:not(.sel, :has(.move, details[open])), li.cand"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, home_databases: HomeDatabases) -> Iterator[tuple[SampleWeek, str]]:
    home = tmp_path_factory.mktemp("week")
    database = open_database(home_databases.create(home))
    week = build_sample_week(database, home)
    week.app.config["WTF_CSRF_ENABLED"] = True
    with open_page_server(week.app, "127.0.0.1", 0) as serving:
        yield week, f"http://127.0.0.1:{serving.port}"
    database.close()


def states(week: SampleWeek) -> list[str]:
    """Give the addresses of the page's states but the first."""
    first, second = week.anchors("featured")[:2]
    queries = ["?tab=stories&filter=all", f"?open={first}", "?open=head", "?tab=preview&view=dark"]
    panels = (f"?panel={panel}&about={second}" for panel in ("more", "move", "under", "merge"))
    return [*(week.path + query for query in (*queries, *panels)), "/desk/mails/welcome?view=dark"]


@pytest.mark.parametrize("is_first", [True, False])
def test_axe_finds_nothing_and_nothing_scrolls_sideways(
    browser: Browser, served: tuple[SampleWeek, str], *, is_first: bool
) -> None:
    """The page as it first is, with every kind of row; its other states without the rows that stand there as they stood in the first."""
    week, address = served
    context = browser.new_context()
    sign_in(context, week, address, "dana")
    page, widths = context.new_page(), (1440, 768, 360)
    if is_first:
        found = faulty_pages(page, address, [week.path], widths=widths, alike=LIKE_ROWS)
    else:
        found = faulty_pages(page, address, states(week), widths=widths, fewer=LIKE_ROWS)
    context.close()
    assert found == {}


def row(page: Page, headline: str) -> Any:
    return page.locator("li.st").filter(has_text=headline).first


def merge_split_and_put_under(page: Page, week: SampleWeek) -> None:
    """Two stories become one, one becomes two, and one stands under another: by links, lists and buttons."""
    (stays, gone), lead = week.headlines("topics")[:2], week.headlines("featured")[0]
    follow(row(page, stays).get_by_role("link", name="More for"))
    follow(row(page, stays).get_by_role("link", name="Merge with another story"))
    page.locator(f"#choices [value={week.anchors('topics')[1]}]").check()
    follow(page.get_by_role("button", name="Merge stories"))
    assert week.headlines("topics")[0] == stays
    assert gone not in week.headlines("topics")
    follow(row(page, stays).get_by_role("link", name="Edit"))
    articles = page.locator("li.st.sel input[name=article]")
    page.locator("li.st.sel").get_by_text("in this story").click()
    taken_out = articles.last.get_attribute("value")
    assert taken_out is not None
    articles.last.check()
    follow(page.get_by_role("button", name="Split off selected articles"))
    assert week.state.arrangement.name_target(taken_out) == taken_out
    follow(page.get_by_role("link", name="Close without saving"))
    follow(row(page, stays).get_by_role("link", name="More for"))
    follow(row(page, stays).get_by_role("link", name="Put under another story"))
    page.locator(f"#choices [value={week.anchors('featured')[0]}]").check()
    follow(page.get_by_role("button", name="Put under it"))
    expect(row(page, lead)).to_contain_text(f"Related: {stays}")


def test_an_editor_arranges_and_writes_without_scripts(browser: Browser, served: tuple[SampleWeek, str]) -> None:
    week, address = served
    context = browser.new_context(java_script_enabled=False, viewport={"width": 1440, "height": 900})
    sign_in(context, week, address, "dana")
    page = context.new_page()
    page.goto(f"{address}/desk/")
    first, second, third, *_ = week.headlines("featured")
    follow(row(page, second).get_by_role("button", name="Up"))
    assert week.headlines("featured")[:2] == [second, first]
    follow(row(page, third).get_by_role("link", name="More for"))
    follow(row(page, third).get_by_role("button", name="Pin here"))
    expect(row(page, third)).to_contain_text("Pinned.")
    follow(row(page, third).get_by_role("link", name="More for"))
    follow(row(page, third).get_by_role("link", name="Move to…"))
    row(page, third).get_by_label("Move to").select_option("topics")
    row(page, third).get_by_label("place").fill("1")
    follow(row(page, third).get_by_role("button", name="Move", exact=True))
    assert week.headlines("topics")[0] == third
    follow(row(page, first).get_by_role("link", name="Edit"))
    page.locator("li.st.sel [name=headline]").fill("Ten days for every crane modem")
    follow(page.get_by_role("button", name="Save and close"))
    assert "Ten days for every crane modem" in week.headlines("featured")
    follow(page.get_by_role("button", name=re.compile("Undo")))
    assert first in week.headlines("featured")
    follow(page.get_by_role("button", name=re.compile("^(Add|Use it)")).first)
    merge_split_and_put_under(page, week)
    page.get_by_text("Add a story").click()
    page.get_by_text("Write a story").click()
    own = page.locator("#own details form")
    own.get_by_label("Headline").fill("From the desk itself")
    follow(own.get_by_role("button", name="Add story"))
    assert "From the desk itself" in week.headlines("featured")
    follow(page.get_by_role("link", name=re.compile("^Review")).first)
    expect(page.locator("main")).to_contain_text("Review and approve No. 147")
    context.close()
