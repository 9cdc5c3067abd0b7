"""What an article's words give away of its kind: a round-up, an advertisement, no news at all."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from re import Pattern

from digest.select.values import Candidate


def _any(*patterns: str) -> Pattern[str]:
    return re.compile("|".join(f"(?:{p})" for p in patterns), re.IGNORECASE)


# Titles that glue unrelated stories together.
ROUND_UP = _any(
    r"^in other news\b",
    r"\b(?:morning|evening|daily|weekly|weekend) (?:report|briefing|mail|edition|digest|recap|wrap|round-?up)\b",
    r"\bbriefing:|^(?:your|the) \w+ briefing\b",
    r"\bround-?up\b",
    r"\bnewsletter\b.*\b(?:round|issue|edition|no\.?|#) ?\d+",
    r"\b(?:round|issue|episode) #?\d+\b.*\bnewsletter\b|\bnewsletter$",
    r"^up first\b",
    r"\bweek in review\b|\bweek in (?:security|pictures|photos)\b|\bthis week in\b|\bmonth in review\b",
    r"\b(?:first|afternoon|morning) (?:thing|update|edition)\b:",
    r"^(?:the )?(?:news|top|biggest|five|\d+) (?:stories|headlines|things to know)\b",
    r"\b\d+ things (?:to know|you need to know)\b",
    r"\bnews (?:quiz|in brief|at a glance)\b|^what we (?:learned|read) this week\b|^the papers\b",
)

_PAID = _any(
    r"\bsponsored\b|\bpaid post\b|\badvertorial\b|\bpartner content\b|\bpromoted\b",
    r"\b(?:black friday|cyber monday|prime day|labor day)\b.*\b(?:deals?|sales?|discounts?|off)\b",
    r"\b(?:deal|save|discount|coupon|promo code|for just|only) \$\d+|\$\d+ off\b|\b\d+ ?% (?:off|discount)\b",
    r"\bdeal(?:s)?:|\bdeals of the (?:day|week)\b|\bbest deals?\b|\blifetime (?:deal|subscription)\b",
    r"\bproduct walkthrough\b|\bfree (?:ebook|e-book|white ?paper)\b|\bgiveaway\b",
)

_LIST = _any(
    r"^(?:the )?(?:top|best) \d+\b|^\d+ (?:best|top|ways|reasons|tips|tools|things|steps|benefits)\b",
    r"\b(?:ultimate|complete|beginner'?s|buyer'?s) guide\b|^how to (?:choose|pick|get|buy|use|make|watch|save)\b",
    r"^what is \w+\?|\bbenefits of\b|^why you should\b",
)

_OPINION = _any(
    r"^(?:opinion|analysis|editorial|op-?ed|commentary|column|letters?|review|perspective)\b ?[:|]",
    r"\| (?:opinion|editorial|letters?|letters to the editor)$",
)

_TALK = _any(
    r"^(?:watch|listen|video|photos?|pictures|in pictures|gallery|audio|podcast|webinar|quiz|puzzle)\b ?[:|-]",
    r"\b(?:podcast|webinar|crossword|horoscope|quiz|obituary)\b|\bin pictures\b|\bcartoon\b",
)

_SPORT = _any(
    r"\b(?:nfl|nba|mlb|nhl|ufc|wnba|premier league|champions league|la liga|super bowl|world cup|us open)\b",
    r"\b(?:quarterback|touchdown|box office|red carpet|reality star|fantasy football|playoffs?|grand prix)\b",
)


def _url(*patterns: str) -> Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


_URL_OPINION = _url(r"/(?:opinions?|commentisfree|editorials?|comment|columnists?)/")
_URL_PAID = _url(r"/(?:sponsored|partner-content|advertorial|deals?)/")
_URL_SPORT = _url(
    r"/(?:sports?|football|cricket|tennis|lifestyle|entertainment|culture|food|travel|celebrity)/"
)
_URL_TALK = _url(r"/(?:videos?|podcasts?|gallery|live-?blog|quiz(?:zes)?|newsletters?)/")


def is_round_up(title: str) -> bool:
    """Say whether a title announces several unrelated stories, so that its text must not tie others together."""
    return bool(ROUND_UP.search(title))


@dataclass(frozen=True, slots=True)
class Fault:
    """What takes a part (0 to 1) of a story's points, and the words for an editor."""

    part: float
    reason: str


def _said(pattern: Pattern[str], where: Pattern[str] | None = None) -> Callable[[Candidate], bool]:
    def found(c: Candidate) -> bool:
        return bool(pattern.search(c.title) or (where and where.search(c.url)))

    return found


_FAULTS: tuple[tuple[Fault, Callable[[Candidate], bool]], ...] = (
    (Fault(0.5, "sponsored or a deal"), _said(_PAID, _URL_PAID)),
    (Fault(0.5, "a round-up"), lambda c: is_round_up(c.title)),
    (Fault(0.3, "no date"), lambda c: not c.dated),
    (Fault(0.4, "no news: a list or a guide"), _said(_LIST)),
    (Fault(0.4, "no news: an opinion"), _said(_OPINION, _URL_OPINION)),
    (Fault(0.4, "no news: a talk, a video or a game"), _said(_TALK, _URL_TALK)),
    (Fault(0.5, "no news: sport or entertainment"), _said(_SPORT, _URL_SPORT)),
)


def faults(candidate: Candidate) -> tuple[Fault, ...]:
    """List what speaks against an article, whatever it is about."""
    return tuple(fault for fault, found in _FAULTS if found(candidate))
