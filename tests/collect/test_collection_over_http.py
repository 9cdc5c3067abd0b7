"""Visits with the real fetcher to a server on loopback."""

from pytest_httpserver import HTTPServer
from sqlalchemy import select
from werkzeug import Request, Response

from digest.collect.fetch.fetcher import HttpFetcher, build_user_agent
from digest.collect.visits.collection_run import SourceReport, collect_sources
from digest.settings import Settings, SettingsFileContent, SourceSettings, UsageLimitSettings
from digest.store.engine import Database
from digest.store.models import Article, Source, SourceHealth
from tests.conftest import WAIT_TIMEOUT
from tests.moments import MONDAY_NOON as NOON

FEED = """<rss version="2.0"><channel><title>Port</title><item><title>Port reopens</title>
<link>https://port.example.org/reopens</link><pubDate>Sun, 15 Nov 2026 09:00:00 GMT</pubDate></item></channel></rss>"""


def visited(database: Database, *urls: str) -> list[SourceReport]:
    sources = [SourceSettings(url=url, name=url, publisher="P") for url in urls]
    limits = UsageLimitSettings(allow_networks=["127.0.0.0/8"], fetch_timeout=WAIT_TIMEOUT)
    with HttpFetcher(limits, build_user_agent("https://news.example.org/")) as fetcher:
        settings = Settings(file=SettingsFileContent(sources=sources, limits=limits))
        return collect_sources(database, fetcher, settings, now=NOON, jitter=lambda: 0.5)


def row(database: Database, url: str) -> Source:
    with database.read() as session:
        return session.scalars(select(Source).where(Source.url == url)).one()


def test_a_feed_is_fetched_stored_and_the_next_time_found_unchanged(
    one_database: Database, httpserver: HTTPServer
) -> None:
    def feed(request: Request) -> Response:
        if request.headers.get("If-None-Match") == '"v1"':
            return Response(status=304)
        return Response(FEED, headers={"ETag": '"v1"', "Content-Type": "application/rss+xml"})

    httpserver.expect_request("/feed").respond_with_handler(feed)
    url = httpserver.url_for("/feed")
    assert [(r.new, r.not_modified) for r in visited(one_database, url)] == [(1, False)]
    assert [(r.new, r.not_modified) for r in visited(one_database, url)] == [(0, True)]
    with one_database.read() as session:
        assert session.scalars(select(Article.title)).all() == ["Port reopens"]


def test_a_site_leads_to_its_feed_through_a_permanent_redirect(one_database: Database, httpserver: HTTPServer) -> None:
    home = '<html><head><title>Port</title><link rel="alternate" type="application/rss+xml" href="/old"></head></html>'
    httpserver.expect_request("/").respond_with_data(home, content_type="text/html")
    httpserver.expect_request("/old").respond_with_data("", 301, headers={"Location": "/feed"})
    httpserver.expect_request("/feed").respond_with_data(FEED, content_type="application/rss+xml")
    assert [r.new for r in visited(one_database, httpserver.url_for("/"))] == [1]
    assert row(one_database, httpserver.url_for("/")).moved_to == httpserver.url_for("/feed")


def test_refusals_closures_and_overload_are_told_apart(one_database: Database, httpserver: HTTPServer) -> None:
    for path, status, headers in (("/403", 403, {}), ("/410", 410, {}), ("/503", 503, {"Retry-After": "7200"})):
        httpserver.expect_request(path).respond_with_data("", status, headers=headers)
    httpserver.expect_request("/feed").respond_with_data(FEED)
    urls = [httpserver.url_for(path) for path in ("/403", "/410", "/503", "/feed")]
    reports = visited(one_database, *urls)
    assert [r.succeeded for r in reports] == [False, False, False, True]
    rows = [row(one_database, url) for url in urls]
    assert [r.health for r in rows] == [
        SourceHealth.REFUSING,
        SourceHealth.GONE,
        SourceHealth.FAILING,
        SourceHealth.GOOD,
    ]
    assert "hls-digest/" in rows[0].message, "the name that the publisher should allow is said"
    assert rows[2].next_try_at
    assert (rows[2].next_try_at - NOON).total_seconds() == 7200


def test_a_network_that_was_not_allowed_is_refused(one_database: Database, httpserver: HTTPServer) -> None:
    source = SourceSettings(url=httpserver.url_for("/feed"), name="Inside", publisher="P")
    with HttpFetcher(UsageLimitSettings(), build_user_agent("https://news.example.org/")) as fetcher:
        (report,) = collect_sources(
            one_database, fetcher, Settings(file=SettingsFileContent(sources=[source])), now=NOON
        )
    assert "allow_networks" in (report.error or "")
    assert httpserver.log == []
