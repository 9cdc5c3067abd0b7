"""An edition's web page in a browser: news first, and an introduction that unfolds."""

from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from digest.store.models import EditionState
from digest.web.server import open_page_server
from tests.tools import look_measures
from tests.web.conftest import sample_content, store_image

NAME = "2026-W47"
FIRST_HEADLINE = 300  # CSS pixels from the top, at a width of 390


@pytest.mark.chromium
def test_the_page_begins_with_news_and_unfolds_the_intro_without_a_script(world: Any, browser: Browser) -> None:
    content = sample_content(store_image(world.database), NAME, 147, "Ports get ten days")
    content = replace(content, intro="Two notices ask for the same plain thing. " * 5)
    world.edition(state=EditionState.SENT, content=content)
    context = browser.new_context(viewport={"width": 390, "height": 844})
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{serving.port}/editions/{NAME}")
        assert look_measures.find_text_top(page, "Ports get ten") <= FIRST_HEADLINE
        fact = look_measures.find_text_top(page, "A joint notice asks")
        assert fact <= look_measures.FIRST_FACT
        last, field = (page.locator(selector).last.bounding_box() for selector in ("main h3", "main form"))
        assert last
        assert field
        assert field["y"] > last["y"], "the form is below the news"
        note = page.locator("#intro")
        expect(note).to_be_visible()
        paragraph = note.locator("p").first
        expect(paragraph).to_be_hidden()
        page.emulate_media(media="print")
        expect(paragraph).to_be_visible()
        page.emulate_media(media="screen")
        expect(paragraph).to_be_hidden()
        page.get_by_text("Read the whole note").click()
        expect(paragraph).to_be_visible()
        page.goto(f"http://127.0.0.1:{serving.port}/editions/{NAME}?again#intro")
        expect(paragraph).to_be_visible()
    context.close()
