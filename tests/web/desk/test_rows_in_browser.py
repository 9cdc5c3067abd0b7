"""The edition's page as an editor reads it: how much is visible, and that nothing moves under the pointer, in a real browser."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from sqlalchemy import select

from digest.deliver.control import installation_hold
from digest.store.models import Edition, EditionState
from digest.web.server import open_page_server
from subscribers.signup.rate_limits import SURGE_KIND
from subscribers.store.signup_models import SignupSurge
from tests.browser import TABS_AT_MOST, axe_report, follow, keep_first_rows, sign_in, tab_to
from tests.web.desk.sample_week import SampleWeek, later
from tests.web.desk.test_desk_in_browser import LIKE_ROWS

pytestmark = pytest.mark.chromium

WIDE, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
# How many of some rows are whole in a pane, and above the foot of a phone.
WHOLE_ROWS = """([rows, pane]) => {
  const within = document.querySelector(pane).getBoundingClientRect(), foot = document.querySelector(".sticky").getBoundingClientRect();
  const top = Math.max(0, within.top), bottom = Math.min(innerHeight, within.bottom, foot.height ? foot.top : innerHeight);
  const boxes = [...document.querySelectorAll(rows)].map((row) => row.getBoundingClientRect());
  return boxes.filter((box) => box.height && box.top >= top && box.bottom <= bottom).length;
}"""
# Of what is folded away, browsers measure nothing, or where it was last.
PLACES = """selector => [...document.querySelectorAll(selector)].filter((one) => one.checkVisibility())
    .map((one) => [one.id || one.name, one.getBoundingClientRect().top])"""
ROWS, FIELDS = "#edition li.st", ".fields :is(input, textarea, select)[name]:not([type=hidden])"


@dataclass(frozen=True)
class ServedWeek:
    """A copy of the week as it is served, and a browser for it."""

    week: SampleWeek
    address: str
    browser: Browser

    def open(self, viewport: dict[str, int], query: str = "") -> Page:
        """Open the edition's page as Dana."""
        context = self.browser.new_context(viewport=viewport)  # type: ignore[arg-type]  # a mapping of the shape that Playwright asks for
        sign_in(context, self.week, self.address, "dana")
        page = context.new_page()
        page.goto(f"{self.address}{self.week.path}{query}")
        return page


@pytest.fixture
def served(week: SampleWeek, browser: Browser) -> Iterator[ServedWeek]:
    week.app.config["WTF_CSRF_ENABLED"] = True
    with open_page_server(week.app, "127.0.0.1", 0) as serving:
        yield ServedWeek(week, f"http://127.0.0.1:{serving.port}", browser)
    for context in browser.contexts:
        context.close()


def count_whole_rows(page: Page, rows: str, pane: str) -> int:
    return int(page.evaluate(WHOLE_ROWS, [rows, pane]))


def places(page: Page, selector: str) -> list[tuple[str, float]]:
    """Say where each of some things is, from the top of the window."""
    return [(name, top) for name, top in page.evaluate(PLACES, selector)]


def row(page: Page, position: int) -> Locator:
    return page.locator(ROWS).nth(position)


def test_ten_stories_and_eight_candidates_are_in_sight_and_each_headline_has_two_lines_at_most(
    served: ServedWeek,
) -> None:
    page = served.open(WIDE)
    assert count_whole_rows(page, ROWS, "#edition") >= 10
    assert count_whole_rows(page, "li.cand", "#stories") >= 8
    heights = page.locator("ol[data-section=featured] > li").evaluate_all("rows => rows.map(r => r.offsetHeight)")
    assert set(heights) <= {44, 63}
    images = page.locator("ol[data-section=featured] img.thumb")
    expect(images.first).to_be_in_viewport()
    assert images.first.evaluate("image => [image.width, image.height]") == [56, 32]
    for at, entry in enumerate(served.week.entries("featured")):
        expect(images.nth(at)).to_have_attribute("alt", entry["picture"]["alt"])
        expect(images.nth(at)).to_have_attribute("loading", "lazy")
    # Where there's none, nothing is drawn, and the headlines stay aligned.
    space = page.locator("span.thumb").first
    assert space.evaluate("space => [space.offsetWidth, getComputedStyle(space).borderStyle]") == [56, "none"]
    headlines = page.locator("#edition ol.imaged h3").evaluate_all("all => all.map(h => h.getBoundingClientRect().x)")
    assert len(set(headlines)) == 1
    # Also where the email shows none, and in the list.
    for selector in ("ol[data-section=topics] img.thumb", "#stories li.cand img.thumb"):
        image = page.locator(selector).first
        image.scroll_into_view_if_needed()
        expect(image).to_have_js_property("complete", True)
        assert image.evaluate("image => image.naturalWidth")
    assert page.locator(".head").evaluate("head => head.offsetHeight") <= 56
    assert page.locator(".state").evaluate("state => state.offsetHeight") <= 40


