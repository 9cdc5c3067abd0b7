"""RSS 0.9x and 2.0, RDF, and Atom.

They're parsed with feedparser, with its own cleaning and resolving turned off.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import feedparser

from digest.collect.documents.parsed_document import DocumentKind, ParsedDocument, ParseError, RejectedEntry
from digest.collect.parsers.markup.kind_detection import strip_feed_preamble
from digest.collect.parsers.markup.xml_repair import repair_xml
from digest.collect.parsers.raw_item import ParseContext, RawItem, clean_document, normalize_language
from digest.collect.texts import text_cleanup
from digest.collect.texts.urls import usable_url

_DAY = 86_400
# feedparser treats every <guid> as a URL: it resolves it and uses it as the link.
_NON_URL_GUID = re.compile(
    r"<guid(?:\s+isPermaLink\s*=\s*[\"']true[\"'])?\s*>(?!\s*(?:<!\[CDATA\[\s*)?https?:)", re.IGNORECASE
)
_PERIOD_HOURS = {"hourly": 1, "daily": 24, "weekly": 168, "monthly": 720, "yearly": 8760}


def parse(document: str, kind: DocumentKind, context: ParseContext) -> ParsedDocument:
    """Parse an RSS, RDF, or Atom feed.

    Raises:
        ParseError: the XML can't be recovered, or feedparser fails on it.
    """
    document = _NON_URL_GUID.sub('<guid isPermaLink="false">', strip_feed_preamble(document))
    body, broken = repair_xml(document, item_pattern="item|entry")
    parsed = _run_feedparser(body, context.url)
    head = parsed["feed"]
    title = text_cleanup.clean_title(str(head.get("title") or ""))
    entries = [*_raw_items(parsed["entries"], kind, title)]
    if broken:
        entries.append(RejectedEntry(0, "the document ends within this item"))
    return clean_document(
        kind,
        entries,
        replace(context, language=normalize_language(head.get("language"))),
        title=title,
        refresh_seconds=_refresh_seconds(head),
        next_url=_next_page_url(head, context.url),
    )


def _run_feedparser(body: bytes, url: str) -> Any:
    headers = {"content-type": "application/xml; charset=utf-8", "content-location": url}
    try:
        parsed = feedparser.parse(
            io.BytesIO(body), response_headers=headers, sanitize_html=False, resolve_relative_uris=False
        )
    except Exception as exc:  # feedparser raises KeyError, AssertionError, RecursionError, and others
        raise ParseError(
            f"Can't read the feed: {type(exc).__name__}: {str(exc)[:200]}. Report the problem to the publisher."
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
        except (AttributeError, KeyError, TypeError, ValueError) as exc:  # for elements that feedparser doesn't expect
            yield RejectedEntry(0, f"the item is malformed: {type(exc).__name__}: {str(exc)[:100]}")


def _raw_item(entry: Any, kind: DocumentKind, feed_title: str) -> RawItem:
    content = max(_texts(entry, "content", "value"), key=len, default="")
    summary = _first_value(entry, "summary")
    title_detail = entry.get("title_detail") or {}
    image, alt = _choose_image(entry)
    published, updated = _written_dates(entry, kind)
    # `<source url>` in RSS, `<source><title>` in Atom
    credit = _foreign_name(_source_value(entry, "title"), feed_title)
    return RawItem(
        guid=_first_value(entry, "id"),
        link=_item_link(entry),
        title=_first_value(entry, "title"),
        summary=summary if summary != content else "",  # unless feedparser copied the content
        content=content,
        base=(entry.get("summary_detail") or title_detail).get("base"),
        authors=_author_names(entry),
        categories=_texts(entry, "tags", "label", "term"),
        language=title_detail.get("language") or entry.get("dc_language"),
        image=image,
        image_alt=alt,
        image_credits=_texts(entry, "media_credit", "content"),
        published=published,
        updated=updated,
        starts=_first_value(entry, "ev_startdate", "xcal_dtstart", "dtstart"),
        ends=_first_value(entry, "ev_enddate", "xcal_dtend", "dtend"),
        place=_first_value(entry, "ev_location", "xcal_location", "location"),
        credit=credit or None,
        publisher=credit or _foreign_name(_first_value(entry, "publisher"), feed_title),
        publisher_url=_source_value(entry, "href", "link") if credit else "",
    )


def _written_dates(entry: Any, kind: DocumentKind) -> tuple[str, str]:
    """Return an item's dates of publication and last change, as written.

    feedparser treats dc:date as the date of a change, but in RSS and RDF, it's the publication date.
    """
    published = _first_value(entry, "published", "created", "issued")
    updated = _first_value(entry, "updated", "modified")
    return (published, updated) if published or kind is DocumentKind.ATOM else (updated, "")


def _first_value(entry: Any, *names: str) -> str:
    """Return the first nonempty text among the given elements.

    `dict.get` is used because feedparser's own method maps some names to others.
    """
    values = (dict.get(entry, name) for name in names)
    texts = (value for value in values if isinstance(value, str))
    return next(filter(str.strip, texts), "")


def _item_link(entry: Any) -> str:
    return str(dict.get(entry, "link") or next(_linked_addresses(entry, "alternate"), ""))


def _linked_addresses(element: Any, relation: str) -> Iterator[str]:
    """Yield the URLs of an item's or feed's links with the given relation."""
    for link in element.get("links") or ():
        if link.get("rel") == relation and link.get("href"):
            yield str(link["href"])


def _author_names(entry: Any) -> list[str]:
    names = list(filter(None, _texts(entry, "authors", "name")))
    return names or [str(dict.get(entry, "author") or "")]


def _texts(entry: Any, name: str, *keys: str) -> list[str]:
    """Return the first nonempty value among `keys` (or "") for each of an item's elements called `name`."""
    elements = entry.get(name) or ()
    values = (map(element.get, keys) for element in elements)
    return [str(next(filter(None, offered), "")) for offered in values]


