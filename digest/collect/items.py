"""What a source said, cleaned: the values that every parser gives and that `articles` stores."""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum


class Kind(StrEnum):
    """What came back from a source, told by looking at it."""

    RSS = "rss"
    RDF = "rdf"
    ATOM = "atom"
    JSON_FEED = "json-feed"
    WORDPRESS = "wordpress"
    ICALENDAR = "icalendar"
    PAGE = "page"
    OPML = "opml"
    SITEMAP = "sitemap"


class DateBasis(StrEnum):
    """Which date counts for an article, and why."""

    PUBLISHED = "published"
    UPDATED = "updated"  # no publication date, but a date of change
    NO_ZONE = "published, zone assumed UTC"
    PAGE = "date found on the page"
    FOUND_MISSING = "first seen: no date given"
    FOUND_WRONG = "first seen: date unreadable"
    FOUND_FUTURE = "first seen: date in the future"
    FOUND_ANCIENT = "first seen: date before 1990"


class ParseError(Exception):
    """The document cannot be read as what it seems to be; the message says what, where and what to do."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item as a source published it; texts are plain, clean and without mark-up.

    `guid` is the publisher's own id, if it gave one. `link` is absolute as published, `url` canonical.
    `published` and `updated` are UTC, None where missing or refused; `basis` then says why.
    """

    guid: str | None
    url: str
    link: str
    title: str
    summary: str = ""
    author: str | None = None  # a name; addresses are dropped
    credit: str | None = None  # "Source: INTERPOL" gives INTERPOL
    categories: tuple[str, ...] = ()
    language: str | None = None
    image_url: str | None = None
    image_alt: str | None = None
    published: datetime | None = None
    updated: datetime | None = None
    basis: DateBasis = DateBasis.FOUND_MISSING
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    all_day: bool = False
    place: str | None = None
    closes_on: date | None = None
    featured: bool = False


@dataclass(frozen=True, slots=True)
class Rejected:
    """One item that could not be taken in, by its place in the document (from 1) and the reason."""

    place: int
    reason: str


@dataclass(frozen=True, slots=True)
class Reading:
    """All that one document held. `found` counts the items seen, taken or not.

    `next_url` is the next page of a paged answer; `feeds` are other feeds that a page or OPML names.
    `every` is the least time between visits that the publisher asks for, in seconds.
    """

    kind: Kind
    items: tuple[Item, ...]
    rejected: tuple[Rejected, ...] = ()
    title: str = ""
    language: str | None = None
    every: int | None = None
    next_url: str | None = None
    feeds: tuple["Feed", ...] = ()

    @property
    def found(self) -> int:
        """How many items the document held."""
        return len(self.items) + len(self.rejected)


@dataclass(frozen=True, slots=True)
class Feed:
    """A feed that a page, or an OPML list, points to."""

    url: str
    title: str = ""
