"""The history of an edition: its edits, approvals, and notes, its past states, and undoing edits."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import select

from digest.app.accounts import staff
from digest.app.editing.edit_application import EDIT, EditForm, EditResult, apply_edit_decided_from_state
from digest.app.editing.editing_state import EditingState, EditRefusedError, read_editing_state, render_edition_preview
from digest.app.editions.sample_emails import fill_sample_placeholders
from digest.edition.approval.sent_back_notes import list_notes
from digest.edition.content.edition_content import EditionContent
from digest.edition.content.mailable_edition import join_fragments
from digest.edition.drafting.composition import build_arranged_content, build_edited_content
from digest.edition.editing.arrangement import ArrangedStory, EditionFold
from digest.edition.editing.edits import (
    BLOCK_PREFIX,
    EDITION_TARGET,
    Edit,
    EditDraft,
    EditionField,
    EditKind,
    find_previous_text,
    find_undone_edits,
    list_active_edits,
)
from digest.edition.edition_queries import COMING_STATES, find_edition
from digest.installation.opened_installation import Installation
from digest.select.selection_types import Story
from digest.select.summary_choice import choose_summary
from digest.settings import Settings
from digest.store.approval_models import SentBackNote
from digest.store.audit import APPROVAL_REVOKED, APPROVED
from digest.store.models import AuditEntry, Edition

# Edits that change which articles a story has or which one leads it, and edits that undo them.
_REGROUPING_KINDS = frozenset(
    {EditKind.LEAD, EditKind.MERGE, EditKind.SPLIT, EditKind.ADD, EditKind.UNDO, EditKind.REVERT}
)


@dataclass(frozen=True, slots=True)
class ApprovalHistoryEntry:
    """An approval in the history of an edition, or the revocation of one.

    `seq` is the number of the last edit before it.
    """

    at: datetime  # in UTC
    actor: str
    is_given: bool
    seq: int


@dataclass(frozen=True, slots=True)
class NoteHistoryEntry:
    """A note that sent an edition back, or the moment when a note was marked as done.

    In the latter case, `text` is empty.
    """

    at: datetime  # in UTC
    actor: str
    text: str
    seq: int


@dataclass(frozen=True, slots=True)
class EditionHistory:
    """All edits, approvals, and notes of an edition.

    `names` maps actors to the names that colleagues see. `approval_effects` maps the number of an
    edit to its effect on an approval, which is "superseded", "reinstated", or "". `written_heads`
    and `regrouped` are caches for `build_default_texts_before` and `find_original_before`. Their
    keys are the numbers of the last edits included.
    """

    edition: Edition
    state: EditingState
    settings: Settings
    approvals: tuple[ApprovalHistoryEntry, ...]
    notes: tuple[NoteHistoryEntry, ...]
    names: Mapping[str, str]
    approval_effects: Mapping[int, str]
    written_heads: dict[int, EditionContent] = field(default_factory=dict)
    regrouped: dict[int, EditionFold] = field(default_factory=dict)

    @property
    def can_change(self) -> bool:
        """True if the edition can still be edited."""
        return self.edition.state in COMING_STATES

    def find_text_before(self, edit: Edit) -> str | None:
        """Return the editors' text that an edit replaced, or None if it replaced the original."""
        return find_previous_text(edit, self.state.edits, self.state.arrangement.name_target)

    def find_block_before(self, target: str, seq: int) -> Mapping[str, Any]:
        """Return the values that a block had before an edit, or an empty mapping if it didn't exist."""
        undone = find_undone_edits(self.state.edits)
        written = [e for e in self.state.edits if e.seq < seq and (e.kind, e.target) == (EditKind.BLOCK, target)]
        in_force = [edit.value for edit in written if edit.seq not in undone]
        given = {f"{BLOCK_PREFIX}{each.block.id}": asdict(each.block) for each in self.state.arrangement.given_blocks}
        return in_force[-1] if in_force else given.get(target, {})

    def build_default_texts_before(self, seq: int) -> EditionContent:
        """Return the content before an edit, with the default subject, preheader, and intro.

        A default subject consists of headlines, as they were at that time.
        """
        state = self.state
        past = tuple(e for e in state.edits if e.seq < seq and e.target != EDITION_TARGET)
        last = past[-1].seq if past else 0
        if last not in self.written_heads:
            self.written_heads[last] = build_edited_content(state.proposal, past, state.identity, self.settings)
        return self.written_heads[last]

    def find_original_before(self, edit: Edit) -> str:
        """Return the unedited text that an edit's text replaced, as it was when the edit was made.

        If there's no unedited text, return an empty string.
        """
        field = edit.text("field")
        if edit.target == EDITION_TARGET:
            head = self.build_default_texts_before(edit.seq)
            return str(getattr(head, field)) if field in {*EditionField} else ""
        story = self._find_articles_before(edit)
        return {"headline": story.lead.title, "summary": choose_summary(story).text}.get(field, "") if story else ""

    def _find_articles_before(self, edit: Edit) -> Story | None:
        """Return the articles that an edit's story had before the edit, beginning with its lead at the time."""
        past = tuple(e for e in self.state.edits if e.seq < edit.seq and e.kind in _REGROUPING_KINDS)
        last = past[-1].seq if past else 0
        if last not in self.regrouped:
            fold = EditionFold(self.state.proposal, self.settings.file)
            fold.apply_edits(past)
            self.regrouped[last] = fold
        return self.regrouped[last].find_articles(edit.target)


def build_first_draft_content(installation: Installation, state: EditingState) -> EditionContent:
    """Return an edition's content as it was first drafted, without any edits."""
    return build_arranged_content(state.arrange_at(installation, 0), state.identity, installation.settings)


