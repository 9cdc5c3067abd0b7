"""The cleaned content of a source's document, which all parsers return and `articles` stores, and its JSON form.

A document is a JSON head and one line per item, so reading a long one doesn't hold the interpreter lock for long.
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

    This is the only declaration of a kind: its value, its name for people, its module in `digest.collect.parsers`, and
    its markers: the names of its root elements, or the beginning of its text. A kind without markers is JSON; the first
    whose module accepts the value applies.
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
    )  # channel: from the Channel Definition Format, or RSS without its outer element
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
        """True if the kind is detected from its JSON value rather than its text."""
        return not self.roots and not self.opening


class DateBasis(StrEnum):
    """The origin of an article's date."""

    PUBLISHED = "published"
    UPDATED = "updated"  # no publication date, only a date of change
    ZONE_ASSUMED = "published, zone assumed UTC"
    PAGE = "date found on the page"
    FIRST_SEEN_NO_DATE = "first seen: no date given"
    FIRST_SEEN_UNREADABLE = "first seen: date unreadable"
    FIRST_SEEN_FUTURE = "first seen: date in the future"
    FIRST_SEEN_ANCIENT = "first seen: date before 1990"

    @property
    def is_first_seen(self) -> bool:
        """True if only the time of discovery is known because there's no usable date."""
        return self.startswith("first seen")


class SummaryBasis(StrEnum):
    """The origin of an article's summary; unknown if there's no summary."""

    UNKNOWN = ""
    DESCRIPTION = "description"  # the publisher's own description of the article
    OPENING = "opening"  # the first sentences of the article
    EDITOR = "editor"  # an editor's, for an article added by hand


def noon_utc(day: date) -> datetime:
    """Return noon UTC of a day, which is how dates without a time are stored."""
    return datetime.combine(day, time(12), UTC)


class ParseError(ApplicationError):
    """Raised when a document can't be parsed; the message says what's wrong, where, and what to do."""


@dataclass(frozen=True, slots=True)
class ParsedItem:
    """One item as its source published it; texts are clean and without markup.

    `guid` is the publisher's own ID, if any. `link` is absolute and as published, `url` canonical. `published` and
    `updated` are in UTC, or None if missing or rejected; `date_basis` has the reason.
    """

    guid: str | None
    url: WebAddress
    link: WebAddress
    title: str
    summary: str = ""
    summary_basis: SummaryBasis = SummaryBasis.UNKNOWN
    author: str | None = None  # a name; email addresses are removed
    credit: str | None = None  # "Source: INTERPOL" gives INTERPOL
    publisher: str = ""  # the item's publisher, in a feed that links to many sites; empty in others
    categories: tuple[str, ...] = ()
    language: str | None = None
    image_url: WebAddress | None = None
    image_alt: str | None = None
    image_credit: str | None = None  # the item's image credits; several are separated by "; "
    published: UtcMoment | None = None
    updated: UtcMoment | None = None
    date_basis: DateBasis = DateBasis.FIRST_SEEN_NO_DATE
    starts_at: UtcMoment | None = None
    ends_at: UtcMoment | None = None
    all_day: bool = False
    announced_at: UtcMoment | None = None  # start and end of an event from its text, if the source doesn't give times
    announced_until: UtcMoment | None = None
    event_zone: str = ""  # the IANA name of an event's time zone, if known
    place: str | None = None
    deadline: Deadline | None = None
    featured: bool = False


NOT_PUBLIC = "not public: "  # prefix of the reason for an item that visitors can't read
SIGN_IN, SIGN_IN_STATUS = "visitors must sign in", 401  # 403 may mean that only programs are rejected


@dataclass(frozen=True, slots=True)
class RejectedEntry:
    """A rejected item's position in the document (from 1), and the reason.

    `withheld_url` is the canonical URL of an item that the document says isn't public; empty for others.
    """

    place: int
    reason: str
    withheld_url: str = ""


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """The content of one document; `item_count` includes rejected items.

    `site` is a page's name for its site. `next_url` is the next page of a paged response; `feeds` are other feeds that
    a page or OPML lists. `refresh_seconds` is the time that the publisher asks to wait between visits.
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
        """The number of items in the document."""
        return len(self.items) + len(self.rejected)


@dataclass(frozen=True, slots=True)
class FeedLink:
    """A feed that a page or an OPML list links to."""

    url: str
    title: str = ""


def encode_document(document: ParsedDocument) -> tuple[dict[str, Any], bytes]:
    """Return a document as JSON: its fields without the items, and one line per item."""
    head = type_adapter(ParsedDocument).dump_python(document, mode="json", exclude={"items"})
    dump_json = type_adapter(ParsedItem).dump_json
    lines = (dump_json(item, exclude_defaults=True) for item in document.items)
    return head, b"\n".join(lines)


def decode_document(head: dict[str, Any], body: bytes) -> ParsedDocument:
    """Return the document that `encode_document` encoded, checking all types because its writer may be compromised.

    Raises:
        ValueError: the JSON isn't a document.
    """
    validate_json = type_adapter(ParsedItem).validate_json
    items = tuple(validate_json(line, strict=True) for line in io.BytesIO(body))
    return replace(type_adapter(ParsedDocument).validate_python({**head, "items": ()}), items=items)
