"""Editors' actions are shown immediately, sent in one queue, and reverted if they're refused, in a real browser."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from digest.web.server import open_page_server
from tests.browser import axe_report, follow, keep_first_rows, sign_in
from tests.web.desk.sample_week import SampleWeek
from tests.web.desk.test_desk_in_browser import LIKE_ROWS

pytestmark = pytest.mark.chromium

WIDE, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
FEATURED = "ol[data-section=featured] > li.st"


@dataclass
class HeldRequests:
    """The requests of a page that change the edition, held back until they're let go; `bodies` are what each sent."""

    page: Page
    routes: list[Route] = field(default_factory=list)
    bodies: list[dict[str, list[str]]] = field(default_factory=list)
    is_holding: bool = True

    def __post_init__(self) -> None:
        for path in ("**/act", "**/story/*"):
            self.page.route(path, self._hold)

    def _hold(self, route: Route) -> None:
        self.bodies.append(parse_qs(route.request.post_data or ""))
        if self.is_holding:
            self.routes.append(route)
        else:
            route.continue_()

    def let_go(self) -> None:
        """Send what is held, and whatever follows."""
        self.is_holding = False
        for route in self.routes:
            route.continue_()

    def fail(self) -> None:
        """Answer what is held as a network without a server does."""
        self.is_holding = False
        for route in self.routes:
            route.abort()


@dataclass(frozen=True)
class ServedWeek:
    """A copy of the week as it is served, and a browser for it."""

    week: SampleWeek
    address: str
    browser: Browser
    faults: list[str]

    def open(self, viewport: dict[str, int], query: str = "") -> Page:
        """Open the edition's page as Dana, in a window of its own."""
        context = self.browser.new_context(viewport=viewport)  # type: ignore[arg-type]  # a mapping of the shape that Playwright asks for
        sign_in(context, self.week, self.address, "dana")
        page = context.new_page()
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda said: self.faults.append(said.text) if "Content Security" in said.text else None)
        page.goto(f"{self.address}{self.week.path}{query}")
        return page

    def act_as_sam(self, word: str, **fields: Any) -> None:
        """Let Sam press a button elsewhere."""
        self.week.app.config["WTF_CSRF_ENABLED"] = False
        assert self.week.act(word, "sam", **fields).status_code == 303
        self.week.app.config["WTF_CSRF_ENABLED"] = True


def let_time_pass(page: Page, milliseconds: int) -> None:
    """Let time pass in which nothing may happen: what doesn't happen can't be waited for."""
    page.evaluate("wait => new Promise((done) => setTimeout(done, wait))", milliseconds)


@pytest.fixture
def served(week: SampleWeek, browser: Browser) -> Iterator[ServedWeek]:
    week.app.config["WTF_CSRF_ENABLED"] = True
    faults: list[str] = []
    with open_page_server(week.app, "127.0.0.1", 0) as serving:
        yield ServedWeek(week, f"http://127.0.0.1:{serving.port}", browser, faults)
    for context in browser.contexts:
        context.close()
    assert faults == []


def row(page: Page, anchor: str) -> Locator:
    return page.locator(f"#edition li.st[data-story='{anchor}']")


def order(page: Page) -> list[str]:
    """Give the featured stories that a page shows, by their anchors."""
    return [str(anchor) for anchor in page.locator(FEATURED).evaluate_all("rows => rows.map((row) => row.id)")]


def expect_order(page: Page, anchors: list[str]) -> None:
    """Wait until a page shows the featured stories in an order, and numbers them."""
    for position, anchor in enumerate(anchors):
        expect(page.locator(FEATURED).nth(position)).to_have_id(anchor)
        expect(page.locator(FEATURED).nth(position).locator(".n")).to_have_text(str(position + 1))


# In one go: the page may be brought up to date between finding a row and giving it the focus.
FOCUS_ROW = """anchor => {
  const row = document.querySelector(`#edition li.st[data-story="${anchor}"]`);
  row.tabIndex = -1;
  row.focus();
}"""


def press_key(page: Page, anchor: str, key: str) -> None:
    """Press a key on a story's row."""
    page.evaluate(FOCUS_ROW, anchor)
    page.keyboard.press(key)


def press_in_menu(page: Page, anchor: str, name: str) -> None:
    """Press a button of a row's menu by pointer."""
    row(page, anchor).hover()
    row(page, anchor).locator("details.more > summary").click()
    row(page, anchor).get_by_role("button", name=re.compile(f"^{name}")).click()


