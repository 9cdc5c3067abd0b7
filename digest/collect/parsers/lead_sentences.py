"""The few sentences of an article that say what it is about, where its publisher gave no summary."""

import re
from collections.abc import Sequence

from digest.collect.text_cleanup import shorten_text, split_sentences

MAX_LEAD_WORDS = 60
_MIN_WORDS = 6
_CANDIDATE_SENTENCES = 6  # sentences from the start
_POSITION_WEIGHT = 0.5

# "LYON, France (AP) — ", "WASHINGTON – " and the one-word "France: " that agencies put in front.  # noqa: RUF003  the quotation marks and dashes that publishers use
_DATELINE = re.compile(
    r"^(?:[A-Z][A-Z.'’ -]{2,30}(?:,\s[A-Z][\w.' -]{1,30})?|[A-Z][\w.'’-]{2,20}(?:\s[A-Z][\w.'’-]{1,20}){0,2}(?:,\s[A-Z][\w. -]{1,25})?)"  # noqa: RUF001  the quotation marks and dashes that publishers use
    r"(?:\s\([^)]{1,30}\))?(?:\s+(?:—|–|--|-)\s+|:\s+)(?=[\"“‘A-Z])"  # noqa: RUF001  dashes of every width
)
_BACK_REFERENCE = re.compile(
    r"(?:this|that|these|those|he|she|it|they|but|and|however|also|meanwhile)\b", re.IGNORECASE
)
_BOILERPLATE = re.compile(
    r"(?:by|photos?|image|credit|source|updated|published|posted|share|read more|advertis\w+|sign up|subscribe|copyright|©|"
    r"click|follow|watch|listen|listen to|editor['’]s note|this article|related|skip)\b",  # noqa: RUF001  the quotation marks and dashes that publishers use
    re.IGNORECASE,
)


def extract_lead(title: str, paragraphs: Sequence[str]) -> str:
    """Return up to two whole sentences, of at most 60 words: near the start, and on the title's subject.

    They stand next to each other in the text, so that they read on. A dateline before them is dropped.
    """
    start = [p for p in paragraphs[:12] if len(p.split()) >= _MIN_WORDS and not _BOILERPLATE.match(p)]
    if start:
        start[0] = _DATELINE.sub("", start[0])
    sentences = [s for p in start for s in split_sentences(p)][: _CANDIDATE_SENTENCES + 1]
    if not sentences:
        return ""
    best = max(
        range(min(len(sentences), _CANDIDATE_SENTENCES)),
        key=lambda at: (_sentence_score(sentences[at], at, _significant_words(title)), -at),
    )
    pair = " ".join(sentences[best : best + 2])
    return pair if len(pair.split()) <= MAX_LEAD_WORDS else shorten_text(sentences[best], MAX_LEAD_WORDS)


def _sentence_score(sentence: str, position: int, title_words: set[str]) -> float:
    shared = len(_significant_words(sentence) & title_words) / (len(title_words) or 1)
    worth = shared + _POSITION_WEIGHT / (1 + position)
    if not _MIN_WORDS <= len(sentence.split()) <= MAX_LEAD_WORDS:
        worth -= 0.5
    return worth - (0.3 if position and _BACK_REFERENCE.match(sentence) else 0.0)


def _significant_words(text: str) -> set[str]:
    return {word for word in re.findall(r"\w+", text.lower()) if len(word) > 3}
