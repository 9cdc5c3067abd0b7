"""Two versions of a text side by side: what was kept, what went, and what came. Pure."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

CONTEXT_WORDS = 6  # kept beside each changed passage of a text
# Below this likeness two versions are read one after the other: mixed word by word, neither can be read.
MIN_COMPARED_LIKENESS = 0.5


@dataclass(frozen=True, slots=True)
class ChangedPassage:
    """A piece of a text that was rewritten: `kind` is kept, was or is."""

    kind: str
    text: str


def compare_texts(was: str, now: str) -> tuple[ChangedPassage, ...]:
    """Return two versions of a text as one list of passages: what was kept, shortened to a few words, what went, what came.

    Where most words differ, the old version stands whole before the new one.
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
    """Return a text as passages, each with whether its words are new; what replaces all that stood is not marked."""
    old, new = before.split(), after.split()
    passages = []
    for tag, _, _, start, end in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if end > start:
            passages.append((" ".join(new[start:end]), tag != "equal" and bool(old)))
    is_rewritten = len(passages) == 1 and passages[0][1]
    return ((passages[0][0], False),) if is_rewritten else tuple(passages)