def test_the_actions_of_a_row_cover_no_words(served: ServedWeek) -> None:
    page = served.open(WIDE)
    for rows, actions in (("#edition li.st", ".acts"), ("li.cand:has(> .btn)", ".why > summary")):
        row = page.locator(rows).nth(1)
        row.hover()
        space = row.evaluate(
            """(row, actions) => {
              const meta = row.querySelector(".meta"), end = meta.getBoundingClientRect().right - parseFloat(getComputedStyle(meta).paddingRight);
              return row.querySelector(actions).getBoundingClientRect().left - end;
            }""",
            actions,
        )
        assert space >= 0, rows
    add, title = (page.locator("li.cand:has(> .btn)").nth(1).locator(part) for part in ("> .btn", "h3"))
    boxes = [
        one.evaluate("one => { const {top, bottom} = one.getBoundingClientRect(); return {top, bottom}; }")
        for one in (add, title)
    ]
    assert boxes[0]["top"] >= boxes[1]["bottom"] - 1


def test_a_phone_shows_the_state_of_the_edition_how_to_approve_it_and_four_stories(served: ServedWeek) -> None:
    page = served.open(PHONE)
    for part in (".head .pill", ".head .plan:not(#stands)", ".sticky .go"):
        expect(page.locator(part)).to_be_in_viewport(ratio=1)
    assert count_whole_rows(page, ROWS, "#edition") >= 4
    # By hand, its words lead to a story's fields, and its menu to all that a row has on a wide page.
    second, moved = row(page, 1), served.week.anchors("featured")[1]
    second.get_by_text("More").first.click()
    for name in ("Edit", "Show in the preview"):
        expect(second.get_by_role("link", name=name)).to_be_in_viewport()
    second.get_by_role("button", name="Move down").click()
    expect(page.locator("ol[data-section=featured] > li").nth(2)).to_have_id(moved)
    first = row(page, 0).locator("h3").inner_text()
    row(page, 0).locator("h3").click()
    expect(page.locator(".fields [name=headline]")).to_have_value(first)
    # By keyboard.
    page.goto(served.address + served.week.path)
    tab_to(row(page, 1).locator("details.more > summary"))
    page.keyboard.press("Enter")
    tab_to(row(page, 1).get_by_role("link", name="Edit"))
    page.keyboard.press("Enter")
    expect(page.locator(".fields [name=headline]")).to_be_focused()


def test_a_phone_shows_four_stories_also_where_something_must_be_fixed(served: ServedWeek) -> None:
    with served.week.installation.database.write() as session:
        edition = session.scalars(select(Edition)).one()
        edition.state = EditionState.INCOMPLETE
        edition.held_because = "it has 4 stories and needs at least 5"
    page = served.open(PHONE)
    for part in (".head .pill", ".head .plan:not(#stands)", ".state .count", ".sticky .go"):
        expect(page.locator(part).first).to_be_in_viewport(ratio=1)
    assert count_whole_rows(page, ROWS, "#edition") >= 4
    fault = page.locator("#faults summary")
    expect(fault).to_contain_text("Must fix: The edition is incomplete: it has 4 stories")
    is_truncated = "line => line.scrollWidth > line.clientWidth"
    assert fault.evaluate(is_truncated)
    remedy = page.locator("#faults p", has_text="Add stories, or wait for the next draft.")
    expect(remedy).to_be_hidden()
    fault.click()
    assert not fault.evaluate(is_truncated)
    expect(remedy).to_be_visible()
    page.reload()
    tab_to(fault)
    page.keyboard.press("Enter")
    assert not fault.evaluate(is_truncated)


