import gzip
from pathlib import Path

import pytest
from sqlalchemy import select

from digest.collect.fetch.result import FetchResult
from digest.collect.parsers.saved_file import find_document_url
from digest.collect.visits.collection_run import SourceReport, collect_sources
from digest.collect.visits.source_visit import list_input_files
from digest.settings import PublicationSettings, Settings, SettingsFileContent, SourceSettings, UsageLimitSettings
from digest.store.engine import Database
from digest.store.models import Article, Source
from tests.moments import MONDAY_NOON as NOON

RSS = """<rss version="2.0"><channel><title>Harbour Weekly</title><link>https://harbour.example.org/</link>
<item><title>Port reopens</title><link>/reopens</link><pubDate>Sun, 15 Nov 2026 09:00:00 GMT</pubDate></item>
</channel></rss>"""
PAGE = """<!doctype html><html lang="en"><head><title>Bridge closed for repairs</title>
<link rel="canonical" href="https://www.bridge.example.org/2026/closed">
<meta property="og:type" content="article"><meta property="og:title" content="Bridge closed for repairs">
<meta property="article:published_time" content="2026-11-14T08:00:00Z">
<meta name="description" content="The bridge over the strait stays closed until the bearings have been replaced.">
</head><body><article><h1>Bridge closed for repairs</h1>
<p>The bridge over the strait stays closed until the bearings have been replaced, the road office said on Saturday.</p>
</article></body></html>"""
TEXT = """Monday, November 16, 2026

Harbour Office: Night Pilots for the Waiting Ships

The harbour office will bring the waiting ships in by night from Monday on, and asks all crews to keep the agreed order.

Source: Harbour Office

Share:
"""


class NoWorld:
    """Reading files must ask nobody."""

    def get(self, url: str, **_: object) -> FetchResult:
        raise AssertionError(url)

    def may_read(self, url: str) -> bool:
        raise AssertionError(url)


def read(database: Database, *paths: Path, settings: Settings | None = None) -> dict[str, SourceReport]:
    own = settings or Settings(
        file=SettingsFileContent(publication=PublicationSettings(site="https://own.example.org/"))
    )
    reports = collect_sources(database, NoWorld(), own, now=NOON, files=paths)
    return {report.name: report for report in reports}


def stored(database: Database) -> dict[str, Article]:
    with database.read() as session:
        return {article.url: article for article in session.scalars(select(Article))}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    week = tmp_path / "week"
    (week / "deep").mkdir(parents=True)
    (week / "harbour.xml").write_text(RSS, "utf-8")
    (week / "harbour-2.xml.gz").write_bytes(gzip.compress(RSS.encode()))
    (week / "deep" / "bridge.html").write_text(PAGE, "utf-8")
    (week / "pilots.txt").write_text(TEXT, "utf-8")
    (week / "notes.json").write_text('{"gold": [1, 2]}', "utf-8")
    (week / "list.opml").write_text(
        '<opml version="2.0"><body><outline xmlUrl="https://x.example.org/f"/></body></opml>'
    )
    (week / "broken.gz").write_bytes(b"\x1f\x8b broken")
    (week / ".hidden").write_text(RSS, "utf-8")
    return week


def test_a_folder_is_read_with_all_that_is_in_it_and_each_file_is_a_source(database: Database, folder: Path) -> None:
    reports = read(database, folder)
    assert {name: (r.kind, r.new) for name, r in reports.items() if r.succeeded} == {
        "file:harbour.xml": ("rss", 1),
        "file:harbour-2.xml.gz": ("rss", 1),
        "file:bridge.html": ("page", 1),
        "file:pilots.txt": ("page", 1),
    }
    assert {name for name, r in reports.items() if r.error} == {"file:notes.json", "file:list.opml", "file:broken.gz"}
    assert "import-opml" in (reports["file:list.opml"].error or "")
    with database.read() as session:
        publishers = set(session.scalars(select(Source.publisher)))
    assert publishers >= {"Harbour Weekly", "bridge.example.org"}


