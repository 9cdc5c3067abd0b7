"""What a story is about: the publisher's own word, then its categories, then keyword rules that show their words."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from types import MappingProxyType

from digest.select.penalties import is_of_other_matter, is_round_up_title, is_statement_title
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

_MAX_WEAK_POINTS = 0.5  # weak words, however many, add no more than one strong word of the summary
_DECIDING_POINTS = 0.5  # what a word counts at least that decides: a strong one, anywhere
# Points below which nothing is said, where a title, a category, or the source's default topic names the topic.
_MIN_POINTS = 0.6
# The same where only the summary has the topic's words: one strong word and a weak one are a mention in passing.
_MIN_SUMMARY_POINTS = 0.8
# The same for what somebody said, opinions, disputes, and sports and entertainment, which drop a topic's words into titles on other
# matters.
_MIN_OTHER_MATTER_POINTS = 1.2
_ROUNDING = 1e-9
_DOUBT_PER_POINT = 0.4  # strength is 1 - 0.4^points: .37 at half a point, .60 at one, .84 at two
# A source that publishes a whole text as its summary gets no more say than the others: news says first what it is about.
_MAX_SUMMARY_WORDS = 80


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

    @property
    def texts_by_tier(self) -> dict[TopicTier, str]:
        """The lists whose words say that it is the topic."""
        return {
            TopicTier.STRONG: self.strong,
            TopicTier.IN_TITLE: self.in_title,
            TopicTier.WEAK: self.weak,
        }


@dataclass(frozen=True, slots=True)
class TopicMatch:
    """A topic, how surely (0 to 1), and the words that say so."""

    topic: str
    strength: float
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _EntryMatch:
    entry: TopicEntry
    points: float
    key: tuple[str, ...]  # the word that is counted once, whatever company it keeps
    words: str


class TopicRules:
    """The keyword rules, ready for use."""

    def __init__(self, listed: Iterable[TopicWords]) -> None:
        """Compile the lists; the order of topics decides a tie."""
        topics = tuple(listed)
        self.topic_names = tuple(t.name for t in topics)
        # Of each phrase the groups that it stands in, with its rank there.
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
        """Find the one topic of an article, or None.

        The source's map of categories to topics comes first; then the words of the categories, the title and the
        summary are weighed together with the source's default topic.
        """
        if mapped := _match_source_category(candidate):
            return mapped
        points, words_by_topic = self._weigh_topics(candidate)
        best = self.find_best(points)
        if not best:
            return None
        strength = 1 - _DOUBT_PER_POINT ** points[best]
        return TopicMatch(best, round(strength, 4), tuple(words_by_topic[best]))

    def find_best(self, points: Mapping[str, float]) -> str:
        """Return the topic with the most points; ties go to the first of the topics, then by name. Empty where there is none."""
        order = {name: n for n, name in enumerate(self.topic_names)}

        def rank(topic: str) -> tuple[float, int, str]:
            place = order.get(topic, len(order))
            return (-round(points[topic], 6), place, topic)

        return min(points, key=rank, default="")

    def _weigh_topics(self, candidate: CandidateArticle) -> tuple[dict[str, float], dict[str, list[str]]]:
        """Return the points of each topic that the article's words decide, and the words of all."""
        matches: dict[str, list[_EntryMatch]] = defaultdict(list)
        for match in self._find_entries(candidate):
            matches[self.topic_names[match.entry.topic_index]].append(match)
        words = {topic: _list_words(of_topic) for topic, of_topic in matches.items()}
        counted = {topic: _merge_contained(of_topic) for topic, of_topic in matches.items()}
        if default := candidate.default_topic:
            counted.setdefault(default, []).append(self._weigh_default_topic(candidate))
            words.setdefault(default, []).append(f"the default topic of {candidate.source}")
        points = {topic: _sum_points(of_topic) for topic, of_topic in counted.items()}
        least = {topic: _find_least_points(candidate, topic, of_topic) for topic, of_topic in counted.items()}
        decided = filter(lambda topic: points[topic] >= least[topic] - _ROUNDING, points)
        return {topic: points[topic] for topic in decided}, words

    def _weigh_default_topic(self, candidate: CandidateArticle) -> float:
        """Return what a source's default topic counts.

        An official source, and the publication itself, speak of their own field: theirs is enough. A publisher writes of
        other things too (a security magazine of browsers and funding): there it is a mention, like one strong word of a
        summary, and wants a word of the topic beside it. A topic that has no words can only be taken at its word.
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
        """Return the entries each of whose groups holds a phrase that was found.

        Of each group the phrase with the best place stands for it; the entry counts by the worst of those places.
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
        """Return by topic the places of words that stand in another sense."""
        masked: dict[int, set[int]] = {}
        for phrase, start in phrases:
            if phrase in self._other_senses:
                end = start + len(phrase.tokens)
                masked.setdefault(phrase.topic_index, set()).update(range(start, end))
        return masked


