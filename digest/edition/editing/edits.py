"""Edits: append-only actions of editors on an edition, and which of them are in force.

An edit identifies a story by the URL of one of its articles, and applies to whichever story contains that article at
the time. Edits are never deleted: an undo is an edit that refers to another one, and an undo can be undone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

EDITION_TARGET = "edition"  # the target of texts of the edition itself
BLOCK_PREFIX = "block:"  # prefix of the target of a labeled block
NO_DEADLINE = "none"  # an editor's choice among the deadlines in a story's texts
OWN_STORY_PREFIX = "own:"  # prefix of the URL of a story that was written here and has no link


class EditKind(StrEnum):
    """What an editor did; the fields of each kind's `value` are documented in `docs/decisions/0030-edits.md`."""

    PLACE = "place"  # into a section, at a position
    DROP = "drop"  # from the edition or the tray; with `kept`, for the next edition
    RESTORE = "restore"  # to where it was dropped
    PIN = "pin"  # to its position, whatever moves around it
    LEAD = "lead"  # make another article of the story its lead
    MERGE = "merge"  # add other stories' articles to this one
    SPLIT = "split"  # make some of its articles a separate story
    APART = "apart"  # other stories aren't the same news as this one
    UNDER = "under"  # put under another story as supporting
    TEXT = "text"  # of the story or the edition
    PICTURE = "picture"
    TOPIC = "topic"
    ADD = "add"  # a story without a source
    BLOCK = "block"  # a labeled block, such as a sponsor's or an opportunity
    NOTE = "note"  # the editor's note under a story
    UNDO = "undo"  # of the edit that `undoes` refers to
    REVERT = "revert"  # of all edits after the one that `undoes` refers to


class StoryField(StrEnum):
    """The texts of a story that editors may write."""

    HEADLINE = "headline"
    SUMMARY = "summary"
    KICKER = "kicker"
    WHY = "why"  # the reason why it leads
    DUE = "due"  # the day (ISO 8601) of the deadline in its texts to announce, or `NO_DEADLINE`


class EditionField(StrEnum):
    """The texts of an edition that editors may write."""

    SUBJECT = "subject"
    PREHEADER = "preheader"
    INTRO = "intro"
    EDITOR = "editor"


@dataclass(frozen=True, slots=True)
class EditDraft:
    """An edit that isn't stored yet; `target` is an article's URL, `edition`, or a block's name."""

    kind: EditKind
    target: str
    value: Mapping[str, Any]
    undoes: int | None = None

    @property
    def targets(self) -> tuple[str, ...]:
        """All its targets; a bulk action has several stories."""
        return (self.target, *read_texts(self.value, "others"))


@dataclass(frozen=True, slots=True)
class Edit:
    """An edit of an edition; `seq` counts from 1 within it, and `kind` is an `EditKind` or unknown to this version."""

    seq: int
    at: datetime  # UTC
    actor: str
    kind: str
    target: str
    value: Mapping[str, Any]
    undoes: int | None = None

    @property
    def keeps_for_next(self) -> bool:
        """True if it removes stories to offer them for the next edition."""
        return self.flag("kept", default=False)

    @property
    def is_undo(self) -> bool:
        """True if it only takes back other edits."""
        return self.kind in {EditKind.UNDO, EditKind.REVERT}

    def text(self, name: str) -> str:
        """Return a field of the value as text; empty if it isn't text."""
        value = self.value.get(name)
        return value if isinstance(value, str) else ""

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a field of the value as several texts; empty if it isn't a list."""
        return read_texts(self.value, name)

    def number(self, name: str) -> int | None:
        """Return a field of the value as an integer; None if it isn't one."""
        value = self.value.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def flag(self, name: str, *, default: bool) -> bool:
        """Return a field of the value as a Boolean; `default` if it isn't one."""
        value = self.value.get(name)
        return value if isinstance(value, bool) else default

    @property
    def targets(self) -> tuple[str, ...]:
        """All its targets; a bulk action has several stories."""
        return (self.target, *self.texts("others"))


