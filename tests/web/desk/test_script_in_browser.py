"""The edition's page with its script, in a real browser: shortcuts, dragging, saving on leaving a field, two editors at once."""

import io
import re
from collections.abc import Iterator
from itertools import product

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Dialog, Locator, Page, Response, Route, expect

from digest.app.approval import approval_overviews, edition_approval
from digest.app.editions.edition_status import read_edition_status
from digest.installation.audited_actions import ActionEntryPoint, Actor, Role
from digest.store import staff
from digest.store.delivery_models import StaffMember
from digest.web.desk.outline.story_pool import MAX_POOL_STORIES
from digest.web.server import open_page_server
from tests.actors import ADMIN, EDITOR
from tests.browser import axe_report, follow, keep_first_rows, page_faults, sign_in
from tests.web.desk.editing.test_editing_pages import collect_articles
from tests.web.desk.sample_week import SampleWeek, later
from tests.web.desk.test_desk_in_browser import LIKE_ROWS

pytestmark = pytest.mark.chromium


@pytest.fixture
def served(week: SampleWeek) -> Iterator[tuple[SampleWeek, str]]:
    """Serve a copy of the week, with the forms' tokens as in life."""
    week.app.config["WTF_CSRF_ENABLED"] = True
    with open_page_server(week.app, "127.0.0.1", 0) as serving:
        yield week, f"http://127.0.0.1:{serving.port}"


@pytest.fixture
def faults() -> list[str]:
    """Collect what the pages' scripts complain of."""
    return []


@pytest.fixture
def desk(browser: Browser, served: tuple[SampleWeek, str], faults: list[str]) -> Iterator[Page]:
    """Open the edition's page as Dana."""
    context = open_context(browser, served, "dana", faults)
    yield context.pages[0]
    context.close()
    assert faults == []


def open_context(browser: Browser, served: tuple[SampleWeek, str], editor: str, faults: list[str]) -> BrowserContext:
    week, address = served
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    sign_in(context, week, address, editor)
    context.clock.install()  # the page's clock: tests move it on instead of waiting
    page = context.new_page()
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if "Content Security" in said.text else None)
    with page.expect_response(answers_beat):
        page.goto(address + week.path)
    return context


def answers_beat(answer: Response) -> bool:
    """Say whether this answers a page that told that it is open, and asked who else is here."""
    return answer.url.endswith("/presence") and answer.status == 200


def expect_saved(page: Page) -> None:
    """Wait until what a page shows is stored: it's shown before that."""
    expect(page.locator("#saved")).to_have_text(re.compile("^Saved "))


def shown(page: Page, section: str) -> list[str]:
    """Give the headlines that a section shows."""
    return page.locator(f'ol[data-section="{section}"] > li.st > div > h3').all_inner_texts()


# What can be pressed beside the checks, and lies outside their line or is narrower than a word, whatever the line says.
# Said and looked at in one go: what the page itself says there meanwhile does not come between.
SQUEEZED = """([saved, present]) => {
  const line = document.querySelector(".state"), right = line.getBoundingClientRect().right;
  const check = '<a class="chk crowd" href="#edition">' + "What a check says. ".repeat(4) + "</a>";
  document.querySelectorAll(".crowd").forEach((one) => one.remove());
  for (let n = 0; n < 2; n += 1) line.insertAdjacentHTML("afterbegin", check);
  document.querySelector("#saved").textContent = saved;
  document.querySelector("#present").textContent = present;
  const acts = [...document.querySelectorAll(".state .end a, .state .end button")];
  return acts.filter((act) => {
    const box = act.getBoundingClientRect();
    return box.width < 30 || box.right > right || act.textContent === "Redo" && act.scrollWidth > act.clientWidth + 1;
  }).map((act) => act.textContent);
}"""
SAVED = ("Saved Nov. 19, 5:35 p.m.", "Not saved because the server doesn\u2019t answer. Your text stays here.")
PRESENT = ("", "Also here: Sam Whitfield, at “Ports get ten days to check the remote links”")


def test_what_can_be_pressed_keeps_its_place_while_an_editor_arranges_by_keys(
    desk: Page, served: tuple[SampleWeek, str]
) -> None:
    week, _ = served
    first, second, *_ = week.headlines("featured")
    desk.keyboard.press("j")
    desk.keyboard.press("j")
    desk.keyboard.press("Alt+ArrowUp")
    expect(desk.locator("ol[data-section=featured] h3").first).to_have_text(second)
    expect_saved(desk)
    assert week.headlines("featured")[:2] == [second, first]
    assert desk.evaluate("document.activeElement.closest('li').dataset.story") == week.anchors("featured")[0]
    desk.keyboard.press("z")
    expect(desk.locator("ol[data-section=featured] h3").first).to_have_text(first)
    for width in (960, 1280, 1440):
        desk.set_viewport_size({"width": width, "height": 900})
        for words in product(SAVED, PRESENT):
            assert desk.evaluate(SQUEEZED, list(words)) == [], (
                f"what can be pressed keeps its place at {width}: {words}"
            )
    desk.keyboard.press("Shift+Z")
    expect(desk.locator("ol[data-section=featured] h3").first).to_have_text(second)


def test_a_story_of_the_list_is_added_by_keys(desk: Page, served: tuple[SampleWeek, str]) -> None:
    week, _ = served
    before = week.state.last_seq
    desk.keyboard.press("/")
    assert desk.evaluate("document.activeElement.name") == "q"
    desk.keyboard.type("jkx")
    expect(desk.locator("li.cand")).to_have_count(0)  # what is typed is searched for
    assert week.state.last_seq == before
    desk.locator("[name=q]").fill("")
    desk.locator("li.cand:has(button[value^='add '])").first.evaluate("e => { e.tabIndex = -1; e.focus() }")
    headline = desk.evaluate("document.activeElement.querySelector('h3').textContent")
    desk.keyboard.press("a")
    row = desk.locator("#edition li.st").filter(has=desk.get_by_role("heading", name=headline))
    expect(row).to_have_count(1)
    expect(row).to_be_in_viewport()
    desk.keyboard.press("z")
    expect(row).to_have_count(0)


