"""An edition's approval status: who can approve it, and what changed since the last approved version and why.

`standing_words.html` puts it in words.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from digest.app.approval.approval_overviews import ApprovalOverview, name_section_before_block
from digest.app.editing.editing_state import EditingState
from digest.edition.content.content_changes import (
    DROPPED_KINDS,
    ChangeKind,
    ContentChange,
    ContentComparison,
    ItemPlace,
)
from digest.edition.content.edition_content import EditionContent, EditionSection, LabeledBlock
from digest.edition.editing.arrangement import ArrangedStory
from digest.edition.editing.edits import EDITION_TARGET, Edit, EditKind
from digest.store.models import EditionState
from digest.web.desk.outline.block_lines import list_block_lines
from digest.web.desk.outline.changed_texts import ChangedPassage, compare_texts
from digest.web.desk.outline.edit_sentences import EditSentenceWriter

_MOVING_KINDS = frozenset({EditKind.PLACE, EditKind.PIN, EditKind.RESTORE, EditKind.UNDER})
_REGROUPING_KINDS = frozenset({EditKind.LEAD, EditKind.MERGE, EditKind.SPLIT})
_CAUSES = {
    ChangeKind.MOVED: _MOVING_KINDS,
    ChangeKind.MERGED: {EditKind.MERGE},
    ChangeKind.UNDER: {EditKind.UNDER},
}
_FIELD_KINDS = {"note": EditKind.NOTE, "picture": EditKind.PICTURE, "kicker": EditKind.TOPIC}


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """A change since the last approved version, and the last edit that caused it, if known.

    `block_lines` contains the changed fields of a labeled block, with their titles.
    """

    change: ContentChange
    edit: Edit | None
    passages: tuple[ChangedPassage, ...]
    block_lines: tuple[tuple[str, tuple[ChangedPassage, ...]], ...] = ()

    @property
    def is_automatic(self) -> bool:
        """True if the story only filled the place of another one."""
        is_story = self.change.after is not None
        return self.edit is None and is_story and self.change.kind in {ChangeKind.ADDED, ChangeKind.MOVED}


@dataclass(frozen=True, slots=True)
class ApprovalStatusView:
    """The approval status of an edition, as seen by `actor`.

    `fingerprint` changes whenever the header of the edition's page has to change. `void_edit` is
    the edit that ended the last approval. `sentences` say who can approve the edition, and
    `approver_summary` says so briefly, or is empty if the edition isn't a draft.
    `other_regroupings` are merges, splits, and new lead articles that aren't behind any of the `changes`.
    """

    overview: ApprovalOverview
    actor: str
    fingerprint: str
    writer: EditSentenceWriter | None
    void_edit: Edit | None
    sentences: tuple[str, ...]
    approver_summary: str
    comparison: ContentComparison | None
    changes: tuple[ChangeRow, ...]
    other_regroupings: tuple[Edit, ...]

    @property
    def refusal(self) -> str:
        """The reason why `actor` can't approve the edition, or "" if they can."""
        return self.overview.rule.explain_refusal(self.actor)

    @property
    def is_partial(self) -> bool:
        """True if the edition needs another approval after that of `actor`."""
        return self.overview.rule.with_approval(self.actor).missing > 0

    @property
    def approved_authors(self) -> list[str]:
        """The names of the authors whose texts `actor` can approve.

        It's empty if `actor` can approve everything or nothing.
        """
        rule = self.overview.rule
        if self.actor not in rule.authors or self.refusal:
            return []
        other_authors = (author for author in rule.authors if author != self.actor and rule.awaits_approval(author))
        return [self.overview.name_actor(author) for author in other_authors]


def build_approval_status_view(
    overview: ApprovalOverview,
    state: EditingState | None,
    content: EditionContent,
    *,
    writer: EditSentenceWriter | None,
    sentences: tuple[str, ...],
    approver_summary: str,
    actor: str,
    first_draft: EditionContent | None = None,
    in_place: EditionContent | None = None,
) -> ApprovalStatusView:
    """Return an edition's approval status as seen by `actor`.

    `state` is None if the edition was drafted before edits were stored. `first_draft` is compared
    if no version has been approved. Moved stories are compared with their entries in `in_place`, if
    given.
    """
    ended, comparison = overview.ended, overview.compare(content, first_draft, in_place)
    after = overview.compared.edit_seq if overview.compared else 0
    changes = comparison.changes if comparison else ()
    rows = tuple(_describe_change(each, state, after, content.sections) for each in changes)
    listed = {row.edit.seq for row in rows if row.edit}
    in_force = state.arrangement.edits_in_force if state else []
    return ApprovalStatusView(
        overview=overview,
        actor=actor,
        fingerprint=make_approval_status_fingerprint(overview),
        writer=writer,
        void_edit=writer.find_edit(ended.ended_by_edit) if ended and writer else None,
        sentences=sentences,
        approver_summary=approver_summary,
        comparison=comparison,
        changes=rows,
        other_regroupings=tuple(
            edit for edit in in_force if edit.seq > after and edit.kind in _REGROUPING_KINDS and edit.seq not in listed
        ),
    )


