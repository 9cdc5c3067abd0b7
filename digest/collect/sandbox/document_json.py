"""A parsed document as JSON: its head, and one line for each item, so that reading a long one never holds the lock long."""

import dataclasses
import json
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from digest.collect.parsed_document import DateBasis, DocumentKind, FeedLink, ParsedDocument, ParsedItem, RejectedEntry

_ITEM_FIELDS = tuple(field.name for field in dataclasses.fields(ParsedItem))


def encode_document(document: ParsedDocument) -> tuple[dict[str, Any], bytes]:
    """Give a document's head, and the lines of its items."""
    head = {
        "kind": document.kind.value,
        "title": document.title,
        "language": document.language,
        "refresh_seconds": document.refresh_seconds,
        "next_url": document.next_url,
        "rejected": [(entry.place, entry.reason) for entry in document.rejected],
        "feeds": [(feed.url, feed.title) for feed in document.feeds],
    }
    return head, "\n".join(map(_encode_item, document.items)).encode("ascii")


def decode_document(head: dict[str, Any], body: bytes) -> ParsedDocument:
    """Give the document back.

    Raises:
        ValueError: the JSON is none of a document.
    """
    try:
        return ParsedDocument(
            kind=DocumentKind(head["kind"]),
            items=tuple(map(_decode_item, body.splitlines())),
            rejected=tuple(RejectedEntry(int(place), str(reason)) for place, reason in head["rejected"]),
            title=str(head["title"]),
            language=head["language"],
            refresh_seconds=head["refresh_seconds"],
            next_url=head["next_url"],
            feeds=tuple(FeedLink(str(url), str(title)) for url, title in head["feeds"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"no document: {type(error).__name__}: {error}") from error


def _encode_item(item: ParsedItem) -> str:
    return json.dumps([_plain_value(getattr(item, name)) for name in _ITEM_FIELDS])


def _plain_value(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value.value if isinstance(value, StrEnum) else value


def _decode_item(line: bytes) -> ParsedItem:
    values = dict(zip(_ITEM_FIELDS, json.loads(line), strict=True))
    for name in ("published", "updated", "starts_at", "ends_at"):
        values[name] = datetime.fromisoformat(values[name]) if values[name] else None
    values["closes_on"] = date.fromisoformat(values["closes_on"]) if values["closes_on"] else None
    values["date_basis"] = DateBasis(values["date_basis"])
    values["categories"] = tuple(values["categories"])
    return ParsedItem(**values)
