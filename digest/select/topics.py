"""Classifying stories by topic.

The publisher's own classification comes first, then its categories, then keyword rules.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from types import MappingProxyType

from digest.select.penalties import is_of_other_matter, is_round_up, is_statement_title
from digest.select.selection_types import CandidateArticle, Story
from digest.select.text_similarity import fold_plural
from digest.select.topic_phrases import (
    TOGETHER,
    PhraseIndex,
    PlacedText,
    TopicEntry,
    TopicListReader,
    TopicPhrase,
    TopicTier,
    split_text,
)
from digest.settings.built_in_topics import read_built_in_topics

_MAX_WEAK_POINTS = 0.5  # weak words together add at most as much as a strong word in the summary
_DECIDING_POINTS = 0.5  # minimum points of a deciding word: a strong one, anywhere
# Minimum points for a topic found in a title or category, or as the source's default topic.
_MIN_POINTS = 0.6
# The same if the topic's words are only in the summary. One strong word and a weak one are a
# passing mention.
_MIN_SUMMARY_POINTS = 0.8
# The same for statements, opinions, disputes, sports, and entertainment. Their titles use a topic's
# words for other matters.
_MIN_OTHER_MATTER_POINTS = 1.2
_ROUNDING = 1e-9
_DOUBT_PER_POINT = 0.4  # strength is 1 - 0.4^points: .37 for half a point, .60 for one, .84 for two
# News names its subject early. This limits sources whose summary is the full text.
_MAX_SUMMARY_WORDS = 80


@dataclass(frozen=True, slots=True)
class TopicWords:
    """A topic's name and its lists of words and phrases, separated by semicolons.

    Strong words decide the topic. Those in `in_title` do so only in a title or category, and are
    weak elsewhere. Weak words only add to strong ones. `other_senses` lists phrases in which the
    topic's words mean something else.
    """

    name: str
    strong: str
    in_title: str = ""
    weak: str = ""
    other_senses: str = ""

    @property
    def texts_by_tier(self) -> dict[TopicTier, str]:
        """The lists of words that indicate the topic, by tier."""
        return {
            TopicTier.STRONG: self.strong,
            TopicTier.IN_TITLE: self.in_title,
            TopicTier.WEAK: self.weak,
        }


@dataclass(frozen=True, slots=True)
class TopicMatch:
    """A topic, its strength (0 to 1), and the words that matched."""

    topic: str
    strength: float
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _EntryMatch:
    entry: TopicEntry
    points: float
    key: tuple[str, ...]  # the word or phrase, whose parts aren't counted again
    words: str


class TopicRules:
    """The compiled keyword rules of all topics."""

    def __init__(self, listed: Iterable[TopicWords]) -> None:
        """Compile the lists. Ties between topics go to the first."""
        topics = tuple(listed)
        self.topic_names = tuple(t.name for t in topics)
        # For each phrase, the groups that contain it, with its rank in each.
        self._groups_by_phrase: dict[TopicPhrase, list[tuple[TopicEntry, int, int]]] = defaultdict(list)
        senses: list[TopicPhrase] = []
        for number, topic in enumerate(topics):
            phrases = TopicListReader(number)
            for tier, text in topic.texts_by_tier.items():
                for entry in phrases.parse_entries(text, tier):
                    self._index_groups(entry)
            senses += TopicListReader(number).parse_phrases(topic.other_senses, ";")
        self._other_senses = frozenset(senses)
        self._index = PhraseIndex([*self._groups_by_phrase, *senses])

    def _index_groups(self, entry: TopicEntry) -> None:
        for number, group in enumerate(entry.groups):
            for rank, phrase in enumerate(group):
                self._groups_by_phrase[phrase].append((entry, number, rank))

    def match_topic(self, candidate: CandidateArticle) -> TopicMatch | None:
        """Return the topic of an article, or None if it has none.

        The source's mapping of categories takes precedence. Otherwise, the words of the categories,
        title, and summary are weighed together with the source's default topic.
        """
        if mapped := _match_source_category(candidate):
            return mapped
        matches: dict[str, list[_EntryMatch]] = defaultdict(list)
        for match in self._find_entries(candidate):
            matches[self.topic_names[match.entry.topic_index]].append(match)
        points = self._weigh_topics(candidate, matches)
        best = self.pick_best_topic(points)
        if not best:
            return None
        words = _list_words(matches.get(best, ()))
        if best == candidate.default_topic:
            words.append(f"the default topic of {candidate.source}")
        strength = 1 - _DOUBT_PER_POINT ** points[best]
        return TopicMatch(best, round(strength, 4), tuple(words))

    def pick_best_topic(self, points: Mapping[str, float]) -> str:
        """Return the topic with the most points, or "" if there's none.

        Ties go to the topic listed first, then to the name that sorts first.
        """
        order = {name: n for n, name in enumerate(self.topic_names)}

        def rank(topic: str) -> tuple[float, int, str]:
            place = order.get(topic, len(order))
            return (-round(points[topic], 6), place, topic)

        return min(points, key=rank, default="")

    def _weigh_topics(
        self, candidate: CandidateArticle, matches: Mapping[str, Sequence[_EntryMatch]]
    ) -> dict[str, float]:
        """Return the points of each topic that reaches its minimum."""
        default = candidate.default_topic
        counted = {
            topic: _merge_contained(of_topic)
            for topic, of_topic in matches.items()
            if topic == default or any(match.points >= _DECIDING_POINTS for match in of_topic)
        }
        if default:
            counted.setdefault(default, []).append(self._weigh_default_topic(candidate))
        return {
            topic: total
            for topic, points in counted.items()
            if (total := _sum_points(points)) >= _MIN_POINTS - _ROUNDING  # no topic requires fewer
            and total >= _find_least_points(candidate, topic, points) - _ROUNDING
        }

    def _weigh_default_topic(self, candidate: CandidateArticle) -> float:
        """Return the points for a source's default topic.

        Official sources and the publication itself write about their own field, so their default
        topic is sufficient. Publishers also write about other matters (a security magazine about
        browsers and funding), so theirs counts like one strong word in the summary, and needs
        another word of the topic. A topic without word lists is always accepted.
        """
        is_enough = candidate.primary or candidate.own or candidate.default_topic not in self.topic_names
        return _MIN_POINTS if is_enough else _DECIDING_POINTS

    def _find_entries(self, candidate: CandidateArticle) -> list[_EntryMatch]:
        """Return the entries that an article matches."""
        places: dict[TopicPhrase, int] = {}
        for text in _read_candidate(candidate):
            phrases = self._index.find_phrases(text)
            masked = self._mask_other_senses(phrases)
            for phrase, start in phrases:
                if phrase in places or phrase in self._other_senses:
                    continue
                hidden = masked.get(phrase.topic_index)
                if not (hidden and hidden & set(range(start, start + len(phrase.tokens)))):
                    places[phrase] = text.place
        return self._match_entries(places)

    def _match_entries(self, places: Mapping[TopicPhrase, int]) -> list[_EntryMatch]:
        """Return the entries with a matching phrase for each of their groups.

        Each group is represented by its best-placed phrase, and the entry scores by the worst of
        those places.
        """
        best: dict[TopicEntry, dict[int, tuple[int, int, TopicPhrase]]] = {}
        for phrase, place in places.items():
            for entry, number, rank in self._groups_by_phrase[phrase]:
                of_entry = best.setdefault(entry, {})
                if number not in of_entry or (place, rank) < of_entry[number][:2]:
                    of_entry[number] = (place, rank, phrase)
        return [
            _entry_match(entry, [of_entry[number] for number in range(len(entry.groups))])
            for entry, of_entry in best.items()
            if len(of_entry) == len(entry.groups)
        ]

    def _mask_other_senses(self, phrases: Iterable[tuple[TopicPhrase, int]]) -> dict[int, set[int]]:
        """Return, by topic index, the indices of words that are used in another sense."""
        masked: dict[int, set[int]] = {}
        for phrase, start in phrases:
            if phrase in self._other_senses:
                end = start + len(phrase.tokens)
                masked.setdefault(phrase.topic_index, set()).update(range(start, end))
        return masked


def _entry_match(entry: TopicEntry, phrase_spots: Sequence[tuple[int, int, TopicPhrase]]) -> _EntryMatch:
    """Build the match for an entry from the place, rank, and phrase found for each of its groups."""
    phrases = [phrase for *_, phrase in phrase_spots]
    points = entry.tier.value[max(place for place, *_ in phrase_spots)]
    words = TOGETHER.join(phrase.text for phrase in phrases)
    return _EntryMatch(entry, points, phrases[0].tokens, words)


def _list_words(matches: Iterable[_EntryMatch]) -> list[str]:
    """Return the matching words in list order, with plurals merged (`flood`, `floods`)."""
    last_first = reversed(list(matches))
    by_folded = {fold_plural(match.words.casefold()): match.words for match in last_first}
    return list(reversed(by_folded.values()))


def _merge_contained(matches: Iterable[_EntryMatch]) -> list[float]:
    """Return the points of the matches, not counting words within a longer phrase (`spy` in `spy agency`)."""
    points: dict[tuple[str, ...], float] = {}
    by_words = sorted(matches, key=lambda match: match.key)
    for match in sorted(by_words, key=lambda match: -len(match.key)):
        longer = next((key for key in points if _contains_words(key, match.key)), match.key)
        points[longer] = max(match.points, points.get(longer, 0.0))
    return list(points.values())


def _contains_words(phrase: tuple[str, ...], part: tuple[str, ...]) -> bool:
    length = len(part)
    starts = range(len(phrase) - length + 1)
    return any(phrase[start : start + length] == part for start in starts)


def _find_least_points(candidate: CandidateArticle, topic: str, points: Sequence[float]) -> float:
    """Return the minimum points for a topic, given where its words are and the kind of article."""
    is_named = topic == candidate.default_topic or max(points) > _DECIDING_POINTS
    least = _MIN_POINTS if is_named else _MIN_SUMMARY_POINTS
    is_said = topic != candidate.default_topic and is_statement_title(candidate.title)
    is_aside = is_said or is_of_other_matter(candidate)
    return max(least, _MIN_OTHER_MATTER_POINTS) if is_aside else least


def _sum_points(points: Sequence[float]) -> float:
    """Return the total points of a topic.

    It's 0 without a deciding word. Weak words add at most `_MAX_WEAK_POINTS`.
    """
    deciding = math.fsum(p for p in points if p >= _DECIDING_POINTS)
    return deciding and deciding + min(math.fsum(p for p in points if p < _DECIDING_POINTS), _MAX_WEAK_POINTS)


def _read_candidate(candidate: CandidateArticle) -> Iterator[PlacedText]:
    """Yield an article's texts, most significant first. A round-up has only its categories."""
    for category in candidate.categories:
        yield split_text(0, category)
    if not is_round_up(candidate):
        yield split_text(1, candidate.title)
        yield split_text(2, candidate.summary, _MAX_SUMMARY_WORDS)


