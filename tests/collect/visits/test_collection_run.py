import threading
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Unpack

import pytest
from sqlalchemy import select

from digest.collect.documents.parsed_document import FeedLink
from digest.collect.fetch.result import FetchError, FetchErrorReason, FetchResult, RequestOptions
from digest.collect.visits.collection_run import SourceReport, UnknownSourceError, collect_sources
from digest.collect.visits.page_check import PageState, check_article_pages
from digest.collect.visits.source_visit import MAX_PAGES, find_feed_for_rest_api, rank_feeds
from digest.settings import Settings, SettingsFileContent, SourceSettings, UsageLimitSettings
from digest.store.engine import Database
from digest.store.models import Article, PublishedArticleChange, Source, SourceHealth
from tests.conftest import WAIT_TIMEOUT
from tests.moments import MONDAY_NOON as NOON

PORT, COAST = "https://port.example.org/feed", "https://coast.example.org/feed"
PAGE = "https://site.example.org/"

Answer = FetchResult | Exception | Callable[[], FetchResult]


class Web:
    """A small world: addresses and what they answer. What is not listed is a dead host."""

    def __init__(self, answers: dict[str, Answer], barred: Iterable[str] = ()) -> None:
        self.answers = answers
        self.barred = set(barred)
        self.asked: list[tuple[str, str | None]] = []

    def get(self, url: str, **options: Unpack[RequestOptions]) -> FetchResult:
        self.asked.append((url, options.get("etag")))
        answer = self.answers.get(url, FetchError(url, FetchErrorReason.DNS, "no such host"))
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, FetchResult) else answer()

    def may_read(self, url: str) -> bool:
        return url not in self.barred


def rss(*paths: str, site: str = "https://port.example.org", ttl: int | None = None) -> bytes:
    items = "".join(
        f"<item><title>News {path}</title><link>{site}{path}</link>"
        f"<pubDate>Sun, 15 Nov 2026 09:00:00 GMT</pubDate></item>"
        for path in paths
    )
    wait = f"<ttl>{ttl}</ttl>" if ttl else ""
    return f'<rss version="2.0"><channel><title>Port</title>{wait}{items}</channel></rss>'.encode()


def fetched(body: bytes, url: str = PORT, **more: object) -> FetchResult:
    return FetchResult(**({"url": url, "status": 200, "body": body} | more))  # type: ignore[arg-type]


def gone(url: str, status: int, reason: FetchErrorReason) -> FetchError:
    return FetchError(url, reason, f"it says {status}", status=status)


def naming(*urls: str, **limits: int) -> Settings:
    sources = [SourceSettings(url=url, name=f"Source {n}", publisher=f"P{n}") for n, url in enumerate(urls)]
    return Settings(file=SettingsFileContent(sources=sources, limits=UsageLimitSettings.model_validate(limits)))


def visited(database: Database, web: Web, *urls: str, now: datetime = NOON, force: bool = False) -> list[SourceReport]:
    return collect_sources(database, web, naming(*urls), now=now, force=force, jitter=lambda: 0.5)


def titles(database: Database) -> list[str]:
    with database.read() as session:
        return sorted(session.scalars(select(Article.title)))


def row(database: Database, url: str) -> Source:
    with database.read() as session:
        return session.scalars(select(Source).where(Source.url == url)).one()


@pytest.mark.takes_turns
def test_every_source_is_visited_and_its_articles_are_stored(database: Database) -> None:
    web = Web({PORT: fetched(rss("/a", "/b")), COAST: fetched(rss("/c", site="https://coast.example.org"), COAST)})
    reports = visited(database, web, PORT, COAST)
    assert [(r.name, r.kind, r.found, r.new, r.succeeded) for r in reports] == [
        ("Source 0", "rss", 2, 2, True),
        ("Source 1", "rss", 1, 1, True),
    ]
    assert titles(database) == ["News /a", "News /b", "News /c"]
    assert row(database, PORT).health is SourceHealth.GOOD


