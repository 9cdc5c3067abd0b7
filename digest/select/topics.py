"""What a story is about: the publisher's own word, then its categories, then keyword rules that show their words."""

import math
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib import resources
from itertools import islice
from types import MappingProxyType

from digest.select.penalties import is_round_up_title
from digest.select.text_similarity import WORD_PATTERN, fold_plural, fold_text
from digest.select.values import CandidateArticle, Story

_TOKEN = re.compile(WORD_PATTERN, re.IGNORECASE)


class _Tier(Enum):
    """How telling an entry is; the value is what it counts in each place."""

    STRONG = (1.5, 1.0, 0.5)
    IN_TITLE = (1.5, 1.0, 0.15)
    WEAK = (0.4, 0.3, 0.15)


_PLACES = ("category", "title", "summary")  # the most telling first
_MAX_WEAK_POINTS = 0.5  # weak words, however many, add no more than one strong word of the summary
_DECIDING_POINTS = 0.5  # what a word counts at least that decides: a strong one, anywhere
# Points below which nothing is said: one strong word of a summary is a mention, with a weak one it is more.
_MIN_POINTS = 0.6
_DOUBT_PER_POINT = 0.4  # strength is 1 - 0.4^points: .37 at half a point, .60 at one, .84 at two
# A source that publishes a whole text as its summary gets no more say than the others: news says first what it is about.
_MAX_SUMMARY_WORDS = 80
_TOGETHER = " + "
_STEM_KEY = 3  # letters by which stems are sought; a shorter stem is none


@dataclass(frozen=True, slots=True)
class TopicWords:
    """A topic's name and its lists of words and phrases, parted by semicolons.

    Strong ones decide the topic; those of `in_title` only in a title or category, elsewhere they are weak; weak ones only
    add to strong ones. In `other_senses` stand the phrases in which the topic's words mean something else.
    """

    name: str
    strong: str
    in_title: str = ""
    weak: str = ""
    other_senses: str = ""


@dataclass(frozen=True, slots=True)
class TopicMatch:
    """A topic, how surely (0 to 1), and the words that say so."""

    topic: str
    strength: float
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _TopicPhrase:
    text: str  # as listed
    tokens: tuple[str, ...]
    capitals_only: bool
    is_stem: bool  # its last word may go on: `cyber*`

    def stands_at(self, text: "_PlacedText", start: int) -> bool:
        """Return whether the phrase begins at a word of a text."""
        words = text.words[start : start + len(self.tokens)]
        if len(words) < len(self.tokens) or words[:-1] != self.tokens[:-1]:
            return False
        if not (words[-1] == self.tokens[-1] or (self.is_stem and words[-1].startswith(self.tokens[-1]))):
            return False
        return not self.capitals_only or all(text.in_capitals[start : start + len(self.tokens)])


@dataclass(frozen=True, slots=True)
class _TopicEntry:
    """One entry of a topic's list: groups that must all stand in an article, each by one of its phrases."""

    topic_index: int
    tier: _Tier
    groups: tuple[tuple[_TopicPhrase, ...], ...]


@dataclass(frozen=True, slots=True)
class _EntryMatch:
    entry: _TopicEntry
    points: float
    key: tuple[str, ...]  # the word that is counted once, whatever company it keeps
    words: str


@dataclass(frozen=True, slots=True)
class _PlacedText:
    place: str  # category, title or summary
    words: tuple[str, ...]  # folded
    in_capitals: tuple[bool, ...]


