"""An edition as the desk shows it: pure, from the stored rows to values that a template only prints."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from digest.collect.texts.urls import site_name
from digest.edition.content.edition_content import (
    MAX_PREHEADER_LENGTH,
    MAX_SUBJECT_LENGTH,
    PHONE_SUBJECT_LENGTH,
    EditionContent,
    EditionSection,
    SectionEntry,
)
from digest.edition.preflight.rule_registry import PREFLIGHT_RULES, FindingLevel, PreflightFinding
from digest.settings import SectionSettings
from digest.store.models import Edition, EditionStory
from digest.web.filters import count_with_noun

MAX_INTRO_WORDS = 60


@dataclass(frozen=True, slots=True)
class ScoreBarPart:
    """One term of a score: its words, and its place and width in a bar of 100."""

    name: str
    points: float
    note: str
    start: float
    width: float


def concerns_entry(finding: PreflightFinding, entry: SectionEntry) -> bool:
    """Return whether a finding quotes an entry's headline or its address."""
    headline, url = entry.headline, entry.url
    return bool(headline) and (headline[:60] in finding.message or bool(url and url in finding.message))


@dataclass(frozen=True, slots=True)
class OutlineRow:
    """One entry of a section with the score that put it there (None where no story row is left)."""

    anchor: str
    entry: SectionEntry
    score: float | None
    parts: tuple[ScoreBarPart, ...]


@dataclass(frozen=True, slots=True)
class OutlineSection:
    """One section of the outline; `count` is "5 of at most 6"."""

    section: EditionSection
    count: str
    rows: tuple[OutlineRow, ...]


@dataclass(frozen=True, slots=True)
class ListedStory:
    """One story of the week: where it stands, or why it was left out. `share` is its score in per cent."""

    story: EditionStory
    site: str
    share: float
    parts: tuple[ScoreBarPart, ...]
    place: str
    anchor: str


@dataclass(frozen=True, slots=True)
class LengthCounter:
    """How long a line is, against what fits. `phone` is what a phone shows of it, about; 0 where it shows all that fits."""

    length: int
    limit: int
    unit: str = "characters"
    phone: int = 0

    @property
    def over(self) -> bool:
        """Whether it is too long."""
        return self.length > self.limit

    def __str__(self) -> str:
        count = f"{self.length} of {self.limit} {self.unit}"
        return f"{count}, about {self.phone} on a phone" if self.phone and self.length > self.phone else count


@dataclass(frozen=True, slots=True)
class HeadLengths:
    """How long the lines of an edition's head are, against what inboxes show and readers read."""

    subject: LengthCounter
    preheader: LengthCounter
    intro: LengthCounter


def count_head_lengths(content: EditionContent) -> HeadLengths:
    """Count the lines of an edition's head."""
    return HeadLengths(
        subject=LengthCounter(len(content.subject), MAX_SUBJECT_LENGTH, phone=PHONE_SUBJECT_LENGTH),
        preheader=LengthCounter(len(content.preheader), MAX_PREHEADER_LENGTH),
        intro=LengthCounter(len(content.intro.split()), MAX_INTRO_WORDS, "words"),
    )


@dataclass(frozen=True, slots=True)
class LocatedFinding:
    """A finding with the place in the outline that it speaks of."""

    finding: PreflightFinding
    anchor: str


@dataclass(frozen=True, slots=True)
class ChecksSummary:
    """What preflight says, errors first."""

    errors: tuple[LocatedFinding, ...]
    warnings: tuple[LocatedFinding, ...]
    passed: int
    total: int

    @property
    def headline(self) -> str:
        """The line above the columns."""
        if self.errors:
            return f"{count_with_noun(len(self.errors), 'thing')} to fix"
        if self.warnings:
            return f"{count_with_noun(len(self.warnings), 'thing')} to look at"
        return "Nothing to fix"

    @property
    def tally(self) -> str:
        """How many rules found nothing."""
        return f"{self.passed} of {self.total} checks pass"


@dataclass(frozen=True, slots=True)
class EditionOutline:
    """A whole edition."""

    content: EditionContent
    lengths: HeadLengths
    blocks: tuple[OutlineSection, ...]


def build_edition_outline(
    edition: Edition, stories: Iterable[EditionStory], sections: Iterable[SectionSettings]
) -> EditionOutline:
    """Show an edition's arrangement; `stories` are its rows that have a section."""
    content = EditionContent.from_json(edition.content)
    placed = {(s.section, s.position): s for s in stories if s.section}
    most = {s.key: s.most for s in sections}
    return EditionOutline(
        content=content,
        lengths=count_head_lengths(content),
        blocks=tuple(_build_outline_section(section, placed, most) for section in content.sections),
    )


def _build_outline_section(
    section: EditionSection, placed: Mapping[tuple[str, int], EditionStory], limits: Mapping[str, int]
) -> OutlineSection:
    rows = []
    for position, entry in enumerate(section.entries):
        story = placed.get((section.key, position))
        rows.append(
            OutlineRow(
                anchor=entry_anchor(section.key, position),
                entry=entry,
                score=story.score if story else None,
                parts=score_bar_parts(story) if story else (),
            )
        )
    limit = f" of at most {limits[section.key]}" if section.key in limits else ""
    return OutlineSection(section, f"{len(rows)}{limit}", tuple(rows))


def entry_anchor(section: str, position: int) -> str:
    """Name an entry's place on the page."""
    return f"{section}-{position + 1}"


def score_bar_parts(story: EditionStory) -> tuple[ScoreBarPart, ...]:
    """Lay the terms of a score out as a bar; terms that take away are only said."""
    added = sum(max(0.0, t["points"]) for t in story.terms) or 1.0
    start = 0.0
    parts = []
    for term in story.terms:
        width = 100 * max(0.0, term["points"]) / added
        parts.append(ScoreBarPart(str(term["name"]), term["points"], term["note"], round(start, 2), round(width, 2)))
        start += width
    return tuple(parts)


def build_listed_story(story: EditionStory, section_titles: Mapping[str, str]) -> ListedStory:
    """Show one story of the week; `section_titles` are the sections' names by key."""
    place = f"{section_titles.get(story.section, story.section)} {story.position + 1}" if story.section else ""
    return ListedStory(
        story=story,
        site=site_name(story.url),
        share=max(0.0, min(100.0, story.score)),
        parts=score_bar_parts(story),
        place=place,
        anchor=entry_anchor(story.section, story.position) if story.section else "",
    )


def summarise_checks(findings: Iterable[PreflightFinding], outline: EditionOutline) -> ChecksSummary:
    """Sort what preflight found, and say where on the page it stands."""
    fixes = [LocatedFinding(f, _finding_anchor(f, outline)) for f in findings]
    failed = {f.finding.rule for f in fixes}
    return ChecksSummary(
        errors=tuple(f for f in fixes if f.finding.level == FindingLevel.ERROR),
        warnings=tuple(f for f in fixes if f.finding.level != FindingLevel.ERROR),
        passed=len(PREFLIGHT_RULES) - len(failed),
        total=len(PREFLIGHT_RULES),
    )


def _finding_anchor(finding: PreflightFinding, outline: EditionOutline) -> str:
    """Find the entry that a finding quotes, else its section; else the two lines at the top."""
    for block in outline.blocks:
        for row in block.rows:
            if concerns_entry(finding, row.entry):
                return row.anchor
    for block in outline.blocks:
        if block.section.title == finding.where:
            return f"section-{block.section.key}"
    return "edition"
