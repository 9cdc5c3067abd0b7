"""An edition being edited, as values for a template, computed from its arrangement. Pure functions only."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import islice
from typing import NamedTuple
from zoneinfo import ZoneInfo

from digest.app.editing.clipboard import SavedClipboardItem
from digest.app.editions.edition_dates import find_last_listed_day_by_section, list_deadline_choices
from digest.collect.documents.deadlines import Deadline
from digest.edition.content.edition_content import EditionContent, EditionImage, SectionEntry
from digest.edition.editing.arrangement import ArrangedStory, Arrangement
from digest.edition.editing.edits import Edit, EditKind
from digest.edition.kinds import SECTION_KINDS
from digest.edition.preflight.rule_registry import HEAD_PLACES, FindingLevel, PreflightFinding
from digest.select.story_links import StoryGroupingDecision
from digest.settings import SectionSettings
from digest.web.desk.outline.edition_outline import TextLength, is_finding_about_entry
from digest.web.desk.outline.preview_anchors import list_preview_anchors
from digest.web.desk.outline.story_pool import (
    MAX_POOL_STORIES,
    PoolRow,
    add_date_and_sections_to_pool_row,
    list_late_story_rows,
    map_unplaced_titles,
    story_anchor,
)

_REGROUPING_KINDS = frozenset({EditKind.MERGE, EditKind.SPLIT})


@dataclass(frozen=True, slots=True)
class ArrangedStoryRow:
    """A story as shown in a section of the editing page.

    `number` counts from 1, and `also_in` is another place of one of its articles. `text_edits` are
    the edits that wrote its texts, by field. `preview_place` is the ID of its place in the preview.
    `is_regrouped` means that an editor merged or split it after its score was computed.
    """

    story: ArrangedStory
    entry: SectionEntry
    number: int
    findings: tuple[PreflightFinding, ...]
    also_in: str
    text_edits: Mapping[str, Edit]
    preview_place: str
    is_regrouped: bool
    image: EditionImage | None = None  # even if the email doesn't show one
    # Each deadline is given with whether the story's texts only mention the weekday.
    deadline_choices: tuple[tuple[Deadline, bool], ...] = ()

    @property
    def anchor(self) -> str:
        """The story's anchor on the page."""
        return story_anchor(self.story.url)

    @property
    def anchors(self) -> set[str]:
        """The anchors of the story and of its supporting stories."""
        return {self.anchor, *(story_anchor(under.url) for under in self.story.supporting)}

    @property
    def headline_length(self) -> TextLength:
        """The headline's length, with the limit for a row of the email."""
        return TextLength(len(self.entry.headline), 80)

    @property
    def summary_length(self) -> TextLength:
        """The summary's length in words, with the limit for a row of the email."""
        return TextLength(len(self.entry.summary.split()), 40, "words")

    @property
    def has_image_finding(self) -> bool:
        """True if preflight has a finding about the story's image."""
        return any(finding.rule.startswith("images-") for finding in self.findings)


@dataclass(frozen=True, slots=True)
class ArrangedSection:
    """A section of the editing page, with its stories.

    `early_until` is the last day whose entries are listed before the sections in the email, or
    None. `findings` are about the whole section.
    """

    settings: SectionSettings
    note: str
    rows: tuple[ArrangedStoryRow, ...]
    early_until: date | None
    findings: tuple[PreflightFinding, ...]

    @property
    def shows_images(self) -> bool:
        """True if there's space for an image in the rows of the section."""
        return SECTION_KINDS[self.settings.kind].shows_images or any(row.image for row in self.rows)

    @property
    def shows_reasons(self) -> bool:
        """True if the edition says why it includes each story of the section."""
        return SECTION_KINDS[self.settings.kind].shows_reasons

    @property
    def is_placed_by_hand(self) -> bool:
        """True if editors place and order the stories of the section."""
        return SECTION_KINDS[self.settings.kind].is_placed_by_hand

    @property
    def is_grouped_by_topic(self) -> bool:
        """True if the email groups the stories of the section by topic."""
        return SECTION_KINDS[self.settings.kind].is_grouped_by_topic


class ListedFinding(NamedTuple):
    """A preflight finding, and where its link leads: to an anchor, or to the settings in which an admin fixes it."""

    level: FindingLevel
    anchor: str
    words: str
    settings: str = ""


