"""JSON answers: told apart as JSON Feed or WordPress posts, also where a script stands around them."""

import json
import re
from typing import Any

from digest.collect.items import ParseError, Reading
from digest.collect.parsers.found import Place
from digest.collect.parsers.jsonfeed import is_json_feed, read_json_feed
from digest.collect.parsers.wordpress import is_post, read_posts

_VALUE = re.compile(r"[=(]\s*(?=[\[{])")
_MOST_VALUES = 500


def read_json(document: str, where: Place) -> Reading:
    """Read a JSON Feed, or an array (or a single one) of WordPress posts.

    A script is looked through for WordPress posts: JSONP (`?_jsonp=`), and `name = [...]`.

    Raises:
        ParseError: the answer is no JSON, an error message, or JSON of another kind.
    """
    document = document.strip("\ufeff \t\r\n\0")
    value: Any = _loaded(document) if document[:1] in {"[", "{"} else _posts_in_script(document)
    if is_json_feed(value):
        return read_json_feed(value, where)
    if is_post(value):
        return read_posts([value], where)
    if isinstance(value, list) and (not value or any(is_post(one) for one in value)):
        return read_posts(value, where)
    if isinstance(value, dict) and "code" in value and "message" in value:
        told = f"{value['code']}: {value['message']}"[:200]
        raise ParseError(
            f"The WordPress site answers with an error ({told}). Check the address in a browser."
        )
    raise ParseError(
        "The answer is JSON, but neither a JSON Feed nor WordPress posts. Look for the feed's address."
    )


def _loaded(document: str) -> Any:
    try:
        return json.loads(document)
    except (ValueError, RecursionError) as exc:
        return _whole_posts(document, exc)


def _whole_posts(document: str, cause: Exception) -> Any:
    """Take the whole posts of an array that breaks off, as a truncated feed's whole items are taken."""
    found: list[Any] = []
    decoder, at = json.JSONDecoder(), 1
    try:
        while document.startswith("[") and (start := _next_object(document, at)) >= 0:
            value, at = decoder.raw_decode(document, start)
            found.append(value)
    except (ValueError, RecursionError):
        if found:
            return [*found, "the document breaks off within this item"]
    raise ParseError(f"The answer is no valid JSON: {str(cause)[:200]}. Tell the publisher.") from cause


def _next_object(document: str, at: int) -> int:
    found = re.compile(r"[\s,]*(?=\{)").match(document, at)
    return found.end() if found else -1


def _posts_in_script(document: str) -> list[Any]:
    posts: list[Any] = []
    decoder, at = json.JSONDecoder(), 0
    for _ in range(_MOST_VALUES):
        found = _VALUE.search(document, at)
        if not found:
            break
        at = found.end()
        try:
            value, at = decoder.raw_decode(document, at)
        except (ValueError, RecursionError):
            continue
        posts += [one for one in (value if isinstance(value, list) else [value]) if is_post(one)]
    if not posts:
        raise ParseError(
            "The answer is a script without WordPress posts. Look for the address of the site's feed."
        )
    return posts
