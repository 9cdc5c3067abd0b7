"""One visit to one source: what is there, or why nothing is. No database, any thread.

The kind of a source is told by what came back. A site's page leads to the best feed that it names, once; a
paged answer is followed as far back as a digest can need.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit

from digest.collect import parsers
from digest.collect.fetched import Fetched, FetchError, Getter
from digest.collect.items import Feed, Kind, ParseError, Reading, Rejected
from digest.collect.sources import Bad, Good, judge
from digest.db import Health

ACCEPT = (
    "application/rss+xml, application/atom+xml, application/feed+json, application/json;q=0.9, "
    "text/calendar;q=0.9, application/xml;q=0.9, text/html;q=0.8, */*;q=0.5"
)
IS_OPML = "it is a list of feeds (OPML): take its feeds in with 'digest sources import-opml'"
MOST_PAGES = 10
FAR_BACK = timedelta(days=21)  # a page whose items are all older has no older page worth reading
MOST_FEEDS = 3  # feeds of a page that are tried


@dataclass(frozen=True, slots=True)
class Target:
    """A source to visit: `url` is its address in the settings, `address` where it is asked for now."""

    id: int
    name: str
    url: str
    address: str
    kind: str | None = None
    etag: str | None = None
    last_modified: str | None = None


@dataclass(frozen=True, slots=True)
class Visited:
    """What a visit gave. `reading` is None where it failed, and where nothing has changed since the last.

    `note` says what was left out of a visit that otherwise worked.
    """

    seen: Good | Bad
    reading: Reading | None = None
    not_modified: bool = False
    note: str = ""


def visit(getter: Getter, target: Target, now: datetime) -> Visited:
    """Get and read a source. What the world may do wrong comes back as a value."""
    try:
        return _visit(getter, target, now)
    except FetchError as error:
        return Visited(judge(error))
    except ParseError as error:
        return Visited(Bad(Health.FAILING, str(error)))


def best_first(feeds: tuple[Feed, ...], page: str) -> list[Feed]:
    """Put the feeds that a page names in the order in which they are worth trying.

    WordPress REST before a feed, as it has pages, images and terms; feeds of comments last. Between equals the
    shorter address: a site's own feed before one of its sections.
    """
    own = [feed for feed in dict.fromkeys(feeds) if feed.url != page]
    return sorted(own, key=lambda feed: (_is_comments(feed), not _is_rest(feed), len(feed.url), feed.url))


_BARRED = "robots.txt asks us not to read this page; use a feed of the site, or ask its publisher"


def _visit(getter: Getter, target: Target, now: datetime) -> Visited:
    if target.kind == Kind.PAGE and not getter.may_read(target.address):
        return Visited(Bad(Health.REFUSING, _BARRED))
    answer = getter.get(target.address, etag=target.etag, last_modified=target.last_modified, accept=ACCEPT)
    if answer.not_modified:
        good = Good(
            None,
            etag=answer.etag or target.etag,
            last_modified=answer.last_modified or target.last_modified,
            moved_to=answer.moved_to,
            every=answer.max_age or 0,
        )
        return Visited(good, not_modified=True)
    reading = _read(answer, now)
    moved_to = answer.moved_to
    if reading.kind is Kind.PAGE and (found := _discover(getter, reading, answer.url, now)):
        answer, reading = found
        moved_to = answer.moved_to or answer.url
    elif reading.kind is Kind.PAGE and not getter.may_read(answer.url):
        return Visited(Bad(Health.REFUSING, _BARRED))
    if reading.kind is Kind.OPML:
        return Visited(Bad(Health.FAILING, IS_OPML))
    reading, note = _with_pages(getter, answer, reading, now)
    every = max(answer.max_age or 0, reading.every or 0)
    return Visited(Good(reading.kind, answer.etag, answer.last_modified, moved_to, every), reading, note=note)


def _read(answer: Fetched, now: datetime) -> Reading:
    return parsers.read(
        answer.body, url=answer.url, now=now, content_type=answer.content_type, charset=answer.charset
    )


def _discover(getter: Getter, page: Reading, url: str, now: datetime) -> tuple[Fetched, Reading] | None:
    """Follow the feeds that a page names, the best first, to the first that can be read.

    Raises:
        ParseError: the page names feeds, and none can be read.
    """
    reasons = []
    for feed in best_first(page.feeds, url)[:MOST_FEEDS]:
        try:
            answer = getter.get(feed.url, accept=ACCEPT)
            reading = _read(answer, now)
        except (FetchError, ParseError) as error:
            reasons.append(f"{feed.url}: {error.message if isinstance(error, FetchError) else error}")
            continue
        if reading.kind not in {Kind.PAGE, Kind.OPML}:
            return answer, reading
        reasons.append(f"{feed.url}: no feed is there")
    if reasons:
        raise ParseError(
            f"it is a page, and none of the feeds that it names can be read: {'; '.join(reasons)}"
        )
    return None


def _with_pages(getter: Getter, answer: Fetched, first: Reading, now: datetime) -> tuple[Reading, str]:
    """Add the older pages of a paged answer; the note says where that ended too early."""
    whole, page, url = first, first, answer.url
    for number in range(2, MOST_PAGES + 2):
        older = _older_page(page, url)
        if older is None or not _recent(page, now):
            return whole, ""
        if number > MOST_PAGES:
            break
        try:
            url, page = older, _read(getter.get(older, accept=ACCEPT), now)
        except (FetchError, ParseError) as error:
            # WordPress answers 400 to the page after its last.
            ended = first.kind is Kind.WORDPRESS and isinstance(error, FetchError) and error.status == 400
            return whole, "" if ended else f"older pages are missing: {error}"
        if page.kind is not first.kind:
            return whole, f"older pages are missing: page {number} is of another kind ({page.kind})"
        whole = _joined(whole, page)
    return whole, f"the first {MOST_PAGES} pages were read, there are more"


def _older_page(page: Reading, url: str) -> str | None:
    """Give the address of the next older page, as the document says; WordPress says it in no document."""
    if page.next_url or page.kind is not Kind.WORDPRESS:
        return page.next_url
    parts = urlsplit(url)
    asked = dict(parse_qsl(parts.query, keep_blank_values=True))
    size, number = asked.get("per_page", "10"), asked.get("page", "1")  # the defaults of the REST API
    if not (size.isdecimal() and number.isdecimal()) or page.found < int(size):
        return None
    return parts._replace(query=urlencode(asked | {"page": str(int(number) + 1)})).geturl()


def _joined(whole: Reading, page: Reading) -> Reading:
    shifted = tuple(Rejected(whole.found + r.place, r.reason) for r in page.rejected)
    return replace(whole, items=whole.items + page.items, rejected=whole.rejected + shifted)


def _recent(page: Reading, now: datetime) -> bool:
    dates = list(_dates(page))
    return bool(page.items) and (not dates or max(dates) > now - FAR_BACK)


def _dates(page: Reading) -> Iterator[datetime]:
    return (moment for item in page.items if (moment := item.published or item.updated))


def _is_comments(feed: Feed) -> bool:
    return "comment" in f"{feed.title} {urlsplit(feed.url).path}".lower()


def _is_rest(feed: Feed) -> bool:
    return "/wp/v2/posts" in feed.url
