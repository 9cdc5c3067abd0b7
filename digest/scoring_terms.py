"""The terms of a story's score: the name, weight, description, and function of each.

Ranking adds up the terms registered here, and `[select.weights]` takes its keys and descriptions from them. The module
imports neither articles nor settings, so that both can import it: `digest.select.ranking` measures a story
(`StoryMeasures`), and a term is a function of those measures.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

FRESHNESS_HALF_LIFE = 4.0  # days after which a story's freshness halves
OFFICIAL_SOURCE_SHARE = 0.5  # of the editorial term, for a story with an official source; an editor's choice has 1
MAX_TOPIC_WORDS = 6  # in the note
MOST_READ_NOTE = "read more than any other"
PINNED_NOTE = "pinned by an editor"
FEATURED_NOTE = "featured on our site"


class WeightBounds(NamedTuple):
    """The lowest and highest weight that an operator can set."""

    least: float
    most: float | None = None


NOT_NEGATIVE = WeightBounds(0)


@dataclass(frozen=True, slots=True)
class StoryMeasures:
    """The measures that terms are computed from: those of a story, and those of its week for comparison."""

    publishers: int
    distinct_reports: int  # copies of one text, such as a wire story, count once
    week_publishers: int
    daily_reads: float | None  # of the story's most-read article, smoothed; None if no reads are known
    week_daily_reads: float | None  # of the week's most-read article, smoothed; None if the week has no readership data
    is_pinned: bool
    is_featured: bool
    has_official_source: bool
    topic: str  # empty if it has none
    topic_strength: float  # 0 to 1
    topic_words: tuple[str, ...]
    is_borderless: bool  # whether its topic concerns the home country wherever it happens
    age_days: float
    home_country: str  # ISO 3166-1 alpha-2
    home_share: float  # 0 to 1, share of its articles about the home country


class TermShare(NamedTuple):
    """A story's share of a term, from 0 to 1, and the note that explains it to an editor."""

    share: float
    note: str


TermFunction = Callable[[StoryMeasures], TermShare | None]


@dataclass(frozen=True, slots=True)
class ScoringTerm:
    """A term of a story's score, as declared with `scoring_term`.

    `compute` returns None if the term can't be measured this week; the other terms then share its weight.
    """

    name: str
    weight: float  # the default
    bounds: WeightBounds
    words: str  # what the term measures, for editors
    compute: TermFunction


SCORING_TERMS: dict[str, ScoringTerm] = {}


def scoring_term(
    name: str, *, weight: float, bounds: WeightBounds, words: str
) -> Callable[[TermFunction], TermFunction]:
    """Return a decorator that registers a function as the term `name`.

    Args:
        name: Key in `[select.weights]`, and the name that editors see.
        weight: Default weight.
        bounds: Lowest and highest weight allowed.
        words: Sentence on what the term measures, for the settings and their documentation.

    Raises:
        ValueError: the name is taken.
    """

    def register(compute: TermFunction) -> TermFunction:
        if name in SCORING_TERMS:
            raise ValueError(f"two scoring terms are named {name}")
        SCORING_TERMS[name] = ScoringTerm(name, weight, bounds, words, compute)
        return compute

    return register


@scoring_term("coverage", weight=0.40, bounds=NOT_NEGATIVE, words="The number of publishers that carried the story.")
def score_coverage(story: StoryMeasures) -> TermShare:
    """Return a share that grows with the logarithm of the number of distinct texts: 0 for one.

    It's 1 if all of the week's publishers carried the story, each with a text of its own.
    """
    copied = story.publishers - story.distinct_reports
    copies = f", {copied} of them with text copied from another" if copied > 0 else ""
    note = f"{story.publishers} of this week's {story.week_publishers} publishers{copies}"
    if story.week_publishers <= 1:
        return TermShare(0.0, note)
    return TermShare(min(math.log(story.distinct_reports) / math.log(story.week_publishers), 1.0), note)


@scoring_term("readership", weight=0.25, bounds=NOT_NEGATIVE, words="Views of your site's page about the story.")
def score_readership(story: StoryMeasures) -> TermShare | None:
    """Return the logarithm of a story's daily reads as a share of the logarithm of the week's highest.

    It's 0 if the story's reads are unknown. None if the week has no readership data.
    """
    best, highest = story.daily_reads, story.week_daily_reads
    if highest is None:
        return None
    if best is None:
        return TermShare(0.0, "no page views recorded for this story")
    if best >= highest:
        return TermShare(1.0, MOST_READ_NOTE)
    share = min(math.log1p(best) / math.log1p(highest), 1.0)
    return TermShare(share, f"{best:.0f} reads a day, smoothed; the highest is {highest:.0f}")


@scoring_term(
    "editorial",
    weight=0.20,
    bounds=NOT_NEGATIVE,
    words="A pin or feature on your site, or half as much for an official source.",
)
def score_editorial_choice(story: StoryMeasures) -> TermShare:
    """Return 1 for a story that an editor pinned or featured, one half for one with an official source, otherwise 0."""
    if story.is_pinned:
        return TermShare(1.0, PINNED_NOTE)
    if story.is_featured:
        return TermShare(1.0, FEATURED_NOTE)
    if story.has_official_source:
        return TermShare(OFFICIAL_SOURCE_SHARE, "its sources include an official one")
    return TermShare(0.0, "neither featured nor from an official source")


@scoring_term("topic", weight=0.15, bounds=NOT_NEGATIVE, words="The words that match the story's topic.")
def score_topic_match(story: StoryMeasures) -> TermShare:
    """Return the strength of the story's match with its topic; 0 if it has none."""
    if not story.topic:
        return TermShare(0.0, "it doesn't match any of our topics")
    return TermShare(story.topic_strength, f"{story.topic}: {', '.join(story.topic_words[:MAX_TOPIC_WORDS])}")


@scoring_term("freshness", weight=0.10, bounds=NOT_NEGATIVE, words="The age of the story's leading article.")
def score_freshness(story: StoryMeasures) -> TermShare:
    """Return a share that's 1 for a new lead article and halves with every four days of its age."""
    days = int(story.age_days)
    age = f"{days} day{'s' if days > 1 else ''} old" if days else "less than a day old"
    return TermShare(0.5 ** (story.age_days / FRESHNESS_HALF_LIFE), age)


@scoring_term(
    "proximity",
    weight=0.15,
    bounds=NOT_NEGATIVE,
    words="The share of the story's articles that name the home country or its agencies. Places there count half.",
)
def score_home_proximity(story: StoryMeasures) -> TermShare:
    """Return the share of a story's articles about the home country; at least one half for a borderless topic."""
    home, share = story.home_country, story.home_share
    note = f"{share:.0%} about {home}, based on the places and agencies its articles mention"
    if story.is_borderless:
        return TermShare((1 + share) / 2, f"{note}; {story.topic} matters there no matter where it happens")
    return TermShare(share, note if share else f"nothing in it mentions {home}, its agencies, or places there")
