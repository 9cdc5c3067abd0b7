"""The link that turns breaking news off, and preferences that a publication doesn't offer."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, expect

from digest.edition.content.slotted_text import PREFERENCES_SLOT
from digest.edition.rendering.fragments import build_publication_context, create_mail_environment
from digest.edition.rendering.slot_marks import SlotMarks
from digest.edition.rendering.slot_places import find_misplaced_slots
from digest.installation.opened_installation import Installation
from digest.settings import PreferenceSettings, Settings
from digest.web.app import create_app
from digest.web.server import open_page_server
from subscribers.consent.preferences import Preferences
from subscribers.store.models import Person
from tests.browser import follow, page_faults, press_by_keyboard, tick_by_keyboard
from tests.moments import DRAFTING as NOW
from tests.subscribers.pages.test_my_data import Inbox
from tests.subscribers.pages.test_preferences import SECTIONS, chosen, path_of

CHOSEN = {"asks": "omit pause_until breaking_news", "section": SECTIONS, "breaking_news": "yes"}


def choose(world: Any, preferences: Preferences) -> None:
    with world.database.write() as session:
        session.get_one(Person, world.ada).choices = preferences.as_json()


def test_the_link_shows_a_button_that_turns_breaking_news_off(both: Any) -> None:
    before = Preferences(frozenset({"events"}), text_only=True, breaking_news=True)
    choose(both, before)
    path = f"{path_of(both)}/breaking-news"
    stored = both.dump()
    page = both.client.get(path)
    assert "Turn off breaking news?" in page.text
    assert "a•••@analytical.example" in page.text
    assert page.headers["Cache-Control"] == "no-store"
    assert both.dump() == stored, "opening the link changed something"
    assert "Breaking news is off" in both.client.post(path).text
    assert chosen(both) == replace(before, breaking_news=False)
    (email,) = Inbox(both).new()
    assert email["Subject"] == "Your preferences for HLS.Today changed"
    stored = both.dump()
    assert "Breaking news is off" in both.client.post(path).text
    assert "Breaking news is off" in both.client.get(path).text
    assert both.dump() == stored


def test_only_a_subscribers_own_link_turns_it_off(world: Any) -> None:
    choose(world, Preferences(breaking_news=True))
    path = f"{path_of(world)}/breaking-news"
    stored = world.dump()
    assert world.client.post("/preferences/" + "A" * 22 + "/breaking-news").status_code == 404
    test = f"/preferences/{world.token('test preferences')}/breaking-news"
    assert "test email" in world.client.post(test).text
    assert world.dump() == stored
    world.client.post(f"/u/{world.token('leave')}")
    stored = world.dump()
    for answer in (world.client.get(path), world.client.post(path)):
        assert "You’re not subscribed" in answer.text
    assert world.dump() == stored


def test_the_choice_is_saved_described_and_restored(both: Any) -> None:
    assert 'name="breaking_news" value="yes">' in both.client.get(path_of(both)).text
    asks = {"asks": "omit frequency breaking_news pause_until", "section": SECTIONS, "breaking_news": "yes"}
    page = both.client.post(path_of(both), data=asks).text
    assert "All sections, plus breaking news. Every edition." in page
    assert chosen(both) == Preferences(breaking_news=True)
    paused = asks | {"pause_until": "2026-12-24"}
    page = both.client.post(path_of(both), data=paused).text
    assert "Paused until December 24, 2026, then all sections, plus breaking news." in page
    assert not chosen(both).gets_breaking_news(date(2026, 12, 1))


def without_offer(world: Any) -> Any:
    settings: Settings = world.install.settings
    file = settings.file.model_copy(update={"preferences": PreferenceSettings(breaking_news="off")})
    install = Installation(settings.model_copy(update={"file": file}), world.database)
    return replace(world, install=install, app=create_app(install, clock=lambda: NOW))


def test_a_page_that_did_not_ask_for_it_keeps_it(world: Any) -> None:
    choose(world, Preferences(breaking_news=True))
    world.client.post(path_of(world), data={"section": SECTIONS, "text_only": "yes"})
    assert chosen(world) == Preferences(breaking_news=True, text_only=True)


def test_the_privacy_page_names_it_if_it_is_offered(world: Any) -> None:
    assert "breaking news" in world.client.get("/privacy").text


def test_a_publication_that_does_not_offer_it_keeps_earlier_choices(world: Any) -> None:
    plain = without_offer(world)
    for path in (path_of(plain), "/subscribe", "/privacy"):
        assert "breaking" not in plain.client.get(path).text.lower()
    asks = {"asks": "omit breaking_news", "section": SECTIONS, "breaking_news": "yes"}
    plain.client.post(path_of(plain), data=asks)
    assert chosen(plain) == Preferences(), "a preference that isn't offered was taken"
    choose(plain, Preferences(breaking_news=True))
    plain.client.post(path_of(plain), data={"asks": CHOSEN["asks"], "section": ["events"]})
    assert chosen(plain).breaking_news, "a preference that isn't shown was lost"
    plain.client.post(f"{path_of(plain)}/breaking-news")
    assert not chosen(plain).breaking_news, "the link in an earlier email must work on"


@pytest.mark.parametrize(("name", "language"), [("html", "en"), ("txt", "en"), ("html", "fr"), ("txt", "fr")])
def test_an_email_says_why_it_came_and_leads_to_the_page(tmp_path: Path, name: str, language: str) -> None:
    settings = Settings(home=tmp_path)
    publication = settings.file.publication.model_copy(update={"language": language})
    file = settings.file.model_copy(update={"publication": publication})
    settings = settings.model_copy(update={"file": file})
    base, marks = build_publication_context(settings).base, SlotMarks()
    link = f"{base}/preferences/{marks.mark(PREFERENCES_SLOT)}/breaking-news"
    template = create_mail_environment(settings).get_template(f"mail/edition/breaking_news.{name}")
    part = marks.split(template.render(breaking_news_off=link))
    words = {"en": "because you signed up for it", "fr": "parce que vous avez accepté de les recevoir"}[language]
    assert words in " ".join(part.text.split())
    assert [slot for _, slot in part.slots] == [PREFERENCES_SLOT]
    assert list(find_misplaced_slots(part, base, is_html=name == "html")) == []


def press(button: Locator, *, by_keyboard: bool) -> None:
    if by_keyboard:
        press_by_keyboard(button)
    else:
        follow(button)


@pytest.mark.chromium
@pytest.mark.parametrize(("width", "by_keyboard"), [(390, False), (1440, True)])
def test_a_subscriber_chooses_breaking_news_and_turns_it_off(
    browser: Browser, one_database: Any, tmp_path: Path, build_world: Any, width: int, *, by_keyboard: bool
) -> None:
    world = build_world(one_database, tmp_path)
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        context = browser.new_context(java_script_enabled=True, viewport={"width": width, "height": 844})
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{serving.port}{path_of(world)}")
        box = page.get_by_role("checkbox", name="Email me breaking news")
        if by_keyboard:
            tick_by_keyboard(box)
        else:
            box.check()
        press(page.get_by_role("button", name="Save preferences"), by_keyboard=by_keyboard)
        expect(page.get_by_role("status")).to_contain_text("plus breaking news")
        assert page_faults(page, widths=(390, 1440)) == ""
        page.goto(f"http://127.0.0.1:{serving.port}{path_of(world)}/breaking-news")
        assert page_faults(page, widths=(390, 1440)) == ""
        page.set_viewport_size({"width": width, "height": 844})
        press(page.get_by_role("button", name="Turn off breaking news"), by_keyboard=by_keyboard)
        expect(page.get_by_role("status")).to_contain_text("We won’t email you breaking news.")
        assert page_faults(page, widths=(390, 1440)) == ""
        press(page.get_by_role("link", name="Manage preferences"), by_keyboard=by_keyboard)
        expect(box).not_to_be_checked()
        context.close()
