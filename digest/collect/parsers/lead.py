"""The few sentences of an article that say what it is about, where its publisher gave no summary."""

import re
from collections.abc import Sequence

from digest.collect.text import sentences, shorten

MOST_WORDS = 60
_FEWEST_WORDS = 6
_LOOKED_AT = 6  # sentences from the start
_WEIGHT_OF_POSITION = 0.5

# "LYON, France (AP) — ", "WASHINGTON – " and the one-word "France: " that agencies put in front.  # noqa: RUF003  the quotation marks and dashes that publishers use
_DATELINE = re.compile(
    r"^(?:[A-Z][A-Z.'’ -]{2,30}(?:,\s[A-Z][\w.' -]{1,30})?|[A-Z][\w.'’-]{2,20}(?:\s[A-Z][\w.'’-]{1,20}){0,2}(?:,\s[A-Z][\w. -]{1,25})?)"  # noqa: RUF001  the quotation marks and dashes that publishers use
    r"(?:\s\([^)]{1,30}\))?(?:\s+(?:—|–|--|-)\s+|:\s+)(?=[\"“‘A-Z])"  # noqa: RUF001  dashes of every width
)
_LEANS_BACK = re.compile(
    r"(?:this|that|these|those|he|she|it|they|but|and|however|also|meanwhile)\b", re.IGNORECASE
)
_FRAME = re.compile(
    r"(?:by|photos?|image|credit|source|updated|published|posted|share|read more|advertis\w+|sign up|subscribe|copyright|©|"
    r"click|follow|watch|listen|listen to|editor['’]s note|this article|related|skip)\b",  # noqa: RUF001  the quotation marks and dashes that publishers use
    re.IGNORECASE,
)


def lead(title: str, paragraphs: Sequence[str]) -> str:
    """Give up to two whole sentences, of at most 60 words: near the start, and on the title's subject.

    They stand next to each other in the text, so that they read on. A dateline before them is dropped.
    """
    start = [p for p in paragraphs[:12] if len(p.split()) >= _FEWEST_WORDS and not _FRAME.match(p)]
    if start:
        start[0] = _DATELINE.sub("", start[0])
    found = [s for p in start for s in sentences(p)][: _LOOKED_AT + 1]
    if not found:
        return ""
    best = max(range(min(len(found), _LOOKED_AT)), key=lambda at: (_worth(found[at], at, _words(title)), -at))
    pair = " ".join(found[best : best + 2])
    return pair if len(pair.split()) <= MOST_WORDS else shorten(found[best], MOST_WORDS)


def _worth(sentence: str, at: int, wanted: set[str]) -> float:
    shared = len(_words(sentence) & wanted) / (len(wanted) or 1)
    worth = shared + _WEIGHT_OF_POSITION / (1 + at)
    if not _FEWEST_WORDS <= len(sentence.split()) <= MOST_WORDS:
        worth -= 0.5
    return worth - (0.3 if at and _LEANS_BACK.match(sentence) else 0.0)


def _words(text: str) -> set[str]:
    return {word for word in re.findall(r"\w+", text.lower()) if len(word) > 3}
