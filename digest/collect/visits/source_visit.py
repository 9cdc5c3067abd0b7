"""A visit to a source, or the reading of a file.

The result is its content, or why there's none. The functions don't use the database, and are
thread-safe. The source's kind is detected from the response. From a site's page, the best feed that
it links to is tried. A paged response is followed as far back as a digest needs.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from digest.collect.documents.parsed_document import NOT_PUBLIC, DocumentKind, FeedLink, ParsedDocument, ParseError
from digest.collect.fetch.http_response import BodyTooLargeError, ContentEncodingError, decode_body
from digest.collect.fetch.result import ContentFetcher, FetchError, FetchErrorReason, FetchResult, RequestOptions
from digest.collect.sandbox import client as sandbox
from digest.collect.sources.source_rows import VisitFailure, VisitSuccess, classify_fetch_error
from digest.collect.visits.page_check import explain_unrelated_redirect
from digest.store.models import SourceHealth

FEED_ACCEPT = (
    "application/rss+xml, application/atom+xml, application/feed+json, application/json;q=0.9, "
    "text/calendar;q=0.9, application/xml;q=0.9, text/html;q=0.8, */*;q=0.5"
)
OPML_MESSAGE = "this is a list of feeds (OPML); import its feeds with 'digest sources import-opml'"
MAX_PAGES = 10
MAX_ITEM_AGE = timedelta(days=21)  # if all items on a page are older, its older pages aren't worth reading
MAX_FEEDS_TRIED = 3  # number of a page's feeds to try


_MAX_HOST_LENGTH = 255


@dataclass(frozen=True, slots=True)
class VisitTarget:
    """A source to visit.

    `url` is its URL in the settings, and `current_url` is the one to request now. `tried_at` is the
    time of its last visit when the run began, so a later visit was another run's.
    """

    id: int
    name: str
    url: str
    current_url: str
    kind: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    tried_at: datetime | None = None

    @property
    def host(self) -> str:
        """The host of `current_url`."""
        return find_visit_host(self.current_url)


def find_visit_host(url: str) -> str:
    """Return the host of a URL. A URL without one counts as its own host."""
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    return (host or url).rstrip(".")[:_MAX_HOST_LENGTH]


@dataclass(frozen=True, slots=True)
class VisitResult:
    """The result of a visit.

    `document` is None if the visit failed or nothing has changed since the last visit. `note` says
    what a successful visit omitted. `feeds` are the feeds that a page links to, best first.
    """

    outcome: VisitSuccess | VisitFailure
    document: ParsedDocument | None = None
    not_modified: bool = False
    note: str = ""
    feeds: tuple[FeedLink, ...] = ()


def visit_source(fetcher: ContentFetcher, target: VisitTarget, now: datetime) -> VisitResult:
    """Fetch and parse a source. External failures are returned as values."""
    try:
        return _fetch_and_parse(fetcher, target, now)
    except FetchError as error:
        return VisitResult(classify_fetch_error(error))
    except ParseError as error:
        return _failed(str(error))


def rank_feeds(feeds: tuple[FeedLink, ...], page_url: str) -> list[FeedLink]:
    """Return the feeds that a page links to, in the order in which to try them.

    WordPress's REST API comes before feeds, because it has paging, images, and categories. Comment
    feeds come last. Among equals, the shorter URL comes first, so that a site's own feed precedes
    those of its sections.
    """
    own = [feed for feed in dict.fromkeys(feeds) if feed.url != page_url]
    return sorted(own, key=_feed_order)


def _feed_order(feed: FeedLink) -> tuple[bool, bool, int, str]:
    is_of_comments = "comment" in f"{feed.title} {urlsplit(feed.url).path}".lower()
    return is_of_comments, "/wp/v2/posts" not in feed.url, len(feed.url), feed.url


_ROBOTS_MESSAGE = "robots.txt disallows this page; use one of the site's feeds, or ask its publisher"


def _fetch_and_parse(fetcher: ContentFetcher, target: VisitTarget, now: datetime) -> VisitResult:
    is_page = target.kind == DocumentKind.PAGE
    if is_page and not fetcher.may_read(target.current_url):
        return VisitResult(VisitFailure(SourceHealth.REFUSING, _ROBOTS_MESSAGE))
    options: RequestOptions = {"etag": target.etag, "last_modified": target.last_modified, "accept": FEED_ACCEPT}
    try:
        answer = fetcher.get(target.current_url, **options)
    except FetchError as error:
        return _read_feed_instead(fetcher, target, error, now)
    if answer.not_modified:
        return VisitResult(_note_success(_keep_validators(answer, target)), not_modified=True)
    if is_page and (barrier := explain_unrelated_redirect(target.current_url, answer.url)):
        return VisitResult(_withheld_failure(barrier))
    reading = _parse_response(answer, now)
    is_page, unread_feeds = reading.kind is DocumentKind.PAGE, ""
    feeds = tuple(rank_feeds(reading.feeds, answer.url)) if is_page else ()
    if is_page and (feed := _discover_feed(fetcher, reading, answer.url, now)):
        answer, reading, unread_feeds = feed
        answer = replace(answer, moved_to=answer.moved_to or answer.url)
    if failure := _judge_document(fetcher, reading, answer.url):
        return VisitResult(failure)
    reading, note = _append_older_pages(fetcher, answer, reading, now)
    return VisitResult(_note_success(answer, reading), reading, note=note or unread_feeds, feeds=feeds)


def _read_feed_instead(fetcher: ContentFetcher, target: VisitTarget, refusal: FetchError, now: datetime) -> VisitResult:
    """Parse a WordPress site's feed if its REST API is closed to visitors. The note says why.

    Raises:
        FetchError: the original error, if it wasn't from the REST API or the feed can't be
            read.
    """
    feed_url = find_feed_for_rest_api(target.current_url) if refusal.reason in _CLOSED_REASONS else None
    if feed_url is None:
        raise refusal
    try:
        answer = fetcher.get(feed_url, accept=FEED_ACCEPT)
        reading = _parse_response(answer, now)
    except (FetchError, ParseError) as error:
        raise refusal from error
    if reading.kind not in {DocumentKind.RSS, DocumentKind.ATOM}:
        raise refusal
    # The API is requested again next time, because it has more than a feed does.
    success = replace(_note_success(answer, reading), etag=None, last_modified=None, moved_to=None)
    note = f"the site's feed was read because its REST API is closed: {refusal.explanation or refusal.message}"
    return VisitResult(success, reading, note=note)


_CLOSED_REASONS = frozenset({FetchErrorReason.REFUSING, FetchErrorReason.MISSING})
_REST_POSTS = re.compile(
    r"(?P<site>https?://[^?#]+?)/(?:wp-json|(?:index\.php)?\?rest_route=)/wp/v2/posts/?(?:[?&](?P<query>[^#]*))?"
)
_WHOLE_SITE_PARAMETERS = frozenset({"_embed", "_fields", "order", "orderby", "page", "per_page"})


def find_feed_for_rest_api(url: str) -> str | None:
    """Return the URL of the feed that has the same posts as a WordPress REST URL, or None.

    Return None if the URL selects only some posts, or isn't a REST URL.
    """
    match = _REST_POSTS.fullmatch(url)
    if match is None:
        return None
    parameters = dict(parse_qsl(match["query"] or "", keep_blank_values=True))
    return f"{match['site']}/feed/" if parameters.keys() <= _WHOLE_SITE_PARAMETERS else None


def _keep_validators(answer: FetchResult, target: VisitTarget) -> FetchResult:
    etag, last_modified = answer.etag or target.etag, answer.last_modified or target.last_modified
    return replace(answer, etag=etag, last_modified=last_modified)


def _note_success(answer: FetchResult, document: ParsedDocument | None = None) -> VisitSuccess:
    refresh = document.refresh_seconds if document else None
    return VisitSuccess(
        kind=document.kind if document else None,
        etag=answer.etag,
        last_modified=answer.last_modified,
        moved_to=answer.moved_to,
        refresh_seconds=max(answer.max_age or 0, refresh or 0),
    )


def _judge_document(fetcher: ContentFetcher, document: ParsedDocument, url: str) -> VisitFailure | None:
    """Return why a parsed document can't be used, or None if it can."""
    if document.kind is DocumentKind.OPML:
        return VisitFailure(SourceHealth.FAILING, OPML_MESSAGE)
    if document.kind is not DocumentKind.PAGE:
        return None
    if not fetcher.may_read(url):
        return VisitFailure(SourceHealth.REFUSING, _ROBOTS_MESSAGE)
    withheld = next((entry.reason for entry in document.rejected if entry.withheld_url), "")
    return _withheld_failure(withheld.removeprefix(NOT_PUBLIC)) if withheld else None


