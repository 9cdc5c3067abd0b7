"""Importing page views for the site's own articles, from a CSV file or WordPress Popular Posts.

An import covers the whole week. Afterward, articles that aren't in it have no views.
"""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from digest.collect.documents.parsed_document import RejectedEntry
from digest.collect.fetch.result import ContentFetcher, FetchError
from digest.collect.texts.urls import canonical_url
from digest.settings import Settings
from digest.store.engine import Database
from digest.store.models import Article
from subscribers.english_text import count_with_noun
from subscribers.errors import ApplicationError
from subscribers.loggers import get_logger

log = get_logger(__name__)

POPULAR_POSTS_PATH = "/wp-json/wordpress-popular-posts/v1/popular-posts?range=last7days&limit=100"
_MAX_VIEWS = 2**31 - 1  # maximum of the column on PostgreSQL
_CHUNK_SIZE = 500
_COUNT_PATTERN = re.compile(r"\d{1,3}(?:[ ,.'\u2019\u00a0\u2009\u202f]\d{3})+|\d+(?:\.0{1,2})?")
_URL_HEADING = re.compile(r"(?:landing )?page|page ?path(?: and screen class)?|page url|url|path|link|address")
_VIEWS_HEADING = re.compile(r"(?:screen ?)?page ?views|views|hits|visits|reads")

_Row = TypeVar("_Row")


