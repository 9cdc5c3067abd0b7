"""The score of a story, as a sum of named terms with explanations.

score = 100 x (weighted terms) + source weight - penalty

The terms are those of `digest.scoring_terms`. Each is between 0 and 1, and the weights sum to 1.
Points are counted in hundredths, so that the displayed terms add up exactly to the displayed score.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from statistics import median

from digest.scoring_terms import SCORING_TERMS, StoryMeasures
from digest.select.penalties import ScorePenalty, find_penalties, is_grave_title
from digest.select.places import LOCAL_SHARE, PlaceFinder
from digest.select.selection_types import CandidateArticle, ScoredStory, Story, StoryGeography, TermScore, TopicRank
from digest.select.stories import is_overtaken
from digest.select.text_similarity import are_word_sets_near_duplicates, distinct_words
from digest.select.topics import TopicMatch, TopicRules, find_story_topic

SOURCE_TERM, PENALTY_TERM = "source weight", "penalty"  # added to and subtracted from the weighted terms
COVERAGE_TERM = "coverage"  # a name in `SCORING_TERMS`
# Days of median reading added to every article's, so that a one-day spike isn't overrated.
SHRINKAGE_DAYS = 2.0
SOURCE_POINTS = 1000  # hundredths of a point for each unit of source weight above or below 1
OFF_TOPIC_PENALTY = ScorePenalty(0.5, "it doesn't match any of our topics")
FOREIGN_PENALTY = ScorePenalty(0.25, "it hardly mentions the home country")
FOREIGN_SHARE = 0.2  # home share below which the home country is only mentioned in passing
LOCAL_PENALTY = ScorePenalty(0.2, "a local case: it mentions a place but nothing national")
OVERTAKEN_PENALTY = ScorePenalty(0.2, "published before the event")


_NO_TOPIC = TopicMatch("", 0.0, ())


@dataclass(frozen=True, slots=True)
class WeekStatistics:
    """Statistics on the week's articles, for comparing stories with."""

    now: datetime
    publisher_count: int
    median_daily_reads: float | None  # reads per day, or None without readership data
    highest_daily_reads: float  # highest value after shrinking toward the median

    @classmethod
    def from_stories(cls, stories: Iterable[Story], now: datetime) -> "WeekStatistics":
        """Return the statistics of all articles in the stories."""
        articles = [a for s in stories for a in s.members]
        publisher_count = len({a.publisher for a in articles})
        read = [a for a in articles if a.views is not None]
        rates = [_daily_reads(a, now) for a in read]
        if not any(rates):
            return cls(now, publisher_count, None, 0.0)
        middle = float(median(rates))
        return cls(now, publisher_count, middle, max(_shrunk_daily_reads(a, middle, now) for a in read))

    def daily_reads(self, article: CandidateArticle) -> float | None:
        """Return an article's reads per day, shrunk toward the week's median, or None if unknown."""
        if self.median_daily_reads is None or article.views is None:
            return None
        return _shrunk_daily_reads(article, self.median_daily_reads, self.now)


def _daily_reads(article: CandidateArticle, now: datetime) -> float:
    return (article.views or 0) / max(_age_in_days(article, now), 1.0)


def _age_in_days(article: CandidateArticle, now: datetime) -> float:
    return max((now - article.dated_at) / timedelta(days=1), 0.0)


def _shrunk_daily_reads(article: CandidateArticle, median_daily_reads: float, now: datetime) -> float:
    return ((article.views or 0) + SHRINKAGE_DAYS * median_daily_reads) / (_age_in_days(article, now) + SHRINKAGE_DAYS)


