"""A story's score as a sum of named terms, each in points with the words that explain it.

score = 100 x (coverage, readership, editorial, topic, freshness, each 0..1 and weighted; the weights sum to 1)
        + source weight - penalty

Points are counted in hundredths, so that the terms shown add up to the score shown, to the last digit.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from digest.select.kinds import Fault, faults
from digest.select.topics import Match, TopicRules, story_topic
from digest.select.values import Candidate, Scored, Story, Term, TermName
from digest.select.words import nearly_equal
from digest.settings import Weights

HALF_LIFE = 4.0  # days after which a story's freshness has halved
SHRINK = 2.0  # days of median reading added to every article's: a one-day spike is not overrated
OFFICIAL = 0.5  # what an official source is worth, against an editor's own word (1)
SOURCE_POINTS = 1000  # hundredths of a point for each whole of source weight above or below 1
OFF_TOPIC = Fault(0.5, "no topic of ours")
MOST_READ = "read more than any other"


@dataclass(frozen=True, slots=True)
class Week:
    """What the week's articles have in common: the measures that a story is held against."""

    now: datetime
    publishers: int
    daily_median: float | None  # reads a day of a read article; None where nothing is known of reading
    most_read: float  # the highest of the shrunk reads a day

    @classmethod
    def of(cls, stories: Iterable[Story], now: datetime) -> "Week":
        """Measure the articles of all stories."""
        articles = [a for s in stories for a in s.members]
        rates = [a.views / max(_days(a, now), 1.0) for a in articles if a.views is not None]
        if not rates or not any(rates):
            return cls(now, len({a.publisher for a in articles}), None, 0.0)
        middle = float(median(rates))
        most = max(_shrunk(a, middle, now) for a in articles if a.views is not None)
        return cls(now, len({a.publisher for a in articles}), middle, most)

    def reads(self, article: Candidate) -> float | None:
        """Give an article's reads a day, shrunk towards the week's median; None where they are not known."""
        if self.daily_median is None or article.views is None:
            return None
        return _shrunk(article, self.daily_median, self.now)


def _days(article: Candidate, now: datetime) -> float:
    return max((now - article.dated_at) / timedelta(days=1), 0.0)


def _shrunk(article: Candidate, middle: float, now: datetime) -> float:
    return ((article.views or 0) + SHRINK * middle) / (_days(article, now) + SHRINK)


