"""An edition that is being arranged, as the desk shows it: pure, from the arrangement to values that a template only prints.

A story is named in addresses and buttons by its anchor, which is made of the address of the article that leads it. An anchor
of any of a story's articles finds it, so that a page that was opened before a merge still works.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from zoneinfo import ZoneInfo

from digest.app.clipboard import KeptClipping
from digest.edition.arrangement import ArrangedStory, Arrangement, RemovedStory
from digest.edition.content import EditionContent, LabelledBlock, SectionEntry
from digest.edition.edits import Edit, EditKind
from digest.edition.kinds import SECTION_KINDS
from digest.edition.preflight.rule_registry import FindingLevel, PreflightFinding
from digest.select.values import ScoredStory
from digest.settings import SectionSettings
from digest.web.desk.edition_outline import concerns_entry, entry_meta
from digest.web.filters import count_with_noun, short_moment

ANCHOR_LENGTH = 12
MAX_POOL_STORIES = 40  # stories of one page of the list
_REGROUPING_KINDS = frozenset({EditKind.MERGE, EditKind.SPLIT})
POOL_FILTERS = (("unused", "Unused"), ("used", "Used"), ("left-out", "Left out"), ("all", "All"))
POOL_ORDERS = (("score", "Best score"), ("newest", "Newest"), ("read", "Most read"))
REFILL_SENTENCES = {
    "next": "If you drop one, the next by score comes up.",
    "none": "If you drop one, its place stays empty.",
}
READ_REFILL_SENTENCES = REFILL_SENTENCES | {"next": "If you drop one, the next by reads comes up."}


def story_anchor(url: str) -> str:
    """Return the short name of the story that an article leads."""
    return f"s{hashlib.sha256(url.encode()).hexdigest()[:ANCHOR_LENGTH]}"


def find_story_url(arrangement: Arrangement, anchor: str) -> str | None:
    """Find the article that an anchor names, wherever its story is; None where nobody knows it."""
    return next((url for url in arrangement.story_names if story_anchor(url) == anchor), None)


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
    """A story that was removed: by whom and when, in words."""

    anchor: str
    title: str
    sentence: str


@dataclass(frozen=True, slots=True)
class ArrangedSection:
    """A section with its rows; `removed` are the stories that were dropped from it, the latest first."""

    settings: SectionSettings
    note: str
    rows: tuple[ArrangedRow, ...]
    removed: tuple[ShelvedRow, ...]

    @property
    def count(self) -> str:
        """How full it is: "5 of at most 6"."""
        return f"{len(self.rows)} of at most {self.settings.most}"

    @property
    def refill_sentence(self) -> str:
        """What takes the place of a dropped story, and that nothing is put here by hand, where that is so."""
        if self.is_placed_by_hand:
            return REFILL_SENTENCES[self.settings.refill]
        return f"By reads alone: nothing is put or moved here by hand. {READ_REFILL_SENTENCES[self.settings.refill]}"

    @property
    def is_placed_by_hand(self) -> bool:
        """Whether editors put stories here and order them."""
        return SECTION_KINDS[self.settings.kind].is_placed_by_hand


@dataclass(frozen=True, slots=True)
class PoolRow:
    """A story of the week in the list: where it stands, or why it was left out, and the sections it fits."""

    scored: ScoredStory
    anchor: str = ""
    place: str = ""
    place_anchor: str = ""
    reason: str = ""
    fits: tuple[str, ...] = ()  # keys of sections
    fits_title: str = ""
    joins: str = ""  # the headline of the story that it belongs to

    @property
    def headline(self) -> str:
        """The lead's title."""
        return self.scored.story.lead.title

    @property
    def publishers(self) -> str:
        """Who reported it: "Perimeter and 2 more"."""
        first, others = self.scored.story.lead.publisher, len(self.scored.story.publishers) - 1
        return f"{first} and {others} more" if others else first


@dataclass(frozen=True, slots=True)
class PoolPage:
    """A page of the week's stories, with how many there are of each kind."""

    rows: tuple[PoolRow, ...]
    count: int
    start: int
    totals: Mapping[str, int]
    publisher_count: int
    topics: tuple[str, ...]

    @property
    def next_start(self) -> int | None:
        """Where the next page begins; None on the last."""
        following = self.start + len(self.rows)
        return following if following < self.count else None


