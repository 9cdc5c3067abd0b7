"""Forms of the edition's page keep an editor's input, and save it once, in a real browser."""

import re

import pytest
from playwright.sync_api import Dialog, Locator, Page, Route, expect

from digest.app.approval import edition_approval
from digest.app.editions.edition_status import read_edition_status
from tests.actors import EDITOR
from tests.browser import axe_report, follow
from tests.web.desk.editing.test_editing_pages import write_headline
from tests.web.desk.editing.test_selection_pages import suggest
from tests.web.desk.sample_week import later
from tests.web.desk.test_history import acts
from tests.web.desk.test_queue_in_browser import (
    PAST_PAUSE,
    PHONE,
    WIDE,
    ServedWeek,
    expect_order,
    let_time_pass,
    press_in_menu,
    press_key,
    row,
    served,
)
from tests.web.desk.test_script_in_browser import drag

__all__ = ["served"]
pytestmark = pytest.mark.chromium


def open_block(page: Page, words: str) -> Locator:
    """Open a labeled block's form."""
    page.locator("a.block", has_text=words).click()
    return page.locator("details.block > form")


def count_submissions(page: Page) -> list[None]:
    """Give a list that grows by one for each form that is really sent."""
    sent: list[None] = []
    page.expose_function("countSubmission", lambda: sent.append(None))
    page.evaluate("addEventListener('submit', (event) => { if (!event.defaultPrevented) countSubmission(); })")
    return sent


def test_a_block_is_saved_right_after_its_last_field_without_a_conflict(served: ServedWeek) -> None:
    page = served.open(WIDE)
    form = open_block(page, "Add another block")
    for name, words in (("headline", "Test block"), ("text", "A drill."), ("url", "https://anvil.example.org/")):
        form.locator(f"[name={name}]:not([type=hidden])").fill(words)
    assert served.week.state.edits == (), "a new block enters the edition with its button alone"
    follow(form.get_by_role("button", name="Save block"))
    form, held = open_block(page, "Test block"), list[Route]()
    page.route("**/block/*", lambda route: route.continue_() if held else held.append(route))
    form.locator("textarea[name=text]").fill("A half-day drill.")
    form.locator("[name=name]:not([type=hidden])").fill("Anvil")
    # The first field's own save is still on its way, and pressed twice, the button saves once.
    sent = count_submissions(page)
    form.get_by_role("button", name="Save block").click()
    form.get_by_role("button", name="Save block").click()
    page.wait_for_function("document.querySelector('#saved').textContent === 'Saving…'")
    held[0].continue_()
    expect(page.locator("a.block", has_text="Sponsor, Anvil")).to_have_count(1)
    assert len(sent) == 1
    (block,) = [each for each in served.week.state.arrangement.blocks if each.headline == "Test block"]
    assert (block.text, block.name) == ("A half-day drill.", "Anvil")
    # All of it is one line of the history.
    (told,) = [act for act in acts(served.week) if "Test block" in act]
    assert "Dana wrote the block" in told


def test_a_form_that_loads_a_page_asks_first_if_another_form_would_lose_input(served: ServedWeek) -> None:
    page, asked = served.open(WIDE, "?open=own"), list[str]()

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", stay)
    headline, url, why = page.locator("#own [name=title]"), page.locator("#own-url"), page.locator("#url-refused")
    url.fill("http://127.0.0.1:9/")
    follow(page.get_by_role("button", name="Fetch the story"))
    expect(why).to_have_count(1)
    assert asked == []
    page.reload()
    open_block(page, "Add another block").locator("[name=headline]:not([type=hidden])").fill("Test block")
    headline.fill("From our desk")
    url.fill("http://127.0.0.1:9/")
    url.press("Enter")
    let_time_pass(page, 1000)
    assert asked == ["beforeunload"]
    expect(headline).to_have_value("From our desk")
    expect(page.locator("#unsaved")).to_have_text(
        "Not saved yet: new block, headline of the added story, url of the added story"
    )
    expect(page.locator(".state .ok")).to_be_hidden()


def approve(served: ServedWeek) -> None:
    """Approve the edition as it stands."""
    week, now = served.week, later()
    mark = read_edition_status(week.installation, week.name, now=now).content_hash
    edition_approval.approve_edition(week.installation, week.name, mark, actor=EDITOR, now=now)