def _describe_change(
    change: ContentChange, state: EditingState | None, after_seq: int, sections: Sequence[EditionSection]
) -> ChangeRow:
    edit = find_edit_behind_change(change, state, after_seq) if state else None
    lines = tuple(_compare_blocks(sections, *change.blocks))
    return ChangeRow(change, edit, compare_texts(change.was, change.now), lines)


def _compare_blocks(
    sections: Sequence[EditionSection], was: LabeledBlock | None = None, now: LabeledBlock | None = None
) -> Iterator[tuple[str, tuple[ChangedPassage, ...]]]:
    """Yield the title and the compared texts of each field in which two versions of a block differ."""
    before, after = (
        list_block_lines(asdict(block), name_section_before_block(sections, block)) if block else {}
        for block in (was, now)
    )
    for title in before | after:
        old, new = before.get(title, ""), after.get(title, "")
        if old != new:
            yield title, compare_texts(old, new)


def make_approval_status_fingerprint(overview: ApprovalOverview) -> str:
    """Return a fingerprint that changes when someone approves the edition, sends it back, or undoes either action."""
    state, newest = overview.edition.state, next(iter(overview.versions), None)
    version = f"{newest.version} {newest.state} {len(newest.signatures)}" if newest else ""
    # An incomplete edition counts as a draft, because both offer the same actions.
    coming = EditionState.DRAFT if state is EditionState.INCOMPLETE else state
    notes = [str(note.id) for note in overview.open_notes]
    return "; ".join([coming, version, *notes])


def find_edit_behind_change(change: ContentChange, state: EditingState, after_seq: int) -> Edit | None:
    """Return the last edit after `after_seq` that caused a change and hasn't been undone.

    Return None if the rules of a section or a later draft caused it.
    """
    outcomes = state.arrangement.outcomes
    later = [o.edit for o in outcomes if o.edit.seq > after_seq and not o.undone_by]
    story = _find_story(state, change.after)
    matching_edits = [edit for edit in later if _wrote_edition(edit, change) or _touched(edit, story, change)]
    removals = (edit for edit in _list_removals(state, change) if edit.seq > after_seq)
    return max([*matching_edits, *removals], key=lambda edit: edit.seq, default=None)


def _wrote_edition(edit: Edit, change: ContentChange) -> bool:
    """Return True if an edit caused a change to an edition's opening texts or labeled blocks."""
    if change.field in {"block", "block-image"}:
        return edit.kind == EditKind.BLOCK
    is_head = edit.target == EDITION_TARGET and not change.before
    # An intro is signed with its author's name.
    fields = {change.field, "intro"} if change.field == "editor" else {change.field}
    return is_head and bool(change.field) and edit.value.get("field") in fields


def _find_story(state: EditingState, place: ItemPlace | None) -> ArrangedStory | None:
    stories = state.arrangement.sections.get(place.section, ()) if place else ()
    return stories[place.number - 1] if place and place.number <= len(stories) else None


def _touched(edit: Edit, story: ArrangedStory | None, change: ContentChange) -> bool:
    """Return True if an edit changed a story, or one of its supporting stories, in a way that explains `change`."""
    if story is None or not any(edit.seq in each.edits for each in (story, *story.supporting)):
        return False
    if change.kind is ChangeKind.REWRITTEN:
        written = edit.kind == EditKind.TEXT and edit.value.get("field") == change.field
        # The reason for a lead is based on its publishers, unless an editor writes one.
        if change.field == "why":
            return written
        return written or edit.kind in {_FIELD_KINDS.get(change.field), *_REGROUPING_KINDS}
    return change.kind not in _CAUSES or edit.kind in _CAUSES[change.kind]


def _list_removals(state: EditingState, change: ContentChange) -> Iterator[Edit]:
    """Yield the edits that removed the story missing after a change."""
    if change.before and change.kind in DROPPED_KINDS:
        for removed in state.arrangement.removed:
            if change.before.url in {article.url for article in removed.scored.story.members}:
                yield removed.edit