class _PhraseIndex:
    """Finds which of many phrases stand in a text, by the first letters of their first words."""

    def __init__(self, phrases: Iterable[_TopicPhrase]) -> None:
        """Index the phrases."""
        self._whole: dict[str, list[_TopicPhrase]] = defaultdict(list)
        self._stems: dict[str, list[_TopicPhrase]] = defaultdict(list)  # of one word that may go on
        for phrase in dict.fromkeys(phrases):
            if phrase.is_stem and len(phrase.tokens) == 1:
                self._stems[phrase.tokens[0][:_STEM_KEY]].append(phrase)
            else:
                self._whole[phrase.tokens[0]].append(phrase)

    def find_phrases(self, text: _PlacedText) -> Iterator[tuple[_TopicPhrase, int]]:
        """Yield each phrase that stands in a text, with the place of its first word."""
        for start, first in enumerate(text.words):
            for phrase in (*self._whole.get(first, ()), *self._stems.get(first[:_STEM_KEY], ())):
                if phrase.stands_at(text, start):
                    yield phrase, start


class TopicRules:
    """The keyword rules, ready for use."""

    def __init__(self, listed: Iterable[TopicWords]) -> None:
        """Compile the lists; the order of topics decides a tie."""
        topics = tuple(listed)
        self.topic_names = tuple(t.name for t in topics)
        self._entries = tuple(
            entry
            for number, topic in enumerate(topics)
            for tier, text in ((_Tier.STRONG, topic.strong), (_Tier.IN_TITLE, topic.in_title), (_Tier.WEAK, topic.weak))
            for entry in _parse_entries(text, number, tier)
        )
        self._phrases = _PhraseIndex(p for e in self._entries for group in e.groups for p in group)
        self._entries_by_phrase: dict[_TopicPhrase, list[_TopicEntry]] = defaultdict(list)
        for entry in self._entries:
            for phrase in dict.fromkeys(p for group in entry.groups for p in group):
                self._entries_by_phrase[phrase].append(entry)
        senses = [(_parse_phrases(t.other_senses, ";"), number) for number, t in enumerate(topics)]
        self._other_senses = _PhraseIndex(p for phrases, _ in senses for p in phrases)
        self._topics_by_sense: dict[_TopicPhrase, set[int]] = defaultdict(set)
        for phrases, number in senses:
            for phrase in phrases:
                self._topics_by_sense[phrase].add(number)

    def match_topic(self, candidate: CandidateArticle) -> TopicMatch | None:
        """Find the one topic of an article, or None.

        The source's map of categories to topics comes first; then the words of the categories, the title and the
        summary are weighed together with the source's default topic.
        """
        if mapped := _match_source_category(candidate):
            return mapped
        points, words_by_topic = self._weigh_topics(candidate)
        if candidate.default_topic:
            default = candidate.default_topic
            points[default] = points.get(default, 0.0) + _MIN_POINTS
            words_by_topic.setdefault(default, []).append(f"the default topic of {candidate.source}")
        order = {name: n for n, name in enumerate(self.topic_names)}
        best = min(points, key=lambda t: (-round(points[t], 6), order.get(t, len(order)), t), default=None)
        if best is None or points[best] < _MIN_POINTS - 1e-9:
            return None
        return TopicMatch(best, round(1 - _DOUBT_PER_POINT ** points[best], 4), tuple(words_by_topic[best]))

    def _weigh_topics(self, candidate: CandidateArticle) -> tuple[dict[str, float], dict[str, list[str]]]:
        """Return the points of each topic that the article's words decide, and the words of all."""
        matches: dict[str, list[_EntryMatch]] = defaultdict(list)
        for match in self._find_entries(candidate):
            matches[self.topic_names[match.entry.topic_index]].append(match)
        points = {topic: _sum_points(_merge_contained(of_topic)) for topic, of_topic in matches.items()}
        return (
            {topic: total for topic, total in points.items() if total},
            {topic: _list_words(of_topic) for topic, of_topic in matches.items()},
        )

    def _find_entries(self, candidate: CandidateArticle) -> list[_EntryMatch]:
        """Return the entries that an article matches."""
        places: dict[_TopicPhrase, dict[int, str]] = defaultdict(dict)
        for text in _read_candidate(candidate):
            masked = self._find_other_senses(text)
            for phrase, start in self._phrases.find_phrases(text):
                span = set(range(start, start + len(phrase.tokens)))
                for entry in self._entries_by_phrase[phrase]:
                    if not span & masked.get(entry.topic_index, set()):
                        places[phrase].setdefault(entry.topic_index, text.place)
        touched = dict.fromkeys(e for phrase in places for e in self._entries_by_phrase[phrase])
        return [match for entry in touched if (match := _match_entry(entry, places))]

    def _find_other_senses(self, text: _PlacedText) -> dict[int, set[int]]:
        masked: dict[int, set[int]] = defaultdict(set)
        for phrase, start in self._other_senses.find_phrases(text):
            for topic_index in self._topics_by_sense[phrase]:
                masked[topic_index].update(range(start, start + len(phrase.tokens)))
        return masked


