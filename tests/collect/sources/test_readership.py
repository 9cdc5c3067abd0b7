import json
from pathlib import Path
from typing import Unpack

import pytest
from sqlalchemy import select

from digest.collect.documents.parsed_document import RejectedEntry
from digest.collect.fetch.result import FetchError, FetchErrorReason, FetchResult, RequestOptions
from digest.collect.sources.readership import (
    POPULAR_POSTS_PATH,
    READERSHIP_SOURCES,
    ReadershipError,
    ReadershipImportResult,
    apply_views,
    fetch_wordpress_views,
    import_readership,
    parse_readership_csv,
)
from digest.settings import PublicationSettings, ReadershipSettings, Settings, SettingsFileContent
from digest.store.engine import Database
from digest.store.models import Article, Source
from tests.moments import MONDAY_NOON as NOON

SITE = "https://news.example.org"


class Plugin:
    """A site that answers as WordPress Popular Posts does, or refuses."""

    def __init__(self, body: bytes | None) -> None:
        self.body = body

    def get(self, url: str, **options: Unpack[RequestOptions]) -> FetchResult:
        del options
        if self.body is None or url != SITE + POPULAR_POSTS_PATH:
            raise FetchError(url, FetchErrorReason.MISSING, "the page doesn't exist (404)", status=404)
        return FetchResult(url=url, status=200, body=self.body)

    def may_read(self, url: str) -> bool:
        return url.startswith(SITE)


NOWHERE = Plugin(None)


def with_articles(database: Database, *paths: str) -> None:
    with database.write() as session:
        source = Source(url=f"{SITE}/feed", name="Own", publisher="Own", topics={})
        session.add(source)
        session.flush()
        for path in paths:
            values = {"title": path, "categories": [], "dated_at": NOON, "date_basis": "published"}
            url = SITE + path
            session.add(
                Article(source_id=source.id, key=path, url=url, link=url, found_at=NOON, seen_at=NOON, **values)
            )


def views(database: Database) -> dict[str, int | None]:
    with database.read() as session:
        return {url.removeprefix(SITE): n for url, n in session.execute(select(Article.url, Article.views))}


def settings(folder: Path, *, csv: str = "", wordpress: str = "") -> Settings:
    file = SettingsFileContent(
        publication=PublicationSettings(site=SITE), readership=ReadershipSettings(csv=csv, wordpress=wordpress)
    )
    return Settings(file=file, origin=folder / "digest.toml")


def test_each_setting_of_readership_has_its_subscriber() -> None:
    named, read = set(ReadershipSettings.model_fields), set(READERSHIP_SOURCES)
    assert named - read == set(), "settings of [readership] without a reader in READERSHIP_SOURCES"
    assert read - named == set(), "readers in READERSHIP_SOURCES without a setting in ReadershipSettings"


@pytest.mark.parametrize(
    "text",
    [
        "url,views\n/a,1200\n/b,7\n",
        "/a,1200\n/b,7\n",
        '\ufeffPage path;Views\r\n/a;"1.200"\r\n/b;7\r\n',
        "Views\tTitle\tURL\n1,200\tPort closed\thttps://news.example.org/a\n7\tBridge\thttps://news.example.org/b\n",
        '# ----\n# Pages\n# ----\n\npagePath,screenPageViews\n/a,"1,200"\n/b,7.0\n',
        "url,views\nhttp://news.example.org/a?utm_source=mail,1000\nhttps://news.example.org/a#top,200\n/b/../b,7\n",
    ],
)
def test_a_csv_is_read_as_spreadsheets_and_analytics_write_it(text: str) -> None:
    counted = parse_readership_csv(text.encode(), SITE)
    assert (dict(counted.views), counted.rejected) == ({f"{SITE}/a": 1200, f"{SITE}/b": 7}, ())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_csv_is_read_in_the_encodings_of_spreadsheets(encoding: str) -> None:
    text = "url,views\n/caf\u00e9,1\u00a0200\n"
    assert dict(parse_readership_csv(text.encode(encoding), SITE).views) == {f"{SITE}/caf%C3%A9": 1200}


