"""The history of an edition at the desk: showing any past state, undoing an edit, and restoring a state."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from operator import attrgetter, itemgetter

from flask import Blueprint, Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from digest.app.editing import edit_history
from digest.app.editing.edit_application import ApprovedEditionError
from digest.app.editing.edit_history import ApprovalHistoryEntry, EditionHistory, NoteHistoryEntry
from digest.app.editing.editing_state import EditRefusedError
from digest.edition.editing.arrangement import Arrangement, EditOutcome
from digest.edition.editing.edits import Edit, EditKind, RevertEffect
from digest.installation.action_words import name_actor
from digest.web.app_state import get_app_state
from digest.web.auth.access import current_actor
from digest.web.desk.editing.editing_pages import read_edit_form, read_edition_name_from_url, render_approval_warning
from digest.web.desk.editing.page_query import read_number
from digest.web.desk.edition.previews import build_preview_response
from digest.web.desk.outline.changed_texts import ChangedPassage, compare_texts
from digest.web.desk.outline.edit_sentences import create_sentence_writer

MAX_SHOWN_ROWS = 40

history_pages = Blueprint("history", __name__, url_prefix="/desk/editions/<name>/history")


@history_pages.errorhandler(EditRefusedError)
def answer_refused_action(error: EditRefusedError) -> ResponseReturnValue:
    """Show why an action was refused, with a link back."""
    name = read_edition_name_from_url()
    # If the history itself can't be shown, the link leads to the edition.
    back = url_for("desk.edition" if request.method == "GET" else "history.show_history", name=name)
    return render_template("web/desk/editing/edit_refused.html", name=name, why=str(error), back=back), 409


@history_pages.errorhandler(ApprovedEditionError)
def ask_before_revoking(_: ApprovedEditionError) -> ResponseReturnValue:
    """Ask whether the action should revoke an approval that wasn't shown on the page."""
    return render_approval_warning(url_for("history.show_history", name=read_edition_name_from_url())), 409


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """The past state to show, and filters for the history.

    `moment` is the number of an edit or None, `who` is an actor, and `section` is a key.
    `from_review` is set if the user came from the review page, so that they can return there.
    """

    moment: int | None = None
    who: str = ""
    section: str = ""
    whole: bool = False
    from_review: bool = False


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """An event: an edit, an approval, a note, or the first draft.

    `seq` is the number of the resulting state. If one person saves a block several times in a row, that's
    one event. `outcome` is the last of these edits, and `first_edit` is the number of the first one.
    """

    seq: int
    at: datetime
    actor: str = ""
    outcome: EditOutcome | None = None
    first_edit: int = 0
    approval: ApprovalHistoryEntry | None = None
    note: NoteHistoryEntry | None = None
    passages: tuple[ChangedPassage, ...] = ()

    @property
    def edit(self) -> int:
        """The number of the event's edit, or 0 if the event isn't an edit."""
        return self.outcome.edit.seq if self.outcome else 0


@dataclass(frozen=True, slots=True)
class ShownPastState:
    """A past state, and the changes that restoring it would make.

    `edit` is None for the first draft. `is_undoable` is set if the edit can be undone by itself,
    which isn't possible for one of several consecutive saves of a block.
    """

    seq: int
    edit: Edit | None
    effect: RevertEffect
    is_undoable: bool


@history_pages.get("")
def show_history(name: str) -> ResponseReturnValue:
    """Show the history of an edition and, next to it, one past state."""
    app_state, query = get_app_state(), read_history_query(request.args.to_dict())
    history = edit_history.read_edition_history(app_state.installation, name)
    sections, state, zone = app_state.settings.file.sections, history.state, app_state.zone
    in_order = attrgetter("at", "seq", "edit")
    rows = sorted(list_history_rows(history, query), key=in_order, reverse=True)
    listed = rows if query.whole else rows[:MAX_SHOWN_ROWS]
    rows_with_changes = [replace(row, passages=compare_edit(history, row)) for row in listed]
    people = {edit.actor: name_actor(edit.actor, history.names) for edit in state.edits}
    days = groupby(rows_with_changes, key=lambda row: row.at.astimezone(zone).date())
    return render_template(
        "web/desk/editing/history.html",
        history=history,
        edition=history.edition,
        state=state,
        names=history.names,
        people=sorted(people.items(), key=itemgetter(1)),
        reader=current_actor().name,
        last_own=state.find_last_edit_by(current_actor().name),
        writer=create_sentence_writer(state.arrangement, state.edits, sections),
        days=[tuple(acts) for _, acts in days],
        hidden=len(rows) - len(rows_with_changes),
        shown=find_past_state(history, query.moment),
        asked=query,
        sections=sections,
    )


def read_history_query(values: dict[str, str]) -> HistoryQuery:
    """Parse the query of the history page.

    Unknown values are replaced by defaults.
    """
    return HistoryQuery(
        moment=read_number(values.get("moment", "")),
        who=values.get("who", "")[:100],
        section=values.get("section", "")[:100],
        whole=values.get("whole") == "1",
        from_review=values.get("back") == "review",
    )


