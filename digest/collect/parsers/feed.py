"""RSS 0.9x and 2.0, RDF and Atom, read with feedparser; cleaning and resolving are ours, its own are off."""

import io
import re
from collections.abc import Iterator
from typing import Any

import feedparser

from digest.collect.documents.parsed_document import DocumentKind, ParsedDocument, ParseError, RejectedEntry
from digest.collect.parsers.markup.kind_detection import strip_feed_preamble
from digest.collect.parsers.markup.xml_repair import repair_xml
from digest.collect.parsers.raw_item import ParseContext, RawItem, clean_items, normalise_language
from digest.collect.texts import text_cleanup
from digest.collect.texts.urls import usable_url

_DAY = 86_400
# feedparser takes every <guid> for an address, resolves it, and links to it.
_NON_URL_GUID = re.compile(
    r"<guid(?:\s+isPermaLink\s*=\s*[\"']true[\"'])?\s*>(?!\s*(?:<!\[CDATA\[\s*)?https?:)", re.IGNORECASE
)
_PERIODS = {"hourly": 3600, "daily": _DAY, "weekly": 7 * _DAY, "monthly": 30 * _DAY, "yearly": 365 * _DAY}


def parse(document: str, kind: DocumentKind, context: ParseContext) -> ParsedDocument:
    """Read a feed's items.

    Raises:
        ParseError: the XML can't be recovered, or feedparser fails on it.
    """
    document = _NON_URL_GUID.sub('<guid isPermaLink="false">', strip_feed_preamble(document))
    body, broken = repair_xml(document, item_pattern="item|entry")
    parsed = _run_feedparser(body, context.url)
    head = parsed["feed"]
    spoken = normalise_language(head.get("language")) or context.language
    title = text_cleanup.clean_title(str(head.get("title") or ""))
    entries: list[RawItem | RejectedEntry] = [*_raw_items(parsed["entries"], kind, title)]
    if broken:
        entries.append(RejectedEntry(0, "the document ends within this item"))
    items, rejected = clean_items(entries, ParseContext(context.url, context.now, spoken))
    return ParsedDocument(
        kind=kind,
        items=items,
        rejected=rejected,
        title=title,
        language=spoken,
        refresh_seconds=_refresh_seconds(head),
        next_url=_next_page_url(head, context.url),
    )


def _run_feedparser(body: bytes, url: str) -> Any:
    headers = {"content-type": "application/xml; charset=utf-8", "content-location": url}
    try:
        parsed = feedparser.parse(
            io.BytesIO(body), response_headers=headers, sanitize_html=False, resolve_relative_uris=False
        )
    except Exception as exc:  # feedparser lets KeyError, AssertionError, RecursionError and others through
        raise ParseError(
            f"Can't read the feed: {type(exc).__name__}: {str(exc)[:200]}. Report it to the publisher."
        ) from exc
    if not parsed["entries"] and not parsed["feed"]:
        raise ParseError("The response starts like a feed but has no feed content. Open the URL in a browser.")
    return parsed


def _raw_items(
    entries: list[Any],
    kind: DocumentKind,
    feed_title: str,
) -> Iterator[RawItem | RejectedEntry]:
    for entry in entries:
        try:
            yield _raw_item(entry, kind, feed_title)
        except (AttributeError, KeyError, TypeError, ValueError) as exc:  # elements where feedparser expects none
            yield RejectedEntry(0, f"the item is malformed: {type(exc).__name__}: {str(exc)[:100]}")


def _raw_item(entry: Any, kind: DocumentKind, feed_title: str) -> RawItem:
    content = max((str(part.get("value") or "") for part in entry.get("content") or ()), key=len, default="")
    title_detail = entry.get("title_detail") or {}
    image, alt = _choose_image(entry)
    published, updated = _written_dates(entry, kind)
    return RawItem(
        guid=_first_value(entry, "id"),
        link=_item_link(entry),
        title=_first_value(entry, "title"),
        summary=_distinct_summary(entry, content),
        content=content,
        base=(entry.get("summary_detail") or title_detail).get("base"),
        authors=_author_names(entry),
        categories=_category_names(entry),
        language=title_detail.get("language") or entry.get("dc_language"),
        image=image,
        image_alt=alt,
        published=published,
        updated=updated,
        starts=_first_value(entry, "ev_startdate", "xcal_dtstart", "dtstart"),
        ends=_first_value(entry, "ev_enddate", "xcal_dtend", "dtend"),
        place=_first_value(entry, "ev_location", "xcal_location", "location"),
        credit=_source_credit(entry, feed_title),
    )


