"""Several stories are selected and changed at once, by pointer and by keyboard alone, on a phone and a desktop, in a real browser."""

import re

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from digest.app.approval import edition_approval
from digest.app.editions.edition_status import read_edition_status
from tests.actors import EDITOR
from tests.browser import axe_report, keep_first_rows, page_faults, tab_to
from tests.web.desk.editing.test_selection_pages import suggest
from tests.web.desk.sample_week import SampleWeek, later
from tests.web.desk.test_desk_in_browser import LIKE_ROWS
from tests.web.desk.test_queue_in_browser import (
    FEATURED,
    FOCUS_ROW,
    PHONE,
    WIDE,
    HeldRequests,
    ServedWeek,
    expect_order,
    let_time_pass,
    order,
    row,
    served,
)

__all__ = ["served"]
pytestmark = pytest.mark.chromium

OTHER_ROWS = "li.cand, ol:not([data-section=featured]) > li.st"  # that a test doesn't need where axe looks


def expect_count(page: Page, count: int) -> None:
    """Wait until the bar says how many are selected; without any there's no bar."""
    if count:
        expect(page.locator("#selection-count")).to_have_text(f"{count} selected")
    expect(page.locator("#selected")).to_be_visible(visible=count > 0)


def expect_saved(page: Page, served: ServedWeek, edits: int) -> None:
    """Wait until the page shows the edition with so many edits."""
    expect(page.locator("#desk")).to_have_attribute("data-seq", str(edits))
    assert served.week.state.last_seq == edits


def approve(week: SampleWeek) -> None:
    """Let an editor approve the edition."""
    mark = read_edition_status(week.installation, week.name, now=later()).content_hash
    edition_approval.approve_edition(week.installation, week.name, mark, actor=EDITOR, now=later())


def test_stories_are_selected_by_pointer_removed_at_once_and_come_back_with_one_undo(served: ServedWeek) -> None:
    page = served.open(WIDE)
    before = order(page)
    box = row(page, before[1]).locator(".tick")
    expect(box).to_have_css("opacity", "0")
    row(page, before[1]).hover()
    expect(box).to_have_css("opacity", "1")
    box.check()
    expect_count(page, 1)
    expect(row(page, before[4]).locator(".tick")).to_have_css("opacity", "1")
    row(page, before[3]).locator(".tick").click(modifiers=["Shift"])
    expect_count(page, 3)
    row(page, before[2]).locator(".tick").uncheck()
    row(page, before[4]).locator("h3").click(modifiers=["Shift"])
    expect_count(page, 4)
    expect(page).not_to_have_url(re.compile("open="))
    row(page, before[2]).locator(".tick").uncheck()
    keep = [anchor for anchor in before if anchor not in (before[1], before[3], before[4])]
    held = HeldRequests(page)
    page.locator("#selected").get_by_role("button", name="Remove").click()
    expect(page.locator(FEATURED)).to_have_count(len(keep))
    expect_count(page, 0)
    held.let_go()
    expect_saved(page, served, 1)
    (edit,) = served.week.state.edits
    assert (edit.kind, len(edit.targets)) == ("drop", 3)
    expect(page.locator("#part-undo")).to_contain_text("3 stories, including")
    page.get_by_role("button", name="Undo").click()
    expect_order(page, before)
    expect_saved(page, served, 2)


@pytest.mark.parametrize("viewport", [WIDE, PHONE])
def test_selected_stories_are_moved_to_a_place_of_a_section_by_pointer(
    served: ServedWeek, viewport: dict[str, int]
) -> None:
    page = served.open(viewport)
    before, topics = order(page), served.week.anchors("topics")
    for anchor in (before[1], before[3], topics[0]):
        row(page, anchor).locator(".tick").check()
    page.get_by_text("Move to…").click()
    menu = page.locator("#ask-section")
    menu.get_by_label("Section").select_option("topics")
    menu.get_by_label("Place").fill("2")
    menu.get_by_role("button", name="Move stories").click()
    moved = [topics[1], before[1], before[3], topics[0], *topics[2:]]
    assert page.locator("ol[data-section=topics] > li.st").evaluate_all("rows => rows.map((row) => row.id)") == moved
    expect_saved(page, served, 1)
    grouped = served.week.anchors("topics")  # in each topic, in this order
    assert sorted(grouped) == sorted(moved)
    for place, anchor in enumerate(grouped):
        expect(page.locator("ol[data-section=topics] > li.st").nth(place)).to_have_id(anchor)
    expect_count(page, 0)
    expect(menu).not_to_have_attribute("open", "")


