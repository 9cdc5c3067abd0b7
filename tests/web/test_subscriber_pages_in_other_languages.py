"""Subscribers' pages in another language: without any English, from right to left if needed, and in correct French."""

import json
import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import lxml.html
import pytest
from icalendar import Calendar
from lxml import etree
from playwright.sync_api import Browser, Route

from digest.catalogs import load_language
from digest.settings.mail_frequency import MailFrequency
from digest.store.engine import open_database
from digest.web.server import open_page_server
from subscribers.pages.preferences_form import list_zone_labels
from tests.pseudo_language import OPENING, find_untranslated, read_visible_texts, texts_of, write_pseudo_catalogue
from tests.run_database import HomeDatabases
from tests.web.conftest import build_web_setup, sample_content, sample_evidence, store_image
from tests.web.subscriber_pages import WRITTEN_BY_STAFF, visit_all

LEFT_EDGE = "element => element.getBoundingClientRect().left"
MADE_UP = "he"  # it runs from right to left
RECORD = "my record"  # it shows what is stored as it is stored
FILES = (".atom", ".json", ".ics", ".csv")
# One page of each kind that has something of its own that could be too wide.
SHOWN = (
    *("/", "edition", "/topics/maritime", "search found", "/subscribe", "confirm", "asked", "preferences saved"),
    *("my data", "left", "contact, address", "/privacy", "restore", "404"),
)
# What is nobody's to translate: a list of places, the ids of messages.
_OPAQUE = re.compile(r'<select id="zone".*?</select>|&lt;[a-z]+\.\w+@[\w.]+&gt;', re.DOTALL)


@pytest.fixture(scope="module")
def toured(
    tmp_path_factory: pytest.TempPathFactory, home_databases: HomeDatabases
) -> Iterator[tuple[Any, dict[str, str]]]:
    """Give an installation that speaks a made-up language, and all that its pages answered in every state."""
    home = tmp_path_factory.mktemp("made-up")
    write_pseudo_catalogue(home / "templates", MADE_UP)
    database = open_database(home_databases.create(home))
    world = build_web_setup(database, home, MADE_UP, home / "templates")
    yield world, visit_all(world)
    database.close()


def list_content(world: Any) -> list[str]:
    """List the words of the publication, of its articles, and of its staff."""
    file = world.install.settings.file
    content = sample_content(
        store_image(world.database), "2026-W47", 147, "Ports get ten days to check their crane links"
    )
    lead = content.sections[0].entries[0]
    marked = lead.summary.replace("cranes", "cranes ")  # the word that was searched for stands in an element of its own
    known = [text for text in texts_of(content) if len(text) > 1]
    return [
        *known,
        *(marked, file.publication.name, "HLS . Today", file.publication.tagline, file.publication.about),
        *("hls.today", "LinkedIn", "Facebook", "Bluesky", file.sender.postal_address, file.sender.reply_to),
        "news.example.org",  # where someone signed up
        *(sample_evidence().wording, *WRITTEN_BY_STAFF),
    ]


def test_no_text_of_a_page_is_left_in_english(toured: tuple[Any, dict[str, str]]) -> None:
    world, pages = toured
    known = list_content(world)
    assert len(pages) > 80
    left = {}
    for name, html in pages.items():
        if not name.endswith((*FILES, RECORD)) and (
            words := find_untranslated(read_visible_texts(_OPAQUE.sub("", html)), known)
        ):
            left[name] = words
    assert left == {}


def test_all_that_a_record_says_of_itself_is_translated(toured: tuple[Any, dict[str, str]]) -> None:
    _, pages = toured
    page = lxml.html.document_fromstring(pages[RECORD])
    assert (page.get("lang"), page.get("dir")) == (MADE_UP, "rtl")
    said = [element.text_content() for element in page.xpath("//title | //h1 | //h2 | //h3 | //p | //dt")]
    assert [left for text in said if (left := find_untranslated(text, WRITTEN_BY_STAFF))] == []


def test_a_download_is_english_in_its_fields_and_what_they_say(toured: tuple[Any, dict[str, str]]) -> None:
    _, pages = toured
    recipients = json.loads(pages["my-data.json"])["recipient_third_parties"]
    assert {"Ann", "A file on our own server"} == {passage["recipient"] for passage in recipients}


def test_no_text_of_a_feed_is_left_in_english(toured: tuple[Any, dict[str, str]]) -> None:
    world, pages = toured
    known = list_content(world)
    for name in ("/feed.atom", "/topics/maritime.atom"):
        feed = etree.fromstring(pages[name].encode())
        texts = [
            text for text in feed.xpath("//text()[not(parent::*[local-name() = 'id'])]") if "T11:00:00Z" not in text
        ]
        shown = [read_visible_texts(text) if "<" in text else text for text in texts if text.strip()]
        assert [left for text in shown if (left := find_untranslated(text, known))] == [], name