def test_an_approved_edition_is_asked_about_once_a_form_is_left_and_its_texts_are_then_saved(
    served: ServedWeek,
) -> None:
    week = served.week
    approve(served)
    page = served.open(WIDE, f"?open={week.anchors('featured')[0]}")
    asked, badge = page.get_by_role("dialog", name="This revokes the approval"), page.locator(".head .pill")
    page.locator(".fields").get_by_role("button", name="Save", exact=True).click()
    expect(asked).to_have_count(0)  # nothing was typed
    page.locator(".fields [name=headline]").focus()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("Cranes wait")
    page.keyboard.press("Tab")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("A half-day drill.")
    # No key is lost to a question.
    expect(page.locator(".fields [name=summary]")).to_have_value("A half-day drill.")
    expect(asked).to_have_count(0)
    page.locator("#edition").focus()
    expect(asked).to_contain_text("Change the headline of Featured 1?")
    asked.get_by_role("button", name="Cancel").click()
    assert week.state.approved
    page.locator(".fields").get_by_role("button", name="Save", exact=True).click()
    asked.get_by_role("button", name="Change and revoke approval").click()
    expect(badge).to_have_text("Approval revoked")
    expect(page.locator("#unsaved")).to_have_text("")
    entry = week.entry("featured", 0)
    assert (entry["headline"], entry["summary"]) == ("Cranes wait", "A half-day drill.")
    # From here on it's a draft, whose texts are saved on leaving a field.
    page.locator(".fields [name=note]").fill("Ask the port.")
    page.locator(".fields [name=summary]").focus()
    expect(page.locator("#unsaved")).to_have_text("")
    expect(asked).to_have_count(0)


# Presses each button that would change an edition, and answers no; gives the questions.
LIST_QUESTIONS = """async () => {
  const questions = [];
  for (const button of document.querySelectorAll("button[name=act]:not([disabled], #selected *)")) {
    button.click();
    const dialog = document.querySelector("dialog");
    questions.push(dialog.querySelector("p").textContent.split("? The edition")[0]);
    const closed = new Promise((done) => dialog.addEventListener("close", done, { once: true }));
    dialog.querySelector("button.quiet").click();
    await closed;
  }
  return questions;
}"""


def test_each_question_about_an_approved_edition_says_what_would_be_done_to_which_story(served: ServedWeek) -> None:
    week = served.week
    first, second, *_ = week.state.arrangement.sections["featured"]
    suggest(week, (first.url, second.url))
    lead, *_, removed = week.anchors("featured")
    under, gone = week.headlines("topics")[0], week.headlines("featured")[-1]
    served.act_as_sam(f"under {week.anchors('topics')[0]}", main=lead)
    served.act_as_sam(f"drop {removed}")
    week.app.config["WTF_CSRF_ENABLED"] = False
    write_headline(week, lead, week.headlines("featured")[0], "Cranes wait")
    week.app.config["WTF_CSRF_ENABLED"] = True
    approve(served)
    page = served.open(WIDE, f"?open={lead}")
    asked = page.evaluate(LIST_QUESTIONS)
    other = week.headlines("featured")[1]
    assert {
        f"Remove “{under}”",
        f"Restore “{gone}”",
        "Use the original headline",
        f"Move “{other}” up",
        f"Merge “Featured 1: Cranes wait” with “Featured 2: {other}”",
        f"Put “Featured 2: {other}” under “Featured 1: Cranes wait”",
        f"Dismiss “Featured 1: Cranes wait” and “Featured 2: {other}” as duplicates",
        "Split off selected articles from “Cranes wait”",
    } <= set(asked), asked
    assert not [words for words in asked if not re.match("[A-Z][a-z]+ (?!“undefined)[a-z“]", words)]


def test_a_button_without_a_row_or_a_title_is_asked_about_too(served: ServedWeek) -> None:
    approve(served)
    page = served.open(WIDE)
    page.evaluate(
        """() => {
          const button = document.createElement("button");
          Object.assign(button, { name: "act", value: "drop gone", id: "bare", textContent: "Remove" });
          button.setAttribute("form", "act");
          document.querySelector("#edition").prepend(button);
        }"""
    )
    page.locator("#bare").click()
    expect(page.get_by_role("dialog", name="This revokes the approval")).to_contain_text("Remove it?")


def test_what_was_confirmed_on_leaving_the_form_of_an_approved_edition_is_saved(served: ServedWeek) -> None:
    week = served.week
    approve(served)
    page = served.open(WIDE, f"?open=head&panel=move&about={week.anchors('featured')[1]}")
    other = page.locator(".move [name=position]")
    page.locator("#head-subject").fill("Cranes wait")
    # Leaving for a field of another form is asked about, too, and the editor goes on there.
    other.click()
    page.get_by_role("button", name="Change and revoke approval").click()
    expect(other).to_be_focused()
    expect(page.locator(".head .pill")).to_have_text("Approval revoked")
    expect(page.locator("#unsaved")).to_have_text("")
    assert week.state.arrangement.texts["subject"] == "Cranes wait"


