"""JSON Feed 1.0 and 1.1 (https://jsonfeed.org/version/1.1)."""

from collections.abc import Iterator
from html import escape
from typing import Any, TypeGuard

from digest.collect.documents.parsed_document import DocumentKind, ParsedDocument, RejectedEntry
from digest.collect.parsers.raw_item import ParseContext, RawItem, clean_items, normalise_language
from digest.collect.texts import text_cleanup
from digest.collect.texts.urls import usable_url


def is_json_feed(value: object) -> TypeGuard[dict[str, Any]]:
    """Return whether a JSON value is a feed: it names the version, or has a title and a list of items."""
    if not isinstance(value, dict):
        return False
    return "jsonfeed.org" in str(value.get("version", "")) or (
        isinstance(value.get("items"), list) and isinstance(value.get("title"), str)
    )


def parse_json_feed(value: dict[str, Any], context: ParseContext) -> ParsedDocument:
    """Read a JSON Feed's items; the value is one that `is_json_feed` accepts."""
    entries = value.get("items")
    spoken = normalise_language(_text_value(value, "language")) or context.language
    items, rejected = clean_items(
        _raw_items(entries if isinstance(entries, list) else [], value), ParseContext(context.url, context.now, spoken)
    )
    return ParsedDocument(
        kind=DocumentKind.JSON_FEED,
        items=items,
        rejected=rejected,
        title=text_cleanup.clean_title(_text_value(value, "title")),
        language=spoken,
        next_url=usable_url(_text_value(value, "next_url"), context.url),
    )


def _raw_items(entries: list[Any], feed: dict[str, Any]) -> Iterator[RawItem | RejectedEntry]:
    for entry in entries:
        yield (_raw_item(entry, feed) if isinstance(entry, dict) else RejectedEntry(0, "the item is no JSON object"))


def _raw_item(entry: dict[str, Any], feed: dict[str, Any]) -> RawItem:
    content = _text_value(entry, "content_html") or escape(_text_value(entry, "content_text"), quote=False)
    return RawItem(
        guid=_text_value(entry, "id"),
        link=_text_value(entry, "url") or _text_value(entry, "external_url"),
        title=_text_value(entry, "title"),
        summary=escape(_text_value(entry, "summary"), quote=False),  # the standard says: plain text
        content=content,
        authors=_author_names(entry) or _author_names(feed),
        categories=[str(tag) for tag in _list_value(entry, "tags")],
        language=_text_value(entry, "language"),
        image=_text_value(entry, "image") or _text_value(entry, "banner_image") or _attached_image(entry),
        published=_text_value(entry, "date_published"),
        updated=_text_value(entry, "date_modified"),
    )


def _text_value(value: dict[str, Any], key: str) -> str:
    """Return a text; ids may be numbers."""
    text = value.get(key)
    return str(text) if isinstance(text, str | int | float) and not isinstance(text, bool) else ""


def _list_value(value: dict[str, Any], key: str) -> list[Any]:
    items = value.get(key)
    return items if isinstance(items, list) else []


def _author_names(value: dict[str, Any]) -> list[str]:
    authors = [*_list_value(value, "authors"), value.get("author")]
    return [name for author in authors if isinstance(author, dict) and (name := _text_value(author, "name"))]


def _attached_image(entry: dict[str, Any]) -> str:
    pictures = (
        _text_value(file, "url")
        for file in _list_value(entry, "attachments")
        if isinstance(file, dict) and _text_value(file, "mime_type").startswith("image/")
    )
    return next(pictures, "")