def test_keys_lead_on_from_where_the_keyboard_is(desk: Page, served: tuple[SampleWeek, str]) -> None:
    week, _ = served
    desk.keyboard.press("j")
    desk.keyboard.press("Alt+ArrowDown")
    expect(desk.locator("#saved")).to_contain_text("Saved")
    collect_articles(week, 3)
    desk.reload()
    expect(desk.locator(".tray li")).to_have_count(3)
    first, second, third = desk.locator(".tray li b").all_text_contents()
    # In the tray, from the button that Tab leads to.
    desk.locator(".tray button").first.focus()
    desk.keyboard.press("j")
    expect(desk.locator(".tray li").nth(1)).to_be_focused()
    desk.keyboard.press("a")
    expect(desk.locator("#edition li.st").filter(has=desk.get_by_role("heading", name=second))).to_have_count(1)
    expect(desk.locator(".tray li b")).to_have_text([first, third])
    expect(desk.locator(".tray li").nth(1)).to_be_focused()
    # In the list, after a search.
    desk.keyboard.press("/")
    desk.keyboard.type("waited")
    with desk.expect_navigation():
        desk.keyboard.press("Enter")
    expect(desk.locator("#found")).to_be_focused()
    expect(desk.locator("#words")).to_be_in_viewport()
    desk.keyboard.press("j")
    expect(desk.locator("li.cand").first).to_be_focused()
    # In the field that was asked for, and after what was done, at the row that it was done to.
    row = desk.locator("#edition li.st").nth(1)
    row.evaluate("row => { row.tabIndex = -1; row.focus(); }")
    with desk.expect_navigation():
        desk.keyboard.press("e")
    expect(desk.locator("li.st.sel [name=headline]")).to_be_focused()
    expect(desk.locator("li.st.sel h3")).to_be_in_viewport()
    for keys in ("Control+Enter", "c"):
        with desk.expect_navigation():
            desk.keyboard.press(keys)
        expect(row).to_be_focused()
    desk.keyboard.press("j")
    expect(desk.locator("#edition li.st").nth(2)).to_be_focused()


def test_keys_act_on_the_row_that_was_pointed_at_or_focused_last(desk: Page, served: tuple[SampleWeek, str]) -> None:
    week, _ = served
    first, second, _, fourth, fifth, *_ = week.anchors("featured")
    rows = desk.locator("ol[data-section=featured] > li")
    rows.nth(1).hover()
    desk.keyboard.press("l")
    expect(desk.locator("#saved")).to_contain_text("Saved")
    assert week.anchors("featured")[:2] == [second, first]
    rows.nth(2).hover()
    desk.keyboard.press("j")
    expect(desk.locator(f"li[data-story={fourth}]")).to_be_focused()
    desk.keyboard.press("l")
    expect(rows.first).to_have_attribute("data-story", fourth)
    expect(rows.first).to_be_focused()
    # The pointer lies on another row since the list changed, but hasn't moved.
    desk.keyboard.press("j")
    expect(desk.locator(f"li[data-story={second}]")).to_be_focused()
    desk.locator(f"li[data-story={fifth}]").hover()
    desk.keyboard.press("l")
    expect(rows.first).to_have_attribute("data-story", fifth)


def test_the_list_comes_as_one_scrolls_and_stays_when_a_story_is_added(
    desk: Page, served: tuple[SampleWeek, str]
) -> None:
    week, address = served
    desk.goto(f"{address}{week.path}?filter=all")
    rows = desk.locator("#found > li")
    expect(rows).to_have_count(MAX_POOL_STORIES)
    everything = int(desk.evaluate("document.querySelector('.chips [aria-current]').textContent.match(/\\d+/)[0]"))
    while (count := rows.count()) < everything:
        desk.locator("#more").evaluate("e => e.scrollIntoView()")
        expect(rows).not_to_have_count(count)
    expect(rows).to_have_count(everything)
    late = rows.filter(has=desk.get_by_role("button")).last
    headline = late.locator("h3").inner_text()
    late.get_by_role("button").click()
    expect(desk.locator("#edition li.st").filter(has=desk.get_by_role("heading", name=headline))).to_have_count(1)
    expect(rows).to_have_count(everything)
    read, top = desk.locator("ol[data-section=most-read] > li").first, week.state.last_seq
    drag(desk, desk.locator("ol[data-section=featured] .grip").first, read)
    desk.keyboard.press("z")
    expect(desk.locator("#edition li.st").filter(has=desk.get_by_role("heading", name=headline))).to_have_count(0)
    assert week.state.last_seq == top + 1, "nothing is dropped where reads alone decide"


def test_the_keyboard_stays_on_a_button_between_the_stories_when_the_page_is_brought_up_to_date(
    desk: Page, served: tuple[SampleWeek, str]
) -> None:
    week, address = served
    desk.goto(f"{address}{week.path}?filter=all")
    rows = desk.locator("#found > li")
    expect(rows).to_have_count(MAX_POOL_STORIES)
    desk.keyboard.press("j")
    desk.keyboard.press("x")
    back = desk.get_by_role("button", name="Restore story")
    expect(back).to_have_count(1)
    back.focus()
    desk.locator("#more").evaluate("e => e.scrollIntoView()")
    expect(rows).not_to_have_count(MAX_POOL_STORIES)
    expect(back).to_be_focused()


def test_keys_show_views_and_the_list_of_keys(desk: Page) -> None:
    desk.keyboard.press("3")
    expect(desk.locator(".frame")).to_have_class("frame dark")
    expect(desk.locator(".seg a[aria-current]")).to_have_text("Dark")
    expect(desk.locator("#preview .title small")).to_have_text("On a phone in dark mode")
    expect(desk.locator("#preview iframe")).to_have_attribute("title", re.compile("in dark mode"))
    expect(desk.frame_locator(".frame iframe").locator("h1").first).to_have_text("HLS.Today")
    desk.keyboard.press("?")
    keys = desk.get_by_role("dialog", name="Keyboard shortcuts")
    expect(keys).to_contain_text("next story, previous story")
    keep_first_rows(desk, LIKE_ROWS)
    assert axe_report(desk) == ""
    desk.keyboard.press("Escape")
    expect(keys).to_have_count(0)
    # The two keys belong together for 1.5 seconds of the page's clock.
    desk.clock.set_fixed_time(desk.evaluate("Date.now()"))
    desk.keyboard.press("g")
    desk.keyboard.press("o")
    desk.wait_for_url("**/desk/sources")


