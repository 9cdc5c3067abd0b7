"""An article as plain text, with its site's frame around it: what is the article, and what the frame."""

import re
from dataclasses import dataclass

from digest.collect import text
from digest.collect.dates import read_moment

_PARAGRAPH_WORDS = 18
_TITLE_WORDS = (3, 30)

_DATE_LINE = re.compile(
    r"^(?:(?:published|posted|updated|date)(?:\s+on)?:?\s*)?"
    r"(?P<date>(?:\w{3,9}\.?,?\s+)?(?:[A-Z]\w{2,8}\.?\s+\d{1,2}(?:st|nd|rd|th)?,?\s+\d{4}|\d{1,2}\.?\s+[A-Z]\w{2,8}\.?,?\s+\d{4}"
    r"|\d{4}-\d{2}-\d{2})(?:[,T]?\s?(?:at\s)?\d{1,2}:\d{2}[\w :.+-]{0,20})?)$",
    re.IGNORECASE,
)
_BYLINE = re.compile(r"^by[:\s]+(?P<name>[^\d@]{3,80})$", re.IGNORECASE)
_FOOT = re.compile(
    r"^(?:share(?:\s+(?:this|on|via)\b.*)?|related(?:\s+\w+){0,3}|featured(?:\s+\w+){0,2}|(?:our\s+)?(?:weekly\s+)?top\s+\w+|"
    r"most\s+(?:read|popular)|you\s+may\s+also\s+like|more\s+(?:from|stories|news)\b.*|about\s+.{1,40}|comments?(?:\s*\(\d+\))?|"
    r"leave\s+a\s+(?:reply|comment)|a\s+comment\s+or\s+question.*|tags?:.*|filed\s+under.*|categories:.*|follow\s+us.*|"
    r"(?:subscribe|sign\s+up|newsletter|advertisement|copyright|©|all\s+rights\s+reserved|privacy\s+policy|contact\s+us)\b.*|"
    r"skip\s+to\s+content|back\s+to\s+top|print|email|previous\s+(?:post|article).*|next\s+(?:post|article).*)[:\s]*$",
    re.IGNORECASE,
)
_PICTURE = re.compile(
    r"\b(?:image|photo|logo|picture|banner|thumbnail|screenshot)\b(?:\s*\(?\d*\)?|\s\w)?$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Article:
    """What a plain text holds of an article; `date` is as written."""

    title: str
    paragraphs: tuple[str, ...]
    date: str | None = None
    author: str | None = None
    credit: str | None = None


def find_article(document: str) -> Article | None:
    """Find the article in a plain text: its title, date, author, paragraphs and credit. None: there is none.

    1. The body begins with the first line of 18 words or more that ends like a sentence.
    2. It ends before the first line of a site's foot ("Share", "Related articles", "About …"), or at a credit.
    3. The title is the line before the body that shares most words with it, near the date line.
    """
    lines = [line for raw in document.splitlines() if (line := text.tidy(raw).lstrip("# ").strip())]
    begins = next((at for at, line in enumerate(lines) if _is_paragraph(line)), None)
    if begins is None:
        return None
    ends, credit = _end(lines, begins)
    head, body = lines[:begins], lines[begins:ends]
    title = _title(head, body)
    if not title:
        return None
    dates = (found["date"] for line in head if (found := _DATE_LINE.match(line)))
    names = (text.person(found["name"]) for line in head if (found := _BYLINE.match(line)))
    return Article(
        title=text.title(title.replace("<", "&lt;")),
        paragraphs=tuple(body),
        date=next((date for date in dates if read_moment(date)[0]), None),
        author=next((name for name in names if name), None),
        credit=credit,
    )


def _is_paragraph(line: str) -> bool:
    return len(line.split()) >= _PARAGRAPH_WORDS and bool(re.search(r"[.!?…:;。؟۔][\"”’»)\]]*$", line))  # noqa: RUF001


def _end(lines: list[str], begins: int) -> tuple[int, str | None]:
    """Give the line after the body's last, and whom the body's end credits."""
    for at, line in enumerate(lines[begins + 1 :], start=begins + 1):
        if len(line) < 140 and (credit := text.credit(line)):
            return at, credit
        if len(line) < 80 and _FOOT.match(line):
            return at, None
    return len(lines), None


def _title(head: list[str], body: list[str]) -> str:
    said = set(re.findall(r"\w{4,}", " ".join(body).lower()))
    dated = next((at for at, line in enumerate(head) if _DATE_LINE.match(line)), None)

    def worth(at: int) -> float:
        words = re.findall(r"\w{4,}", head[at].lower())
        shared = len(set(words) & said)
        near = 1.5 if dated is not None and at in {dated - 1, dated + 1} else 0.0
        return shared + near + 0.5 * at / len(head)

    possible = [at for at, line in enumerate(head) if _may_be_title(line)]
    return head[max(possible, key=worth)] if possible else ""


def _may_be_title(line: str) -> bool:
    fewest, most = _TITLE_WORDS
    frame = _DATE_LINE.match(line) or _BYLINE.match(line) or _FOOT.match(line) or _PICTURE.search(line)
    return fewest <= len(line.split()) <= most and not frame
