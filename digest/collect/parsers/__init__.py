"""Reading what came back from a source: the kind is told by looking, the items come out clean."""

from datetime import datetime

from digest.collect.documents.parsed_document import DocumentKind, ParsedDocument, ParseError
from digest.collect.parsers.feed import parse_feed
from digest.collect.parsers.ical import parse_calendar
from digest.collect.parsers.json_document import parse_json
from digest.collect.parsers.markup.charset import decode_document
from digest.collect.parsers.markup.kind_detection import detect_kind
from digest.collect.parsers.opml import parse_opml
from digest.collect.parsers.page import parse_page
from digest.collect.parsers.raw_item import ParseContext
from digest.collect.parsers.sitemap import parse_sitemap
from digest.collect.texts.text_cleanup import shorten_references

MAX_DOCUMENT_BYTES = 40_000_000  # the fetcher's own limit is lower; this one holds for files too

_PARSERS = {
    DocumentKind.ICALENDAR: parse_calendar,
    DocumentKind.OPML: parse_opml,
    DocumentKind.SITEMAP: parse_sitemap,
    DocumentKind.PAGE: parse_page,
    None: parse_json,
}


def parse_document(
    body: bytes, *, url: str, now: datetime, content_type: str | None = None, charset: str | None = None
) -> ParsedDocument:
    """Read one document.

    It is RSS, RDF, Atom, JSON Feed, WordPress posts, iCalendar, OPML, a news sitemap, a page, or the catalog of known
    exploited vulnerabilities. The kind is told by the bytes, never by the address or the declared type. An item that can't be taken in
    is in `rejected` with its place and reason, and the others go on.

    Args:
        body: the document, decompressed.
        url: where it came from, http or https; relative links are relative to it.
        now: the present, UTC, against which dates are doubted.
        content_type: the whole header, used for its charset only.
        charset: the charset that the HTTP header named; it counts where the document declares none.

    Raises:
        ParseError: the document can't be read at all; nothing else is raised.
    """
    if len(body) > MAX_DOCUMENT_BYTES:
        raise ParseError(f"The answer has {len(body):,} bytes, more than {MAX_DOCUMENT_BYTES:,}. Give a shorter feed.")
    text = shorten_references(decode_document(body, charset, content_type))
    kind = detect_kind(text)
    context = ParseContext(url, now)
    if kind in {DocumentKind.RSS, DocumentKind.RDF, DocumentKind.ATOM}:
        return parse_feed(text, kind, context)
    return _PARSERS[kind](text, context)
