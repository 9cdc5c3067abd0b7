"""An edition that is being arranged, as the desk shows it: pure, from the arrangement to values that a template only prints."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import islice
from zoneinfo import ZoneInfo

from digest.app.editing.clipboard import KeptClipping
from digest.app.editing.presence import PresentColleague
from digest.app.editions.edition_dates import find_early_days
from digest.edition.content.edition_content import EditionContent, LabelledBlock, SectionEntry
from digest.edition.editing.arrangement import ArrangedStory, Arrangement, RemovedStory
from digest.edition.editing.edits import Edit, EditKind
from digest.edition.kinds import SECTION_KINDS
from digest.edition.preflight.rule_registry import HEAD_PLACES, FindingLevel, PreflightFinding
from digest.settings import SectionSettings
from digest.web.desk.outline.edit_sentences import EditWriter, create_edit_writer
from digest.web.desk.outline.edition_outline import concerns_entry, entry_meta
from digest.web.desk.outline.preview_places import name_preview_places
from digest.web.desk.outline.story_pool import (
    MAX_POOL_STORIES,
    PoolPage,
    PoolRow,
    complete_row,
    list_tray,
    story_anchor,
)
from digest.web.filters import count_with_noun, short_moment
from subscribers.phrases import join_words, month_day

_REGROUPING_KINDS = frozenset({EditKind.MERGE, EditKind.SPLIT})
REFILL_SENTENCES = {
    "next": "If you drop one, the next by score comes up.",
    "none": "If you drop one, its place stays empty.",
}
OVERFULL_SENTENCE = "It has more than its maximum: if you drop one, none comes up."
READ_REFILL_SENTENCES = REFILL_SENTENCES | {"next": "If you drop one, the next by reads comes up."}


@dataclass(frozen=True, slots=True)
class ArrangedRow:
    """One story of a section. `number` counts from 1; `also_in` says where else one of its articles stands."""

    story: ArrangedStory
    entry: SectionEntry
    anchor: str
    number: int
    is_last: bool
    findings: tuple[PreflightFinding, ...] = ()
    also_in: str = ""
    text_signatures: Mapping[str, str] = field(default_factory=dict)  # "Dana, Nov 18, 3:10 p.m.", by the text's field
    preview_place: str = ""  # the id of its place in the preview
    is_regrouped: bool = False  # an editor merged it or split it since its score was counted

    @property
    def summary_words(self) -> str:
        """Whose words the summary is; empty where it has none."""
        if signature := self.text_signatures.get("summary"):
            return f"Written by {signature}"
        origin = self.entry.summary_origin
        return f"{_capitalise_first(origin.words)}." if origin and self.entry.summary else ""

    @property
    def original_summary_words(self) -> str:
        """Whose words the summary is that an editor's stands in place of."""
        origin = self.story.original_summary.origin
        return f"{_capitalise_first(origin.words)}:" if origin else ""

    @property
    def why_words(self) -> str:
        """Who says why it leads: an editor, or the score."""
        signature = self.text_signatures.get("why")
        return f"Written by {signature}" if signature else "Made of its score."

    @property
    def regrouped_words(self) -> str:
        """Of what the score was counted, where an editor has merged or split the story since; else empty."""
        if not self.is_regrouped:
            return ""
        publishers = count_with_noun(len(self.story.original.story.publishers), "publisher")
        return f"Counted for the draft, before an editor merged or split the story. It has {publishers} now."

    @property
    def meta(self) -> str:
        """The quiet line: topic, deadline, who reported it, when."""
        elsewhere = f"Also stands in {self.also_in}" if self.also_in else ""
        summary = f"Summary from {self.entry.summary_lender}" if self.entry.summary_lender else ""
        return ". ".join(part for part in (entry_meta(self.entry), summary, elsewhere) if part)

    @property
    def lead_words(self) -> str:
        """What the mail shows with it where it leads: ", with its picture and 2 related links"; empty for nothing more."""
        related = len(self.entry.related) - len(self.story.supporting)
        parts = ["its picture"] if self.entry.picture else []
        parts += [count_with_noun(related, "related link")] if related > 0 else []
        return f", with {join_words(parts)}" if parts else ""

    @property
    def has_picture_finding(self) -> bool:
        """Whether preflight found something about its picture."""
        return any(finding.rule.startswith("images-") for finding in self.findings)

    @property
    def supporting_anchors(self) -> tuple[tuple[str, str], ...]:
        """The stories under this one: anchor and headline."""
        return tuple((story_anchor(s.url), s.placed.scored.story.lead.title) for s in self.story.supporting)


def _capitalise_first(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}"


@dataclass(frozen=True, slots=True)
class ShelvedRow:
    """A story that was removed: by whom and when, in words, and what came up in its place."""

    anchor: str
    title: str
    sentence: str
    refill: str


