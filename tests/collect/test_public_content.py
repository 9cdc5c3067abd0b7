"""Articles that visitors can't read are left out, or withdrawn later: a WordPress site on loopback, by REST, feed, and page."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from pytest_httpserver import HTTPServer
from sqlalchemy import select
from werkzeug import Response

from digest.collect.articles.email_images import PreparedImage, make_crop_source_url, store_image
from digest.collect.articles.storage import find_withdrawn_links
from digest.collect.fetch.fetcher import HttpFetcher, build_user_agent
from digest.collect.imaging.encoded_image import CropShape
from digest.collect.texts.urls import usable_canonical_url
from digest.collect.visits.collection_run import SourceReport, collect_sources
from digest.collect.visits.page_check import (
    PageCheckResult,
    check_article_pages,
    check_linked_pages,
    explain_unrelated_redirect,
)
from digest.settings import Settings, SettingsFileContent, SourceSettings, UsageLimitSettings
from digest.store.engine import Database
from digest.store.models import Article, Edition, EditionState, MediaFile, PublishedArticleChange, Source, SourceHealth
from tests.conftest import WAIT_TIMEOUT
from tests.moments import MONDAY_NOON as NOON
from tests.wordpress_site import FORM, WordPress

LATER, LATEST = NOON + timedelta(days=1), NOON + timedelta(days=3)
PROTECTED = "it's password-protected"
LIMITS = UsageLimitSettings(allow_networks=["127.0.0.0/8"], fetch_timeout=WAIT_TIMEOUT)


@pytest.fixture
def wordpress(httpserver: HTTPServer) -> WordPress:
    return WordPress(httpserver)


@pytest.fixture
def fetcher() -> Iterator[HttpFetcher]:
    with HttpFetcher(LIMITS, build_user_agent("https://news.example.org/")) as opened:
        yield opened


def collect(database: Database, fetcher: HttpFetcher, *urls: str, now: datetime = NOON) -> list[SourceReport]:
    sources = [SourceSettings(url=url, name=f"Source {n}", publisher="P") for n, url in enumerate(urls)]
    settings = Settings(file=SettingsFileContent(sources=sources, limits=LIMITS))
    return collect_sources(database, fetcher, settings, now=now, force=True, jitter=lambda: 0.5)


def standing(database: Database) -> dict[str, bool]:
    """Tell of each article's title whether it stands, rather than being withdrawn."""
    with database.read() as session:
        return {article.title: article.withdrawn_at is None for article in session.scalars(select(Article))}


def said(database: Database) -> list[str]:
    with database.read() as session:
        changes = (
            select(PublishedArticleChange.after)
            .where(PublishedArticleChange.field == "withdrawn")
            .order_by(PublishedArticleChange.id)
        )
        return list(session.scalars(changes))


@pytest.mark.parametrize("path", ["/wp-json/wp/v2/posts", "/feed/"])
def test_a_protected_post_is_not_collected(
    database: Database, fetcher: HttpFetcher, wordpress: WordPress, path: str
) -> None:
    wordpress.protected = {"/drill/"}
    (report,) = collect(database, fetcher, wordpress.url(path))
    assert (report.found, report.new, [entry.reason for entry in report.rejected]) == (
        2,
        1,
        [f"not public: {PROTECTED}"],
    )
    assert standing(database) == {"News /flood/": True}


@pytest.mark.takes_turns
@pytest.mark.parametrize("path", ["/wp-json/wp/v2/posts", "/feed/"])
def test_a_post_protected_later_is_withdrawn_and_comes_back_when_it_is_public(
    database: Database, fetcher: HttpFetcher, wordpress: WordPress, path: str
) -> None:
    source = wordpress.url(path)
    collect(database, fetcher, source)
    assert standing(database) == {"News /drill/": True, "News /flood/": True}
    wordpress.protected = {"/drill/"}
    for _ in range(2):  # said again it's no second change
        collect(database, fetcher, source, now=LATER)
        assert standing(database) == {"News /drill/": False, "News /flood/": True}
    assert said(database) == [f"source 1: not public: {PROTECTED}"]
    wordpress.protected = set()
    collect(database, fetcher, source, now=LATEST)
    assert standing(database) == {"News /drill/": True, "News /flood/": True}


