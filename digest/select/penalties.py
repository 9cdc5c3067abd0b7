"""What an article's words give away of its kind: a round-up, an advertisement, no news at all."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from re import Pattern

from digest.select.values import CandidateArticle


def _compile_title_patterns(*patterns: str) -> Pattern[str]:
    return re.compile("|".join(f"(?:{p})" for p in patterns), re.IGNORECASE)


# Titles that glue unrelated stories together.
ROUND_UP_TITLE = _compile_title_patterns(
    r"^in other news\b",
    r"\b(?:morning|evening|daily|weekly|weekend) (?:report|briefing|mail|edition|digest|recap|wrap|round-?up)\b",
    r"\bbriefing:|^(?:your|the) \w+ briefing\b",
    r"\bround-?up\b",
    r"\bnewsletter\b.*\b(?:round|issue|edition|no\.?|#) ?\d+",
    r"\b(?:round|issue|episode) #?\d+\b.*\bnewsletter\b|\bnewsletter$",
    r"^up first\b",
    r"\bweek in review\b|\bweek in (?:security|pictures|photos)\b|\bthis week in\b|\bmonth in review\b",
    r"\b(?:photos?|pictures|images) of the (?:day|week|month)\b",
    r"\b(?:first|afternoon|morning) (?:thing|update|edition)\b:",
    r"^(?:the )?(?:news|top|biggest|five|\d+) (?:stories|headlines|things to know)\b",
    r"\b\d+ things (?:to know|you need to know)\b",
    r"\bnews (?:quiz|in brief|at a glance)\b|^what we (?:learned|read) this week\b|^the papers\b",
)

_PAID_TITLE = _compile_title_patterns(
    r"\bsponsored\b|\bpaid post\b|\badvertorial\b|\bpartner content\b|\bpromoted\b",
    r"\b(?:black friday|cyber monday|prime day|labor day)\b.*\b(?:deals?|sales?|discounts?|off)\b",
    r"\b(?:deal|save|discount|coupon|promo code|for just|only) \$\d+|\$\d+ off\b|\b\d+ ?% (?:off|discount)\b",
    r"\bdeal(?:s)?:|\bdeals of the (?:day|week)\b|\bbest deals?\b|\blifetime (?:deal|subscription)\b",
    r"\bproduct walkthrough\b|\bfree (?:ebook|e-book|white ?paper)\b|\bgiveaway\b",
)

_LIST_TITLE = _compile_title_patterns(
    r"^(?:the )?(?:top|best) \d+\b|^\d+ (?:best|top|ways|reasons|tips|tools|things|steps|benefits)\b",
    r"\b(?:ultimate|complete|beginner'?s|buyer'?s) guide\b|^how to (?:choose|pick|get|buy|use|make|watch|save)\b",
    r"^what is \w+\?|\bbenefits of\b|^why you should\b",
)

_OPINION_TITLE = _compile_title_patterns(
    r"^(?:opinion|analysis|editorial|op-?ed|commentary|column|letters?|review|perspective)\b ?[:|]",
    r"\| (?:opinion|editorial|letters?|letters to the editor)$",
)

_TALK_TITLE = _compile_title_patterns(
    r"^(?:watch|listen|video|photos?|pictures|in (?:pictures|photos)|gallery|audio|podcast|webinar|quiz|puzzle)\b ?[:|-]",
    r"\b(?:podcast|webinar|crossword|horoscope|quiz|obituary)\b|\bin (?:pictures|photos)\b|\bcartoon\b",
)

_LIVE_TITLE = _compile_title_patterns(
    r"\blive (?:updates?|blog|coverage|ticker|tracker)\b|[\u2013\u2014:|-] ?(?:as it happened|live)$|^live\b ?[:|-]|\bas it happened\b",
    r"\btracker\b|\b(?:latest|see) (?:map|path)\b|\blatest on\b|\bwatch live\b|\bwhere to watch\b",
)

_EXPLAINER_TITLE = _compile_title_patterns(
    r"\bwhat (?:we|you|to)(?: all)?(?: need| should| have| must)?(?: to)? (?:know|expect|do)\b|\bwhat(?:'s| is) (?:next|known)\b",
    r"^(?:what|who|where|when|how|why) (?:is|are|was|were|did|do|does|can|could|will|would|has|have)\b.*\?$",
    r"\bhere(?:'s|\u2019s| is| are) (?:what|where|how|why|who|when)\b|\b(?:explained|explainer|fact check|q&a|faq|timeline)\b",
    r"^(?:a )?(?:guide|timeline|look|closer look) (?:to|of|at)\b|\bby the numbers\b|\bexperts? (?:reflect|explain|weigh in)",
)

# What politicians say of each other and of a matter, not the matter.
_QUARREL_TITLE = _compile_title_patterns(
    r"\b(?:blasts?|slams?|rips?|mocks?|shreds|torches|touts|lambastes?|booed|heckled|defends?|praises?|scolds?|snubs?|dunks)\b",
    r"\b(?:hits?|fires?|claps?|punches) back\b|\b(?:trades?|trading) (?:barbs|blows|insults)\b|\b(?:feuds?|spat|war of words)\b",
    r"\bcalls? (?:out|on) \w+ to resign\b|\b(?:goes|went) after\b|\bunder fire\b|\bbacklash\b|\bon the campaign trail\b",
)

_STATEMENT_TITLE = _compile_title_patterns(
    r"\b(?:says?|said|tells?|told|urges?|urged|calls? (?:for|on)|demands?|insists?|welcomes?|hopes?|vows?|pledges?|directs?|thinks?)\b"
)

# Told before it happened. Once it has, such a headline misleads.
_FORECAST_TITLE = _compile_title_patterns(
    r"\b(?:expected|predicted|forecast(?:ed)?|projected|poised|set|due|likely|about|scheduled) to\b",
    r"\bto (?:become|hit|strike|make landfall|reach|slam|strengthen|intensify|arrive|testify|surrender|vote)\b",
    r"\bto be \w+(?:ed|en|d)\b|\bto (?:face|appear|begin|open|start|award|visit|meet|speak|mark|tour)\b|\bgoing to\b",
    r"\b(?:could|may|might|will) (?:hit|strike|make landfall|become|bring|reach|slam|face|testify)\b",
    r"\b(?:braces?|bracing|prepares?|preparing|readies|readying|gears? up|boards? up)\b|\bahead of\b|\bcountdown\b",
    r"\b(?:nears?|nearing|approach(?:es|ing)?|threatens?|looms?|looming|bears? down|takes? aim)\b|\bemerges? as (?:a )?threat\b",
    r"\b(?:heads?|heading|barrels?|barreling|churns?|races?|whirls?|spins?|path) (?:for|to|towards?)\b",
    r"\b(?:strengthen|intensifie)s\b|\b(?:urged|ordered|told|rush|rushes) to (?:prepare|evacuate|leave)\b|\bpreparations\b",
)

_SPORT_TITLE = _compile_title_patterns(
    r"\b(?:nfl|nba|mlb|nhl|ufc|wnba|premier league|champions league|la liga|super bowl|world cup|us open)\b",
    r"\b(?:quarterback|touchdown|box office|red carpet|reality star|fantasy football|playoffs?|grand prix)\b",
)


def _compile_url_patterns(*patterns: str) -> Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


_OPINION_URL = _compile_url_patterns(r"/(?:opinions?|commentisfree|editorials?|comment|columnists?)/")
_PAID_URL = _compile_url_patterns(r"/(?:sponsored|partner-content|advertorial|deals?)/")
_SPORT_URL = _compile_url_patterns(
    r"/(?:sports?|football|cricket|tennis|lifestyle|entertainment|culture|food|travel|celebrity)/"
)
_TALK_URL = _compile_url_patterns(
    r"/(?:videos?|podcasts?|gallery|galleries|photos?|quiz(?:zes)?|newsletters?|av|audio|watch)/"
)
_LIVE_URL = _compile_url_patterns(r"/(?:live|live-?blog|live-?updates|liveblog)/|live-updates")


@lru_cache(maxsize=20_000)  # a week's titles, which grouping, topics and penalties all ask about
def is_round_up_title(title: str) -> bool:
    """Return whether a title announces several unrelated stories, so that its text must not tie others together."""
    return bool(ROUND_UP_TITLE.search(title))


def is_statement_title(title: str) -> bool:
    """Return whether a title tells what somebody said, rather than what happened."""
    return bool(_STATEMENT_TITLE.search(title))


def is_forecast_title(title: str) -> bool:
    """Return whether a title tells what was still ahead when it was written."""
    return bool(_FORECAST_TITLE.search(title))


@dataclass(frozen=True, slots=True)
class ScorePenalty:
    """What takes a part (0 to 1) of a story's points, and the words for an editor."""

    share: float
    reason: str