def read_texts(value: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return a field of an edit's value as several texts; empty if it isn't a list."""
    texts = value.get(name)
    if not isinstance(texts, list | tuple):
        return ()
    return tuple(text for text in texts if isinstance(text, str))


def find_undone_edits(edits: Sequence[Edit]) -> dict[int, int]:
    """Return the numbers of the edits that aren't in force, each with the number of the edit that took it back.

    An edit is in force unless a later edit that's in force takes it back, so the newest are decided first.
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
    """Return the edits in force in order, without undos."""
    undone = find_undone_edits(edits)
    return tuple(e for e in edits if e.seq not in undone and not e.is_undo)


def find_previous_text(
    edit: Edit,
    edits: Sequence[Edit],
    resolve: Callable[[str], str],
) -> str | None:
    """Return the editor's text that a text edit replaced; None if it replaced the original.

    Args:
        edit: the text edit.
        edits: all edits of the edition, in order. Undos after `edit` don't count.
        resolve: returns one name for all targets in the same story.
    """
    earlier = list_active_edits([before for before in edits if before.seq < edit.seq])
    field, target = edit.text("field"), resolve(edit.target)
    for before in reversed(earlier):
        is_same_field = before.kind == EditKind.TEXT and before.text("field") == field
        if is_same_field and resolve(before.target) == target:
            return before.text("text") or None
    return None


def find_topic_overrides(edits: Sequence[Edit]) -> dict[str, str]:
    """Return the topics that editors chose, for new proposals, by the article URL that each edit names."""
    topics = (edit for edit in list_active_edits(edits) if edit.kind == EditKind.TOPIC)
    chosen = {edit.target: edit.text("topic") for edit in topics}
    return {url: topic for url, topic in chosen.items() if topic}


@dataclass(frozen=True, slots=True)
class RevertEffect:
    """The effect of restoring an earlier state: the edits no longer in force, and those in force again, in order."""

    taken_out: tuple[Edit, ...]
    put_back: tuple[Edit, ...]


def find_revert_effect(edits: Sequence[Edit], seq: int) -> RevertEffect:
    """Return the effect of restoring the state right after edit `seq`."""
    now = list_active_edits(edits)
    then = list_active_edits([edit for edit in edits if edit.seq <= seq])
    taken_out = tuple(edit for edit in now if edit not in then)
    return RevertEffect(taken_out, tuple(edit for edit in then if edit not in now))


def find_hand_placed_urls(edits: Sequence[Edit]) -> frozenset[str]:
    """Return the article URLs of stories that editors placed, pinned, or added, which stay regardless of the rules."""
    chosen = {EditKind.PLACE, EditKind.PIN, EditKind.ADD}
    return frozenset(url for e in list_active_edits(edits) if e.kind in chosen for url in e.targets)


def find_own_last_edit(edits: Sequence[Edit], actor: str) -> Edit | None:
    """Return the edit that an editor's undo takes back: their last one in force, undos excepted; None without one."""
    undone = find_undone_edits(edits)
    own = (e for e in reversed(edits) if e.actor == actor and e.seq not in undone)
    return next((e for e in own if e.kind != EditKind.UNDO), None)


def find_own_last_undo(edits: Sequence[Edit], actor: str) -> Edit | None:
    """Return the undo that an editor's redo takes back: their last one in force; None if they've edited since."""
    undone = find_undone_edits(edits)
    for edit in reversed(edits):
        # An undo of an undo is a redo; repeated redos skip it.
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
    """Return an internal name for the part of its target that an edit changes; edits of one part may conflict."""
    if kind in _PLACE_KINDS:
        return "place"
    if kind in _MEMBER_KINDS:
        return "articles"
    return f"text {value.get('field')}" if kind == EditKind.TEXT else str(kind)


@dataclass(frozen=True, slots=True)
class EditConflict:
    """Two conflicting edits: `current_edit` is stored, and `draft` was made by someone who hadn't seen it."""

    current_edit: Edit
    draft: EditDraft


def find_edit_conflict(
    draft: EditDraft,
    edits: Sequence[Edit],
    *,
    based_on: int,
    resolve: Callable[[str], str],
) -> EditConflict | None:
    """Return the conflict with a later edit that changed the same part as `draft`.

    Args:
        draft: the new edit.
        edits: all edits of the edition, in order.
        based_on: the number of the last edit when the actor's form was created.
        resolve: returns one name for all targets with the same story.

    Returns:
        The conflict, or None if all edits since then changed other parts or are equal to `draft`.
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
    """Return the edits whose effect an edit changes: itself, or those that it takes back."""
    if not edit.is_undo or edit.undoes is None:
        return [edit]
    first = edit.undoes
    if edit.kind == EditKind.REVERT:
        return [e for e in edits if first < e.seq < edit.seq and not e.is_undo]
    undone = next((e for e in edits if first == e.seq < edit.seq), None)
    return _changed_edits(undone, edits) if undone else []
