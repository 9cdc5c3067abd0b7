"""Saving a form's edits one by one, and the page that shows both versions of a conflicting edit."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from flask import render_template, request
from werkzeug.datastructures import MultiDict

from digest.app.accounts import staff
from digest.app.editing import clipboard
from digest.app.editing.edit_application import EditForm, EditResult
from digest.app.editing.editing_state import EditRefusedError
from digest.app.editions import edition_views
from digest.edition.content.edition_content import EditionContent
from digest.edition.editing.edits import Edit
from digest.web.app_state import get_app_state
from digest.web.auth.access import current_actor
from digest.web.desk.editing.edit_conflicts import RefusedEdit, SavedAndRefusedVersions, build_conflict_page_data
from digest.web.desk.editing.page_query import read_number, read_page_query
from digest.web.desk.outline.edit_sentences import create_sentence_writer

# The fields about the page, which are sent with each choice.
_PAGE_FIELDS = ("close", "supersedes")


Refusals = Sequence[RefusedEdit]


@dataclass(frozen=True, slots=True)
class FieldEdit:
    """An edit made from some fields of a form: their names, the first of which identifies it, and the action."""

    names: tuple[str, ...]
    write: Callable[[EditForm], EditResult]


@dataclass(frozen=True, slots=True)
class ConflictChoice:
    """A choice between two versions, whether the rejected one is on the clipboard, and the fields to submit.

    `other_fields` are sent with either choice. They're the fields about the page, and those of
    conflicts that still have to be resolved.
    """

    pair: SavedAndRefusedVersions
    is_kept: bool
    is_last: bool
    own_fields: list[tuple[str, str]]
    other_fields: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class FieldEditResults:
    """The results of a form's edits: the form with the resulting state, and the saved and rejected edits."""

    form: EditForm
    saved: tuple[Edit, ...]
    refused: tuple[RefusedEdit, ...]

    def add(self, later: "FieldEditResults") -> "FieldEditResults":
        """Return these results combined with later ones."""
        return FieldEditResults(later.form, self.saved + later.saved, self.refused + later.refused)


def apply_field_edits(form: EditForm, writes: Iterable[FieldEdit]) -> FieldEditResults:
    """Apply the edits of a form one by one.

    A conflict of one edit doesn't prevent the others from being saved. If a field is based on an
    older state than its page, it says so. For example, `seq-headline` is the number of the last
    edit that the headline is based on.
    """
    saved, refused = [], []
    for each in writes:
        own = read_base_edit_number_of_field(request.form, each.names[0])
        base_edit = form.based_on if own is None else own
        result = each.write(replace(form, based_on=base_edit))
        form = replace(form, state=result.state)
        if result.conflict:
            refused.append(RefusedEdit(each.names, result.state.last_seq if base_edit is None else base_edit, result))
        elif result.edit:
            saved.append(result.edit)
            if each.names[0] in request.form.getlist("chosen"):
                remove_from_clipboard(form.edition, result.edit)
    return FieldEditResults(form, tuple(saved), tuple(refused))


def read_base_edit_number_of_field(fields: MultiDict[str, str], name: str) -> int | None:
    """Return the number of the last edit that a field is based on.

    Return None if it's based on the same edit as the page.
    """
    return read_number(fields.get(f"seq-{name}", ""))


def show_conflicts(name: str, refused: Refusals, saved: Sequence[Edit], back: str) -> str:
    """Show the saved and the rejected versions side by side.

    Neither is preselected, and the rejected ones are kept.
    """
    app_state, state, actor = get_app_state(), refused[-1].result.state, current_actor().name
    writer = create_sentence_writer(state.arrangement, state.edits, app_state.settings.file.sections)
    outline = build_conflict_page_data(
        refused,
        EditionContent.from_json(edition_views.read_edition(app_state.installation, name).content),
        writer,
        actor=actor,
        was=_list_former_texts(),
    )
    choices = [
        ConflictChoice(
            pair,
            _keep_on_clipboard(name, pair),
            len(outline.pairs) == 1,
            _list_own_fields(pair),
            _list_other_fields(pair, outline.pairs),
        )
        for pair in outline.pairs
    ]
    return render_template(
        "web/desk/editing/edit_conflict.html",
        name=name,
        state=state,
        outline=outline,
        writer=writer,
        actor=actor,
        names=staff.read_display_names(app_state.installation),
        saved=saved,
        choices=choices,
        now=app_state.clock(),
        again=request.path,
        has_file=any(file.filename for file in request.files.values()),
        back=back,
    )


def _list_former_texts() -> dict[str, str]:
    """Return the values that the fields had when the page was created, by name."""
    former = (key for key in request.form if key.startswith("was-"))
    return {key.removeprefix("was-"): request.form[key] for key in former}


def _pick_fields(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return the form's fields with these names."""
    return [(name, request.form[name]) for name in names if name in request.form]


def _list_own_fields(pair: SavedAndRefusedVersions) -> list[tuple[str, str]]:
    """Return the fields that submit the rejected version again, based on the state shown on the page."""
    if not pair.refused_edit.names:
        names = dict.fromkeys(name for name in request.form if not name.startswith("seq-"))
        for name in ("csrf_token", "seq", "chosen"):
            names.pop(name, None)
        fields = [(name, text) for name in names for text in request.form.getlist(name)]
        return [*fields, ("chosen", "all")]
    return [*_pick_fields(pair.refused_edit.names), ("chosen", pair.refused_edit.names[0])]


def _list_other_fields(
    pair: SavedAndRefusedVersions, pairs: Sequence[SavedAndRefusedVersions]
) -> list[tuple[str, str]]:
    """Return the fields that are submitted with either choice.

    They're the fields about the page, and those of conflicts that still have to be resolved.
    """
    if not pair.refused_edit.names:
        return []
    fields = [*read_page_query(request.form).but().items(), *_pick_fields(_PAGE_FIELDS)]
    for other in pairs:
        if other is not pair:
            fields += _pick_fields(other.refused_edit.names)
            fields.append((f"seq-{other.refused_edit.names[0]}", str(other.refused_edit.base_edit)))
    return fields


def _keep_on_clipboard(name: str, pair: SavedAndRefusedVersions) -> bool:
    """Copy an editor's text to their clipboard.

    Return False if there's no text, or if the clipboard is full.
    """
    app_state, draft = get_app_state(), pair.refused_edit.conflict.draft
    field = clipboard.find_text_field_of_edit(draft.kind, draft.value)
    is_taken_back = draft.value.get("text", "") is None or draft.value.get("removed")
    if not field or not pair.wanted_text or is_taken_back:
        return False
    form = EditForm(name, current_actor(), app_state.clock())
    try:
        clipboard.copy_text_to_clipboard(app_state.installation, form, draft.target, field, pair.wanted_text)
    except EditRefusedError:
        return False
    return True


def remove_from_clipboard(name: str, edit: Edit) -> None:
    """Remove a text from the editor's clipboard, because it's in the edition now."""
    if field := clipboard.find_text_field_of_edit(edit.kind, edit.value):
        form = EditForm(name, current_actor(), get_app_state().clock())
        clipboard.remove_text_from_clipboard(get_app_state().installation, form, edit.target, field)
