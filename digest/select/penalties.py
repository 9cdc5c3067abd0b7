"""Recognizing round-ups, advertisements, and other articles that aren't news, by their wording."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from digest.select.selection_types import CandidateArticle
from digest.select.text_similarity import significant_words

MAX_TITLE_WORDS = 20  # maximum number of words in a headline
MIN_COMMON_WORDS, MIN_COMMON_SHARE = 4, 0.5  # significant words that titles saying the same have in common
_STEM_LENGTH = 4  # number of letters to compare, so that "resigns" and "resigned" match
_ARRIVAL_STEMS = frozenset(["land", "asho", "hit", "stri", "slam"])  # a storm's arrival, in forecasts and reports
# More titles than most weeks have. Grouping, ranking, and finding related articles all check them.
_CACHED_TITLES = 10_000


class TitlePattern:
    """A set of alternative patterns to match against a lowercased title.

    The patterns are grouped by where they may start (the start of the title, the start of a word,
    or anywhere), so that the first letter rules out most words. This takes a third of the time.
    """

    def __init__(self, *alternatives: str) -> None:
        """Compile the alternatives, which are lowercase regular expressions without a top-level `|`."""
        self.alternatives = alternatives
        starting = [a.removeprefix("^") for a in alternatives if a.startswith("^")]
        within = [a.removeprefix(r"\b") for a in alternatives if a.startswith(r"\b")]
        anywhere = [a for a in alternatives if not a.startswith(("^", r"\b"))]
        self._searches = [
            *([re.compile("|".join(starting)).match] if starting else []),
            *([re.compile(rf"\b(?:{'|'.join(within)})").search] if within else []),
            *([re.compile("|".join(anywhere)).search] if anywhere else []),
        ]

    def is_in(self, title: str) -> bool:
        """Return True if a title matches one of the alternatives."""
        lowered = title.lower()
        for search in self._searches:  # noqa: SIM110  `any` takes half as long again, 60,000 times a week
            if search(lowered):
                return True
        return False

    def cut_from(self, title: str) -> str:
        """Return the lowercased title from the first match on, or an empty string if there's no match."""
        lowered = title.lower()
        starts = [found.start() for search in self._searches if (found := search(lowered))]
        return lowered[min(starts) :] if starts else ""


# Titles that combine unrelated stories.
_ROUND_UP_TITLE = TitlePattern(
    r"^in other news\b",
    r"\b(?:morning|evening|daily|weekly|weekend) (?:report|briefing|mail|edition|digest|recap|wrap|round-?up)\b",
    r"\bbriefing:",
    r"\btoday['\u2019]s (?:\w+ ){0,2}(?:briefing|headlines|report)\b",
    r"^(?:your|the) \w+ briefing\b",
    r"\bround-?up\b",
    r"\bnewsletter\b.*\b(?:round|issue|edition|no\.?|#) ?\d+",
    r"\b(?:round|issue|episode) #?\d+\b.*\bnewsletter\b",
    r"\bnewsletter$",
    r"^up first\b",
    r"\bweek in (?:review|security|pictures|photos)\b",
    r"\bthis week in\b",
    r"\bmonth in review\b",
    r"\b(?:photos?|pictures|images) of the (?:day|week|month)\b",
    r"\b(?:first|afternoon|morning) (?:thing|update|edition)\b:",
    r"^(?:the )?(?:news|top|biggest|five|\d+) (?:stories|headlines|things to know)\b",
    r"\b\d+ things (?:to know|you need to know)\b",
    r"\bnews (?:quiz|in brief|at a glance)\b",
    r"^what we (?:learned|read) this week\b",
    r"^the papers\b",
)

_PAID_TITLE = TitlePattern(
    r"\b(?:sponsored|paid post|advertorial|partner content|promoted)\b",
    r"\b(?:black friday|cyber monday|prime day|labor day)\b.*\b(?:deals?|sales?|discounts?|off)\b",
    r"\b(?:deal|save|discount|coupon|promo code|for just|only) \$\d+",
    r"\$\d+ off\b",
    r"\b\d+ ?% (?:off|discount)\b",
    r"\bdeals?:",
    r"\b(?:deals of the (?:day|week)|best deals?|lifetime (?:deal|subscription))\b",
    r"\b(?:product walkthrough|free (?:ebook|e-book|white ?paper)|giveaway)\b",
)

