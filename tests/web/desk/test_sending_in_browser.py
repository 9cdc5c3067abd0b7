"""An edition goes out while an editor looks on in a real browser: live counts, pause, resume, the end; and as axe sees it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from sqlalchemy import select, update

from digest.app import corrections
from digest.app.corrections import CorrectionForm
from digest.deliver.providers.registry import open_provider
from digest.deliver.send.edition_run import SendError, run_edition
from digest.edition import approval
from digest.edition.content import EditionContent
from digest.edition.queries import find_edition
from digest.store.engine import migrate_schema, open_database
from digest.store.models import Edition
from digest.web.server import open_page_server
from subscribers.signup.manual_signup import add_subscriber
from tests.actors import EDITOR
from tests.browser import faulty_pages, follow, sign_in
from tests.web.conftest import sample_evidence

pytestmark = pytest.mark.chromium

NAME = "2026-W47"
NOW = datetime(2026, 11, 19, 22, 30, tzinfo=UTC)
PATH = f"/desk/editions/{NAME}/sending"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, build_world: Any) -> Iterator[tuple[Any, str]]:
    """Serve an approved edition for 31 readers."""
    home = tmp_path_factory.mktemp("sending")
    database = open_database(f"sqlite:///{home / 'digest.db'}")
    migrate_schema(database)
    world = build_world(database, home)
    world.edition()
    settings, keys = world.install.settings, world.install.keys
    with database.write() as session:
        for number in range(30):
            address = f"reader{number}@county.example"
            add_subscriber(session, keys, address, evidence=sample_evidence(), now=NOW - timedelta(days=100))
        edition = find_edition(session, NAME)
        content_hash = approval.current_content_hash(session, edition, settings)
        approval.sign_approval(session, edition, content_hash, settings=settings, keys=keys, actor="staff 1", now=NOW)
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        yield world, f"http://127.0.0.1:{serving.port}"
    database.close()


def hand_over(world: Any, limit: int | None = None) -> None:
    """Let a run hand over so many messages."""
    run_edition(
        world.database,
        NAME,
        open_provider(world.install.settings),
        world.install.keys,
        world.install.settings,
        clock=lambda: NOW,
        limit=limit,
    )


def test_an_editor_watches_pauses_and_resumes_an_edition_on_its_way(browser: Browser, served: tuple[Any, str]) -> None:
    world, address = served
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    sign_in(context, world, address, "admin")
    page = context.new_page()
    heading = page.locator("h1")
    page.goto(address + PATH)
    expect(heading).to_have_text("No. 147 goes to 31 readers")
    hand_over(world, limit=10)
    expect(heading).to_have_text("10 of 31 done")
    expect(page.locator(".key")).to_contain_text("21 waiting")
    follow(page.get_by_role("button", name="Pause"))
    expect(heading).to_have_text("Paused: 10 of 31 done")
    with pytest.raises(SendError, match="paused"):
        hand_over(world)
    follow(page.get_by_role("button", name="Let it go on"))
    expect(heading).to_have_text("10 of 31 done")
    page.get_by_text("As a table").click()
    hand_over(world, limit=10)
    expect(heading).to_have_text("20 of 31 done")
    # The table that was opened stays open though its numbers are new.
    expect(page.locator("#minutes td.r")).to_be_visible()
    page.locator("#number").fill("14")
    follow(page.get_by_role("button", name="Stop everything"))
    expect(heading).to_have_text("Everything is stopped")
    with pytest.raises(SendError, match="held"):
        hand_over(world)
    follow(page.get_by_role("button", name="Let mail leave again"))
    expect(heading).to_have_text("20 of 31 done")
    hand_over(world)
    expect(heading).to_have_text("31 of 31 accepted")
    expect(page.get_by_text("Stop renewing")).to_have_count(0)
    context.close()


def test_axe_finds_nothing_and_nothing_scrolls_sideways(browser: Browser, served: tuple[Any, str]) -> None:
    world, address = served
    hand_over(world)
    context = browser.new_context()
    sign_in(context, world, address, "admin")
    page = context.new_page()
    corrected = f"/desk/editions/{NAME}/corrections"
    with world.database.read() as session:
        stories = EditionContent.from_json(session.scalars(select(Edition)).one().content).linked_articles
    story = next(url for url in stories if "fema" in url)
    if not corrections.view_corrections(world.install, NAME).corrections:
        form = CorrectionForm(story, "headline", "New flood maps move 4,100 homes", "We gave ten times as many homes.")
        corrections.correct_story(world.install, NAME, form, actor=EDITOR, now=NOW)
    pages = [corrected, f"{corrected}?story={story}", f"{corrected}/1", f"/editions/{NAME}"]
    for width in (1440, 768, 360):
        page.set_viewport_size({"width": width, "height": 900})
        assert faulty_pages(page, address, pages) == {}
    states: list[dict[str, Any]] = [
        {"state": "sending", "paused_at": None},
        {"state": "sending", "paused_at": NOW, "paused_because": "a wrong date in the second story"},
        {"state": "sent", "paused_at": None},
    ]
    for values in states:
        with world.database.write() as session:
            session.execute(update(Edition).values(**values))
        assert faulty_pages(page, address, [f"{PATH}?renew=no"], widths=(1440, 768, 360)) == {}
    context.close()