@dataclass(frozen=True, slots=True)
class PoolQuery:
    """What the list is asked for."""

    filter: str = "unused"
    order: str = "score"
    topic: str = ""
    words: str = ""
    start: int = 0


@dataclass(frozen=True, slots=True)
class EditOutline:
    """The edition's sections, its shelf, its tray and its blocks."""

    sections: tuple[ArrangedSection, ...]
    tray: tuple[PoolRow, ...]
    removed: tuple[ShelvedRow, ...]
    blocks: tuple[LabelledBlock, ...]
    general_findings: tuple[PreflightFinding, ...]

    @property
    def placed_choices(self) -> tuple[tuple[str, str], ...]:
        """Every placed story with its place, to choose one from: anchor and "Featured 2: headline"."""
        return tuple(
            (row.anchor, f"{section.settings.title} {row.number}: {row.entry.headline}")
            for section in self.sections
            for row in section.rows
        )


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
    left = list(findings)
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
            rows.append(ArrangedRow(story, entry, anchor, number, is_last, own, also, signatures, is_regrouped))
        outline_sections.append(
            ArrangedSection(
                settings,
                written.note if written else settings.note,
                tuple(rows),
                tuple(_shelve(r, zone) for r in arrangement.removed if r.section == settings.key),
            )
        )
    return EditOutline(
        tuple(outline_sections),
        tuple(_complete_row(row, sections) for row in _list_tray(arrangement)),
        tuple(_shelve(removed, zone) for removed in arrangement.removed),
        arrangement.blocks,
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


def _shelve(removed: RemovedStory, zone: ZoneInfo) -> ShelvedRow:
    at = short_moment(removed.edit.at, zone)
    return ShelvedRow(
        story_anchor(removed.scored.story.lead.url), removed.scored.story.lead.title, f"{removed.edit.actor}, {at}"
    )


def _list_tray(arrangement: Arrangement) -> Iterator[PoolRow]:
    for new in arrangement.tray:
        joined = arrangement.find_story(new.joins) if new.joins else None
        joins = joined.placed.scored.story.lead.title if joined else ""
        yield PoolRow(new.scored, joins=joins)


def _complete_row(row: PoolRow, sections: Sequence[SectionSettings]) -> PoolRow:
    """Name a story that stands nowhere by its anchor, with the sections that it fits."""
    if row.place:
        return row
    fits = find_fitting_sections(row.scored, sections)
    titles = [s.title for s in fits]
    return replace(
        row,
        anchor=story_anchor(row.scored.story.lead.url),
        fits=tuple(s.key for s in fits),
        fits_title=" or ".join(titles[:2]) if titles else "",
    )


def find_fitting_sections(scored: ScoredStory, sections: Sequence[SectionSettings]) -> list[SectionSettings]:
    """Find the sections that take a story from an editor, in the order of the edition."""
    return [section for section in list_hand_placed(sections) if SECTION_KINDS[section.kind].may_take(section, scored)]


def list_hand_placed(sections: Iterable[SectionSettings]) -> list[SectionSettings]:
    """List the sections into which editors put stories."""
    return [section for section in sections if SECTION_KINDS[section.kind].is_placed_by_hand]


def find_listed_story(arrangement: Arrangement, url: str) -> ScoredStory | None:
    """Find a story that stands in no section: left out, in the tray or removed."""
    name = arrangement.name_target(url)
    listed = [out.scored for out in arrangement.left_out]
    listed += [new.scored for new in arrangement.tray]
    listed += [removed.scored for removed in arrangement.removed]
    return next((scored for scored in listed if scored.story.lead.url == name), None)


@dataclass(frozen=True, slots=True)
class ClippedRow:
    """One thing on an editor's clipboard: a story of this edition has an anchor, and a place where it stands in a section."""

    id: int
    text: str
    note: str
    anchor: str = ""
    place: str = ""


def list_clipped_rows(clippings: Iterable[KeptClipping], outline: EditOutline, edition: str) -> tuple[ClippedRow, ...]:
    """Describe an editor's clipboard beside an edition; what came from another edition can be read, and taken off."""
    rows = []
    for clipping in clippings:
        anchor = story_anchor(clipping.target) if clipping.edition == edition and not clipping.field else ""
        place = next((label.partition(":")[0] for a, label in outline.placed_choices if a == anchor), "")
        note = f"Stands in {place}" if place else clipping.field or ("" if anchor else f"From {clipping.edition}")
        rows.append(ClippedRow(clipping.id, clipping.text, note, anchor, place))
    return tuple(rows)


def list_merge_choices(outline: EditOutline, pool: PoolPage) -> tuple[tuple[str, str], ...]:
    """List the stories that one may be merged with: those of the edition, then those of the list: anchor and headline."""
    listed = tuple((row.anchor, row.headline) for row in pool.rows if not row.place)
    return (*outline.placed_choices, *listed)


def find_pool_page(arrangement: Arrangement, sections: Sequence[SectionSettings], query: PoolQuery) -> PoolPage:
    """Find the stories of the week that fit a query, in its order, one page of them; only those of the page are described."""
    rows = list(_list_pool(arrangement, sections))
    kinds = {"all": rows, "used": [r for r in rows if r.place], "unused": [r for r in rows if not r.place]}
    kinds["left-out"] = [r for r in rows if r.reason]
    wanted = [r for r in kinds.get(query.filter, rows) if _fits_query(r, query)]
    wanted.sort(key=_POOL_ORDER_KEYS.get(query.order, _by_score))
    start = min(max(0, query.start), max(0, len(wanted) - 1))
    publishers = {p for r in rows for p in r.scored.story.publishers}
    return PoolPage(
        tuple(_complete_row(row, sections) for row in wanted[start : start + MAX_POOL_STORIES]),
        len(wanted),
        start,
        {key: len(found) for key, found in kinds.items()},
        len(publishers),
        tuple(sorted({r.scored.topic for r in rows if r.scored.topic})),
    )


def _list_pool(arrangement: Arrangement, sections: Sequence[SectionSettings]) -> Iterator[PoolRow]:
    """List every story of the week as far as it takes to choose among them; see `_complete_row`."""
    for settings in sections:
        for number, story in enumerate(arrangement.sections.get(settings.key, ()), 1):
            anchor, place = story_anchor(story.url), f"{settings.title} {number}"
            yield PoolRow(story.placed.scored, anchor, place=place, place_anchor=anchor)
            for under in story.supporting:
                under_anchor = story_anchor(under.url)
                yield PoolRow(under.placed.scored, under_anchor, place=f"{place}, under it", place_anchor=anchor)
    for out in arrangement.left_out:
        yield PoolRow(out.scored, reason=out.reason)
    for removed in arrangement.removed:
        yield PoolRow(removed.scored, reason=f"{removed.edit.actor} dropped it")
    yield from _list_tray(arrangement)


def _fits_query(row: PoolRow, query: PoolQuery) -> bool:
    if query.topic and row.scored.topic != query.topic:
        return False
    if not query.words:
        return True
    words = query.words.casefold().split()
    text = " ".join([row.headline, *(m.title for m in row.scored.story.members), *row.scored.story.publishers])
    return all(word in text.casefold() for word in words)


def _by_score(row: PoolRow) -> tuple[float, str]:
    return (-row.scored.score, row.scored.story.lead.url)


def _by_age(row: PoolRow) -> tuple[float, str]:
    return (-max(m.dated_at.timestamp() for m in row.scored.story.members), row.scored.story.lead.url)


def _by_reads(row: PoolRow) -> tuple[float, float, str]:
    reads = max((m.views or 0) for m in row.scored.story.members)
    return (-reads, *_by_score(row))


_POOL_ORDER_KEYS = {"score": _by_score, "newest": _by_age, "read": _by_reads}


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
    titles = {section.settings.title: f"section-{section.settings.key}" for section in outline.sections}
    general = [(titles.get(f.where, "head"), f.where or "The edition", f) for f in outline.general_findings]
    listed = [(f.level, (anchor, f"{where}: {f.message}")) for anchor, where, f in (*placed, *general)]
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
