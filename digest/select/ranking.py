"""A story's score as a sum of named terms, each in points with the words that explain it.

score = 100 x (the terms of `digest.scoring_terms`, each 0..1 and weighted; the weights sum to 1)
        + source weight - penalty

Points are counted in hundredths, so that the terms shown add up to the score shown, to the last digit.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median

from digest.scoring_terms import SCORING_TERMS, StoryMeasures
from digest.select.penalties import ScorePenalty, find_penalties, is_forecast_title
from digest.select.places import LOCAL_SHARE, PlaceRules
from digest.select.text_similarity import are_near_duplicates, significant_words
from digest.select.topics import TopicMatch, TopicRules, find_story_topic
from digest.select.values import CandidateArticle, ScoredStory, ScoreTerm, Story, StoryPlaces

SOURCE_TERM, PENALTY_TERM = "source weight", "penalty"  # what is added to, and taken from, the weighted terms
SHRINKAGE_DAYS = 2.0  # days of median reading added to every article's: a one-day spike is not overrated
SOURCE_POINTS = 1000  # hundredths of a point for each whole of source weight above or below 1
OFF_TOPIC_PENALTY = ScorePenalty(0.5, "no topic of ours")
FOREIGN_PENALTY = ScorePenalty(0.25, "next to nothing in it names the home country")
FOREIGN_SHARE = 0.2  # of home: less is an aside
LOCAL_PENALTY = ScorePenalty(0.2, "a local case: it names a place, and nothing of the whole country")
OVERTAKEN_PENALTY = ScorePenalty(0.2, "told before it happened")
FORECAST_LIFETIME = timedelta(days=1)  # after which what was ahead has happened, or has not


@dataclass(frozen=True, slots=True)
class WeekStatistics:
    """What the week's articles have in common: the measures that a story is held against."""

    now: datetime
    publisher_count: int
    median_daily_reads: float | None  # reads a day of a read article; None where nothing is known of reading
    highest_daily_reads: float  # the highest of the shrunk reads a day

    @classmethod
    def from_stories(cls, stories: Iterable[Story], now: datetime) -> "WeekStatistics":
        """Measure the articles of all stories."""
        articles = [a for s in stories for a in s.members]
        rates = [a.views / max(_age_in_days(a, now), 1.0) for a in articles if a.views is not None]
        if not rates or not any(rates):
            return cls(now, len({a.publisher for a in articles}), None, 0.0)
        middle = float(median(rates))
        most = max(_shrunk_daily_reads(a, middle, now) for a in articles if a.views is not None)
        return cls(now, len({a.publisher for a in articles}), middle, most)

    def daily_reads(self, article: CandidateArticle) -> float | None:
        """Return an article's reads a day, shrunk towards the week's median; None where they are not known."""
        if self.median_daily_reads is None or article.views is None:
            return None
        return _shrunk_daily_reads(article, self.median_daily_reads, self.now)


def _age_in_days(article: CandidateArticle, now: datetime) -> float:
    return max((now - article.dated_at) / timedelta(days=1), 0.0)


def _shrunk_daily_reads(article: CandidateArticle, median_daily_reads: float, now: datetime) -> float:
    return ((article.views or 0) + SHRINKAGE_DAYS * median_daily_reads) / (_age_in_days(article, now) + SHRINKAGE_DAYS)


