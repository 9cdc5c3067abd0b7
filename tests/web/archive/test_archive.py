"""Lists and searches: editions in pages, topics with feeds, search by words, feeds with whole editions, and the sitemap."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from xml.etree import ElementTree as ET

import feedparser
import pytest
from lxml import html as lxml_html
from sqlalchemy import event, insert, select

from digest.app.editing import corrections
from digest.app.editing.corrections import CorrectionForm
from digest.edition.archive.story_archive import (
    MAX_RANKED,
    archive_edition_stories,
    make_topic_slug,
    split_search_query,
)
from digest.installation.audited_actions import ActionEntryPoint, Actor, Role
from digest.store.archive_models import ArchivedStory
from digest.store.models import Edition, EditionState
from digest.web.archive.pages import mark_words
from tests.moments import DRAFTING as NOW
from tests.moments import RELEASE
from tests.web.conftest import BASE_URL, sign_as_sent

pytestmark = pytest.mark.both_databases  # each searches words by functions of its own

NAME = "2026-W47"
ATOM = "{http://www.w3.org/2005/Atom}"


@pytest.fixture
def weeks(both: Any) -> Any:
    """Give two weeks that went out and a draft."""
    both.edition(name="2026-W46", number=146, state=EditionState.SENT, release_at=RELEASE - timedelta(7))
    both.edition(state=EditionState.SENT)
    both.edition(name="2026-W48", number=148, release_at=RELEASE + timedelta(7))
    return both


def page_of(world: Any, path: str) -> Any:
    answer = world.client.get(path)
    assert answer.status_code == 200
    return lxml_html.document_fromstring(answer.text)


def headlines(page: Any) -> list[str]:
    return [heading.text_content().strip() for heading in page.xpath("//main//ul[@class='rows']//h3")]


def test_a_search_finds_other_endings_in_any_order_and_leads_to_the_story(weeks: Any) -> None:
    page = page_of(weeks, "/search?q=flooding+map")
    assert [h.split("zone")[0].strip() for h in headlines(page)] == [
        "Disaster responseNew flood maps move 41,000 homes into the high-risk"
    ] * 2
    first, second = page.xpath("//main//ul[@class='rows']//h3/a/@href")
    assert first.startswith(f"/editions/{NAME}#story-")
    assert second.startswith("/editions/2026-W46#story-")
    assert page_of(weeks, first.partition("#")[0]).xpath(f"//*[@id='{first.partition('#')[2]}']")
    assert page.xpath("//mark/text()")[:2] == ["flood", "maps"]


@pytest.mark.parametrize(
    "typed", ['"', "*", "AND OR NOT", "NEAR(", "a:b", "flood\x00map", "%", "'; DROP TABLE person", "x" * 5000, "\ud800"]
)
def test_what_a_query_language_would_read_is_words_or_nothing(both: Any, typed: str) -> None:
    both.edition(state=EditionState.SENT)
    answer = both.client.get("/search", query_string={"q": typed.encode("utf-8", "replace")})
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Robots-Tag"] == "noindex"


def test_a_search_is_narrowed_by_topic_and_year_and_does_not_see_drafts(weeks: Any) -> None:
    assert len(headlines(page_of(weeks, "/search?q=week"))) == 2
    assert len(headlines(page_of(weeks, "/search?q=week&topic=health-sector&year=2026"))) == 2
    for elsewhere in ("topic=borders", "year=2025"):
        page = page_of(weeks, f"/search?q=week&{elsewhere}")
        assert "No results for “week”" in page.text_content()


def test_a_search_leaves_no_trace(world: Any, capsys: pytest.CaptureFixture[str]) -> None:
    world.edition(state=EditionState.SENT)
    before = world.dump()
    world.client.get("/search?q=somethingprivate")
    assert world.dump() == before
    assert "somethingprivate" not in "".join(capsys.readouterr())


def test_a_corrected_headline_is_found_by_what_it_says_now(weeks: Any) -> None:
    url = f"https://fema.example/{NAME}"
    form = CorrectionForm(url, "headline", "New flood maps move 4,100 households", "It was a tenth.")
    actor = Actor("terminal:eve", Role.EDITOR, ActionEntryPoint.TERMINAL)
    corrections.correct_story(weeks.install, NAME, form, actor=actor, now=NOW)
    assert len(headlines(page_of(weeks, "/search?q=households"))) == 1
    assert len(headlines(page_of(weeks, "/search?q=41,000"))) == 1, "the other week's"


def test_a_topic_lists_its_stories_by_edition_and_has_a_feed(weeks: Any) -> None:
    topics = page_of(weeks, "/topics")
    assert topics.xpath("//main//li//a/@href") == [
        *("/topics/borders", "/topics/disaster-response", "/topics/health-sector", "/topics/maritime")
    ]
    page = page_of(weeks, "/topics/maritime")
    assert [h.text_content()[:7] for h in page.xpath("//section/h2")][:2] == ["No.\xa0147", "No.\xa0146"]
    assert page.xpath("//main//a[text()='All 6 sources']/@href")[0].startswith(f"/editions/{NAME}#story-")
    feed = feedparser.parse(weeks.client.get("/topics/maritime.atom").data)
    assert not feed.bozo
    assert [entry.id.partition("#")[0] for entry in feed.entries] == [
        *(f"{BASE_URL}/editions/{NAME}", f"{BASE_URL}/editions/2026-W46")
    ]
    for unknown in ("/topics/nothing", "/topics/nothing.atom"):
        assert weeks.client.get(unknown).status_code == 404


@pytest.mark.takes_turns
def test_both_feeds_hold_whole_editions_and_say_the_same(weeks: Any) -> None:
    atom = feedparser.parse(weeks.client.get("/feed.atom").data, sanitize_html=False)
    answer = weeks.client.get("/feed.json")
    assert answer.mimetype == "application/feed+json"
    feed = json.loads(answer.data)
    assert feed["version"] == "https://jsonfeed.org/version/1.1"
    assert [item["id"] for item in feed["items"]] == [entry.id for entry in atom.entries]
    assert [item["date_modified"] for item in feed["items"]] == [entry.updated for entry in atom.entries]
    document = ET.fromstring(weeks.client.get("/feed.atom").data)
    content = next(document.iter("{http://www.w3.org/2005/Atom}content")).text or ""
    assert content == feed["items"][0]["content_html"]
    html = lxml_html.fromstring(f"<div>{content}</div>")
    assert len(html.xpath("//h2 | //h3")) > 5
    links = [*html.xpath("//@href"), *html.xpath("//@src")]
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    assert not {"~leave-token~", "~preferences-token~"} & set(content.split())


@pytest.mark.takes_turns
def test_the_atom_feeds_hold_what_the_validator_of_the_w3c_asks_for(weeks: Any) -> None:
    """RFC 4287, 4.1 and 4.2; what feedparser reads without a word where it is missing."""
    for path in ("/feed.atom", "/topics/maritime.atom"):
        answer = weeks.client.get(path)
        assert answer.headers["Content-Type"] == "application/atom+xml; charset=utf-8"
        feed = ET.fromstring(answer.data)
        assert feed.tag == f"{ATOM}feed"
        entries = feed.findall(f"{ATOM}entry")
        assert len(entries) >= 2
        assert [link.get("href") for link in feed.findall(f"{ATOM}link[@rel='self']")] == [f"{BASE_URL}{path}"]
        for part in (feed, *entries):
            for tag in ("id", "title", "updated"):
                (element,) = part.findall(f"{ATOM}{tag}")
                assert element.text
            assert (part.findtext(f"{ATOM}id") or "").startswith(f"{BASE_URL}/"), "an absolute IRI"
            alternates = part.findall(f"{ATOM}link[@rel='alternate']")
            assert len({(link.get("type"), link.get("hreflang")) for link in alternates}) == len(alternates) >= 1
            dates = [*part.findall(f"{ATOM}updated"), *part.findall(f"{ATOM}published")]
            assert all(datetime.fromisoformat(date.text or "").tzinfo for date in dates), "RFC 3339, with its zone"
        (name,) = feed.findall(f"{ATOM}author/{ATOM}name")
        assert name.text, "of every entry, as none names another"
        ids = [part.findtext(f"{ATOM}id") for part in (feed, *entries)]
        assert len(set(ids)) == len(ids)
        newest = max(entry.findtext(f"{ATOM}updated") or "" for entry in entries)
        assert feed.findtext(f"{ATOM}updated") == newest
        addresses = [link.get("href") or "" for link in feed.iter(f"{ATOM}link")]
        for content in feed.iter(f"{ATOM}content"):
            assert content.get("type") == "html"
            assert len(content) == 0, "markup stands as text"
            html = lxml_html.fromstring(f"<div>{content.text}</div>")
            addresses += [*html.xpath("//@href"), *html.xpath("//@src")]
            assert (
                html.xpath("//script | //style | //form | //iframe | //@style | //@*[starts-with(name(), 'on')]") == []
            )
        assert [address for address in addresses if not address.startswith(("https://", "mailto:"))] == [], path


def test_the_json_feed_holds_what_its_version_demands(weeks: Any) -> None:
    """https://www.jsonfeed.org/version/1.1/, fields that are required, and the types of the others that we write."""
    feed = weeks.client.get("/feed.json").json
    assert feed["version"] == "https://jsonfeed.org/version/1.1"
    assert feed["title"]
    assert feed["feed_url"] == f"{BASE_URL}/feed.json"
    assert all(author.keys() & {"name", "url", "avatar"} for author in feed["authors"])
    assert isinstance(feed["language"], str)
    assert len({item["id"] for item in feed["items"]}) == len(feed["items"]) == 2
    for item in feed["items"]:
        assert isinstance(item["id"], str)
        assert item.keys() & {"content_html", "content_text"}
        assert item["url"].startswith(f"{BASE_URL}/")
        assert all(datetime.fromisoformat(item[date]).tzinfo for date in ("date_published", "date_modified"))


