"""The content of an edition, ready for the templates, which need only loops and conditions.

It's stored as JSON in `Edition.content`, changed by editors, and the only input for rendering.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal, NamedTuple

from digest.collect.imaging.encoded_image import FocusPoint
from digest.edition.content.slotted_text import SlotPositions, SlottedText
from digest.select.selection_types import SummaryOrigin
from digest.type_adapters import type_adapter

BlockKind = Literal["sponsor", "opportunity", "correction"]
SPONSOR_BLOCK_ID = "sponsor"  # ID of the block in the settings
CalendarDay = date  # an alias for the class that has a field named `date`
# Number of characters visible in an email app's list on a desktop. A phone shows as much of the
# preheader, on two lines.
MAX_SUBJECT_LENGTH, MAX_PREHEADER_LENGTH = 60, 90
# Maximum number of characters of the intro in an email: two ordinary sentences, about six lines on a phone.
MAX_OPENING_LENGTH = 240
MAX_FOLDED_LENGTH = 90  # maximum number of characters of a longer intro in the web edition until it's opened
PHONE_SUBJECT_LENGTH = 40  # approximate; it ranges from 33 in Gmail on Android to 48 in Mail on an iPhone


@dataclass(frozen=True, slots=True)
class EditionImage:
    """A stored image.

    `hash` is its name under `/media/`. `width` and `height` are its largest display size in CSS
    pixels. `focus` is the point that an editor chose to keep in all crops, or None.
    """

    hash: str
    width: int
    height: int
    alt: str
    credit: str = ""
    focus: FocusPoint | None = None


@dataclass(frozen=True, slots=True)
class ImageCrops:
    """The crops of an article's image: a large one for a lead story and a small one for a list."""

    lead: EditionImage
    thumb: EditionImage


@dataclass(frozen=True, slots=True)
class EditionLink:
    """A link with its text and a note, such as a date or "CISA, Nov 17".

    If `text` is the name of a publisher, `headline` is the headline of its report, and
    `is_official` says whether the publisher is an authority.
    """

    text: str
    url: str
    note: str = ""
    headline: str = ""
    is_official: bool = False


@dataclass(frozen=True, slots=True)
class EarlierAppearance:
    """A continued story's place in an earlier edition, and a sentence about the news since then."""

    edition: str  # 2026-W46
    number: int
    headline: str  # in that edition
    news: str


@dataclass(frozen=True, slots=True)
class EntryDate:
    """The time of an event, or the deadline of a call."""

    kind: Literal["event", "deadline"]
    day: date  # in the calendar of the event's place
    text: str  # "Monday, November 30, 5 p.m. ET"
    label: str  # "Event", "Deadline", "Applications due"
    moment: datetime | None = None  # in UTC, or None if only the day is known
    end: datetime | None = None  # UTC; only for an event with hours
    last_day: date | None = None  # only for an event of several whole days


@dataclass(frozen=True, slots=True)
class SectionEntry:
    """An entry in a section. None of its fields are HTML.

    Which fields are used depends on the kind of section.
    """

    headline: str
    url: str  # empty if it's our own story without a page
    kicker: str = ""  # the topic
    summary: str = ""
    summary_origin: SummaryOrigin | None = None  # None if there's no summary or its origin wasn't recorded
    source: str = ""  # "Read at SOURCE"
    credit: str = ""  # publisher of the news, if it isn't the source ("INTERPOL")
    date: str = ""  # "Nov 18"; includes the year if `is_older`
    is_older: bool = False  # dated before the edition's week
    note: str = ""  # an editor's note under the story
    why: str = ""  # "seven sources carried it…"
    why_is_written: bool = False  # True if written by an editor rather than based on the score
    also: tuple[EditionLink, ...] = ()  # all other reports; emails show the first few
    related: tuple[EditionLink, ...] = ()
    picture: EditionImage | None = None
    when: EntryDate | None = None  # events and opportunities
    due: EntryDate | None = None  # a deadline in its texts, unless `when` is an earlier or equal deadline
    details: tuple[str, ...] = ()  # place and price of an event; maker of a product
    since: EarlierAppearance | None = None  # if it continues a story of an earlier edition

    @property
    def has_other_credit(self) -> bool:
        """True if the news is from a publisher other than the source."""
        return bool(self.credit) and self.credit.casefold() != self.source.casefold()

    @property
    def source_and_date(self) -> str:
        """The source and date, or whichever of them is known: "CISA, Nov 18"."""
        return ", ".join(filter(None, (self.source, self.date)))

    @property
    def summary_lender(self) -> str:
        """The publisher of the summary, or "" if it's the publisher of the linked article."""
        origin = self.summary_origin if self.summary else None
        return origin.publisher if origin and origin.lent_to else ""