def _title_or_url_test(
    title_pattern: Pattern[str], url_pattern: Pattern[str] | None = None
) -> Callable[[CandidateArticle], bool]:
    def matches(c: CandidateArticle) -> bool:
        return bool(title_pattern.search(c.title) or (url_pattern and url_pattern.search(c.url)))

    return matches


_PENALTY_TESTS: tuple[tuple[ScorePenalty, Callable[[CandidateArticle], bool]], ...] = (
    (ScorePenalty(0.5, "sponsored or a deal"), _title_or_url_test(_PAID_TITLE, _PAID_URL)),
    (ScorePenalty(0.5, "a round-up"), lambda c: is_round_up_title(c.title)),
    (ScorePenalty(0.3, "no date"), lambda c: not c.has_date),
    (ScorePenalty(0.4, "no news: a list or a guide"), _title_or_url_test(_LIST_TITLE)),
    (ScorePenalty(0.4, "no news: an opinion"), _title_or_url_test(_OPINION_TITLE, _OPINION_URL)),
    (ScorePenalty(0.4, "no news: a talk, a video or a game"), _title_or_url_test(_TALK_TITLE, _TALK_URL)),
    (ScorePenalty(0.3, "no news: a live page"), _title_or_url_test(_LIVE_TITLE, _LIVE_URL)),
    (ScorePenalty(0.3, "no news: an explainer"), _title_or_url_test(_EXPLAINER_TITLE)),
    (ScorePenalty(0.2, "a quarrel, not the matter"), _title_or_url_test(_QUARREL_TITLE)),
    (ScorePenalty(0.5, "no news: sport or entertainment"), _title_or_url_test(_SPORT_TITLE, _SPORT_URL)),
)


def find_penalties(candidate: CandidateArticle) -> tuple[ScorePenalty, ...]:
    """List what speaks against an article, whatever it is about."""
    return tuple(fault for fault, applies in _PENALTY_TESTS if applies(candidate))
