"""Deadlines that texts announce for applications and responses.

Only days with announcing words ("due", "November 30 deadline", "no later than"), obligations ("must
reply by"), and requests ("Patch before") count. As in `written_times`, all patterns are bounded.
"""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import lru_cache, partial
from itertools import chain, islice

from digest.collect.documents.deadlines import Deadline
from digest.collect.texts.written_times import MONTH_NAMES, WrittenClock, is_ahead, read_clock, read_day_and_time

_REACH = 140  # maximum characters from the announcing words to the end of the day and time
_MAX_STEPS = 28  # maximum words and punctuation marks in between
_RESPONSE_WORDS = (
    r"(?:apply|appl(?:ication|ying)s?|regist(?:er|ration|rations)|submit(?:ted)?|submissions?|respon(?:d|ses?)|"
    r"sign(?:ing)?[ -]up|enrol(?:l|lment)?|repl(?:y|ies)|object(?:ions?)?|"
    r"rsvp|proposals?|nominat(?:e|ions?)|bids?|comments?|entries|abstracts?|papers?|quotes?|offers?)"
)
_WITHIN_SENTENCE = r"(?:[^.:;]|\.(?=\w| \d)){0,60}?"
_EXTENSION_CUE = re.compile(
    rf"\b(?:extend(?:s|ed|ing)? (?:an?|its|that|the|their|this)\b{_WITHIN_SENTENCE} deadlines?\b{_WITHIN_SENTENCE} (?:to|until|till|through)"
    rf"|(?:deadlines?|(?:due|closing) dates?|(?:application|comment|nomination|registration|submission)s? periods?)\b"
    rf"{_WITHIN_SENTENCE} extended\b{_WITHIN_SENTENCE} (?:to|until|till|through))\b",
    re.IGNORECASE,
)
_DEADLINE_CUE = re.compile(
    r"\b(?:(?P<whole>(?:close|due|response|deadline|submission) dates?|clos(?:es?|ing)"
    rf"|deadlines?(?: (?:for|to) {_WITHIN_SENTENCE} (?:is|are)\b)?"
    rf"|(?:last|final) day (?:for|to) {_WITHIN_SENTENCE} is|due|open (?:until|till|through)"
    r"|(?:application|comment|enrollment|filing|grace|nomination|registration|submission|voting)s? (?:period|window) (?:ends|runs (?:until|through))"
    r"|early(?:[ -]bird)? (?:rate|price|registration)s? (?:ends?|expires?))"
    rf"|{_RESPONSE_WORDS})\b",
    re.IGNORECASE,
)
_MUST = r"(?:must|shall|(?:has|have|needs?|told) to)"
_WRITTEN_DAY = rf"(?:{MONTH_NAMES}\.? \d{{1,2}}|\d{{1,2}} {MONTH_NAMES}\b\.?|\d{{1,2}}/\d{{1,2}})(?:,? \d{{4}}\b)?"
# An obligation: "must send a list by November 30", "have until December 4 to answer", "by December 4,
# ships must". Or a day before the word for it: "November 30 deadline", "December 4 is the last day".
_OBLIGATION_CUE = re.compile(
    r"\b(?:(?P<whole>(?:has|have|got|get|gets|given) until|(?:no|not) later than|expir(?:es?|ing)"
    rf"|(?:gives?|gave|given|giving)\b{_WITHIN_SENTENCE} (?:until|(?:days|weeks|months),? to)"
    r"|(?:has|have|gets?) [\w-]{1,12} (?:days|weeks|months),? (?:to|until)"
    rf"|(?:by|before)(?= {_WRITTEN_DAY}{_WITHIN_SENTENCE}\b{_MUST}\b)"
    rf"|(?={_WRITTEN_DAY},? (?:(?:as the |(?:(?!after|before|miss|past)[\w-]{{1,20}} ){{0,2}})(?:deadline|due date|cutoff)\b(?!{_WITHIN_SENTENCE} extended\b)"
    r"|is the (?:last|final) day\b)))"
    rf"|(?:{_MUST}|(?:order|direct|instruct|require|obligate|urge|ask)(?:s|d|ed)?|gives?|tells?)\b)",
    re.IGNORECASE,
)
_BY = re.compile(r"\b(?:by|before|until|no later than|not later than|on or before)\b|[:;]|\.(?!\w| \d)", re.IGNORECASE)
_OBLIGATION_REACH = 160  # maximum characters from an obligation to its "by"
# These follow a word for what's submitted. "Submitted through a portal by Dec 4" has two of them.
_UNTIL = re.compile(
    r"\b(?:by|before|until|till|through|no later than|not later than|on or before)\b|[:;]|\.(?!\w| \d)", re.IGNORECASE
)
_UNTIL_REACH = 80  # maximum characters
# A request to readers, or what they can do: "Patch before", "should renew by", "can weigh in until".
_VERBS = r"(?:renew|install|send|buy|replace|disconnect|disable|remove|back up|weigh in)"
_NOUNS_TOO = (  # at the beginning of a sentence, what follows shows that it's a verb
    r"(?:patch|update|upgrade|file|pay|mail|complete|switch|vote|order|claim|request|report|review|book|check)"
)
_OBJECT = (
    r"(?: (?:by|before|until|no later|an?|all|any|it|the|them|your)\b"
    r"|(?! of\b)(?: [\w-]{1,20}){0,2}s (?:by|before|no later)\b)"
)
_REQUEST_CUE = re.compile(
    rf"(?:(?:^|[.!?:;] )(?:{_VERBS}|(?:{_NOUNS_TOO}|return)(?={_OBJECT}))"
    rf"|\bplease return|\b(?:please|should|can)(?: also| still)? (?:{_VERBS}|{_NOUNS_TOO}))\b",
    re.IGNORECASE,
)
_MAX_CUES = 300  # per text
_FILLER = re.compile(
    r"(?:[ ,:()–—-]|(?:on|or|by|at|in|is|are|was|the|of|for|from|now|no later than|not later than|date|dates|day|before|"  # noqa: RUF001  dashes
    r"midnight|close of business|cob|local time|time|received|receipt|"
    rf"{_RESPONSE_WORDS}|electronic|full|final|all|and time)(?![a-z0-9]))",
    re.IGNORECASE,
)
_CLOCK_GAP = re.compile(r"[ ,(–—-]{0,3}(?:(?:at|by|before|from|until|no later than|,) ){0,2}", re.IGNORECASE)  # noqa: RUF001  dashes
_NUMERIC_DAY = re.compile(r"(?<![\d/])(?P<month>1[0-2]|0?[1-9])/(?P<day>\d{1,2})(?![\d/])")  # as in U.S. English
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SENTENCE_START = 80  # number of characters before the announcing words in which to look for what's due
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
# Words around a weekday that turn it into a specific date, or into a day of another week.
_WEEKDAY = re.compile(
    r"\b(?P<before>(?:a|after|each|every|following|from|last|next|of|past|previous) )?(?:this )?"
    rf"(?P<weekday>{'|'.join(_WEEKDAYS)})\b"
    rf"(?P<behind>,? {{1,2}}(?:the )?(?:{MONTH_NAMES}\b|\d|after|last|next|weeks?\b|an? (?:few )?weeks?\b|in \w{{1,10}} weeks?\b|of\b))?",
    re.IGNORECASE,
)
_MAX_DAYS_AHEAD = 4  # maximum days to a weekday; beyond that, the one just past may be meant
_LABEL_TABLE = """
appl applications
regist registration
rsvp registration
sign registration
enrol registration
propos proposals
nomin nominations
bid bids
quote quotes
offer offers
comment comments
entr entries
abstract abstracts
paper papers
subm submissions
respon responses
repl responses
object responses
"""
_LABELS = [row.split() for row in _LABEL_TABLE.strip().splitlines()]  # what's due, by the beginning of the word for it
_RESPONSE_WORD = re.compile(rf"\b{_RESPONSE_WORDS}\b", re.IGNORECASE)


