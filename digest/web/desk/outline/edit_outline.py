"""An edition that is being arranged, as the desk shows it: pure, from the arrangement to values that a template only prints."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import islice
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
from digest.web.desk.outline.edition_outline import is_finding_about_entry
from digest.web.desk.outline.preview_anchors import list_preview_anchors
from digest.web.desk.outline.story_pool import (
    MAX_POOL_STORIES,
    PoolPage,
    PoolRow,
    add_date_and_sections_to_pool_row,
    list_late_story_rows,
    map_unplaced_titles,
    story_anchor,
)

_REGROUPING_KINDS = frozenset({EditKind.MERGE, EditKind.SPLIT})


@dataclass(frozen=True, slots=True)
class ArrangedStoryRow:
    """One story of a section. `number` counts from 1; `also_in` says where else one of its articles is.

    `text_edits` wrote its texts, by the text's field. `preview_place` is the ID of its place in the preview. `is_regrouped` tells that
    an editor merged or split it since its score was counted.
    """

    story: ArrangedStory
    entry: SectionEntry
    number: int
    findings: tuple[PreflightFinding, ...]
    also_in: str
    text_edits: Mapping[str, Edit]
    preview_place: str
    is_regrouped: bool
    image: EditionImage | None = None  # also where the email shows none
    deadline_choices: tuple[tuple[Deadline, bool], ...] = ()  # each with whether its texts give only the weekday

    @property
    def anchor(self) -> str:
        """The story's place on the page."""
        return story_anchor(self.story.url)

    @property
    def anchors(self) -> set[str]:
        """The anchors of the story and of those under it."""
        return {self.anchor, *(story_anchor(under.url) for under in self.story.supporting)}

    @property
    def has_image_finding(self) -> bool:
        """Whether preflight found something about its picture."""
        return any(finding.rule.startswith("images-") for finding in self.findings)


@dataclass(frozen=True, slots=True)
class ArrangedSection:
    """A section with its rows.

    `early_until` is the day until which its entries come before the sections in the mail, None where none does. `findings` are
    about the section as a whole.
    """

    settings: SectionSettings
    note: str
    rows: tuple[ArrangedStoryRow, ...]
    early_until: date | None
    findings: tuple[PreflightFinding, ...]

    @property
    def shows_images(self) -> bool:
        """Whether its rows have a place for an image."""
        return SECTION_KINDS[self.settings.kind].shows_images or any(row.image for row in self.rows)

    @property
    def is_placed_by_hand(self) -> bool:
        """Whether editors put stories here and order them."""
        return SECTION_KINDS[self.settings.kind].is_placed_by_hand


@dataclass(frozen=True, slots=True)
class EditPageData:
    """The edition's sections, the first page of its tray, and what preflight found; `head_findings` by `HEAD_PLACES`."""

    sections: tuple[ArrangedSection, ...]
    tray: tuple[PoolRow, ...]
    head_findings: Mapping[str, tuple[PreflightFinding, ...]]
    general_findings: tuple[PreflightFinding, ...]

    @property
    def placed_choices(self) -> tuple[tuple[str, str], ...]:
        """Every placed story with its place, to choose one from: anchor and "Featured 2: headline"."""
        return tuple(
            (row.anchor, f"{section.settings.title} {row.number}: {row.entry.headline}")
            for section in self.sections
            for row in section.rows
        )

    def name_place(self, anchor: str) -> str:
        """Name the place of the story of an anchor, "Featured 2"; empty where it has none."""
        return dict(self.placed_choices).get(anchor, "").partition(":")[0]

    def find_preview_place(self, anchor: str) -> str:
        """Find the place of the preview to which a story's anchor leads, also of one under another; empty where it has none."""
        rows = (row for section in self.sections for row in section.rows)
        return next((row.preview_place for row in rows if anchor in row.anchors), "")

    def list_findings(self) -> list[tuple[FindingLevel, str, str]]:
        """List what preflight found, each with its level, the anchor that it is about, and its words."""
        return [
            (finding.level, anchor, f"{place}: {finding.sentence}")
            for anchor, place, findings in self._group_findings()
            for finding in findings
        ]

    def _group_findings(self) -> Iterator[tuple[str, str, Iterable[PreflightFinding]]]:
        yield from (("head", place, findings) for place, findings in self.head_findings.items())
        for section in self.sections:
            title = section.settings.title
            yield from ((row.anchor, f"{title} {row.number}", row.findings) for row in section.rows)
        for section in self.sections:
            yield f"section-{section.settings.key}", section.settings.title, section.findings
        for finding in self.general_findings:
            anchor = "faults" if finding.level == FindingLevel.ERROR else "looks"
            yield anchor, finding.where or "The edition", [finding]


def build_edit_page_data(
    arrangement: Arrangement,
    content: EditionContent,
    sections: Sequence[SectionSettings],
    findings: Iterable[PreflightFinding],
    zone: ZoneInfo,
) -> EditPageData:
    """Put the arrangement beside what the edition says, with every finding at the place it concerns."""
    open_findings = list(findings)
    heads = {place: _take_at(place, open_findings) for place in HEAD_PLACES}
    arranged = tuple(_arrange_section(settings, arrangement, content, sections, open_findings) for settings in sections)
    waiting = islice(list_late_story_rows(arrangement), MAX_POOL_STORIES)
    tray = tuple(add_date_and_sections_to_pool_row(row, sections, zone) for row in waiting)
    return EditPageData(arranged, tray, heads, tuple(open_findings))


