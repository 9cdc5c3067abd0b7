"""Extraction of articles from plain text that includes a site's header and footer, and of articles' lead sentences."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from digest.collect.texts import text_cleanup
from digest.collect.texts.dates import parse_event_time

_MIN_PARAGRAPH_WORDS = 18
_TITLE_WORD_RANGE = (3, 30)

_DATE_LINE = re.compile(
    r"^(?:(?:published|posted|updated|date)(?:\s+on)?:?\s*)?"
    r"(?P<date>(?:\w{3,9}\.?,?\s+)?(?:[A-Z]\w{2,8}\.?\s+\d{1,2}(?:st|nd|rd|th)?,?\s+\d{4}|\d{1,2}\.?\s+[A-Z]\w{2,8}\.?,?\s+\d{4}"
    r"|\d{4}-\d{2}-\d{2})(?:[,T]?\s?(?:at\s)?\d{1,2}:\d{2}[\w :.+-]{0,20})?)$",
    re.IGNORECASE,
)
_BYLINE = re.compile(r"^by[:\s]+(?P<name>[^\d@]{3,80})$", re.IGNORECASE)
_FOOTER_LINE = re.compile(
    r"^(?:share(?:\s+(?:this|on|via)\b.*)?|related(?:\s+\w+){0,3}|featured(?:\s+\w+){0,2}|(?:our\s+)?(?:weekly\s+)?top\s+\w+|"
    r"most\s+(?:read|popular)|you\s+may\s+also\s+like|more\s+(?:from|stories|news)\b.*|about\s+.{1,40}|comments?(?:\s*\(\d+\))?|"
    r"leave\s+a\s+(?:reply|comment)|a\s+comment\s+or\s+question.*|tags?:.*|filed\s+under.*|categories:.*|follow\s+us.*|"
    r"(?:subscribe|sign\s+up|newsletter|advertisement|copyright|©|all\s+rights\s+reserved|privacy\s+policy|contact\s+us)\b.*|"
    r"skip\s+to\s+content|back\s+to\s+top|print|email|previous\s+(?:post|article).*|next\s+(?:post|article).*)[:\s]*$",
    re.IGNORECASE,
)
_IMAGE_CAPTION = re.compile(
    r"\b(?:image|photo|logo|picture|banner|thumbnail|screenshot)\b(?:\s*\(?\d*\)?|\s\w)?$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class PlainTextArticle:
    """An article found in plain text. `date` is as written."""

    title: str
    paragraphs: tuple[str, ...]
    date: str | None = None
    author: str | None = None
    credit: str | None = None


def extract_article(document: str) -> PlainTextArticle | None:
    """Return the article found in a plain-text document, or None if there's none.

    1. The body begins with the first line of 18 words or more that ends like a sentence.
    2. It ends before the first line of a site's footer ("Share", "Related articles", "About
       …"), or at a credit.
    3. The title is the line before the body, near the date line, that has the most words in
       common with the body.
    """
    normal = map(text_cleanup.normalize_text, document.splitlines())
    lines = [line for raw in normal if (line := raw.lstrip("# "))]
    begins = _find_line(lines, _is_paragraph, len(lines))
    ends, credit = _body_end(lines, begins)
    head, body = lines[:begins], lines[begins:ends]
    title = _choose_title(head, body) if body else ""
    if not title:
        return None
    authors = map(text_cleanup.clean_author, _capture(_BYLINE, head))
    return PlainTextArticle(
        title=text_cleanup.clean_title(title.replace("<", "&lt;")),
        paragraphs=tuple(body),
        date=next(filter(_is_date, _capture(_DATE_LINE, head)), None),
        author=next(filter(None, authors), None),
        credit=credit,
    )


def _find_line(
    lines: list[str],
    test: Callable[[str], object],
    otherwise: int,
) -> int:
    return next((at for at, line in enumerate(lines) if test(line)), otherwise)


def _capture(pattern: re.Pattern[str], lines: list[str]) -> Iterator[str]:
    return (match[1] for match in map(pattern.match, lines) if match)


def _is_date(text: str) -> bool:
    return parse_event_time(text)[0] is not None


def _is_paragraph(line: str) -> bool:
    return len(line.split()) >= _MIN_PARAGRAPH_WORDS and bool(re.search(r"[.!?…:;。؟۔][\"”’»)\]]*$", line))  # noqa: RUF001


def _body_end(lines: list[str], body_start: int) -> tuple[int, str | None]:
    """Return the index after the body's last line, and the credit that ends the body, if any."""
    for at in range(body_start + 1, len(lines)):
        line = lines[at]
        if len(line) < 140 and (credit := text_cleanup.find_source_credit(line)):
            return at, credit
        if len(line) < 80 and _FOOTER_LINE.match(line):
            return at, None
    return len(lines), None


