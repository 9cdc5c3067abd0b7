"""The cleaned content of a source's document, which all parsers return, and its JSON form.

A document is encoded as a JSON head followed by one line per item, so that reading a long one
doesn't hold the interpreter lock for long.
"""

import io
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AfterValidator, AwareDatetime, Field

from digest.collect.documents.deadlines import Deadline
from digest.type_adapters import type_adapter
from subscribers.errors import ApplicationError

UtcMoment = Annotated[AwareDatetime, AfterValidator(lambda moment: moment.astimezone(UTC))]
"""A moment in UTC."""

WebAddress = Annotated[str, Field(pattern=r"(?i)^(?:https?://|$)")]
"""An http or https URL, or an empty string; checked when a child process's answer is decoded."""


class DocumentKind(StrEnum):
    """The kind of a source's document, detected from its content.

    Each kind is declared only here: its value, its display name, its module in
    `digest.collect.parsers`, and its markers (the names of its root elements, or how its text
    begins). A kind without markers is JSON. The first one whose module accepts the value applies.
    """

    label: str
    parser: str
    roots: tuple[str, ...]
    opening: str

    RSS = (
        "rss",
        "RSS",
        "feed",
        "rss channel",
    )  # "channel" is from the Channel Definition Format, or RSS without its outer element
    RDF = "rdf", "RDF", "feed", "rdf"
    ATOM = "atom", "Atom", "feed", "feed"
    JSON_FEED = "json-feed", "JSON Feed", "json_feed"
    EXPLOITED_CATALOG = (
        "exploited-catalog",
        "CISA's catalog of known exploited vulnerabilities",
        "known_exploited_vulnerabilities",
    )
    FEDERAL_REGISTER = "federal-register", "the Federal Register's API", "federal_register"
    WORDPRESS = "wordpress", "WordPress REST", "wordpress"
    ICALENDAR = "icalendar", "iCalendar", "ical", "", "BEGIN:VCALENDAR"
    SITEMAP = "sitemap", "news sitemaps", "sitemap", "urlset sitemapindex"
    OPML = "opml", "lists of feeds (OPML)", "opml", "opml"
    PAGE = "page", "article pages", "page", "html"

    def __new__(
        cls,
        value: str,
        label: str,
        parser: str,
        roots: str = "",
        opening: str = "",
    ) -> Self:
        """Create a member from its declaration."""
        kind = str.__new__(cls, value)
        kind._value_ = value
        kind.label, kind.parser = label, parser
        kind.roots, kind.opening = tuple(roots.split()), opening
        return kind

    @property
    def is_json(self) -> bool:
        """True if documents of this kind are detected from their JSON value rather than their text."""
        return not self.roots and not self.opening


class DateBasis(StrEnum):
    """The origin of an article's date."""

    PUBLISHED = "published"
    UPDATED = "updated"  # there's only a date of change
    ZONE_ASSUMED = "published, zone assumed UTC"
    PAGE = "date found on the page"
    FIRST_SEEN_NO_DATE = "first seen: no date given"
    FIRST_SEEN_UNREADABLE = "first seen: date unreadable"
    FIRST_SEEN_FUTURE = "first seen: date in the future"
    FIRST_SEEN_ANCIENT = "first seen: date before 1990"

    @property
    def is_first_seen(self) -> bool:
        """True if only the time of discovery is known, because there's no usable date."""
        return self.startswith("first seen")


class SummaryBasis(StrEnum):
    """The origin of an article's summary. UNKNOWN is also used if there's no summary."""

    UNKNOWN = ""
    DESCRIPTION = "description"  # the publisher's own description of the article
    OPENING = "opening"  # the first sentences of the article
    EDITOR = "editor"  # written by an editor, for an article added by hand


def noon_utc(day: date) -> datetime:
    """Return noon UTC on the given day, the form in which dates without a time are stored."""
    return datetime.combine(day, time(12), UTC)