def drag(page: Page, source: Locator, row: Locator) -> None:
    """Drag something to the upper edge of a row, as a hand does: in steps."""
    start, end = source.bounding_box(), row.bounding_box()
    assert start is not None
    assert end is not None
    page.mouse.move(start["x"] + start["width"] / 2, start["y"] + start["height"] / 2)
    page.mouse.down()
    page.mouse.move(end["x"] + 80, end["y"] + 20, steps=6)
    page.mouse.move(end["x"] + 80, end["y"] + 4, steps=3)
    page.mouse.up()


def test_stories_are_dragged_within_a_section_and_into_another(desk: Page, served: tuple[SampleWeek, str]) -> None:
    week, _ = served
    # Both sections in sight: what the test's mouse scrolls between pressing and moving, a hand does not.
    desk.set_viewport_size({"width": 1440, "height": 3000})
    mark = read_edition_status(week.installation, week.name, now=later()).content_hash
    edition_approval.approve_edition(week.installation, week.name, mark, actor=EDITOR, now=later())
    desk.reload()
    first, second, *_ = shown(desk, "featured")
    rows, pill, take_back = (
        desk.locator("ol[data-section=featured] > li"),
        desk.locator(".head .pill"),
        "Revoke the approval",
    )
    expect(desk.locator(".head").get_by_role("link", name=take_back)).to_have_count(1)
    asked = desk.get_by_role("dialog", name="This revokes the approval")
    for answer in ("Cancel", "Change and revoke approval"):
        drag(desk, rows.nth(1).locator(".grip"), rows.nth(0))
        asked.get_by_role("button", name=answer).click()
        expect(asked).to_have_count(0)
    expect(desk.locator("ol[data-section=featured] h3").first).to_have_text(second)
    expect_saved(desk)
    assert week.state.last_seq == 1
    # Whatever says how the approval stands comes with the rest of the page.
    expect(pill).to_have_text("Approval revoked")
    expect(pill).to_have_class("pill warn")
    expect(desk.locator(".void")).to_contain_text("no longer applies. Dana made")
    expect(desk.locator(".head").get_by_role("link", name="Review and approve")).to_have_count(1)
    expect(desk.locator(".head").get_by_role("link", name=take_back)).to_have_count(0)
    desk.get_by_role("button", name="Undo the change").click()
    # The same edition was approved, so nobody has to approve it again; and the next change is asked about like the first.
    expect(pill).to_have_text("Approved")
    expect(desk.locator("#void")).to_have_text("The approval is valid again.")
    expect(desk.locator(".head").get_by_role("link", name=take_back)).to_have_count(1)
    for answer in ("Cancel", "Change and revoke approval"):
        desk.get_by_role("button", name="Redo").click()
        asked.get_by_role("button", name=answer).click()
        expect(asked).to_have_count(0)
    expect(pill).to_have_text("Approval revoked")
    assert week.headlines("featured")[:2] == [second, first]
    topics = desk.locator("ol[data-section=topics] > li")
    drag(desk, rows.nth(0).locator(".grip"), topics.nth(0))
    expect(desk.locator("ol[data-section=topics] h3").first).to_have_text(second)
    candidate = desk.locator("li.cand:has(button)").first
    headline = candidate.locator("h3").inner_text()
    drag(desk, candidate.locator("p.meta").first, rows.nth(0))
    expect(desk.locator("ol[data-section=featured] h3").first).to_have_text(headline)
    # Straight up along the dots, too.
    third = rows.nth(2).locator("h3").inner_text()
    start, end = rows.nth(2).locator(".grip").bounding_box(), rows.nth(0).bounding_box()
    assert start is not None
    assert end is not None
    desk.mouse.move(start["x"] + 6, start["y"] + start["height"] / 2)
    desk.mouse.down()
    desk.mouse.move(start["x"] + 6, end["y"] + 20, steps=6)
    desk.mouse.move(start["x"] + 6, end["y"] + 2, steps=3)
    desk.mouse.up()
    expect(desk.locator("ol[data-section=featured] h3").first).to_have_text(third)


def test_a_field_is_saved_on_leaving_it_and_the_preview_shows_it(desk: Page, served: tuple[SampleWeek, str]) -> None:
    week, _ = served
    mail, last = desk.frame_locator(".frame iframe"), desk.locator("ol[data-section=topics] > li").last
    last_heading = mail.get_by_role("link", name=week.headlines("topics")[-1])
    desk.keyboard.press("6")
    expect(desk.locator("#preview .title small")).to_have_text("Subject and preheader in an inbox")
    last.get_by_text("More", exact=False).click()
    # Low on the page the menu opens upward: its last act is not under the line of keys.
    expect(last.get_by_role("button", name=re.compile("^Remove"))).to_be_in_viewport(ratio=1)
    desk.keyboard.press("Escape")
    expect(last.locator("details.more")).not_to_have_attribute("open", "")
    expect(last.locator("details.more > summary")).to_be_focused()
    desk.keyboard.press("Enter")
    last.get_by_role("link", name="Show in the preview").click()
    # A list of mails shows no story.
    expect(desk.locator("#preview .title small")).to_have_text("On a phone")
    expect(last_heading).to_be_in_viewport()
    expect(last.locator("details.more > summary")).to_be_focused()
    follow(desk.locator("ol[data-section=featured] > li").first.get_by_role("link", name="Edit"))
    headline = desk.locator("li.st.sel [name=headline]")
    headline.fill("Saved by leaving the field")
    expect(desk.locator("#unsaved")).to_have_text("Not saved yet: headline of Featured 1")
    expect(desk.locator("a[data-close]")).to_have_text("Close")
    desk.locator("li.st.sel textarea[name=summary]").focus()
    expect(desk.locator("#unsaved")).to_have_text("")
    expect(desk.locator("li.st.sel .lab em").first).to_contain_text("26 of 80 characters. Saved")
    assert "Saved by leaving the field" in week.headlines("featured")
    expect(mail.locator("h2").filter(has_text="Saved by leaving the field")).to_be_in_viewport()
    expect(last_heading).not_to_be_in_viewport()
    assert desk.evaluate("document.activeElement.name") == "summary"
    expect(desk.locator("li.st.sel [data-fresh=headline]")).to_contain_text("Original headline (HLS.Today):")
    desk.get_by_role("button", name=re.compile("^Undo")).click()
    expect(headline).not_to_have_value("Saved by leaving the field")
    desk.locator("li.st.sel textarea[name=summary]").fill("Typed and not left.")
    follow(desk.locator("li.st.sel textarea[name=summary]"), key="Control+Enter")
    expect(desk.locator("li.st.sel")).to_have_count(0)
    assert any("Typed and not left." in text for text in edited_texts(week))