@pytest.mark.parametrize("viewport", [WIDE, PHONE])
def test_by_keyboard_alone_stories_are_selected_moved_and_removed(served: ServedWeek, viewport: dict[str, int]) -> None:
    page = served.open(viewport)
    before, topics = order(page), served.week.anchors("topics")
    for key in ("j", "j", "Space", "j", "j", "Shift+Space"):
        page.keyboard.press(key)
    expect_count(page, 3)
    page.keyboard.press("k")
    page.keyboard.press("Space")
    expect_count(page, 2)
    page.keyboard.press("m")
    expect(page.locator("#ask-section select")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#ask-section summary")).to_be_focused()
    expect_count(page, 2)
    page.keyboard.press("m")
    page.keyboard.type("To")
    page.keyboard.press("Tab")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect_saved(page, served, 1)
    # First, though the stories on their topics stay with them.
    assert served.week.anchors("topics")[0] == before[1]
    assert {before[1], before[3], *topics} == set(served.week.anchors("topics"))
    expect(row(page, before[1])).to_be_focused()
    # Without letters: the checkbox, and Enter to what can be done.
    page.evaluate(FOCUS_ROW, before[2])
    tab_to(row(page, before[2]).locator(".tick")).press("Space")
    expect_count(page, 1)
    page.keyboard.press("Enter")
    expect(page.locator("#ask-section summary")).to_be_focused()
    page.keyboard.press("Escape")
    expect_count(page, 0)
    expect(row(page, before[2])).to_be_focused()
    assert served.week.state.last_seq == 1, "Enter in a box sends nothing"
    page.keyboard.press("Space")
    page.keyboard.press("j")
    page.keyboard.press("Space")
    page.keyboard.press("x")
    expect_saved(page, served, 2)
    assert len(served.week.state.edits[-1].targets) == 2
    assert page.evaluate("document.activeElement.matches('li.st')")
    page.keyboard.press("z")
    expect_saved(page, served, 3)


@pytest.mark.parametrize("viewport", [WIDE, PHONE])
def test_stories_are_kept_for_the_next_edition_and_taken_back(served: ServedWeek, viewport: dict[str, int]) -> None:
    page = served.open(viewport)
    before = order(page)
    for anchor in before[1:3]:
        row(page, anchor).locator(".tick").check()
    page.locator("#selected").get_by_role("button", name="Keep for next edition").click()
    expect(row(page, before[1])).to_have_count(0)
    expect_saved(page, served, 1)
    if viewport == PHONE:
        page.locator(".tabs").get_by_role("link", name="Stories").click()
    kept = page.locator("#kept")
    expect(kept).to_contain_text("Kept for the next edition: 2")
    kept.locator("summary").click()
    kept.get_by_role("button", name="Restore").first.click()
    expect(kept).to_contain_text("Kept for the next edition: 1")
    assert [removed.is_kept for removed in served.week.state.arrangement.removed] == [True]


def test_by_keyboard_alone_a_story_is_kept_and_comes_back(served: ServedWeek) -> None:
    page = served.open(WIDE)
    before = order(page)
    page.keyboard.press("j")
    page.keyboard.press("Shift+X")
    expect(row(page, before[0])).to_have_count(0)
    expect_saved(page, served, 1)
    expect(page.locator("#part-undo")).to_contain_text("for the next edition")
    page.keyboard.press("z")
    expect_order(page, before)
    page.keyboard.press("/")
    found = page.locator("#found > li.cand:not(.used)").first
    found.evaluate("row => { row.tabIndex = -1; row.focus(); }")
    page.keyboard.press("Shift+X")
    expect(found).to_contain_text("Kept for the next edition.")
    expect_saved(page, served, 3)


def test_a_likely_duplicate_is_dismissed(served: ServedWeek) -> None:
    stories = served.week.state.arrangement.sections["featured"]
    suggest(served.week, (stories[0].url, stories[1].url))
    page = served.open(WIDE)
    page.locator("#likely > summary").click()
    page.locator("#likely").get_by_role("button", name="Dismiss").click()
    expect(page.locator("#likely")).to_have_count(0)
    expect_saved(page, served, 1)


def test_a_refused_action_puts_all_back_says_why_and_keeps_the_selection(served: ServedWeek) -> None:
    page = served.open(WIDE)
    before = order(page)
    served.act_as_sam(f"move {before[2]}", section="featured", position="6")
    for anchor in before[1:4]:
        row(page, anchor).locator(".tick").check()
    page.locator("#selected").get_by_role("button", name="Remove").click()
    expect(row(page, before[1])).to_contain_text("Not saved: Sam moved")
    expect_order(page, [*before[:2], *before[3:6], before[2]])
    expect_count(page, 3)
    assert served.week.state.last_seq == 1
    row(page, before[1]).get_by_role("button", name="Compare versions").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("changed the same thing"))
    page.get_by_role("button", name="Use my version").click()
    page.wait_for_url(re.compile(re.escape(served.week.path)))
    assert set(before[1:4]).isdisjoint(served.week.anchors("featured"))


