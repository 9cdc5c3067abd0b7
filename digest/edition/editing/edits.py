"""Edits (append-only actions by editors on an edition), and which of them are in effect.

An edit identifies a story by the URL of one of its articles, and applies to whichever story
contains that article at the time. Edits are never deleted: an undo is an edit that refers to
another one, and an undo can itself be undone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

EDITION_TARGET = "edition"  # target of edits to texts of the edition itself
BLOCK_PREFIX = "block:"  # prefix of a target that's a labeled block
NO_DEADLINE = "none"  # a possible choice among the deadlines in a story's texts
OWN_STORY_PREFIX = "own:"  # prefix of the URL of a story that was written here and has no link


class EditKind(StrEnum):
    """The kinds of edits.

    `docs/decisions/0030-edits.md` documents the fields of `value` for each kind.
    """

    PLACE = "place"  # put into a section, at a position
    DROP = "drop"  # remove from the edition or the tray; with `kept`, keep for the next edition
    RESTORE = "restore"  # put back where it was dropped
    PIN = "pin"  # keep at its position, whatever moves around it
    LEAD = "lead"  # make another article of the story its lead
    MERGE = "merge"  # add other stories' articles to this one
    SPLIT = "split"  # turn some of its articles into a separate story
    APART = "apart"  # record that other stories aren't the same news
    UNDER = "under"  # put under another story, as supporting
    TEXT = "text"  # set a text of the story or edition
    PICTURE = "picture"
    TOPIC = "topic"
    ADD = "add"  # add a story without a source
    BLOCK = "block"  # set a labeled block, such as a sponsor's or an opportunity
    NOTE = "note"  # set the editor's note under a story
    UNDO = "undo"  # undo the edit that `undoes` refers to
    REVERT = "revert"  # undo all edits after the one that `undoes` refers to


class StoryField(StrEnum):
    """The texts of a story that editors may change."""

    HEADLINE = "headline"
    SUMMARY = "summary"
    KICKER = "kicker"
    WHY = "why"  # reason why it leads
    DUE = "due"  # day (ISO 8601) of the deadline to announce, or `NO_DEADLINE`


class EditionField(StrEnum):
    """The texts of an edition that editors may change."""

    SUBJECT = "subject"
    PREHEADER = "preheader"
    INTRO = "intro"
    EDITOR = "editor"


@dataclass(frozen=True, slots=True)
class EditDraft:
    """An edit that isn't stored yet.

    `target` is an article's URL, "edition", or the name of a block.
    """

    kind: EditKind
    target: str
    value: Mapping[str, Any]
    undoes: int | None = None

    @property
    def targets(self) -> tuple[str, ...]:
        """All targets of the edit. A bulk action targets several stories."""
        return (self.target, *read_texts(self.value, "others"))


@dataclass(frozen=True, slots=True)
class Edit:
    """An edit of an edition.

    `seq` counts from 1 within the edition. `kind` is an `EditKind`, or a value unknown to this version.
    """

    seq: int
    at: datetime  # UTC
    actor: str
    kind: str
    target: str
    value: Mapping[str, Any]
    undoes: int | None = None

    @property
    def keeps_for_next(self) -> bool:
        """True if the edit removes stories and offers them for the next edition."""
        return self.flag("kept", default=False)

    @property
    def is_undo(self) -> bool:
        """True if the edit does nothing but undo other edits."""
        return self.kind in {EditKind.UNDO, EditKind.REVERT}

    def text(self, name: str) -> str:
        """Return a field of the value as a string, or "" if it isn't one."""
        value = self.value.get(name)
        return value if isinstance(value, str) else ""

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a field of the value as a tuple of strings, or () if it isn't a list."""
        return read_texts(self.value, name)

    def number(self, name: str) -> int | None:
        """Return a field of the value as an integer, or None if it isn't one."""
        value = self.value.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def flag(self, name: str, *, default: bool) -> bool:
        """Return a field of the value as a Boolean, or `default` if it isn't one."""
        value = self.value.get(name)
        return value if isinstance(value, bool) else default

    @property
    def targets(self) -> tuple[str, ...]:
        """All targets of the edit. A bulk action targets several stories."""
        return (self.target, *self.texts("others"))


