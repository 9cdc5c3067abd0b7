"""What an edition says, ready for the templates: no decision is left to them but loops and ifs.

It is stored as JSON in `Edition.content`, is what an editor changes, and is all that rendering reads.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, NamedTuple

from digest.collect.codec.encoded_image import FocusPoint
from digest.edition.content.placeholders import SlotPositions, SlottedText
from digest.select.selection_types import SummaryOrigin
from digest.type_adapters import type_adapter

BlockKind = Literal["sponsor", "opportunity", "correction"]
SPONSOR_BLOCK_ID = "sponsor"  # of the block that the settings hold
CalendarDay = date  # for the class that has a field `date`
# Characters that a list of mails shows: on a desktop, and of the preheader on a phone too, in two lines.
MAX_SUBJECT_LENGTH, MAX_PREHEADER_LENGTH = 60, 90
MAX_OPENING_LENGTH = 90  # characters of the intro in an email: two lines on a phone
PHONE_SUBJECT_LENGTH = 40  # about; from 33 in Gmail on Android to 48 in Mail on an iPhone


@dataclass(frozen=True, slots=True)
class EditionImage:
    """A picture of ours: `hash` names it under `/media/`; width and height in CSS pixels as shown at most.

    `focus` is the point that an editor chose, which every further crop of it shows, too; None where nobody chose one.
    """

    hash: str
    width: int
    height: int
    alt: str
    credit: str = ""
    focus: FocusPoint | None = None


@dataclass(frozen=True, slots=True)
class ImageCrops:
    """The cuts of one article's picture, made for the lead's and a row's place."""

    lead: EditionImage
    thumb: EditionImage


@dataclass(frozen=True, slots=True)
class EditionLink:
    """A named link, with the quiet words after it (a date, "CISA, Nov 17").

    Where `text` names a publisher, `headline` is what it wrote above its report, and `is_official` says that it is an authority.
    """

    text: str
    url: str
    note: str = ""
    headline: str = ""
    is_official: bool = False


@dataclass(frozen=True, slots=True)
class EarlierAppearance:
    """Where a story that goes on stood before, and a sentence on what is new since."""

    edition: str  # 2026-W46
    number: int
    headline: str  # what it was called there
    news: str


@dataclass(frozen=True, slots=True)
class EntryDate:
    """When an event begins, or by when a call is to be answered."""

    kind: Literal["event", "deadline"]
    day: date  # of its own place's calendar
    text: str  # "Monday, November 30, 5 p.m. ET"
    label: str  # "Event", "Deadline", "Applications due"
    moment: datetime | None = None  # UTC; None where the day is all that is known
    end: datetime | None = None  # UTC; of an event with hours
    last_day: date | None = None  # of an event of several whole days


@dataclass(frozen=True, slots=True)
class SectionEntry:
    """One entry of a section. Which fields are used depends on the section's kind; none is HTML."""

    headline: str
    url: str  # empty: a story of our own that has no page
    kicker: str = ""  # the topic
    summary: str = ""
    summary_origin: SummaryOrigin | None = (
        None  # whose words the summary is; None where it has none, or nobody noted it
    )
    source: str = ""  # "Read at SOURCE"
    credit: str = ""  # whose news it is, when not the source's own ("INTERPOL")
    date: str = ""  # "Nov 18"; with its year if `is_older`
    is_older: bool = False  # dated before the edition's week
    note: str = ""  # an editor's, under the story
    why: str = ""  # "seven sources carried it…"
    why_is_written: bool = False  # by an editor, in place of what the score says
    also: tuple[EditionLink, ...] = ()  # who else reported it, all of them; the mail names the first few
    related: tuple[EditionLink, ...] = ()
    picture: EditionImage | None = None
    when: EntryDate | None = None  # events and opportunities
    due: EntryDate | None = None  # a deadline that its texts state, where `when` isn't one or is later
    details: tuple[str, ...] = ()  # events: place, price; products: maker
    since: EarlierAppearance | None = None  # of a story that an earlier edition had

    @property
    def has_other_credit(self) -> bool:
        """Whether the news is another's than the source's own."""
        return bool(self.credit) and self.credit.casefold() != self.source.casefold()

    @property
    def source_and_date(self) -> str:
        """Where and when it was published, as far as is known: "CISA, Nov 18"."""
        return ", ".join(filter(None, (self.source, self.date)))

    @property
    def summary_lender(self) -> str:
        """Whose words the summary is, where that is another publisher than the one that the entry links to; else empty."""
        origin = self.summary_origin if self.summary else None
        return origin.publisher if origin and origin.lent_to else ""