def test_an_approved_edition_asks_first_and_a_no_keeps_edition_and_selection(served: ServedWeek) -> None:
    approve(served.week)
    page = served.open(WIDE)
    before = order(page)
    for anchor in before[1:3]:
        row(page, anchor).locator(".tick").check()
    page.keyboard.press("x")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Cancel").click()
    expect_count(page, 2)
    assert served.week.state.approval
    page.keyboard.press("x")
    expect(dialog).to_contain_text("Remove 2 stories?")
    held, loads = HeldRequests(page), list[Route]()

    def hold(route: Route) -> None:
        loads.append(route)

    page.route(f"**{served.week.path}", hold)
    dialog.get_by_role("button", name="Change and revoke approval").click()
    # However slow the server is, it isn't said to be saved before the page shows a draft.
    expect(page.locator("#saved")).to_have_text("Saving…")
    held.let_go()
    while not loads:
        let_time_pass(page, 20)
    expect(page.locator("#saved")).to_have_text("Saving…")
    loads[0].continue_()
    expect(page.locator(".head .pill")).not_to_have_text("Approved")
    expect(page.locator("#saved")).to_have_text(re.compile("^Saved "))
    page.unroute(f"**{served.week.path}")
    assert not served.week.state.approval
    page.keyboard.press("z")
    expect(page.locator(".head .pill")).to_have_text("Approved")


def test_on_a_phone_boxes_always_show_and_the_bar_is_at_the_foot(served: ServedWeek) -> None:
    page = served.open(PHONE)
    before = order(page)
    rows = page.locator(FEATURED)
    heights = rows.evaluate_all("rows => rows.map((row) => row.offsetHeight)")
    for anchor in before[1:3]:
        expect(row(page, anchor).locator(".tick")).to_have_css("opacity", "1")
        row(page, anchor).locator(".tick").check()
    assert rows.evaluate_all("rows => rows.map((row) => row.offsetHeight)") == heights
    bar = page.locator("#selected")
    expect(bar).to_be_in_viewport(ratio=1)
    assert (
        bar.get_by_role("button")
        .or_(bar.locator("summary"))
        .evaluate_all("all => all.filter((one) => one.offsetParent).every((one) => one.offsetHeight >= 44)")
    )
    bar.get_by_role("button", name="Remove").click()
    expect_saved(page, served, 1)
    expect_count(page, 0)
    row(page, before[0]).locator(".tick").check()
    page.get_by_text("Move to…").click()
    expect(page.locator("#ask-section .menu")).to_be_in_viewport(ratio=1)
    keep_first_rows(page, LIKE_ROWS)
    assert axe_report(page) == ""


def test_the_bar_takes_the_place_of_the_shortcuts_and_moves_no_row(served: ServedWeek) -> None:
    page = served.open(WIDE)
    places = "() => [...document.querySelectorAll('#edition li.st, .pane')].map((one) => one.getBoundingClientRect().toJSON())"
    before = page.evaluate(places)
    first = order(page)[0]
    row(page, first).locator(".tick").check()
    expect(page.locator(".keyline")).to_be_hidden()
    assert page.evaluate(places) == before
    keep_first_rows(page, LIKE_ROWS)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert axe_report(page) == ""
    page.locator("#selected").get_by_role("button", name="Clear").click()
    expect_count(page, 0)
    expect(row(page, first)).to_be_focused()


@pytest.mark.parametrize("viewport", [WIDE, PHONE])
def test_selected_stories_are_merged_or_put_under_one_of_them_by_pointer(
    served: ServedWeek, viewport: dict[str, int]
) -> None:
    page = served.open(viewport)
    before = order(page)
    for anchor in before[1:4]:
        row(page, anchor).locator(".tick").check()
    page.get_by_text("Merge or put under…", exact=True).click()
    menu = page.locator("#ask-main")
    choice = menu.get_by_label("Main story")
    expect(choice).to_have_value(before[1])
    expect(choice.locator("option:checked")).to_have_text(re.compile("^Featured 2: "))
    menu.get_by_label("Main story").select_option(before[2])
    keep_others = [anchor for anchor in before if anchor not in (before[1], before[3])]
    menu.get_by_role("button", name="Merge stories").click()
    assert order(page) == keep_others, "at once"
    expect_saved(page, served, 1)
    (edit,) = served.week.state.edits
    assert (edit.kind, len(edit.texts("others"))) == ("merge", 2)
    expect_order(page, keep_others)
    page.keyboard.press("z")
    expect_saved(page, served, 2)
    expect_order(page, before)
    row(page, before[4]).locator(".tick").check()
    page.get_by_text("Merge or put under…", exact=True).click()
    menu.get_by_label("Main story").select_option(before[0])
    menu.get_by_role("button", name="Put under it").click()
    expect_saved(page, served, 3)
    expect(row(page, before[0])).to_contain_text("Related: ")


