"""Edits taken back: an editor's own last act, one of the history, or all since a state of before."""

from digest.app.editing.edit_application import EditForm, EditResult, apply_decision
from digest.app.editing.editing_state import EditingState, EditRefusedError
from digest.edition.editing import edits as history
from digest.edition.editing.edits import Edit, EditDraft, EditKind
from digest.installation.opened import Installation


def undo_last(installation: Installation, form: EditForm) -> EditResult:
    """Take back the actor's own last act.

    Raises:
        EditRefusedError: they have done nothing that is in force.
    """
    return apply_decision(installation, form, lambda state: _undo(state.find_last_own(form.actor.name)))


def redo_last(installation: Installation, form: EditForm) -> EditResult:
    """Take back the actor's own last undo, if they did nothing since.

    Raises:
        EditRefusedError: there is none.
    """
    return apply_decision(installation, form, lambda state: _undo(state.find_last_own_undo(form.actor.name)))


def undo_edit(installation: Installation, form: EditForm, seq: int) -> EditResult:
    """Take back one edit of the history, whoever made it.

    Raises:
        EditRefusedError: there is none of that number, or it was taken back already.
    """

    def undo(state: EditingState) -> EditDraft:
        if seq in history.find_undone(state.edits):
            raise EditRefusedError("The change was taken back already.")
        return _undo(next((e for e in state.edits if e.seq == seq), None))

    return apply_decision(installation, form, undo)


def _undo(edit: Edit | None) -> EditDraft:
    if edit is None:
        raise EditRefusedError("There is nothing to take back.")
    return EditDraft(EditKind.UNDO, edit.target, {}, edit.seq)


def bring_back(installation: Installation, form: EditForm, seq: int) -> EditResult:
    """Bring back the state after the edit of a number (0: before the first): all edits since are taken back.

    Raises:
        EditRefusedError: nothing has changed since; or somebody changed something after the form was made, which said what would
            be taken out.
    """

    def revert(state: EditingState) -> EditDraft:
        if form.based_on is not None and form.based_on != state.last_seq:
            raise EditRefusedError(
                "Nothing was brought back: the edition was changed while the page was open. See what would be taken out now."
            )
        past = tuple(e for e in state.edits if e.seq <= seq)
        if history.edits_in_force(past) == history.edits_in_force(state.edits):
            raise EditRefusedError("Nothing has changed since then.")
        return EditDraft(EditKind.REVERT, history.EDITION_TARGET, {}, max(0, seq))

    return apply_decision(installation, form, revert)