def _choose_title(head: list[str], body: list[str]) -> str:
    body_words = _significant_words(" ".join(body))
    dated = _find_line(head, _DATE_LINE.match, len(head) + 1)

    def worth(at: int) -> float:
        shared = body_words & _significant_words(head[at])
        is_near = at in {dated - 1, dated + 1}
        return len(shared) + 1.5 * is_near + 0.5 * at / len(head)

    possible = [at for at, line in enumerate(head) if _may_be_title(line)]
    return head[max(possible, key=worth)] if possible else ""


def _may_be_title(line: str) -> bool:
    fewest, most = _TITLE_WORD_RANGE
    if not fewest <= len(line.split()) <= most:
        return False
    frame = (_DATE_LINE, _BYLINE, _FOOTER_LINE, _IMAGE_CAPTION)
    return not any(pattern.search(line) for pattern in frame)


MAX_LEAD_WORDS = 60
_MIN_WORDS = 6
_CANDIDATE_SENTENCES = 6  # number of sentences from the start to consider
_POSITION_WEIGHT = 0.5

# "LYON, France (AP) — ", "WASHINGTON – " and the one-word "France: " that agencies put in front.  # noqa: RUF003  the quotation marks and dashes that publishers use
_DATELINE = re.compile(
    r"^(?:[A-Z][A-Z.'’ -]{2,30}(?:,\s[A-Z][\w.' -]{1,30})?|[A-Z][\w.'’-]{2,20}(?:\s[A-Z][\w.'’-]{1,20}){0,2}(?:,\s[A-Z][\w. -]{1,25})?)"
    r"(?:\s\([^)]{1,30}\))?(?:\s+(?:—|–|--|-)\s+|:\s+)(?=[\"“‘A-Z])"  # noqa: RUF001  dashes of every width
)
_BACK_REFERENCE = re.compile(
    r"(?:this|that|these|those|he|she|it|they|but|and|however|also|meanwhile)\b", re.IGNORECASE
)
_BOILERPLATE = re.compile(
    r"(?:by|photos?|image|credit|source|updated|published|posted|share|read more|advertis\w+|sign up|subscribe|copyright|©|"
    r"click|follow|watch|listen|listen to|editor['’]s note|this article|related|skip)\b",
    re.IGNORECASE,
)


def extract_lead(title: str, paragraphs: Sequence[str]) -> str:
    """Return an article's lead: one or two sentences near its start that match its title.

    The lead has at most 60 words. Two sentences are adjacent in the text, so that they read well
    together. A single sentence that's too long is shortened, and a dateline is removed. The lead is
    empty if no paragraph is usable.
    """
    long = (text for text in paragraphs[:12] if len(text.split()) >= _MIN_WORDS)
    start = [text for text in long if not _BOILERPLATE.match(text)]
    if not start:
        return ""
    start[0] = _DATELINE.sub("", start[0])
    sentences = list(chain(*map(text_cleanup.split_sentences, start)))[: _CANDIDATE_SENTENCES + 1]
    title_words = _significant_words(title)
    candidates = range(min(len(sentences), _CANDIDATE_SENTENCES))
    best = max(candidates, key=lambda at: _sentence_score(sentences[at], at, title_words))
    pair = " ".join(sentences[best : best + 2])
    if len(pair.split()) <= MAX_LEAD_WORDS:
        return pair
    return text_cleanup.shorten_text(sentences[best], MAX_LEAD_WORDS)


def _sentence_score(sentence: str, position: int, title_words: set[str]) -> float:
    shared = len(_significant_words(sentence) & title_words) / (len(title_words) or 1)
    worth = shared + _POSITION_WEIGHT / (1 + position)
    if not _MIN_WORDS <= len(sentence.split()) <= MAX_LEAD_WORDS:
        worth -= 0.5
    return worth - (0.3 if position and _BACK_REFERENCE.match(sentence) else 0.0)


def _significant_words(text: str) -> set[str]:
    return set(re.findall(r"\w{4,}", text.lower()))