@dataclass(frozen=True, slots=True)
class Ranking:
    """How one week's stories are scored. Pure; lives for one choice."""

    week: Week
    rules: TopicRules
    weights: Weights
    pins: frozenset[str] = frozenset()

    def rank(self, stories: Iterable[Story]) -> tuple[Scored, ...]:
        """Score stories, the best first; ties go to the earliest, then to the URL."""
        return tuple(sorted((self.score(s) for s in stories), key=order))

    def score(self, story: Story) -> Scored:
        """Score one story."""
        topic = story_topic(story, self.rules)
        shares = self._shares()
        parts = (
            (TermName.COVERAGE, self._coverage(story)),
            (TermName.READERSHIP, self._readership(story)),
            (TermName.EDITORIAL, self._editorial(story)),
            (TermName.TOPIC, _topicality(topic)),
            (TermName.FRESHNESS, self._freshness(story)),
        )
        counted = [
            (name, round(10_000 * shares[name] * part), note)
            for name, (part, note) in parts
            if name in shares
        ]
        counted.append((TermName.SOURCE, *_source(story, sum(n for _, n, _ in counted))))
        before = sum(n for _, n, _ in counted)
        counted.append((TermName.PENALTY, *_penalty(self._faults(story, topic), before)))
        total = sum(n for _, n, _ in counted)
        terms = tuple(Term(name, hundredths / 100, note) for name, hundredths, note in counted)
        return Scored(story, total / 100, terms, topic.topic if topic else None)

    def _shares(self) -> dict[TermName, float]:
        """Give each term's part of the whole; without readership its part goes to the others."""
        w = self.weights
        given = {
            TermName.COVERAGE: w.coverage,
            TermName.READERSHIP: w.readership,
            TermName.EDITORIAL: w.editorial,
            TermName.TOPIC: w.topic,
            TermName.FRESHNESS: w.freshness,
        }
        if self.week.daily_median is None:
            del given[TermName.READERSHIP]
        whole = math.fsum(given.values())
        return {name: weight / whole if whole else 0.0 for name, weight in given.items()}

    def _coverage(self, story: Story) -> tuple[float, str]:
        names, own = len(story.publishers), independent(story)
        copies = f", {names - own} of them with another's text" if own < names else ""
        publishers = f"{names} publisher{'s' if names > 1 else ''}"
        return _log_part(
            own, self.week.publishers
        ), f"{publishers} of {self.week.publishers} this week{copies}"

    def _readership(self, story: Story) -> tuple[float, str]:
        reads = [r for a in story.members if (r := self.week.reads(a)) is not None]
        if not reads:
            return 0.0, "no reads known of this story"
        best = max(reads)
        if best >= self.week.most_read:
            return 1.0, MOST_READ
        return _log_part(
            best, self.week.most_read
        ), f"{best:.0f} reads a day, evened out; the most is {self.week.most_read:.0f}"

    def _editorial(self, story: Story) -> tuple[float, str]:
        if self.pinned(story):
            return 1.0, "pinned by an editor"
        if any(a.featured for a in story.members if a.own):
            return 1.0, "featured on our site"
        if any(a.primary for a in story.members):
            return OFFICIAL, "an official source is among its sources"
        return 0.0, "neither featured nor from an official source"

    def pinned(self, story: Story) -> bool:
        """Say whether an editor pinned one of a story's articles."""
        return any(a.url in self.pins or a.link in self.pins for a in story.members)

    def _freshness(self, story: Story) -> tuple[float, str]:
        days = _days(story.lead, self.week.now)
        whole = int(days)
        age = "less than a day old" if not whole else f"{whole} day{'s' if whole > 1 else ''} old"
        return 0.5 ** (days / HALF_LIFE), age

    def _faults(self, story: Story, topic: Match | None) -> tuple[Fault, ...]:
        chosen = self.pinned(story) or story.lead.own or story.lead.featured
        off_topic = (OFF_TOPIC,) if topic is None and not chosen else ()
        return (*faults(story.lead), *off_topic)


def order(scored: Scored) -> tuple[float, datetime, str]:
    """Give the key by which stories stand: best score, then earliest, then URL."""
    return (-scored.score, scored.story.lead.dated_at, scored.story.lead.url)


def independent(story: Story) -> int:
    """Count a story's publishers, those who carried another's text (an agency's) only once."""
    texts: list[str] = []
    for article in (story.lead, *story.also):
        text = f"{article.title} {article.summary}"
        if not any(nearly_equal(text, other) for other in texts):
            texts.append(text)
    return len(texts)


def _log_part(value: float, most: float) -> float:
    return min(math.log1p(value) / math.log1p(most), 1.0) if most > 0 else 0.0


def _topicality(topic: Match | None) -> tuple[float, str]:
    if topic is None:
        return 0.0, "no topic of ours"
    return topic.strength, f"{topic.topic}: {', '.join(topic.words[:6])}"


def _source(story: Story, before: int) -> tuple[int, str]:
    """Add or take points by the lead's source, within 0 and 100 in all."""
    weight = story.lead.weight
    wanted = round(SOURCE_POINTS * (weight - 1))
    given = min(max(wanted, -before), 10_000 - before)
    note = f"{story.lead.source} has weight {weight:g}"
    return given, note if given == wanted else f"{note}; a score stays within 0 and 100"


def _penalty(found: Sequence[Fault], before: int) -> tuple[int, str]:
    left = math.prod(1 - f.part for f in found)
    note = "; ".join(f"{f.reason} (-{f.part:.0%})" for f in found)
    return -round(before * (1 - left)), note or "none"