def _match_source_category(candidate: CandidateArticle) -> TopicMatch | None:
    table = {category.casefold(): topic for category, topic in reversed(candidate.topics)}
    for category in candidate.categories:
        if topic := table.get(category.casefold()):
            return TopicMatch(topic, 1.0, (f"the publisher's category “{category}”",))
    return None


def compile_topic_rules(topics: Mapping[str, Sequence[str]] | None = None) -> TopicRules:
    """Return the rules for the operator's topics, or the built-in ones if there are none.

    `topics` maps each topic to its phrases, all of which are strong.
    """
    if topics:
        lists = [TopicWords(name, "; ".join(listed)) for name, listed in topics.items()]
        return _compile_lists(tuple(lists))
    return _compile_lists(tuple(TopicWords(**topic) for topic in read_built_in_topics()))


@lru_cache(maxsize=2)
def _compile_lists(listed: tuple[TopicWords, ...]) -> TopicRules:
    """Compile lists of topic words.

    The result is cached between drafts, because compiling takes longer than classifying a week's articles.
    """
    return TopicRules(listed)


def find_story_topic(
    story: Story, rules: TopicRules, topic_overrides: Mapping[str, str] = MappingProxyType({})
) -> TopicMatch | None:
    """Return a story's topic: an editor's choice, or else the strongest of its articles' topics.

    The strength is the mean over the articles, with the lead counting twice and articles without a
    topic counting as 0. If fewer than a third of the articles have a topic, the story has none, so
    that one article's stray word doesn't classify a large story.

    Args:
        story: the story.
        rules: the keyword rules.
        topic_overrides: editors' corrections by article URL: a topic, or "" for none. The
            lead's takes precedence. A topic that isn't in the rules is the editor's own
            wording, which may appear only in their edit.
    """
    if (corrected := _find_correction(story, rules, topic_overrides)) is not None:
        return TopicMatch(corrected, 1.0, ("an editor's word",)) if corrected else None
    if story.is_single:  # true of most stories
        return rules.match_topic(story.lead)
    by_topic: dict[str, list[TopicMatch]] = defaultdict(list)
    for article in story.members:
        if match := rules.match_topic(article):
            by_topic[match.topic].extend([match] * (2 if article is story.lead else 1))
    voices = len(story.members) + 1
    if 3 * sum(map(len, by_topic.values())) < voices:
        return None
    sums = {}
    for topic, matches in by_topic.items():
        total = math.fsum(match.strength for match in matches)
        sums[topic] = round(total, 6)
    best = rules.pick_best_topic(sums)
    words = dict.fromkeys(chain.from_iterable(match.words for match in by_topic[best]))
    strength = math.fsum(sums.values()) / voices
    return TopicMatch(best, round(strength, 4), tuple(words))


def _find_correction(story: Story, rules: TopicRules, topic_overrides: Mapping[str, str]) -> str | None:
    if not topic_overrides:
        return None
    listed = {"", *rules.topic_names}
    corrections = (topic_overrides.get(article.url) for article in story.members)
    return next((topic for topic in corrections if topic in listed), None)