def _match_entry(entry: _TopicEntry, places: Mapping[_TopicPhrase, Mapping[int, str]]) -> _EntryMatch | None:
    """Match an entry against the phrases found in an article; None where one of its groups is missing.

    Of each group the phrase with the best place stands for it; the entry counts by the worst of those places.
    """
    best = []
    for group in entry.groups:
        found = [
            (_PLACES.index(at[entry.topic_index]), phrase)
            for phrase in group
            if entry.topic_index in (at := places.get(phrase, {}))
        ]
        if not found:
            return None
        best.append(min(found, key=lambda pair: pair[0]))
    points = entry.tier.value[max(number for number, _ in best)]
    return _EntryMatch(entry, points, best[0][1].tokens, _TOGETHER.join(phrase.text for _, phrase in best))


def _list_words(matches: Iterable[_EntryMatch]) -> list[str]:
    """Return the words that say so, in the order of the list; `flood` and `floods` are one."""
    by_folded = {fold_plural(match.words.casefold()): match.words for match in reversed(list(matches))}
    return list(reversed(by_folded.values()))


def _merge_contained(matches: Iterable[_EntryMatch]) -> list[float]:
    """Return what matches count, a word within a longer phrase only once: `spy` in `spy agency` says nothing more."""
    points: dict[tuple[str, ...], float] = {}
    for match in sorted(matches, key=lambda m: (-len(m.key), m.key)):
        longer = next((key for key in points if _contains_words(key, match.key)), match.key)
        points[longer] = max(match.points, points.get(longer, 0.0))
    return list(points.values())


def _contains_words(phrase: tuple[str, ...], part: tuple[str, ...]) -> bool:
    return any(phrase[n : n + len(part)] == part for n in range(len(phrase) - len(part) + 1))


def _sum_points(points: Sequence[float]) -> float:
    """Add up what a topic's words count: 0 where none decides, and the undecided ones up to `_MAX_WEAK_POINTS`."""
    deciding = math.fsum(p for p in points if p >= _DECIDING_POINTS)
    return deciding and deciding + min(math.fsum(p for p in points if p < _DECIDING_POINTS), _MAX_WEAK_POINTS)


def _read_candidate(candidate: CandidateArticle) -> Iterator[_PlacedText]:
    """Yield an article's texts, the most telling place first; of a round-up, which speaks of many things, the categories."""
    for category in candidate.categories:
        yield _split_text("category", category)
    if not is_round_up_title(candidate.title):
        yield _split_text("title", candidate.title)
        yield _split_text("summary", candidate.summary, _MAX_SUMMARY_WORDS)


def _split_text(place: str, text: str, most: int | None = None) -> _PlacedText:
    """Return a text's words folded, and whether each stood in capitals where not all of the text does."""
    found = [m.group() for m in islice(_TOKEN.finditer(text), most)]
    bare = [word.removesuffix("'s").removesuffix("\u2019s") for word in found]
    shouted = len(found) > 1 and text.isupper()
    return _PlacedText(
        place,
        tuple(fold_plural(fold_text(word).removesuffix("'s")) for word in found),
        tuple(not shouted and word.rstrip("s").isupper() for word in bare),
    )