def test_one_bad_source_never_stops_the_others(database: Database) -> None:
    web = Web(
        {
            "https://refusing.example.org/": gone("https://refusing.example.org/", 403, FetchErrorReason.REFUSING),
            "https://odd.example.org/": fetched(b"\x00\x01\x02 not a feed"),
            "https://broken.example.org/": RuntimeError("a fault of ours"),
            PORT: fetched(rss("/a")),
        }
    )
    reports = visited(
        database,
        web,
        "https://dead.example.org/",
        "https://refusing.example.org/",
        "https://odd.example.org/",
        "https://broken.example.org/",
        PORT,
    )
    assert [r.succeeded for r in reports] == [False, False, False, False, True]
    assert [r.error for r in reports[:2]] == ["no such host", "it says 403"]
    assert "RuntimeError: a fault of ours" in (reports[3].error or "")
    assert titles(database) == ["News /a"]
    assert row(database, "https://refusing.example.org/").health is SourceHealth.REFUSING
    assert row(database, "https://broken.example.org/").health is SourceHealth.FAILING


def test_a_source_that_has_not_changed_is_asked_with_its_validators_and_stays_good(database: Database) -> None:
    web = Web({PORT: fetched(rss("/a"), etag='"v1"', last_modified="Mon")})
    visited(database, web, PORT)
    web.answers[PORT] = FetchResult(url=PORT, status=304, not_modified=True)
    (report,) = visited(database, web, PORT)
    assert (report.not_modified, report.succeeded, report.found) == (True, True, 0)
    visited(database, web, PORT)
    assert [etag for _, etag in web.asked] == [None, '"v1"', '"v1"']


def test_force_asks_for_all_anew(database: Database) -> None:
    web = Web({PORT: fetched(rss("/a"), etag='"v1"', max_age=3600)})
    visited(database, web, PORT)
    (skipped,) = visited(database, web, PORT, now=NOON + timedelta(minutes=5))
    assert skipped.skipped == "not due until 2026-11-16 08:00", "said in the publication's zone"
    (forced,) = visited(database, web, PORT, now=NOON + timedelta(minutes=5), force=True)
    assert forced.unchanged == 1
    assert [etag for _, etag in web.asked] == [None, None]


@pytest.mark.takes_turns
def test_a_feed_that_asks_for_rare_visits_gets_them(database: Database) -> None:
    web = Web({PORT: fetched(rss("/a", ttl=120), max_age=60)})
    visited(database, web, PORT)
    assert row(database, PORT).next_try_at == NOON + timedelta(hours=2)


def test_a_gone_source_is_left_in_peace_until_it_is_forced(database: Database) -> None:
    web = Web({PORT: gone(PORT, 410, FetchErrorReason.GONE)})
    visited(database, web, PORT)
    (report,) = visited(database, web, PORT, now=NOON + timedelta(days=300))
    assert (report.skipped or "").startswith("gone: it says 410")
    assert len(web.asked) == 1
    web.answers[PORT] = fetched(rss("/a"))
    assert visited(database, web, PORT, force=True)[0].succeeded
    assert row(database, PORT).health is SourceHealth.GOOD


def test_a_permanent_redirect_is_remembered_and_forgotten_when_it_leads_nowhere(database: Database) -> None:
    new = "https://new.example.org/feed"
    web = Web({PORT: fetched(rss("/a"), new, moved_to=new), new: fetched(rss("/a"), new)})
    visited(database, web, PORT)
    assert row(database, PORT).moved_to == new
    web.answers[new] = gone(new, 404, FetchErrorReason.MISSING)
    visited(database, web, PORT)
    assert row(database, PORT).moved_to is None
    visited(database, web, PORT, force=True)
    assert [url for url, _ in web.asked] == [PORT, new, PORT]


HEAD = """<html><head><title>Site</title>
<link rel="alternate" type="application/rss+xml" title="Comments" href="/comments/feed/">
<link rel="alternate" type="application/rss+xml" title="Site" href="/feed/">
</head><body><h1>Site</h1></body></html>"""