_LIST_TITLE = TitlePattern(
    r"^(?:the )?(?:top|best) \d+\b",
    r"^\d+ (?:best|top|ways|reasons|tips|tools|things|steps|benefits)\b",
    r"\b(?:ultimate|complete|beginner'?s|buyer'?s) guide\b",
    r"^how to (?:choose|pick|get|buy|use|make|watch|save)\b",
    r"^what is \w+\?",
    r"\bbenefits of\b",
    r"^why you should\b",
)

_OPINION_TITLE = TitlePattern(
    r"^(?:opinion|analysis|editorial|op-?ed|commentary|column|letters?|review|perspective)\b ?[:|]",
    r"\| (?:opinion|editorial|letters?|letters to the editor)$",
)

_TALK_TITLE = TitlePattern(
    r"^(?:watch|listen|video|photos?|pictures|in (?:pictures|photos)|gallery|audio|podcast|webinar|quiz|puzzle)\b ?[:|-]",
    r"\b(?:podcast|webinar|crossword|horoscope|quiz|obituary|in (?:pictures|photos)|cartoon)\b",
)

_LIVE_TITLE = TitlePattern(
    r"\blive (?:updates?|blog|coverage|ticker|tracker)\b",
    r"[\u2013\u2014:|-] ?(?:as it happened|live)$",
    r"^live\b ?[:|-]",
    r"\bas it happened\b",
    r"\b(?:tracker|(?:latest|see) (?:map|path)|latest on|watch live|where to watch)\b",
)

_EXPLAINER_TITLE = TitlePattern(
    r"\bwhat (?:we|you|to)(?: all)?(?: need| should| have| must)?(?: to)? (?:know|expect|do)\b",
    r"\bwhat(?:'s| is) (?:next|known)\b",
    r"^(?:(?:what|who|where|when|how|why) )?(?:is|are|was|were|did|do|does|can|could|will|would|has|have)\b.*\?$",
    r"\bhere(?:'s|\u2019s| is| are) (?:what|where|how|why|who|when)\b",
    r"\b(?:explained|explainer|fact check|q&a|faq|timeline)\b",
    r"^(?:a )?(?:guide|timeline|look|closer look) (?:to|of|at)\b",
    r"\bby the numbers\b",
    r"\bexperts? (?:reflect|explain|weigh in)",
)

# Titles about politicians attacking or defending each other, rather than about the issue itself.
_QUARREL_TITLE = TitlePattern(
    r"\b(?:blasts?|slams?|rips?|mocks?|shreds|torches|touts|lambastes?|booed|heckled|defends?|praises?|scolds?|snubs?|dunks)\b",
    r"\b(?:hits?|fires?|claps?|punches) back\b",
    r"\b(?:trades?|trading) (?:barbs|blows|insults)\b",
    r"\b(?:feuds?|spat|war of words)\b",
    r"\bcalls? (?:out|on) \w+ to resign\b",
    r"\b(?:goes|went) after\b",
    r"\b(?:under fire|backlash|on the campaign trail)\b",
)

_STATEMENT_TITLE = TitlePattern(
    r"\b(?:says?|said|tells?|told(?! to\b)|urges?|urged|calls? (?:for|on)|demands?|insists?|welcomes?|hopes?|vows?|pledges?|directs?|thinks?)\b"
)

_NUMBER_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_NUMBERS = {word: number for number, word in enumerate(_NUMBER_WORDS, 1)} | {"dozens": 24, "several": 1, "multiple": 1}
# A count of people, but not an age ("11-year-old"), a duration, or a year.
_NUMBER = (
    rf"\b((?:\d{{1,3}}(?:,\d{{3}})+|(?!(?:19|20)\d\d\b)\d{{1,5}}|{'|'.join(_NUMBERS)}))\b"
    r"(?!-| (?:years?|months?|weeks?|days?|hours?)\b)"
)
_WORDS = r"(?: [a-z'\u2019]+){0,2}?"
_PEOPLE = rf"{_NUMBER}(?:{_WORDS} and {_NUMBER})?"  # "two adults and six children"
_TOLL = re.compile(
    rf"{_PEOPLE}{_WORDS} (?:are |were )?(?:dead|die[sd]?|killed|slain|deaths)\b"
    rf"|\bkill(?:s|ed|ing)? (?:(?:at least|more than|over|nearly|as many as) )?{_PEOPLE}"
    r"|\b(several|multiple) (?:people )?(?:victims|patients|casualties|injured|hurt|wounded|shot)\b"
    rf"|\btoll\b[^,;:]{{0,30}}? {_NUMBER}"
)