@dataclass(frozen=True, slots=True)
class EditPageData:
    """The sections of an edition, the first page of its tray, and its preflight findings.

    `head_findings` are grouped by `HEAD_PLACES`.
    """

    sections: tuple[ArrangedSection, ...]
    tray: tuple[PoolRow, ...]
    head_findings: Mapping[str, tuple[PreflightFinding, ...]]
    general_findings: tuple[PreflightFinding, ...]

    @property
    def placed_choices(self) -> tuple[tuple[str, str], ...]:
        """All placed stories as choices: the anchor and "Featured 2: headline"."""
        return tuple(
            (row.anchor, f"{section.settings.title} {row.number}: {row.entry.headline}")
            for section in self.sections
            for row in section.rows
        )

    def find_place_name(self, anchor: str) -> str:
        """Return the place of a story, such as "Featured 2", given its anchor, or ""."""
        return dict(self.placed_choices).get(anchor, "").partition(":")[0]

    def find_preview_place(self, anchor: str) -> str:
        """Return the preview place of the story with an anchor, or of the one that it supports, or ""."""
        rows = (row for section in self.sections for row in section.rows)
        return next((row.preview_place for row in rows if anchor in row.anchors), "")

    def list_findings(self) -> list[ListedFinding]:
        """Return each preflight finding, as listed at the top of the page."""
        return [
            ListedFinding(finding.level, "", finding.remedy, finding.settings)
            if finding.settings and not finding.is_for_admins
            else ListedFinding(finding.level, anchor, f"{place}: {finding.sentence}")
            for anchor, place, findings in self._group_findings()
            for finding in findings
        ]

    def _group_findings(self) -> Iterator[tuple[str, str, Iterable[PreflightFinding]]]:
        yield from ((f"head-{place.lower()}", place, findings) for place, findings in self.head_findings.items())
        for section in self.sections:
            title = section.settings.title
            yield from ((row.anchor, f"{title} {row.number}", row.findings) for row in section.rows)
        for section in self.sections:
            yield f"section-{section.settings.key}", section.settings.title, section.findings
        for finding in self.general_findings:
            anchor = "faults" if finding.level == FindingLevel.ERROR else "looks"
            yield anchor, finding.where or ("For an admin" if finding.is_for_admins else "The edition"), [finding]


def build_edit_page_data(
    arrangement: Arrangement,
    content: EditionContent,
    sections: Sequence[SectionSettings],
    findings: Iterable[PreflightFinding],
    zone: ZoneInfo,
) -> EditPageData:
    """Return the arrangement with the texts of the edition, and every finding at the place that it's about."""
    open_findings = list(findings)
    heads = {place: _take_at(place, open_findings) for place in HEAD_PLACES}
    context = _OutlineContext(
        arrangement,
        content,
        _list_places(arrangement, sections),
        list_preview_anchors(content),
        {outcome.edit.seq: outcome.edit for outcome in arrangement.outcomes},
        find_last_listed_day_by_section(content),
    )
    arranged = tuple(_arrange_section(settings, context, open_findings) for settings in sections)
    waiting = islice(list_late_story_rows(arrangement), MAX_POOL_STORIES)
    tray = tuple(add_date_and_sections_to_pool_row(row, sections, zone) for row in waiting)
    return EditPageData(arranged, tray, heads, tuple(open_findings))


class _OutlineContext(NamedTuple):
    """The data for the rows of all sections.

    It includes places by link, IDs in the preview, edits by number, and last days.
    """

    arrangement: Arrangement
    content: EditionContent
    places: Mapping[str, Sequence[str]]
    preview_places: Mapping[tuple[str, int], str]
    edits: Mapping[int, Edit]
    last_days: Mapping[str, date]


def _arrange_section(
    settings: SectionSettings, context: _OutlineContext, open_findings: list[PreflightFinding]
) -> ArrangedSection:
    written = next((section for section in context.content.sections if section.key == settings.key), None)
    return ArrangedSection(
        settings=settings,
        note=written.note if written else settings.note,
        rows=_arrange_rows(settings, context, written.entries if written else (), open_findings),
        early_until=context.last_days.get(settings.key),
        findings=_take_at(settings.title, open_findings),
    )


Findings = tuple[PreflightFinding, ...]


def _take_at(place: str, open_findings: list[PreflightFinding]) -> Findings:
    """Remove the findings about a place from the open ones, and return them."""
    return _take([finding for finding in open_findings if finding.where == place], open_findings)


