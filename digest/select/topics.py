"""What a story is about: the publisher's own word, then its categories, then keyword rules that show their words."""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from itertools import chain
from types import MappingProxyType

from digest.select.penalties import is_round_up_title
from digest.select.selection_types import CandidateArticle, Story
from digest.select.text_similarity import WORD_PATTERN, fold_plural, fold_text
from digest.settings.built_in_topics import read_built_in_topics

_TOKEN = re.compile(WORD_PATTERN, re.IGNORECASE)


class _Tier(Enum):
    """How telling an entry is; the value is what it counts in a category, in the title and in the summary."""

    STRONG = (1.5, 1.0, 0.5)
    IN_TITLE = (1.5, 1.0, 0.15)
    WEAK = (0.4, 0.3, 0.15)


_MAX_WEAK_POINTS = 0.5  # weak words, however many, add no more than one strong word of the summary
_DECIDING_POINTS = 0.5  # what a word counts at least that decides: a strong one, anywhere
# Points below which nothing is said: one strong word of a summary is a mention, with a weak one it is more.
_MIN_POINTS = 0.6
_DOUBT_PER_POINT = 0.4  # strength is 1 - 0.4^points: .37 at half a point, .60 at one, .84 at two
# A source that publishes a whole text as its summary gets no more say than the others: news says first what it is about.
_MAX_SUMMARY_WORDS = 80
_TOGETHER = " + "
_CACHED_WORDS = 50_000
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

    @property
    def texts_by_tier(self) -> dict[_Tier, str]:
        """The lists whose words say that it is the topic."""
        return {
            _Tier.STRONG: self.strong,
            _Tier.IN_TITLE: self.in_title,
            _Tier.WEAK: self.weak,
        }


@dataclass(frozen=True, slots=True)
class TopicMatch:
    """A topic, how surely (0 to 1), and the words that say so."""

    topic: str
    strength: float
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _TopicPhrase:
    """A phrase of one topic, listed once for all entries that hold it."""

    text: str  # as listed
    topic_index: int
    tokens: tuple[str, ...]
    capitals_only: bool
    is_stem: bool  # its last word may go on: `cyber*`

    @property
    def is_plain_word(self) -> bool:
        """Whether its first word is all that there is to look at."""
        return len(self.tokens) == 1 and not self.capitals_only

    @property
    def second_begins(self) -> str | None:
        """How its second word begins; None where the first says all."""
        return None if self.is_plain_word else "".join(self.tokens[1:2])

    def stands_at(self, text: "_PlacedText", start: int) -> bool:
        """Return whether the phrase begins at a word of a text."""
        written = text.tokens[start : start + len(self.tokens)]
        words = tuple(map(_fold_word, written))
        *begin, own_last = self.tokens
        if len(words) < len(self.tokens) or list(words[:-1]) != begin:
            return False
        last = words[-1]
        if last != own_last and not (self.is_stem and last.startswith(own_last)):
            return False
        return not self.capitals_only or (not text.is_shouted and all(map(_is_in_capitals, written)))


@dataclass(frozen=True, slots=True, eq=False)
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
    place: int  # in a tier's values: 0 category, 1 title, 2 summary
    tokens: tuple[str, ...]  # its words as written
    is_shouted: bool  # all of it stands in capitals, so that they tell nothing


class _PhraseIndex:
    """Finds which of many phrases stand in a text, by their first two words."""

    def __init__(self, phrases: Iterable[_TopicPhrase]) -> None:
        """Index the phrases."""
        self._whole: dict[str, list[_TopicPhrase]] = defaultdict(list)
        self._stems: dict[str, list[_TopicPhrase]] = defaultdict(list)  # of one word that may go on
        for phrase in phrases:
            if phrase.is_stem and len(phrase.tokens) == 1:
                self._stems[phrase.tokens[0][:_STEM_KEY]].append(phrase)
            else:
                self._whole[phrase.tokens[0]].append(phrase)
        self._find_likely = lru_cache(maxsize=_CACHED_WORDS)(self._look_up_word)

    def find_phrases(self, text: _PlacedText) -> list[tuple[_TopicPhrase, int]]:
        """Return each phrase that stands in a text, with the place of its first word."""
        phrases = []
        for start, likely in enumerate(map(self._find_likely, text.tokens)):
            if not likely:
                continue
            following = "".join(map(_fold_word, text.tokens[start + 1 : start + 2]))
            phrases += [
                (phrase, start)
                for phrase, second in likely
                if second is None or (following.startswith(second) and phrase.stands_at(text, start))
            ]
        return phrases

    def _look_up_word(self, token: str) -> tuple[tuple[_TopicPhrase, str | None], ...]:
        """Return the phrases that a word may begin, each with how its second word begins; None where the first says all."""
        first = _fold_word(token)
        stems = self._stems.get(first[:_STEM_KEY], ())
        stem_phrases = [phrase for phrase in stems if first.startswith(phrase.tokens[0])]
        phrases = (*self._whole.get(first, ()), *stem_phrases)
        return tuple((phrase, phrase.second_begins) for phrase in phrases)


