"""An edition as the desk shows it: pure, from the stored rows to values that a template only prints."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from digest.db import Edition, EditionState, Story
from digest.edition.content import Content, Entry, Section
from digest.edition.preflight import RULES, Finding, Level
from digest.settings import SectionSettings
from digest.web.words import host, many

# Limits that inboxes set; the counters beside the lines show them.
SUBJECT, PREHEADER, INTRO = 60, 90, 60


@dataclass(frozen=True, slots=True)
class Part:
    """One term of a score: its words, and its place and width in a bar of 100."""

    name: str
    points: float
    note: str
    start: float
    width: float


@dataclass(frozen=True, slots=True)
class Row:
    """One entry of a section with the score that put it there (None where no story row is left)."""

    anchor: str
    entry: Entry
    score: float | None
    parts: tuple[Part, ...]

    @property
    def meta(self) -> str:
        """The quiet line: topic, who reported it, when."""
        also = [link.text for link in self.entry.also]
        told = (
            f"Also {', '.join(also)}{f' and {self.entry.more} more' if self.entry.more else ''}"
            if also
            else ""
        )
        said = ", ".join(x for x in (self.entry.source, self.entry.date) if x)
        closes = f"Closes {self.entry.closes}" if self.entry.closes else ""
        return ". ".join(x for x in (self.entry.kicker, closes, said, told) if x)


@dataclass(frozen=True, slots=True)
class Block:
    """One section of the outline; `count` is "5 of at most 6"."""

    section: Section
    count: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Tale:
    """One story of the week: where it stands, or why it was left out. `share` is its score in per cent."""

    title: str
    url: str
    site: str
    articles: str
    score: float
    share: float
    parts: tuple[Part, ...]
    place: str
    anchor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Counter:
    """How long a line is, against what fits."""

    has: int
    most: int
    unit: str = ""

    @property
    def over(self) -> bool:
        """Whether it is too long."""
        return self.has > self.most

    def __str__(self) -> str:
        return f"{self.has} of {self.most}{f' {self.unit}' if self.unit else ''}"


@dataclass(frozen=True, slots=True)
class Fix:
    """A finding with the place in the outline that it speaks of."""

    finding: Finding
    anchor: str


@dataclass(frozen=True, slots=True)
class Checks:
    """What preflight says, errors first."""

    errors: tuple[Fix, ...]
    warnings: tuple[Fix, ...]
    passed: int
    total: int

    @property
    def headline(self) -> str:
        """The line above the columns."""
        if self.errors:
            return f"{many(len(self.errors), 'thing')} to fix"
        if self.warnings:
            return f"{many(len(self.warnings), 'thing')} to look at"
        return "Nothing to fix"

    @property
    def tally(self) -> str:
        """How many rules found nothing."""
        return f"{self.passed} of {self.total} checks pass"


@dataclass(frozen=True, slots=True)
class Outline:
    """A whole edition."""

    content: Content
    subject: Counter
    preheader: Counter
    intro: Counter
    blocks: tuple[Block, ...]


def outline(edition: Edition, stories: Iterable[Story], sections: Iterable[SectionSettings]) -> Outline:
    """Show an edition's arrangement; `stories` are its rows that have a section."""
    content = Content.from_json(edition.content)
    placed = {(s.section, s.position): s for s in stories if s.section}
    most = {s.key: s.most for s in sections}
    return Outline(
        content=content,
        subject=Counter(len(content.subject), SUBJECT),
        preheader=Counter(len(content.preheader), PREHEADER),
        intro=Counter(len(content.intro.split()), INTRO, "words"),
        blocks=tuple(_block(section, placed, most) for section in content.sections),
    )


def _block(section: Section, placed: Mapping[tuple[str, int], Story], most: Mapping[str, int]) -> Block:
    rows = []
    for position, entry in enumerate(section.entries):
        story = placed.get((section.key, position))
        rows.append(
            Row(
                anchor=anchor(section.key, position),
                entry=entry,
                score=story.score if story else None,
                parts=parts(story) if story else (),
            )
        )
    limit = f" of at most {most[section.key]}" if section.key in most else ""
    return Block(section, f"{len(rows)}{limit}", tuple(rows))


def anchor(section: str, position: int) -> str:
    """Name an entry's place on the page."""
    return f"{section}-{position + 1}"


def parts(story: Story) -> tuple[Part, ...]:
    """Lay the terms of a score out as a bar; terms that take away are only said."""
    added = sum(max(0.0, t["points"]) for t in story.terms) or 1.0
    start = 0.0
    laid = []
    for term in story.terms:
        width = 100 * max(0.0, term["points"]) / added
        laid.append(Part(str(term["name"]), term["points"], term["note"], round(start, 2), round(width, 2)))
        start += width
    return tuple(laid)


def tale(story: Story, titles: Mapping[str, str]) -> Tale:
    """Show one story of the week; `titles` are the sections' names by key."""
    place = f"{titles.get(story.section, story.section)} {story.position + 1}" if story.section else ""
    return Tale(
        title=story.title,
        url=story.url,
        site=host(story.url),
        articles=many(len(story.members), "article"),
        score=story.score,
        share=max(0.0, min(100.0, story.score)),
        parts=parts(story),
        place=place,
        anchor=anchor(story.section, story.position) if story.section else "",
        reason=story.reason,
    )


def checks(findings: Iterable[Finding], shown: Outline) -> Checks:
    """Sort what preflight found, and say where on the page it stands."""
    fixes = [Fix(f, _anchor_of(f, shown)) for f in findings]
    failed = {f.finding.rule for f in fixes}
    return Checks(
        errors=tuple(f for f in fixes if f.finding.level == Level.ERROR),
        warnings=tuple(f for f in fixes if f.finding.level != Level.ERROR),
        passed=len(RULES) - len(failed),
        total=len(RULES),
    )


def _anchor_of(finding: Finding, shown: Outline) -> str:
    """Find the entry that a finding quotes, else its section; else the two lines at the top."""
    for block in shown.blocks:
        for row in block.rows:
            headline, url = row.entry.headline, row.entry.url
            if headline and (headline[:60] in finding.message or (url and url in finding.message)):
                return row.anchor
    for block in shown.blocks:
        if block.section.title == finding.where:
            return f"section-{block.section.key}"
    return "edition"


_WORDS = {
    EditionState.DRAFT: "Draft",
    EditionState.HELD: "Held",
    EditionState.APPROVED: "Approved",
    EditionState.SENDING: "Sending",
    EditionState.SENT: "Sent",
    EditionState.CANCELLED: "Cancelled",
}


def state_words(state: EditionState) -> str:
    """Name a state on its pill."""
    return _WORDS[state]