def _entry_match(entry: TopicEntry, phrase_spots: Sequence[tuple[int, int, TopicPhrase]]) -> _EntryMatch:
    """Make the match of an entry from the place, rank and phrase of each of its groups."""
    phrases = [phrase for *_, phrase in phrase_spots]
    points = entry.tier.value[max(place for place, *_ in phrase_spots)]
    words = TOGETHER.join(phrase.text for phrase in phrases)
    return _EntryMatch(entry, points, phrases[0].tokens, words)


def _list_words(matches: Iterable[_EntryMatch]) -> list[str]:
    """Return the words that say so, in the order of the list; `flood` and `floods` are one."""
    last_first = reversed(list(matches))
    by_folded = {fold_plural(match.words.casefold()): match.words for match in last_first}
    return list(reversed(by_folded.values()))


def _merge_contained(matches: Iterable[_EntryMatch]) -> list[float]:
    """Return what matches count, a word within a longer phrase only once: `spy` in `spy agency` says nothing more."""
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
    """Return the points that a topic's words must have at least, by where they are and by what kind of article it is."""
    is_named = topic == candidate.default_topic or max(points) > _DECIDING_POINTS
    least = _MIN_POINTS if is_named else _MIN_SUMMARY_POINTS
    is_said = topic != candidate.default_topic and is_statement_title(candidate.title)
    is_aside = is_said or is_of_other_matter(candidate)
    return max(least, _MIN_OTHER_MATTER_POINTS) if is_aside else least


def _sum_points(points: Sequence[float]) -> float:
    """Add up what a topic's words count: 0 where none decides, and the undecided ones up to `_MAX_WEAK_POINTS`."""
    deciding = math.fsum(p for p in points if p >= _DECIDING_POINTS)
    return deciding and deciding + min(math.fsum(p for p in points if p < _DECIDING_POINTS), _MAX_WEAK_POINTS)


def _read_candidate(candidate: CandidateArticle) -> Iterator[PlacedText]:
    """Yield an article's texts, the most telling place first; of a round-up, which speaks of many things, the categories."""
    for category in candidate.categories:
        yield split_text(0, category)
    if not is_round_up_title(candidate.title):
        yield split_text(1, candidate.title)
        yield split_text(2, candidate.summary, _MAX_SUMMARY_WORDS)


def _match_source_category(candidate: CandidateArticle) -> TopicMatch | None:
    table = {category.casefold(): topic for category, topic in reversed(candidate.topics)}
    for category in candidate.categories:
        if topic := table.get(category.casefold()):
            return TopicMatch(topic, 1.0, (f"the publisher's category {category!r}",))
    return None


def compile_topic_rules(topics: Mapping[str, Sequence[str]] | None = None) -> TopicRules:
    """Make rules of the operator's list (topic → words and phrases, all strong), or of the built-in one if empty."""
    if topics:
        lists = [TopicWords(name, "; ".join(listed)) for name, listed in topics.items()]
        return _compile_lists(tuple(lists))
    return _compile_lists(tuple(TopicWords(**topic) for topic in read_built_in_topics()))


@lru_cache(maxsize=2)
def _compile_lists(listed: tuple[TopicWords, ...]) -> TopicRules:
    """Compile lists, which takes longer than to look up a week's articles; those in use are kept from draft to draft."""
    return TopicRules(listed)


def find_story_topic(
    story: Story, rules: TopicRules, topic_overrides: Mapping[str, str] = MappingProxyType({})
) -> TopicMatch | None:
    """Find a story's topic: an editor's word, else what most of its articles say, the lead counting as two.

    The strength is the mean over the articles, those that speak of no topic counting 0: one article's stray word makes
    no topic of a large story, and where fewer than a third speak of any, the story has none.

    Args:
        story: the story.
        rules: what an article is about.
        topic_overrides: editors' corrections by the articles' URL: a topic, or "" for none. The lead's counts first. One that the
            rules don't name is an editor's own words, which nothing but their edit may show.
    """
    if (corrected := _find_correction(story, rules, topic_overrides)) is not None:
        return TopicMatch(corrected, 1.0, ("an editor's word",)) if corrected else None
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
    best = rules.find_best(sums)
    words = dict.fromkeys(chain.from_iterable(match.words for match in by_topic[best]))
    strength = math.fsum(sums.values()) / voices
    return TopicMatch(best, round(strength, 4), tuple(words))


def _find_correction(story: Story, rules: TopicRules, topic_overrides: Mapping[str, str]) -> str | None:
    listed = {"", *rules.topic_names}
    corrections = (topic_overrides.get(article.url) for article in story.members)
    return next((topic for topic in corrections if topic in listed), None)
