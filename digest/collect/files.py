"""Files of this machine, read as sources of their own: feeds and pages that somebody saved."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from urllib.parse import quote_plus, urljoin

from digest.collect import parsers
from digest.collect.answers import BadPacking, TooBig, unpack
from digest.collect.items import Item, Kind, ParseError, Reading, Rejected
from digest.collect.sources import Bad, Good
from digest.collect.urls import absolute, canonical
from digest.collect.visit import IS_OPML, Visited
from digest.db import Health

_HEAD = 2_000_000  # bytes; some pages name their address behind a megabyte of scripts
_TAG = re.compile(r"<(?:\w+:)?(?:link|meta)\b[^>]{0,2000}>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"([\w:-]{1,30})\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))")
_CHANNEL_LINK = re.compile(r"<link>\s*(?:<!\[CDATA\[)?\s*(https?://[^\s<\]]+)", re.IGNORECASE)
_JSON_LINK = re.compile(r'"(?:feed_url|home_page_url)"\s*:\s*"(https?:[^"\s]+)"')
_TEXTS = frozenset({".txt", ".text", ".md"})


def documents(paths: Sequence[Path]) -> list[Path]:
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


def read_file(path: Path, *, most: int, site: str, now: datetime) -> Visited:
    """Read a file as a source; one that ends in .gz is unpacked. What is wrong with it comes back as a value.

    Args:
        path: the file.
        most: the most bytes that are read, after unpacking.
        site: the publication's own site, where a text without any address is taken to stand.
        now: the moment of the run.
    """
    try:
        reading = _reading(path, _body(path, most), site, now)
    except OSError as error:
        return Visited(Bad(Health.FAILING, f"cannot be read: {error.strerror}"))
    except TooBig:
        message = f"over {most:,} bytes; raise limits.fetch_bytes in digest.toml if it is meant"
        return Visited(Bad(Health.FAILING, message))
    except (BadPacking, ParseError) as error:
        return Visited(Bad(Health.FAILING, str(error)))
    if reading.kind is Kind.OPML:
        return Visited(Bad(Health.FAILING, IS_OPML))
    return Visited(Good(reading.kind), reading)


def own_address(body: bytes) -> str | None:
    """Find where a saved document says that it comes from: relative links in it are relative to that."""
    head = body[:_HEAD].decode("latin-1")
    named: dict[str, str] = {}
    for tag in _TAG.findall(head):
        has = {m[1].lower(): m[2] or m[3] or m[4] or "" for m in _ATTRIBUTE.finditer(tag)}
        name = has.get("rel") or has.get("property") or ""
        named.setdefault(name.lower(), has.get("href") or has.get("content") or "")
    channel = _CHANNEL_LINK.search(head) or _JSON_LINK.search(head)
    said = [named.get("canonical"), named.get("og:url"), named.get("self"), channel and channel[1]]
    if b"<html" not in body[:_HEAD].lower():
        said.append(named.get("alternate"))
    for address in said:
        try:
            return absolute((address or "").replace("&amp;", "&").replace("\\/", "/"))
        except ValueError:
            continue
    return None


def _body(path: Path, most: int) -> bytes:
    with path.open("rb") as stream:
        return unpack(iter(lambda: stream.read(65_536), b""), "gzip" if path.suffix == ".gz" else "", most)


def _reading(path: Path, body: bytes, site: str, now: datetime) -> Reading:
    address = own_address(body)
    if address is None and path.suffix.lower() in _TEXTS:
        reading = parsers.read(body, url=site, now=now)
        return _at_home(reading, site) if reading.kind is Kind.PAGE else reading
    return parsers.read(body, url=address or path.resolve().as_uri(), now=now)


def _at_home(reading: Reading, site: str) -> Reading:
    """Let the article of a plain text stand on the own site, if it says when it was published.

    Such a text names no address, so its link is the site's search for its title. Without a date it is more
    likely a note about the folder it lies in than an article.
    """
    items = tuple(_found_by_search(item, site) for item in reading.items if item.published)
    undated = [Rejected(place, _NO_PLACE) for place, i in enumerate(reading.items, 1) if not i.published]
    return replace(reading, items=items, rejected=(*reading.rejected, *undated))


_NO_PLACE = "a plain text without address or date of publication; save the page as HTML instead"


def _found_by_search(item: Item, site: str) -> Item:
    link = urljoin(site, f"/?s={quote_plus(item.title)}")
    return replace(item, link=link, url=canonical(link))