_ATTRIBUTION = re.compile(r"[,:;-] [^,:;]{0,40}\b(?:say|says|said|tells|told)\b[^,:;]{0,20}$", re.IGNORECASE)

# Crimes that matter beyond their town: several deaths, a suspect at large, or federal charges.
_SEVERAL = r"(?:[2-9]|\d\d+|two|three|four|five|six|seven|eight|nine|ten|several|dozens)"
_GRAVE_TITLE = TitlePattern(
    rf"\b{_SEVERAL}(?: \w+){{0,2}} (?:dead|die|killed|deaths|slain|bodies|murdered|fatally)\b",
    rf"\b(?:kills?|killing|killed) (?:at least )?{_SEVERAL}\b",
    r"\b(?:double|triple|quadruple|multiple) (?:homicide|killing|murder|slaying)",
    r"\b(?:manhunt|massacre|on the run|death toll)\b",
    r"\b(?:still|remains?) at large\b",
    r"\bhunt(?:s|ing)?(?: for)?(?: \w+)? (?:escapee|fugitive|gunman|gunmen|killer|shooter|suspect)",
    r"\bmass (?:shooting|killing|casualty)",
    r"\bfederal(?:ly)?(?: \w+)? (?:charge|indict|grand jury|hate crime)",
    r"\bcharged federally\b",
)

# Verbs that describe an agency's official action when they follow its name.
_AGENCY_ACTION = TitlePattern(
    r"^(?:add|alert|announce|approve|arrest|authorize|bar|block|charge|declare|deploy|designate|disrupt|dismantle)(?:s|d|ed)?\b",
    r"^(?:ban|banned|extend|impose|indict|issue|launch|order|propose|publish|reassign|recall|recommend|release)(?:s|es|d|ed)?\b",
    r"^(?:require|restrict|sanction|seize|suspend|sue|tighten|unseal|update|warn)(?:s|d|ed)?\b",
    r"^(?:bans|sentenced|takes? down)\b",
)
# Actions of courts and prosecutors against a person.
_CASE_TITLE = TitlePattern(
    r"\b(?:charged|indicted|sentenced|convicted|extradited|found guilty|pleads? guilty|pleaded guilty)\b",
)

# Headlines written before an event, which are misleading afterward.
_FORECAST_TITLE = TitlePattern(
    r"\b(?:expected|predicted|forecast(?:ed)?|projected|poised|set|due|likely|about|scheduled) to\b",
    r"\bexpected in\b",
    r"\bto (?:become|hit|strike|make landfall|reach|slam|strengthen|intensify|arrive|testify|surrender|vote)\b",
    r"\bto be \w+(?:ed|en|d)\b",
    r"\bfaces? (?:a |the )?(?:sentenc|trial)",
    r"\bto (?:face|appear|begin|open|start|award|visit|meet|speak|mark|tour)\b",
    r"\bgoing to\b",
    r"\b(?:could|may|might|will) (?:hit|strike|make landfall|become|bring|reach|slam|face|testify)\b",
    r"\b(?:braces?|bracing|prepares?|preparing|readies|readying|gears? up|boards? up|ahead of|countdown)\b",
    r"\b(?:nears|nearing|approach(?:es|ing)?|threatens?|looms?|looming|bears? down|takes? aim)\b",
    r"\bemerges? as (?:a )?threat\b",
    r"\b(?:heads?|heading|barrels?|barreling|churns?|races?|whirls?|spins?|path) (?:for|to|towards?)\b",
    r"\b(?:strengthen|intensifie)s\b",
    r"\b(?:urged|ordered|told|rush|rushes) to (?:prepare|evacuate|leave)\b",
    r"\bpreparations\b",
)