def retype_the_intro(desk: Page) -> None:
    """Type another intro, and don't leave the field."""
    intro = desk.get_by_label("Intro")
    follow(desk.get_by_role("link", name="Edit the intro"))
    expect(intro).to_be_focused()
    intro.fill("Radios were  out for\neleven hours.")
    expect(desk.locator("#head .lab em").nth(2)).to_have_text("34 of 240 characters. Not saved yet")


def test_counts_and_the_inbox_line_follow_what_is_typed_and_a_chosen_picture_goes_with_the_form(
    desk: Page, served: tuple[SampleWeek, str]
) -> None:
    week, address = served
    subject, in_email = desk.get_by_label("Subject"), desk.locator("[data-fresh=email-intro]")
    retype_the_intro(desk)
    # What the email shows of the intro is about the saved one.
    expect(in_email).to_have_css("visibility", "hidden")
    subject.fill("Radios were out in eleven counties on Monday")
    expect(desk.locator("#head .lab em").first).to_have_text("44 of 60 characters, about 40 on a phone. Not saved yet")
    subject.fill("Radios were out in eleven counties " * 2)
    expect(desk.locator("#head .lab em").first).to_have_text("70 of 60 characters, 10 over. Not saved yet")
    subject.fill("Radios were out")
    expect(desk.locator("#head .lab em").first).to_have_text("15 of 60 characters. Not saved yet")
    expect(desk.locator(".inboxline [data-shows=subject]")).to_have_text("Radios were out")
    expect(desk.get_by_role("img", name=re.compile("HLS.Today, Radios were out, "))).to_have_count(1)
    subject.press("Tab")
    expect(desk.locator("#unsaved")).to_have_text("")
    expect(in_email).to_have_text("The email shows all of it.")
    expect(in_email).to_have_css("visibility", "visible")
    expect(desk.locator(".inboxline [data-shows=subject]")).to_have_text("Radios were out")
    anchor = week.anchors("featured")[0]
    desk.goto(f"{address}{week.path}?open={anchor}")
    form = desk.locator("li.st.sel form[data-saves]")
    file, description = form.get_by_label("Image to upload"), form.locator("[name=alt]")
    fold = desk.locator(f"#picture-{anchor} > summary")
    fold.click()
    file.set_input_files({"name": "rings.png", "mimeType": "image/png", "buffer": png()})
    expect(desk.get_by_role("radio", name="Uploaded image")).to_be_checked()
    expect(desk.locator("#unsaved")).to_have_text("Not saved yet: image file of Featured 1")
    expect(desk.locator("a[data-close]")).to_have_text("Close without saving the image")
    expect(description).to_have_value("")
    # Something else is saved meanwhile: the chosen file stays.
    desk.get_by_label(re.compile("note under the story")).fill("From us.")
    desk.locator("li.st.sel [name=headline]").focus()
    expect(desk.locator("#unsaved")).to_have_text("Not saved yet: image file of Featured 1")
    # A file without words is not sent, so that it is not to be chosen again; a folded part shows what is missing.
    fold.click()
    desk.get_by_role("button", name="Save and close").click()
    expect(description).to_be_focused()
    description.fill("Two grey rings")
    expect(desk.locator("#unsaved")).to_have_text("Not saved yet: image file of Featured 1, description of Featured 1")
    desk.get_by_role("button", name="Save and close").click()
    expect(desk.locator("li.st.sel")).to_have_count(0)
    expect(desk.locator("#unsaved")).to_have_text("")
    entry = week.entry("featured", 0)
    assert (entry["note"], entry["picture"]["alt"]) == ("From us.", "Two grey rings")
    # What the server refuses is said in place.
    desk.goto(f"{address}{week.path}?open={anchor}")
    file.set_input_files({"name": "rings.png", "mimeType": "image/png", "buffer": b"no picture"})
    fold.click()
    description.fill("Nothing")
    desk.get_by_role("button", name="Save and close").click()
    expect(desk.locator("#saved")).to_contain_text("Not saved: This image can’t be used")
    expect(description).to_have_value("Nothing")
    keep_first_rows(desk, LIKE_ROWS)
    assert axe_report(desk) == ""


def png() -> bytes:
    """Draw a picture."""
    out = io.BytesIO()
    Image.radial_gradient("L").save(out, "PNG")
    return out.getvalue()


def edited_texts(week: SampleWeek) -> list[str]:
    return [text for stories in week.state.arrangement.sections.values() for s in stories for text in s.texts.values()]