def build_past_stories_in_place(installation: Installation, state: EditingState, seq: int) -> EditionContent:
    """Return an edition's content with the stories as they were after the edit `seq`, but in their current places."""
    past, now = state.arrange_at(installation, seq), state.arrangement
    sections = {
        key: tuple(_put_in_place(past.find_story(story.url) or story, story) for story in stories)
        for key, stories in now.sections.items()
    }
    arrangement = replace(now, sections=sections, pictures={**now.pictures, **past.pictures})
    return build_arranged_content(arrangement, state.identity, installation.settings)


def _put_in_place(past: ArrangedStory, now: ArrangedStory) -> ArrangedStory:
    """Return a past story, marked as chosen by an editor if it is now, because that changes its reason."""
    return replace(past, placed=replace(past.placed, is_chosen=now.placed.is_chosen))


def read_edition_history(installation: Installation, name: str) -> EditionHistory:
    """Return all edits, approvals, and notes of an edition.

    Raises:
        UnknownEditionError: there's no edition of that name.
        EditRefusedError: the edition was changed outside the program.
    """
    state = read_editing_state(installation, name)
    with installation.read() as session:
        edition = find_edition(session, state.name)
        acts = {APPROVED: True, APPROVAL_REVOKED: False}
        entries = session.scalars(
            select(AuditEntry)
            .where(AuditEntry.subject == edition.name, AuditEntry.act.in_({*acts, EDIT.name}))
            .order_by(AuditEntry.at, AuditEntry.id)
        )
        approvals, effects = [], dict[int, str]()
        for entry in entries:
            if entry.act == EDIT.name:
                effects[int(entry.detail.get("seq", 0))] = str(entry.detail.get("approval", ""))
                continue
            seq = _find_last_seq(state, entry.at)
            approvals.append(ApprovalHistoryEntry(entry.at, entry.actor, acts[entry.act], seq))
        notes = tuple(_list_note_actions(state, list_notes(session, edition)))
    names = staff.read_display_names(installation)
    return EditionHistory(edition, state, installation.settings, tuple(approvals), notes, names, effects)


def _list_note_actions(state: EditingState, notes: Iterable[SentBackNote]) -> Iterator[NoteHistoryEntry]:
    for note in notes:
        yield NoteHistoryEntry(note.at, note.actor, note.text, _find_last_seq(state, note.at))
        if note.done_at:
            yield NoteHistoryEntry(note.done_at, note.done_by or "", "", _find_last_seq(state, note.done_at))


def _find_last_seq(state: EditingState, at: datetime) -> int:
    """Return the number of the last edit made by a given time, or 0 if there was none."""
    return max((edit.seq for edit in state.edits if edit.at <= at), default=0)


def render_past_state(installation: Installation, name: str, seq: int) -> str:
    """Return the HTML of an edition as it was after the edit `seq`, or before the first one if it's 0.

    Nothing is stored.

    Raises:
        UnknownEditionError: there's no edition of that name.
        EditRefusedError: the edition was changed outside the program.
    """
    html = join_fragments(render_edition_preview(installation, name, seq=seq).fragments, "html")
    return fill_sample_placeholders(html, installation.settings)


def undo_own_last_edit(installation: Installation, form: EditForm) -> EditResult:
    """Undo the actor's own last edit that's in effect.

    Raises:
        EditRefusedError: the actor has no edit to undo.
    """
    return apply_edit_decided_from_state(
        installation, form, lambda state: _undo(state.find_last_edit_by(form.actor.name))
    )


def redo_own_last_undo(installation: Installation, form: EditForm) -> EditResult:
    """Redo the actor's own last undone edit, if they haven't edited since.

    Raises:
        EditRefusedError: the actor has nothing to redo.
    """
    return apply_edit_decided_from_state(
        installation, form, lambda state: _undo(state.find_last_undo_by(form.actor.name))
    )


def undo_edit(installation: Installation, form: EditForm, seq: int) -> EditResult:
    """Undo an edit from the history, even someone else's.

    Raises:
        EditRefusedError: there's no such edit, or it's already undone.
    """

    def undo(state: EditingState) -> EditDraft:
        if seq in find_undone_edits(state.edits):
            raise EditRefusedError("This change has already been undone.", "Reload the page.")
        return _undo(next((e for e in state.edits if e.seq == seq), None))

    return apply_edit_decided_from_state(installation, form, undo)


def _undo(edit: Edit | None) -> EditDraft:
    if edit is None:
        raise EditRefusedError("You have no changes to undo.", "To undo someone else's change, open the history.")
    return EditDraft(EditKind.UNDO, edit.target, {}, edit.seq)


def restore_past_state(installation: Installation, form: EditForm, seq: int) -> EditResult:
    """Restore the state after the edit `seq` by undoing all later ones.

    If `seq` is 0, restore the state before the first edit.

    Raises:
        EditRefusedError: nothing has changed since, or the edition was edited after the preview was
            opened.
    """

    def revert(state: EditingState) -> EditDraft:
        if form.based_on is not None and form.based_on != state.last_seq:
            raise EditRefusedError(
                "The edition changed after you opened the page.", "Review the changes that would now be removed."
            )
        past = tuple(e for e in state.edits if e.seq <= seq)
        if list_active_edits(past) == list_active_edits(state.edits):
            raise EditRefusedError("The edition hasn't changed since that version.", "Select another version.")
        return EditDraft(EditKind.REVERT, EDITION_TARGET, {}, max(0, seq))

    return apply_edit_decided_from_state(installation, form, revert)