def test_a_story_unlike_the_others_is_merged_with_none_until_one_is_chosen(served: ServedWeek) -> None:
    page = served.open(WIDE)
    before = order(page)
    page.evaluate(
        "anchor => document.querySelector(`#edition li[data-story='${anchor}'] h3`).replaceChildren('Zzyzx qwfpgj')",
        before[1],
    )
    row(page, before[1]).locator(".tick").check()
    page.get_by_text("Merge or put under…", exact=True).click()
    menu = page.locator("#ask-main")
    choice = menu.get_by_label("Main story")
    expect(choice).to_have_value("")
    menu.get_by_role("button", name="Merge stories").click()
    expect(choice).to_be_focused()
    assert order(page) == before
    choice.select_option(before[2])
    menu.get_by_role("button", name="Merge stories").click()
    expect_saved(page, served, 1)


@pytest.mark.parametrize("viewport", [WIDE, PHONE])
def test_by_keyboard_alone_selected_stories_are_merged_and_put_under_another(
    served: ServedWeek, viewport: dict[str, int]
) -> None:
    page = served.open(viewport)
    before = order(page)
    for key in ("j", "j", "Space", "j", "Space", "Shift+M"):
        page.keyboard.press(key)
    expect(page.locator("#ask-main select")).to_be_focused()
    expect(page.locator("#ask-main .menu")).to_be_in_viewport(ratio=1)
    keep_first_rows(page, OTHER_ROWS)
    assert page_faults(page) == ""
    page.keyboard.press("Enter")
    expect_saved(page, served, 1)
    assert served.week.anchors("featured") == [before[0], before[1], *before[3:]]
    expect(row(page, before[1])).to_be_focused()
    expect_count(page, 0)
    page.keyboard.press("j")
    page.keyboard.press("Space")
    page.keyboard.press("u")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect_saved(page, served, 2)
    assert served.week.state.edits[-1].kind == "under"


def test_a_search_that_hides_selected_stories_counts_them_out_until_they_are_back(served: ServedWeek) -> None:
    page = served.open(WIDE)
    boxes = page.locator("#results li.cand .tick")
    for place in range(2):
        boxes.nth(place).check()
    expect_count(page, 2)
    page.locator("#words").fill("no story has these words")
    expect(boxes).to_have_count(0)
    expect_count(page, 0)
    page.locator("#words").fill("")
    expect(boxes.nth(1)).to_be_checked()
    expect(boxes.nth(0)).to_be_checked()
    expect_count(page, 2)


def drag_onto(page: Page, source: Locator, target: Locator) -> None:
    """Drag something to the middle of a row, as a hand does: in steps."""
    for element in (source, target):
        element.scroll_into_view_if_needed()  # waits until an answer has put it into its place
    start, end = source.bounding_box(), target.bounding_box()
    assert start is not None
    assert end is not None
    page.mouse.move(start["x"] + 8, start["y"] + start["height"] / 2)
    page.mouse.down()
    page.mouse.move(end["x"] + 90, end["y"] + 2, steps=5)
    page.mouse.move(end["x"] + 90, end["y"] + end["height"] / 2, steps=4)
    expect(target).to_have_class(re.compile("drop-on"))
    expect(page.locator(".drop-before, .drop-after")).to_have_count(0)
    page.mouse.up()


