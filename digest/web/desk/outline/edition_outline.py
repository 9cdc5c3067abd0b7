"""An edition as values that a template prints, computed from the stored rows. Pure functions only."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from digest.app.editions.drafting import find_shortened_intro
from digest.edition.content.edition_content import (
    MAX_OPENING_LENGTH,
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
from subscribers.english_text import count_with_noun


def is_finding_about_entry(finding: PreflightFinding, entry: SectionEntry) -> bool:
    """Return True if a finding quotes the headline or URL of an entry."""
    headline, url, message = entry.headline, entry.url, finding.message
    return bool(headline) and (headline[:60] in message or bool(url and url in message))


@dataclass(frozen=True, slots=True)
class OutlineRow:
    """An entry of a section and its story. The story is None if its row was deleted."""

    anchor: str
    entry: SectionEntry
    story: EditionStory | None


@dataclass(frozen=True, slots=True)
class OutlineSection:
    """A section of the outline and its maximum number of entries, or 0 if it isn't in the settings anymore."""

    section: EditionSection
    most: int
    rows: tuple[OutlineRow, ...]


@dataclass(frozen=True, slots=True)
class TextLength:
    """The length of a text and its limit.

    `phone` is the approximate length shown on a phone, or 0 if all of it is.
    """

    length: int
    limit: int
    unit: str = "characters"
    phone: int = 0

    @property
    def is_over_limit(self) -> bool:
        """True if the text is longer than its limit."""
        return self.length > self.limit

    def __str__(self) -> str:
        count = f"{self.length} of {self.limit} {self.unit}"
        if self.is_over_limit:
            return f"{count}, {self.length - self.limit} over"
        return f"{count}, about {self.phone} on a phone" if self.phone and self.length > self.phone else count


@dataclass(frozen=True, slots=True)
class OpeningTextLengths:
    """The lengths of an edition's opening texts, with limits based on inboxes and readers.

    `email_intro` is the part of the intro that's shown in the email, or empty if all of it is.
    """

    subject: TextLength
    preheader: TextLength
    intro: TextLength
    email_intro: str


def count_opening_text_lengths(content: EditionContent) -> OpeningTextLengths:
    """Return the lengths of an edition's opening texts."""
    return OpeningTextLengths(
        subject=TextLength(len(content.subject), MAX_SUBJECT_LENGTH, phone=PHONE_SUBJECT_LENGTH),
        preheader=TextLength(len(content.preheader), MAX_PREHEADER_LENGTH),
        intro=TextLength(len(content.intro), MAX_OPENING_LENGTH),
        email_intro=find_shortened_intro(content),
    )


@dataclass(frozen=True, slots=True)
class LocatedFinding:
    """A finding and the place in the outline that it's about."""

    finding: PreflightFinding
    anchor: str


@dataclass(frozen=True, slots=True)
class ChecksSummary:
    """The preflight findings, by level."""

    errors: tuple[LocatedFinding, ...]
    warnings: tuple[LocatedFinding, ...]
    passed: int
    total: int

    @property
    def headline(self) -> str:
        """The heading above the findings."""
        if self.errors:
            return f"{count_with_noun(len(self.errors), 'thing')} to fix"
        if self.warnings:
            return f"{count_with_noun(len(self.warnings), 'thing')} to check"
        return "All checks passed"

    @property
    def rules_to_confirm(self) -> list[str]:
        """The rules whose warnings have to be confirmed by approvers."""
        return list(dict.fromkeys(f.finding.rule for f in self.warnings if f.finding.must_be_confirmed))

    @property
    def tally(self) -> str:
        """The number of passed checks, as text."""
        return f"{self.passed} of {self.total} checks passed"


@dataclass(frozen=True, slots=True)
class EditionPageData:
    """The content of an edition's page, in the form that its template needs."""

    content: EditionContent
    lengths: OpeningTextLengths
    blocks: tuple[OutlineSection, ...]

    @property
    def section_titles(self) -> dict[str, str]:
        """The titles of the edition's sections, by key."""
        return {block.section.key: block.section.title for block in self.blocks}


def build_edition_page_data(
    edition: Edition, stories: Iterable[EditionStory], sections: Iterable[SectionSettings]
) -> EditionPageData:
    """Return the values for the page of an edition.

    `stories` are the rows of the edition. Those in a section are shown.
    """
    content = EditionContent.from_json(edition.content)
    placed = {(s.section, s.position): s for s in stories if s.section}
    most = {s.key: s.most for s in sections}
    return EditionPageData(
        content=content,
        lengths=count_opening_text_lengths(content),
        blocks=tuple(_build_outline_section(section, placed, most) for section in content.sections),
    )


# The key of a section, and a position in it, counted from 0.
Place = tuple[str, int]


def _build_outline_section(
    section: EditionSection, placed: Mapping[Place, EditionStory], limits: Mapping[str, int]
) -> OutlineSection:
    rows = (
        OutlineRow(f"{section.key}-{position + 1}", entry, placed.get((section.key, position)))
        for position, entry in enumerate(section.entries)
    )
    return OutlineSection(section, limits.get(section.key, 0), tuple(rows))


def summarize_checks(findings: Iterable[PreflightFinding], outline: EditionPageData) -> ChecksSummary:
    """Sort preflight findings by level, with their places on the page."""
    fixes = [LocatedFinding(f, _finding_anchor(f, outline)) for f in findings]
    failed = {f.finding.rule for f in fixes}
    return ChecksSummary(
        errors=tuple(f for f in fixes if f.finding.level == FindingLevel.ERROR),
        warnings=tuple(f for f in fixes if f.finding.level != FindingLevel.ERROR),
        passed=len(PREFLIGHT_RULES) - len(failed),
        total=len(PREFLIGHT_RULES),
    )


def _finding_anchor(finding: PreflightFinding, outline: EditionPageData) -> str:
    """Return the anchor of the entry that a finding quotes, of its section, or of the top of the page."""
    for block in outline.blocks:
        for row in block.rows:
            if is_finding_about_entry(finding, row.entry):
                return row.anchor
    for block in outline.blocks:
        if block.section.title == finding.where:
            return f"section-{block.section.key}"
    return "edition"
