"""The forms of the edition's page keep what an editor does in them, and save it once, in a real browser."""


import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser import follow
from tests.web.desk.test_history import acts
from tests.web.desk.test_queue_in_browser import WIDE, ServedWeek, served

__all__ = ["served"]
pytestmark = pytest.mark.chromium


def open_block(page: Page, words: str) -> Locator:
    """Open a labeled block's form."""
    block = page.locator("details.block").filter(has=page.locator("summary", has_text=words))
    block.locator("> summary").click()
    return block.locator("form")


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
    # The first field's own save is still on its way.
    form.get_by_role("button", name="Save block").click()
    page.wait_for_function("document.querySelector('#saved').textContent === 'Saving…'")
    held[0].continue_()
    expect(page.locator("details.block", has_text="Sponsor, Anvil")).to_have_count(1)
    (block,) = [each for each in served.week.state.arrangement.blocks if each.headline == "Test block"]
    assert (block.text, block.name) == ("A half-day drill.", "Anvil")
    # All of it is one line of the history.
    (told,) = [act for act in acts(served.week) if "Test block" in act]
    assert "Dana wrote the block" in told