def find_deadline(text: str, published: datetime | None) -> Deadline | None:
    """Return the deadline in a text for applications, registrations, responses, or bids, or None.

    Examples are "closes Dec 4", "deadline: December 12, 2026", and "due by 5 p.m. ET on September
    29, 2023". If the deadline was extended, the new one is returned. A day without a year is the
    first such day on or after the publication date. It's ignored if there's no publication date. A
    day that had passed at publication is also ignored. Numbers such as 11/30 are a month and day.
    """
    return next(_read_deadlines(text, published), None)


# The same texts are parsed again for each edit of an edition.
@lru_cache(maxsize=512)
def find_deadlines(text: str, published: datetime | None) -> tuple[Deadline, ...]:
    """Return all deadlines in a text, one per day, earliest first. See `find_deadline`."""
    by_day = {deadline.day: deadline for deadline in reversed([*_read_deadlines(text, published)])}
    return tuple(sorted(by_day.values(), key=lambda deadline: deadline.day))


@lru_cache(maxsize=512)
def find_weekday_deadlines(text: str, published: datetime) -> tuple[Deadline, ...]:
    """Return the deadlines given only as a weekday.

    "By Friday" means the first Friday after publication. Ambiguous weekdays are ignored: that of
    the publication date, and those more than four days later.
    """
    stated = {deadline.day for deadline in find_deadlines(text, published)}
    dated = _WEEKDAY.sub(partial(_write_out_weekday, published=published), text)
    return tuple(each for each in find_deadlines(dated, published) if each.day not in stated)