def test_reasons_and_scores_are_shown_on_demand_below_their_row(served: ServedWeek) -> None:
    page = served.open(WIDE)
    before = places(page, ROWS)
    reasons = row(page, 1).locator(".why > .points")
    expect(reasons).to_be_hidden()
    # By pointer: what a row can do comes with the pointer, and moves nothing.
    row(page, 1).hover()
    assert places(page, ROWS) == before
    row(page, 1).locator(".why > summary").click()
    expect(reasons).to_contain_text(re.compile(r"\d+\.\d\s*topic: \w+"))
    assert places(page, ROWS)[:2] == before[:2]
    # It stays open while the page around it is brought up to date.
    row(page, 2).get_by_role("button", name="Down").click()
    expect(page.locator("#saved")).to_contain_text("Saved")
    expect(reasons).to_be_visible()
    # By keyboard, there and in the list of stories.
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("w")
    expect(page.locator(f"{ROWS}:focus .why > p")).to_be_visible()
    candidate = page.locator("li.cand").first
    page.keyboard.press("/")
    tab_to(candidate.locator(".why > summary"))
    page.keyboard.press("Enter")
    expect(candidate.locator(".why > .points")).to_contain_text(re.compile(r"\d+\.\d\s*topic: \w+"))
    keep_first_rows(page, LIKE_ROWS)
    assert axe_report(page) == ""
    page.emulate_media(color_scheme="dark")
    assert axe_report(page) == ""


def test_no_row_moves_when_a_story_opens_or_closes_and_no_field_when_it_is_left(served: ServedWeek) -> None:
    week, page = served.week, served.open(WIDE)
    page.locator("#edition").evaluate("pane => pane.scrollTo(0, 120)")
    before = places(page, ROWS)
    headline, summary = (page.locator(f".fields [name={name}]") for name in ("headline", "summary"))
    row(page, 5).locator("h3").click()
    expect(headline).to_have_value(week.headlines("featured")[5])
    assert places(page, ROWS) == before
    # Keys go to the row until a field is clicked, and the line of keys says which is the case.
    typing = page.locator(".keyline .typing")
    expect(row(page, 5)).to_be_focused()
    expect(typing).to_be_hidden()
    headline.click()
    expect(typing).to_be_visible()
    expect(page.locator(".keyline > span").first).to_be_hidden()
    expect(page).to_have_url(re.compile(f"[?]open={week.anchors('featured')[5]}"))
    fields = places(page, FIELDS)
    headline.fill("Written anew")
    assert places(page, FIELDS) == fields
    summary.click()
    expect(page.locator("[data-fresh=headline]")).to_contain_text("Original headline (")
    expect(page.locator("#unsaved")).to_be_empty()
    assert places(page, FIELDS) == fields
    assert places(page, ROWS) == before
    # Another one instead, by keyboard, and none.
    page.keyboard.press("Escape")
    expect(page.locator(".fields")).to_have_count(0)
    expect(row(page, 5)).to_be_focused()
    page.keyboard.press("j")
    page.keyboard.press("e")
    expect(headline).to_be_focused()
    assert places(page, ROWS) == before
    page.go_back()
    expect(page.locator(".fields")).to_have_count(0)
    assert places(page, ROWS) == before
    # The subject's fields come where a story's do.
    page.locator("#edition").evaluate("pane => pane.scrollTo(0, 0)")
    before = places(page, ROWS)
    follow(page.get_by_role("link", name="Edit the subject"))
    expect(page.get_by_label("Subject")).to_be_focused()
    assert places(page, ROWS) == before


def test_what_only_admins_can_act_on_is_one_folded_line_for_editors(served: ServedWeek) -> None:
    with served.week.installation.database.write() as session:
        session.add(SignupSurge(kind=SURGE_KIND, at=later(), detail={"most": 640}))
        installation_hold.save_pull_troubles(session, "sendgrid", ["bounces: HTTP 500"], now=later())
    for viewport in (WIDE, PHONE):
        page = served.open(viewport)
        expect(page.locator(".attention")).to_have_count(0)
        notes, told = page.locator(".state .notes"), page.get_by_text("up to 640 in an hour")
        expect(notes.locator("summary")).to_have_text("2 notes for admins")
        expect(notes.locator("summary")).to_be_in_viewport()
        expect(told).to_be_hidden()
        before = places(page, ROWS)
        notes.locator("summary").click()
        expect(told).to_be_in_viewport()
        assert places(page, ROWS) == before
        assert axe_report(page) == ""
        notes.locator("summary").press("Enter")
        expect(told).to_be_hidden()


def link_in_preview(page: Page, place: str) -> Locator:
    """Find the link that covers a story in the preview: "Featured 3"."""
    return page.frame_locator("#preview iframe").get_by_role("link", name=f"Edit {place}", exact=True)