@pytest.mark.parametrize("viewport", [WIDE, PHONE])
def test_moves_and_removals_are_shown_at_once_and_sent_one_after_the_other(
    served: ServedWeek, viewport: dict[str, int]
) -> None:
    week, page = served.week, served.open(viewport)
    first, second, third, *rest = week.anchors("featured")
    held, loads = HeldRequests(page), []
    page.on("request", lambda asked: loads.append(asked.url) if asked.url == page.url else None)
    if viewport is PHONE:
        press_in_menu(page, second, "Move up")
    else:
        press_key(page, second, "Alt+ArrowUp")
    expect_order(page, [second, first, third])
    press_in_menu(page, third, "Remove")
    expect(row(page, third)).to_have_count(0)
    press_key(page, first, "p")
    expect(row(page, first)).to_contain_text("Pinned.")
    expect(page.locator("#saved")).to_have_text("Saving…")
    assert (week.state.last_seq, len(held.routes), loads) == (0, 1, [])
    held.let_go()
    expect(page.locator("#saved")).to_have_text(re.compile("^Saved "))
    assert [body["seq"] for body in held.bodies] == [["0"], ["1"], ["2"]], "each knows what the one before has done"
    assert week.anchors("featured")[:2] == [second, first]
    assert third not in week.anchors("featured")
    # A story came up for the one that was removed, and can be brought back.
    expect_order(page, week.anchors("featured"))
    expect(page.get_by_role("button", name="Restore story")).to_have_count(1)
    # The rest of the page follows once, when nothing has been done for a while.
    expect(page.locator("#removed")).to_have_count(1)
    assert len(loads) == 1
    assert rest[0] in order(page)


def test_a_refusal_ends_the_queue_puts_all_back_and_says_why_in_its_row(served: ServedWeek) -> None:
    week, page = served.week, served.open(WIDE)
    first, second, third, fourth, *_ = week.anchors("featured")
    headline = week.headlines("featured")[1]
    served.act_as_sam(f"move {second}", section="featured", position="4")
    sams = week.anchors("featured")
    held = HeldRequests(page)
    press_key(page, second, "Alt+ArrowUp")
    press_key(page, third, "x")
    press_key(page, fourth, "p")
    expect(row(page, third)).to_have_count(0)
    held.let_go()
    told = row(page, second).get_by_role("alert")
    expect(told).to_contain_text(f"Not saved: Sam moved “{headline[:20]}")
    expect(told).to_contain_text("2 later changes weren’t made.")
    expect_order(page, sams)
    expect(row(page, fourth)).not_to_contain_text("Pinned.")
    assert (week.state.last_seq, len(held.bodies)) == (1, 1), "nothing that waited behind it was sent"
    assert told.locator("span").evaluate("words => words.scrollWidth <= words.offsetWidth"), "read to its end"
    # It stays while other things are done, and until it's dismissed.
    press_key(page, first, "p")
    expect(row(page, first)).to_contain_text("Pinned.")
    expect(page.locator("#saved")).to_have_text(re.compile("^Saved "))
    expect(told).to_have_count(1)
    keep_first_rows(page, f"{LIKE_ROWS.replace(':has(', ':has(.refused, ')}")
    assert axe_report(page) == ""
    told.get_by_role("button", name="Dismiss").focus()
    page.keyboard.press("Enter")
    expect(told).to_have_count(0)
    expect(row(page, second)).to_be_focused()
    assert first in week.anchors("featured")


def test_two_windows_of_one_editor_are_told_of_each_other_and_can_choose(served: ServedWeek) -> None:
    week, page, other = served.week, served.open(WIDE), served.open(WIDE)
    first, second, third, *_ = week.anchors("featured")
    press_key(other, second, "Alt+ArrowUp")
    expect(other.locator("#saved")).to_have_text(re.compile("^Saved "))
    # Something else doesn't conflict, and brings what the other window did along.
    press_key(page, third, "p")
    expect_order(page, [second, first, third])
    expect(row(page, third)).to_contain_text("Pinned.")
    press_key(other, first, "x")
    expect(row(other, first)).to_have_count(0)
    expect(other.locator("#saved")).to_have_text(re.compile("^Saved "))
    press_key(other, second, "p")
    expect(row(other, second)).to_contain_text("Pinned.")
    expect(other.get_by_role("button", name=re.compile("^Undo pinning"))).to_have_count(1)
    press_key(page, second, "p")
    expect(page.get_by_role("button", name="Restore story")).to_have_count(1)
    # What would overwrite the other window unseen is refused, and both versions are at hand.
    press_key(other, third, "Alt+ArrowUp")
    expect(other.get_by_role("button", name=re.compile("^Undo moving"))).to_have_count(1)
    moved = week.state.last_seq
    press_in_menu(page, third, "Make it the lead")
    told = row(page, third).get_by_role("alert")
    expect(told).to_contain_text("Not saved: You moved")
    expect(told).to_contain_text("in another window")
    assert week.state.last_seq == moved
    told.get_by_role("button", name="Compare versions").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("You changed the same thing in two windows")