@pytest.mark.takes_turns
def test_a_site_is_visited_through_the_feed_that_it_names_from_the_second_time_on(database: Database) -> None:
    feed = "https://site.example.org/feed/"
    web = Web({PAGE: fetched(HEAD.encode(), PAGE), feed: fetched(rss("/a"), feed)})
    (report,) = visited(database, web, PAGE)
    assert (report.kind, report.new) == ("rss", 1)
    visited(database, web, PAGE)
    assert [url for url, _ in web.asked] == [PAGE, feed, feed]


@pytest.mark.takes_turns
def test_a_site_whose_feeds_cannot_be_read_says_which(database: Database) -> None:
    (report,) = visited(database, Web({PAGE: fetched(HEAD.encode(), PAGE)}), PAGE)
    assert report.error
    assert "https://site.example.org/feed/: no such host" in report.error


def test_wordpress_is_preferred_and_comments_come_last() -> None:
    rest_api = "https://site.example.org/wp-json/wp/v2/posts?_embed"
    feeds = (
        FeedLink("https://site.example.org/comments/feed/", "Comments"),
        FeedLink("https://site.example.org/world/feed/", "World"),
        FeedLink("https://site.example.org/feed/", "Site"),
        FeedLink(rest_api, "WordPress"),
    )
    assert [feed.url.removeprefix("https://site.example.org") for feed in rank_feeds(feeds, PAGE)] == [
        "/wp-json/wp/v2/posts?_embed",
        "/feed/",
        "/world/feed/",
        "/comments/feed/",
    ]


ARTICLE = """<html lang="en"><head><title>Port reopens after the storm</title>
<meta property="og:type" content="article">
<meta property="article:published_time" content="2026-11-15T09:00:00Z">
<meta property="og:title" content="Port reopens after the storm">
<meta name="description" content="The harbour office opened both basins on Sunday, two days after the storm.">
</head><body><article><h1>Port reopens after the storm</h1>
<p>The harbour office opened both basins on Sunday, two days after the storm had closed them to all ships.</p>
<p>Pilots will bring the waiting vessels in by night, and the ferries follow their timetable from Monday on.</p>
</article></body></html>"""
STORY = "https://site.example.org/2026/port-reopens"


def test_a_page_without_feeds_is_one_article_and_its_end_is_kept_as_history(database: Database) -> None:
    web = Web({STORY: fetched(ARTICLE.encode(), STORY)})
    (report,) = visited(database, web, STORY)
    assert (report.kind, report.new) == ("page", 1)
    web.answers[STORY] = gone(STORY, 410, FetchErrorReason.GONE)
    visited(database, web, STORY, now=NOON + timedelta(hours=1))
    with database.read() as session:
        assert session.scalars(select(Article.withdrawn_at)).all() == [NOON + timedelta(hours=1)]
        assert session.scalars(select(PublishedArticleChange.field)).all() == ["withdrawn"]


def test_a_page_that_is_back_is_withdrawn_no_more(database: Database) -> None:
    web = Web({STORY: fetched(ARTICLE.encode(), STORY)})
    visited(database, web, STORY)
    web.answers[STORY] = gone(STORY, 404, FetchErrorReason.MISSING)
    visited(database, web, STORY, now=NOON + timedelta(days=1))
    web.answers[STORY] = fetched(ARTICLE.encode(), STORY)
    visited(database, web, STORY, now=NOON + timedelta(days=3))
    with database.read() as session:
        assert session.scalars(select(Article.withdrawn_at)).all() == [None]
        history = [
            (c.field, c.before, c.after)
            for c in session.scalars(select(PublishedArticleChange).order_by(PublishedArticleChange.id))
        ]
    assert history == [("withdrawn", "", "404"), ("withdrawn", "withdrawn", "")]


def test_a_page_that_robots_txt_bars_is_not_read(database: Database) -> None:
    web = Web({STORY: fetched(ARTICLE.encode(), STORY)}, barred=[STORY])
    (report,) = visited(database, web, STORY)
    assert "robots.txt" in (report.error or "")
    assert row(database, STORY).health is SourceHealth.REFUSING
    assert titles(database) == []