@pytest.mark.takes_turns
def test_search_engines_are_told_where_the_public_pages_are(weeks: Any) -> None:
    robots = weeks.client.get("/robots.txt").text.splitlines()
    assert robots[-1] == f"Sitemap: {BASE_URL}/sitemap.xml"
    assert "Disallow: /desk" in robots
    root = ET.fromstring(weeks.client.get("/sitemap.xml").data)
    addresses = [loc.text or "" for loc in root.iter("{http://www.sitemaps.org/schemas/sitemap/0.9}loc")]
    paths = [address.removeprefix(BASE_URL) for address in addresses]
    assert f"/editions/{NAME}" in paths
    assert "/topics/maritime" in paths
    assert "/editions/2026-W48" not in paths
    assert [path for path in paths if weeks.client.get(path).status_code != 200] == []
    closed = [line.removeprefix("Disallow: ") for line in robots if line.startswith("Disallow")]
    assert [path for path in paths if path.startswith(tuple(closed))] == []


def test_every_page_names_both_feeds_in_its_head(world: Any) -> None:
    for path in ("/", "/subscribe", "/topics"):
        named = page_of(world, path).xpath("//head/link[@rel='alternate']")
        assert {(link.get("type"), link.get("href")) for link in named} == {
            ("application/atom+xml", "/feed.atom"),
            ("application/feed+json", "/feed.json"),
        }


