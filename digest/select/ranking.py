"""A story's score as a sum of named terms, each in points with the words that explain it.

score = 100 x (coverage, readership, editorial, topic, freshness, each 0..1 and weighted; the weights sum to 1)
        + source weight - penalty

Points are counted in hundredths, so that the terms shown add up to the score shown, to the last digit.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median

from digest.select.penalties import ScorePenalty, find_penalties, is_forecast_title
from digest.select.places import LOCAL_SHARE, PlaceRules
from digest.select.text_similarity import are_near_duplicates, significant_words
from digest.select.topics import TopicMatch, TopicRules, find_story_topic
from digest.select.values import CandidateArticle, ScoredStory, ScoreTerm, Story, StoryPlaces, TermName
from digest.settings import RankingWeights

FRESHNESS_HALF_LIFE = 4.0  # days after which a story's freshness has halved
SHRINKAGE_DAYS = 2.0  # days of median reading added to every article's: a one-day spike is not overrated
OFFICIAL_SOURCE_SHARE = 0.5  # what an official source is worth, against an editor's own word (1)
SOURCE_POINTS = 1000  # hundredths of a point for each whole of source weight above or below 1
OFF_TOPIC_PENALTY = ScorePenalty(0.5, "no topic of ours")
FOREIGN_PENALTY = ScorePenalty(0.25, "next to nothing in it names the home country")
FOREIGN_SHARE = 0.2  # of home: less is an aside
LOCAL_PENALTY = ScorePenalty(0.2, "a local case: it names a place, and nothing of the whole country")
OVERTAKEN_PENALTY = ScorePenalty(0.2, "told before it happened")
FORECAST_LIFETIME = timedelta(days=1)  # after which what was ahead has happened, or has not
MOST_READ_NOTE = "read more than any other"


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
    weights: RankingWeights
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
        shares = self._term_shares()
        parts = (
            (TermName.COVERAGE, self._coverage_share(story)),
            (TermName.READERSHIP, self._readership_share(story)),
            (TermName.EDITORIAL, self._editorial_share(story)),
            (TermName.TOPIC, _topic_share(topic)),
            (TermName.FRESHNESS, self._freshness_share(story)),
            (TermName.PROXIMITY, self._proximity_share(places, topic)),
        )
        counted = [(name, round(10_000 * shares[name] * part), note) for name, (part, note) in parts if name in shares]
        counted.append((TermName.SOURCE, *_source_points(story, sum(n for _, n, _ in counted))))
        before = sum(n for _, n, _ in counted)
        counted.append((TermName.PENALTY, *_penalty_points(self._story_penalties(story, topic, places), before)))
        total = sum(n for _, n, _ in counted)
        terms = tuple(ScoreTerm(name, hundredths / 100, note) for name, hundredths, note in counted)
        return ScoredStory(story, total / 100, terms, topic.topic if topic else None, places)

    def _term_shares(self) -> dict[TermName, float]:
        """Return each term's part of the whole; without readership its part goes to the others."""
        w = self.weights
        weights = {
            TermName.COVERAGE: w.coverage,
            TermName.READERSHIP: w.readership,
            TermName.EDITORIAL: w.editorial,
            TermName.TOPIC: w.topic,
            TermName.FRESHNESS: w.freshness,
            TermName.PROXIMITY: w.proximity,
        }
        if self.week.median_daily_reads is None:
            del weights[TermName.READERSHIP]
        whole = math.fsum(weights.values())
        return {name: weight / whole if whole else 0.0 for name, weight in weights.items()}

    def _coverage_share(self, story: Story) -> tuple[float, str]:
        names, own = len(story.publishers), count_independent_publishers(story)
        copies = f", {names - own} of them with another's text" if own < names else ""
        publishers = f"{names} publisher{'s' if names > 1 else ''}"
        note = f"{publishers} of {self.week.publisher_count} this week{copies}"
        return _coverage_share(own, self.week.publisher_count), note

    def _readership_share(self, story: Story) -> tuple[float, str]:
        reads = [r for a in story.members if (r := self.week.daily_reads(a)) is not None]
        if not reads:
            return 0.0, "no reads known of this story"
        best, highest = max(reads), self.week.highest_daily_reads
        if best >= highest:
            return 1.0, MOST_READ_NOTE
        return _log_share(best, highest), f"{best:.0f} reads a day, evened out; the most is {highest:.0f}"

    def _editorial_share(self, story: Story) -> tuple[float, str]:
        if self.is_pinned(story):
            return 1.0, "pinned by an editor"
        if any(a.featured for a in story.members if a.own):
            return 1.0, "featured on our site"
        if any(a.primary for a in story.members):
            return OFFICIAL_SOURCE_SHARE, "an official source is among its sources"
        return 0.0, "neither featured nor from an official source"

    def is_pinned(self, story: Story) -> bool:
        """Return whether an editor pinned one of a story's articles."""
        return any(a.url in self.pinned_urls or a.link in self.pinned_urls for a in story.members)

    def _freshness_share(self, story: Story) -> tuple[float, str]:
        days = _age_in_days(story.lead, self.week.now)
        whole = int(days)
        age = "less than a day old" if not whole else f"{whole} day{'s' if whole > 1 else ''} old"
        return 0.5 ** (days / FRESHNESS_HALF_LIFE), age

    def _proximity_share(self, places: StoryPlaces, topic: TopicMatch | None) -> tuple[float, str]:
        home, share = self.place_rules.home_country, places.home_share
        named = f"{share:.0%} about {home}, by the places and agencies that its articles name"
        if topic and topic.topic in self.borderless_topics:
            return (1 + share) / 2, f"{named}; {topic.topic} concerns it wherever it happens"
        return share, named if share else f"nothing in it names {home}, a place there or an agency of it"

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


def _coverage_share(publishers: int, publisher_count: int) -> float:
    """Return 0 for one publisher, 1 for all of the week's; each doubling adds as much as the one before."""
    return min(math.log(publishers) / math.log(publisher_count), 1.0) if publisher_count > 1 else 0.0


def _log_share(value: float, maximum: float) -> float:
    return min(math.log1p(value) / math.log1p(maximum), 1.0) if maximum > 0 else 0.0


def _topic_share(topic: TopicMatch | None) -> tuple[float, str]:
    if topic is None:
        return 0.0, "no topic of ours"
    return topic.strength, f"{topic.topic}: {', '.join(topic.words[:6])}"


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