def test_pages_of_articles_are_checked_and_those_that_are_gone_are_marked(database: Database) -> None:
    web = Web({PORT: fetched(rss("/a", "/b", "/c", "/d"))})
    visited(database, web, PORT)
    site = "https://port.example.org"
    web.answers |= {
        f"{site}/a": fetched(b"here"),
        f"{site}/b": gone(f"{site}/b", 404, FetchErrorReason.MISSING),
        f"{site}/c": gone(f"{site}/c", 503, FetchErrorReason.SERVER),
    }
    web.barred = {f"{site}/d"}
    pages = {f"{site}/{name}": f"{site}/{name}" for name in "abcd"}
    assert check_article_pages(database, web, pages, workers=4, now=NOON) == {
        f"{site}/a": PageState(True),
        f"{site}/b": PageState(False),
    }
    assert withdrawn(database) == {f"{site}/b"}
    web.answers[f"{site}/b"] = fetched(b"here again")
    assert check_article_pages(database, web, {f"{site}/b": f"{site}/b"}, workers=4, now=NOON) == {
        f"{site}/b": PageState(True)
    }
    assert withdrawn(database) == set()


@pytest.mark.takes_turns
def test_a_surprise_at_one_page_says_nothing_of_it_and_stops_no_other(database: Database) -> None:
    web = Web({PORT: fetched(rss("/a", "/b"))})
    visited(database, web, PORT)
    a, b = "https://port.example.org/a", "https://port.example.org/b"
    web.answers |= {a: RuntimeError("a fault of ours"), b: gone(b, 410, FetchErrorReason.GONE)}
    assert check_article_pages(database, web, {a: a, b: b}, workers=2, now=NOON) == {b: PageState(False)}


def test_the_pages_of_advisories_say_whether_another_took_their_place(database: Database) -> None:
    web = Web({PORT: fetched(rss("/a", "/b"))})
    visited(database, web, PORT)
    a, b = "https://port.example.org/a", "https://port.example.org/b"
    notice = b"<html><body><p>This advisory has been superseded by ICSA-26-330-01.</p></body></html>"
    web.answers |= {a: fetched(notice), b: fetched(notice)}
    said = "superseded by ICSA-26-330-01"
    states = check_article_pages(database, web, {a: a, b: b}, advisories=[a], workers=2, now=NOON)
    assert states == {a: PageState(True, said), b: PageState(True)}
    assert superseded(database) == {a: said, b: ""}
    web.answers[a] = fetched(b"<html><body><p>It stands again.</p></body></html>")
    assert check_article_pages(database, web, {a: a}, advisories=[a], workers=2, now=NOON) == {a: PageState(True)}
    assert superseded(database) == {a: "", b: ""}
    with database.read() as session:
        query = (
            select(PublishedArticleChange)
            .where(PublishedArticleChange.field == "superseded")
            .order_by(PublishedArticleChange.id)
        )
        changes = session.scalars(query).all()
    assert [(change.before, change.after) for change in changes] == [("", said), (said, "")]


def test_a_page_names_the_publisher_of_an_aggregator_s_article(database: Database) -> None:
    hosts = ("a.example", "b.example", "c.example")
    items = "".join(f"<item><title>News on {host}</title><link>https://{host}/1</link></item>" for host in hosts)
    web = Web({PORT: fetched(f"<rss><channel><title>Lists</title>{items}</channel></rss>".encode())})
    visited(database, web, PORT)
    assert publishers(database) == list(hosts)
    first, second = "https://a.example/1", "https://b.example/1"
    data = b'{"@type": "NewsArticle", "headline": "News", "publisher": {"name": "The Wire"}}'
    page = (
        b'<html><head><script type="application/ld+json">' + data + b"</script></head><body><p>News</p></body></html>"
    )
    web.answers |= {first: fetched(page), second: fetched(b"<html><body><p>News</p></body></html>")}
    states = check_article_pages(database, web, {first: first, second: second}, workers=1, now=NOON)
    assert states[first].publisher == "The Wire"
    assert publishers(database) == ["The Wire", *hosts[1:]]
    visited(database, web, PORT, force=True)
    assert publishers(database) == ["The Wire", *hosts[1:]], "its feed, which has only the host, doesn't take it back"