@dataclass(frozen=True, slots=True)
class ArrangedSection:
    """A section with its rows; `removed` are the stories that were dropped from it, the latest first.

    `early_until` is the day until which its entries stand before the sections in the mail, None where none does.
    """

    settings: SectionSettings
    note: str
    rows: tuple[ArrangedRow, ...]
    removed: tuple[ShelvedRow, ...]
    early_until: date | None
    findings: tuple[PreflightFinding, ...] = ()  # about the section as a whole

    @property
    def count(self) -> str:
        """How full it is: "5 of at most 6"."""
        return f"{len(self.rows)} of at most {self.settings.most}"

    @property
    def refill_sentence(self) -> str:
        """What takes the place of a dropped story, and that nothing is put here by hand, where that is so."""
        if self.is_placed_by_hand:
            is_overfull = len(self.rows) > self.settings.most
            return OVERFULL_SENTENCE if is_overfull else REFILL_SENTENCES[self.settings.refill]
        return f"By reads alone: nothing is put or moved here by hand. {READ_REFILL_SENTENCES[self.settings.refill]}"

    @property
    def dates_sentence(self) -> str:
        """Which of its stories the mail sorts by date; empty where it keeps all in this order."""
        if self.early_until is None:
            return ""
        return f"The mail sets what comes by {month_day(self.early_until)} before its sections, by date."

    @property
    def is_placed_by_hand(self) -> bool:
        """Whether editors put stories here and order them."""
        return SECTION_KINDS[self.settings.kind].is_placed_by_hand


@dataclass(frozen=True, slots=True)
class EditOutline:
    """The edition's sections, its shelf, its tray and its blocks, also those that do not run in it. Of the tray there is one page: `tray_count` is how many wait in it."""

    sections: tuple[ArrangedSection, ...]
    tray: tuple[PoolRow, ...]
    tray_count: int
    removed: tuple[ShelvedRow, ...]
    blocks: tuple[LabelledBlock, ...]
    resting_blocks: tuple[LabelledBlock, ...]
    head_findings: Mapping[str, tuple[PreflightFinding, ...]]  # by `HEAD_PLACES`
    general_findings: tuple[PreflightFinding, ...]

    @property
    def placed_choices(self) -> tuple[tuple[str, str], ...]:
        """Every placed story with its place, to choose one from: anchor and "Featured 2: headline"."""
        return tuple(
            (row.anchor, f"{section.settings.title} {row.number}: {row.entry.headline}")
            for section in self.sections
            for row in section.rows
        )

    def find_preview_place(self, anchor: str) -> str:
        """Find the place of the preview to which a story's anchor leads, also of one under another; empty where it stands nowhere."""
        rows = (row for section in self.sections for row in section.rows)
        held = (row for row in rows if anchor in (row.anchor, *(under for under, _ in row.supporting_anchors)))
        return next((row.preview_place for row in held), "")


def build_edit_outline(
    arrangement: Arrangement,
    content: EditionContent,
    sections: Sequence[SectionSettings],
    findings: Iterable[PreflightFinding],
    zone: ZoneInfo,
) -> EditOutline:
    """Put the arrangement beside what the edition says, with every finding at the place it concerns."""
    entries = {section.key: section for section in content.sections}
    places = _list_places(arrangement, sections)
    edits = {outcome.edit.seq: outcome.edit for outcome in arrangement.outcomes}
    found = list(findings)
    heads = {place: tuple(f for f in found if f.where == place) for place in HEAD_PLACES}
    left = [f for f in found if f.where not in heads]
    preview_places = name_preview_places(content)
    writer, early_days = create_edit_writer(arrangement, sections), find_early_days(content)
    outline_sections = []
    for settings in sections:
        written = entries.get(settings.key)
        stories = arrangement.sections.get(settings.key, ())
        shown = written.entries if written and len(written.entries) == len(stories) else ()
        rows = []
        for number, (story, entry) in enumerate(zip(stories, shown, strict=False), 1):
            own = tuple(f for f in left if concerns_entry(f, entry))
            left = [f for f in left if f not in own]
            also = next((p for p in places.get(entry.url, ()) if p != f"{settings.title} {number}"), "")
            signatures = {name: _sign_text(edits[seq], zone) for name, seq in story.text_edits.items()}
            anchor, is_last = story_anchor(story.url), number == len(stories)
            is_regrouped = any(edits[seq].kind in _REGROUPING_KINDS for seq in story.edits)
            place = preview_places[settings.key, number]
            rows.append(ArrangedRow(story, entry, anchor, number, is_last, own, also, signatures, place, is_regrouped))
        about_it = tuple(f for f in left if f.where == settings.title)
        left = [f for f in left if f not in about_it]
        outline_sections.append(
            ArrangedSection(
                settings,
                written.note if written else settings.note,
                tuple(rows),
                tuple(_shelve(r, writer, zone) for r in arrangement.removed if r.section == settings.key),
                early_days.get(settings.key),
                about_it,
            )
        )
    return EditOutline(
        tuple(outline_sections),
        tuple(complete_row(row, sections, zone) for row in islice(list_tray(arrangement), MAX_POOL_STORIES)),
        len(arrangement.tray),
        tuple(_shelve(removed, writer, zone) for removed in arrangement.removed),
        arrangement.blocks,
        arrangement.resting_blocks,
        heads,
        tuple(left),
    )


