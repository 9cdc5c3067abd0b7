"""The bundled web responds like the real one."""

import json
from pathlib import Path

import pytest

from digest.collect.fetch.fetcher import FolderFetcher, HttpFetcher
from digest.collect.fetch.result import ContentFetcher, FetchError, FetchErrorReason
from digest.settings import UsageLimitSettings

FEED = "https://agency.example.org/feed.xml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    entry = {
        "file": "agency.xml",
        "content_type": "application/rss+xml; charset=utf-8",
        "headers": {"ETag": '"1"', "Last-Modified": "yesterday", "Cache-Control": "max-age=60"},
    }
    (tmp_path / "agency.xml").write_bytes(b"<rss/>")
    (tmp_path / "index.json").write_text(json.dumps({FEED: entry}), "utf-8")
    return tmp_path


def test_a_listed_address_gives_its_file(folder: Path) -> None:
    fetcher = FolderFetcher(folder)
    got = fetcher.get(FEED + "#part", accept="text/xml")
    assert fetcher.may_read(FEED)
    assert (got.url, got.status, got.body, got.content_type) == (FEED, 200, b"<rss/>", "application/rss+xml")
    assert (got.charset, got.etag, got.last_modified, got.max_age) == ("utf-8", '"1"', "yesterday", 60)


def test_a_known_document_is_not_modified(folder: Path) -> None:
    fetcher = FolderFetcher(folder)
    assert fetcher.get(FEED, etag='"1"').not_modified
    assert fetcher.get(FEED, last_modified="yesterday").body == b""
    assert fetcher.get(FEED, etag='"2"', last_modified="yesterday").body == b"<rss/>"


def test_an_unlisted_address_fails_like_a_dead_host(folder: Path) -> None:
    url = "https://nowhere.example.org/feed.xml"
    fetchers: list[ContentFetcher] = [
        FolderFetcher(folder),
        HttpFetcher(UsageLimitSettings(), "hls-digest/1", resolver=lambda *_: []),
    ]
    errors = []
    for fetcher in fetchers:
        assert not fetcher.may_read(url)
        with pytest.raises(FetchError) as caught:
            fetcher.get(url)
        errors.append((str(caught.value), caught.value.reason, not caught.value.can_retry))
    assert errors[0] == errors[1]
    assert errors[0][1] is FetchErrorReason.DNS


def test_an_address_that_is_none_and_a_body_that_is_too_big_are_refused(folder: Path) -> None:
    fetcher = FolderFetcher(folder)
    assert not fetcher.may_read("file:///etc/passwd")
    with pytest.raises(FetchError) as caught:
        fetcher.get(FEED, max_bytes=3)
    assert caught.value.reason is FetchErrorReason.TOO_BIG