def test_a_date_that_is_being_typed_is_finished_before_the_page_is_brought_up_to_date(
    desk: Page, served: tuple[SampleWeek, str]
) -> None:
    week, address = served
    desk.goto(f"{address}{week.path}?filter=all")
    rows, blank = desk.locator("#found > li"), desk.locator("details.block")
    expect(rows).to_have_count(MAX_POOL_STORIES)
    desk.locator("#new-block").click()
    day = blank.locator("input[name=last_day]")
    day.focus()
    desk.keyboard.type("1130")
    with desk.expect_response(lambda answer: "rows=" in answer.url):
        desk.locator("#more").evaluate("e => e.scrollIntoView()")
    desk.evaluate("new Promise((done) => setTimeout(done, 300))")
    desk.keyboard.type("2026")
    expect(day).to_have_value("2026-11-30")
    blank.locator("input[name=headline]").focus()
    expect(rows).not_to_have_count(MAX_POOL_STORIES)


def test_a_blocks_fields_and_a_pictures_words_are_saved_on_leaving_and_what_is_not_is_named(
    desk: Page, served: tuple[SampleWeek, str]
) -> None:
    week, address = served
    unsaved, blocks = desk.locator("#unsaved"), desk.locator("details.block")
    before, known = week.state.last_seq, len(week.state.arrangement.blocks)
    blank = blocks.filter(has_text="Add another block")
    desk.locator("#new-block").click()
    # A new block enters the edition with its button alone: what is typed waits, and is named.
    blank.locator("input[name=name]").fill("Anvil Fire Supply")
    blank.locator("input[name=name]").press("Tab")
    blank.locator("input[name=headline]").fill("Pumps that start")
    blank.locator("input[name=headline]").press("Tab")
    expect(unsaved).to_have_text("Not saved yet: new block")
    # Whatever else is done meanwhile, the page around it is brought up to date and leaves it as it is.
    desk.locator("ol[data-section=featured] > li").nth(1).get_by_role("button", name="Up").click()
    expect(desk.locator("#saved")).to_have_text(re.compile("^Saved "))
    expect(blank.locator("input[name=name]")).to_have_value("Anvil Fire Supply")
    assert week.state.last_seq == before + 1
    follow(blank.get_by_role("button", name="Save block"))
    expect(unsaved).to_have_text("")
    written = blocks.filter(has=desk.locator("summary", has_text="Pumps that start"))
    expect(desk.locator("a.block", has_text="Pumps that start")).to_contain_text("Sponsor, Anvil Fire Supply")
    expect(blocks).to_have_count(0)
    mail = desk.frame_locator(".frame iframe")
    expect(mail.get_by_text("Pumps that start").first).to_be_attached()
    desk.locator("a.block", has_text="Pumps that start").click()
    expect(written.get_by_role("button", name="Remove block")).to_have_count(1)
    # The block's own fields are saved on leaving them.
    written.locator("select[name=kind]").select_option("opportunity")
    expect(written.locator("> summary")).to_contain_text("Opportunity")
    link = written.locator("input[name=url]")
    link.fill("anvil.example")
    link.press("Tab")
    expect(unsaved).to_have_text("Not saved yet: link of Pumps that start")
    link.fill("https://anvil.example.org/")
    # A day is saved when its field is left, not with each digit; its block stays in sight where it then runs later.
    written.locator("input[name=first_day]").focus()
    desk.keyboard.type("11302026")
    written.locator("textarea[name=text]").focus()
    expect(written.locator("> summary")).to_contain_text("Not in this edition")
    expect(unsaved).to_have_text("")
    written.locator("input[name=name]").fill("Anvil")
    written.locator("textarea[name=text]").focus()
    expect(written.locator("> summary")).to_contain_text("Opportunity, Anvil.")
    state = week.state
    assert [edit.kind for edit in state.edits[before + 1 :]] == ["block"] * 5
    (block,) = state.arrangement.resting_blocks
    assert (block.kind, block.headline, block.name, block.url) == (
        *("opportunity", "Pumps that start", "Anvil", "https://anvil.example.org/"),
    )
    assert (str(block.first_day), len(state.arrangement.blocks)) == ("2026-11-30", known)
    type_an_own_story(desk, week)
    write_words_of_a_picture(desk, week, address)


def type_an_own_story(desk: Page, week: SampleWeek) -> None:
    """A story of one's own is added by its button: what was typed stands until then, and is named."""
    desk.locator("#own > summary").click()
    desk.get_by_text("Write a story").click()
    desk.locator("#own input[name=title]").fill("From our desk")
    desk.keyboard.press("Tab")
    expect(desk.locator("#unsaved")).to_have_text("Not saved yet: headline of the added story")
    expect(desk.get_by_role("button", name=re.compile("^Undo"))).to_be_enabled()
    rows, second = desk.locator("ol[data-section=featured] > li"), week.anchors("featured")[1]
    rows.nth(1).get_by_role("button", name="Up").click()
    expect(rows.first).to_have_attribute("id", second)
    expect(desk.locator("#saved")).to_have_text(re.compile("^Saved "))  # a move is shown before it's saved
    expect(rows.first).not_to_have_attribute("aria-busy", "true")
    expect(desk.locator("#own input[name=title]")).to_have_value("From our desk")
    desk.locator("#own input[name=title]").fill("")


def write_words_of_a_picture(desk: Page, week: SampleWeek, address: str) -> None:
    """Write a picture's description and credit by leaving their fields; the file that is chosen next waits for the button."""
    desk.on("dialog", Dialog.accept)
    index = next(n for n, entry in enumerate(week.entries("featured")) if entry.get("picture"))
    anchor = week.anchors("featured")[index]
    desk.goto(f"{address}{week.path}?open={anchor}")
    desk.locator(f"#picture-{anchor} > summary").click()
    form = desk.locator("li.st.sel form[data-saves]")
    alt, credit = form.locator("[name=alt]"), form.locator("[name=credit]")
    first = alt.input_value()
    seq = week.state.last_seq
    for words in ("Two cranes at dusk", first, "Two cranes at dawn"):
        alt.fill(words)
        alt.press("Tab")
        expect(desk.locator("#unsaved")).to_have_text("")
        assert week.entry("featured", index)["picture"]["alt"] == words
    credit.fill("Port of Ellery")
    credit.press("Tab")
    expect(desk.locator("#unsaved")).to_have_text("")
    picture = week.entry("featured", index)["picture"]
    assert (picture["alt"], picture["credit"]) == ("Two cranes at dawn", "Port of Ellery")
    assert week.state.last_seq == seq + 4