def publishers(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(select(Article.publisher).order_by(Article.url)))


def superseded(database: Database) -> dict[str, str]:
    with database.read() as session:
        return {article.url: article.superseded for article in session.scalars(select(Article))}


def withdrawn(database: Database) -> set[str]:
    with database.read() as session:
        return set(session.scalars(select(Article.url).where(Article.withdrawn_at.is_not(None))))


def posts(page: int, count: int, day: str = "2026-11-15") -> bytes:
    post = (
        '{{"id": {n}, "date": "{day}T09:00:00", "date_gmt": "{day}T09:00:00", "link": "https://wp.example.org/{n}/",'
        ' "title": {{"rendered": "Post {n}"}}, "excerpt": {{"rendered": "A post."}}, "status": "publish"}}'
    )
    return f"[{','.join(post.format(n=page * 100 + n, day=day) for n in range(count))}]".encode()


WP = "https://wp.example.org/wp-json/wp/v2/posts?per_page=2"


@pytest.mark.takes_turns
def test_wordpress_is_read_page_by_page_until_a_page_is_not_full(database: Database) -> None:
    web = Web(
        {
            WP: fetched(posts(1, 2), WP),
            f"{WP}&page=2": fetched(posts(2, 2), f"{WP}&page=2"),
            f"{WP}&page=3": fetched(posts(3, 1), f"{WP}&page=3"),
        }
    )
    (report,) = visited(database, web, WP)
    assert (report.kind, report.found, report.new, report.note) == ("wordpress", 5, 5, "")


CLOSED = FetchError(
    WP, FetchErrorReason.REFUSING, "access denied (401)", status=401, explanation="Only authenticated users may read."
)
SITE_FEED = "https://wp.example.org/feed/"


@pytest.mark.takes_turns
def test_where_wordpress_closes_its_rest_api_the_feed_is_read_and_its_reason_given(database: Database) -> None:
    web = Web({WP: CLOSED, SITE_FEED: fetched(rss("one", "two"), SITE_FEED)})
    (report,) = visited(database, web, WP)
    assert (report.kind, report.new, report.error) == ("rss", 2, None)
    assert report.note == "the site's feed was read because its REST API is closed: Only authenticated users may read."
    visited(database, web, WP)
    assert [url for url, _ in web.asked] == [WP, SITE_FEED, WP, SITE_FEED], "the API may open again"


@pytest.mark.takes_turns
@pytest.mark.parametrize("feed", [None, b"<html><body><p>Please sign in.</p></body></html>"])
def test_without_a_feed_either_the_error_is_that_of_the_rest_api(database: Database, feed: bytes | None) -> None:
    answers: dict[str, Answer] = {WP: CLOSED}
    if feed:
        answers[SITE_FEED] = fetched(feed, SITE_FEED)
    (report,) = visited(database, Web(answers), WP)
    assert report.error
    assert "access denied (401)" in report.error


@pytest.mark.parametrize(
    ("url", "feed"),
    [
        ("https://wp.example.org/blog/wp-json/wp/v2/posts", "https://wp.example.org/blog/feed/"),
        ("https://wp.example.org/wp-json/wp/v2/posts/?per_page=100&_embed", SITE_FEED),
        ("https://wp.example.org/index.php?rest_route=/wp/v2/posts&per_page=9", SITE_FEED),
        ("https://wp.example.org/?rest_route=/wp/v2/posts", SITE_FEED),
        ("https://wp.example.org/wp-json/wp/v2/posts?categories=5", None),
        ("https://wp.example.org/wp-json/wp/v2/posts/7", None),
        ("https://wp.example.org/wp-json/wp/v2/pages", None),
        ("https://wp.example.org/feed/", None),
    ],
)
def test_the_feed_of_the_same_posts_is_beside_the_rest_api(url: str, feed: str | None) -> None:
    assert find_feed_for_rest_api(url) == feed