def test_relative_links_and_pages_stand_at_the_address_that_the_document_names(
    database: Database, folder: Path
) -> None:
    read(database, folder)
    assert stored(database).keys() >= {
        "https://harbour.example.org/reopens",
        "https://www.bridge.example.org/2026/closed",
    }


def test_a_plain_text_of_the_own_site_is_an_article_with_its_credit(one_database: Database, folder: Path) -> None:
    read(one_database, folder / "pilots.txt")
    (article,) = stored(one_database).values()
    assert (
        article.url == "https://own.example.org/?s=Harbour%20Office%3A%20Night%20Pilots%20for%20the%20Waiting%20Ships"
    )
    assert (article.title, article.credit) == ("Harbour Office: Night Pilots for the Waiting Ships", "Harbour Office")
    assert article.dated_at.date().isoformat() == "2026-11-16"


def test_a_plain_text_without_a_date_is_no_article(one_database: Database, tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    note.write_text(TEXT.replace("Monday, November 16, 2026", "Notes on this folder"), "utf-8")
    report = read(one_database, note)["file:note.txt"]
    assert (report.found, report.new, len(report.rejected)) == (1, 0, 1)


@pytest.mark.takes_turns
def test_reading_a_file_again_changes_nothing_and_a_changed_one_is_updated(database: Database, folder: Path) -> None:
    file = folder / "harbour.xml"
    read(database, file)
    assert read(database, file)["file:harbour.xml"].unchanged == 1
    file.write_text(RSS.replace("Port reopens", "Port open again"), "utf-8")
    assert read(database, file)["file:harbour.xml"].updated == 1


def test_files_alone_visit_no_source_and_are_not_visited_later(one_database: Database, folder: Path) -> None:
    source = SourceSettings(url="https://port.example.org/feed", name="Port", publisher="Port")
    assert list(
        read(one_database, folder / "harbour.xml", settings=Settings(file=SettingsFileContent(sources=[source])))
    ) == ["file:harbour.xml"]
    assert read(one_database) == {}


def test_a_file_over_the_limit_is_not_read_also_when_it_is_packed(one_database: Database, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.xml.gz"
    bomb.write_bytes(gzip.compress(b" " * 3_000_000))
    small = Settings(file=SettingsFileContent(limits=UsageLimitSettings(fetch_bytes=100_000)))
    assert "over 100,000 bytes" in (read(one_database, bomb, settings=small)["file:bomb.xml.gz"].error or "")


def test_a_file_that_cannot_be_opened_is_reported(one_database: Database, tmp_path: Path) -> None:
    assert "No such file" in (read(one_database, tmp_path / "none.xml")["file:none.xml"].error or "")


def test_documents_are_listed_once_and_in_a_fixed_order(folder: Path) -> None:
    names = [path.name for path in list_input_files([folder / "pilots.txt", folder, folder / ".hidden"])]
    assert names == [
        "pilots.txt", "broken.gz", "bridge.html", "harbour-2.xml.gz", "harbour.xml", "list.opml", "notes.json", ".hidden",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("document", "address"),
    [
        ('<html><link href="/x" rel="icon"><link href="https://a.example.org/p" rel="canonical">', "https://a.example.org/p"),
        ('<html><meta content="https://a.example.org/p?a=1&amp;b=2" property="og:url"/>', "https://a.example.org/p?a=1&b=2"),
        ('<feed><link rel="alternate" href="https://a.example.org/"/><link rel="self" href="https://a.example.org/f"/>', "https://a.example.org/f"),
        ('<feed><link rel="alternate" href="https://a.example.org/"/>', "https://a.example.org/"),
        ("<rss><channel><link> https://a.example.org/ </link>", "https://a.example.org/"),
        ('{"feed_url": "https:\\/\\/a.example.org\\/feed.json"}', "https://a.example.org/feed.json"),
        ('<html><link rel="alternate" href="https://a.example.org/feed">', None),
        ("just text", None),
    ],
)  # fmt: skip
def test_a_saved_document_says_where_it_comes_from(document: str, address: str | None) -> None:
    assert find_document_url(document.encode()) == address