WHERE_IT_CLOSES = "document.querySelector('#head button[name=close]').getBoundingClientRect().top"


def test_who_goes_on_typing_while_a_field_is_saved_hears_that_both_are(
    desk: Page, served: tuple[SampleWeek, str]
) -> None:
    week, address = served
    desk.goto(f"{address}{week.path}?open=head")
    subject, preheader = desk.get_by_label("Subject"), desk.get_by_label("Preheader")
    notes, unsaved = desk.locator("#head .lab em"), desk.locator("#unsaved")
    undo = desk.get_by_role("button", name=re.compile("^Undo"))
    place = desk.evaluate(WHERE_IT_CLOSES)
    subject.fill("Radios were off")
    subject.press("Tab")
    desk.keyboard.press("Control+A")  # a text area isn't selected by the Tab key
    # In any font, it has as many lines as before, because only "small" changes.
    first_words = "Also: 212 other water plants could be opened from a browser. Next deadline: Nov 30"
    expect(preheader).to_have_value(first_words.replace("other", "small"))
    desk.keyboard.type(first_words, delay=40)
    expect(notes.nth(0)).to_have_text(re.compile(r"^15 of 60 characters\. Saved "))
    # The page around it is up to date: the field that has the focus was not left, and is not saved half-typed.
    expect(unsaved).to_have_text("Not saved yet: preheader")
    expect(undo).to_be_disabled()
    assert desk.evaluate(WHERE_IT_CLOSES) == place, "nothing moves below what is not saved yet"
    expect(notes.nth(1)).to_have_text("82 of 90 characters. Not saved yet")
    desk.keyboard.type(".", delay=40)
    desk.keyboard.press("Tab")
    expect(notes.nth(1)).to_have_text(re.compile(r"^83 of 90 characters\. Saved "))
    expect(unsaved).to_have_text("")
    expect(undo).to_be_enabled()
    expect(undo).to_have_text("Undo writing the preheader")
    expect(undo).to_have_attribute("title", "Undo writing the preheader")
    assert desk.evaluate(WHERE_IT_CLOSES) == place
    written = [(edit.value["field"], edit.value["text"]) for edit in week.state.edits]
    assert written == [("subject", "Radios were off"), ("preheader", f"{first_words}.")]


def test_a_subject_that_was_mended_is_no_longer_called_faulty_in_its_open_form(
    desk: Page, served: tuple[SampleWeek, str]
) -> None:
    week, address = served
    desk.goto(f"{address}{week.path}?open=head")
    desk.get_by_label("Subject").fill("Radios were out…")
    desk.get_by_label("Subject").press("Tab")
    expect(desk.locator("#unsaved")).to_have_text("")
    desk.reload()
    expect(desk.locator("#head .fix")).to_contain_text("cuts off the lead story’s headline")
    subject, preheader = desk.get_by_label("Subject"), desk.locator("#head-preheader")
    place = preheader.bounding_box()
    subject.fill("Radios were out")
    subject.press("Tab")
    expect(desk.locator("#head .fix")).to_have_count(0)
    expect(preheader).to_be_focused()
    assert preheader.bounding_box() == place, "a click on it doesn't miss"


def test_a_story_that_is_moved_to_another_section_goes_to_its_end_by_default(
    desk: Page, served: tuple[SampleWeek, str]
) -> None:
    week, address = served
    first, end = week.anchors("featured")[0], str(len(week.headlines("topics")) + 1)
    desk.goto(f"{address}{week.path}?panel=move&about={first}")
    place = desk.locator(".move [name=position]")
    expect(place).to_have_value("1")
    desk.locator(".move [name=section]").select_option("topics")
    expect(place).to_have_value(end)
    # The dialog that the M key opens does the same.
    desk.locator(f"#{first} .tick").focus()
    desk.keyboard.press("m")
    dialog = desk.get_by_role("dialog", name="Move this story")
    expect(dialog.locator("[name=position]")).to_have_value("1")
    dialog.locator("[name=section]").select_option("topics")
    expect(dialog.locator("[name=position]")).to_have_value(end)


def test_closing_with_something_unsaved_asks_first(desk: Page) -> None:
    follow(desk.locator("ol[data-section=featured] > li").first.get_by_role("link", name="Edit"))
    headline = desk.locator("li.st.sel [name=headline]")
    headline.press_sequentially("x")
    # On a phone it is named right above the foot's buttons.
    desk.set_viewport_size({"width": 360, "height": 800})
    expect(desk.locator("#unsaved")).to_be_in_viewport()
    named, foot = desk.locator("#unsaved").bounding_box(), desk.locator(".sticky").bounding_box()
    assert named is not None
    assert foot is not None
    assert abs(named["y"] + named["height"] - foot["y"]) < 1
    desk.on("dialog", Dialog.dismiss)
    with desk.expect_event("dialog") as asked:
        desk.evaluate("location.assign('/desk/sources')")
    assert asked.value.type == "beforeunload"
    expect(headline).to_have_value(re.compile("^x"))


def move_to_next_beat(page: Page) -> None:
    """Let the page ask who else is here: it does so on a step to another story, once a second at most."""
    page.clock.fast_forward(1100)
    page.keyboard.press("j")