def click_near_foot(link: Locator) -> None:
    """Click the last words of a story in the preview."""
    box = link.bounding_box()
    assert box is not None
    link.click(position={"x": 30, "y": box["height"] - 12})


def tab_in_preview(page: Page, place: str) -> None:
    """Press Tab until the link that covers a story in the preview has the focus."""
    link = link_in_preview(page, place)
    for _ in range(TABS_AT_MOST):
        page.keyboard.press("Tab")
        if link.evaluate("link => link.matches(':focus')"):
            return
    raise AssertionError(f"{TABS_AT_MOST} tabs don't lead to {place} in the preview")


def test_the_preview_is_as_high_as_its_column_and_leads_to_each_storys_form(served: ServedWeek) -> None:
    week, page = served.week, served.open(WIDE, "?view=dark&q=port")
    page.evaluate("window.isTheSame = true")
    frame, column = (page.locator(part).bounding_box() for part in ("#preview .frame", "#desk"))
    assert frame is not None
    assert column is not None
    assert frame["height"] >= 620
    assert column["height"] - frame["height"] <= 110
    assert frame["width"] >= 400
    # By pointer, anywhere in the story; its row shows which one it is.
    headline, third = page.locator(".fields [name=headline]"), link_in_preview(page, "Featured 3")
    third.hover()
    expect(row(page, 2)).to_have_class("st pointed")
    box = third.bounding_box()
    assert box is not None
    assert box["height"] > 150
    before = places(page, ROWS)
    click_near_foot(third)
    expect(headline).to_have_value(week.headlines("featured")[2])
    expect(headline).to_be_focused()
    assert places(page, ROWS) == before
    expect(row(page, 2)).to_have_class(re.compile(r"\bsel\b"))
    expect(page).to_have_url(re.compile(f"[?]view=dark&q=port&open={week.anchors('featured')[2]}"))
    expect(third).to_be_in_viewport()
    # By keyboard, also where the form is open already.
    page.locator("#preview .seg [aria-current]").focus()
    click_near_foot(third)
    expect(headline).to_be_focused()
    page.locator("#preview .seg [aria-current]").focus()
    tab_in_preview(page, "Featured 2")
    expect(row(page, 1)).to_have_class("st pointed")
    page.keyboard.press("Enter")
    expect(headline).to_have_value(week.headlines("featured")[1])
    expect(headline).to_be_focused()
    # Another view leaves it open, and the focus where it is.
    page.locator("#preview .seg").get_by_text("Wide").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#preview iframe")).to_have_attribute("title", re.compile("On a desktop"))
    expect(page.locator("#preview .seg").get_by_text("Wide")).to_be_focused()
    expect(headline).to_have_value(week.headlines("featured")[1])
    assert page.evaluate("window.isTheSame")
    keep_first_rows(page, LIKE_ROWS)
    assert axe_report(page) == ""
    page.go_back()
    expect(headline).to_have_value(week.headlines("featured")[2])


def test_the_preview_follows_what_is_edited(served: ServedWeek) -> None:
    week, page = served.week, served.open(WIDE)
    headline = page.locator(".fields [name=headline]")
    last = page.locator("ol[data-section=topics] > li").last
    last.locator("h3").click()
    expect(headline).to_have_value(week.headlines("topics")[-1])
    expect(link_in_preview(page, f"Topics {len(week.headlines('topics'))}")).to_be_in_viewport()
    # An edit is shown as soon as its field is left.
    headline.fill("As the preview shows it")
    headline.press("Tab")
    mail = page.frame_locator("#preview iframe")
    expect(mail.get_by_text("As the preview shows it")).to_be_in_viewport()
    # What's typed is saved by the click that leads to another story.
    headline.fill("As a click leaves it")
    click_near_foot(link_in_preview(page, f"Topics {len(week.headlines('topics')) - 1}"))
    expect(headline).to_have_value(week.headlines("topics")[-2])
    expect(last.locator("h3")).to_have_text("As a click leaves it")
    expect(mail.get_by_text("As a click leaves it")).to_be_in_viewport()