@dataclass(frozen=True, slots=True)
class RankedLine:
    """A story of a ranking that is in another section: its place in the ranking, from 1, and that section's title."""

    rank: int
    headline: str
    url: str
    section: str


@dataclass(frozen=True, slots=True)
class EditionSection:
    """One block of the edition; a section without entries is not made."""

    key: str
    kind: str  # a key of `edition.kinds.SECTION_KINDS`
    title: str
    note: str
    entries: tuple[SectionEntry, ...]
    ranked_elsewhere: tuple[RankedLine, ...] = ()  # of a ranking

    @property
    def ranking(self) -> list[SectionEntry | RankedLine]:
        """The entries and the stories in other sections, in the order of the ranking."""
        ranked: list[SectionEntry | RankedLine] = list(self.entries)
        for line in self.ranked_elsewhere:
            ranked.insert(line.rank - 1, line)
        return ranked


@dataclass(frozen=True, slots=True)
class LabeledBlock:
    """A block that is no news: paid for, an offer, or what an earlier edition had wrong. It runs in every edition released from the first day to the last."""

    id: str
    kind: BlockKind
    headline: str
    name: str = ""  # who pays, or who offers
    text: str = ""
    url: str = ""
    after: str = ""  # the key of the section that it stands after; empty, or one that is not there: the first
    first_day: date | None = None  # None: from the start
    last_day: date | None = None  # None: until it is taken out
    picture: EditionImage | None = None

    def runs_on(self, day: date) -> bool:
        """Return whether it runs in an edition that is released on a day of the publication's calendar."""
        return (self.first_day or day) <= day <= (self.last_day or day)

    def is_over(self, day: date) -> bool:
        """Return whether it runs neither on a day nor later."""
        return self.last_day is not None and self.last_day < day


class BlockWithAuthors(NamedTuple):
    """A block that an edition starts with, and who wrote it, as the audit log names them; no one is known for the settings' block."""

    block: LabeledBlock
    authors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EditionContent:
    """A whole edition."""

    name: str  # 2026-W47
    number: int
    subject: str
    preheader: str
    date: str  # "Friday, November 20, 2026"
    minutes: int  # reading time
    intro: str
    editor: str
    sections: tuple[EditionSection, ...]
    blocks: tuple[LabeledBlock, ...] = ()
    released_on: CalendarDay | None = None  # the day in `date`; None in what an earlier version stored

    @property
    def linked_articles(self) -> dict[str, str]:
        """See `map_article_headlines`."""
        return map_article_headlines(self.sections)

    def as_json(self) -> dict[str, Any]:
        """Return the plain form that is stored."""
        plain: dict[str, Any] = type_adapter(EditionContent).dump_python(self, mode="json")
        return plain

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "EditionContent":
        """Read the plain form back; the inverse of `as_json`, also after a trip through JSON."""
        return type_adapter(EditionContent).validate_python(data)


def parse_sections(data: dict[str, Any]) -> tuple[EditionSection, ...]:
    """Read the sections alone of an edition's plain form; none where it has none."""
    return type_adapter(tuple[EditionSection, ...]).validate_python(data.get("sections", ()))


@dataclass(frozen=True, slots=True)
class RenderedFragment:
    """A rendered fragment: `kind` is html, text, web, page, short, or short-text; `body` is its text without the slots.

    `slots` is None in a fragment that a version before 0037 stored: its placeholders were markers in the text, so it's never sent.
    """

    kind: str
    name: str
    body: str
    slots: SlotPositions | None = ()

    @property
    def slotted(self) -> SlottedText:
        """The text with its slots."""
        return SlottedText(self.body, self.slots or ())


def truncate_text(text: str, max_length: int) -> str:
    """Shorten to `max_length` characters at a word's end, with an ellipsis where anything was cut."""
    if len(text) <= max_length:
        return text
    head = text[: max_length - 1]
    return (head.rpartition(" ")[0] or head).rstrip(" ,;:.-\u2013\u2014") + "…"


def map_article_headlines(sections: Iterable[EditionSection]) -> dict[str, str]:
    """Return the URL of every article that sections link, with its headline; of one below another, with that one's too."""
    articles: dict[str, str] = {}
    for entry in (entry for section in sections for entry in section.entries):
        links = [(entry.url, entry.headline)]
        links += [(link.url, f"{link.text}, under {entry.headline}") for link in (*entry.also, *entry.related)]
        for url, headline in links:
            if url:
                articles.setdefault(url, headline)
    return articles
