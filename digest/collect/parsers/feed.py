"""RSS 0.9x and 2.0, RDF and Atom, read with feedparser; cleaning and resolving are ours, its own are off."""

import io
import re
from collections.abc import Iterator
from typing import Any

import feedparser

from digest.collect import text
from digest.collect.items import Kind, ParseError, Reading, Rejected
from digest.collect.parsers.found import Found, Place, language, take
from digest.collect.parsers.sniff import feed_start
from digest.collect.parsers.xml import well_formed
from digest.collect.urls import absolute

_DAY = 86_400
# feedparser takes every <guid> for an address, resolves it, and links to it.
_NO_ADDRESS = re.compile(
    r"<guid(?:\s+isPermaLink\s*=\s*[\"']true[\"'])?\s*>(?!\s*(?:<!\[CDATA\[\s*)?https?:)", re.IGNORECASE
)
_PERIODS = {"hourly": 3600, "daily": _DAY, "weekly": 7 * _DAY, "monthly": 30 * _DAY, "yearly": 365 * _DAY}


def read_feed(document: str, kind: Kind, where: Place) -> Reading:
    """Read a feed's items.

    Raises:
        ParseError: the XML can't be recovered, or feedparser fails on it.
    """
    document = _NO_ADDRESS.sub('<guid isPermaLink="false">', feed_start(document))
    body, broken = well_formed(document, item="item|entry")
    parsed = _parse(body, where.url)
    head = parsed["feed"]
    spoken = language(head.get("language")) or where.language
    title = text.title(str(head.get("title") or ""))
    found: list[Found | Rejected] = [*_all_found(parsed["entries"], kind, title)]
    if broken:
        found.append(Rejected(0, "the document breaks off within this item"))
    items, rejected = take(found, Place(where.url, where.now, spoken))
    return Reading(
        kind=kind,
        items=items,
        rejected=rejected,
        title=title,
        language=spoken,
        every=_every(head),
        next_url=_next_page(head, where.url),
    )


def _parse(body: bytes, url: str) -> Any:
    headers = {"content-type": "application/xml; charset=utf-8", "content-location": url}
    try:
        parsed = feedparser.parse(
            io.BytesIO(body), response_headers=headers, sanitize_html=False, resolve_relative_uris=False
        )
    except Exception as exc:  # feedparser lets KeyError, AssertionError, RecursionError and others through
        raise ParseError(
            f"The feed can't be read: {type(exc).__name__}: {str(exc)[:200]}. Tell the publisher."
        ) from exc
    if not parsed["entries"] and not parsed["feed"]:
        raise ParseError(
            "The answer begins like a feed and holds nothing of one. Open the address in a browser."
        )
    return parsed


def _all_found(entries: list[Any], kind: Kind, feed: str) -> Iterator[Found | Rejected]:
    for entry in entries:
        try:
            yield _found(entry, kind, feed)
        except (
            AttributeError,
            KeyError,
            TypeError,
            ValueError,
        ) as exc:  # elements where feedparser expects none
            yield Rejected(0, f"the item is malformed: {type(exc).__name__}: {str(exc)[:100]}")


def _found(entry: Any, kind: Kind, feed: str) -> Found:
    content = max((str(part.get("value") or "") for part in entry.get("content") or ()), key=len, default="")
    detail = entry.get("summary_detail") or entry.get("title_detail") or {}
    image, alt = _image(entry)
    published, updated = _said(entry, "published", "created", "issued"), _said(entry, "updated", "modified")
    if (
        kind is not Kind.ATOM and not published
    ):  # feedparser calls dc:date a change; in RSS and RDF it is the date
        published, updated = updated, None
    return Found(
        guid=str(entry.get("id") or ""),
        link=_link(entry),
        title=str(entry.get("title") or ""),
        summary=_described(entry, content),
        content=content,
        base=detail.get("base") or None,
        authors=_authors(entry),
        categories=[str(tag.get("label") or tag.get("term") or "") for tag in entry.get("tags") or ()],
        language=(entry.get("title_detail") or {}).get("language") or entry.get("dc_language"),
        image=image,
        image_alt=alt,
        published=published,
        updated=updated,
        starts=_said(entry, "ev_startdate", "xcal_dtstart", "dtstart"),
        ends=_said(entry, "ev_enddate", "xcal_dtend", "dtend"),
        place=_said(entry, "ev_location", "xcal_location", "location") or "",
        credit=_credit(entry, feed),
    )


