"""Parsing sources' documents.

The kind of document is detected from its content, and items are returned clean.
"""

import json
import re
from datetime import datetime
from importlib import import_module
from typing import Any

from digest.collect.documents.parsed_document import DocumentKind, ParsedDocument, ParseError
from digest.collect.parsers.markup.charset import decode_document_text
from digest.collect.parsers.markup.kind_detection import detect_kind
from digest.collect.parsers.raw_item import ParseContext
from digest.collect.parsers.wordpress import is_post
from digest.collect.texts.text_cleanup import normalize_numeric_references

MAX_DOCUMENT_BYTES = 40_000_000  # the fetcher's own limit is lower; this one applies to files, too

# Each module has a function `parse(document, kind, context)`. JSON parsers get the value, and also
# have `accepts(value)`.
_PARSERS = {kind: import_module(f"{__name__}.{kind.parser}") for kind in DocumentKind}
_VALUE_START = re.compile(r"[=(]\s*(?=[\[{])")
_OBJECT_START = re.compile(r"[\s,]*(?=\{)")
_MAX_VALUES = 500
# Maximum digits of a number; IDs are shorter, and Python rejects documents with a number of 4,300 digits.
_MAX_DIGITS = 100


def parse_document(
    body: bytes,
    *,
    url: str,
    now: datetime,
    charset: str | None = None,
) -> ParsedDocument:
    """Parse a source's document of any known kind.

    The kind is detected from the bytes, never from the URL or the declared type. Unusable items are
    listed in `rejected`, with their position and the reason. The others are kept.

    Args:
        body: the document, decompressed.
        url: its http or https URL, against which relative links are resolved.
        now: the current time in UTC, against which dates are checked.
        charset: the charset from the HTTP header, used if the document doesn't declare one.

    Raises:
        ParseError: the document can't be parsed at all. No other error is raised.
    """
    if len(body) > MAX_DOCUMENT_BYTES:
        raise ParseError(
            f"The response is too large ({len(body):,} bytes; the limit is {MAX_DOCUMENT_BYTES:,}). Use a shorter feed."
        )
    text = normalize_numeric_references(decode_document_text(body, charset))
    kind = detect_kind(text)
    context = ParseContext(url, now)
    if kind is None:
        return _parse_json(text, context)
    document: ParsedDocument = _PARSERS[kind].parse(text, kind, context)
    return document


def _parse_json(document: str, context: ParseContext) -> ParsedDocument:
    """Parse JSON of a kind that one of the parsers accepts.

    Scripts are searched for WordPress posts, as JSONP (`?_jsonp=`) or `name = [...]`.

    Raises:
        ParseError: the document isn't JSON, it's an error message, or it's JSON of another
            kind.
    """
    document = document.strip("\ufeff \t\r\n\0")
    value: Any = _load_json(document) if document[:1] in {"[", "{"} else _find_script_posts(document)
    for kind in DocumentKind:
        if kind.is_json and _PARSERS[kind].accepts(value):
            parsed: ParsedDocument = _PARSERS[kind].parse(value, kind, context)
            return parsed
    if isinstance(value, dict) and "code" in value and "message" in value:
        error_text = f"{value['code']}: {value['message']}"[:200]
        raise ParseError(f"The WordPress site returned an error ({error_text}). Check the URL in a browser.")
    raise ParseError("The response is JSON, but not a JSON Feed or WordPress posts. Find the feed's URL.")


def _load_json(document: str) -> Any:
    try:
        return json.loads(document, parse_int=_read_integer)
    except (ValueError, RecursionError) as exc:
        return _complete_posts(document, exc)


def _read_integer(digits: str) -> int:
    return int(digits) if len(digits) < _MAX_DIGITS else 0


def _complete_posts(document: str, cause: Exception) -> Any:
    """Return the complete posts of a truncated array. Feeds are handled the same way."""
    posts: list[Any] = []
    decoder, at = json.JSONDecoder(parse_int=_read_integer), 1
    try:
        while document.startswith("[") and (start := _OBJECT_START.match(document, at)):
            value, at = decoder.raw_decode(document, start.end())
            posts.append(value)
    except (ValueError, RecursionError):
        if posts:
            return [*posts, "the document ends within this item"]
    raise ParseError(
        f"The response isn't valid JSON: {str(cause)[:200]}. Report the problem to the publisher."
    ) from cause


def _find_script_posts(document: str) -> list[Any]:
    posts: list[Any] = []
    decoder, at = json.JSONDecoder(parse_int=_read_integer), 0
    for _ in range(_MAX_VALUES):
        if not (start := _VALUE_START.search(document, at)):
            break
        at = start.end()
        try:
            value, at = decoder.raw_decode(document, at)
        except (ValueError, RecursionError):
            continue
        posts += filter(is_post, value if isinstance(value, list) else [value])
    if not posts:
        raise ParseError("The response is a script without WordPress posts. Find the URL of the site's feed.")
    return posts