def test_bad_rows_are_named_by_their_line_and_the_others_count() -> None:
    text = "url,views\n/a,many\n/b\n\nmailto:x,4\n/c,-3\n/d,99999999999\n/e,5\n"
    counted = parse_readership_csv(text.encode(), SITE)
    assert dict(counted.views) == {f"{SITE}/e": 5}
    assert [row.place for row in counted.rejected] == [2, 3, 5, 6, 7]
    assert counted.rejected[0] == RejectedEntry(2, "'many' isn't a valid view count")


@pytest.mark.parametrize("content", [b"", b"  \n", b"\x00\x01\x00\x02"])
def test_what_is_no_text_is_refused(content: bytes) -> None:
    with pytest.raises(ReadershipError, match="is empty or not text"):
        parse_readership_csv(content, SITE)


def test_popular_posts_of_wordpress_are_read() -> None:
    posts = [
        {"link": f"{SITE}/a/", "pageviews": 1200},
        {"link": f"{SITE}/b/?utm_medium=x", "pageviews": "7"},
        {"title": "no link"},
    ]
    counted = fetch_wordpress_views(Plugin(json.dumps(posts).encode()), SITE + "/")
    assert dict(counted.views) == {f"{SITE}/a/": 1200, f"{SITE}/b/": 7}
    assert counted.rejected == (RejectedEntry(3, "the post has no link"),)


@pytest.mark.parametrize("body", [None, b"<html>", b'{"code": "rest_no_route"}'])
def test_a_site_without_the_plugin_says_what_to_do(body: bytes | None) -> None:
    with pytest.raises(ReadershipError, match=r"plugin|browser"):
        fetch_wordpress_views(Plugin(body), SITE)


def test_views_stand_on_the_articles_and_what_is_no_longer_counted_has_none(database: Database) -> None:
    with_articles(database, "/a", "/b", "/c")
    assert apply_views(database, {f"{SITE}/a": 5, f"{SITE}/b": 6, f"{SITE}/zz": 7}) == {f"{SITE}/a", f"{SITE}/b"}
    assert views(database) == {"/a": 5, "/b": 6, "/c": None}
    apply_views(database, {f"{SITE}/b": 9, f"{SITE}/c": 1})
    assert views(database) == {"/a": None, "/b": 9, "/c": 1}


def test_both_reports_are_one_week(database: Database, tmp_path: Path) -> None:
    with_articles(database, "/a", "/b")
    (tmp_path / "reads.csv").write_text("url,views\n/a,10\n/zz,3\nbad\n", "utf-8")
    plugin = Plugin(json.dumps([{"link": f"{SITE}/a", "pageviews": 5}]).encode())
    imported = import_readership(database, plugin, settings(tmp_path, csv="reads.csv", wordpress=SITE), now=NOON)
    assert [(one.origin, one.matched, one.unmatched, len(one.rejected)) for one in imported] == [
        ("reads.csv", 1, 1, 1),
        (SITE, 1, 0, 0),
    ]
    assert views(database) == {"/a": 15, "/b": None}


def test_a_report_that_cannot_be_read_leaves_the_counts_of_before(database: Database, tmp_path: Path) -> None:
    with_articles(database, "/a", "/b")
    apply_views(database, {f"{SITE}/a": 5})
    (tmp_path / "reads.csv").write_text("/b,10\n", "utf-8")
    csv, wordpress = import_readership(database, NOWHERE, settings(tmp_path, csv="reads.csv", wordpress=SITE), now=NOON)
    assert csv.error is None
    assert wordpress.error
    assert views(database) == {"/a": 5, "/b": 10}


def test_a_missing_file_is_reported_and_nothing_is_raised(one_database: Database, tmp_path: Path) -> None:
    (result,) = import_readership(one_database, NOWHERE, settings(tmp_path, csv="none.csv"), now=NOON)
    assert "none.csv: No such file" in (result.error or "")
    assert import_readership(one_database, NOWHERE, settings(tmp_path), now=NOON) == []
    assert isinstance(result, ReadershipImportResult)
