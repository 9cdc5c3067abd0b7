"""What edits write: texts of a story and of the edition, a story's picture, topic and note, labelled blocks.

An edit that can do nothing leaves all as it is, and the reason is returned; empty where it did.
"""

import re
from collections.abc import Callable, Mapping, MutableMapping

from pydantic import TypeAdapter, ValidationError

from digest.edition.content.edition_content import LabelledBlock
from digest.edition.editing.board_story import BoardStory, EditedPicture, StoryText
from digest.edition.editing.edit_values import decode_cuts, is_web_address
from digest.edition.editing.edits import BLOCK_PREFIX, Edit, EditionField, EditKind, StoryField

MAX_TEXT_CHARACTERS = 10_000  # of one text of an edit; what is longer is cut
_BLOCK = TypeAdapter(LabelledBlock)
_BLOCK_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,38}")


def write_story_text(story: BoardStory, edit: Edit) -> str:
    """Write a text of a story; without a text the original comes back."""
    name, written = edit.text("field"), _read_text(edit)
    if name not in set(StoryField):
        return f"a story has no text called {name}"
    if name == StoryField.HEADLINE and not (written or "").strip():
        written = None
    story.texts.append(StoryText(name, written, edit.target, edit.seq))
    return ""


def write_edition_text(texts: MutableMapping[str, str], edit: Edit) -> str:
    """Write a text of the edition; without a text the original comes back."""
    name, written = edit.text("field"), _read_text(edit)
    if name not in set(EditionField):
        return f"an edition has no text called {name}"
    texts.pop(name, None)
    if written is not None and (name != EditionField.SUBJECT or written.strip()):
        texts[name] = written
    return ""


def _read_text(edit: Edit) -> str | None:
    text = edit.value.get("text")
    return text[:MAX_TEXT_CHARACTERS] if isinstance(text, str) else None


def change_picture(story: BoardStory, edit: Edit) -> str:
    """Show another picture, none, or describe it in other words; an empty value is the original."""
    try:
        cuts = decode_cuts(edit.value["cuts"]) if edit.value.get("cuts") is not None else None
    except ValidationError:
        return "the picture cannot be read"
    alt, credit = (edit.text(name) if name in edit.value else None for name in ("alt", "credit"))
    hidden = not edit.flag("shown", default=True)
    story.picture = EditedPicture(hidden, cuts, alt, credit)
    return ""


def change_topic(story: BoardStory, edit: Edit) -> str:
    """Give a story another topic; without one its own comes back."""
    story.topic = edit.text("topic") or None
    return ""


def change_note(story: BoardStory, edit: Edit) -> str:
    """Write the editor's note under a story."""
    story.note = edit.text("text")[:MAX_TEXT_CHARACTERS]
    return ""


def change_block(blocks: MutableMapping[str, LabelledBlock], edit: Edit) -> str:
    """Write a labelled block, or take it out of this edition."""
    name = edit.target.removeprefix(BLOCK_PREFIX)
    if not edit.target.startswith(BLOCK_PREFIX) or not name:
        return "it names no block"
    if edit.flag("removed", default=False):
        return "" if blocks.pop(name, None) else "there is no such block"
    try:
        block = _BLOCK.validate_python({**edit.value, "id": name})
    except ValidationError:
        return "what was written about the block cannot be read"
    if not block.headline or not _BLOCK_ID.fullmatch(name) or not (block.url == "" or is_web_address(block.url)):
        return "a block has a headline, and its link is one of the web"
    if block.first_day and block.last_day and block.last_day < block.first_day:
        return "its last day is before its first"
    blocks[name] = block
    return ""


# What is said of one story, wherever it stands.
WRITTEN_CHANGES: Mapping[str, Callable[[BoardStory, Edit], str]] = {
    EditKind.PICTURE: change_picture,
    EditKind.TOPIC: change_topic,
    EditKind.NOTE: change_note,
}