def _arrange_section(
    settings: SectionSettings,
    arrangement: Arrangement,
    content: EditionContent,
    sections: Sequence[SectionSettings],
    open_findings: list[PreflightFinding],
) -> ArrangedSection:
    written = next((section for section in content.sections if section.key == settings.key), None)
    return ArrangedSection(
        settings=settings,
        note=written.note if written else settings.note,
        rows=_arrange_rows(settings, arrangement, content, sections, open_findings),
        early_until=find_last_listed_day_by_section(content).get(settings.key),
        findings=_take_at(settings.title, open_findings),
    )


Findings = tuple[PreflightFinding, ...]


def _take_at(place: str, open_findings: list[PreflightFinding]) -> Findings:
    """Take the findings about a place out of those that are left."""
    return _take([finding for finding in open_findings if finding.where == place], open_findings)


def _take_about(entry: SectionEntry, open_findings: list[PreflightFinding]) -> Findings:
    """Take the findings about an entry out of those that are left."""
    return _take([finding for finding in open_findings if is_finding_about_entry(finding, entry)], open_findings)


def _take(taken_findings: Sequence[PreflightFinding], open_findings: list[PreflightFinding]) -> Findings:
    open_findings[:] = [finding for finding in open_findings if finding not in taken_findings]
    return tuple(taken_findings)


def _arrange_rows(
    settings: SectionSettings,
    arrangement: Arrangement,
    content: EditionContent,
    sections: Sequence[SectionSettings],
    open_findings: list[PreflightFinding],
) -> tuple[ArrangedStoryRow, ...]:
    """Put the stories of a section beside their entries; none where the edition was written of another arrangement."""
    stories = arrangement.sections.get(settings.key, ())
    written = (section.entries for section in content.sections if section.key == settings.key)
    entries = next(written, ())
    if len(entries) != len(stories):
        return ()
    edits = {outcome.edit.seq: outcome.edit for outcome in arrangement.outcomes}
    places, preview_places = _list_places(arrangement, sections), list_preview_anchors(content)
    rows = []
    for number, (story, entry) in enumerate(zip(stories, entries, strict=True), 1):
        own_place = f"{settings.title} {number}"
        elsewhere = [place for place in places.get(entry.url, ()) if place != own_place]
        row = ArrangedStoryRow(
            story=story,
            entry=entry,
            number=number,
            findings=_take_about(entry, open_findings),
            also_in=elsewhere[0] if elsewhere else "",
            text_edits={name: edits[seq] for name, seq in story.text_edits.items()},
            preview_place=preview_places[settings.key, number],
            is_regrouped=_is_regrouped(story, edits),
            image=arrangement.find_thumbnail(story.placed.scored),
            deadline_choices=list_deadline_choices(content, entry, story.placed.scored.lead),
        )
        rows.append(row)
    return tuple(rows)


def _is_regrouped(story: ArrangedStory, edits: Mapping[int, Edit]) -> bool:
    return any(edits[seq].kind in _REGROUPING_KINDS for seq in story.edits)


def _list_places(arrangement: Arrangement, sections: Sequence[SectionSettings]) -> dict[str, list[str]]:
    """List where each link stands: "Featured 1"."""
    places: dict[str, list[str]] = {}
    for settings in sections:
        for number, story in enumerate(arrangement.sections.get(settings.key, ()), 1):
            places.setdefault(story.placed.scored.story.lead.link, []).append(f"{settings.title} {number}")
    return places


@dataclass(frozen=True, slots=True)
class LikelyMerge:
    """Two stories that tell one matter: the one that's in a section, with its place, and the other, whose place may be empty."""

    main: str  # anchors
    other: str
    main_label: str
    other_label: str


def list_likely_merges(
    pairs: Iterable[tuple[str, str]], arrangement: Arrangement, outline: EditPageData
) -> list[LikelyMerge]:
    """List the pairs of a proposal that editors can still merge: both are there as two stories, and none was removed or split off."""
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
    """Return whether an editor split one of two articles off the other's story."""
    orders = (main, other), (other, main)
    return any(first in link.urls and second in link.apart_from for first, second in orders)


@dataclass(frozen=True, slots=True)
class ClipboardRow:
    """One thing on an editor's clipboard: a story of this edition has an anchor, and a place if it is in a section."""

    clipping: SavedClipboardItem
    anchor: str = ""
    place: str = ""


def list_clipboard_rows(
    clippings: Iterable[SavedClipboardItem], outline: EditPageData, edition: str
) -> list[ClipboardRow]:
    """Describe an editor's clipboard beside an edition; what came from another edition can be read, and taken off."""
    rows = []
    for clipping in clippings:
        anchor = story_anchor(clipping.target) if clipping.edition == edition else ""
        rows.append(ClipboardRow(clipping, anchor, outline.name_place(anchor)))
    return rows


def list_merge_choices(outline: EditPageData, pool: PoolPage) -> tuple[tuple[str, str], ...]:
    """List the stories that one may be merged with: those of the edition, then those of the list: anchor and headline."""
    listed = tuple((row.anchor, row.headline) for row in pool.rows if not row.place)
    return (*outline.placed_choices, *listed)