def test_the_home_has_the_field_the_newest_edition_and_the_last_six(weeks: Any) -> None:
    page = page_of(weeks, "/")
    assert page.xpath("//h1/text()") == ["The homeland-security week in one read"]
    assert len(page.xpath("//form[@action='/subscribe']//input[@type='email']")) == 2
    (picture,) = page.xpath("//section[@class='newest']//img/@src")
    assert page.xpath("//section[@class='newest']//a[not(@aria-hidden)]/img/@alt") == [
        "Cranes over a container ship at dusk"
    ]
    assert weeks.client.get(picture).mimetype == "image/jpeg"
    assert page.xpath("//ol[@class='eds']//a/@href") == [f"/editions/{NAME}", "/editions/2026-W46"]
    inside = page.xpath("//div[@class='three']//h3/a/@href")
    target = page_of(weeks, f"/editions/{NAME}")
    assert len(inside) >= 2
    assert [link for link in inside if not target.xpath(f"//*[@id='{link.partition('#')[2]}']")] == []


@contextmanager
def counted_statements(world: Any) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement)

    event.listen(world.database.engine, "before_cursor_execute", note)
    yield seen
    event.remove(world.database.engine, "before_cursor_execute", note)


def fill_archive(world: Any, editions: int, stories: int) -> None:
    """Store as many editions as are wanted, each with the stories of one, in bulk."""
    world.edition(state=EditionState.SENT, number=editions)
    with world.database.write() as session:
        (whole,) = session.scalars(select(Edition))
        values = {
            column.name: getattr(whole, column.name) for column in Edition.__table__.columns if column.name != "id"
        }
        rows = [
            values
            | {
                "name": f"old-{n}",
                "number": n,
                "slot": f"old {n}",
                "release_at": RELEASE - timedelta(weeks=editions - n),
            }
            for n in range(1, editions)
        ]
        session.execute(insert(Edition), rows)
        story: dict[str, Any] = {c.name: "" for c in ArchivedStory.__table__.columns if c.name != "id"} | {
            "topic": "Maritime"
        }
        story |= {"topic_key": "maritime", "headline": "Ports and cranes", "summary": "A modem " * 10, "sources": 1}
        for old in session.scalars(select(Edition).where(Edition.name != NAME)):
            sign_as_sent(session, old, world.install)
            copies = [
                story | {"edition_id": old.id, "released_at": old.release_at, "position": n} for n in range(stories)
            ]
            session.execute(insert(ArchivedStory), copies)


