"""Topics and breaking news chosen while signing up, and on the page that follows."""

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, expect

from digest.app.sending.background_tasks import process_signup_requests, send_due_transactional_emails
from digest.app.subscribers.consent_texts import build_consent_text
from digest.catalogs import load_language
from digest.installation.opened_installation import Installation
from digest.settings import ConsentSettings, PreferenceSettings, Settings, SettingsFileContent
from digest.web.app import create_app
from digest.web.server import open_page_server
from subscribers.consent.breaking_news import mentions_breaking_news
from subscribers.consent.preferences import Preferences
from subscribers.store.models import Person
from tests.browser import follow, page_faults, tab_to
from tests.moments import DRAFTING as NOW
from tests.sent_emails import plain_text, read_email
from tests.subscribers.pages.test_breaking_news import choose, press
from tests.subscribers.pages.test_preferences import chosen, list_values

BO = "bo@harbor.example"
ASKS = "breaking_news omit_topics"


def confirmation_path(world: Any) -> str:
    """Answer the form, send its email, and give the path of the link in it."""
    process_signup_requests(world.install, clock=lambda: NOW)
    send_due_transactional_emails(world.install, clock=lambda: NOW)
    emails = [read_email(file.read_bytes()) for file in (world.install.settings.outbox_folder / "notice").glob("*.eml")]
    (path,) = {match[0] for email in emails for match in re.finditer(r"/confirm/[\w-]{22}", plain_text(email))}
    return path


def chosen_by_bo(world: Any) -> Preferences:
    with world.database.read() as session:
        people = session.query(Person).filter(Person.number != world.ada)
        return Preferences.from_json(people.one().choices)


def test_what_the_form_chooses_is_shown_agreed_to_and_kept(both: Any) -> None:
    page = both.client.get("/subscribe").text
    topics = list_values(page, "topic")
    assert "maritime-security" in topics
    wanted = ["maritime-security", "border-security"]
    form = {"email": BO, "asks": ASKS, "topic": wanted, "breaking_news": "yes"}
    assert both.client.post("/subscribe", data=form).status_code == 200
    path = confirmation_path(both)
    assert chosen_by_bo(both) == Preferences(), "a form changes nobody's preferences"
    page = both.client.get(path).text
    assert "plus breaking news. I can turn off breaking news or unsubscribe at any time." in page
    assert "(topics: " in page
    assert "Maritime security" in page
    both.client.post(path)
    assert chosen_by_bo(both) == Preferences(omit_topics=frozenset(topics) - set(wanted), breaking_news=True)


def test_the_page_describes_what_confirming_leaves_a_returning_subscriber_with(both: Any) -> None:
    earlier = Preferences(omit=frozenset({"events"}), frequency="monthly", breaking_news=True)
    choose(both, earlier)
    both.client.post(f"/u/{both.token('leave')}")
    topics = list_values(both.client.get("/subscribe").text, "topic")
    form = {"email": "ada.lovelace@analytical.example", "asks": ASKS, "topic": topics[1:]}
    both.client.post("/subscribe", data=form)
    path = confirmation_path(both)
    page = both.client.get(path).text
    assert "Once a month: the first edition of the month." in page
    assert "All sections" not in page
    assert "breaking news" not in page
    both.client.post(path)
    assert chosen(both) == replace(earlier, omit_topics=frozenset(topics[:1]), breaking_news=False)


def test_preferences_that_cannot_be_read_stay_until_all_are_asked_for(both: Any) -> None:
    both.client.post("/subscribe", data={"email": BO})
    path = confirmation_path(both)
    damaged = {"pause_until": "2099-99-99"}
    with both.database.write() as session:
        session.query(Person).filter(Person.number != both.ada).one().choices = damaged
    page = both.client.post(path).text
    assert "You’re subscribed" in page
    assert list_values(page, "topic") == []
    form = {"asks": ASKS, "topic": ["border-security"]}
    assert "Saved." not in both.client.post(f"{path}/preferences", data=form).text
    with both.database.read() as session:
        assert session.query(Person).filter(Person.number != both.ada).one().choices == damaged