def _withheld_failure(barrier: str) -> VisitFailure:
    message = f"visitors can't read this page ({barrier}); use one of the site's feeds, or ask its publisher"
    return VisitFailure(SourceHealth.REFUSING, message, barrier=barrier)


def _parse_response(response: FetchResult, now: datetime) -> ParsedDocument:
    return sandbox.parse_document(response.body, url=response.url, now=now, charset=response.charset)


def _discover_feed(
    fetcher: ContentFetcher, page: ParsedDocument, url: str, now: datetime
) -> tuple[FetchResult, ParsedDocument, str] | None:
    """Return the first readable feed that a page links to, and why better ones aren't readable.

    Raises:
        ParseError: the page links to feeds, but none is readable.
    """
    reasons = []
    for feed in rank_feeds(page.feeds, url)[:MAX_FEEDS_TRIED]:
        try:
            answer = fetcher.get(feed.url, accept=FEED_ACCEPT)
            reading = _parse_response(answer, now)
        except (FetchError, ParseError) as error:
            reasons.append(f"{feed.url}: {error.message if isinstance(error, FetchError) else error}")
            continue
        if reading.kind not in {DocumentKind.PAGE, DocumentKind.OPML}:
            return answer, reading, f"better feeds can't be read ({'; '.join(reasons)})" if reasons else ""
        reasons.append(f"{feed.url} isn't a feed")
    if reasons:
        raise ParseError(f"this is a page, and its feeds can't be read ({'; '.join(reasons)})")
    return None


