"""JSON Feed 1.0 and 1.1 (https://jsonfeed.org/version/1.1)."""

from dataclasses import replace
from functools import partial
from html import escape
from typing import Any

from digest.collect.documents.parsed_document import DocumentKind, ParsedDocument
from digest.collect.parsers.json_values import read_entries, read_objects, read_text, read_text_values_by_key
from digest.collect.parsers.raw_item import ParseContext, RawItem, clean_document, normalize_language
from digest.collect.texts import text_cleanup
from digest.collect.texts.urls import usable_url


def accepts(value: object) -> bool:
    """Return True if a JSON value is a feed: it has the version, or a title and a list of items."""
    if not isinstance(value, dict):
        return False
    return "jsonfeed.org" in str(value.get("version", "")) or (
        isinstance(value.get("items"), list) and isinstance(value.get("title"), str)
    )


def parse(value: dict[str, Any], kind: DocumentKind, context: ParseContext) -> ParsedDocument:
    """Parse a JSON Feed's items."""
    spoken = normalize_language(read_text(value.get("language")))
    read_item = partial(_read_item, feed_authors=_author_names(value))
    return clean_document(
        kind,
        read_entries(value.get("items"), "item", read_item),
        replace(context, language=spoken),
        title=text_cleanup.clean_title(read_text(value.get("title"))),
        next_url=usable_url(read_text(value.get("next_url")), context.url),
    )


def _read_item(entry: dict[str, Any], feed_authors: list[str]) -> RawItem:
    texts = read_text_values_by_key(entry)
    files = read_objects(entry.get("attachments"))
    attached = (read_text(file.get("url")) for file in files if _is_image(file))
    pictures = (texts["image"], texts["banner_image"], *attached)
    tags = entry.get("tags")
    return RawItem(
        guid=str(entry.get("id", "")),  # may be a number
        link=texts["url"] or texts["external_url"],
        title=texts["title"],
        summary=escape(texts["summary"], quote=False),  # plain text according to the standard
        content=texts["content_html"] or escape(texts["content_text"], quote=False),
        authors=_author_names(entry) or feed_authors,
        categories=list(map(str, tags)) if isinstance(tags, list) else (),
        language=texts["language"],
        image=next(filter(None, pictures), None),
        published=texts["date_published"],
        updated=texts["date_modified"],
    )


def _is_image(file: dict[str, Any]) -> bool:
    return read_text(file.get("mime_type")).startswith("image/")


def _author_names(value: dict[str, Any]) -> list[str]:
    authors = read_objects(value.get("authors")) + read_objects([value.get("author")])
    names = (read_text(author.get("name")) for author in authors)
    return list(filter(None, names))
