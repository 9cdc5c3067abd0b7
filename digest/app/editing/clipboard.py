"""Each editor's clipboard, for stories and for texts that a colleague's version replaced.

It outlasts sessions.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from digest.app.editing.changes import clean_typed_text
from digest.app.editing.edit_application import EditForm
from digest.app.editing.editing_state import EditRefusedError, read_editing_state
from digest.edition.editing.edits import EditionField, EditKind, StoryField
from digest.edition.edition_queries import find_edition
from digest.installation.audited_actions import Action, Actor, PendingAuditEntry
from digest.installation.opened_installation import Installation
from digest.store.models import ClipboardItem, Edition

CLIP = Action("clipboard")
MAX_CLIPBOARD_ITEMS = 100  # per editor
MAX_TARGET_CHARACTERS = 1000  # longer than any URL in use, but short enough for an index
_FIELDS = frozenset({*StoryField, *EditionField, "note", "block"})


@dataclass(frozen=True, slots=True)
class SavedClipboardItem:
    """A story or text on an editor's clipboard.

    If it's a story, `field` is empty and `text` is the headline.
    """

    id: int
    edition: str
    number: int  # the number of the edition
    at: datetime
    target: str
    field: str
    text: str


def copy_story_to_clipboard(installation: Installation, form: EditForm, url: str) -> None:
    """Copy a story of an edition to the actor's clipboard.

    Raises:
        NotPermittedError: the actor isn't an editor.
        EditRefusedError: the edition has no such story, or the clipboard is full.
    """
    CLIP.check_role(installation, form.actor, form.edition, now=form.now)
    state = read_editing_state(installation, form.edition)
    name = state.arrangement.name_target(url)
    articles = (article for scored in state.proposal.list_scored() for article in scored.story.members)
    title = next((article.title for article in articles if article.url == name), "")
    if story := state.arrangement.find_story(name):
        title = story.texts.get("headline", story.original.story.lead.title)
    if not title:
        raise EditRefusedError("The article isn't in any of this edition's stories.", "Choose another article.")
    _keep(installation, form, name, "", title)


def find_text_field_of_edit(kind: str, value: Mapping[str, Any]) -> str:
    """Return the clipboard field for the text of an edit, or an empty string if the edit has no text."""
    field = str(value.get("field", "")) if kind == EditKind.TEXT else str(kind)
    return field if field in _FIELDS else ""


def copy_text_to_clipboard(installation: Installation, form: EditForm, target: str, field: str, text: str) -> None:
    """Copy a text written for a story, a labeled block, or the edition to the actor's clipboard.

    Raises:
        NotPermittedError: the actor isn't an editor.
        EditRefusedError: the text is empty, or the clipboard is full.
    """
    CLIP.check_role(installation, form.actor, form.edition, now=form.now)
    written = clean_typed_text(text)
    if not written or field not in _FIELDS:
        raise EditRefusedError("There's no text to copy.", "Select an item with text.")
    _keep(installation, form, target, field, written)


def _begin_clip(
    installation: Installation, form: EditForm
) -> AbstractContextManager[tuple[Session, PendingAuditEntry]]:
    return CLIP.transaction(installation, form.actor, form.edition, now=form.now)


def _keep(installation: Installation, form: EditForm, target: str, field: str, text: str) -> None:
    if len(target) > MAX_TARGET_CHARACTERS:
        raise EditRefusedError("The story's URL is too long to copy.", "Choose another article from the story.")
    with _begin_clip(installation, form) as (session, audit):
        edition = find_edition(session, form.edition)
        audit.subject, audit.detail = edition.name, {"kept": field or "story"}
        own = select(ClipboardItem).where(ClipboardItem.owner == form.actor.name)
        clipping_key = {"edition_id": edition.id, "target": target, "field": field}
        same = session.scalars(own.filter_by(**clipping_key)).first()
        if same is not None:
            same.text, same.at = text, form.now
            return
        if len(session.scalars(own).all()) >= MAX_CLIPBOARD_ITEMS:
            raise EditRefusedError(f"Your clipboard is full ({MAX_CLIPBOARD_ITEMS} items).", "Remove an item first.")
        clipping = ClipboardItem(owner=form.actor.name, at=form.now, text=text, **clipping_key)
        session.add(clipping)


def remove_text_from_clipboard(installation: Installation, form: EditForm, target: str, field: str) -> bool:
    """Remove a text from the actor's clipboard, and return False if it isn't there."""
    with _begin_clip(installation, form) as (session, audit):
        edition = find_edition(session, form.edition)
        own = delete(ClipboardItem).where(
            ClipboardItem.owner == form.actor.name,
            ClipboardItem.edition_id == edition.id,
            ClipboardItem.target == target,
            ClipboardItem.field == field,
        )
        removed = session.execute(own.returning(ClipboardItem.id)).scalar() is not None
        audit.subject, audit.detail, audit.changed = edition.name, {"taken off": field}, removed
    return removed


def list_clipboard_items(installation: Installation, actor: Actor) -> tuple[SavedClipboardItem, ...]:
    """Return the items on the actor's clipboard, newest first."""
    with installation.read() as session:
        return _load_clipboard_items(session, actor)


def _load_clipboard_items(session: Session, actor: Actor) -> tuple[SavedClipboardItem, ...]:
    columns = (ClipboardItem.at, ClipboardItem.target, ClipboardItem.field, ClipboardItem.text)
    query = select(ClipboardItem.id, Edition.name, Edition.number, *columns)
    joined = query.join(Edition, Edition.id == ClipboardItem.edition_id)
    own = joined.where(ClipboardItem.owner == actor.name)
    latest_first = own.order_by(ClipboardItem.at.desc(), ClipboardItem.id.desc())
    rows = session.execute(latest_first)
    return tuple(SavedClipboardItem(*row) for row in rows)


def remove_clipboard_item(installation: Installation, form: EditForm, clipping_id: int) -> bool:
    """Remove an item from the actor's clipboard.

    Return False if the item isn't there or belongs to someone else.
    """
    with _begin_clip(installation, form) as (session, audit):
        own = delete(ClipboardItem).where(ClipboardItem.id == clipping_id, ClipboardItem.owner == form.actor.name)
        removed = session.execute(own.returning(ClipboardItem.id)).scalar() is not None
        audit.detail, audit.changed = {"taken off": clipping_id}, removed
    return removed