def test_a_yes_to_a_change_that_was_refused_is_none_to_the_next_and_colleagues_see_an_approval_return(
    served: ServedWeek,
) -> None:
    week = served.week
    approve(served)
    page, (_, second, third, *_) = served.open(WIDE), week.anchors("featured")
    asked, badge = page.get_by_role("dialog", name="This revokes the approval"), page.locator(".head .pill")
    for word, state in ((f"drop {second}", "Approval revoked"), ("undo", "Approved")):
        served.act_as_sam(word)
        let_time_pass(page, 1100)  # then a page asks again what's new as its keyboard goes on
        press_key(page, third, "j")
        expect(badge).to_have_text(state)
    press_key(page, second, "x")
    expect(asked).to_contain_text(
        f"Remove “{week.headlines('featured')[1]}”? The edition becomes a draft. Undo restores the approval."
    )
    asked.get_by_role("button", name="Change and revoke approval").click()
    expect(row(page, second)).to_contain_text("Not saved")
    press_key(page, third, "x")
    expect(asked).to_have_count(1)
    assert week.state.approved


def test_an_approval_is_revoked_on_a_phone_after_a_question(served: ServedWeek) -> None:
    approve(served)
    page = served.open(PHONE)
    revoke, cancel = page.locator(".sticky").get_by_role("link", name="Revoke"), page.get_by_role("link", name="Cancel")
    expect(revoke).to_be_in_viewport(ratio=1)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    follow(revoke)
    expect(cancel).to_be_focused()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert axe_report(page) == ""
    follow(cancel)
    assert served.week.state.approved
    follow(revoke)
    follow(page.get_by_role("button", name="Revoke the approval"))
    assert not served.week.state.approved


# Makes the line under a story longer than its column, and says whether its button is in sight, and what is in the button's middle.
REACH = """([line, hasLongTitle]) => {
  const walker = document.createTreeWalker(line, NodeFilter.SHOW_TEXT), button = line.querySelector("button");
  if (hasLongTitle) walker.nextNode().data = "Related: " + "a title of many words ".repeat(12);
  const box = button.getBoundingClientRect(), pane = line.closest("#edition").getBoundingClientRect();
  const top = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
  return [box.right <= pane.right, button.contains(top), document.documentElement.scrollWidth <= innerWidth];
}"""


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_the_link_that_removes_a_story_under_another_is_within_reach(
    served: ServedWeek, viewport: dict[str, int]
) -> None:
    lead, under, *_ = served.week.anchors("featured")
    served.act_as_sam(f"under {under}", main=lead)
    page = served.open(viewport)
    line = row(page, lead).locator(".meta", has_text="Related: ")
    line.scroll_into_view_if_needed()
    for has_long_title in (False, True):
        line.hover(position={"x": 8, "y": 8})
        assert page.evaluate(REACH, [line.element_handle(), has_long_title]) == [True, True, True]
    line.get_by_role("button", name=re.compile("^Remove")).click()
    expect(line).to_have_count(0)
    expect(page.locator("#saved")).to_have_text(re.compile("^Saved "))