def _match_source_category(candidate: CandidateArticle) -> TopicMatch | None:
    table = {category.casefold(): topic for category, topic in reversed(candidate.topics)}
    for category in candidate.categories:
        if topic := table.get(category.casefold()):
            return TopicMatch(topic, 1.0, (f"the publisher's category {category!r}",))
    return None


def compile_topic_rules(topics: Mapping[str, Sequence[str]] | None = None) -> TopicRules:
    """Make rules of the operator's list (topic → words and phrases, all strong), or of the built-in one if empty."""
    if topics:
        return TopicRules(TopicWords(name, "; ".join(listed)) for name, listed in topics.items())
    return TopicRules(TopicWords(**topic) for topic in _read_built_in_topics())


def built_in_topic_names() -> list[str]:
    """Return the names of the built-in topics, in their order."""
    return [topic["name"] for topic in _read_built_in_topics()]


@cache
def _read_built_in_topics() -> list[dict[str, str]]:
    topics: list[dict[str, str]] = tomllib.loads(resources.files("digest").joinpath("topics.toml").read_text("utf-8"))[
        "topic"
    ]
    return topics


def _parse_entries(text: str, topic_index: int, tier: _Tier) -> Iterator[_TopicEntry]:
    """Read a list: `flood; RAT; cyber*; exploited, exploiting + flaw, bug` (a word of each side of the plus)."""
    shown: set[str] = set()
    for part in text.split(";"):
        listed = " ".join(part.split())
        sides = listed.split(_TOGETHER)
        groups = tuple(_parse_phrases(side, "," if len(sides) > 1 else ";") for side in sides)
        if all(groups) and listed not in shown:
            shown.add(listed)
            yield _TopicEntry(topic_index, tier, groups)


def _parse_phrases(text: str, separator: str) -> tuple[_TopicPhrase, ...]:
    parsed = []
    for part in text.split(separator):
        phrase = " ".join(part.split())
        is_stem = phrase.endswith("*")
        tokens = _split_text("", phrase.removesuffix("*")).words
        if tokens:
            parsed.append(_TopicPhrase(phrase, tokens, phrase.isupper(), is_stem))
    return tuple(parsed)


def find_story_topic(
    story: Story, rules: TopicRules, topic_overrides: Mapping[str, str] = MappingProxyType({})
) -> TopicMatch | None:
    """Find a story's topic: an editor's word, else what most of its articles say, the lead counting as two.

    The strength is the mean over the articles, those that speak of no topic counting 0: one article's stray word makes
    no topic of a large story, and where fewer than a third speak of any, the story has none.

    Args:
        story: the story.
        rules: what an article is about.
        topic_overrides: editors' corrections by the articles' URL: a topic, or "" for none. The lead's counts first.
    """
    corrected = next((topic_overrides[a.url] for a in story.members if a.url in topic_overrides), None)
    if corrected is not None:
        return TopicMatch(corrected, 1.0, ("an editor's word",)) if corrected else None
    matches = [(article, rules.match_topic(article)) for article in story.members]
    by_topic: dict[str, list[TopicMatch]] = defaultdict(list)
    for article, match in matches:
        if match:
            by_topic[match.topic].extend([match] * (2 if article is story.lead else 1))
    voices = len(matches) + 1
    if 3 * sum(map(len, by_topic.values())) < voices:
        return None
    place = {name: n for n, name in enumerate(rules.topic_names)}
    sums = {topic: round(math.fsum(m.strength for m in topic_matches), 6) for topic, topic_matches in by_topic.items()}
    best = min(by_topic, key=lambda t: (-sums[t], place.get(t, len(place)), t))
    words = dict.fromkeys(w for m in by_topic[best] for w in m.words)
    return TopicMatch(best, round(math.fsum(sums.values()) / voices, 4), tuple(words))
