"""Comparison of two versions of a text: what was kept, removed, and added. Pure functions only."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

CONTEXT_WORDS = 6  # words kept around each changed passage
# Versions that are less similar than this are shown one after the other, because mixing them would
# be unreadable.
MIN_COMPARED_LIKENESS = 0.5


@dataclass(frozen=True, slots=True)
class ChangedPassage:
    """A passage that was kept, removed, or added in a rewritten text.

    `kind` is "kept", "was" (removed), or "is" (added).
    """

    kind: str
    text: str


def compare_texts(was: str, now: str) -> tuple[ChangedPassage, ...]:
    """Return two versions of a text as passages: kept (shortened to a few words), removed, and added.

    If most words differ, the whole old version precedes the new one.
    """
    before, after = was.split(), now.split()
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    steps = matcher.get_opcodes()
    if matcher.ratio() < MIN_COMPARED_LIKENESS:
        steps = [("replace", 0, len(before), 0, len(after))]
    passages = []
    for tag, start, end, new_start, new_end in steps:
        if tag == "equal":
            passages.append(ChangedPassage("kept", _shorten(before[start:end])))
        else:
            passages.append(ChangedPassage("was", " ".join(before[start:end])))
            passages.append(ChangedPassage("is", " ".join(after[new_start:new_end])))
    return tuple(passage for passage in passages if passage.text)


def _shorten(words: Sequence[str]) -> str:
    if len(words) <= 2 * CONTEXT_WORDS:
        return " ".join(words)
    return f"{' '.join(words[:CONTEXT_WORDS])} … {' '.join(words[-CONTEXT_WORDS:])}"


def mark_new_words(before: str, after: str) -> tuple[tuple[str, bool], ...]:
    """Return a text as passages, each with True if its words are new.

    A text that was completely replaced isn't marked.
    """
    old, new = before.split(), after.split()
    passages = []
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for tag, _, _, start, end in matcher.get_opcodes():
        if words := " ".join(new[start:end]):
            passages.append((words, tag != "equal" and bool(old)))
    is_rewritten = len(passages) == 1 and passages[0][1]
    return ((passages[0][0], False),) if is_rewritten else tuple(passages)
