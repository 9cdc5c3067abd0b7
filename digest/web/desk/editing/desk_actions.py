"""The actions of the desk's buttons, by the values they submit.

`editing_pages` handles the requests.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from werkzeug.datastructures import MultiDict

from digest.app.editing import changes as editing
from digest.app.editing import edit_history, editing_state
from digest.app.editing.edit_application import EditForm, EditResult
from digest.app.editing.editing_state import EditingState, EditRefusedError
from digest.edition.editing.arrangement import Arrangement
from digest.edition.editing.edits import EditionField, StoryField
from digest.edition.kinds import SECTION_KINDS
from digest.installation.opened_installation import Installation
from digest.select.selection_types import ScoredStory
from digest.settings import SectionSettings
from digest.web.desk.editing.page_query import read_number
from digest.web.desk.outline.story_pool import (
    find_fitting_sections,
    find_lead_section,
    find_listed_story,
    find_story_urls,
)


@dataclass(frozen=True, slots=True)
class EditActionRequest:
    """A pressed button: the current edition, the stories that it applies to, and the form."""

    installation: Installation
    form: EditForm
    state: EditingState
    urls: tuple[str, ...]  # one URL, except for the actions in `BULK_ACTIONS`
    fields: MultiDict[str, str]

    @property
    def url(self) -> str:
        """The URL of the first story."""
        return self.urls[0]

    @property
    def story_arguments(self) -> tuple[Installation, EditForm, str]:
        """The first arguments of every action on one story."""
        return self.installation, self.form, self.url

    @property
    def bulk_arguments(self) -> tuple[Installation, EditForm, *tuple[str, ...]]:
        """The first arguments of every action on one or more stories."""
        return self.installation, self.form, *self.urls

    def story_url(self, field: str) -> str:
        """Return the URL of the story whose anchor is in a field of the form.

        Raises:
            EditRefusedError: no story was chosen, or it doesn't exist anymore.
        """
        if not self.fields.get(field):
            raise EditRefusedError("No other story was chosen.", "Choose a story from the list.")
        return find_anchored_story(self.state, self.fields[field])


def find_anchored_story(state: EditingState, anchor: str) -> str:
    """Return the URL that identifies the story with an anchor in edits.

    Raises:
        EditRefusedError: the story doesn't exist anymore.
    """
    return find_anchored_stories(state, [anchor])[0]


def find_anchored_stories(state: EditingState, anchors: Sequence[str]) -> tuple[str, ...]:
    """Return the URLs that identify the stories with these anchors in edits, in order.

    Raises:
        EditRefusedError: a story doesn't exist anymore.
    """
    urls = find_story_urls(state.arrangement, anchors)
    if len(urls) < len(set(anchors)):
        raise EditRefusedError("This story is no longer among this week's stories.", "Reload the page.")
    return tuple(urls[anchor] for anchor in anchors)


def _move_to(act: EditActionRequest) -> EditResult:
    """Move stories to a section, at a position counted from 1 or at its end.

    The position in the former section doesn't count in another one.
    """
    section, position_text = act.fields.get("section", ""), act.fields.get("position", "")
    is_kept = position_text == act.fields.get("was-position") and section != act.fields.get("was-section")
    position = None if is_kept else read_number(position_text, 3)
    at = None if position is None else max(0, position - 1)
    return editing.place_stories(*act.bulk_arguments, section=section, position=at)


def _make_lead(act: EditActionRequest) -> EditResult:
    """Move a story to the top of the section that leads the edition."""
    section = find_lead_section(act.installation.settings.file.sections)
    return editing.place_stories(*act.story_arguments, section=section, after="")


def _add(act: EditActionRequest) -> EditResult:
    """Add a listed story to the first section that accepts it and isn't full.

    It's ordered by its date or added at the end. If all of these sections are full, it's added to
    the first one.
    """
    sections = act.installation.settings.file.sections
    scored = find_listed_story(act.state.arrangement, act.url)
    fits = find_fitting_sections(scored, sections) if scored else []
    if not scored or not fits:
        raise EditRefusedError("This story doesn't fit any section of this edition.", "Choose another story.")
    stories = act.state.arrangement.sections
    section = next((each for each in fits if len(stories.get(each.key, ())) < each.most), fits[0])
    return _place_in_order(act.installation, act.form, act.state.arrangement, scored, section)


def _place_in_order(
    installation: Installation,
    form: EditForm,
    arrangement: Arrangement,
    scored: ScoredStory,
    section: SectionSettings,
) -> EditResult:
    """Add a listed story to a section, ordered by its date or at the end."""
    placed = arrangement.sections.get(section.key, ())
    originals = [story.original for story in placed]
    position = SECTION_KINDS[section.kind].find_ordered_position(scored, originals)
    after = None if position == len(placed) else placed[position - 1].url if position else ""
    return editing.place_stories(installation, form, scored.url, section=section.key, after=after)


def fill_empty_place(installation: Installation, form: EditForm, key: str) -> EditResult:
    """Add the next story by score to a section that has an empty place.

    Raises:
        EditRefusedError: the section is full, or no other story fits it.
    """
    state = editing_state.read_editing_state(installation, form.edition)
    section = next((each for each in installation.settings.file.sections if each.key == key), None)
    scored = find_listed_story(state.arrangement, state.arrangement.next_up.get(key, ""))
    if not section or not scored:
        raise EditRefusedError("This section is full, or no other story fits it.", "Reload the page.")
    return _place_in_order(installation, replace(form, state=state), state.arrangement, scored, section)


def _merge(act: EditActionRequest) -> EditResult:
    """Merge the articles of the other stories into the main story.

    If there's only one story, merge it with the other story that was chosen.
    """
    if len(act.urls) == 1 and not act.fields.get("main"):
        return editing.merge_stories(*act.story_arguments, act.story_url("other"))
    main, others = _read_main_and_others(act)
    return editing.merge_stories(act.installation, act.form, main, *others)


def _put_under(act: EditActionRequest) -> EditResult:
    main, others = _read_main_and_others(act)
    urls = others or act.urls
    return editing.add_supporting_stories(act.installation, act.form, *urls, main=main)


def _read_main_and_others(act: EditActionRequest) -> tuple[str, list[str]]:
    """Return the main story for a merge or for supporting stories, and the others.

    The main story is the one in the form, which may also be selected. If the form doesn't have that
    field, it's the first story.
    """
    is_first = "main" not in act.fields and len(act.urls) > 1
    main = act.url if is_first else act.story_url("main")
    return main, [url for url in act.urls if url != main]


def _keep_apart(act: EditActionRequest) -> EditResult:
    main, others = _read_main_and_others(act)
    return editing.keep_stories_apart(act.installation, act.form, main, *others)


def _split(act: EditActionRequest) -> EditResult:
    articles = act.fields.getlist("article")
    if not articles:
        raise EditRefusedError("No articles were selected.", "Select the articles for the new story.")
    return editing.split_story(*act.story_arguments, *articles)


def _split_others(act: EditActionRequest) -> EditResult:
    """Split off all articles except the lead and the selected ones, even if a search hides them."""
    story = act.state.arrangement.find_story(act.url)
    kept = {*act.fields.getlist("article"), *act.fields.getlist("hidden")}
    if not kept:
        raise EditRefusedError("No articles were selected.", "Select the articles to keep.")
    others = [article.url for article in story.original.story.members[1:] if article.url not in kept] if story else []
    if not others:
        raise EditRefusedError("All articles were selected.", "Select only those that belong to the story.")
    return editing.split_story(*act.story_arguments, *others)


def _leave_late_stories_out(installation: Installation, form: EditForm) -> EditResult:
    """Remove all stories in the tray."""
    state = editing_state.read_editing_state(installation, form.edition)
    waiting = [new.scored.story.lead.url for new in state.arrangement.tray]
    if not waiting:
        raise EditRefusedError("There are no new stories.", "Reload the page.")
    return editing.drop_stories(installation, replace(form, state=state), *waiting)


STORY_ACTIONS: Mapping[str, Callable[[EditActionRequest], EditResult]] = {
    "add": _add,
    "up": lambda act: editing.move_story(*act.story_arguments, steps=-1),
    "down": lambda act: editing.move_story(*act.story_arguments, steps=1),
    "move": _move_to,
    "lead": _make_lead,
    "drop": lambda act: editing.drop_stories(*act.bulk_arguments),
    "keep": lambda act: editing.keep_stories_for_next_edition(*act.bulk_arguments),
    "restore": lambda act: editing.restore_story(*act.story_arguments),
    "pin": lambda act: editing.pin_story(*act.story_arguments, pinned=True),
    "unpin": lambda act: editing.pin_story(*act.story_arguments, pinned=False),
    "under": _put_under,
    "merge": _merge,
    "apart": _keep_apart,
    "split": _split,
    "split-others": _split_others,
    "original-headline": lambda act: editing.set_story_text(*act.story_arguments, StoryField.HEADLINE, None),
    "original-summary": lambda act: editing.set_story_text(*act.story_arguments, StoryField.SUMMARY, None),
}
FILL_PREFIX = "fill-"  # of the action that fills an empty place; the section's key follows
# These apply to the button's stories or, if it has none, to those selected in the form.
BULK_ACTIONS = frozenset({"move", "drop", "keep", "merge", "apart", "under"})
EDITION_ACTIONS: Mapping[str, Callable[[Installation, EditForm], EditResult]] = {
    "undo": edit_history.undo_own_last_edit,
    "redo": edit_history.redo_own_last_undo,
    "leave-out": _leave_late_stories_out,
    "original-intro": lambda installation, form: editing.set_edition_text(installation, form, EditionField.INTRO, None),
}
