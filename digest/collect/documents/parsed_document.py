"""What a source said, cleaned: the values that every parser gives and that `articles` stores, and their JSON.

A document is a JSON head, and one line for each item: reading a long one never holds the interpreter lock long.
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
"""An address of the web, or nothing; it's looked at where a child hands it over."""


class DocumentKind(StrEnum):
    """What came back from a source, told by looking at it.

    This is the one declaration of a kind: its value, how people call it, the module of `digest.collect.parsers` that reads it, and what
    tells it: the names of its root elements, or how its text opens. A kind without either is JSON: the first whose module
    accepts the value.
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
    )  # channel: of the Channel Definition Format, or RSS that lost its outer element
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
        """Make a member of its declaration."""
        kind = str.__new__(cls, value)
        kind._value_ = value
        kind.label, kind.parser = label, parser
        kind.roots, kind.opening = tuple(roots.split()), opening
        return kind

    @property
    def is_json(self) -> bool:
        """Whether the kind is told by its value, not by its text."""
        return not self.roots and not self.opening


class DateBasis(StrEnum):
    """Which date counts for an article, and why."""

    PUBLISHED = "published"
    UPDATED = "updated"  # no publication date, but a date of change
    ZONE_ASSUMED = "published, zone assumed UTC"
    PAGE = "date found on the page"
    FIRST_SEEN_NO_DATE = "first seen: no date given"
    FIRST_SEEN_UNREADABLE = "first seen: date unreadable"
    FIRST_SEEN_FUTURE = "first seen: date in the future"
    FIRST_SEEN_ANCIENT = "first seen: date before 1990"

    @property
    def is_first_seen(self) -> bool:
        """Whether only the moment of finding counts, for want of a usable date."""
        return self.startswith("first seen")


class SummaryBasis(StrEnum):
    """Whose words an article's summary is. Unknown is one that was stored by a version that did not note it."""

    UNKNOWN = ""
    DESCRIPTION = "description"  # the publisher's own description of the article
    OPENING = "opening"  # the first sentences of the article
    EDITOR = "editor"  # an editor's, of an article that was added by hand


def noon_utc(day: date) -> datetime:
    """Return noon UTC of a day: how a date without a time is kept."""
    return datetime.combine(day, time(12), UTC)


class ParseError(ApplicationError):
    """The document cannot be read as what it seems to be; the message says what, where and what to do."""


@dataclass(frozen=True, slots=True)
class ParsedItem:
    """One item as a source published it; texts are plain, clean and without mark-up.

    `guid` is the publisher's own id, if it gave one. `link` is absolute as published, `url` canonical.
    `published` and `updated` are UTC, None where missing or refused; `date_basis` then says why.
    """

    guid: str | None
    url: WebAddress
    link: WebAddress
    title: str
    summary: str = ""
    summary_basis: SummaryBasis = SummaryBasis.UNKNOWN
    author: str | None = None  # a name; addresses are dropped
    credit: str | None = None  # "Source: INTERPOL" gives INTERPOL
    publisher: str = ""  # whose article it is, in a feed that links to many sites; empty in any other
    categories: tuple[str, ...] = ()
    language: str | None = None
    image_url: WebAddress | None = None
    image_alt: str | None = None
    image_credit: str | None = None  # whom the item credits with it; several are separated by "; "
    published: UtcMoment | None = None
    updated: UtcMoment | None = None
    date_basis: DateBasis = DateBasis.FIRST_SEEN_NO_DATE
    starts_at: UtcMoment | None = None
    ends_at: UtcMoment | None = None
    all_day: bool = False
    announced_at: UtcMoment | None = None  # when an event starts and ends by its text, where the source gives no times
    announced_until: UtcMoment | None = None
    event_zone: str = ""  # the IANA name of an event's zone, where it is known
    place: str | None = None
    deadline: Deadline | None = None
    featured: bool = False


NOT_PUBLIC = "not public: "  # begins the reason of an item that visitors can't read
SIGN_IN, SIGN_IN_STATUS = "visitors must sign in", 401  # not 403: publishers answer that to programs alone


@dataclass(frozen=True, slots=True)
class RejectedEntry:
    """One item that could not be taken in, by its place in the document (from 1) and the reason.

    `withheld_url` is the canonical URL of an item that the document says isn't public; empty for any other.
    """

    place: int
    reason: str
    withheld_url: str = ""


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """All that one document held. `item_count` counts the items seen, taken or not.

    `site` is what a page calls the site that it belongs to. `next_url` is the next page of a paged answer; `feeds` are other feeds
    that a page or OPML names. `refresh_seconds` is the least time between visits that the publisher asks for, in seconds.
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
        """How many items the document held."""
        return len(self.items) + len(self.rejected)


@dataclass(frozen=True, slots=True)
class FeedLink:
    """A feed that a page, or an OPML list, points to."""

    url: str
    title: str = ""


def encode_document(document: ParsedDocument) -> tuple[dict[str, Any], bytes]:
    """Give a document's head, and the lines of its items."""
    head = type_adapter(ParsedDocument).dump_python(document, mode="json", exclude={"items"})
    dump_json = type_adapter(ParsedItem).dump_json
    lines = (dump_json(item, exclude_defaults=True) for item in document.items)
    return head, b"\n".join(lines)


def decode_document(head: dict[str, Any], body: bytes) -> ParsedDocument:
    """Give the document back, with every type checked: what wrote it may have been taken over by what it read.

    Raises:
        ValueError: the JSON is none of a document.
    """
    validate_json = type_adapter(ParsedItem).validate_json
    items = tuple(validate_json(line, strict=True) for line in io.BytesIO(body))
    return replace(type_adapter(ParsedDocument).validate_python({**head, "items": ()}), items=items)