def _said(entry: Any, *names: str) -> str | None:
    """Give the first of some elements that holds words. `dict.get`: feedparser's own maps `updated` to `published`."""
    values = (dict.get(entry, name) for name in names)
    return next((value for value in values if isinstance(value, str) and value.strip()), None)


def _described(entry: Any, content: str) -> str:
    """Give the description. Where feedparser made it from the content it is the same text, and not told twice."""
    summary = dict.get(entry, "summary")
    said = summary if isinstance(summary, str) else ""
    return "" if said == content else said


def _link(entry: Any) -> str:
    if link := dict.get(entry, "link"):
        return str(link)
    links = [link for link in entry.get("links") or () if link.get("href")]
    chosen = next((link for link in links if link.get("rel") == "alternate"), None)
    return str(chosen["href"]) if chosen else ""


def _authors(entry: Any) -> list[str]:
    names = [str(author.get("name") or "") for author in entry.get("authors") or ()]
    return [name for name in names if name] or [str(dict.get(entry, "author") or "")]


def _credit(entry: Any, feed: str) -> str | None:
    """Take `<source url>` of RSS and `<source><title>` of Atom for a credit, unless the source is the feed itself."""
    source = dict.get(entry, "source")
    title = source.get("title") if isinstance(source, dict) else None
    name = text.name(str(title or ""))
    return name if name and name.lower() not in feed.lower() else None


def _image(entry: Any) -> tuple[str | None, str]:
    offered = [m for m in entry.get("media_content") or () if _is_picture(m)]
    chosen = max(offered, key=_width, default=None)
    enclosed = [e for e in entry.get("enclosures") or () if str(e.get("type") or "").startswith("image/")]
    for url in (
        chosen and chosen.get("url"),
        enclosed and enclosed[0].get("href"),
        *(t.get("url") for t in sorted(entry.get("media_thumbnail") or (), key=_width, reverse=True)),
    ):
        if url:
            return str(url), str((chosen or {}).get("alt") or "")
    return None, ""


def _is_picture(media: Any) -> bool:
    kind = f"{media.get('medium') or ''} {media.get('type') or ''}".strip().lower()
    if kind:
        return kind.startswith("image") or " image/" in f" {kind}"
    return bool(re.search(r"\.(?:jpe?g|png|webp|gif)(?:\?|$)", str(media.get("url") or ""), re.IGNORECASE))


def _width(media: Any) -> int:
    digits = re.match(r"\d{1,6}", str(media.get("width") or ""))
    return int(digits[0]) if digits else 0


def _every(head: Any) -> int | None:
    """Give the seconds between visits that the publisher asks for, at most a day: we mustn't miss an edition."""
    ttl = re.match(r"\d{1,9}", str(head.get("ttl") or "").strip())
    if ttl and int(ttl[0]):
        return min(int(ttl[0]) * 60, _DAY)
    period = _PERIODS.get(str(head.get("sy_updateperiod") or "").strip().lower())
    often = re.match(r"\d{1,6}", str(head.get("sy_updatefrequency") or "1").strip())
    return min(max(period // max(int(often[0]), 1), 60), _DAY) if period and often else None


def _next_page(head: Any, url: str) -> str | None:
    """Give the next page of a paged feed (RFC 5005 section 3)."""
    for link in head.get("links") or ():
        if link.get("rel") == "next" and link.get("href"):
            try:
                return absolute(str(link["href"]), url)
            except ValueError:
                return None
    return None
