"""Edits: the acts of editors on an edition, appended one after the other, and which of them are in force.

An edit names a story by the address of one of its articles; the story meant is whichever holds that article when the edit is
applied. Nothing is ever taken out: an undo is an edit that names another one, and an undo can be undone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

EDITION_TARGET = "edition"  # the target of texts that belong to the edition itself
BLOCK_PREFIX = "block:"  # begins the target of a labelled block
NO_DEADLINE = "none"  # of the deadlines that a story's texts state
OWN_STORY_PREFIX = "own:"  # begins the address of a story that was written here and has no link


class EditKind(StrEnum):
    """What an editor did. The fields of each kind's `value` stand in `docs/decisions/0030-edits.md`."""

    PLACE = "place"  # into a section, at a place
    DROP = "drop"  # out of the edition, or out of the tray; with `kept`, for the next edition
    RESTORE = "restore"  # back to where it was dropped
    PIN = "pin"  # kept at its place, whatever moves around it
    LEAD = "lead"  # another of its articles leads the story
    MERGE = "merge"  # other stories' articles become this one's
    SPLIT = "split"  # some of its articles become a story of their own
    APART = "apart"  # other stories aren't the same news as this one
    UNDER = "under"  # stands under another story as supporting
    TEXT = "text"  # a text of the story, or of the edition
    PICTURE = "picture"
    TOPIC = "topic"
    ADD = "add"  # a story that no source brought
    BLOCK = "block"  # a labelled block: a sponsor's, an opportunity
    NOTE = "note"  # the editor's note under a story
    UNDO = "undo"  # takes back the edit that `undoes` names
    REVERT = "revert"  # takes back all edits after the one that `undoes` names


class StoryField(StrEnum):
    """The texts of a story that an editor may write."""

    HEADLINE = "headline"
    SUMMARY = "summary"
    KICKER = "kicker"
    WHY = "why"  # why it leads
    DUE = "due"  # the day (ISO 8601) of the deadline in its texts that is announced, or `NO_DEADLINE`


class EditionField(StrEnum):
    """The texts of an edition that an editor may write."""

    SUBJECT = "subject"
    PREHEADER = "preheader"
    INTRO = "intro"
    EDITOR = "editor"


@dataclass(frozen=True, slots=True)
class EditDraft:
    """An act before it has its place in the history. `target` is an article's address, `edition`, or a block's."""

    kind: EditKind
    target: str
    value: Mapping[str, Any]
    undoes: int | None = None

    @property
    def targets(self) -> tuple[str, ...]:
        """All that it names: a bulk action names several stories."""
        return (self.target, *_read_texts(self.value, "others"))


@dataclass(frozen=True, slots=True)
class Edit:
    """One act of an editor on an edition. `seq` counts from 1 within the edition; `kind` is an `EditKind`, or unknown here."""

    seq: int
    at: datetime  # UTC
    actor: str
    kind: str
    target: str
    value: Mapping[str, Any]
    undoes: int | None = None

    @property
    def keeps_for_next(self) -> bool:
        """Whether it removes stories in order to offer them for the next edition."""
        return self.flag("kept", default=False)

    @property
    def is_undo(self) -> bool:
        """Whether it takes back others, and does nothing else."""
        return self.kind in {EditKind.UNDO, EditKind.REVERT}

    def text(self, name: str) -> str:
        """Return a field of the value as text; empty where it holds none."""
        value = self.value.get(name)
        return value if isinstance(value, str) else ""

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a field of the value as several texts; empty where it holds none."""
        return _read_texts(self.value, name)

    def number(self, name: str) -> int | None:
        """Return a field of the value as a whole number; None where it holds none."""
        value = self.value.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def flag(self, name: str, *, default: bool) -> bool:
        """Return a field of the value as yes or no."""
        value = self.value.get(name)
        return value if isinstance(value, bool) else default

    @property
    def targets(self) -> tuple[str, ...]:
        """All that it names: a bulk action names several stories."""
        return (self.target, *self.texts("others"))


def _read_texts(value: Mapping[str, Any], name: str) -> tuple[str, ...]:
    texts = value.get(name)
    if not isinstance(texts, list | tuple):
        return ()
    return tuple(text for text in texts if isinstance(text, str))


def find_undone_edits(edits: Sequence[Edit]) -> dict[int, int]:
    """Return which edits are not in force: the number of each, and of the edit in force that took it back.

    An edit is in force unless one in force after it takes it back, so the newest decide first.
    """
    undone: dict[int, int] = {}
    for edit in reversed(edits):
        if edit.seq in undone or edit.undoes is None:
            continue
        if edit.kind == EditKind.UNDO and edit.undoes < edit.seq:
            undone.setdefault(edit.undoes, edit.seq)
        elif edit.kind == EditKind.REVERT:
            for other in edits:
                if edit.undoes < other.seq < edit.seq:
                    undone.setdefault(other.seq, edit.seq)
    return undone


def list_active_edits(edits: Sequence[Edit]) -> tuple[Edit, ...]:
    """Return the edits that count, in order, without those that were taken back and without undos."""
    undone = find_undone_edits(edits)
    return tuple(e for e in edits if e.seq not in undone and not e.is_undo)


def find_previous_text(
    edit: Edit,
    edits: Sequence[Edit],
    resolve: Callable[[str], str],
) -> str | None:
    """Return what editors had written where a text edit wrote, as it stood when that was made; None where it was the original.

    Args:
        edit: the text edit.
        edits: all edits of the edition, in order. What took one of them back later does not count yet.
        resolve: gives one name to all that name the same story.
    """
    earlier = list_active_edits([before for before in edits if before.seq < edit.seq])
    field, target = edit.text("field"), resolve(edit.target)
    for before in reversed(earlier):
        is_same_field = before.kind == EditKind.TEXT and before.text("field") == field
        if is_same_field and resolve(before.target) == target:
            return before.text("text") or None
    return None


def find_topic_overrides(edits: Sequence[Edit]) -> dict[str, str]:
    """Return the topics that editors chose, by the URL of the article that each edit names: for what is proposed anew."""
    topics = (edit for edit in list_active_edits(edits) if edit.kind == EditKind.TOPIC)
    chosen = {edit.target: edit.text("topic") for edit in topics}
    return {url: topic for url, topic in chosen.items() if topic}


@dataclass(frozen=True, slots=True)
class RevertEffect:
    """What bringing back a state changes: the edits that it takes out, and those that come into force again, in order."""

    taken_out: tuple[Edit, ...]
    put_back: tuple[Edit, ...]


def find_revert_effect(edits: Sequence[Edit], seq: int) -> RevertEffect:
    """Return what bringing back the state after the edit of a number changes."""
    now = list_active_edits(edits)
    then = list_active_edits([edit for edit in edits if edit.seq <= seq])
    taken_out = tuple(edit for edit in now if edit not in then)
    return RevertEffect(taken_out, tuple(edit for edit in then if edit not in now))


def find_hand_placed_urls(edits: Sequence[Edit]) -> frozenset[str]:
    """Return the targets of stories that editors put where they stand: they want them in, whatever the rules say."""
    chosen = {EditKind.PLACE, EditKind.PIN, EditKind.ADD}
    return frozenset(url for e in list_active_edits(edits) if e.kind in chosen for url in e.targets)


def find_own_last_edit(edits: Sequence[Edit], actor: str) -> Edit | None:
    """Find what an editor's undo takes back: their last act that is in force."""
    undone = find_undone_edits(edits)
    own = (e for e in reversed(edits) if e.actor == actor and e.seq not in undone)
    return next((e for e in own if e.kind != EditKind.UNDO), None)