def test_with_many_editions_every_list_reads_a_bounded_number_of_rows(world: Any) -> None:
    fill_archive(world, editions=1000, stories=5)
    for path, most in (
        *(("/", 12), ("/editions", 7), ("/feed.atom", 30), ("/topics/maritime", 4), ("/topics/maritime.atom", 4)),
        *(("/search?q=modem", 4), ("/editions/2026-W47", 14)),
    ):
        with counted_statements(world) as statements:
            assert world.client.get(path).status_code == 200
        assert len(statements) <= most, (path, statements)
    page = page_of(world, "/editions")
    assert len(page.xpath("//ol[@class='eds']/li")) == 50
    (earlier,) = page.xpath("//a[text()='Earlier editions']/@href")
    assert len(page_of(world, earlier).xpath("//ol[@class='eds']/li")) == 50
    found = page_of(world, "/search?q=modem&page=99")
    assert f"More than {MAX_RANKED} results" in found.text_content()
    seen: list[str] = []
    path = "/topics/maritime"
    while path:
        topic = page_of(world, path)
        seen += topic.xpath("//section/h2[starts-with(@id, 'no-')]/@id")
        path = next(iter(topic.xpath("//a[text()='Earlier stories']/@href")), "")
    assert len(seen) == len(set(seen)) == 1000, "each edition stands whole on one page"


def test_the_only_edition_has_no_empty_links_to_others(world: Any) -> None:
    world.edition(state=EditionState.SENT)
    page = page_of(world, f"/editions/{NAME}")
    assert page.xpath("//nav")
    assert [nav.get("class") for nav in page.xpath("//nav") if not nav.text_content().strip()] == []


def test_an_archived_edition_is_stored_anew_in_place(world: Any) -> None:
    world.edition(state=EditionState.SENT)
    with world.database.write() as session:
        before = len(list(session.scalars(select(ArchivedStory))))
        archive_edition_stories(session, session.scalars(select(Edition)).one())
        assert len(list(session.scalars(select(ArchivedStory)))) == before == 6


def test_topics_are_named_in_addresses_by_letters_and_words_are_marked_whole() -> None:
    assert make_topic_slug("Counter-terrorism & CBRN") == "counter-terrorism-cbrn"
    assert make_topic_slug("Sécurité  civile!") == "sécurité-civile"
    assert make_topic_slug("!?") == ""
    assert split_search_query('"Ports" AND (cranes*)') == ("Ports", "AND", "cranes")
    assert mark_words("Modems & <modem>", ["modem"]) == "<mark>Modems</mark> &amp; &lt;<mark>modem</mark>&gt;"