def test_a_story_dropped_on_another_is_merged_or_put_under_it_after_a_question_in_place(served: ServedWeek) -> None:
    page = served.open(WIDE)
    before = order(page)
    dialog = page.get_by_role("dialog")
    drag_onto(page, row(page, before[3]).locator(".grip"), row(page, before[1]))
    box, at = dialog.bounding_box(), row(page, before[1]).bounding_box()
    assert box is not None
    assert at is not None
    assert abs(box["y"] - at["y"] - at["height"]) < 8, "right below the row"
    keep_first_rows(page, OTHER_ROWS)
    assert axe_report(page) == ""
    dialog.get_by_role("button", name="Cancel").click()
    expect_order(page, before)
    assert served.week.state.last_seq == 0
    drag_onto(page, row(page, before[3]).locator(".grip"), row(page, before[1]))
    expect(dialog).to_contain_text("Merge this story with, or put it under, Featured 2")
    dialog.get_by_role("button", name="Merge stories").click()
    expect_order(page, [anchor for anchor in before if anchor != before[3]])
    expect_saved(page, served, 1)
    (merge,) = served.week.state.edits
    assert (merge.kind, len(merge.texts("others"))) == ("merge", 1)
    expect(row(page, before[1])).to_be_focused()
    # The keyboard chooses too, and several that are selected go together.
    for anchor in before[4:6]:
        row(page, anchor).locator(".tick").check()
    drag_onto(page, row(page, before[5]).locator(".grip"), row(page, before[0]))
    expect(dialog).to_contain_text("Merge 2 stories with, or put them under, Featured 1")
    tab_to(dialog.get_by_role("button", name="Put under it")).press("Enter")
    expect_saved(page, served, 2)
    under = served.week.state.edits[-1]
    assert (under.kind, len(under.targets)) == ("under", 2)
    expect_count(page, 0)


def test_selected_stories_are_moved_together_to_the_edge_of_a_row(served: ServedWeek) -> None:
    page = served.open(WIDE)
    before = order(page)
    for anchor in before[3:5]:
        row(page, anchor).locator(".tick").check()
    source, target = row(page, before[4]).locator(".grip").bounding_box(), row(page, before[1]).bounding_box()
    assert source is not None
    assert target is not None
    page.mouse.move(source["x"] + 8, source["y"] + source["height"] / 2)
    page.mouse.down()
    page.mouse.move(target["x"] + 90, target["y"] + 8, steps=4)
    page.mouse.move(target["x"] + 90, target["y"] + 2, steps=2)
    expect(row(page, before[1])).to_have_class(re.compile("drop-before"))
    page.mouse.up()
    expect_saved(page, served, 1)
    expect_order(page, [before[0], *before[3:5], *before[1:3], *before[5:]])
    expect_count(page, 0)


def test_a_story_of_the_list_dropped_on_another_is_merged_with_it(served: ServedWeek) -> None:
    page = served.open(WIDE)
    before = order(page)
    candidate = page.locator("li.cand:has(button)").first
    headline = candidate.locator("h3").inner_text()
    drag_onto(page, candidate.locator("p.meta"), row(page, before[1]))
    page.get_by_role("dialog").get_by_role("button", name="Merge stories").click()
    expect_saved(page, served, 1)
    members = served.week.state.arrangement.sections["featured"][1].original.story.members
    assert headline in {article.title for article in members}


def test_an_approved_edition_asks_before_what_was_dropped_on_a_story(served: ServedWeek) -> None:
    approve(served.week)
    page = served.open(WIDE)
    before = order(page)
    dialog = page.get_by_role("dialog")
    drag_onto(page, row(page, before[3]).locator(".grip"), row(page, before[1]))
    dialog.get_by_role("button", name="Merge stories").click()
    dialog.get_by_role("button", name="Cancel").click()
    assert served.week.state.last_seq == 0
    expect_order(page, before)


def test_a_likely_duplicate_is_merged_by_pointer_and_put_under_by_keyboard(served: ServedWeek) -> None:
    week = served.week
    before = week.anchors("featured")
    first, second, third, *_ = (story.url for story in week.state.arrangement.sections["featured"])
    suggest(week, (first, second), (first, third))
    page = served.open(WIDE)
    likely = page.locator("#likely")
    likely.get_by_text("2 likely duplicates").click()
    keep_first_rows(page, OTHER_ROWS)
    assert axe_report(page) == ""
    likely.get_by_role("button", name=re.compile("^Merge")).first.click()
    expect_order(page, [before[0], *before[2:]])
    expect_saved(page, served, 1)
    expect(likely.get_by_text("1 likely duplicate", exact=True)).to_have_count(1)
    page.goto(served.address + week.path)
    tab_to(page.locator("#likely summary"))
    page.keyboard.press("Enter")
    tab_to(likely.get_by_role("button", name=re.compile("^Put under")))
    page.keyboard.press("Enter")
    expect_saved(page, served, 2)
    assert week.state.edits[-1].kind == "under"
    expect(likely).to_have_count(0)
    phone = served.open(PHONE, "?tab=stories")
    expect(phone.locator("li.cand .tick").first).to_be_visible()