def find_own_last_undo(edits: Sequence[Edit], actor: str) -> Edit | None:
    """Find what an editor's redo takes back: their last undo in force, if they did nothing else since."""
    undone = find_undone_edits(edits)
    for edit in reversed(edits):
        # An undo of an undo is a redo: going on with redoing looks past it.
        if edit.actor != actor or edit.seq in undone or _takes_back_undo(edit, edits):
            continue
        return edit if edit.kind == EditKind.UNDO else None
    return None


def _takes_back_undo(edit: Edit, edits: Sequence[Edit]) -> bool:
    undos = {undo.seq for undo in edits if undo.kind == EditKind.UNDO}
    return edit.seq in undos and edit.undoes in undos


_PLACE_KINDS = frozenset(
    {
        EditKind.PLACE,
        EditKind.DROP,
        EditKind.RESTORE,
        EditKind.PIN,
        EditKind.UNDER,
        EditKind.ADD,
    }
)
_MEMBER_KINDS = frozenset({EditKind.MERGE, EditKind.SPLIT, EditKind.APART})


def find_edited_target_part(kind: str, value: Mapping[str, Any]) -> str:
    """Name what of its target an edit changes: two edits of one aspect of one story can be in each other's way."""
    if kind in _PLACE_KINDS:
        return "place"
    if kind in _MEMBER_KINDS:
        return "articles"
    return f"text {value.get('field')}" if kind == EditKind.TEXT else str(kind)


@dataclass(frozen=True, slots=True)
class EditConflict:
    """Two edits of one thing, made on one state: `current_edit` is in the edition, `draft` was made without knowing it."""

    current_edit: Edit
    draft: EditDraft


def find_edit_conflict(
    draft: EditDraft,
    edits: Sequence[Edit],
    *,
    based_on: int,
    resolve: Callable[[str], str],
) -> EditConflict | None:
    """Find the later edit that changed what `draft` is about to change.

    Args:
        draft: the act.
        edits: all edits of the edition, in order.
        based_on: the number of the last edit that the actor's form knew.
        resolve: gives one name to all that name the same story.

    Returns:
        None where all that came since changed something else, or changed the very same to the very same.
    """
    aspect = find_edited_target_part(draft.kind, draft.value)
    targets = set(map(resolve, draft.targets))
    act = (draft.kind, dict(draft.value))
    for edit in reversed(edits):
        if edit.seq <= based_on:
            break
        for changed in _changed_edits(edit, edits):
            is_same_act = changed is edit and (edit.kind, dict(edit.value)) == act
            if is_same_act or find_edited_target_part(changed.kind, changed.value) != aspect:
                continue
            if not targets.isdisjoint(map(resolve, changed.targets)):
                return EditConflict(edit, draft)
    return None


def _changed_edits(edit: Edit, edits: Sequence[Edit]) -> list[Edit]:
    """Return the edits whose effect an edit changes: its own, or of those that it takes back."""
    if not edit.is_undo or edit.undoes is None:
        return [edit]
    first = edit.undoes
    if edit.kind == EditKind.REVERT:
        return [e for e in edits if first < e.seq < edit.seq and not e.is_undo]
    undone = next((e for e in edits if first == e.seq < edit.seq), None)
    return _changed_edits(undone, edits) if undone else []
