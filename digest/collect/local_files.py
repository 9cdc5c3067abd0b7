"""Files of this machine, read as sources of their own: feeds and pages that somebody saved."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from urllib.parse import quote_plus, urljoin

from digest.collect import parsers
from digest.collect.fetch.http_response import BodyTooLargeError, ContentEncodingError, decode_body
from digest.collect.parsed_document import DocumentKind, ParsedDocument, ParsedItem, ParseError, RejectedEntry
from digest.collect.source_visit import OPML_MESSAGE, VisitResult
from digest.collect.sources import VisitFailure, VisitSuccess
from digest.collect.urls import absolute_url, canonical_url
from digest.store.models import SourceHealth

_HEAD_BYTES = 2_000_000  # bytes; some pages name their address behind a megabyte of scripts
_LINK_OR_META_TAG = re.compile(r"<(?:\w+:)?(?:link|meta)\b[^>]{0,2000}>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"([\w:-]{1,30})\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))")
_CHANNEL_LINK = re.compile(r"<link>\s*(?:<!\[CDATA\[)?\s*(https?://[^\s<\]]+)", re.IGNORECASE)
_JSON_LINK = re.compile(r'"(?:feed_url|home_page_url)"\s*:\s*"(https?:[^"\s]+)"')
_TEXT_SUFFIXES = frozenset({".txt", ".text", ".md"})


def list_files(paths: Sequence[Path]) -> list[Path]:
    """List the files that are meant: each file named, and all in the folders named, in a settled order.

    Hidden files in folders are passed over. Two ways to one file are one.
    """
    found: dict[Path, None] = {}
    for path in paths:
        inside = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in inside:
            if file == path or not any(part.startswith(".") for part in file.relative_to(path).parts):
                found.setdefault(file.resolve())
    return list(found)


def read_file_source(path: Path, *, max_bytes: int, site: str, now: datetime) -> VisitResult:
    """Read a file as a source; one that ends in .gz is unpacked. What is wrong with it comes back as a value.

    Args:
        path: the file.
        max_bytes: the most bytes that are read, after unpacking.
        site: the publication's own site, where a text without any address is taken to stand.
        now: the moment of the run.
    """
    try:
        reading = _parse_file(path, _read_bytes(path, max_bytes), site, now)
    except OSError as error:
        return VisitResult(VisitFailure(SourceHealth.FAILING, f"cannot be read: {error.strerror}"))
    except BodyTooLargeError:
        message = f"over {max_bytes:,} bytes; raise limits.fetch_bytes in digest.toml if it is meant"
        return VisitResult(VisitFailure(SourceHealth.FAILING, message))
    except (ContentEncodingError, ParseError) as error:
        return VisitResult(VisitFailure(SourceHealth.FAILING, str(error)))
    if reading.kind is DocumentKind.OPML:
        return VisitResult(VisitFailure(SourceHealth.FAILING, OPML_MESSAGE))
    return VisitResult(VisitSuccess(reading.kind), reading)


def find_document_url(body: bytes) -> str | None:
    """Find where a saved document says that it comes from: relative links in it are relative to that."""
    head = body[:_HEAD_BYTES].decode("latin-1")
    named: dict[str, str] = {}
    for tag in _LINK_OR_META_TAG.findall(head):
        has = {m[1].lower(): m[2] or m[3] or m[4] or "" for m in _ATTRIBUTE.finditer(tag)}
        name = has.get("rel") or has.get("property") or ""
        named.setdefault(name.lower(), has.get("href") or has.get("content") or "")
    channel = _CHANNEL_LINK.search(head) or _JSON_LINK.search(head)
    said = [named.get("canonical"), named.get("og:url"), named.get("self"), channel and channel[1]]
    if b"<html" not in body[:_HEAD_BYTES].lower():
        said.append(named.get("alternate"))
    for address in said:
        try:
            return absolute_url((address or "").replace("&amp;", "&").replace("\\/", "/"))
        except ValueError:
            continue
    return None


def _read_bytes(path: Path, max_bytes: int) -> bytes:
    with path.open("rb") as stream:
        return decode_body(iter(lambda: stream.read(65_536), b""), "gzip" if path.suffix == ".gz" else "", max_bytes)


def _parse_file(path: Path, body: bytes, site: str, now: datetime) -> ParsedDocument:
    address = find_document_url(body)
    if address is None and path.suffix.lower() in _TEXT_SUFFIXES:
        reading = parsers.parse_document(body, url=site, now=now)
        return _place_on_site(reading, site) if reading.kind is DocumentKind.PAGE else reading
    return parsers.parse_document(body, url=address or path.resolve().as_uri(), now=now)


def _place_on_site(document: ParsedDocument, site: str) -> ParsedDocument:
    """Let the article of a plain text stand on the own site, if it says when it was published.

    Such a text names no address, so its link is the site's search for its title. Without a date it is more
    likely a note about the folder it lies in than an article.
    """
    items = tuple(_with_search_link(item, site) for item in document.items if item.published)
    undated = [RejectedEntry(place, _NO_ADDRESS_REASON) for place, i in enumerate(document.items, 1) if not i.published]
    return replace(document, items=items, rejected=(*document.rejected, *undated))


_NO_ADDRESS_REASON = "a plain text without address or date of publication; save the page as HTML instead"


def _with_search_link(item: ParsedItem, site: str) -> ParsedItem:
    link = urljoin(site, f"/?s={quote_plus(item.title)}")
    return replace(item, link=link, url=canonical_url(link))
