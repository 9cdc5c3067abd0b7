"""Checks that visitors can still read articles' pages, before an edition sends them there."""

import re
import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from urllib.parse import SplitResult, urlsplit

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.collect.articles.storage import (
    clear_withdrawn,
    find_withdrawn_links,
    mark_withdrawn,
    mark_withdrawn_and_delete_image,
    record_publisher,
    record_supersession,
    was_withdrawn_by_source,
)
from digest.collect.documents.item_identity import is_front_page
from digest.collect.documents.parsed_document import SIGN_IN, SIGN_IN_STATUS
from digest.collect.fetch.result import ContentFetcher, FetchError, FetchResult
from digest.collect.sandbox import client as sandbox
from digest.collect.texts.urls import site_name
from digest.store.engine import Database
from digest.store.models import Article
from subscribers.loggers import get_logger

MISSING_STATUSES = frozenset({404, 410})  # statuses for missing pages; other failures say nothing about the page
_PAGE_TYPES = ("text/", "application/xhtml")  # other files, such as PDFs, have no sign-in form
TIME_LIMIT = 60.0  # seconds after which unchecked pages count as unknown

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PageState:
    """The state of a page: whether visitors can read it, its advisory's status, and its publisher.

    The status is, for example, "superseded by …".
    """

    exists: bool
    supersession: str = ""
    publisher: str = ""


# Paths of sign-in, front, and not-found pages, without suffixes such as ".html".
_SIGN_IN_PATH = re.compile(
    r"(?:.*/)?(?:wp-login|log-?in|sign[-_]?in|signon|sso|saml2|openid-connect|anmelden|connexion|iniciar-sesion)(?:/.*)?|my-account"
)
_SIGN_IN_HOST = re.compile(
    r"(?:login|signin|sso|auth|accounts|idp)\..*|.*\.(?:okta|oktapreview|auth0|onelogin|b2clogin|ciamlogin)\.com"
)
_FRONT_PATH = re.compile(r"home|index|(?:ar|da|de|en|es|fi|fr|it|ja|ko|nl|no|pl|pt|ru|sv|tr|uk|zh)(?:[-_][a-z]{2})?")
_MISSING_PATHS = frozenset(["404", "not-found", "page-not-found"])
_PAGE_SUFFIX = re.compile(r"\.(?:html?|php|aspx?)(?=/|$)")


def explain_unrelated_redirect(requested_url: str, final_url: str) -> str:
    """Return why the page that a link leads to can't be the article, or "" if it may be.

    Sign-in, not-found, and front pages are accepted if the link asked for one, and so are other
    sites' front pages.
    """
    link, page = urlsplit(requested_url), urlsplit(final_url)
    if _is_sign_in(page) and not _is_sign_in(link):
        return "it redirects to a sign-in page"
    if _read_path(page) in _MISSING_PATHS and _read_path(link) not in _MISSING_PATHS:
        return "it redirects to a not-found page"
    left_article = any(is_front(final_url) and not is_front(requested_url) for is_front in (is_front_page, _is_front))
    return "it redirects to the front page" if left_article and site_name(requested_url) == site_name(final_url) else ""


def _is_sign_in(parts: SplitResult) -> bool:
    return bool(_SIGN_IN_PATH.fullmatch(_read_path(parts)) or _SIGN_IN_HOST.fullmatch(parts.hostname or ""))


def _is_front(url: str) -> bool:
    """Return True if a URL is a front page, including one for a language or with another name."""
    parts = urlsplit(url)
    return is_front_page(url) or (not parts.query and _FRONT_PATH.fullmatch(_read_path(parts)) is not None)


def _read_path(parts: SplitResult) -> str:
    """Return a path without leading and trailing slashes and without file extensions."""
    return _PAGE_SUFFIX.sub("", parts.path.casefold().strip("/"))


def check_article_pages(
    database: Database,
    fetcher: ContentFetcher,
    pages: Mapping[str, str],
    *,
    advisories: Collection[str] = (),
    workers: int,
    now: datetime,
) -> dict[str, PageState]:
    """Fetch pages, and record withdrawn articles, restored articles, and superseded advisories.

    Args:
        database: the database with the articles.
        fetcher: the fetcher, used by several threads at the same time.
        pages: the links to fetch, by the articles' canonical URL.
        advisories: the canonical URLs of the pages that are security advisories.
        workers: the number of hosts to fetch from at the same time.
        now: the time to record.

    Returns:
        The states by canonical URL. A page that its site's source withholds is gone, even if a
        cache has it. Pages that failed, that robots.txt disallows, or that weren't reached
        within `TIME_LIMIT` are omitted.
    """
    if not pages:
        return {}
    looks = _fetch_pages(fetcher, set(pages.values()), workers, TIME_LIMIT)
    results = _list_known(pages, looks)
    missing_pages = {url: result for url, result in results.items() if result.is_gone}
    with database.write() as session:
        _withdraw(session, missing_pages, now)
        back = _bring_back(session, results.keys() - missing_pages.keys(), now)
        missing = missing_pages.keys() | back
        read = results.keys() & set(advisories) - missing
        for article in session.scalars(select(Article).where(Article.url.in_(read))):
            record_supersession(session, article, now, results[article.url].supersession)
        present = select(Article).where(Article.url.in_(results.keys() - missing))
        for article in session.scalars(present.where(Article.publisher != "")):
            record_publisher(article, results[article.url].publisher)
    words = {url: results[url].supersession for url in read}
    return {url: PageState(url not in missing, words.get(url, ""), results[url].publisher) for url in results}