def test_the_list_of_a_storys_articles_stays_as_it_is_while_a_field_is_saved(served: ServedWeek) -> None:
    lead, *others = served.week.anchors("featured")
    served.act_as_sam(" ".join(["merge", lead, *others[:4]]))
    page = served.open(WIDE, f"?open={lead}")
    fold = page.locator(".fields details", has_text="articles in this story")
    fold.locator("> summary").click()
    items, split = fold.locator("li"), fold.get_by_role("button", name="Split off selected articles")
    # Whatever of the list is looked at, the button is in sight.
    for position in (0, -1):
        items.nth(position).scroll_into_view_if_needed()
        expect(split).to_be_in_viewport(ratio=1)
    titles = items.locator("div a").all_inner_texts()
    items.nth(1).get_by_role("checkbox").check()
    items.last.get_by_role("checkbox").check()
    search = fold.get_by_role("searchbox")
    search.fill(titles[-1].upper()[:12])
    expect(items.last).to_be_visible()
    expect(items.first).to_be_hidden()
    expect(items.nth(1)).to_be_hidden()
    (selected,) = fold.locator("form").evaluate("form => new FormData(form).getAll('article')")
    expect(items.last.get_by_role("checkbox")).to_have_value(selected)  # what's hidden isn't split off
    page.locator(".fields [name=note]").fill("Ask the port.")
    page.locator(".fields [name=note]").press("Tab")
    expect(page.locator("#unsaved")).to_have_text("")
    # The rest of the page follows a second after the save.
    let_time_pass(page, PAST_PAUSE)
    expect(fold).to_have_attribute("open", "")
    expect(fold.get_by_role("checkbox", checked=True, include_hidden=True)).to_have_count(2)
    expect(search).to_have_value(titles[-1].upper()[:12])
    search.fill("")
    expect(items.first).to_be_visible()
    expect(fold.get_by_role("checkbox", checked=True, disabled=False)).to_have_count(2)
    # Another lead article leaves the list where it is, and so do articles that are split off.
    fields, place, news = (
        page.locator(".fields"),
        "e => [e.scrollTop, e.scrollHeight - e.clientHeight]",
        fold.get_by_role("status"),
    )
    for press, said in (
        (items.nth(2).get_by_role("button"), "The headline now links to "),
        (split, "Split off 2 articles from "),
    ):
        if press is split:
            items.nth(3).get_by_role("checkbox").check()
            items.last.get_by_role("checkbox").check()
            expect(split).to_have_text("Split off selected articles (2)")
        press.focus()
        before, _ = fields.evaluate(place)
        press.press("Enter")
        expect(news).to_contain_text(said)
        expect(fold).to_have_attribute("open", "")
        expect(fold.locator("button:focus")).to_have_count(1)
        now, lowest = fields.evaluate(place)
        assert abs(now - min(before, lowest)) < 60
    expect(items).to_have_count(len(titles) - 2)
    expect(items.first).to_contain_text(titles[2])


def test_a_story_next_to_a_pinned_one_stays_and_says_why_without_asking_about_the_approval(served: ServedWeek) -> None:
    _, _, third, fourth, *_ = served.week.anchors("featured")
    served.act_as_sam(f"pin {fourth}")
    approve(served)
    page, before = served.open(WIDE), served.week.state
    press_key(page, third, "Alt+ArrowDown")
    expect(row(page, third).get_by_role("alert")).to_contain_text("Not saved: No. 4 is pinned.")
    expect(page.get_by_role("dialog")).to_have_count(0)
    # By every other way, the server refuses it.
    served.week.app.config["WTF_CSRF_ENABLED"] = False
    for word in ("down", "move"):
        answer = served.week.act(f"{word} {third}", supersedes="", section="featured", position="4")
        assert answer.status_code == 409
        assert re.search(r"No. 4( of Featured)? is pinned", answer.text)
    served.week.app.config["WTF_CSRF_ENABLED"] = True
    assert (served.week.state.edits, served.week.state.approved) == (before.edits, True)


def test_the_keyboard_goes_on_from_the_story_that_an_action_was_about(served: ServedWeek) -> None:
    page = served.open(WIDE)
    first, second, third, *_ = served.week.anchors("featured")
    press_in_menu(page, third, "Make it the lead")
    expect_order(page, [third, first, second])
    expect(row(page, third)).to_be_focused()
    page.keyboard.press("Alt+ArrowDown")
    expect_order(page, [first, third, second])
    page.locator("#edition").focus()
    page.keyboard.press("z")
    expect_order(page, [third, first, second])
    expect(row(page, third)).to_be_focused()
    drag(page, row(page, first).locator(".grip"), row(page, third))
    expect_order(page, [first, third, second])
    expect(row(page, first)).to_be_focused()
    press_key(page, second, "z")
    expect_order(page, [third, first, second])
    expect(row(page, first)).to_be_focused()
    # After the last story of a section, that's the one before it, also in the preview.
    *_, stays, last = served.week.anchors("featured")
    title = served.week.headlines("featured")[-2]
    press_key(page, last, "x")
    expect(row(page, stays)).to_be_focused()
    mail = page.frame_locator(".frame iframe")
    expect(mail.locator("a.hl", has_text=title).first).to_be_in_viewport()
    expect(page.locator("#saved")).to_have_text(re.compile("^Saved "))
    expect(row(page, stays)).to_be_focused()
    explain_keys_of_the_list(page, third)
    search_before_the_panel_arrives(page, served, first)