def _write_out_weekday(match: re.Match[str], published: datetime) -> str:
    """Return the date of a weekday, or the original words if it's ambiguous."""
    ahead = (_WEEKDAYS.index(match["weekday"].lower()) - published.weekday()) % 7
    if match["before"] or match["behind"] or not 0 < ahead <= _MAX_DAYS_AHEAD:
        return match[0]
    return (published.date() + timedelta(ahead)).isoformat()


def _write_out_day(match: re.Match[str]) -> str:
    """Return a day such as 11/30 as "Nov 30", or the original if it may be a fraction, or 9/11."""
    month, day = int(match["month"]), int(match["day"])
    is_fraction = month < day <= 12 and not match["month"].startswith("0")
    return match[0] if is_fraction else f"{_MONTHS[month - 1]} {day}"


def _read_deadlines(text: str, published: datetime | None) -> Iterator[Deadline]:
    """Yield the deadlines in a text: extended ones first, and obligations and requests last."""
    for cue, start in islice(_deadline_cues(text), _MAX_CUES):
        head = _NUMERIC_DAY.sub(_write_out_day, text[start : start + _REACH])
        written = read_day_and_time(head, 0, published, filler=_FILLER, read_time=read_clock, max_steps=_MAX_STEPS)
        if written is None or not is_ahead(written[0].first, published):
            continue
        day, clock, at = written
        label = _find_label(text, cue, head[:at])
        if clock := clock or _read_clock_behind(head, day.end):
            yield Deadline(day.first, clock.clock, clock.zone, label)
        else:
            yield Deadline(day.first, label=label)


def _deadline_cues(text: str) -> Iterator[tuple[re.Match[str], int]]:
    """Yield the words that announce a deadline, with the index after them.

    Deadlines that were extended are omitted.
    """
    extended = list(islice(_EXTENSION_CUE.finditer(text), _MAX_CUES))
    yield from ((cue, cue.end()) for cue in extended)
    for cue, start in chain(
        _cues_until(text, _DEADLINE_CUE, _UNTIL, _UNTIL_REACH),
        _cues_until(text, _OBLIGATION_CUE, _BY, _OBLIGATION_REACH),
        _cues_until(text, _REQUEST_CUE, _UNTIL, _UNTIL_REACH),
    ):
        if not any(other.start() <= cue.start() < other.end() for other in extended):
            yield cue, start


def _cues_until(
    text: str, announcing: re.Pattern[str], until: re.Pattern[str], reach: int
) -> Iterator[tuple[re.Match[str], int]]:
    """Yield announcing words with the index after them.

    Incomplete ones require a "by" in the same sentence.
    """
    for cue in announcing.finditer(text):
        if cue.lastgroup:  # "whole", which can be empty
            yield cue, cue.end()
            continue
        for by in until.finditer(text, cue.end(), cue.end() + reach):
            if by[0] in ".:;":
                break
            yield cue, by.end()


def _read_clock_behind(head: str, start: int) -> WrittenClock | None:
    """Return the time after a day, such as ", at 5 p.m. ET", " by noon", or " 23:59 UTC", or None."""
    match = _CLOCK_GAP.match(head, start)
    return read_clock(head, match.end() if match else start)


def _find_label(text: str, cue: re.Match[str], between: str) -> str:
    """Return what's due, or "" if it's unknown.

    It's found in the announcing words, in the words after them, or else in the last suitable words
    before them.
    """
    start = max(0, cue.start() - _SENTENCE_START)
    before = text[start : cue.start()].rpartition(". ")[2]
    for words in (cue[0], between, *reversed(_RESPONSE_WORD.findall(before))):
        if match := _RESPONSE_WORD.search(words):
            word = match[0].lower()
            return next((label for stem, label in _LABELS if word.startswith(stem)), "")
    return ""
