"""Detecting a document's kind from its first characters, never from its URL."""

import re

from digest.collect.documents.parsed_document import DocumentKind, ParseError
from digest.collect.parsers.markup.xml_repair import find_root_offset

_ROOT_ELEMENT = re.compile(r"<(?:[A-Za-z_][\w.-]{0,40}:)?([A-Za-z_][\w.-]{0,40})(?=[\s/>])")
_ROOT_KINDS = {root: kind for kind in DocumentKind for root in kind.roots}
_LATE_ROOT = re.compile(
    rf"<((?:\w+:)?(?:{'|'.join(sorted(_ROOT_KINDS.keys() - {'html', 'channel'}))}))\s[^<>]*(?:version|xmlns)[^<>]*>",
    re.IGNORECASE,
)
# RDF isn't included, because pages use it for licenses and trackbacks.
_WRAPPED_FEED = re.compile(
    r"<(feed)\s[^<>]*xmlns\s*=\s*[\"']http://(?:www\.w3\.org/2005/Atom|purl\.org/atom/ns#)[^<>]*>"
    r"|<(rss)\s[^<>]*version\s*=[^<>]*>",
    re.IGNORECASE,
)
_HTML_TAG = re.compile(
    r"<(?:!doctype\s+html|html|head|body|meta|title|article|main|div|p|h1|section|a)\b", re.IGNORECASE
)
# Number of characters in which a root element must occur, even if a server's warnings precede a feed.
_HEAD_CHARACTERS = 8_000


def detect_kind(text: str) -> DocumentKind | None:
    """Return a document's kind.

    Return None for JSON, or a script containing JSON, because its kind depends on the value.

    Raises:
        ParseError: the document is empty, binary, or XML that isn't a feed.
    """
    start = text.lstrip("\ufeff \t\r\n\0")
    if not start:
        raise ParseError("The response is empty. Open the URL in a browser and check that it's the feed.")
    for kind in DocumentKind:
        if kind.opening and start[: len(kind.opening)].upper() == kind.opening:
            return kind
    if start[0] in "{[" or _is_script(start):
        return None
    if start.startswith("<"):
        return _kind_from_markup(start)
    if match := _LATE_ROOT.search(start[:_HEAD_CHARACTERS]):  # a server's warning precedes the feed
        return _kind_from_root(match[1])
    if _HTML_TAG.search(start[:_HEAD_CHARACTERS]):
        return DocumentKind.PAGE
    _refuse_binary(start)
    return DocumentKind.PAGE


def strip_feed_preamble(text: str) -> str:
    """Return a feed's XML without leading blank lines, server messages, or a surrounding HTML page."""
    text = text.lstrip("\ufeff \t\r\n\0")
    declaration = text.find("<?xml", 0, _HEAD_CHARACTERS)
    if declaration == 0 or (declaration > 0 and not text.startswith("<")):
        return text[declaration:]
    if wrapped := _find_wrapped_feed(text):
        closing = f"</{wrapped[1] or wrapped[2]}>"
        return text[wrapped.start() : text.rindex(closing)] + closing
    root = _LATE_ROOT.search(text[:_HEAD_CHARACTERS])
    return text[root.start() :] if root and not text.startswith("<") else text


def _find_wrapped_feed(text: str) -> re.Match[str] | None:
    """Return the match for a feed that a template or proxy has wrapped in an HTML page, or None."""
    root = _ROOT_ELEMENT.match(text, find_root_offset(text))
    if not root or root[1].lower() != "html":
        return None
    match = _WRAPPED_FEED.search(text[:_HEAD_CHARACTERS])
    if not match or f"</{match[1] or match[2]}>" not in text[match.end() :]:
        return None
    before = text[: match.start()].lower()
    is_comment = before.rfind("<!--") > before.rfind("-->")
    is_script = before.rfind("<script") > before.rfind("</script")
    return None if is_comment or is_script else match


def _kind_from_markup(text: str) -> DocumentKind:
    if wrapped := _find_wrapped_feed(text):
        return _kind_from_root(wrapped[1] or wrapped[2])
    root = _ROOT_ELEMENT.match(text, find_root_offset(text))
    if root and (kind := _ROOT_KINDS.get(root[1].lower())):
        return kind
    if match := _LATE_ROOT.search(text[:_HEAD_CHARACTERS]):
        return _kind_from_root(match[1])
    if _HTML_TAG.search(text[:_HEAD_CHARACTERS]):
        return DocumentKind.PAGE
    root_name = f"<{root[1]}>" if root else "no root element"
    raise ParseError(
        f"The response is XML or HTML of an unknown type ({root_name}), not a feed, calendar, or page. Find "
        "the feed's URL."
    )


def _kind_from_root(root: str) -> DocumentKind:
    return _ROOT_KINDS[root.lower().rpartition(":")[2]]


def _is_script(text: str) -> bool:
    """Return True if a text is JSONP or data in a script.

    JSONP is `/**/callback([…])`, for example from WordPress's `_jsonp=`.
    """
    opening = r"(?s)(?:/\*.*?\*/\s*)?(?:(?:var|let|const|window\.)\s*)?[\w.$]{1,80}\s*(?:=|\()\s*[\[{]"
    return re.match(opening, text[:_HEAD_CHARACTERS]) is not None


def _refuse_binary(text: str) -> None:
    head = text[:_HEAD_CHARACTERS]
    binary_count = re.findall("[\x00-\x08\x0b\x0e-\x1f\ufffd\x7f-\x9f]", head)
    if len(binary_count) * 50 > len(head) or head.startswith(("%PDF", "PK\x03\x04")):
        raise ParseError(
            "The response isn't text (it may be an image, an archive, or a PDF). Use the URL of a feed or a page."
        )
