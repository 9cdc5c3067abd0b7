"""JSON answers, told apart: JSON Feed, WordPress posts (also with a script around them), catalogs of agencies."""

import json
import re
from typing import Any

from digest.collect.documents.parsed_document import ParsedDocument, ParseError
from digest.collect.parsers.exploited_catalog import is_exploited_catalog, parse_exploited_catalog
from digest.collect.parsers.federal_register import is_federal_register, parse_federal_register
from digest.collect.parsers.json_feed import is_json_feed, parse_json_feed
from digest.collect.parsers.raw_item import ParseContext
from digest.collect.parsers.wordpress import is_wordpress_post, parse_wordpress_posts

_VALUE_START = re.compile(r"[=(]\s*(?=[\[{])")
_MAX_VALUES = 500
_MAX_DIGITS = 100  # of a number: no id is longer, and Python refuses a document with one of 4,300


def parse_json(document: str, context: ParseContext) -> ParsedDocument:
    """Read a JSON Feed, WordPress posts (an array or one), documents of the Federal Register, or CISA's catalog of vulnerabilities.

    A script is looked through for WordPress posts: JSONP (`?_jsonp=`), and `name = [...]`.

    Raises:
        ParseError: the answer is no JSON, an error message, or JSON of another kind.
    """
    document = document.strip("\ufeff \t\r\n\0")
    value: Any = _load_json(document) if document[:1] in {"[", "{"} else _find_script_posts(document)
    if is_json_feed(value):
        return parse_json_feed(value, context)
    if is_exploited_catalog(value):
        return parse_exploited_catalog(value, context)
    if is_federal_register(value):
        return parse_federal_register(value, context)
    if is_wordpress_post(value):
        return parse_wordpress_posts([value], context)
    if isinstance(value, list) and (not value or any(is_wordpress_post(post) for post in value)):
        return parse_wordpress_posts(value, context)
    if isinstance(value, dict) and "code" in value and "message" in value:
        error_text = f"{value['code']}: {value['message']}"[:200]
        raise ParseError(f"The WordPress site answers with an error ({error_text}). Check the address in a browser.")
    raise ParseError("The answer is JSON, but neither a JSON Feed nor WordPress posts. Look for the feed's address.")


def _load_json(document: str) -> Any:
    try:
        return json.loads(document, parse_int=_read_integer)
    except (ValueError, RecursionError) as exc:
        return _complete_posts(document, exc)


def _read_integer(digits: str) -> int:
    return int(digits) if len(digits) < _MAX_DIGITS else 0


def _complete_posts(document: str, cause: Exception) -> Any:
    """Take the whole posts of an array that breaks off, as a truncated feed's whole items are taken."""
    posts: list[Any] = []
    decoder, at = json.JSONDecoder(parse_int=_read_integer), 1
    try:
        while document.startswith("[") and (start := _next_object_offset(document, at)) >= 0:
            value, at = decoder.raw_decode(document, start)
            posts.append(value)
    except (ValueError, RecursionError):
        if posts:
            return [*posts, "the document breaks off within this item"]
    raise ParseError(f"The answer is no valid JSON: {str(cause)[:200]}. Tell the publisher.") from cause


def _next_object_offset(document: str, offset: int) -> int:
    match = re.compile(r"[\s,]*(?=\{)").match(document, offset)
    return match.end() if match else -1


def _find_script_posts(document: str) -> list[Any]:
    posts: list[Any] = []
    decoder, at = json.JSONDecoder(parse_int=_read_integer), 0
    for _ in range(_MAX_VALUES):
        match = _VALUE_START.search(document, at)
        if not match:
            break
        at = match.end()
        try:
            value, at = decoder.raw_decode(document, at)
        except (ValueError, RecursionError):
            continue
        posts += [post for post in (value if isinstance(value, list) else [value]) if is_wordpress_post(post)]
    if not posts:
        raise ParseError("The answer is a script without WordPress posts. Look for the address of the site's feed.")
    return posts