def list_history_rows(history: EditionHistory, query: HistoryQuery) -> Iterator[HistoryRow]:
    """Yield the events that match a query, in any order."""
    places = _find_story_places(history.state.arrangement)
    for row in _list_rows(history):
        edit = row.outcome.edit if row.outcome else None
        targets = map(history.state.arrangement.name_target, edit.targets if edit else ())
        sections = {places.get(target, "") for target in targets}
        if edit and (section := edit.text("section")):
            sections = {section}
        if query.who in {"", row.actor} and query.section in {"", *sections}:
            yield row


def _list_rows(history: EditionHistory) -> Iterator[HistoryRow]:
    rows: list[HistoryRow] = []
    for outcome in history.state.arrangement.outcomes:
        edit = outcome.edit
        row = HistoryRow(edit.seq, edit.at, edit.actor, outcome, edit.seq)
        if rows and _continues_block(history, rows[-1], outcome):
            row = replace(row, first_edit=rows.pop().first_edit)
        rows.append(row)
    yield from rows
    # A later draft only fills the tray, so the proposal existed at the time of the first edit.
    first = [edit.at for edit in history.state.edits[:1]]
    yield HistoryRow(0, min([history.edition.drafted_at, *first]))
    for act in history.approvals:
        yield HistoryRow(act.seq, act.at, act.actor, approval=act)
    for note in history.notes:
        yield HistoryRow(note.seq, note.at, note.actor, note=note)


def _continues_block(history: EditionHistory, row: HistoryRow, outcome: EditOutcome) -> bool:
    """Return True if an edit continues saving a block that the same person has just saved.

    Nothing else may have been done in between.
    """
    before, edit = row.outcome, outcome.edit
    if before is None or edit.kind != EditKind.BLOCK or before.undone_by is not None or outcome.undone_by is not None:
        return False
    is_same = (before.edit.kind, before.edit.target, before.edit.actor) == (edit.kind, edit.target, edit.actor)
    acts = {act.seq for act in history.approvals} | {note.seq for note in history.notes}
    is_removal = any(each.value.get("removed") for each in (before.edit, edit))
    return is_same and not is_removal and row.seq not in acts


def _find_story_places(arrangement: Arrangement) -> Mapping[str, str]:
    """Return the section that each story is in, or that it was removed from."""
    places = {removed.scored.story.lead.url: removed.section for removed in arrangement.removed}
    for section, stories in arrangement.sections.items():
        for story in stories:
            places |= {story.url: section} | {under.url: section for under in story.supporting}
    return places


def compare_edit(history: EditionHistory, row: HistoryRow) -> tuple[ChangedPassage, ...]:
    """Return how an edit changed a text or a labeled block, as passages.

    For other edits, there are none.
    """
    if row.outcome is None:
        return ()
    edit = row.outcome.edit
    if edit.kind == EditKind.BLOCK:
        before = history.find_block_before(edit.target, row.first_edit)
        return compare_texts(_join_block_texts(before), _join_block_texts(edit.value)) if before else ()
    if edit.kind != EditKind.TEXT:
        return ()
    was, now = history.find_text_before(edit), edit.text("text")
    original = "" if was and now else history.find_original_before(edit)
    return compare_texts(was or original, now or original)


def _join_block_texts(value: Mapping[str, object]) -> str:
    """Return a block's texts as subscribers see them, joined into one text."""
    return " · ".join(str(value[name]) for name in ("headline", "text", "name", "url") if value.get(name))


def find_past_state(history: EditionHistory, seq: int | None) -> ShownPastState | None:
    """Return the state after the edit with the number `seq`, or None if there's no such edit.

    Zero is the number of the first draft.
    """
    outcomes = history.state.arrangement.outcomes
    outcome = next((each for each in outcomes if each.edit.seq == seq), None)
    if seq is None or (outcome is None and seq != 0):
        return None
    effect, edit = history.state.find_revert_effect(seq), outcome.edit if outcome else None
    is_single = any(row.edit == row.first_edit == seq for row in _list_rows(history))
    is_undoable = outcome is not None and outcome.undone_by is None and is_single
    return ShownPastState(seq, edit, effect, is_undoable)


@history_pages.get("/<int:seq>/mail")
def show_past_state(name: str, seq: int) -> Response:
    """Return the email as it would have been after the edit with this number."""
    return build_preview_response(edit_history.render_past_state(get_app_state().installation, name, seq), "phone")


@history_pages.post("/undo")
def undo_edit(name: str) -> ResponseReturnValue:
    """Undo an edit in the history, whoever made it."""
    installation, form = get_app_state().installation, read_edit_form(name)
    seq = read_number(request.form.get("edit", ""))
    if seq is None:
        raise EditRefusedError("No change was selected.", "Select the change to undo.")
    result = edit_history.undo_edit(installation, form, seq)
    if result.conflict:
        raise EditRefusedError(
            "Someone else changed this after you opened the page.",
            "Review the other person's change before you undo yours.",
        )
    back = "review" if request.form.get("back") == "review" else None
    return redirect(url_for("history.show_history", name=name, back=back, _anchor=f"edit-{seq}"), 303)


@history_pages.post("/bring-back")
def restore_past_state(name: str) -> ResponseReturnValue:
    """Restore a past state of the edition.

    Later edits are undone, but are kept in the history.
    """
    installation, form = get_app_state().installation, read_edit_form(name)
    seq = read_number(request.form.get("moment", ""))
    if seq is None:
        raise EditRefusedError("No version was selected.", "Select the version to restore.")
    edit_history.restore_past_state(installation, form, seq)
    return redirect(url_for("desk.edition", name=name), 303)