def test_a_site_speaks_for_its_own_pages_and_nobody_else_does(
    database: Database, fetcher: HttpFetcher, wordpress: WordPress
) -> None:
    feed, rest = wordpress.url("/feed/"), wordpress.url("/wp-json/wp/v2/posts")
    foreign = rest.replace("localhost", "127.0.0.1")  # another name of the server, so another site
    assert foreign != rest
    collect(database, fetcher, feed, foreign)
    wordpress.protected = {"/drill/"}
    collect(database, fetcher, foreign, now=LATER)
    with database.read() as session:
        rows = session.execute(
            select(Source.url, Article.withdrawn_at).join(Article).where(Article.url.endswith("/drill/"))
        )
        assert {url: at is None for url, at in rows} == {feed: True, foreign: False}
    collect(database, fetcher, feed, now=LATER)
    assert standing(database)["News /drill/"] is False


@pytest.mark.takes_turns
def test_a_feed_that_lists_a_page_later_does_not_overrule_its_site(
    database: Database, fetcher: HttpFetcher, wordpress: WordPress
) -> None:
    feed, page = wordpress.url("/feed/"), wordpress.url("/drill/")
    foreign = wordpress.url("/wp-json/wp/v2/posts").replace("localhost", "127.0.0.1")
    collect(database, fetcher, feed)
    wordpress.protected = {"/drill/"}
    collect(database, fetcher, feed, now=LATER)
    wordpress.protected = set()
    collect(database, fetcher, foreign, now=LATER)
    with database.read() as session:
        assert find_withdrawn_links(session, [page]) == {page: PROTECTED}
    (state,) = check_article_pages(database, fetcher, {usable_canonical_url(page): page}, workers=1, now=LATER).values()
    assert not state.exists
    collect(database, fetcher, feed, now=LATEST)
    with database.read() as session:
        assert find_withdrawn_links(session, [page]) == {}


@pytest.mark.takes_turns
def test_a_site_takes_its_word_back_for_what_it_never_listed_itself(
    database: Database, fetcher: HttpFetcher, wordpress: WordPress
) -> None:
    feed, page = wordpress.url("/feed/"), wordpress.url("/drill/")
    collect(database, fetcher, feed.replace("localhost", "127.0.0.1"))
    wordpress.protected = {"/drill/"}
    collect(database, fetcher, feed, now=LATER)
    with database.read() as session:
        assert find_withdrawn_links(session, [page]) == {page: PROTECTED}
    wordpress.protected = set()
    collect(database, fetcher, feed, now=LATEST)
    with database.read() as session:
        assert find_withdrawn_links(session, [page]) == {}


def test_a_cached_page_does_not_bring_back_what_its_source_withholds(
    database: Database, fetcher: HttpFetcher, wordpress: WordPress
) -> None:
    feed, rest, page = (wordpress.url(path) for path in ("/feed/", "/wp-json/wp/v2/posts", "/drill/"))
    collect(database, fetcher, feed, rest)
    wordpress.protected, wordpress.is_cached = {"/drill/"}, True
    collect(database, fetcher, feed, now=LATER)
    with database.read() as session:
        url = session.scalars(select(Article.url).where(Article.link == page)).first() or ""
    states = check_article_pages(database, fetcher, {url: page}, workers=1, now=LATER)
    assert [state.exists for state in states.values()] == [False]
    with database.read() as session:
        withdrawn = session.scalars(select(Article.withdrawn_at).where(Article.url == url)).all()
    assert None not in withdrawn
    wordpress.protected = set()
    collect(database, fetcher, feed, now=LATEST)
    with database.read() as session:  # of the other source's article, too
        assert session.scalars(select(Article.withdrawn_at).where(Article.url == url)).all() == [None, None]


