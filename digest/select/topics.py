"""What a story is about: the publisher's own word, then its categories, then keyword rules that show their words."""

import math
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources

from digest.select.text_similarity import WORD_PATTERN, fold_plural, fold_text
from digest.select.values import CandidateArticle, Story

_TOKEN = re.compile(WORD_PATTERN, re.IGNORECASE)

# What a matched word counts, by where it stands and how telling it is; each word once, where it counts most.
_PHRASE_POINTS = {
    ("category", True): 1.5,
    ("title", True): 1.0,
    ("summary", True): 0.5,
    ("category", False): 0.5,
    ("title", False): 0.3,
    ("summary", False): 0.15,
}
_MAX_WEAK_POINTS = 0.5  # weak words, however many, say no more than one strong word of the summary
_MIN_POINTS = 0.5  # points below which nothing is said: one strong word in the summary, or two weak ones in the title
_DOUBT_PER_POINT = 0.4  # strength is 1 - 0.4^points: .37 at half a point, .60 at one, .84 at two


@dataclass(frozen=True, slots=True)
class TopicWords:
    """A topic's name and its words and phrases, parted by semicolons: strong ones decide it, weak ones add to it."""

    name: str
    strong: str
    weak: str = ""


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
    strong: bool
    topic_index: int


@dataclass(frozen=True, slots=True)
class TopicRules:
    """The keyword rules, ready for use: names in order, and phrases by their first word."""

    topic_names: tuple[str, ...]
    phrases_by_first_word: Mapping[str, tuple[_TopicPhrase, ...]] = field(repr=False)

    def match_topic(self, candidate: CandidateArticle) -> TopicMatch | None:
        """Find the one topic of an article, or None.

        The source's map of categories to topics comes first; then the words of the categories, the title and the
        summary are weighed together.
        """
        if mapped := _match_source_category(candidate):
            return mapped
        points, words_by_topic = self._weigh_topics(candidate)
        if not points:
            return None
        best = min(points, key=lambda t: (-round(points[t], 6), t))
        if points[best] < _MIN_POINTS - 1e-9:
            return None
        return TopicMatch(
            self.topic_names[best], round(1 - _DOUBT_PER_POINT ** points[best], 4), tuple(words_by_topic[best])
        )

    def _weigh_topics(self, candidate: CandidateArticle) -> tuple[dict[int, float], dict[int, list[str]]]:
        strong: dict[int, float] = defaultdict(float)
        weak: dict[int, float] = defaultdict(float)
        words_by_topic: dict[int, list[str]] = defaultdict(list)
        texts = [("title", candidate.title), ("summary", candidate.summary)]
        for place, text in [*(("category", c) for c in candidate.categories), *texts]:
            for phrase in self._find_phrases(text):
                if phrase.text not in words_by_topic[phrase.topic_index]:
                    words_by_topic[phrase.topic_index].append(phrase.text)
                    (strong if phrase.strong else weak)[phrase.topic_index] += _PHRASE_POINTS[place, phrase.strong]
        return {t: strong.get(t, 0.0) + min(weak.get(t, 0.0), _MAX_WEAK_POINTS) for t in words_by_topic}, words_by_topic

    def _find_phrases(self, text: str) -> list[_TopicPhrase]:
        tokens = _split_tokens(text)
        folded = [t for t, _ in tokens]
        return [
            phrase
            for start, (first, _) in enumerate(tokens)
            for phrase in self.phrases_by_first_word.get(first, ())
            if tuple(folded[start : start + len(phrase.tokens)]) == phrase.tokens
            and (not phrase.capitals_only or all(c for _, c in tokens[start : start + len(phrase.tokens)]))
        ]


def _split_tokens(text: str) -> list[tuple[str, bool]]:
    """Return a text's words folded, and whether each stood in capitals."""
    return [
        (
            fold_plural(fold_text(m).removesuffix("'s")),
            m.removesuffix("'s").removesuffix("\u2019s").rstrip("s").isupper(),
        )
        for m in _TOKEN.findall(text)
    ]


def _match_source_category(candidate: CandidateArticle) -> TopicMatch | None:
    table = {category.casefold(): topic for category, topic in reversed(candidate.topics)}
    for category in candidate.categories:
        if topic := table.get(category.casefold()):
            return TopicMatch(topic, 1.0, (f"the publisher's category {category!r}",))
    return None


def compile_topic_rules(topics: Mapping[str, Sequence[str]] | None = None) -> TopicRules:
    """Make rules of the operator's list (topic → words and phrases, all strong), or of the built-in one if empty."""
    if topics:
        return _compile_topic_words([TopicWords(name, "; ".join(listed)) for name, listed in topics.items()])
    built_in = tomllib.loads(resources.files("digest").joinpath("topics.toml").read_text("utf-8"))
    return _compile_topic_words(TopicWords(**topic) for topic in built_in["topic"])


def _compile_topic_words(listed: Iterable[TopicWords]) -> TopicRules:
    names = []
    by_first: dict[str, dict[tuple[int, str], _TopicPhrase]] = defaultdict(dict)
    for number, topic in enumerate(listed):
        names.append(topic.name)
        for strong, text in ((True, topic.strong), (False, topic.weak)):
            for phrase in _split_phrases(text, strong=strong, topic_index=number):
                by_first[phrase.tokens[0]].setdefault((number, phrase.text), phrase)
    return TopicRules(tuple(names), {first: tuple(phrases.values()) for first, phrases in by_first.items()})


def _split_phrases(text: str, *, strong: bool, topic_index: int) -> Iterable[_TopicPhrase]:
    for part in text.split(";"):
        phrase = " ".join(part.split())
        tokens = tuple(t for t, _ in _split_tokens(phrase))
        if tokens:
            yield _TopicPhrase(phrase, tokens, phrase.isupper(), strong, topic_index)


def find_story_topic(story: Story, rules: TopicRules) -> TopicMatch | None:
    """Find a story's topic: what most of its articles say, the lead counting as two.

    The strength is the mean over the articles, those that speak of no topic counting 0: one article's stray word makes
    no topic of a large story, and where fewer than a third speak of any, the story has none.
    """
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