class ParseError(ApplicationError):
    """Raised when a document can't be parsed.

    The message says what's wrong, where, and what to do.
    """


@dataclass(frozen=True, slots=True)
class ParsedItem:
    """An item as its source published it. Texts are clean and free of markup.

    `guid` is the publisher's own ID, if any. `link` is absolute and as published, while `url` is
    canonical. `published` and `updated` are in UTC, or None if missing or rejected, in which case
    `date_basis` gives the reason.
    """

    guid: str | None
    url: WebAddress
    link: WebAddress
    title: str
    summary: str = ""
    summary_basis: SummaryBasis = SummaryBasis.UNKNOWN
    author: str | None = None  # a name, without email addresses
    credit: str | None = None  # "INTERPOL", from "Source: INTERPOL"
    publisher: str = ""  # the item's own publisher, in a feed that links to many sites, or empty in other feeds
    categories: tuple[str, ...] = ()
    language: str | None = None
    image_url: WebAddress | None = None
    image_alt: str | None = None
    image_credit: str | None = None  # the image's credits, separated by "; "
    published: UtcMoment | None = None
    updated: UtcMoment | None = None
    date_basis: DateBasis = DateBasis.FIRST_SEEN_NO_DATE
    starts_at: UtcMoment | None = None
    ends_at: UtcMoment | None = None
    all_day: bool = False
    # Start and end of an event according to its text, if the source gives no times.
    announced_at: UtcMoment | None = None
    announced_until: UtcMoment | None = None
    event_zone: str = ""  # IANA name of the event's time zone, if known
    place: str | None = None
    deadline: Deadline | None = None
    featured: bool = False


NOT_PUBLIC = "not public: "  # prefix of the rejection reason for an item that visitors can't read
SIGN_IN, SIGN_IN_STATUS = "visitors must sign in", 401  # 403 may also mean that only programs are rejected


@dataclass(frozen=True, slots=True)
class RejectedEntry:
    """The position of a rejected item in the document, counted from 1, and the reason.

    `withheld_url` is the item's canonical URL if the document says that it isn't public, and empty otherwise.
    """

    place: int
    reason: str
    withheld_url: str = ""


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """The content of a document.

    `site` is a page's name for its site. `next_url` is the next page of a paged response. `feeds`
    are other feeds that a page or OPML file lists. `refresh_seconds` is the time that the publisher
    asks clients to wait between visits.
    """

    kind: DocumentKind
    items: tuple[ParsedItem, ...]
    rejected: tuple[RejectedEntry, ...] = ()
    title: str = ""
    language: str | None = None
    refresh_seconds: int | None = None
    next_url: str | None = None
    feeds: tuple["FeedLink", ...] = ()
    site: str = ""

    @property
    def item_count(self) -> int:
        """The number of items in the document, including rejected ones."""
        return len(self.items) + len(self.rejected)


@dataclass(frozen=True, slots=True)
class FeedLink:
    """A link to a feed on a page or in an OPML file."""

    url: str
    title: str = ""


def encode_document(document: ParsedDocument) -> tuple[dict[str, Any], bytes]:
    """Encode a document as a JSON-serializable head and a body with one line of JSON per item."""
    head = type_adapter(ParsedDocument).dump_python(document, mode="json", exclude={"items"})
    dump_json = type_adapter(ParsedItem).dump_json
    lines = (dump_json(item, exclude_defaults=True) for item in document.items)
    return head, b"\n".join(lines)


def decode_document(head: dict[str, Any], body: bytes) -> ParsedDocument:
    """Decode a document encoded by `encode_document`.

    All types are checked, because the process that encoded it may be compromised.

    Raises:
        ValueError: the JSON isn't a document.
    """
    validate_json = type_adapter(ParsedItem).validate_json
    items = tuple(validate_json(line, strict=True) for line in io.BytesIO(body))
    return replace(type_adapter(ParsedDocument).validate_python({**head, "items": ()}), items=items)
