"""Reading what came back from a source: the kind is told by looking, the items come out clean."""

from datetime import datetime

from digest.collect.items import Kind, ParseError, Reading
from digest.collect.parsers.calendar import read_calendar
from digest.collect.parsers.decoding import decode
from digest.collect.parsers.feed import read_feed
from digest.collect.parsers.found import Place
from digest.collect.parsers.json import read_json
from digest.collect.parsers.opml import read_opml
from digest.collect.parsers.page import read_page
from digest.collect.parsers.sitemap import read_sitemap
from digest.collect.parsers.sniff import sniff

MOST_BYTES = 40_000_000  # the fetcher's own limit is lower; this one holds for files too

_READERS = {
    Kind.ICALENDAR: read_calendar,
    Kind.OPML: read_opml,
    Kind.SITEMAP: read_sitemap,
    Kind.PAGE: read_page,
    None: read_json,
}


def read(
    body: bytes, *, url: str, now: datetime, content_type: str | None = None, charset: str | None = None
) -> Reading:
    """Read one document: RSS, RDF, Atom, JSON Feed, WordPress posts, iCalendar, OPML, a news sitemap or a page.

    The kind is told by the bytes, never by the address or the declared type. An item that can't be taken in
    is in `rejected` with its place and reason, and the others go on.

    Args:
        body: the document, decompressed.
        url: where it came from, http or https; relative links are relative to it.
        now: the present, UTC, against which dates are doubted.
        content_type: the whole header, used for its charset only.
        charset: the charset that the transport named; it counts where the document declares none.

    Raises:
        ParseError: the document can't be read at all; nothing else is raised.
    """
    if len(body) > MOST_BYTES:
        raise ParseError(
            f"The answer has {len(body):,} bytes, more than {MOST_BYTES:,}. Give a shorter feed."
        )
    text = decode(body, charset, content_type)
    kind = sniff(text)
    where = Place(url, now)
    if kind in {Kind.RSS, Kind.RDF, Kind.ATOM}:
        return read_feed(text, kind, where)
    return _READERS[kind](text, where)
