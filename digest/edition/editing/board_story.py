"""A story on the board: its place, and the editors' decisions about it so far."""

import re
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from pydantic import TypeAdapter, ValidationError

from digest.edition.content.edition_content import ImageCrops, LabeledBlock
from digest.edition.editing.edit_values import decode_image_crops, is_web_address
from digest.edition.editing.edits import BLOCK_PREFIX, Edit, EditionField, EditKind, StoryField
from digest.select.selection_types import CandidateArticle, LeftOutStory, ScoredStory, Story
from subscribers.part_keys import make_topic_slug


class StoryState(StrEnum):
    """The state of a story on the board."""

    PLACED = "placed"  # in a section
    SUPPORTING = "supporting"  # under another story
    LEFT_OUT = "left out"
    WAITING = "waiting"  # in the tray
    REMOVED = "removed"  # by an editor


@dataclass(frozen=True, slots=True)
class StoryText:
    """A text that an editor wrote for a story, or None to restore the original.

    `url` is the article named by the edit `seq`. `depth` is the number of merges through which the
    text came to the story. The story's own texts take precedence.
    """

    field: str
    text: str | None
    url: str
    seq: int
    depth: int = 0


@dataclass(frozen=True, slots=True)
class EditedImage:
    """An editor's changes to a story's image. None leaves a part unchanged."""

    hidden: bool = False
    cuts: ImageCrops | None = None
    alt: str | None = None
    credit: str | None = None

    @property
    def is_described(self) -> bool:
        """True if an editor chose the image or wrote one of its texts."""
        return not self.hidden and bool(self.cuts or self.alt or self.credit)


@dataclass(frozen=True, slots=True)
class StoryRemoval:
    """The edit that removed a story, and the story's former place.

    `section` is empty if the story wasn't in a section. `replacement_url` is the canonical URL of the story
    that replaced it, or empty if there's none.
    """

    edit: Edit
    section: str
    position: int
    state: StoryState
    main: "BoardStory | None" = None
    replacement_url: str = ""


@dataclass(slots=True, eq=False)
class BoardStory:
    """A story on the board. `section` is its section, and `main` is the story that it supports."""

    scored: ScoredStory
    state: StoryState
    section: str = ""
    reason: str = ""  # why the story was left out
    related: tuple[CandidateArticle, ...] = ()
    arrived_at: datetime | None = None
    joins: str = ""
    main: "BoardStory | None" = None
    supporting: list["BoardStory"] = field(default_factory=list)
    pinned_at: int | None = None
    texts: list[StoryText] = field(default_factory=list)
    picture: EditedImage | None = None
    topic: str | None = None
    note: str = ""
    removal: StoryRemoval | None = None
    is_chosen: bool = False  # True if an editor added it
    edits: list[int] = field(default_factory=list)
    proposed: LeftOutStory | None = None  # the story as left out by selection

    @property
    def left_out(self) -> LeftOutStory:
        """The story in the form of a left-out story.

        It's the proposal's own object unless the story's articles or the reason have changed.
        """
        proposed = self.proposed
        if proposed and proposed.scored is self.scored and proposed.reason == self.reason:
            return proposed
        return LeftOutStory(self.scored, self.reason)

    @property
    def is_kept(self) -> bool:
        """True if the story is kept for the next edition."""
        return bool(self.removal and self.removal.edit.keeps_for_next)

    @property
    def scored_by_editor(self) -> ScoredStory:
        """The scored story, with the topic that an editor set, if any."""
        return self.scored if self.topic is None else replace(self.scored, topic=self.topic)

    @property
    def topic_slug(self) -> str:
        """The slug of its topic or, if an editor wrote one, its kicker, by which the email groups a section."""
        kicker = self.current_texts().get(StoryField.KICKER)
        return make_topic_slug((kicker.text if kicker else self.scored_by_editor.topic) or "")

    @property
    def story(self) -> Story:
        """The story's articles."""
        return self.scored.story

    @property
    def lead(self) -> CandidateArticle:
        """The lead article."""
        return self.story.lead

    @property
    def url(self) -> str:
        """The canonical URL of the lead article."""
        return self.story.lead.url

    @property
    def headline(self) -> str:
        """The headline written by an editor, or else the lead's title."""
        written = self.current_texts().get(StoryField.HEADLINE)
        return (written and written.text) or self.lead.title

    def keep_for_next_edition(self, edit: Edit) -> None:
        """Keep a removed story for the next edition. It can still be restored to its place.

        A story that isn't removed stays as it is.
        """
        if self.removal:
            self.removal = replace(self.removal, edit=edit)
            self.edits.append(edit.seq)

    def take_texts(self, articles: Iterable[CandidateArticle]) -> list[StoryText]:
        """Remove the texts that belong to the given articles, and return them for use in another story."""
        urls = {name for article in articles for name in (article.url, article.link)}
        own_texts = [replace(text, depth=0) for text in self.texts if text.url in urls]
        self.texts = [text for text in self.texts if text.url not in urls]
        return own_texts

    def current_texts(self) -> dict[str, StoryText]:
        """Return the current texts by field: the story's own latest, or else the latest from a merge."""
        own_last = sorted(self.texts, key=lambda written: -written.depth)
        chosen = {written.field: written for written in own_last}
        return {name: written for name, written in chosen.items() if written.text is not None}