@dataclass(frozen=True, slots=True)
class StoryRanking:
    """How one week's stories are scored. Pure; lives for one proposal."""

    week: WeekStatistics
    topic_rules: TopicRules
    place_rules: PlaceRules
    weights: Mapping[str, float]  # by the name of a scoring term
    pinned_urls: frozenset[str] = frozenset()
    topic_overrides: Mapping[str, str] = field(default_factory=dict)  # editors' corrections, by the articles' URL
    borderless_topics: frozenset[str] = frozenset()
    local_topics: frozenset[str] = frozenset()

    def rank_stories(self, stories: Iterable[Story]) -> tuple[ScoredStory, ...]:
        """Score stories, the best first; ties go to the earliest, then to the URL."""
        return tuple(sorted((self.score_story(s) for s in stories), key=ranking_order))

    def score_story(self, story: Story) -> ScoredStory:
        """Score one story."""
        topic = find_story_topic(story, self.topic_rules, self.topic_overrides)
        places = self.place_rules.locate_story(story)
        counted = self._weighted_terms(self._measure_story(story, topic, places))
        counted.append((SOURCE_TERM, *_source_points(story, sum(n for _, n, _ in counted))))
        before = sum(n for _, n, _ in counted)
        counted.append((PENALTY_TERM, *_penalty_points(self._story_penalties(story, topic, places), before)))
        total = sum(n for _, n, _ in counted)
        terms = tuple(ScoreTerm(name, hundredths / 100, note) for name, hundredths, note in counted)
        return ScoredStory(story, total / 100, terms, topic.topic if topic else None, places)

    def _weighted_terms(self, measures: StoryMeasures) -> list[tuple[str, int, str]]:
        """Return each known term's name, hundredths of a point, and note; an unknown one's weight goes to the others."""
        known = [(name, found) for name, term in SCORING_TERMS.items() if (found := term.compute(measures))]
        whole = math.fsum(self.weights[name] for name, _ in known)
        return [
            (name, round(10_000 * (self.weights[name] / whole if whole else 0.0) * share), note)
            for name, (share, note) in known
        ]

    def _measure_story(self, story: Story, topic: TopicMatch | None, places: StoryPlaces) -> StoryMeasures:
        week = self.week
        reads = [r for a in story.members if (r := week.daily_reads(a)) is not None]
        return StoryMeasures(
            publishers=len(story.publishers),
            independent_publishers=count_independent_publishers(story),
            week_publishers=week.publisher_count,
            daily_reads=max(reads, default=None),
            week_daily_reads=None if week.median_daily_reads is None else week.highest_daily_reads,
            is_pinned=self.is_pinned(story),
            is_featured=any(a.featured for a in story.members if a.own),
            has_official_source=any(a.primary for a in story.members),
            topic=topic.topic if topic else "",
            topic_strength=topic.strength if topic else 0.0,
            topic_words=topic.words if topic else (),
            is_borderless=bool(topic and topic.topic in self.borderless_topics),
            age_days=_age_in_days(story.lead, week.now),
            home_country=self.place_rules.home_country,
            home_share=places.home_share,
        )

    def is_pinned(self, story: Story) -> bool:
        """Return whether an editor pinned one of a story's articles."""
        return any(a.url in self.pinned_urls or a.link in self.pinned_urls for a in story.members)

    def _story_penalties(self, story: Story, topic: TopicMatch | None, places: StoryPlaces) -> tuple[ScorePenalty, ...]:
        found = find_penalties(story.lead)
        if is_forecast_title(story.lead.title) and self.week.now - story.lead.dated_at > FORECAST_LIFETIME:
            found = (*found, OVERTAKEN_PENALTY)
        if self.is_pinned(story) or story.lead.own or story.lead.featured:
            return found
        if topic is None:
            found = (*found, OFF_TOPIC_PENALTY)
        if places.home_share < FOREIGN_SHARE and not (topic and topic.topic in self.borderless_topics):
            found = (*found, FOREIGN_PENALTY)
        elif places.home_share <= LOCAL_SHARE and topic and topic.topic in self.local_topics:
            found = (*found, LOCAL_PENALTY)
        return found


def ranking_order(scored: ScoredStory) -> tuple[float, datetime, str]:
    """Return the key by which stories stand: best score, then earliest, then URL."""
    return (-scored.score, scored.story.lead.dated_at, scored.story.lead.url)


def count_independent_publishers(story: Story) -> int:
    """Count a story's publishers, those who carried another's text (an agency's) only once."""
    if not story.also_reported:
        return 1
    texts: list[frozenset[str]] = []
    for article in (story.lead, *story.also_reported):
        words = frozenset(significant_words(f"{article.title} {article.summary}"))
        if not any(are_near_duplicates(words, other) for other in texts):
            texts.append(words)
    return len(texts)


def _source_points(story: Story, points_before: int) -> tuple[int, str]:
    """Add or take points by the lead's source, within 0 and 100 in all."""
    weight = story.lead.weight
    unbounded = round(SOURCE_POINTS * (weight - 1))
    points = min(max(unbounded, -points_before), 10_000 - points_before)
    note = f"{story.lead.source} has weight {weight:g}"
    return points, note if points == unbounded else f"{note}; a score stays within 0 and 100"


def _penalty_points(penalties: Sequence[ScorePenalty], points_before: int) -> tuple[int, str]:
    remaining_share = math.prod(1 - f.share for f in penalties)
    note = "; ".join(f"{f.reason} (-{f.share:.0%})" for f in penalties)
    return -round(points_before * (1 - remaining_share)), note or "none"