def test_what_a_server_does_not_answer_is_put_back_and_what_was_typed_stays(served: ServedWeek) -> None:
    week = served.week
    first, second, *_ = week.anchors("featured")
    page = served.open(WIDE, f"?open={first}")
    held, was = HeldRequests(page), order(page)
    headline, note = page.locator(".fields [name=headline]"), page.locator(".fields [name=note]")
    headline.fill("Typed without a network")
    note.focus()
    # The list shows it at once.
    expect(row(page, first).locator("h3")).to_have_text("Typed without a network")
    press_key(page, second, "Alt+ArrowUp")
    expect_order(page, [second, first])
    held.fail()
    expect(page.locator("#saved")).to_contain_text("Not saved because the server doesn’t respond.")
    expect_order(page, was)
    expect(headline).to_have_value("Typed without a network")
    expect(page.locator("#unsaved")).to_have_text("Not saved yet: headline of Featured 1")
    assert week.state.last_seq == 0
    # Once there is a network, leaving the field saves it.
    headline.focus()
    note.focus()
    expect(page.locator("#unsaved")).to_have_text("")
    assert week.headlines("featured")[0] == "Typed without a network"


def test_texts_are_saved_with_moves_in_one_queue_and_the_preview_shows_both(served: ServedWeek) -> None:
    week = served.week
    first, second, *_ = week.anchors("featured")
    page = served.open(WIDE, f"?open={first}")
    held, mail = HeldRequests(page), page.frame_locator(".frame iframe")
    page.locator(".fields [name=headline]").fill("Cranes wait for parts")
    press_key(page, second, "Alt+ArrowUp")
    held.let_go()
    expect(page.locator("#saved")).to_have_text(re.compile("^Saved "))
    expect(page.locator(".fields .lab em").first).to_have_text(re.compile("^21 of 80 characters. Saved "))
    assert [body["seq"] for body in held.bodies] == [["0"], ["1"]]
    expect(mail.get_by_text("Cranes wait for parts").first).to_be_attached()
    expect(page.locator(".fields .place")).to_have_text("Featured 2")
    assert week.headlines("featured")[1] == "Cranes wait for parts"


def test_what_is_refused_while_writing_says_why_beside_its_field(served: ServedWeek) -> None:
    week = served.week
    page = served.open(WIDE)
    page.locator("#new-block").click()
    blank = page.locator("details.block")
    blank.locator("input[name=headline]").fill("Pumps that start")
    follow(blank.get_by_role("button", name="Save block"))
    page.locator("a.block", has_text="Pumps that start").click()
    written = page.locator("details.block").filter(has=page.locator("summary", has_text="Pumps that start"))
    # A browser's own field for days sends only days; an older browser's is a plain text.
    day = written.locator("input[name=first_day]")
    day.evaluate("field => { field.type = 'text' }")
    day.fill("Monday")
    day.press("Tab")
    expect(page.locator("#saved")).to_contain_text("Not saved: “Monday” isn’t a date.")
    expect(written.locator(".lab em").filter(has_text="Not saved. “Monday” isn’t a date.")).to_have_count(1)
    expect(day).to_have_value("Monday")
    assert [edit.value["headline"] for edit in week.state.edits] == ["Pumps that start"]


PAST_PAUSE = 1800  # milliseconds: the page settles a second after the last action


def test_nothing_is_renewed_under_a_story_that_is_dragged(served: ServedWeek) -> None:
    week, page = served.week, served.open(WIDE)
    first, second, third, fourth, *_ = week.anchors("featured")
    press_key(page, fourth, "p")
    expect(page.locator("#saved")).to_have_text(re.compile("^Saved "))
    row(page, second).locator(".grip").hover()
    page.mouse.down()
    target = row(page, third).bounding_box()
    assert target is not None
    low = target["y"] + target["height"] - 4
    page.mouse.move(target["x"] + 80, low - 2, steps=6)
    row(page, second).evaluate("row => { row.dataset.mark = 'dragged'; }")
    let_time_pass(page, PAST_PAUSE)
    expect(page.locator("[data-mark=dragged]")).to_have_count(1)
    page.mouse.move(target["x"] + 80, low, steps=3)
    page.mouse.up()
    expect_order(page, [first, third, second, fourth])
    # The page goes on being renewed.
    expect(page.locator("[data-mark=dragged]")).to_have_count(0)
    expect_order(page, [first, third, second, fourth])
    assert week.anchors("featured")[:4] == [first, third, second, fourth]


