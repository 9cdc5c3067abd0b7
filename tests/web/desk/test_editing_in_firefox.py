"""The main path of an edition in Firefox: moved, removed, rewritten, and approved, by pointer and by keyboard."""

import json
from collections.abc import Iterator

import pytest

from digest.web.server import open_page_server
from tests.conftest import find_tool
from tests.firefox import Firefox, open_firefox
from tests.web.desk.sample_week import SampleWeek

pytestmark = pytest.mark.firefox

HEADLINES = "[...document.querySelectorAll('ol[data-section=featured] > li.st h3')].map((one) => one.textContent)"
SAVED = "document.querySelector('#saved').textContent.startsWith('Saved ')"


@pytest.fixture(scope="module")
def firefox() -> Iterator[Firefox]:
    path = find_tool("firefox")
    assert path, "mark the test with pytest.mark.firefox"
    with open_firefox(path) as window:
        yield window


@pytest.fixture
def address(week: SampleWeek) -> Iterator[str]:
    """Serve a copy of the week, with the forms' tokens as in life."""
    week.app.config["WTF_CSRF_ENABLED"] = True
    with open_page_server(week.app, "127.0.0.1", 0) as serving:
        yield f"http://127.0.0.1:{serving.port}"


def sign_in(firefox: Firefox, week: SampleWeek, address: str, editor: str) -> None:
    firefox.open(f"{address}/robots.txt")
    firefox.set_cookie(*week.session_cookie(editor))


@pytest.mark.parametrize("size", [(1440, 1000), (500, 900)], ids=["wide", "phone"])
def test_an_edition_is_arranged_rewritten_and_approved(
    firefox: Firefox, week: SampleWeek, address: str, size: tuple[int, int]
) -> None:
    first, second, third, *rest = week.headlines("featured")
    anchors = week.anchors("featured")
    firefox.resize(*size)
    sign_in(firefox, week, address, "dana")
    firefox.open(f"{address}{week.path}?tab=edition#{anchors[1]}")
    # By keys, from the row that the address names.
    firefox.expect("document.activeElement.id", anchors[1])
    firefox.press("Alt", "ArrowUp")
    firefox.expect(HEADLINES, [second, first, third, *rest])
    firefox.expect(SAVED, value=True)
    assert week.headlines("featured") == [second, first, third, *rest]
    firefox.press("j")
    firefox.press("j")
    firefox.expect("document.activeElement.id", anchors[2])
    firefox.press("x")
    firefox.expect(f"document.getElementById({json.dumps(anchors[2])})", None)
    firefox.expect("document.querySelector('#part-undo button').textContent.includes('Undo')", value=True)
    # By pointer: open a story, and leave its headline.
    firefox.open(f"{address}{week.path}?tab=edition&open={anchors[1]}")
    firefox.click("#headline")
    firefox.press("Control", "a")
    firefox.type("Written in Firefox")
    firefox.press("Tab")
    firefox.expect(f"{HEADLINES}[0]", "Written in Firefox")
    firefox.expect(SAVED, value=True)
    headlines = week.headlines("featured")
    assert headlines[0] == "Written in Firefox"
    assert third not in headlines
    # A colleague approves what Dana wrote.
    sign_in(firefox, week, address, "sam")
    firefox.open(f"{address}{week.path}/approve")
    firefox.click("form[method=post] .btn.go:not([disabled])")
    firefox.open(f"{address}{week.path}")
    firefox.expect("document.querySelector('.head .pill').textContent", "Approved")
    assert week.state.approved