# --- edits that write texts
# --------------------------------------------------------------------------------------

MAX_TEXT_CHARACTERS = 10_000  # maximum length of a text in an edit; longer ones are cut
_BLOCK = TypeAdapter(LabeledBlock)
_BLOCK_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,38}")


def apply_story_text(story: BoardStory, edit: Edit) -> str:
    """Set a text of a story, or restore the original if the edit has no text.

    Return why the edit has no effect, or "".
    """
    name, written = edit.text("field"), _read_text(edit)
    if name not in set(StoryField):
        return f"a story has no text called {name}"
    if name == StoryField.HEADLINE and not (written or "").strip():
        written = None
    story.texts.append(StoryText(name, written, edit.target, edit.seq))
    return ""


def apply_edition_text(texts: MutableMapping[str, str], edit: Edit) -> str:
    """Set a text of the edition, or restore the original if the edit has no text.

    An edit of the intro may also set the signature. Return why the edit has no effect, or "".
    """
    name, written = edit.text("field"), _read_text(edit)
    if name not in set(EditionField):
        return f"an edition has no text called {name}"
    texts.pop(name, None)
    if name == EditionField.INTRO and not (written or "").strip():
        texts.pop(EditionField.EDITOR, None)
    elif signature := edit.text("signed"):
        texts[EditionField.EDITOR] = signature
    if written is not None and (name != EditionField.SUBJECT or written.strip()):
        texts[name] = written
    return ""


def _read_text(edit: Edit) -> str | None:
    text = edit.value.get("text")
    return text[:MAX_TEXT_CHARACTERS] if isinstance(text, str) else None


def apply_image_edit(story: BoardStory, edit: Edit) -> str:
    """Change or hide a story's image, or change its texts.

    Values that the edit doesn't have are restored. Return why the edit has no effect, or "".
    """
    try:
        cuts = decode_image_crops(edit.value["cuts"]) if edit.value.get("cuts") is not None else None
    except ValidationError:
        return "the image can't be read"
    given = [name for name in ("alt", "credit") if name in edit.value]
    words = {name: edit.text(name) for name in given}
    hidden = not edit.flag("shown", default=True)
    story.picture = EditedImage(hidden, cuts, **words)
    return ""


def apply_topic_edit(story: BoardStory, edit: Edit) -> str:
    """Set a story's topic, or restore the original topic if the edit has none. Return ""."""
    story.topic = edit.text("topic") or None
    return ""


def apply_note_edit(story: BoardStory, edit: Edit) -> str:
    """Set the editor's note under a story. Return ""."""
    story.note = edit.text("text")[:MAX_TEXT_CHARACTERS]
    return ""


def apply_block_edit(blocks: MutableMapping[str, LabeledBlock], edit: Edit) -> str:
    """Set a labeled block, or remove it from this edition.

    Return why the edit has no effect, or "".
    """
    name = edit.target.removeprefix(BLOCK_PREFIX)
    if not edit.target.startswith(BLOCK_PREFIX) or not name:
        return "no block was given"
    if edit.flag("removed", default=False):
        return "" if blocks.pop(name, None) else "the block doesn't exist"
    try:
        block = _BLOCK.validate_python({**edit.value, "id": name})
    except ValidationError:
        return "the block can't be read"
    if fault := _find_block_fault(block):
        return fault
    blocks[name] = block
    return ""


def _find_block_fault(block: LabeledBlock) -> str:
    is_link_sound = not block.url or is_web_address(block.url)
    if not (block.headline and _BLOCK_ID.fullmatch(block.id) and is_link_sound):
        return "a block needs a headline and a web link"
    is_reversed = block.first_day and block.last_day and block.last_day < block.first_day
    return "the last day is before the first day" if is_reversed else ""


# Functions for edits of a single story, wherever it is.
WRITTEN_CHANGES: Mapping[str, Callable[[BoardStory, Edit], str]] = {
    EditKind.PICTURE: apply_image_edit,
    EditKind.TOPIC: apply_topic_edit,
    EditKind.NOTE: apply_note_edit,
}