def _take_about(entry: SectionEntry, open_findings: list[PreflightFinding]) -> Findings:
    """Remove the findings about an entry from the open ones, and return them."""
    return _take([finding for finding in open_findings if is_finding_about_entry(finding, entry)], open_findings)


def _take(taken_findings: Sequence[PreflightFinding], open_findings: list[PreflightFinding]) -> Findings:
    open_findings[:] = [finding for finding in open_findings if finding not in taken_findings]
    return tuple(taken_findings)


def _arrange_rows(
    settings: SectionSettings,
    context: _OutlineContext,
    entries: Sequence[SectionEntry],
    open_findings: list[PreflightFinding],
) -> tuple[ArrangedStoryRow, ...]:
    """Return the stories of a section with their entries, or none if the edition is from another arrangement."""
    stories = context.arrangement.sections.get(settings.key, ())
    if len(entries) != len(stories):
        return ()
    rows = []
    for number, (story, entry) in enumerate(zip(stories, entries, strict=True), 1):
        own_place = f"{settings.title} {number}"
        elsewhere = [place for place in context.places.get(entry.url, ()) if place != own_place]
        row = ArrangedStoryRow(
            story=story,
            entry=entry,
            number=number,
            findings=_take_about(entry, open_findings),
            also_in=elsewhere[0] if elsewhere else "",
            text_edits={name: context.edits[seq] for name, seq in story.text_edits.items()},
            preview_place=context.preview_places[settings.key, number],
            is_regrouped=_is_regrouped(story, context.edits),
            image=context.arrangement.find_thumbnail(story.placed.scored),
            deadline_choices=list_deadline_choices(context.content, entry, story.placed.scored.lead),
        )
        rows.append(row)
    return tuple(rows)


def _is_regrouped(story: ArrangedStory, edits: Mapping[int, Edit]) -> bool:
    return any(edits[seq].kind in _REGROUPING_KINDS for seq in story.edits)


def _list_places(arrangement: Arrangement, sections: Sequence[SectionSettings]) -> dict[str, list[str]]:
    """Return the places of each link, such as "Featured 1"."""
    places: dict[str, list[str]] = {}
    for settings in sections:
        for number, story in enumerate(arrangement.sections.get(settings.key, ()), 1):
            places.setdefault(story.placed.scored.story.lead.link, []).append(f"{settings.title} {number}")
    return places


@dataclass(frozen=True, slots=True)
class LikelyMerge:
    """Two stories that may be about the same news: one in a section, and another that may not be in one."""

    main: str  # the anchor, as is `other`
    other: str
    main_label: str
    other_label: str


def list_likely_merges(
    pairs: Iterable[tuple[str, str]], arrangement: Arrangement, outline: EditPageData
) -> list[LikelyMerge]:
    """Return the proposed pairs that editors can still merge.

    Both must exist as separate stories, and must not have been removed or split off.
    """
    labels, titles, merges = dict(outline.placed_choices), map_unplaced_titles(arrangement), []
    for pair in pairs:
        main, other = map(arrangement.name_target, pair)
        main_anchor, other_anchor = story_anchor(main), story_anchor(other)
        main_label, other_label = labels.get(main_anchor), labels.get(other_anchor, titles.get(other, ""))
        if main == other or not main_label or not other_label:
            continue
        if not any(_is_kept_apart(link, *pair) for link in arrangement.links):
            merges.append(LikelyMerge(main_anchor, other_anchor, main_label, other_label))
    return merges


def _is_kept_apart(link: StoryGroupingDecision, main: str, other: str) -> bool:
    """Return True if an editor split one of two articles from the story of the other."""
    orders = (main, other), (other, main)
    return any(first in link.urls and second in link.apart_from for first, second in orders)


@dataclass(frozen=True, slots=True)
class ClipboardRow:
    """An item on an editor's clipboard, as shown on an edition's page.

    A story of this edition has an anchor and, if it's in a section, a place.
    """

    clipping: SavedClipboardItem
    anchor: str = ""
    place: str = ""


def list_clipboard_rows(
    clippings: Iterable[SavedClipboardItem], outline: EditPageData, edition: str
) -> list[ClipboardRow]:
    """Return the items on an editor's clipboard.

    Items from other editions can be read and removed.
    """
    rows = []
    for clipping in clippings:
        anchor = story_anchor(clipping.target) if clipping.edition == edition else ""
        rows.append(ClipboardRow(clipping, anchor, outline.find_place_name(anchor)))
    return rows