def explain_keys_of_the_list(page: Page, lead: str) -> None:
    """Press keys in the list of stories that work in the edition alone; Esc leads to the edition."""
    page.reload()
    page.locator("#stories").focus()
    page.keyboard.press("j")
    listed = page.locator("#stories li[data-story]").first
    expect(listed).to_be_focused()
    for key in ("l", "x", "Shift+M", "e"):
        page.locator("#saved").evaluate("words => { words.textContent = ''; }")
        page.keyboard.press(key)
        expect(page.locator("#saved")).to_have_text("This key works only in the edition. Press Esc to go there.")
    page.keyboard.press("Escape")
    expect(row(page, lead)).to_be_focused()


def wait_for(page: Page, held: list[Route], count: int) -> None:
    """Wait until a page has made a number of requests, which are held."""
    while len(held) < count:
        let_time_pass(page, 20)


def search_before_the_panel_arrives(page: Page, served: ServedWeek, anchor: str) -> None:
    """Type while a panel is on its way: the letters are searched for there, and do nothing else. Esc gives it up."""
    before, held, panel = served.week.state.edits, list[Route](), row(page, anchor).locator(".move")
    page.route("**panel=merge**", lambda route: held.append(route) if len(held) < 2 else route.continue_())
    press_key(page, anchor, "Shift+M")
    page.keyboard.type("lex")
    page.keyboard.press("Escape")
    expect(page.locator("#desk")).not_to_have_attribute("data-opening", re.compile(""))
    wait_for(page, held, 1)
    held[0].continue_()
    press_key(page, anchor, "Shift+M")
    other = served.week.headlines("topics")[0]
    page.keyboard.type(other[:12])
    wait_for(page, held, 2)
    held[1].continue_()
    expect(page.locator("#asked")).to_be_focused()
    expect(page.locator("#asked")).to_have_value(other[:12])
    choices = panel.get_by_label("Other story")
    expect(choices.locator("label").first).to_have_text(re.compile(rf"^{re.escape(other)}Topics 1\. "))
    expect(choices.locator(":checked")).to_have_count(0)
    assert served.week.state.edits == before
    page.keyboard.press("Escape")
    expect(panel).to_have_count(0)
    expect(row(page, anchor)).to_be_focused()
    page.keyboard.press("Shift+M")
    expect(page.locator("#asked")).to_be_focused()
    page.keyboard.type(other)
    expect(choices.locator("label")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    expect(choices.locator(":checked")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#saved")).to_contain_text("Saved")
    assert served.week.headlines("topics")[0] != other
    expect(row(page, anchor)).to_be_focused()


def test_a_text_of_one_line_is_as_high_as_it_is_long_and_takes_no_line_break(served: ServedWeek) -> None:
    lead, words = (
        served.week.anchors("featured")[0],
        "Ports get ten days to check the remote links of their cranes " * 2,
    )
    for query, names in ((f"?open={lead}", ("headline", "note")), ("?open=head", ("subject", "preheader"))):
        page = served.open(PHONE, query)
        for name in names:
            field = page.locator(f".fields [name={name}]")
            field.fill(f"{words}\nand more")
            expect(field).to_have_value(f"{words.strip()} and more")
            assert field.evaluate("field => field.scrollHeight <= field.clientHeight + 1"), name
        field.press("Enter")
        expect(page.locator(".fields")).to_have_count(0)
    assert served.week.entry("featured", 0)["headline"] == f"{words.strip()} and more"


def test_a_long_headline_takes_two_lines_of_the_list(served: ServedWeek) -> None:
    lead = served.week.anchors("featured")[0]
    page = served.open(WIDE)
    title = row(page, lead).locator("h3")
    for words, lines in (("Ports get ten days", 1), ("Ports get ten days to check the remote links " * 3, 2)):
        title.evaluate("(title, words) => { title.textContent = words; }", words)
        assert title.evaluate("title => Math.round(title.clientHeight / 19)") == lines


def test_a_story_is_merged_with_the_most_similar_one_by_default_and_never_with_itself(served: ServedWeek) -> None:
    page = served.open(WIDE, "?filter=used")
    first, *_, last = served.week.anchors("featured")
    title = row(page, last).locator("h3").inner_text()
    row(page, served.week.anchors("topics")[0]).locator("h3").evaluate(
        "(one, title) => { one.textContent = title; }", title
    )
    row(page, last).hover()
    row(page, last).locator(".tick").check()
    page.locator("#ask-main > summary").click()
    select = page.locator("#ask-main [name=main]")
    expect(select).to_have_value(served.week.anchors("topics")[0])
    offered = select.locator("option").evaluate_all("options => options.map((option) => option.value)")
    rows = page.locator("#edition li.st").evaluate_all("rows => rows.map((row) => row.dataset.story)")
    assert offered == [anchor for anchor in rows if anchor != last]
    assert offered[0] == first