class TopicRules:
    """The keyword rules, ready for use."""

    def __init__(self, listed: Iterable[TopicWords]) -> None:
        """Compile the lists; the order of topics decides a tie."""
        topics = tuple(listed)
        self.topic_names = tuple(t.name for t in topics)
        # Of each phrase the groups that it stands in, with its rank there.
        self._groups_by_phrase: dict[_TopicPhrase, list[tuple[_TopicEntry, int, int]]] = defaultdict(list)
        senses: list[_TopicPhrase] = []
        for number, topic in enumerate(topics):
            phrases = _TopicPhrases(number)
            for tier, text in topic.texts_by_tier.items():
                for entry in phrases.parse_entries(text, tier):
                    self._index_groups(entry)
            senses += _TopicPhrases(number).parse_phrases(topic.other_senses, ";")
        self._other_senses = frozenset(senses)
        self._index = _PhraseIndex([*self._groups_by_phrase, *senses])

    def _index_groups(self, entry: _TopicEntry) -> None:
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
        if not best or points[best] < _MIN_POINTS - 1e-9:
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
        return {topic: total for topic, total in points.items() if total}, words

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
        places: dict[_TopicPhrase, int] = {}
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

    def _match_entries(self, places: Mapping[_TopicPhrase, int]) -> list[_EntryMatch]:
        """Return the entries each of whose groups holds a phrase that was found.

        Of each group the phrase with the best place stands for it; the entry counts by the worst of those places.
        """
        best: dict[_TopicEntry, dict[int, tuple[int, int, _TopicPhrase]]] = {}
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

    def _mask_other_senses(self, phrases: Iterable[tuple[_TopicPhrase, int]]) -> dict[int, set[int]]:
        """Return by topic the places of words that stand in another sense."""
        masked: dict[int, set[int]] = {}
        for phrase, start in phrases:
            if phrase in self._other_senses:
                end = start + len(phrase.tokens)
                masked.setdefault(phrase.topic_index, set()).update(range(start, end))
        return masked


def _entry_match(entry: _TopicEntry, phrase_spots: Sequence[tuple[int, int, _TopicPhrase]]) -> _EntryMatch:
    """Make the match of an entry from the place, rank and phrase of each of its groups."""
    phrases = [phrase for *_, phrase in phrase_spots]
    points = entry.tier.value[max(place for place, *_ in phrase_spots)]
    words = _TOGETHER.join(phrase.text for phrase in phrases)
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


def _sum_points(points: Sequence[float]) -> float:
    """Add up what a topic's words count: 0 where none decides, and the undecided ones up to `_MAX_WEAK_POINTS`."""
    deciding = math.fsum(p for p in points if p >= _DECIDING_POINTS)
    return deciding and deciding + min(math.fsum(p for p in points if p < _DECIDING_POINTS), _MAX_WEAK_POINTS)


def _read_candidate(candidate: CandidateArticle) -> Iterator[_PlacedText]:
    """Yield an article's texts, the most telling place first; of a round-up, which speaks of many things, the categories."""
    for category in candidate.categories:
        yield _split_text(0, category)
    if not is_round_up_title(candidate.title):
        yield _split_text(1, candidate.title)
        yield _split_text(2, candidate.summary, _MAX_SUMMARY_WORDS)


def _split_text(place: int, text: str, most: int | None = None) -> _PlacedText:
    """Return a text's words, or the first `most` of them."""
    tokens = tuple(_TOKEN.findall(text)[:most])
    return _PlacedText(place, tokens, is_shouted=len(tokens) > 1 and text.isupper())


@lru_cache(maxsize=_CACHED_WORDS)
def _fold_word(word: str) -> str:
    """Return a word without its genitive, case and plural."""
    return fold_plural(fold_text(word).removesuffix("'s"))


def _is_in_capitals(word: str) -> bool:
    """Return whether a word stands in capitals, but for its genitive or plural."""
    return word.removesuffix("'s").removesuffix("\u2019s").rstrip("s").isupper()


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


class _TopicPhrases:
    """Reads the lists of one topic; a phrase that stands in several entries is one."""

    def __init__(self, topic_index: int) -> None:
        self._topic_index = topic_index
        self._known: dict[str, _TopicPhrase | None] = {}  # None: it has no word

    def parse_entries(self, text: str, tier: _Tier) -> Iterator[_TopicEntry]:
        """Read a list: `flood; RAT; cyber*; exploited, exploiting + flaw, bug` (a word of each side of the plus)."""
        parts = (" ".join(part.split()) for part in text.split(";"))
        for part in dict.fromkeys(parts):
            sides = part.split(_TOGETHER)
            separator = "," if len(sides) > 1 else ";"
            groups = tuple(self.parse_phrases(side, separator) for side in sides)
            if all(groups):
                yield _TopicEntry(self._topic_index, tier, groups)

    def parse_phrases(self, text: str, separator: str) -> tuple[_TopicPhrase, ...]:
        """Read words and phrases that stand between separators."""
        listed = (" ".join(part.split()) for part in text.split(separator))
        return tuple(phrase for text in listed if (phrase := self._parse_phrase(text)))

    def _parse_phrase(self, text: str) -> _TopicPhrase | None:
        if text not in self._known:
            tokens = tuple(map(_fold_word, _TOKEN.findall(text.removesuffix("*"))))
            is_stem = text.endswith("*")
            phrase = _TopicPhrase(text, self._topic_index, tokens, text.isupper(), is_stem)
            self._known[text] = phrase if tokens else None
        return self._known[text]


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
