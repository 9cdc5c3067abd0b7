"""JSON Feed 1.0 and 1.1 (https://jsonfeed.org/version/1.1)."""

from collections.abc import Iterator
from html import escape
from typing import Any, TypeGuard

from digest.collect import text
from digest.collect.items import Kind, Reading, Rejected
from digest.collect.parsers.found import Found, Place, language, take
from digest.collect.urls import absolute


def is_json_feed(value: object) -> TypeGuard[dict[str, Any]]:
    """Say whether a JSON value is a feed: it names the version, or has a title and a list of items."""
    if not isinstance(value, dict):
        return False
    return "jsonfeed.org" in str(value.get("version", "")) or (
        isinstance(value.get("items"), list) and isinstance(value.get("title"), str)
    )


def read_json_feed(value: dict[str, Any], where: Place) -> Reading:
    """Read a JSON Feed's items; the value is one that `is_json_feed` accepts."""
    given = value.get("items")
    spoken = language(_words(value, "language")) or where.language
    items, rejected = take(
        _all_found(given if isinstance(given, list) else [], value), Place(where.url, where.now, spoken)
    )
    return Reading(
        kind=Kind.JSON_FEED,
        items=items,
        rejected=rejected,
        title=text.title(_words(value, "title")),
        language=spoken,
        next_url=_next_page(value, where.url),
    )


def _all_found(given: list[Any], feed: dict[str, Any]) -> Iterator[Found | Rejected]:
    for one in given:
        yield _found(one, feed) if isinstance(one, dict) else Rejected(0, "the item is no JSON object")


def _found(one: dict[str, Any], feed: dict[str, Any]) -> Found:
    content = _words(one, "content_html") or escape(_words(one, "content_text"), quote=False)
    return Found(
        guid=_words(one, "id"),
        link=_words(one, "url") or _words(one, "external_url"),
        title=_words(one, "title"),
        summary=escape(_words(one, "summary"), quote=False),  # the standard says: plain text
        content=content,
        authors=_authors(one) or _authors(feed),
        categories=[str(tag) for tag in _list(one, "tags")],
        language=_words(one, "language"),
        image=_words(one, "image") or _words(one, "banner_image") or _attached(one),
        published=_words(one, "date_published"),
        updated=_words(one, "date_modified"),
    )


def _words(value: dict[str, Any], key: str) -> str:
    """Give a text; ids may be numbers."""
    found = value.get(key)
    return str(found) if isinstance(found, str | int | float) and not isinstance(found, bool) else ""


def _list(value: dict[str, Any], key: str) -> list[Any]:
    found = value.get(key)
    return found if isinstance(found, list) else []


def _authors(value: dict[str, Any]) -> list[str]:
    given = [*_list(value, "authors"), value.get("author")]
    return [name for author in given if isinstance(author, dict) and (name := _words(author, "name"))]


def _attached(one: dict[str, Any]) -> str:
    pictures = (
        _words(file, "url")
        for file in _list(one, "attachments")
        if isinstance(file, dict) and _words(file, "mime_type").startswith("image/")
    )
    return next(pictures, "")


def _next_page(value: dict[str, Any], base: str) -> str | None:
    try:
        return absolute(_words(value, "next_url"), base)
    except ValueError:
        return None
