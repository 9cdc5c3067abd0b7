"""Checks whether the pages of articles still exist, before an edition leads readers there."""

import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from urllib.parse import urlsplit

import structlog
from sqlalchemy import select

from digest.collect.articles import clear_withdrawn, mark_withdrawn, note_supersession
from digest.collect.fetch.result import ContentFetcher, FetchError, FetchResult
from digest.collect.sandbox import client as sandbox
from digest.store.engine import Database
from digest.store.models import Article

MISSING_STATUSES = frozenset({404, 410})  # statuses that say that a page is not there; any other failure says nothing
TIME_LIMIT = 60.0  # seconds; a page that has not been asked by then counts as one that says nothing

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PageState:
    """What a page said: whether it exists, and what it says has become of the advisory on it ("superseded by …")."""

    exists: bool
    supersession: str = ""


def check_pages(
    database: Database,
    fetcher: ContentFetcher,
    pages: Mapping[str, str],
    *,
    advisories: Collection[str] = (),
    workers: int,
    now: datetime,
) -> dict[str, PageState]:
    """Fetch pages, and note which articles are withdrawn, which are back, and which advisories are superseded.

    Args:
        database: holds the articles.
        fetcher: used by several threads at once.
        pages: the links to fetch, by the articles' canonical URL.
        advisories: the canonical URLs of those that are security advisories: their pages are read.
        workers: how many hosts are fetched from at once.
        now: the time that is recorded.

    Returns:
        By canonical URL, what the page said. A page that failed, that robots.txt disallows, or whose turn did not come
        within `TIME_LIMIT`, is left out: nothing is known of it.
    """
    if not pages:
        return {}
    answers = _fetch_pages(fetcher, set(pages.values()), {pages[url] for url in advisories if url in pages}, workers)
    known = {link: answer for link, answer in answers.items() if not answer.failure}
    states = {url: known[link] for url, link in pages.items() if link in known}
    missing = {url for url, answer in states.items() if answer.status in MISSING_STATUSES}
    with database.write() as session:
        for article in session.scalars(select(Article).where(Article.url.in_(missing))):
            mark_withdrawn(session, article, now, str(states[article.url].status))
        back = select(Article).where(Article.url.in_(states.keys() - missing), Article.withdrawn_at.is_not(None))
        for article in session.scalars(back):
            clear_withdrawn(session, article, now)
        read = {url for url in advisories if url in states and url not in missing}
        for article in session.scalars(select(Article).where(Article.url.in_(read))):
            note_supersession(session, article, now, states[article.url].supersession)
    return {url: PageState(url not in missing, answer.supersession) for url, answer in states.items()}


@dataclass(frozen=True, slots=True)
class PageLook:
    """What came of asking for a page. `failure` says why nothing is known of it; a gone page is no failure."""

    is_gone: bool
    status: int = 0
    failure: str = ""


def look_at_pages(fetcher: ContentFetcher, links: Collection[str], *, workers: int) -> dict[str, PageLook]:
    """Ask for pages whether they are still there; nothing is noted.

    What did not come within `TIME_LIMIT` has a failure, as has what answered anything but the page, 404 or 410, and what
    robots.txt disallows: that is not asked for.
    """
    if not links:
        return {}
    answers = _fetch_pages(fetcher, set(links), (), workers)
    unasked = _PageAnswer(0, failure="there was no time left to ask")
    looks = {link: answers.get(link, unasked) for link in links}
    return {link: PageLook(a.status in MISSING_STATUSES, a.status, a.failure) for link, a in looks.items()}


@dataclass(frozen=True, slots=True)
class _PageAnswer:
    status: int
    supersession: str = ""
    failure: str = ""


def _fetch_pages(
    fetcher: ContentFetcher, links: Collection[str], read: Collection[str], workers: int
) -> dict[str, _PageAnswer]:
    """Return what came of each page that there was time for; a host is asked one by one."""
    hosts: dict[str, list[str]] = {}
    for link in sorted(links):
        hosts.setdefault(urlsplit(link).hostname or "", []).append(link)
    end = time.monotonic() + TIME_LIMIT
    with ThreadPoolExecutor(workers, "recheck") as pool:
        results = pool.map(partial(_fetch_host_pages, fetcher, read=read, deadline=end), hosts.values())
    return {link: answer for answers in results for link, answer in answers.items()}


def _fetch_host_pages(
    fetcher: ContentFetcher, links: Collection[str], *, read: Collection[str], deadline: float
) -> dict[str, _PageAnswer]:
    answers = {}
    for link in links:
        if time.monotonic() > deadline:
            break
        try:
            if fetcher.may_read(link):
                answers[link] = _read_page(fetcher.get(link, accept="text/html, */*;q=0.5"), is_read=link in read)
            else:
                answers[link] = _PageAnswer(0, failure="robots.txt lets nobody look, or did not answer")
        except FetchError as error:
            missing = error.status in MISSING_STATUSES
            answers[link] = _PageAnswer(error.status or 0, failure="" if missing else error.message)
        except Exception:  # one page's surprise must not keep an edition from being drafted
            log.exception("recheck.surprise", page=link)
            answers[link] = _PageAnswer(0, failure="our own fault: see the log")
    return answers


def _read_page(page: FetchResult, *, is_read: bool) -> _PageAnswer:
    if not is_read:
        return _PageAnswer(page.status)
    return _PageAnswer(
        page.status,
        sandbox.read_supersession_in_child(page.body, content_type=page.content_type or None, charset=page.charset),
    )