def test_an_answer_that_arrives_while_the_next_action_is_pressed_does_not_undo_it(served: ServedWeek) -> None:
    week, page = served.week, served.open(WIDE)
    first, second, third, *_ = week.anchors("featured")
    held = HeldRequests(page)
    press_key(page, first, "Alt+ArrowDown")
    expect_order(page, [second, first])
    row(page, third).hover()
    row(page, third).locator("details.more > summary").click()
    row(page, third).get_by_role("button", name=re.compile("^Remove")).hover()
    route = held.routes.pop()
    answer = route.fetch()
    page.mouse.down()
    route.fulfill(response=answer)
    expect(page.locator("#saved")).to_have_text(re.compile("^Saved "))
    page.mouse.up()
    expect(row(page, third)).to_have_count(0)
    let_time_pass(page, 300)
    expect(row(page, third)).to_have_count(0)
    held.let_go()
    expect(page.get_by_role("button", name="Restore story")).to_have_count(1)
    expect_order(page, week.anchors("featured"))


def test_a_menu_stays_open_until_it_is_closed_and_the_page_settles_then(served: ServedWeek) -> None:
    week, page = served.week, served.open(WIDE)
    first, second, *_ = week.anchors("featured")
    press_key(page, first, "p")
    expect(page.locator("#saved")).to_have_text(re.compile("^Saved "))
    expect(row(page, first)).not_to_have_attribute("aria-busy", "true")
    row(page, second).hover()
    row(page, second).locator("details.more > summary").click()
    expect(row(page, second).locator("details.more[open]")).to_have_count(1)
    row(page, first).evaluate("row => { row.dataset.mark = 'before'; }")
    let_time_pass(page, PAST_PAUSE)
    expect(row(page, second).locator("details.more[open]")).to_have_count(1)
    expect(row(page, first)).to_have_attribute("data-mark", "before")
    page.keyboard.press("Escape")
    expect(row(page, first)).not_to_have_attribute("data-mark", "before")
    row(page, second).locator("details.more > summary").click()
    row(page, second).get_by_role("link", name="Put under another story").click()
    expect(row(page, second).locator(".move")).to_be_visible()
    expect(row(page, second).locator("details.more[open]")).to_have_count(0)


def test_the_keyboard_stays_on_undo_and_goes_on_to_redo(served: ServedWeek) -> None:
    week, page = served.week, served.open(WIDE)
    first, second, *_ = week.anchors("featured")
    undo, redo = page.locator("#part-undo button[value=undo]"), page.locator("#part-undo button[value=redo]")
    for seq, anchor in enumerate([first, second], 1):
        press_key(page, anchor, "p")
        expect(row(page, anchor)).to_contain_text("Pinned.")
        expect(page.locator("#desk")).to_have_attribute("data-seq", str(seq))
    expect(undo).to_have_count(1)
    undo.focus()
    page.keyboard.press("Enter")
    expect(redo).to_have_count(1)
    expect(undo).to_be_focused()
    page.keyboard.press("Enter")
    expect(undo).to_have_count(0)
    expect(redo).to_be_focused()


@pytest.mark.parametrize("viewport", [WIDE, PHONE])
def test_an_open_menu_stays_open_when_an_answer_of_its_section_arrives(
    served: ServedWeek, viewport: dict[str, int]
) -> None:
    week, page = served.week, served.open(viewport)
    held, (first, second, third, *_) = HeldRequests(page), week.anchors("featured")
    menu = row(page, third).locator("details.more")
    # By pointer: the second story moves below the third, whose menu is open by then.
    if viewport == WIDE:
        row(page, second).get_by_role("button", name="Down").click()
    else:
        row(page, second).locator("details.more > summary").click()
        row(page, second).get_by_role("button", name="Move down").click()
    expect_order(page, [first, third, second])
    menu.locator("summary").click()
    pin = menu.get_by_role("button", name="Pin")
    expect(pin).to_be_visible()
    held.let_go()
    expect(page.locator("#saved")).to_contain_text("Saved")
    expect(row(page, second)).not_to_have_attribute("aria-busy", "true")
    let_time_pass(page, 1500)
    expect(pin).to_be_visible()
    page.keyboard.press("Escape")
    expect(menu).not_to_have_attribute("open", "")
    # By keyboard: the focus stays in it, too.
    held.is_holding = True
    held.routes.clear()
    row(page, first).locator(".acts > button[value^=down]").evaluate("button => button.form.requestSubmit(button)")
    expect_order(page, [third, first, second])
    menu.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(pin).to_be_visible()
    while not pin.evaluate("button => button === document.activeElement"):
        page.keyboard.press("Tab")
    held.let_go()
    expect(row(page, first)).not_to_have_attribute("aria-busy", "true")
    let_time_pass(page, 1500)
    expect(pin).to_be_focused()
    page.keyboard.press("Enter")
    expect(row(page, third).locator(".meta").first).to_contain_text("Pinned.")