def test_what_its_page_said_is_not_taken_back_by_a_list(
    database: Database, fetcher: HttpFetcher, wordpress: WordPress
) -> None:
    page = wordpress.url("/drill/")
    collect(database, fetcher, wordpress.url("/feed/"))
    wordpress.protected = {"/drill/"}
    with database.read() as session:
        url = session.scalars(select(Article.url).where(Article.link == page)).one()
    states = check_article_pages(database, fetcher, {url: page}, workers=1, now=LATER)
    assert [state.exists for state in states.values()] == [False]
    wordpress.protected = set()
    collect(database, fetcher, wordpress.url("/feed/"), now=LATER)
    assert standing(database)["News /drill/"] is False
    check_article_pages(database, fetcher, {url: page}, workers=1, now=LATEST)
    assert standing(database)["News /drill/"] is True
    assert said(database) == [PROTECTED, ""]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Response(status=302, headers={"Location": "/login?to=member"}), "it redirects to a sign-in page"),
        (Response(status=302, headers={"Location": "/"}), "it redirects to the front page"),
        (Response(f"<html><body>{FORM}</body></html>", content_type="text/html"), PROTECTED),
        (Response(status=401), "visitors must sign in"),
    ],
)
def test_a_page_that_visitors_cannot_read_anymore_is_withdrawn(
    database: Database, fetcher: HttpFetcher, wordpress: WordPress, answer: Response, words: str
) -> None:
    text = "<p>The port opened again on Monday, said the office that runs it.</p>" * 9
    page = f"<html><head><title>Drill in the port</title></head><body><h1>Drill in the port</h1>{text}</body></html>"
    answers = {"/member": Response(page, content_type="text/html")}
    wordpress.server.expect_request("/member").respond_with_handler(lambda _: answers["/member"])
    for path in ("/", "/login"):
        wordpress.server.expect_request(path).respond_with_data(
            "<html><body>Hello</body></html>", content_type="text/html"
        )
    source = wordpress.url("/member")
    assert [r.new for r in collect(database, fetcher, source)] == [1]
    answers["/member"] = answer
    collect(database, fetcher, source, now=LATER)
    assert (list(standing(database).values()), said(database)) == ([False], [words])
    with database.read() as session:
        assert session.scalars(select(Source.health)).one() is SourceHealth.REFUSING


LOOKS = {
    "/open": PageCheckResult(200),
    "/form": PageCheckResult(200, PROTECTED),
    "/wall": PageCheckResult(200, "it redirects to a sign-in page"),
    "/home": PageCheckResult(200, "it redirects to the front page"),
    "/soft": PageCheckResult(200, "its page shows “not found”"),
    "/moved": PageCheckResult(200),
    "/401": PageCheckResult(401, "visitors must sign in"),
    "/404": PageCheckResult(404),
}


