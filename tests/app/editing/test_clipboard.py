"""An editor's own clipboard: it outlives the session, and no one else can see or clear it."""

from datetime import timedelta

import pytest

from digest.app.editing import changes as editing
from digest.app.editing import clipboard
from digest.app.editing.clipboard import SavedClipboardItem
from digest.app.editing.edit_application import EditForm
from digest.app.editing.editing_state import EditRefusedError
from digest.edition.editing.edits import StoryField
from digest.installation.audited_actions import ActionEntryPoint, Actor, Role
from digest.installation.opened_installation import Installation
from digest.store.engine import Database
from digest.web.desk.outline.edit_outline import EditPageData, list_clipboard_rows
from tests.actors import EDITOR
from tests.edition.drafting.test_drafts import WEEKLY, add, drafted
from tests.moments import DRAFTING as NOW

COLLEAGUE = Actor("staff 3", Role.EDITOR, ActionEntryPoint.DESK)
URL = "https://a.example.org/early-border-news"


@pytest.fixture
def install(database: Database) -> Installation:
    """Give an installation with a draft of one story."""
    add(database, "early border news", dated=NOW - timedelta(days=1), found=NOW)
    installation = Installation(WEEKLY, database)
    drafted(installation)
    return installation


def test_a_story_and_a_text_are_kept_by_their_owner_alone(install: Installation) -> None:
    form = EditForm("current", EDITOR, NOW)
    editing.set_story_text(install, form, URL, StoryField.HEADLINE, "Border news, early")
    clipboard.copy_story_to_clipboard(install, form, URL)
    clipboard.copy_text_to_clipboard(
        install, EditForm("current", EDITOR, NOW + timedelta(minutes=1)), URL, "summary", " <b>Mine</b> "
    )
    clipboard.copy_text_to_clipboard(
        install, EditForm("current", EDITOR, NOW + timedelta(minutes=2)), URL, "summary", "Mine again"
    )
    kept = clipboard.list_clipboard_items(install, EDITOR)
    assert [(k.edition, k.target, k.field, k.text) for k in kept] == [
        ("2026-W47", URL, "summary", "Mine again"),
        ("2026-W47", URL, "", "Border news, early"),
    ]
    assert clipboard.list_clipboard_items(install, COLLEAGUE) == ()
    assert not clipboard.remove_clipboard_item(install, EditForm("current", COLLEAGUE, NOW), kept[0].id)
    assert clipboard.remove_clipboard_item(install, form, kept[0].id)
    assert not clipboard.remove_clipboard_item(install, form, kept[0].id)
    assert clipboard.list_clipboard_items(install, EDITOR) == (
        SavedClipboardItem(kept[1].id, "2026-W47", 1, NOW, URL, "", kept[1].text),
    )
    (row,) = list_clipboard_rows(
        clipboard.list_clipboard_items(install, EDITOR), EditPageData((), (), {}, ()), "2026-W48"
    )
    assert (row.clipping.number, row.anchor, row.place) == (1, "", "")


@pytest.mark.takes_turns
def test_what_is_no_story_or_no_text_is_refused(install: Installation) -> None:
    form = EditForm("current", EDITOR, NOW)
    with pytest.raises(EditRefusedError, match="isn't in any of this edition's stories"):
        clipboard.copy_story_to_clipboard(install, form, "https://b.example.org/")
    with pytest.raises(EditRefusedError, match="no text"):
        clipboard.copy_text_to_clipboard(install, form, URL, "summary", "  ")
    with pytest.raises(EditRefusedError, match="no text"):
        clipboard.copy_text_to_clipboard(install, form, URL, "colour", "Red")