def test_no_text_of_the_json_feed_is_left_in_english(toured: tuple[Any, dict[str, str]]) -> None:
    world, pages = toured
    known = list_content(world)
    feed = json.loads(pages["/feed.json"])
    assert feed["language"] == MADE_UP
    texts = [feed["title"], feed["description"], *(author["name"] for author in feed["authors"])]
    assert len(feed["items"]) == 2
    for item in feed["items"]:
        texts += [item["title"], item["summary"], read_visible_texts(item["content_html"])]
    assert [left for text in texts if (left := find_untranslated(text, known))] == []


def test_no_text_of_a_calendar_is_left_in_english(toured: tuple[Any, dict[str, str]]) -> None:
    """What programs show: the calendar's name, and each event's title, place and description."""
    world, pages = toured
    known = list_content(world)
    for name, count in (("/calendar.ics", 4), ("/editions/2026-W47.ics", 2)):
        calendar = Calendar.from_ical(pages[name])
        texts = [str(calendar["x-wr-calname"])]
        events = calendar.walk("VEVENT")
        assert len(events) == count
        for event in events:
            texts += [str(event[field]) for field in ("summary", "description", "location") if field in event]
        assert [left for text in texts if (left := find_untranslated(text, known))] == [], name
        assert OPENING in str(calendar["x-wr-calname"]) or name == "/calendar.ics", "it names its edition"
        assert all(OPENING in str(event["description"]) for event in events), "each names its edition"


def test_what_is_kept_of_a_subscriber_is_told_in_the_language_whatever_was_written_down(
    toured: tuple[Any, dict[str, str]],
) -> None:
    """A total of old mails was written in English when they were counted."""
    _, pages = toured
    mine = unescape(pages["my data"])
    assert "\N{MATHEMATICAL LEFT WHITE SQUARE BRACKET}To send you an edition" in mine
    assert mine.count("\N{MATHEMATICAL LEFT WHITE SQUARE BRACKET}A file on our own server") >= 2


@pytest.mark.chromium
def test_pages_run_from_right_to_left_and_none_scrolls_sideways(
    browser: Browser, toured: tuple[Any, dict[str, str]]
) -> None:
    world, pages = toured
    shown = {name: pages[name] for name in SHOWN}
    wide = []
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        context = browser.new_context(viewport={"width": 360, "height": 740}, java_script_enabled=True)
        page = context.new_page()
        asked = {"html": ""}

        def answer(route: Route) -> None:
            route.fulfill(body=asked["html"], content_type="text/html; charset=utf-8")

        page.route("**/toured", answer)
        for name, html in shown.items():
            asked["html"] = html
            page.goto(f"http://127.0.0.1:{serving.port}/toured", wait_until="load")
            if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
                wide.append(name)
            if name == "preferences saved":
                assert page.evaluate("getComputedStyle(document.querySelector('main')).direction") == "rtl"
                for first, second in ((".opt input", ".opt span"), (".top nav a", ".top nav a + a")):
                    places = [page.locator(part).first.evaluate(LEFT_EDGE) for part in (first, second)]
                    assert places[0] > places[1], "what comes first stands at the right"
        context.close()
    assert wide == []


@pytest.mark.parametrize(
    ("days", "each", "promise"),
    [
        ((4,), "chaque vendredi", "Dans votre boîte chaque vendredi"),
        ((0, 3), "le lundi et le jeudi", "Dans votre boîte le lundi et le jeudi"),
        (tuple(range(7)), "chaque jour", "Dans votre boîte chaque jour"),
        ((), "à chaque parution", "Dans votre boîte à chaque parution"),
    ],
)
def test_the_days_of_release_are_said_as_french_says_them(days: tuple[int, ...], each: str, promise: str) -> None:
    words = MailFrequency(days, load_language("fr"))
    assert (words.each, words.promise) == (each, promise)


def test_places_have_their_french_names() -> None:
    names = list_zone_labels(load_language("fr"))
    assert (names["Europe/London"], names["Africa/Algiers"], names["UTC"]) == ("Londres", "Alger", "UTC")
    assert (names["Atlantic/Faroe"], names["Europe/Kyiv"]) == ("Îles Féroé", "Kiev"), (
        "which Babel has under an older name"
    )
    assert names["America/Argentina/Catamarca"] == "Catamarca (Argentine)"
    assert (names["America/Indiana/Knox"], names["America/Kentucky/Louisville"]) == (
        "Knox (Indiana)",
        "Louisville (Kentucky)",
    )
    order = ["Athènes", "Bruxelles", "Helsinki", "Île de Man", "Istanbul", "Vienne"]
    assert [place for place in names.values() if place in order] == order
