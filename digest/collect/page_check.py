"""Checks whether the pages of articles still exist, before an edition leads readers there."""

import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from urllib.parse import urlsplit

import structlog
from sqlalchemy import select

from digest.collect.articles import clear_withdrawn, mark_withdrawn
from digest.collect.fetch.result import ContentFetcher, FetchError
from digest.store.engine import Database
from digest.store.models import Article

MISSING_STATUSES = frozenset({404, 410})  # statuses that say that a page is not there; any other failure says nothing
TIME_LIMIT = 60.0  # seconds; a page that has not been asked by then counts as one that says nothing

log = structlog.get_logger(__name__)


def check_pages(
    database: Database, fetcher: ContentFetcher, pages: Mapping[str, str], *, workers: int, now: datetime
) -> dict[str, bool]:
    """Fetch pages, and note which articles are withdrawn and which are back.

    Args:
        database: holds the articles.
        fetcher: used by several threads at once.
        pages: the links to fetch, by the articles' canonical URL.
        workers: how many hosts are fetched from at once.
        now: the time that is recorded.

    Returns:
        By canonical URL, whether the page exists. A page that failed, that robots.txt disallows, or whose turn did
        not come within `TIME_LIMIT`, is left out: nothing is known of it.
    """
    if not pages:
        return {}
    answers = _fetch_statuses(fetcher, set(pages.values()), workers)
    missing = {url: answers[link] for url, link in pages.items() if answers.get(link) in MISSING_STATUSES}
    standing = {url for url, link in pages.items() if link in answers} - missing.keys()
    with database.write() as session:
        for article in session.scalars(select(Article).where(Article.url.in_(missing))):
            mark_withdrawn(session, article, now, str(missing[article.url]))
        back = select(Article).where(Article.url.in_(standing), Article.withdrawn_at.is_not(None))
        for article in session.scalars(back):
            clear_withdrawn(session, article, now)
    return dict.fromkeys(missing, False) | dict.fromkeys(standing, True)


def _fetch_statuses(fetcher: ContentFetcher, links: Collection[str], workers: int) -> dict[str, int]:
    """Return the status of each page that answered with one that means something; a host is asked one by one."""
    hosts: dict[str, list[str]] = {}
    for link in sorted(links):
        hosts.setdefault(urlsplit(link).hostname or "", []).append(link)
    end = time.monotonic() + TIME_LIMIT
    with ThreadPoolExecutor(workers, "recheck") as pool:
        results = pool.map(partial(_fetch_host_statuses, fetcher, deadline=end), hosts.values())
    return {link: status for answers in results for link, status in answers.items()}


def _fetch_host_statuses(fetcher: ContentFetcher, links: Collection[str], *, deadline: float) -> dict[str, int]:
    answers = {}
    for link in links:
        if time.monotonic() > deadline:
            break
        try:
            if fetcher.may_read(link):
                answers[link] = fetcher.get(link, accept="text/html, */*;q=0.5").status
        except FetchError as error:
            if error.status in MISSING_STATUSES:
                answers[link] = error.status
        except Exception:  # one page's surprise must not keep an edition from being drafted
            log.exception("recheck.surprise", page=link)
    return answers