def test_a_form_that_asks_nothing_more_chooses_nothing(world: Any) -> None:
    world.client.post("/subscribe", data={"email": BO, "topic": ["border-security"], "breaking_news": "yes"})
    path = confirmation_path(world)
    page = world.client.get(path).text
    assert "breaking news" not in page
    assert "You chose" not in page
    world.client.post(path)
    assert chosen_by_bo(world) == Preferences()


@pytest.mark.parametrize(
    ("offered", "summary"),
    [
        ({"breaking_news": "offer"}, "Choose topics and breaking news (optional)"),
        ({"breaking_news": "off"}, "Choose topics (optional)"),
        ({"breaking_news": "offer", "topics": "off"}, "Breaking news"),
    ],
)
def test_the_form_says_what_can_be_chosen(world: Any, offered: dict[str, Any], summary: str) -> None:
    settings: Settings = world.install.settings
    file = settings.file.model_copy(update={"preferences": PreferenceSettings(**offered)})
    install = Installation(settings.model_copy(update={"file": file}), world.database)
    page = create_app(install, clock=lambda: NOW).test_client().get("/subscribe").text
    assert f"<summary>{summary}</summary>" in page


def test_a_form_without_a_topic_is_explained(world: Any) -> None:
    before = world.dump()
    answer = world.client.post("/subscribe", data={"email": BO, "asks": ASKS})
    assert answer.status_code == 400
    assert "Choose at least one topic.<" in answer.text
    assert world.dump() == before


def test_the_form_of_a_subscriber_changes_nothing(world: Any) -> None:
    form = {
        "email": "ada.lovelace@analytical.example",
        "asks": ASKS,
        "topic": ["border-security"],
        "breaking_news": "yes",
    }
    world.client.post("/subscribe", data=form)
    process_signup_requests(world.install, clock=lambda: NOW)
    with world.database.read() as session:
        assert session.get_one(Person, world.ada).choices == {}


def test_the_page_after_confirming_asks_for_an_hour(both: Any) -> None:
    both.client.post("/subscribe", data={"email": BO})
    path = confirmation_path(both)
    form = {"asks": ASKS, "topic": ["border-security", "maritime-security"], "breaking_news": "yes"}
    before = both.dump()
    assert both.client.post(f"{path}/preferences", data=form).status_code == 200
    assert both.dump() == before, "the link isn't used yet"
    page = both.client.post(path).text
    topics = list_values(page, "topic")
    assert f'action="{path}/preferences"' in page
    answer = both.client.post(f"{path}/preferences", data=form)
    assert "plus breaking news" in answer.text
    expected = Preferences(omit_topics=frozenset(topics) - {"border-security", "maritime-security"}, breaking_news=True)
    assert chosen_by_bo(both) == expected
    unsaved = both.client.post(f"{path}/preferences", data=form | {"check": "none"}).text
    assert re.findall(r'name="(\w+)" value="[^"]+" checked', unsaved) == ["breaking_news"]
    assert chosen_by_bo(both) == expected, "the button saves nothing"
    assert both.client.post(f"{path}/preferences", data={"asks": ASKS}).status_code == 400
    for page in (both.client.get(path).text, both.client.get(f"{path}/preferences").text):
        assert list_values(page, "topic") == [], "opening the link again shows nobody's preferences"
    later = create_app(both.install, clock=lambda: NOW + timedelta(hours=1)).test_client()
    answer = later.post(f"{path}/preferences", data={"asks": ASKS, "topic": topics})
    assert "You’ve already used this link." in answer.text
    assert chosen_by_bo(both) == expected