@dataclass(frozen=True, slots=True)
class StoryRanker:
    """The rules for scoring and ranking one week's stories."""

    week: WeekStatistics
    topic_rules: TopicRules
    place_finder: PlaceFinder
    weights: Mapping[str, float]  # by the name of the scoring term
    pinned_urls: frozenset[str] = frozenset()
    topic_overrides: Mapping[str, str] = field(default_factory=dict)  # editors' corrections, by article URL
    borderless_topics: frozenset[str] = frozenset()
    local_topics: frozenset[str] = frozenset()

    def rank_stories(self, stories: Iterable[Story]) -> tuple[ScoredStory, ...]:
        """Return the stories, best first, with their scores and their ranks within their topics.

        Ties go to the earliest story, then to the URL that sorts first.
        """
        ranked = sorted((self.score_story(s) for s in stories), key=make_ranking_key)
        counts = Counter(scored.topic for scored in ranked)
        places: Counter[str | None] = Counter()

        def add_rank(scored: ScoredStory) -> ScoredStory:
            places[scored.topic] += 1
            if not scored.topic:
                return scored
            rank = TopicRank(scored.topic, places[scored.topic], counts[scored.topic])
            return replace(scored, topic_rank=rank)

        return tuple(map(add_rank, ranked))

    def score_story(self, story: Story) -> ScoredStory:
        """Return a story with its score, topic, and places, but without its rank."""
        topic = find_story_topic(story, self.topic_rules, self.topic_overrides)
        places = self.place_finder.locate_story(story)
        counted = self._weighted_terms(self._measure_story(story, topic, places))
        counted.append((SOURCE_TERM, *_source_points(story, _sum_hundredths(counted))))
        penalties = list(self._story_penalties(story, topic, places))
        counted.append((PENALTY_TERM, *_penalty_points(penalties, _sum_hundredths(counted))))
        total = _sum_hundredths(counted)
        terms = tuple(TermScore(name, hundredths / 100, note) for name, hundredths, note in counted)
        return ScoredStory(story, total / 100, terms, topic.topic if topic else None, places)

    def _weighted_terms(self, measures: StoryMeasures) -> list[tuple[str, int, str]]:
        """Return each known term as (name, hundredths of a point, note).

        The weights of unknown terms are distributed among the known ones.
        """
        computed = {name: term.compute(measures) for name, term in SCORING_TERMS.items()}
        known_terms = {name: term_share for name, term_share in computed.items() if term_share}
        total_weight = math.fsum(self.weights[name] for name in known_terms) or math.inf
        terms = []
        for name, (share, note) in known_terms.items():
            part = self.weights[name] / total_weight
            terms.append((name, round(10_000 * part * share), note))
        return terms

    def _measure_story(self, story: Story, topic: TopicMatch | None, places: StoryGeography) -> StoryMeasures:
        week, about = self.week, topic or _NO_TOPIC
        reads = [r for a in story.members if (r := week.daily_reads(a)) is not None]
        return StoryMeasures(
            publishers=len(story.publishers),
            distinct_texts=count_distinct_texts(story),
            week_publishers=week.publisher_count,
            daily_reads=max(reads, default=None),
            week_daily_reads=None if week.median_daily_reads is None else week.highest_daily_reads,
            is_pinned=self.is_pinned(story),
            is_featured=any(a.featured for a in story.members if a.own),
            has_official_source=any(a.primary for a in story.members),
            topic=about.topic,
            topic_strength=about.strength,
            topic_words=about.words,
            is_borderless=about.topic in self.borderless_topics,
            age_days=_age_in_days(story.lead, week.now),
            home_country=self.place_finder.home_country,
            home_share=places.home_share,
        )

    def is_pinned(self, story: Story) -> bool:
        """Return True if an editor pinned one of a story's articles."""
        return any(a.url in self.pinned_urls or a.link in self.pinned_urls for a in story.members)

    def _story_penalties(
        self, story: Story, topic: TopicMatch | None, places: StoryGeography
    ) -> Iterator[ScorePenalty]:
        lead = story.lead
        yield from find_penalties(lead)
        if is_overtaken(lead, story.members):
            yield OVERTAKEN_PENALTY
        if not (self.is_pinned(story) or lead.own or lead.featured):
            yield from self._matter_penalties(story, topic.topic if topic else "", places.home_share)

    def _matter_penalties(self, story: Story, topic: str, home_share: float) -> Iterator[ScorePenalty]:
        """Yield the penalties for a story's topic and place. `topic` is empty if it has none."""
        if not topic:
            yield OFF_TOPIC_PENALTY
        if home_share < FOREIGN_SHARE and topic not in self.borderless_topics:
            yield FOREIGN_PENALTY
        elif home_share <= LOCAL_SHARE and topic in self.local_topics and not _is_grave(story):
            yield LOCAL_PENALTY


def _is_grave(story: Story) -> bool:
    return any(is_grave_title(article.title) for article in story.members)


def make_ranking_key(scored: ScoredStory) -> tuple[float, datetime, str]:
    """Return a sort key that orders stories by score (best first), then by date, then by URL."""
    return (-scored.score, scored.lead.dated_at, scored.url)


def count_distinct_texts(story: Story) -> int:
    """Return the number of distinct texts in a story, counting copies such as wire stories once.

    Only one article from each publisher is considered.
    """
    if story.is_single:
        return 1
    pages = {article.publisher: article for article in reversed(story.members)}
    texts: list[frozenset[str]] = []
    for article in pages.values():
        words = distinct_words(article.title, article.summary)
        if not any(are_word_sets_near_duplicates(words, other) for other in texts):
            texts.append(words)
    return len(texts)


def _sum_hundredths(terms: Iterable[tuple[str, int, str]]) -> int:
    return sum(hundredths for _, hundredths, _ in terms)


def _source_points(story: Story, points_before: int) -> tuple[int, str]:
    """Return the points for the lead's source, and a note.

    The points are limited so that the total stays between 0 and 100.
    """
    weight = story.lead.weight
    unbounded = round(SOURCE_POINTS * (weight - 1))
    points = min(max(unbounded, -points_before), 10_000 - points_before)
    note = f"{story.lead.source} has weight {weight:g}"
    return points, note if points == unbounded else f"{note}; scores range from 0 to 100"


def _penalty_points(penalties: Sequence[ScorePenalty], points_before: int) -> tuple[int, str]:
    remaining_share = math.prod(1 - f.share for f in penalties)
    note = "; ".join(f"{f.reason} (-{f.share:.0%})" for f in penalties)
    return -round(points_before * (1 - remaining_share)), note or "none"
