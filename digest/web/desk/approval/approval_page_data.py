"""An edition's approval as the desk shows it, and who made each change since the last; `standing_words.html` says it."""

from collections.abc import Iterator
from dataclasses import dataclass

from digest.app.approval.approvals import ApprovalOverview
from digest.app.editing.editing_state import EditingState
from digest.edition.content.content_changes import ChangeKind, ContentChange, ContentComparison, ItemPlace
from digest.edition.content.edition_content import EditionContent
from digest.edition.editing.arrangement import ArrangedStory
from digest.edition.editing.edits import EDITION_TARGET, Edit, EditKind
from digest.store.models import EditionState
from digest.web.desk.outline.changed_texts import ChangedPassage, compare_texts
from digest.web.desk.outline.edit_sentences import EditSentenceWriter

_MOVING_KINDS = frozenset({EditKind.PLACE, EditKind.PIN, EditKind.RESTORE, EditKind.UNDER})
_REGROUPING_KINDS = frozenset({EditKind.LEAD, EditKind.MERGE, EditKind.SPLIT})
_FIELD_KINDS = {"note": EditKind.NOTE, "picture": EditKind.PICTURE, "kicker": EditKind.TOPIC}


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One change since the last approved version, and the last edit behind it, where one is known."""

    change: ContentChange
    edit: Edit | None
    passages: tuple[ChangedPassage, ...]


@dataclass(frozen=True, slots=True)
class ApprovalStatusView:
    """How an edition's approval stands for `actor`.

    `key` changes as soon as the head of the edition's page has to say something else of it. `void_edit` is the edit that ended the
    last approval. `sentences` say who can approve, `approvers` the last of them alone, empty if it isn't a draft.
    """

    overview: ApprovalOverview
    actor: str
    key: str
    writer: EditSentenceWriter | None
    void_edit: Edit | None
    sentences: tuple[str, ...]
    approvers: str
    comparison: ContentComparison | None
    changes: tuple[ChangeRow, ...]

    @property
    def refusal(self) -> str:
        """Why `actor` can't approve it; empty if they can."""
        return self.overview.rule.explain_refusal(self.actor)

    @property
    def is_partial(self) -> bool:
        """Whether another approval is needed after theirs."""
        return self.overview.rule.sign(self.actor).missing > 0

    @property
    def approved_authors(self) -> list[str]:
        """The names of those whose texts alone an approval of `actor` covers: empty if they wrote nothing."""
        rule = self.overview.rule
        if self.actor not in rule.authors or self.refusal:
            return []
        other_authors = (author for author in rule.authors if author != self.actor and rule.is_open(author))
        return [self.overview.name_actor(author) for author in other_authors]


def describe_approval_status(
    overview: ApprovalOverview,
    state: EditingState | None,
    content: EditionContent,
    *,
    writer: EditSentenceWriter | None,
    sentences: tuple[str, ...],
    approvers: str,
    actor: str,
) -> ApprovalStatusView:
    """Describe how an edition's approval stands for one of its editors; without `state` it was drafted before edits were kept."""
    ended, comparison = overview.ended, overview.compare(content)
    after = overview.compared.edit_seq if overview.compared else 0
    changes = comparison.changes if comparison else ()
    return ApprovalStatusView(
        overview=overview,
        actor=actor,
        key=make_approval_status_fingerprint(overview),
        writer=writer,
        void_edit=writer.find_edit(ended.ended_by_edit) if ended and writer else None,
        sentences=sentences,
        approvers=approvers,
        comparison=comparison,
        changes=tuple(_describe_change(each, state, after) for each in changes),
    )


def _describe_change(change: ContentChange, state: EditingState | None, after_seq: int) -> ChangeRow:
    edit = find_edit_behind(change, state, after_seq) if state else None
    return ChangeRow(change, edit, compare_texts(change.was, change.now))


def make_approval_status_fingerprint(overview: ApprovalOverview) -> str:
    """Name how an edition's approval stands: the same as long as nobody approved it, sent it back, or took that back."""
    state, newest = overview.edition.state, next(iter(overview.versions), None)
    version = f"{newest.version} {newest.state} {len(newest.signatures)}" if newest else ""
    # What lacks stories is a draft here: both offer the same.
    coming = EditionState.DRAFT if state is EditionState.INCOMPLETE else state
    notes = [str(note.id) for note in overview.open_notes]
    return "; ".join([coming, version, *notes])


def find_edit_behind(change: ContentChange, state: EditingState, after_seq: int) -> Edit | None:
    """Find the last edit behind a change: one after a version, in force. None if a section's rules made it, or a later draft."""
    outcomes = state.arrangement.outcomes
    later = [o.edit for o in outcomes if o.edit.seq > after_seq and not o.undone_by]
    story = _find_story(state, change.after)
    matching_edits = [edit for edit in later if _wrote_edition(edit, change) or _touched(edit, story, change)]
    removals = (edit for edit in _list_removals(state, change) if edit.seq > after_seq)
    return max([*matching_edits, *removals], key=lambda edit: edit.seq, default=None)


def _wrote_edition(edit: Edit, change: ContentChange) -> bool:
    """Return whether an edit wrote what changed of an edition's head or its labelled blocks."""
    if change.field in {"block", "block-image"}:
        return edit.kind == EditKind.BLOCK
    is_head = edit.target == EDITION_TARGET and not change.before
    return is_head and bool(change.field) and edit.value.get("field") == change.field


def _find_story(state: EditingState, place: ItemPlace | None) -> ArrangedStory | None:
    stories = state.arrangement.sections.get(place.section, ()) if place else ()
    return stories[place.number - 1] if place and place.number <= len(stories) else None


def _touched(edit: Edit, story: ArrangedStory | None, change: ContentChange) -> bool:
    """Return whether an edit of a story is of the kind that makes such a change."""
    if story is None or edit.seq not in story.edits:
        return False
    if change.kind is ChangeKind.MOVED:
        return edit.kind in _MOVING_KINDS
    if change.kind is ChangeKind.REWRITTEN:
        written = edit.kind == EditKind.TEXT and edit.value.get("field") == change.field
        return written or edit.kind in {_FIELD_KINDS.get(change.field), *_REGROUPING_KINDS}
    return True


def _list_removals(state: EditingState, change: ContentChange) -> Iterator[Edit]:
    """List the edits that removed the story that a change took out."""
    if change.before and change.kind in {ChangeKind.DROPPED, ChangeKind.REPLACED}:
        for removed in state.arrangement.removed:
            if change.before.url in {article.url for article in removed.scored.story.members}:
                yield removed.edit