@pytest.mark.parametrize("text", ["", "Yes, {name} may write to me on Fridays."])
@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("send", ["fri 06:00", "mon,thu 06:00", "daily 06:00"])
def test_the_consent_text_with_breaking_news_names_it(text: str, language: str, send: str) -> None:
    file = SettingsFileContent(consent=ConsentSettings(text=text))
    publication = file.publication.model_copy(update={"language": language})
    schedule = file.schedule.model_copy(update={"send": send})
    settings = Settings(file=file.model_copy(update={"publication": publication, "schedule": schedule}))
    plain, full = build_consent_text(settings), build_consent_text(settings, breaking_news=True)
    assert not mentions_breaking_news(plain.text, load_language(language))
    assert mentions_breaking_news(full.text, load_language(language))
    assert not {"{", "}", "%"} & set(full.text)


def test_a_consent_text_that_names_breaking_news_is_for_everyone() -> None:
    text = "Yes, email me {name} every Friday, and breaking news as it happens."
    settings = Settings(file=SettingsFileContent(consent=ConsentSettings(text=text)))
    assert build_consent_text(settings) == build_consent_text(settings, breaking_news=True)


def leave_out_by_buttons(topic: Locator, *, by_keyboard: bool) -> None:
    """Uncheck all topics at once, check them all again, and uncheck one."""
    topics = topic.page.get_by_role("group", name="Topics")
    checked = topics.get_by_role("checkbox", checked=True)
    for name in ("No topics", "All topics"):
        button = topics.get_by_role("button", name=name)
        press(button, by_keyboard=by_keyboard)
        expect(button).to_be_focused()
        expect(checked).to_have_count(0 if name == "No topics" else topics.get_by_role("checkbox").count())
    if by_keyboard:
        tab_to(topic).page.keyboard.press("Space")
    else:
        topic.uncheck()


@pytest.mark.chromium
@pytest.mark.parametrize(("width", "by_keyboard"), [(390, False), (1440, True)])
def test_a_new_subscriber_chooses_topics_and_breaking_news(
    browser: Browser, one_database: Any, tmp_path: Path, build_world: Any, width: int, *, by_keyboard: bool
) -> None:
    world = build_world(one_database, tmp_path)
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        context = browser.new_context(java_script_enabled=True, viewport={"width": width, "height": 844})
        page = context.new_page()
        site = f"http://127.0.0.1:{serving.port}"
        page.goto(f"{site}/subscribe")
        page.get_by_label("Your email address").fill(BO)
        topic = page.get_by_role("checkbox", name="Public health")
        if by_keyboard:
            tab_to(page.locator("summary", has_text="Choose topics")).page.keyboard.press("Enter")
        else:
            page.get_by_text("Choose topics and breaking news").click()
        leave_out_by_buttons(topic, by_keyboard=by_keyboard)
        expect(page.get_by_label("Your email address")).to_have_value(BO)
        expect(topic).not_to_be_checked()
        assert page_faults(page, widths=(390, 1440)) == ""
        page.set_viewport_size({"width": width, "height": 844})
        follow(page.get_by_role("button", name="Email me the link"))
        page.goto(site + confirmation_path(world))
        expect(page.locator("main")).to_contain_text("(topics: ")
        assert page_faults(page, widths=(390, 1440)) == ""
        page.set_viewport_size({"width": width, "height": 844})
        press(page.get_by_role("button", name="Yes, email me HLS.Today"), by_keyboard=by_keyboard)
        expect(topic).not_to_be_checked()
        box = page.get_by_role("checkbox", name="Email me breaking news")
        if by_keyboard:
            tab_to(box).page.keyboard.press("Space")
        else:
            box.check()
        leave_out_by_buttons(topic, by_keyboard=by_keyboard)
        press(page.get_by_role("button", name="Save preferences"), by_keyboard=by_keyboard)
        expect(page.get_by_role("status")).to_contain_text("plus breaking news")
        expect(box).to_be_checked()
        assert page_faults(page, widths=(390, 1440)) == ""
        context.close()
    assert chosen_by_bo(world) == Preferences(omit_topics=frozenset({"public-health"}), breaking_news=True)