@dataclass(frozen=True, slots=True)
class ParsedReadershipReport:
    """A parsed readership report: views by canonical URL, and the unusable rows.

    `error` explains why the report couldn't be read at all.
    """

    views: Mapping[str, int] = field(default_factory=dict)
    rejected: tuple[RejectedEntry, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ReadershipImportResult:
    """The result of importing a report: how many of its pages match an article, and the unusable rows.

    `error` explains why the report couldn't be read at all. In that case, the counts of the
    previous import are kept.
    """

    origin: str
    matched: int = 0
    unmatched: int = 0
    rejected: tuple[RejectedEntry, ...] = ()
    error: str | None = None


class ReadershipError(ApplicationError):
    """Raised when a readership report can't be read. The message says what to do."""


def import_readership(
    database: Database, fetcher: ContentFetcher, settings: Settings, *, now: datetime
) -> list[ReadershipImportResult]:
    """Import the reports configured in `[readership]`, which together cover one week."""
    configured = settings.file.readership
    configured_sources = {name: origin for name in READERSHIP_SOURCES if (origin := getattr(configured, name))}
    reports, total = {}, Counter[str]()
    for name, origin in configured_sources.items():
        report = reports[origin] = _load_report(name, origin, settings, fetcher)
        total.update(report.views)
    is_complete = not any(report.error for report in reports.values())
    article_urls = apply_views(database, total, complete=is_complete) if reports else frozenset()
    imported = [_import_result(origin, report, article_urls) for origin, report in reports.items()]
    for result in imported:
        event = {"origin": result.origin, "matched": result.matched, "error": result.error}
        log.info("imported page views", **event, at=now.isoformat())
    return imported


def _load_report(name: str, origin: str, settings: Settings, fetcher: ContentFetcher) -> ParsedReadershipReport:
    try:
        return READERSHIP_SOURCES[name](origin, settings, fetcher)
    except ReadershipError as exc:
        return ParsedReadershipReport(error=str(exc))


def _import_result(origin: str, report: ParsedReadershipReport, article_urls: frozenset[str]) -> ReadershipImportResult:
    matched = len(article_urls & report.views.keys())
    return ReadershipImportResult(origin, matched, len(report.views) - matched, report.rejected, report.error)


def apply_views(
    database: Database,
    views: Mapping[str, int],
    *,
    complete: bool = True,
) -> frozenset[str]:
    """Set the views of articles by canonical URL, and return the URLs that match an article.

    If `complete`, all other articles lose the counts of an earlier import.
    """
    columns = select(Article.id, Article.url, Article.views)
    article_urls: set[str] = set()
    for urls in _chunks(sorted(views)):
        with database.write() as session:
            rows = session.execute(columns.where(Article.url.in_(urls))).all()
            article_urls.update(row.url for row in rows)
            changed = (row for row in rows if row.views != views[row.url])
            _set_views(session, {row.id: views[row.url] for row in changed})
    if complete:
        with database.read() as session:
            before = session.execute(columns.where(Article.views.is_not(None))).all()
        for ids in _chunks([row.id for row in before if row.url not in views]):
            with database.write() as session:
                _set_views(session, dict.fromkeys(ids))
    return frozenset(article_urls)


def _chunks(values: Iterable[_Row]) -> Iterator[list[_Row]]:
    remaining = iter(values)
    while chunk := list(islice(remaining, _CHUNK_SIZE)):
        yield chunk


def parse_readership_csv(content: bytes, site: str) -> ParsedReadershipReport:
    """Parse a CSV file of pages and views, as exported by spreadsheets and analytics.

    The header is optional. Views of a page's various URLs are added up. A path without a host is on `site`.

    Raises:
        ReadershipError: the file is empty or isn't text.
    """
    rows = list(_csv_rows(_decode_csv(content)))
    header = _header_columns(rows[0][1]) if rows else None
    parse = partial(_parse_row, columns=header or (0, 1), site=site)
    return _count_views(rows[1:] if header else rows, parse)


def fetch_wordpress_views(fetcher: ContentFetcher, site: str) -> ParsedReadershipReport:
    """Fetch the last seven days' most viewed posts from a WordPress site.

    The site needs the plug-in WordPress Popular Posts.

    Raises:
        ReadershipError: the site can't be reached, or its response isn't the plug-in's list of
            posts.
    """
    address = site.rstrip("/") + POPULAR_POSTS_PATH
    try:
        body = fetcher.get(address, accept="application/json").body
        posts = json.loads(body)
    except FetchError as exc:
        advice = "Check that the WordPress Popular Posts plugin is active and its REST API is public."
        raise ReadershipError(f"{exc.message}. {advice}") from exc
    except (ValueError, RecursionError) as exc:
        raise ReadershipError(f"The response from {address} isn't JSON. Open the URL in a browser.") from exc
    if not isinstance(posts, list):
        raise ReadershipError(f"The response from {address} isn't a list of posts. Open the URL in a browser.")
    return _count_views(enumerate(posts, 1), _parse_post)


def _count_views(
    rows: Iterable[tuple[int, _Row]],
    parse: Callable[[_Row], tuple[str, int]],
) -> ParsedReadershipReport:
    """Return the total views of numbered rows by URL.

    Rows that `parse` can't read are rejected with their number.
    """
    views: Counter[str] = Counter()
    rejected = []
    for number, row in rows:
        try:
            url, count = parse(row)
        except ValueError as exc:
            rejected.append(RejectedEntry(number, str(exc)))
        else:
            views[url] += count
    return ParsedReadershipReport(views, tuple(rejected))


def _load_csv(name: str, settings: Settings, _: ContentFetcher) -> ParsedReadershipReport:
    """Parse the CSV file whose path, relative to the settings file's folder, is in the settings."""
    folder = settings.origin.parent if settings.origin else Path()
    file = folder / Path(name).expanduser()
    try:
        content = file.read_bytes()
    except OSError as exc:
        raise ReadershipError(f"Can't read {file}: {exc.strerror}. Correct readership.csv in digest.toml.") from exc
    return parse_readership_csv(content, settings.file.publication.site)


# The readership sources. Each is declared only here: a setting in `[readership]`, and the function
# that reads its value.
READERSHIP_SOURCES: dict[str, Callable[[str, Settings, ContentFetcher], ParsedReadershipReport]] = {
    "csv": _load_csv,
    "wordpress": lambda site, _, fetcher: fetch_wordpress_views(fetcher, site),
}


def _set_views(session: Session, values: Mapping[int, int | None]) -> None:
    if values:
        counts = sorted(values.items())
        rows = [{"id": article_id, "views": count} for article_id, count in counts]
        session.execute(update(Article), rows)


def _decode_csv(content: bytes) -> str:
    """Decode a spreadsheet's export.

    It may be UTF-8 with or without a byte-order mark, UTF-16 with one, or Windows-1252.
    """
    marked = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = content.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", "replace")
    if not text.strip() or "\0" in text:
        raise ReadershipError("The file is empty or not text. Use a CSV file with the columns url and views.")
    return text


def _csv_rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows with their line numbers, skipping empty rows and comments.

    Exports from Google Analytics begin with comments.
    """
    lines = filter(str.strip, text.splitlines())
    head = next((line for line in lines if not line.startswith("#")), "")
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells) and not cells[0].startswith("#"):
                yield reader.line_num, cells
    except csv.Error as exc:
        raise ReadershipError(f"Line {reader.line_num} isn't valid ({exc}). Export the CSV file again.") from exc


def _header_columns(row: Sequence[str]) -> tuple[int, int] | None:
    names = [" ".join(re.split(r"[\s_-]+", cell.lower())) for cell in row]
    addresses = [place for place, name in enumerate(names) if _URL_HEADING.fullmatch(name)]
    counts = [place for place, name in enumerate(names) if _VIEWS_HEADING.fullmatch(name)]
    return (addresses[0], counts[0]) if addresses and counts else None


def _parse_row(
    row: Sequence[str],
    columns: tuple[int, int],
    site: str,
) -> tuple[str, int]:
    if len(row) <= max(columns):
        raise ValueError(f"{count_with_noun(len(row), 'column')} instead of 2 (a URL and a number)")
    return canonical_url(row[columns[0]], site), _parse_count(row[columns[1]])


def _parse_post(post: object) -> tuple[str, int]:
    if not isinstance(post, dict) or not isinstance(post.get("link"), str):
        raise ValueError("the post has no link")  # noqa: TRY004  (bad data, as the other reasons are)
    return canonical_url(post["link"]), _parse_count(str(post.get("pageviews", "")))


def _parse_count(text: str) -> int:
    if not _COUNT_PATTERN.fullmatch(text):
        raise ValueError(f"{text[:40]!r} isn't a valid view count")
    digits = re.sub(r"\.0{1,2}$", "", text)  # some analytics tools export 12.0
    count = int(re.sub(r"\D", "", digits))
    if count > _MAX_VIEWS:
        raise ValueError(f"{text[:40]!r} is over {_MAX_VIEWS:,} views")
    return count
