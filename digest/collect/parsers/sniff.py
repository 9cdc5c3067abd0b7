"""What came back: the kind of a document, told by its first characters and never by its address."""

import re

from digest.collect.items import Kind, ParseError
from digest.collect.parsers.xml import root_at

_ROOT = re.compile(r"<(?:[A-Za-z_][\w.-]{0,40}:)?([A-Za-z_][\w.-]{0,40})(?=[\s/>])")
_ROOTS = {
    "rss": Kind.RSS,
    "rdf": Kind.RDF,
    "feed": Kind.ATOM,
    "opml": Kind.OPML,
    "urlset": Kind.SITEMAP,
    "sitemapindex": Kind.SITEMAP,
    "html": Kind.PAGE,
}
_LATE_ROOT = re.compile(
    r"<(rss|(?:\w+:)?RDF|feed|opml|urlset|sitemapindex)\s[^<>]*(?:version|xmlns)[^<>]*>", re.IGNORECASE
)
_HTML = re.compile(
    r"<(?:!doctype\s+html|html|head|body|meta|title|article|main|div|p|h1|section|a)\b", re.IGNORECASE
)
_HEAD = 8_000  # characters; a root element comes earlier, a feed after a server's warnings too


def sniff(text: str) -> Kind | None:
    """Tell a document's kind; None means JSON or a script around it, which `jsonfeed` and `wordpress` look into.

    Raises:
        ParseError: the document is empty, binary, or XML that is no feed.
    """
    start = text.lstrip("\ufeff \t\r\n\0")
    if not start:
        raise ParseError(
            "The answer is empty. Open the address in a browser, and check that it is the feed's."
        )
    if start[:15].upper() == "BEGIN:VCALENDAR":
        return Kind.ICALENDAR
    if start[0] in "{[" or _is_script(start):
        return None
    if start.startswith("<"):
        return _by_markup(start)
    if found := _LATE_ROOT.search(start[:_HEAD]):  # a server's warning printed before the feed
        return _kind_of(found[1])
    if _HTML.search(start[:_HEAD]):
        return Kind.PAGE
    _refuse_binary(start)
    return Kind.PAGE


def feed_start(text: str) -> str:
    """Drop what stands before a feed's XML: blank lines, and what a server printed in front of it."""
    text = text.lstrip("\ufeff \t\r\n\0")
    if text.startswith("<?xml") or (not text.startswith("<") and (at := text.find("<?xml", 0, _HEAD)) >= 0):
        return text if text.startswith("<?xml") else text[at:]
    root = _LATE_ROOT.search(text[:_HEAD])
    return text[root.start() :] if root and not text.startswith("<") else text


def _by_markup(text: str) -> Kind:
    root = _ROOT.match(text, root_at(text))
    if root and (kind := _ROOTS.get(root[1].lower())):
        return kind
    if found := _LATE_ROOT.search(text[:_HEAD]):
        return _kind_of(found[1])
    if _HTML.search(text[:_HEAD]):
        return Kind.PAGE
    named = f"<{root[1]}>" if root else "no element that closes"
    raise ParseError(
        f"The answer is XML or HTML of an unknown kind ({named}), no feed, calendar or page. Look for the feed's address."
    )


def _kind_of(root: str) -> Kind:
    return _ROOTS[root.lower().rpartition(":")[2]]


def _is_script(text: str) -> bool:
    """Tell JSONP (`/**/callback([…])`, what WordPress gives for `_jsonp=`) and data in a script from plain text."""
    return bool(
        re.match(
            r"(?:/\*.*?\*/\s*)?(?:(?:var|let|const|window\.)\s*)?[\w.$]{1,80}\s*(?:=|\()\s*[\[{]",
            text[:_HEAD],
            re.DOTALL,
        )
    )


def _refuse_binary(text: str) -> None:
    head = text[:_HEAD]
    odd = sum(1 for c in head if (c < " " and c not in "\t\n\r\f") or c == "\ufffd" or "\x7f" <= c <= "\x9f")
    if odd * 50 > len(head) or head.startswith(("%PDF", "PK\x03\x04")):
        raise ParseError(
            "The answer is no text (a picture, an archive or a PDF?). Give the address of a feed or a page."
        )