def hear_of_approval_while_typing(desk: Page, week: SampleWeek, address: str) -> None:
    """Let a colleague approve while something is typed: the head says so, and nothing typed is lost, or saved by looking."""
    seq = week.state.last_seq
    desk.goto(f"{address}{week.path}?open=head")
    subject, acts, stands = desk.get_by_label("Subject"), desk.locator(".head .btn"), desk.locator("#stands")
    subject.press("Control+End")
    desk.keyboard.type(" (typed)")
    mark = read_edition_status(week.installation, week.name, now=later()).content_hash
    with week.installation.database.write() as session:
        priya = StaffMember(
            email="priya.nair@news.example.org",
            name="Priya Nair",
            role="editor",
            added_by="test",
            added_at=later(),
            proven_at=later(),
        )
        session.add(priya)
        session.flush()
        colleague = Actor(staff.staff_actor(priya), Role.EDITOR, ActionEntryPoint.DESK)
    edition_approval.approve_edition(week.installation, week.name, mark, actor=colleague, now=later())
    desk.clock.fast_forward(16_000)
    expect(stands).to_contain_text("Approved by Priya Nair, Nov. 19, 5:35 p.m. Any change revokes the approval.")
    expect(desk.locator(".head .pill")).to_have_text("Approved")
    expect(acts).to_have_text(["Send a test"])
    # What takes an approval back of which this page was not made is asked first, by whatever it is done.
    asked = desk.get_by_role("dialog", name="This revokes the approval")
    moves = desk.locator("ol[data-section=featured]").get_by_role("button", name=re.compile("^Up"))
    for is_by_button in (False, True):
        if is_by_button:
            moves.nth(1).click()
        else:
            # Not on leaving a field for the next one, but on leaving the form.
            desk.keyboard.press("Tab")
            expect(asked).to_have_count(0)
            desk.locator("#edition").focus()
        asked.get_by_role("button", name="Cancel").click()
        expect(asked).to_have_count(0)
    subject.focus()
    stands.get_by_role("button", name="Show changes").click()
    expect(acts).to_have_text(["Send a test", "Revoke the approval…"])
    expect(stands).to_be_empty()
    expect(subject).to_have_value(re.compile(r" \(typed\)$"))
    expect(subject).to_be_focused()
    expect(desk.locator("#unsaved")).to_have_text("Not saved yet: subject")
    assert week.state.last_seq == seq
    approval_overviews.send_back_edition(week.installation, week.name, "The lead is old.", actor=ADMIN, now=later())
    desk.clock.fast_forward(16_000)
    expect(stands).to_contain_text("Sent back by eve (at a terminal)")
    stands.get_by_role("button", name="Show changes").click()
    expect(desk.locator("#notes")).to_contain_text("The lead is old.")


def test_two_editors_see_each_other_and_lose_nothing(
    browser: Browser, served: tuple[SampleWeek, str], desk: Page, faults: list[str]
) -> None:
    week, address = served
    other = open_context(browser, served, "sam", faults)
    sam = other.pages[0]
    second = week.anchors("featured")[1]
    with sam.expect_response(answers_beat):
        move_to_next_beat(sam)
    move_to_next_beat(desk)
    # Who goes from story to story only looks.
    expect(desk.locator("#present")).to_have_text("Also here: Sam.")
    with sam.expect_response(answers_beat):
        follow(sam.locator(f"#{second}").get_by_role("link", name="Edit"))
    sam.locator("li.st.sel [name=headline]").focus()
    move_to_next_beat(desk)
    expect(desk.locator("#present")).to_contain_text("Also here: Sam, in Featured 2")
    expect(desk.locator(f"#{second} .here")).to_have_text("Sam has this story open.")
    order = shown(desk, "featured")
    sam.locator("li.st.sel [name=headline]").fill("Sam wrote this")
    sam.locator("li.st.sel textarea[name=summary]").focus()
    expect(sam.locator("#unsaved")).to_have_text("")
    move_to_next_beat(desk)
    expect(desk.locator("#present")).to_contain_text("Sam changed it")
    assert shown(desk, "featured") == order
    desk.get_by_role("button", name="Show changes").click()
    expect(desk.locator("#edition")).to_contain_text("Sam wrote this")
    # Whoever comes back after a while finds the page as it is now.
    sam.locator("li.st.sel [name=headline]").fill("Sam wrote more")
    sam.locator("li.st.sel textarea[name=summary]").focus()
    expect(sam.locator("#unsaved")).to_have_text("")
    desk.clock.fast_forward(61_000)
    expect(desk.locator("#edition")).to_contain_text("Sam wrote more")
    other.close()
    hear_of_approval_while_typing(desk, week, address)


def write_as_sam(week: SampleWeek, anchor: str, **fields: str) -> None:
    """Let Sam save fields of a story elsewhere."""
    client = week.client("sam")
    week.app.config["WTF_CSRF_ENABLED"] = False
    answer = client.post(f"{week.path}/story/{anchor}", data={"seq": str(week.state.last_seq), **fields})
    week.app.config["WTF_CSRF_ENABLED"] = True
    assert answer.status_code == 303


def hold_first(page: Page, url: str) -> list[Route]:
    """Hold back the first that the page sends there; give all that it has sent."""
    sent: list[Route] = []

    def answer(route: Route) -> None:
        sent.append(route)
        if len(sent) > 1:
            route.continue_()

    page.route(url, answer)
    return sent