def test_a_visitor_sees_what_is_there(fetcher: HttpFetcher, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/robots.txt").respond_with_data("", 404)
    pages = {
        "/open": "<h1>News</h1><p>The port opened again.</p>",
        "/form": FORM,
        "/soft": "<h1>Page not found</h1>",
        "/wp-login.php": "<p>Welcome</p>",
        "/new-place": "<h1>News</h1>",
        "/": "<h1>The port</h1>",
    }
    for path, body in pages.items():
        httpserver.expect_request(path).respond_with_data(f"<html><body>{body}</body></html>", content_type="text/html")
    for path, target in (("/wall", "/wp-login.php?redirect_to=x"), ("/home", "/"), ("/moved", "/new-place")):
        httpserver.expect_request(path).respond_with_data("", 302, headers={"Location": target})
    for status in (401, 403, 404, 500):
        httpserver.expect_request(f"/{status}").respond_with_data("", status)
    links = {path: httpserver.url_for(path) for path in (*LOOKS, "/403", "/500")}
    looks = check_linked_pages(fetcher, links.values(), workers=2)
    assert {path: looks[links[path]] for path in LOOKS} == LOOKS
    assert {path: looks[path].is_gone for path in looks} == {
        link: LOOKS.get(path, PageCheckResult(200)).is_gone for path, link in links.items()
    }
    assert looks[links["/403"]].failure
    assert looks[links["/500"]].failure
    assert not any(
        request.headers.get("Cookie") or request.headers.get("Authorization") for request, _ in httpserver.log
    )


@pytest.mark.parametrize(
    ("asked", "found", "reason"),
    [
        ("https://a.example/news", "https://a.example/", "it redirects to the front page"),
        ("https://a.example/?p=7", "https://www.a.example/", "it redirects to the front page"),
        ("https://a.example/", "https://www.a.example/", ""),
        ("https://a.example/go", "https://report.example/", ""),
        ("https://a.example/news", "https://a.example/?lang=fr", ""),
        ("https://a.example/news", "https://a.example/members/sign-in/?to=news", "it redirects to a sign-in page"),
        ("https://a.example/news", "https://login.a.example/x", "it redirects to a sign-in page"),
        ("https://a.example/news", "https://port.okta.com/app/port/k1/saml?to=news", "it redirects to a sign-in page"),
        ("https://a.example/news", "https://idp.a.example/start", "it redirects to a sign-in page"),
        (
            "https://a.example/news",
            "https://a.example/realms/port/protocol/openid-connect/auth",
            "it redirects to a sign-in page",
        ),
        ("https://a.example/news", "https://id.a.example/berita/", ""),
        ("https://a.example/login", "https://a.example/login/", ""),
        ("https://a.example/x", "https://a.example/login-gov-breach", ""),
        ("https://a.example/news", "https://a.example/users/sign-in.html", "it redirects to a sign-in page"),
        ("https://a.example/news", "https://a.example/my-account/?to=news", "it redirects to a sign-in page"),
        ("https://a.example/x", "https://a.example/guides/my-account/", ""),
        ("https://a.example/2026/x/", "https://a.example/en/", "it redirects to the front page"),
        ("https://a.example/2026/x/", "https://www.a.example/pt-br", "it redirects to the front page"),
        ("https://a.example/2026/x/", "https://a.example/home/", "it redirects to the front page"),
        ("https://a.example/2026/x/", "https://a.example/index.php", "it redirects to the front page"),
        ("https://a.example/2026/x/", "https://a.example/index.php?p=7", ""),
        ("https://a.example/2026/x/", "https://a.example/en/x/", ""),
        ("https://a.example/", "https://a.example/en/", ""),
        ("https://a.example/de", "https://a.example/en/", ""),
        ("https://a.example/2026/x/", "https://b.example/en/", ""),
        ("https://a.example/2026/x/", "https://a.example/404/", "it redirects to a not-found page"),
        ("https://a.example/2026/x/", "https://a.example/404.html?from=x", "it redirects to a not-found page"),
        ("https://a.example/2026/x/", "https://a.example/page-not-found", "it redirects to a not-found page"),
        ("https://a.example/404", "https://a.example/404/", ""),
        ("https://a.example/x", "https://a.example/2026/404/", ""),
    ],
)
def test_a_redirect_says_that_the_article_is_not_there(asked: str, found: str, reason: str) -> None:
    assert explain_unrelated_redirect(asked, found) == reason


def keep_image(database: Database, url: str) -> None:
    with database.write() as session:
        for number, address in enumerate([url, *(make_crop_source_url(url, shape) for shape in CropShape)]):
            body = f"{address} {number}".encode()
            store_image(session, PreparedImage(body, "image/jpeg", 600, 300, address), NOON)


def hashes(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(select(MediaFile.hash).order_by(MediaFile.source_url)))


def test_the_pictures_of_a_withheld_post_go_unless_an_edition_that_went_out_shows_them(
    database: Database, fetcher: HttpFetcher, wordpress: WordPress
) -> None:
    source = wordpress.url("/wp-json/wp/v2/posts")
    collect(database, fetcher, source)
    keep_image(database, wordpress.url("/drill.jpg"))
    shown, *_ = hashes(database)
    with database.write() as session:
        sent = Edition(slot="2026-11-13", name="2026-W46", number=1, state=EditionState.SENT, subject="S", preheader="")
        sent.content = {"sections": [{"entries": [{"picture": {"hash": shown}}]}]}
        sent.opens_at = sent.cut_off = sent.release_at = sent.drafted_at = NOON - timedelta(days=3)
        session.add(sent)
    wordpress.protected = {"/drill/"}
    collect(database, fetcher, source, now=LATER)
    assert hashes(database) == [shown]