def _append_older_pages(
    fetcher: ContentFetcher, response: FetchResult, first_page: ParsedDocument, now: datetime
) -> tuple[ParsedDocument, str]:
    """Append the older pages of a paged response. The note says if they ended too early."""
    merged, page, url = first_page, first_page, response.url
    for number in range(2, MAX_PAGES + 2):
        older = _older_page_url(page, url)
        if older is None or not _has_recent_items(page, now):
            return merged, ""
        if number > MAX_PAGES:
            break
        try:
            url, page = older, _parse_response(fetcher.get(older, accept=FEED_ACCEPT), now)
        except (FetchError, ParseError) as error:
            # WordPress responds with 400 after its last page.
            ended = first_page.kind is DocumentKind.WORDPRESS and isinstance(error, FetchError) and error.status == 400
            return merged, "" if ended else f"older pages are missing ({error})"
        if page.kind is not first_page.kind:
            return merged, f"older pages are missing because page {number} has another format ({page.kind})"
        merged = _merge_page(merged, page)
    return merged, f"only the first {MAX_PAGES} pages were read"


def _older_page_url(page: ParsedDocument, url: str) -> str | None:
    """Return the URL of the next older page, or None.

    It's stated by the document, except for WordPress, where it's inferred.
    """
    if page.next_url or page.kind is not DocumentKind.WORDPRESS:
        return page.next_url
    parts = urlsplit(url)
    parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
    size, number = parameters.get("per_page", "10"), parameters.get("page", "1")  # defaults of the REST API
    if not (size.isdecimal() and number.isdecimal()) or page.item_count < int(size):
        return None
    parameters["page"] = str(int(number) + 1)
    return parts._replace(query=urlencode(parameters)).geturl()


def _merge_page(merged: ParsedDocument, page: ParsedDocument) -> ParsedDocument:
    shifted = tuple(replace(r, place=merged.item_count + r.place) for r in page.rejected)
    return replace(merged, items=merged.items + page.items, rejected=merged.rejected + shifted)


def _has_recent_items(page: ParsedDocument, now: datetime) -> bool:
    dates = [moment for item in page.items if (moment := item.published or item.updated)]
    return bool(page.items) and max(dates, default=now) > now - MAX_ITEM_AGE


def list_input_files(paths: Sequence[Path]) -> list[Path]:
    """Return the given files and all files in the given folders, in a fixed order.

    Hidden files in folders are skipped. A file that's given twice is returned once.
    """
    files: dict[Path, None] = {}
    for path in paths:
        if not path.is_dir():
            files.setdefault(path.resolve())
            continue
        for file in sorted(filter(Path.is_file, path.rglob("*"))):
            if not any(part.startswith(".") for part in file.relative_to(path).parts):
                files.setdefault(file.resolve())
    return list(files)


def read_file_source(path: Path, *, max_bytes: int, site: str, now: datetime) -> VisitResult:
    """Read a file as a source, decompressing .gz files. Problems are returned as values.

    Args:
        path: the file.
        max_bytes: the maximum number of bytes to read, after decompression.
        site: the publication's own site, on which a text without a URL is placed.
        now: the time of the run.
    """
    try:
        with path.open("rb") as stream:
            chunks = iter(partial(stream.read, 65_536), b"")
            body = decode_body(chunks, "gzip" if path.suffix == ".gz" else "", max_bytes)
        file_url = path.resolve().as_uri()
        reading = sandbox.parse_saved_file_in_child(body, file_url=file_url, site=site, now=now)
    except OSError as error:
        return _failed(f"can't be read: {error.strerror}")
    except BodyTooLargeError:
        return _failed(f"over {max_bytes:,} bytes; if that's intended, raise limits.fetch_bytes in digest.toml")
    except (ContentEncodingError, ParseError) as error:
        return _failed(str(error))
    if reading.kind is DocumentKind.OPML:
        return _failed(OPML_MESSAGE)
    return VisitResult(VisitSuccess(reading.kind), reading)


def _failed(message: str) -> VisitResult:
    return VisitResult(VisitFailure(SourceHealth.FAILING, message))