def _written_dates(entry: Any, kind: DocumentKind) -> tuple[str, str]:
    """Return when an item says that it was published and changed. feedparser calls dc:date a change; in RSS and RDF it is the date."""
    published, updated = (
        _first_value(entry, "published", "created", "issued"),
        _first_value(entry, "updated", "modified"),
    )
    return (published, updated) if published or kind is DocumentKind.ATOM else (updated, "")


def _first_value(entry: Any, *names: str) -> str:
    """Return the first of some elements that holds words. `dict.get`: feedparser's own maps `updated` to `published`."""
    values = (dict.get(entry, name) for name in names)
    return next((value for value in values if isinstance(value, str) and value.strip()), "")


def _distinct_summary(entry: Any, content: str) -> str:
    """Return the description. Where feedparser made it from the content it is the same text, and not told twice."""
    summary = dict.get(entry, "summary")
    text = summary if isinstance(summary, str) else ""
    return "" if text == content else text


def _item_link(entry: Any) -> str:
    if link := dict.get(entry, "link"):
        return str(link)
    links = [link for link in entry.get("links") or () if link.get("href")]
    chosen = next((link for link in links if link.get("rel") == "alternate"), None)
    return str(chosen["href"]) if chosen else ""


def _author_names(entry: Any) -> list[str]:
    names = [str(author.get("name") or "") for author in entry.get("authors") or ()]
    return [name for name in names if name] or [str(dict.get(entry, "author") or "")]


def _category_names(entry: Any) -> list[str]:
    return [str(tag.get("label") or tag.get("term") or "") for tag in entry.get("tags") or ()]


def _source_credit(entry: Any, feed_title: str) -> str | None:
    """Take `<source url>` of RSS and `<source><title>` of Atom for a credit, unless the source is the feed itself."""
    source = dict.get(entry, "source")
    title = source.get("title") if isinstance(source, dict) else None
    name = text_cleanup.clean_name(str(title or ""))
    return name if name and name.lower() not in feed_title.lower() else None


def _choose_image(entry: Any) -> tuple[str | None, str]:
    media: Any = max(filter(_is_image, entry.get("media_content") or ()), key=_width, default={})
    enclosed = (e.get("href") for e in entry.get("enclosures") or () if str(e.get("type")).startswith("image/"))
    thumbnails = sorted(entry.get("media_thumbnail") or (), key=_width, reverse=True)
    urls = (media.get("url"), *enclosed, *(thumbnail.get("url") for thumbnail in thumbnails))
    url = next(filter(None, urls), None)
    return (str(url), str(media.get("alt") or "")) if url else (None, "")


def _is_image(media: Any) -> bool:
    if kind := f"{media.get('medium') or ''} {media.get('type') or ''}".strip().lower():
        return kind.startswith("image") or " image/" in kind
    return bool(re.search(r"\.(?:jpe?g|png|webp|gif)(?:\?|$)", str(media.get("url")), re.IGNORECASE))


def _width(media: Any) -> int:
    digits = re.match(r"\d{1,6}", str(media.get("width") or ""))
    return int(digits[0]) if digits else 0


def _refresh_seconds(head: Any) -> int | None:
    """Return the seconds between visits that the publisher asks for, at most a day: we mustn't miss an edition."""
    ttl = re.match(r"\d{1,9}", str(head.get("ttl") or "").strip())
    if ttl and int(ttl[0]):
        return min(int(ttl[0]) * 60, _DAY)
    period = _PERIODS.get(str(head.get("sy_updateperiod") or "").strip().lower())
    often = re.match(r"\d{1,6}", str(head.get("sy_updatefrequency") or "1").strip())
    return min(max(period // max(int(often[0]), 1), 60), _DAY) if period and often else None


def _next_page_url(head: Any, url: str) -> str | None:
    """Return the next page of a paged feed (RFC 5005, section 3)."""
    links = (link["href"] for link in head.get("links") or () if link.get("rel") == "next" and link.get("href"))
    link = next(links, None)
    return usable_url(str(link), url) if link else None