def _sign_text(edit: Edit, zone: ZoneInfo) -> str:
    return f"{edit.actor}, {short_moment(edit.at, zone)}"


def _list_places(arrangement: Arrangement, sections: Sequence[SectionSettings]) -> dict[str, list[str]]:
    """List where each link stands: "Featured 1"."""
    places: dict[str, list[str]] = {}
    for settings in sections:
        for number, story in enumerate(arrangement.sections.get(settings.key, ()), 1):
            places.setdefault(story.placed.scored.story.lead.link, []).append(f"{settings.title} {number}")
    return places


def _shelve(removed: RemovedStory, writer: EditWriter, zone: ZoneInfo) -> ShelvedRow:
    lead, at = removed.scored.story.lead, short_moment(removed.edit.at, zone)
    came_up = [removed.came_up] if removed.came_up else []
    refill = f"{_capitalise_first(writer.describe_refill(came_up, removed.unfilled))}." if removed.section else ""
    return ShelvedRow(story_anchor(lead.url), lead.title, f"{removed.edit.actor}, {at}", refill)


@dataclass(frozen=True, slots=True)
class ClippedRow:
    """One thing on an editor's clipboard: a story of this edition has an anchor, and a place where it stands in a section.

    `is_text` is whether it is a text that its editor wrote, to be read and copied whole.
    """

    id: int
    text: str
    note: str
    anchor: str = ""
    place: str = ""
    is_text: bool = False


def list_clipped_rows(clippings: Iterable[KeptClipping], outline: EditOutline, edition: str) -> tuple[ClippedRow, ...]:
    """Describe an editor's clipboard beside an edition; what came from another edition can be read, and taken off."""
    rows = []
    for clipping in clippings:
        anchor = story_anchor(clipping.target) if clipping.edition == edition else ""
        place = next((label.partition(":")[0] for a, label in outline.placed_choices if a == anchor), "")
        if clipping.field:
            of = f" of {place}" if place else "" if anchor else f", from No. {clipping.number}"
            rows.append(ClippedRow(clipping.id, clipping.text, f"Your {clipping.field}{of}", is_text=True))
            continue
        note = f"Stands in {place}" if place else "" if anchor else f"From No. {clipping.number}"
        rows.append(ClippedRow(clipping.id, clipping.text, note, anchor, place))
    return tuple(rows)


def list_merge_choices(outline: EditOutline, pool: PoolPage) -> tuple[tuple[str, str], ...]:
    """List the stories that one may be merged with: those of the edition, then those of the list: anchor and headline."""
    listed = tuple((row.anchor, row.headline) for row in pool.rows if not row.place)
    return (*outline.placed_choices, *listed)


def present_sentence(colleagues: Sequence[PresentColleague], outline: EditOutline) -> str:
    """Say who else has the edition open, and where, as the script says it; empty where nobody has."""
    places = {anchor: f"in {label.partition(':')[0]}" for anchor, label in outline.placed_choices}
    places |= {"head": "in the subject and intro", "block": "in a labelled block"}
    named = [", ".join(filter(None, (one.name, places.get(one.place)))) for one in colleagues]
    return f"Also here: {'; '.join(named)}." if named else ""


@dataclass(frozen=True, slots=True)
class FindingSummary:
    """What stands in the state line: the findings of one level, each with the place that it leads to."""

    errors: tuple[tuple[str, str], ...]  # anchor, words
    warnings: tuple[tuple[str, str], ...]

    @property
    def error_count(self) -> str:
        """Say "2 to fix"."""
        return f"{len(self.errors)} to fix"

    @property
    def warning_count(self) -> str:
        """Say "1 to look at"."""
        return f"{len(self.warnings)} to look at"


def summarise_findings(outline: EditOutline) -> FindingSummary:
    """Sort the findings by level, with the place on the page that each speaks of."""
    placed = [
        (row.anchor, f"{section.settings.title} {row.number}", finding)
        for section in outline.sections
        for row in section.rows
        for finding in row.findings
    ]
    heads = [("head", place, finding) for place, found in outline.head_findings.items() for finding in found]
    sections = [
        (f"section-{section.settings.key}", section.settings.title, finding)
        for section in outline.sections
        for finding in section.findings
    ]
    general = [
        ("faults" if f.level == FindingLevel.ERROR else "looks", f.where or "The edition", f)
        for f in outline.general_findings
    ]
    everything = (*heads, *placed, *sections, *general)
    listed = [(f.level, (anchor, f"{where}: {f.message}")) for anchor, where, f in everything]
    return FindingSummary(
        tuple(pair for level, pair in listed if level == FindingLevel.ERROR),
        tuple(pair for level, pair in listed if level != FindingLevel.ERROR),
    )


def tray_sentence(arrangement: Arrangement, zone: ZoneInfo) -> str:
    """Say how many stories wait, and since when; empty where none does."""
    if not arrangement.tray:
        return ""
    since = min(new.arrived_at for new in arrangement.tray)
    return f"{count_with_noun(len(arrangement.tray), 'story', 'stories')} new since {short_moment(since, zone)}"
