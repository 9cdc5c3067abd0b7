"""An edition's web page in a browser: news first, with an intro that unfolds."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from digest.store.engine import open_database
from digest.store.models import EditionState
from digest.web.server import open_page_server
from tests.browser import excess_width
from tests.pseudo_language import lengthen, write_pseudo_catalogue
from tests.run_database import HomeDatabases
from tests.tools import look_measures
from tests.web.conftest import build_web_setup, sample_content, store_image

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


@pytest.mark.chromium
@pytest.mark.parametrize("code", ["fi", "he"], ids=["long words", "right to left"])
def test_public_pages_hold_longer_words_in_either_direction_on_screens_and_in_print(
    home_databases: HomeDatabases, browser: Browser, tmp_path: Path, code: str
) -> None:
    write_pseudo_catalogue(tmp_path / "templates", code, lengthen)
    database = open_database(home_databases.create(tmp_path))
    world = build_web_setup(database, tmp_path, code, tmp_path / "templates")
    world.edition(state=EditionState.SENT)
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        page = browser.new_page()
        for path in ("/", f"/editions/{NAME}", "/subscribe", "/privacy", "/contact", "/search?q=ports"):
            page.goto(f"http://127.0.0.1:{serving.port}{path}")
            expect(page.locator("html")).to_have_attribute("dir", world.install.settings.file.publication.direction)
            for width, medium in ((320, "screen"), (390, "screen"), (1000, "screen"), (720, "print")):
                page.emulate_media(media=medium)  # type: ignore[arg-type]
                page.set_viewport_size({"width": width, "height": 844})
                assert not excess_width(page), (path, width, medium)
                assert look_measures.find_line_faults(page) == ([], []), (path, width, medium)
        page.close()
    database.close()
