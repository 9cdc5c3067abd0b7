"""A story on the board: where it is, and what editors decided about it so far."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from digest.edition.content.edition_content import PictureCuts
from digest.edition.editing.edits import Edit
from digest.select.stories import build_story_led_by
from digest.select.values import CandidateArticle, ScoredStory, Story


class StoryState(StrEnum):
    """Where a story is."""

    PLACED = "placed"  # in a section
    SUPPORTING = "supporting"  # under another story
    LEFT_OUT = "left out"
    WAITING = "waiting"  # in the tray
    REMOVED = "removed"  # by an editor


@dataclass(frozen=True, slots=True)
class StoryText:
    """A text that an editor wrote for a story; None is the original. `url` is the article that the edit `seq` named.

    `depth` counts the merges by which it came to the story: those of the story itself go first.
    """

    field: str
    text: str | None
    url: str
    seq: int
    depth: int = 0


@dataclass(frozen=True, slots=True)
class EditedPicture:
    """What an editor decided about a story's picture; None leaves a part as it was."""

    hidden: bool = False
    cuts: PictureCuts | None = None
    alt: str | None = None
    credit: str | None = None


@dataclass(frozen=True, slots=True)
class Removal:
    """How a story was removed: by which edit, and from where; no section is the tray or the left-out.

    `came_up` is the canonical address of the story that took its place; empty where none did, which `unfilled` explains.
    """

    edit: Edit
    section: str
    position: int
    state: StoryState
    main: "BoardStory | None" = None
    came_up: str = ""
    unfilled: str = ""


@dataclass(slots=True, eq=False)
class BoardStory:
    """A story on the board. `section` says where it is placed, `main` what it stands under."""

    scored: ScoredStory
    state: StoryState
    section: str = ""
    reason: str = ""  # why it was left out
    related: tuple[CandidateArticle, ...] = ()
    arrived_at: datetime | None = None
    joins: str = ""
    main: "BoardStory | None" = None
    supporting: list["BoardStory"] = field(default_factory=list)
    pinned_at: int | None = None
    texts: list[StoryText] = field(default_factory=list)
    picture: EditedPicture | None = None
    topic: str | None = None
    note: str = ""
    removal: Removal | None = None
    edits: list[int] = field(default_factory=list)

    @property
    def story(self) -> Story:
        """Its articles."""
        return self.scored.story

    def hold_articles(self, lead: CandidateArticle, others: Sequence[CandidateArticle]) -> None:
        """Give it other articles, or another lead."""
        self.scored = replace(self.scored, story=build_story_led_by(lead, others))

    def current_texts(self) -> dict[str, StoryText]:
        """Return the texts that hold, by field: of the story's own the last, else the last that came with a merge."""
        chosen = {written.field: written for written in sorted(self.texts, key=lambda t: -t.depth)}
        return {name: written for name, written in chosen.items() if written.text is not None}