def test_what_is_typed_while_a_colleague_writes_is_neither_lost_nor_stored_over_theirs(
    desk: Page, served: tuple[SampleWeek, str]
) -> None:
    week, address = served
    first, heading = week.anchors("featured")[0], desk.get_by_role("heading", level=1)
    headline, summary = (desk.locator(f"li.st.sel [name={name}]") for name in ("headline", "summary"))
    note, saved, unsaved = (desk.locator(place) for place in ("li.st.sel [name=note]", "#saved", "#unsaved"))
    story = f"{address}{week.path}?open={first}"
    desk.goto(story)
    write_as_sam(week, first, headline="Sam's headline", summary="Sam's summary.")
    # The answer is slow, and meanwhile the next field is written.
    sent = hold_first(desk, "**/story/*")
    headline.fill("Dana's headline")
    headline.press("Tab")
    summary.fill("Dana's sum")
    expect(saved).to_have_text("Saving…")
    sent[0].continue_()
    expect(saved).to_have_text("Not saved: Two versions of one headline. Leave this field to see the error.")
    expect(summary).to_be_focused()
    desk.keyboard.type("mary.")
    note.focus()
    expect(heading).to_have_text("Two versions of the headline and the summary")
    for words in ("Sam's headline", "Sam's summary.", "Dana's headline", "Dana's summary."):
        expect(desk.locator("main")).to_contain_text(words)
    entry = week.entry("featured", 0)
    assert (entry["headline"], entry["summary"]) == ("Sam's headline", "Sam's summary.")
    desk.unroute("**/story/*")
    # The page is brought up to date around a text that a colleague has changed since it was begun.
    desk.goto(story)
    note.fill("From us.")
    write_as_sam(week, first, summary="Sam's second summary.")
    summary.focus()
    desk.keyboard.type("Dana adds. ")
    expect(note.locator("xpath=..").locator("em")).to_contain_text("Saved ")
    expect(unsaved).to_contain_text("summary of Featured 1")
    note.focus()
    expect(heading).to_have_text("Two versions of one summary")
    expect(desk.locator("main")).to_contain_text("Dana adds.")
    assert week.entry("featured", 0)["summary"] == "Sam's second summary."
    # A session that ends keeps the page, and what is typed on it is saved in the next one.
    desk.goto(story)
    summary.fill("Dana's last word.")
    desk.context.clear_cookies()
    note.focus()
    expect(saved).to_have_text("You\u2019re signed out. Sign in in another tab. Your text stays here.")
    expect(unsaved).to_contain_text("summary of Featured 1")
    sign_in(desk.context, week, address, "dana")
    summary.focus()
    note.focus()
    expect(unsaved).to_have_text("")
    assert week.entry("featured", 0)["summary"] == "Dana's last word."


def test_a_page_that_is_signed_out_says_so_once_with_a_link_and_stops_asking_who_is_here(
    desk: Page, served: tuple[SampleWeek, str]
) -> None:
    week, address = served
    asked, saved = list[str](), desk.locator("#saved")
    link = saved.get_by_role("link", name="Sign in in another tab")
    desk.on("request", lambda request: asked.append(request.url) if request.url.endswith("/presence") else None)
    desk.context.clear_cookies()
    with desk.expect_response(lambda answer: answer.url.endswith("/presence") and answer.status == 401):
        desk.clock.fast_forward(16_000)
    expect(saved).to_have_text("You\u2019re signed out. Sign in in another tab. Your text stays here.")
    expect(link).to_have_js_property("href", desk.url)
    for _ in range(3):
        desk.clock.run_for(15_000)
    move_to_next_beat(desk)
    assert len(asked) == 1
    # Someone who comes back from signing in is here again.
    sign_in(desk.context, week, address, "dana")
    with desk.expect_response(answers_beat):
        desk.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(link).to_have_count(0)


def test_what_is_pressed_twice_is_done_once(desk: Page, served: tuple[SampleWeek, str]) -> None:
    week, address = served
    desk.goto(f"{address}{week.path}?filter=left-out")
    desk.locator("#found").get_by_role("button", name="Add").first.dblclick()
    expect(desk.locator("#saved")).to_contain_text("Saved")
    expect(desk.get_by_role("button", name=re.compile("^Undo"))).to_have_text(re.compile("^Undo adding “.+” to "))
    assert week.state.last_seq == 1
    sent = hold_first(desk, "**/act")
    desk.keyboard.press("Escape")
    desk.locator("ol[data-section=featured] > li").nth(1).evaluate("e => { e.tabIndex = -1; e.focus() }")
    for _ in range(3):
        desk.keyboard.press("x")
    sent[0].continue_()
    expect(desk.locator("#removed summary")).to_have_text("Recently removed: 1")
    desk.locator("#removed summary").click()
    desk.locator("#removed").get_by_role("button", name="Restore").dblclick()
    expect(desk.locator("#removed")).to_have_count(0)
    # The second to last of a section, moved down twice before the first is answered, stays at its end.
    desk.unroute("**/act")
    sent = hold_first(desk, "**/act")
    rows = desk.locator("ol[data-section=featured] > li")
    rows.nth(-2).evaluate("e => { e.tabIndex = -1; e.focus() }")
    moved = shown(desk, "featured")[-2]
    desk.keyboard.press("Alt+ArrowDown")
    desk.keyboard.press("Alt+ArrowDown")
    sent[0].continue_()
    expect(rows.last).to_contain_text(moved)
    expect(desk.locator("#saved")).to_contain_text("Saved")
    assert (week.state.last_seq, len(sent)) == (4, 1)


def test_letters_rest_when_they_are_switched_off(desk: Page, served: tuple[SampleWeek, str]) -> None:
    week, address = served
    desk.goto(f"{address}/desk/keys")
    follow(desk.get_by_role("button", name="Turn off single-letter shortcuts"))
    desk.goto(address + week.path)
    desk.locator("ol[data-section=featured] > li").nth(1).evaluate("e => { e.tabIndex = -1; e.focus() }")
    second, first = shown(desk, "featured")[1], shown(desk, "featured")[0]
    seq = week.state.last_seq
    desk.keyboard.press("x")
    desk.keyboard.press("Alt+ArrowUp")
    expect(desk.locator("ol[data-section=featured] h3").first).to_have_text(second)
    expect_saved(desk)
    assert week.state.last_seq == seq + 1
    assert first in week.headlines("featured")
    desk.goto(f"{address}/desk/keys")
    follow(desk.get_by_role("button", name="Turn on single-letter shortcuts"))


def test_axe_finds_nothing_on_history_previews_and_keys(browser: Browser, served: tuple[SampleWeek, str]) -> None:
    week, address = served
    week.act(f"pin {week.anchors('featured')[0]}")
    week.act("undo")
    context = browser.new_context()
    sign_in(context, week, address, "dana")
    page = context.new_page()
    found: dict[str, str] = {}
    for path in ("/history", "/history?moment=1", "/preview?view=wide", "/preview?view=aloud", "../../keys"):
        page.goto(f"{address}/desk/keys" if "keys" in path else address + week.path + path)
        if faults := page_faults(page, widths=(1440, 768, 360)):
            found[path] = faults
    context.close()
    assert found == {}