def test_a_tap_in_a_phones_preview_opens_that_story(served: ServedWeek) -> None:
    page = served.open(PHONE, "?tab=preview")
    headline, words = page.locator(".fields [name=headline]"), served.week.headlines("featured")
    link_in_preview(page, "Featured 2").click()
    expect(headline).to_have_value(words[1])
    expect(headline).to_be_in_viewport()
    expect(headline).to_be_focused()
    assert axe_report(page) == ""
    page.go_back()
    expect(link_in_preview(page, "Featured 2")).to_be_in_viewport()
    # By keyboard.
    page.goto(f"{served.address}{served.week.path}?tab=preview")
    tab_to(page.locator("#preview .elsewhere a").last)
    tab_in_preview(page, "Featured 1")
    page.keyboard.press("Enter")
    expect(headline).to_have_value(words[0])


def test_without_scripts_the_preview_leads_to_each_storys_form(served: ServedWeek) -> None:
    context = served.browser.new_context(viewport=WIDE, java_script_enabled=False)  # type: ignore[arg-type]  # as above
    sign_in(context, served.week, served.address, "dana")
    page = context.new_page()
    page.goto(f"{served.address}{served.week.path}?view=dark")
    with page.expect_navigation():
        click_near_foot(link_in_preview(page, "Featured 3"))
    expect(page.locator(".fields [name=headline]")).to_have_value(served.week.headlines("featured")[2])
    expect(page.locator("#preview .seg [aria-current]")).to_have_text("Dark")


@pytest.mark.parametrize(("viewport", "query"), [(WIDE, "?filter=used"), (PHONE, "?tab=stories")])
def test_a_search_goes_through_everything_as_it_is_typed_and_back_restores_the_field(
    served: ServedWeek, viewport: dict[str, int], query: str
) -> None:
    page = served.open(viewport, query)
    page.evaluate("window.isTheSame = true")
    field, hits, tabs, rows = (page.locator(part) for part in ("#words", "#hits", ".chips a", "#found > li"))
    before, everything = page.locator(".chips [aria-current]").inner_text(), hits.inner_text()
    # By pointer and letter for letter.
    field.click()
    page.keyboard.type("crane")
    expect(hits).to_have_text(re.compile("^[0-9]+ results for “crane”$"))
    expect(tabs).to_have_text(
        [
            re.compile(f"^{title} {number}$")
            for title, number in (
                ("Suggested", r"\d+"),
                ("Used", r"[1-9]\d*"),
                ("Unused", r"\d+"),
                ("All", r"[1-9]\d*"),
            )
        ]
    )
    expect(page.locator(".chips [aria-current]")).to_have_text(re.compile("^All "))
    expect(rows.filter(has_text="In Featured 1")).not_to_have_count(0)
    expect(rows.first.locator("mark").first).to_have_text(re.compile("^crane", re.IGNORECASE))
    expect(field).to_be_focused()
    expect(field).to_have_value("crane")
    assert axe_report(page) == ""
    # By keyboard: Enter leads to the hits, a tab narrows them, and Back widens them again.
    page.keyboard.press("Enter")
    expect(page.locator("#found")).to_be_focused()
    page.get_by_role("link", name=re.compile("^Used ")).focus()
    page.keyboard.press("Enter")
    expect(page.locator(".chips [aria-current]")).to_have_text(re.compile("^Used "))
    expect(field).to_have_value("crane")
    page.go_back()
    expect(page.locator(".chips [aria-current]")).to_have_text(re.compile("^All "))
    expect(field).to_have_value("crane")
    assert page.evaluate("window.isTheSame")
    # A story that was found keeps the search, as does another page.
    rows.get_by_role("link", name="Featured 1", exact=True).first.click()
    expect(page).to_have_url(re.compile("q=crane"))
    row(page, 1).locator("h3").click()
    expect(row(page, 1)).to_be_focused()
    expect(page.locator(".fields [name=headline]")).to_have_count(1)
    expect(page).to_have_url(re.compile("q=crane"))
    page.goto(f"{served.address}/desk/sources")
    page.go_back()
    page.go_back()
    page.go_back()
    expect(field).to_have_value("crane")
    expect(hits).to_have_text(re.compile("results for “crane”"))
    # One step back is the list before the search.
    page.go_back()
    expect(field).to_have_value("")
    expect(page.locator(".chips [aria-current]")).to_have_text(before)
    expect(hits).to_have_text(everything)


def test_a_search_that_is_not_answered_is_sent_as_a_form(served: ServedWeek) -> None:
    page = served.open(WIDE)
    page.route("**part=results**", lambda route: route.abort())
    page.locator("#words").fill("crane")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    expect(page.locator("#hits")).to_have_text(re.compile("results for “crane”"))
