"""Names of the authors of edits as they're shown to their colleagues."""

from collections.abc import Mapping
from dataclasses import replace

from digest.edition.editing.arrangement import Arrangement
from digest.edition.editing.edits import Edit
from digest.installation.action_words import name_actor


def name_edit_author(edit: Edit, names: Mapping[str, str]) -> Edit:
    """Return an edit with its author's display name as the actor."""
    return replace(edit, actor=name_actor(edit.actor, names))


def replace_edit_authors_with_names(arrangement: Arrangement, names: Mapping[str, str]) -> Arrangement:
    """Return an arrangement in which the edits that pages show have display names instead of actors.

    These are the edits that removed stories, and those that wrote the current texts of stories.
    """
    shown_seqs = {seq for story in arrangement.list_stories() for seq in story.text_edits.values()}
    removed = tuple(replace(story, edit=name_edit_author(story.edit, names)) for story in arrangement.removed)
    outcomes = tuple(
        replace(outcome, edit=name_edit_author(outcome.edit, names)) if outcome.edit.seq in shown_seqs else outcome
        for outcome in arrangement.outcomes
    )
    return replace(arrangement, removed=removed, outcomes=outcomes)