_SPORT_TITLE = TitlePattern(
    r"\b(?:nfl|nba|mlb|nhl|ufc|wnba|premier league|champions league|la liga|super bowl|world cup|us open)\b",
    r"\b(?:quarterback|touchdown|box office|red carpet|reality star|fantasy football|playoffs?|grand prix)\b",
)


def _compile_url_patterns(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


_OPINION_URL = _compile_url_patterns(r"/(?:opinions?|commentisfree|editorials?|comment|columnists?)/")
_PAID_URL = _compile_url_patterns(r"/(?:sponsored|partner-content|advertorial|deals?)/")
_SPORT_URL = _compile_url_patterns(
    r"/(?:sports?|football|cricket|tennis|lifestyle|entertainment|culture|food|travel|celebrity)/"
)
_TALK_URL = _compile_url_patterns(
    r"/(?:videos?|podcasts?|gallery|galleries|photos?|quiz(?:zes)?|newsletters?|av|audio|watch)/"
)
# Links in emails that count clicks. They lead to an email, or to a page that can't be determined.
_MAIL_URL = _compile_url_patterns(
    r"//(?:[\w-]+\.)*(?:createsend\d*|cmail\d+|list-manage\d*|rs6|mlsend|awstrack)\.(?:com|net|me)/"
)
_LIVE_URL = _compile_url_patterns(r"/(?:live|live-?blog|live-?updates|liveblog)/|live-updates")


_ABBREVIATION_END = re.compile(r"\b(?:[A-Z]|Bros|Co|Corp|Inc|Jr|Ltd|Sr)\.$")


def is_sentence_title(title: str) -> bool:
    """Return True if a title is a sentence from a post rather than a headline, judging by its ending or length."""
    ends_as_sentence = title.endswith((".", "…")) and not _ABBREVIATION_END.search(title)
    return ends_as_sentence or len(title.split()) > MAX_TITLE_WORDS


@lru_cache(maxsize=_CACHED_TITLES)
def is_statement_title(title: str) -> bool:
    """Return True if a title reports a statement rather than an event.

    A trailing ", police say" is ignored, because it only names the source.
    """
    return _STATEMENT_TITLE.is_in(_ATTRIBUTION.sub("", title))


def is_agency_action(words: str) -> bool:
    """Return True if the words after an agency's name describe an official action, such as a rule."""
    return _AGENCY_ACTION.is_in(words)


def is_case_title(title: str) -> bool:
    """Return True if a title reports charges, a verdict, or a sentence."""
    return _CASE_TITLE.is_in(title)


def is_grave_title(title: str) -> bool:
    """Return True if a title reports several deaths, a manhunt, or federal charges."""
    return _GRAVE_TITLE.is_in(title)


@lru_cache(maxsize=_CACHED_TITLES)
def is_forecast_title(title: str) -> bool:
    """Return True if a title announces an event that hadn't happened when it was written."""
    return _FORECAST_TITLE.is_in(title)


def reports_outcome(title: str, forecast: str) -> bool:
    """Return True if a title reports the outcome of a forecast.

    It must not be a forecast itself, and it must share a word with the forecast. "Chief resigns"
    reports the outcome of "Chief expected to resign", but "Chief defends his record" doesn't.
    """
    ahead = _list_stems(_FORECAST_TITLE.cut_from(forecast))
    ahead |= frozenset() if ahead.isdisjoint(_ARRIVAL_STEMS) else _ARRIVAL_STEMS
    return bool(ahead) and not is_forecast_title(title) and not ahead.isdisjoint(_list_stems(title))


@lru_cache(maxsize=_CACHED_TITLES)
def find_death_toll(title: str) -> int:
    """Return the number of deaths that a title states, or 0 if it states none.

    Words such as "several victims" count as 1.
    """
    tolls = (filter(None, found.groups()) for found in _TOLL.finditer(title.lower()))
    return max((sum(map(_read_number, numbers)) for numbers in tolls), default=0)


def _read_number(text: str) -> int:
    return _NUMBERS.get(text) or int(text.replace(",", ""))


def is_title_repeated(title: str, others: Iterable[str]) -> bool:
    """Return True if a title says the same as one of `others`.

    The two must share at least four significant words, and at least half of those in the shorter title.
    """
    agreements = (measure_title_agreement(title, other) for other in others)
    return any(words >= MIN_COMMON_WORDS and share >= MIN_COMMON_SHARE for words, share in agreements)


def measure_title_agreement(title: str, other: str) -> tuple[int, float]:
    """Count the significant words that two titles share, comparing only the first few letters of each word.

    Return the count, and the count as a share of the shorter title's words.
    """
    stems, other_stems = _list_stems(title), _list_stems(other)
    common = len(stems & other_stems)
    return common, common / max(min(len(stems), len(other_stems)), 1)


def _list_stems(text: str) -> frozenset[str]:
    """Return the first few letters of each significant word in a text, so that "resigns" and "resigned" match."""
    return frozenset(word[:_STEM_LENGTH] for word in significant_words(text))


@dataclass(frozen=True, slots=True)
class ScorePenalty:
    """A share (0 to 1) to deduct from a story's points, and a description for editors."""

    share: float
    reason: str


_PAID = ScorePenalty(0.5, "sponsored or a deal")
_ROUND_UP = ScorePenalty(0.5, "a round-up")
_UNDATED = ScorePenalty(0.3, "no date")
_OPINION = ScorePenalty(0.4, "not news: an opinion piece")
_DISPUTE = ScorePenalty(0.2, "a dispute rather than the issue itself")
_SPORT = ScorePenalty(0.5, "not news: sports or entertainment")
_TITLE_PENALTIES: tuple[tuple[ScorePenalty, TitlePattern, re.Pattern[str] | None], ...] = (
    (ScorePenalty(0.4, "not news: a list or guide"), _LIST_TITLE, None),
    (_OPINION, _OPINION_TITLE, _OPINION_URL),
    (ScorePenalty(0.4, "not news: a talk, video, or game"), _TALK_TITLE, _TALK_URL),
    (ScorePenalty(0.3, "not news: a live page"), _LIVE_TITLE, _LIVE_URL),
    (ScorePenalty(0.3, "not news: an explainer"), _EXPLAINER_TITLE, None),
    (_DISPUTE, _QUARREL_TITLE, None),
    (_SPORT, _SPORT_TITLE, _SPORT_URL),
)
# One search of the title and one of the URL rule out these penalties for most articles.
_PENALIZED_TITLE = TitlePattern(
    *_PAID_TITLE.alternatives,
    *_ROUND_UP_TITLE.alternatives,
    *chain.from_iterable(in_title.alternatives for _, in_title, _ in _TITLE_PENALTIES),
)
_PENALIZED_URL = _compile_url_patterns(
    _PAID_URL.pattern, _MAIL_URL.pattern, *(in_url.pattern for *_, in_url in _TITLE_PENALTIES if in_url)
)


def find_penalties(candidate: CandidateArticle) -> tuple[ScorePenalty, ...]:
    """Return the penalties that apply to an article regardless of its topic."""
    return _find_penalties(candidate.title, candidate.url, has_date=candidate.has_date)


def is_round_up(candidate: CandidateArticle) -> bool:
    """Return True if an article combines unrelated stories.

    The text of such an article must not connect other articles.
    """
    return _ROUND_UP in find_penalties(candidate)


def is_of_other_matter(candidate: CandidateArticle) -> bool:
    """Return True if an article is an opinion piece, a dispute, sports, or entertainment.

    The words of such articles may suggest the wrong topic.
    """
    return not {_OPINION, _DISPUTE, _SPORT}.isdisjoint(find_penalties(candidate))


@lru_cache(maxsize=_CACHED_TITLES)
def _find_penalties(title: str, url: str, *, has_date: bool) -> tuple[ScorePenalty, ...]:
    undated = [] if has_date else [_UNDATED]
    if not _PENALIZED_TITLE.is_in(title) and not _PENALIZED_URL.search(url):
        return tuple(undated)
    penalties = []
    if _PAID_TITLE.is_in(title) or _PAID_URL.search(url):
        penalties.append(_PAID)
    if _ROUND_UP_TITLE.is_in(title) or _MAIL_URL.search(url):
        penalties.append(_ROUND_UP)
    penalties += undated
    penalties += [
        penalty
        for penalty, in_title, in_url in _TITLE_PENALTIES
        if in_title.is_in(title) or (in_url and in_url.search(url))
    ]
    return tuple(penalties)
