"""Topics on the preferences page."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from sqlalchemy import update

from digest.installation.opened_installation import Installation
from digest.settings import PreferenceSettings, Settings
from digest.store.models import Edition, EditionState
from digest.web.app import create_app
from digest.web.server import open_page_server
from subscribers.consent.preferences import Preferences
from subscribers.store.models import Person
from tests.browser import page_faults, tab_to
from tests.moments import DRAFTING as NOW
from tests.sent_emails import plain_text
from tests.subscribers.pages.test_breaking_news import choose, press
from tests.subscribers.pages.test_my_data import Inbox
from tests.subscribers.pages.test_preferences import SECTIONS, chosen, list_values, path_of

ASKS = {"asks": "omit omit_topics frequency", "section": SECTIONS}


def test_topics_are_chosen_kept_and_described(both: Any) -> None:
    page = both.client.get(path_of(both)).text
    offered = list_values(page, "topic")
    assert "maritime-security" in offered
    assert "Your choices apply only to stories under Topics." in page
    assert "versions of each edition" not in page
    wanted = ["maritime-security", "border-security"]
    answer = both.client.post(path_of(both), data={**ASKS, "topic": wanted}).text
    assert "All sections (topics: Border security and Maritime security)." in answer
    assert chosen(both) == Preferences(omit_topics=frozenset(offered) - set(wanted))
    (email,) = Inbox(both).new()
    assert "topics: Border security and Maritime security" in " ".join(plain_text(email).split())
    few = {"maritime-security", "border-security"}
    answer = both.client.post(path_of(both), data={**ASKS, "topic": [key for key in offered if key not in few]}).text
    assert "All sections (topics: all except Border security and Maritime security)." in answer
    both.client.post(path_of(both), data={**ASKS, "topic": wanted})
    page = both.client.get(path_of(both)).text
    for topic in offered:
        assert (f'value="{topic}" checked' in page) == (topic in wanted)
    both.client.post(path_of(both), data={**ASKS, "topic": offered})
    assert chosen(both) == Preferences()


def test_the_page_says_that_versions_are_limited_once_someone_got_more_than_they_chose(both: Any) -> None:
    both.edition(state=EditionState.SENT)
    for merged, is_said in ((0, False), (3, True), (0, False)):
        with both.database.write() as session:
            session.execute(update(Edition).values(merged=merged))
        assert ("We make up to 64 versions of each edition." in both.client.get(path_of(both)).text) == is_said


def test_a_page_keeps_what_it_did_not_ask_for(world: Any) -> None:
    before = Preferences(omit_topics=frozenset({"public-health"}), text_only=True, breaking_news=True)
    choose(world, before)
    world.client.post(path_of(world), data={"section": ["events"]})
    others = frozenset(SECTIONS) - {"events"}
    assert chosen(world) == replace(before, omit=others, text_only=False), "an earlier page asked for neither"
    choose(world, before)
    world.client.post(path_of(world), data={"asks": "breaking_news"})
    assert chosen(world) == replace(before, breaking_news=False)


def test_leaving_out_every_topic_is_explained(world: Any) -> None:
    before = world.dump()
    answer = world.client.post(path_of(world), data=ASKS)
    assert answer.status_code == 400
    assert "Choose at least one topic, or leave out the section." in answer.text
    assert world.dump() == before


def test_a_button_checks_all_topics_or_none_and_saves_nothing(both: Any) -> None:
    page = both.client.get(path_of(both)).text
    offered, before = list_values(page, "topic"), both.dump()
    typed = {"asks": "omit omit_topics frequency short", "section": ["events"], "frequency": "monthly", "short": "yes"}
    for wanted, topics in (("none", []), ("all", offered)):
        answer = both.client.post(path_of(both), data={**typed, "topic": offered[:2], "check": wanted})
        assert answer.status_code == 200
        assert [key for key in offered if f'value="{key}" checked' in answer.text] == topics
        for field in ('value="events" checked', 'value="monthly" checked', 'name="short" value="yes" checked'):
            assert field in answer.text, "what was typed stays"
        assert 'value="featured" checked' not in answer.text
        form = {"email": "bo@gmial.com", "asks": "omit_topics", "topic": offered[:2], "check": wanted}
        for email in (form["email"], "b"):
            answer = both.client.post("/subscribe", data=form | {"email": email})
            assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
            assert [key for key in offered if f'value="{key}" checked' in answer.text] == topics
            assert f'name="email" value="{email}"' in answer.text, "what was typed stays"
            assert 'name="kept"' not in answer.text, "the domain is asked about once the form is sent"
        embedded = form | {"form": "embedded", "kept": "gmial.com"}
        answer = both.client.post("/subscribe", data=embedded)
        for field in ('name="form" value="embedded"', 'name="kept" value="gmial.com"'):
            assert field in answer.text, "where the form is from, and the answer to the question, stay"
    assert both.dump() == before


def test_a_publication_may_keep_it_simple(world: Any) -> None:
    settings: Settings = world.install.settings
    file = settings.file.model_copy(update={"preferences": PreferenceSettings(topics="off")})
    install = Installation(settings.model_copy(update={"file": file}), world.database)
    plain = replace(world, install=install, app=create_app(install, clock=lambda: NOW))
    choose(plain, Preferences(omit_topics=frozenset({"public-health"})))
    page = plain.client.get(path_of(plain)).text
    assert list_values(page, "topic") == []
    answer = plain.client.post(path_of(plain), data={**ASKS, "topic": ["border-security"]}).text
    assert "All sections. Every edition." in answer
    assert chosen(plain).omit_topics == {"public-health"}, "it's offered again later"


@pytest.mark.chromium
@pytest.mark.parametrize(("width", "by_keyboard"), [(390, False), (1440, True)])
def test_a_subscriber_leaves_out_a_topic(
    browser: Browser, one_database: Any, tmp_path: Path, build_world: Any, width: int, *, by_keyboard: bool
) -> None:
    world = build_world(one_database, tmp_path)
    with world.database.write() as session:
        session.get_one(Person, world.ada).choices = Preferences(omit_topics=frozenset({"public-health"})).as_json()
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        context = browser.new_context(java_script_enabled=True, viewport={"width": width, "height": 844})
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{serving.port}{path_of(world)}")
        topics = page.get_by_role("group", name="Topics")
        health, maritime = (
            topics.get_by_role("checkbox", name=name) for name in ("Public health", "Maritime security")
        )
        expect(health).not_to_be_checked()
        expect(maritime).to_be_checked()
        assert page_faults(page, widths=(390, 1440)) == ""
        page.set_viewport_size({"width": width, "height": 844})
        if by_keyboard:
            tab_to(maritime).page.keyboard.press("Space")
        else:
            maritime.uncheck()
        expect(maritime).not_to_be_checked()
        press(page.get_by_role("button", name="Save preferences"), by_keyboard=by_keyboard)
        expect(page.get_by_role("status")).to_contain_text("(topics: all except Maritime security and Public health)")
        expect(maritime).not_to_be_checked()
        expect(health).not_to_be_checked()
        assert page_faults(page, widths=(390, 1440)) == ""
        press(topics.get_by_role("button", name="No topics"), by_keyboard=by_keyboard)
        expect(topics.get_by_role("button", name="No topics")).to_be_focused()
        expect(topics.get_by_role("checkbox", checked=True)).to_have_count(0)
        assert page_faults(page, widths=(390, 1440)) == ""
        if by_keyboard:
            tab_to(maritime).page.keyboard.press("Space")
            page.keyboard.press("Enter")  # saves the form, though the button to check all topics comes first
        else:
            maritime.check()
            press(page.get_by_role("button", name="Save preferences"), by_keyboard=False)
        expect(page.get_by_role("status")).to_contain_text("(topics: Maritime security)")
        context.close()