def read_texts(value: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return a field of an edit's value as a tuple of strings, or () if it isn't a list."""
    texts = value.get(name)
    if not isinstance(texts, list | tuple):
        return ()
    return tuple(text for text in texts if isinstance(text, str))


def find_undone_edits(edits: Sequence[Edit]) -> dict[int, int]:
    """Map the numbers of the edits that aren't in effect to the numbers of the edits that undid them.

    An edit is in effect unless a later edit that's in effect undoes it. Therefore, the newest edits
    are decided first.
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
    """Return the edits in effect, in order and without undos."""
    undone = find_undone_edits(edits)
    return tuple(e for e in edits if e.seq not in undone and not e.is_undo)


def find_previous_text(
    edit: Edit,
    edits: Sequence[Edit],
    resolve: Callable[[str], str],
) -> str | None:
    """Return the editor's text that a text edit replaced, or None if it replaced the original.

    Args:
        edit: the text edit.
        edits: all edits of the edition, in order. Undos after `edit` don't count.
        resolve: returns a common name for all targets in the same story.
    """
    earlier = list_active_edits([before for before in edits if before.seq < edit.seq])
    field, target = edit.text("field"), resolve(edit.target)
    for before in reversed(earlier):
        is_same_field = before.kind == EditKind.TEXT and before.text("field") == field
        if is_same_field and resolve(before.target) == target:
            return before.text("text") or None
    return None


def find_topic_overrides(edits: Sequence[Edit]) -> dict[str, str]:
    """Return the topics that editors chose, for use in new proposals, by the article URL in each edit."""
    topics = (edit for edit in list_active_edits(edits) if edit.kind == EditKind.TOPIC)
    chosen = {edit.target: edit.text("topic") for edit in topics}
    return {url: topic for url, topic in chosen.items() if topic}


@dataclass(frozen=True, slots=True)
class RevertEffect:
    """The effect of restoring an earlier state.

    `taken_out` are the edits that are no longer in effect, and `put_back` are those that are in
    effect again, both in order.
    """

    taken_out: tuple[Edit, ...]
    put_back: tuple[Edit, ...]


def find_revert_effect(edits: Sequence[Edit], seq: int) -> RevertEffect:
    """Return the effect of restoring the state right after edit `seq`."""
    now = list_active_edits(edits)
    then = list_active_edits([edit for edit in edits if edit.seq <= seq])
    taken_out = tuple(edit for edit in now if edit not in then)
    return RevertEffect(taken_out, tuple(edit for edit in then if edit not in now))


def find_hand_placed_urls(edits: Sequence[Edit]) -> frozenset[str]:
    """Return the article URLs of stories that editors placed, pinned, or added.

    These stories stay regardless of the rules.
    """
    chosen = {EditKind.PLACE, EditKind.PIN, EditKind.ADD}
    return frozenset(url for e in list_active_edits(edits) if e.kind in chosen for url in e.targets)


def find_removed_urls(edits: Sequence[Edit]) -> frozenset[str]:
    """Return the article URLs of stories that editors removed and didn't add again."""
    removed: set[str] = set()
    for edit in list_active_edits(edits):
        if edit.kind == EditKind.DROP:
            removed.update(edit.targets)
        elif edit.kind in {EditKind.PLACE, EditKind.RESTORE, EditKind.UNDER}:
            removed.difference_update(edit.targets)
    return frozenset(removed)


def find_own_last_edit(edits: Sequence[Edit], actor: str) -> Edit | None:
    """Return the edit that an editor's undo would revert, or None.

    It's their last edit in effect, not counting undos.
    """
    undone = find_undone_edits(edits)
    own = (e for e in reversed(edits) if e.actor == actor and e.seq not in undone)
    return next((e for e in own if e.kind != EditKind.UNDO), None)


def find_own_last_undo(edits: Sequence[Edit], actor: str) -> Edit | None:
    """Return the undo that an editor's redo would revert, or None if they've edited since.

    It's their last undo in effect.
    """
    undone = find_undone_edits(edits)
    for edit in reversed(edits):
        # An undo of an undo is a redo. Repeated redos skip it.
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
    """Return an internal name for the part of its target that an edit changes.

    Edits of the same part may conflict.
    """
    if kind in _PLACE_KINDS:
        return "place"
    if kind in _MEMBER_KINDS:
        return "articles"
    return f"text {value.get('field')}" if kind == EditKind.TEXT else str(kind)


@dataclass(frozen=True, slots=True)
class EditConflict:
    """Two conflicting edits.

    `current_edit` is stored, and `draft` was made by someone who hadn't seen it.
    """

    current_edit: Edit
    draft: EditDraft


def find_edit_conflict(
    draft: EditDraft,
    edits: Sequence[Edit],
    *,
    based_on: int,
    resolve: Callable[[str], str],
) -> EditConflict | None:
    """Return the conflict between `draft` and a later edit that changed the same part.

    Args:
        draft: the new edit.
        edits: all edits of the edition, in order.
        based_on: the number of the last edit when the actor's form was created.
        resolve: returns a common name for all targets in the same story.

    Returns:
        The conflict, or None if all edits since then changed other parts or are equal to
        `draft`.
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
    """Return the edits whose effect an edit changes: the edit itself, or those that it undoes."""
    if not edit.is_undo or edit.undoes is None:
        return [edit]
    first = edit.undoes
    if edit.kind == EditKind.REVERT:
        return [e for e in edits if first < e.seq < edit.seq and not e.is_undo]
    undone = next((e for e in edits if first == e.seq < edit.seq), None)
    return _changed_edits(undone, edits) if undone else []
