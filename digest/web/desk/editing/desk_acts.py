"""What the buttons of the desk do, by the word that each sends; `editing_pages` answers them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from werkzeug.datastructures import MultiDict

from digest.app.editing import changes as editing
from digest.app.editing import edit_reversal, editing_state
from digest.app.editing.edit_application import EditForm, EditResult
from digest.app.editing.editing_state import EditingState, EditRefusedError
from digest.edition.editing.edits import EditionField, StoryField
from digest.edition.kinds import SECTION_KINDS
from digest.installation.opened import Installation
from digest.web.desk.outline.story_pool import (
    find_fitting_sections,
    find_lead_section,
    find_listed_story,
    find_story_url,
)


@dataclass(frozen=True, slots=True)
class DeskAct:
    """One button of the desk that was pressed: the edition as it stands, the story that it names, and the form."""

    installation: Installation
    form: EditForm
    state: EditingState
    url: str
    fields: MultiDict[str, str]

    def story_url(self, field: str) -> str:
        """Return the story that a field of the form names by its anchor.

        Raises:
            EditRefusedError: none is named, or no story is called so any more.
        """
        if not self.fields.get(field):
            raise EditRefusedError("Nothing was changed: choose the other story of the list first.")
        return find_anchored_story(self.state, self.fields[field])


def find_anchored_story(state: EditingState, anchor: str) -> str:
    """Return the address by which edits name the story of an anchor.

    Raises:
        EditRefusedError: no story is called so any more.
    """
    url = find_story_url(state.arrangement, anchor)
    if url is None:
        raise EditRefusedError(
            "Nothing was changed: that story is not in this edition's week any more. Open the page again."
        )
    return url


def _move_up(act: DeskAct) -> EditResult:
    return editing.move_story(act.installation, act.form, act.url, steps=-1)


def _move_down(act: DeskAct) -> EditResult:
    return editing.move_story(act.installation, act.form, act.url, steps=1)


def _move_to(act: DeskAct) -> EditResult:
    """Move a story to a section and a place of it, counted from 1; without one to its end."""
    position = act.fields.get("position", "")
    at = max(0, int(position) - 1) if position.isascii() and position.isdigit() and len(position) < 4 else None
    return editing.place_story(act.installation, act.form, act.url, section=act.fields.get("section", ""), position=at)


def _make_lead(act: DeskAct) -> EditResult:
    """Put a story first in the section that leads the edition."""
    section = find_lead_section(act.installation.settings.file.sections)
    return editing.place_story(act.installation, act.form, act.url, section=section, after="")


def _add(act: DeskAct) -> EditResult:
    """Put a story of the list into the first section that it fits: where its date belongs, else at the end."""
    sections = act.installation.settings.file.sections
    scored = find_listed_story(act.state.arrangement, act.url)
    fits = find_fitting_sections(scored, sections) if scored else []
    if not scored or not fits:
        raise EditRefusedError("Nothing was changed: no section of this edition takes that story.")
    placed = act.state.arrangement.sections.get(fits[0].key, ())
    position = SECTION_KINDS[fits[0].kind].find_ordered_position(scored, [story.original for story in placed])
    after = None if position == len(placed) else placed[position - 1].url if position else ""
    return editing.place_story(act.installation, act.form, act.url, section=fits[0].key, after=after)


def _drop(act: DeskAct) -> EditResult:
    return editing.drop_stories(act.installation, act.form, act.url)


def _restore(act: DeskAct) -> EditResult:
    return editing.restore_story(act.installation, act.form, act.url)


def _pin(act: DeskAct) -> EditResult:
    return editing.pin_story(act.installation, act.form, act.url, pinned=True)


def _unpin(act: DeskAct) -> EditResult:
    return editing.pin_story(act.installation, act.form, act.url, pinned=False)


def _put_under(act: DeskAct) -> EditResult:
    return editing.put_under(act.installation, act.form, act.url, main=act.story_url("main"))


def _merge(act: DeskAct) -> EditResult:
    return editing.merge_stories(act.installation, act.form, act.url, act.story_url("other"))


def _split(act: DeskAct) -> EditResult:
    articles = act.fields.getlist("article")
    if not articles:
        raise EditRefusedError("Nothing was changed: tick the articles that are to be a story of their own first.")
    return editing.split_story(act.installation, act.form, act.url, *articles)


def _original_headline(act: DeskAct) -> EditResult:
    return editing.write_text(act.installation, act.form, act.url, StoryField.HEADLINE, None)


def _original_summary(act: DeskAct) -> EditResult:
    return editing.write_text(act.installation, act.form, act.url, StoryField.SUMMARY, None)


def _leave_tray_out(installation: Installation, form: EditForm) -> EditResult:
    """Remove all that waits in the tray."""
    state = editing_state.read_editing_state(installation, form.edition)
    waiting = [new.scored.story.lead.url for new in state.arrangement.tray]
    if not waiting:
        raise EditRefusedError("Nothing was changed: no new story waits any more.")
    return editing.drop_stories(installation, replace(form, state=state), *waiting)


def _original_intro(installation: Installation, form: EditForm) -> EditResult:
    return editing.write_edition_text(installation, form, EditionField.INTRO, None)


STORY_ACTS: Mapping[str, Callable[[DeskAct], EditResult]] = {
    "add": _add,
    "up": _move_up,
    "down": _move_down,
    "move": _move_to,
    "lead": _make_lead,
    "drop": _drop,
    "restore": _restore,
    "pin": _pin,
    "unpin": _unpin,
    "under": _put_under,
    "merge": _merge,
    "split": _split,
    "original-headline": _original_headline,
    "original-summary": _original_summary,
}
EDITION_ACTS: Mapping[str, Callable[[Installation, EditForm], EditResult]] = {
    "undo": edit_reversal.undo_last,
    "redo": edit_reversal.redo_last,
    "leave-out": _leave_tray_out,
    "original-intro": _original_intro,
}