@dataclass(frozen=True, slots=True)
class RankedLine:
    """A story in a ranking that appears in another section.

    `rank` counts from 1, and `section` is the title of the other section.
    """

    rank: int
    headline: str
    url: str
    section: str


@dataclass(frozen=True, slots=True)
class EditionSection:
    """A section of the edition. Sections without entries are omitted."""

    key: str
    kind: str  # a key of `edition.kinds.SECTION_KINDS`
    title: str
    note: str
    entries: tuple[SectionEntry, ...]
    ranked_elsewhere: tuple[RankedLine, ...] = ()  # for a ranking: stories that appear in other sections

    @property
    def ranking(self) -> list[SectionEntry | RankedLine]:
        """The entries and the stories in other sections, in order of rank."""
        ranked: list[SectionEntry | RankedLine] = list(self.entries)
        for line in self.ranked_elsewhere:
            ranked.insert(line.rank - 1, line)
        return ranked


@dataclass(frozen=True, slots=True)
class LabeledBlock:
    """A block that isn't news: a sponsor's, an opportunity, or a correction to an earlier edition.

    It runs in every edition released from the first to the last day.
    """

    id: str
    kind: BlockKind
    headline: str
    name: str = ""  # the sponsor, or the organization with the opportunity
    text: str = ""
    url: str = ""
    after: str = ""  # key of the section before it; if empty or missing from the edition, it's the first section
    first_day: date | None = None  # None if there's no start date
    last_day: date | None = None  # None if it runs until it's removed
    picture: EditionImage | None = None

    def runs_on(self, day: date) -> bool:
        """Return True if the block runs in an edition released on the given day in the publication's time zone."""
        return (self.first_day or day) <= day <= (self.last_day or day)

    def is_over(self, day: date) -> bool:
        """Return True if the block's last day is before a given day."""
        return self.last_day is not None and self.last_day < day


class BlockWithAuthors(NamedTuple):
    """A block that an edition starts with, and its authors as named in the audit log.

    The sponsor's block has no authors.
    """

    block: LabeledBlock
    authors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EditionContent:
    """The content of an edition that its templates show. None of it is HTML."""

    name: str  # 2026-W47
    number: int
    subject: str
    preheader: str
    date: str  # "Friday, November 20, 2026"
    minutes: int  # reading time in minutes
    intro: str
    editor: str
    sections: tuple[EditionSection, ...]
    blocks: tuple[LabeledBlock, ...] = ()
    released_on: CalendarDay = field(kw_only=True)  # the day shown in `date`

    @property
    def linked_articles(self) -> dict[str, str]:
        """The headlines of all linked articles, by URL, from `map_article_headlines`."""
        return map_article_headlines(self.sections)

    def as_json(self) -> dict[str, Any]:
        """Return the content as a JSON value for storage."""
        plain: dict[str, Any] = type_adapter(EditionContent).dump_python(self, mode="json")
        return plain

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "EditionContent":
        """Create the content from a JSON value returned by `as_json`."""
        return type_adapter(EditionContent).validate_python(data)


def parse_sections(data: dict[str, Any]) -> tuple[EditionSection, ...]:
    """Return the sections in an edition's JSON values, or () if there are none."""
    return type_adapter(tuple[EditionSection, ...]).validate_python(data.get("sections", ()))


@dataclass(frozen=True, slots=True)
class RenderedFragment:
    """A rendered fragment of an edition.

    `kind` is html, text, web, page, short, or short-text. `body` is the text without the slots.
    """

    kind: str
    name: str
    body: str
    slots: SlotPositions = ()

    @property
    def slotted(self) -> SlottedText:
        """The fragment's text with its slots."""
        return SlottedText(self.body, self.slots)


def truncate_text(text: str, max_length: int) -> str:
    """Truncate a text at a word boundary to at most `max_length` characters, including the ellipsis."""
    if len(text) <= max_length:
        return text
    head = text[: max_length - 1]
    return (head.rpartition(" ")[0] or head).rstrip(" ,;:.-\u2013\u2014") + "…"


def map_article_headlines(sections: Iterable[EditionSection]) -> dict[str, str]:
    """Return the headlines of all articles that sections link to, by URL.

    For a link under a story, it's the link's text followed by the story's headline.
    """
    articles: dict[str, str] = {}
    for entry in (entry for section in sections for entry in section.entries):
        links = [(entry.url, entry.headline)]
        links += [(link.url, f"{link.text}, under {entry.headline}") for link in (*entry.also, *entry.related)]
        for url, headline in links:
            if url:
                articles.setdefault(url, headline)
    return articles