def _source_value(entry: Any, *names: str) -> str:
    """Return the first nonempty value in an item's `source` element, or "" if there's none."""
    source = dict.get(entry, "source")
    return _first_value(source, *names) if isinstance(source, dict) else ""


def _foreign_name(name: str, feed_title: str) -> str:
    """Return a publisher's cleaned name, or "" if it's the feed's own."""
    cleaned = text_cleanup.clean_name(name)
    return "" if cleaned.lower() in feed_title.lower() else cleaned


def _choose_image(entry: Any) -> tuple[str | None, str]:
    media = filter(_is_image, entry.get("media_content") or ())
    largest: Any = max(media, key=_width, default={})
    files = entry.get("enclosures") or ()
    enclosed = (file for file in files if str(file.get("type")).startswith("image/"))
    thumbnails = sorted(entry.get("media_thumbnail") or (), key=_width, reverse=True)
    urls = [largest.get("url")]
    urls += [file.get("href") for file in enclosed]
    urls += [thumbnail.get("url") for thumbnail in thumbnails]
    if url := next(filter(None, urls), None):
        return str(url), str(largest.get("alt") or "")
    return None, ""


def _is_image(media: Any) -> bool:
    if kind := f"{media.get('medium') or ''} {media.get('type') or ''}".strip().lower():
        return kind.startswith("image") or " image/" in kind
    return bool(re.search(r"\.(?:jpe?g|png|webp|gif)(?:\?|$)", str(media.get("url")), re.IGNORECASE))


def _width(media: Any) -> int:
    return _first_number(media, "width") or 0


def _first_number(element: Any, name: str) -> int | None:
    digits = re.match(r"\d{1,6}", str(element.get(name) or "").strip())
    return int(digits[0]) if digits else None


def _refresh_seconds(head: Any) -> int | None:
    """Return the number of seconds between visits that the publisher asks for, or None.

    The result is at most a day, so that no edition is missed.
    """
    if ttl := _first_number(head, "ttl"):
        return min(ttl * 60, _DAY)
    period = str(head.get("sy_updateperiod") or "").strip().lower()
    often = _first_number(head, "sy_updatefrequency") if head.get("sy_updatefrequency") else 1
    if period not in _PERIOD_HOURS or often is None:
        return None
    return min(max(_PERIOD_HOURS[period] * 3600 // max(often, 1), 60), _DAY)


def _next_page_url(head: Any, url: str) -> str | None:
    """Return the URL of the next page of a paged feed (RFC 5005, section 3)."""
    link = next(_linked_addresses(head, "next"), "")
    return usable_url(link, url) if link else None