def _list_known(
    pages: Mapping[str, str],
    looks: Mapping[str, "PageCheckResult"],
) -> dict[str, "PageCheckResult"]:
    """Return the results by canonical URL, leaving out pages that failed or weren't fetched."""
    answered = {link: result for link, result in looks.items() if not result.failure}
    return {url: answered[link] for url, link in pages.items() if link in answered}


def _withdraw(session: Session, missing_pages: Mapping[str, "PageCheckResult"], now: datetime) -> None:
    for article in session.scalars(select(Article).where(Article.url.in_(missing_pages))):
        result = missing_pages[article.url]
        withdraw = mark_withdrawn_and_delete_image if result.barrier else mark_withdrawn
        withdraw(session, article, now, result.short_reason)


def _bring_back(session: Session, urls: Collection[str], now: datetime) -> set[str]:
    """Restore the withdrawn articles of existing pages, and return the pages that a source withholds."""
    withheld = set()
    withdrawn = Article.withdrawn_at.is_not(None)
    query = select(Article).where(Article.url.in_(urls), withdrawn)
    for article in session.scalars(query).all():
        if was_withdrawn_by_source(session, article):
            withheld.add(article.url)
        else:
            clear_withdrawn(session, article, now)
    return set(find_withdrawn_links(session, withheld))


@dataclass(frozen=True, slots=True)
class PageCheckResult:
    """The result of requesting a page as a visitor.

    `status` is 0 if there was no response. `barrier` is why a visitor can't read the page, and
    `failure` is why its state is unknown.
    """

    status: int = 0
    barrier: str = ""
    failure: str = ""
    supersession: str = ""
    publisher: str = ""

    @property
    def is_gone(self) -> bool:
        """True if visitors can't read the article, because its page is missing or isn't public."""
        return bool(self.barrier) or self.status in MISSING_STATUSES

    @property
    def short_reason(self) -> str:
        """A short reason: why a visitor can't read the page, or its status, such as "404"."""
        return self.barrier or str(self.status)

    @property
    def reason(self) -> str:
        """A phrase explaining why visitors can't read a page that's gone."""
        return self.barrier or f"the page returned {self.status}"


def check_linked_pages(
    fetcher: ContentFetcher, links: Collection[str], *, workers: int, seconds: float = TIME_LIMIT
) -> dict[str, PageCheckResult]:
    """Check whether visitors can still read pages, and return the results by link.

    Nothing is recorded. A result has a failure if the page wasn't fetched within `seconds`; if the response
    wasn't a page, 401, 404, or 410; or if robots.txt disallows the page, in which case it isn't fetched.
    """
    if not links:
        return {}
    looks = _fetch_pages(fetcher, set(links), workers, seconds)
    return {link: looks.get(link, PageCheckResult(failure="the check ran out of time")) for link in links}


def _fetch_pages(
    fetcher: ContentFetcher,
    links: Collection[str],
    workers: int,
    seconds: float,
) -> dict[str, PageCheckResult]:
    """Return the results for the pages that could be fetched in time, one page per host at a time."""
    hosts: dict[str, list[str]] = {}
    for link in sorted(links):
        hosts.setdefault(urlsplit(link).hostname or "", []).append(link)
    end = time.monotonic() + seconds
    with ThreadPoolExecutor(workers, "recheck") as pool:
        results = pool.map(partial(_fetch_host_pages, fetcher, deadline=end), hosts.values())
    return {link: result for looks in results for link, result in looks.items()}


def _fetch_host_pages(
    fetcher: ContentFetcher,
    links: Collection[str],
    *,
    deadline: float,
) -> dict[str, PageCheckResult]:
    looks = {}
    for link in links:
        if time.monotonic() > deadline:
            break
        try:
            if fetcher.may_read(link):
                looks[link] = _read_page(link, fetcher.get(link, accept="text/html, */*;q=0.5"))
            else:
                looks[link] = PageCheckResult(failure="robots.txt disallows this page or couldn't be reached")
        except FetchError as error:
            looks[link] = _judge_failure(error)
        except Exception:  # an unexpected error on one page must not prevent an edition's draft
            log.exception("a page's check failed unexpectedly", page=link)
            looks[link] = PageCheckResult(failure="internal error (see the log)")
    return looks


def _judge_failure(error: FetchError) -> PageCheckResult:
    status = error.status or 0
    if status == SIGN_IN_STATUS:
        return PageCheckResult(status, SIGN_IN)
    return PageCheckResult(status, failure="" if status in MISSING_STATUSES else error.message)


def _read_page(link: str, page: FetchResult) -> PageCheckResult:
    if barrier := explain_unrelated_redirect(link, page.url):
        return PageCheckResult(page.status, barrier)
    if page.content_type and not page.content_type.startswith(_PAGE_TYPES):
        return PageCheckResult(page.status)
    page_state = sandbox.read_article_page_in_child(page.body, charset=page.charset)
    return PageCheckResult(
        page.status, page_state.barrier, supersession=page_state.supersession, publisher=page_state.publisher
    )