@pytest.mark.takes_turns
def test_paging_ends_where_wordpress_says_that_there_is_no_such_page(database: Database) -> None:
    web = Web({WP: fetched(posts(1, 2), WP), f"{WP}&page=2": gone(WP, 400, FetchErrorReason.BAD_ANSWER)})
    (report,) = visited(database, web, WP)
    assert (report.new, report.note) == (2, "")


@pytest.mark.takes_turns
def test_a_page_that_is_missing_in_between_is_said_and_the_others_are_kept(database: Database) -> None:
    web = Web({WP: fetched(posts(1, 2), WP)})
    (report,) = visited(database, web, WP)
    assert report.new == 2
    assert report.note.startswith("older pages are missing")


def test_paging_stops_at_posts_too_old_for_a_digest_and_at_ten_pages(database: Database) -> None:
    old = Web({WP: fetched(posts(1, 2, "2026-09-01"), WP)})
    assert visited(database, old, WP)[0].note == ""
    assert len(old.asked) == 1
    endless = Web({WP: fetched(posts(1, 2), WP)})
    endless.answers |= {f"{WP}&page={n}": fetched(posts(n, 2), f"{WP}&page={n}") for n in range(2, 99)}
    (report,) = visited(database, endless, WP, force=True)
    assert (report.found, report.note) == (2 * MAX_PAGES, f"only the first {MAX_PAGES} pages were read")


def test_a_source_over_its_limit_brings_in_the_first_and_says_so(one_database: Database) -> None:
    web = Web({PORT: fetched(rss("/a", "/b", "/c"))})
    (report,) = collect_sources(one_database, web, naming(PORT, items_per_source=2), now=NOON)
    assert (report.found, report.new, len(report.rejected)) == (3, 2, 1)
    assert "limits.items_per_source" in report.rejected[0].reason


def test_only_the_sources_that_are_named_are_visited(one_database: Database) -> None:
    web = Web({PORT: fetched(rss("/a")), COAST: fetched(rss("/b"), COAST)})
    settings = naming(PORT, COAST)
    assert [r.url for r in collect_sources(one_database, web, settings, now=NOON, only=["source 1"])] == [COAST]
    assert [r.url for r in collect_sources(one_database, web, settings, now=NOON, only=[PORT])] == [PORT]
    with pytest.raises(UnknownSourceError, match="'Source 0', 'Source 1'"):
        collect_sources(one_database, web, settings, now=NOON, only=["Sorce 1"])


def test_sources_are_fetched_side_by_side(one_database: Database) -> None:
    together = threading.Barrier(2, timeout=WAIT_TIMEOUT)

    def wait_for_the_other() -> FetchResult:
        together.wait()  # breaks, and fails the source, if the other is not asked meanwhile
        return fetched(rss("/a"))

    reports = visited(one_database, Web({PORT: wait_for_the_other, COAST: wait_for_the_other}), PORT, COAST)
    assert all(report.succeeded for report in reports)


def test_progress_is_reported_from_nothing_to_all(one_database: Database) -> None:
    calls: list[tuple[int, int, str | None]] = []
    collect_sources(
        one_database,
        Web({PORT: fetched(rss("/a"))}),
        naming(PORT),
        now=NOON,
        progress=lambda done, total, report: calls.append((done, total, report.name if report else None)),
    )
    assert calls == [(0, 1, None), (1, 1, "Source 0")]


def test_a_source_that_left_the_settings_is_not_visited(one_database: Database) -> None:
    web = Web({PORT: fetched(rss("/a"))})
    visited(one_database, web, PORT)
    assert visited(one_database, web) == []
    assert len(web.asked) == 1
    assert titles(one_database) == ["News /a"]
