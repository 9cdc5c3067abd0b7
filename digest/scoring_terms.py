"""The terms of a story's score, each with its name, weight, description, and function.

Ranking adds up the terms registered here, and `[select.weights]` takes its keys and descriptions
from them. This module imports neither articles nor settings, so that both can import it.
`digest.select.ranking` measures a story (`StoryMeasures`), and a term is a function of these
measures.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

FRESHNESS_HALF_LIFE = 4.0  # days after which the freshness of a story is halved
# Of the editorial term, for a story with an official source. A story chosen by an editor has 1.
OFFICIAL_SOURCE_SHARE = 0.5
MAX_TOPIC_WORDS = 6  # in the note
MOST_READ_NOTE = "read more than any other"
PINNED_NOTE = "pinned by an editor"
FEATURED_NOTE = "featured on our site"


class WeightBounds(NamedTuple):
    """The lowest and the highest weight that an operator can set."""

    least: float
    most: float | None = None


NOT_NEGATIVE = WeightBounds(0)


@dataclass(frozen=True, slots=True)
class StoryMeasures:
    """The measures of a story that terms are computed from, and those of its week for comparison."""

    publishers: int
    distinct_texts: int  # copies of the same text, such as a wire story, count once
    week_publishers: int
    daily_reads: float | None  # of its most-read article, smoothed; None if unknown
    # Of the most-read article of the week, smoothed, or None if the week has no readership data.
    week_daily_reads: float | None
    is_pinned: bool
    is_featured: bool
    has_official_source: bool
    topic: str  # empty if there's none
    topic_strength: float  # from 0 to 1
    topic_words: tuple[str, ...]
    is_borderless: bool  # True if the topic concerns the home country wherever the news happens
    age_days: float
    home_country: str  # ISO 3166-1 alpha-2
    home_share: float  # from 0 to 1, the share of its articles that are about the home country


class TermShare(NamedTuple):
    """A story's share of a term, from 0 to 1, and the note that explains the share to editors."""

    share: float
    note: str


TermFunction = Callable[[StoryMeasures], TermShare | None]


@dataclass(frozen=True, slots=True)
class ScoringTerm:
    """A term of a story's score, as declared with `scoring_term`.

    `compute` returns None if the term can't be measured this week. The other terms then share its
    weight.
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
        name: the key in `[select.weights]`, and the name that editors see.
        weight: the default weight.
        bounds: the lowest and the highest weight allowed.
        words: a sentence that says what the term measures, for the settings and their
            documentation.

    Raises:
        ValueError: there's already a term of this name.
    """

    def register(compute: TermFunction) -> TermFunction:
        if name in SCORING_TERMS:
            raise ValueError(f"two scoring terms are named {name}")
        SCORING_TERMS[name] = ScoringTerm(name, weight, bounds, words, compute)
        return compute

    return register


@scoring_term("coverage", weight=0.40, bounds=NOT_NEGATIVE, words="The number of publishers that carried the story.")
def score_coverage(story: StoryMeasures) -> TermShare:
    """Return a share that grows with the logarithm of the number of distinct texts.

    It's 0 for one text, and 1 if all of the week's publishers carried the story, each with a text
    of its own.
    """
    copied = story.publishers - story.distinct_texts
    copies = f", {copied} of them with text copied from another" if copied > 0 else ""
    note = f"{story.publishers} of this week's {story.week_publishers} publishers{copies}"
    if story.week_publishers <= 1:
        return TermShare(0.0, note)
    return TermShare(min(math.log(story.distinct_texts) / math.log(story.week_publishers), 1.0), note)


@scoring_term("readership", weight=0.25, bounds=NOT_NEGATIVE, words="Views of your site's page about the story.")
def score_readership(story: StoryMeasures) -> TermShare | None:
    """Return log(1 + a story's daily reads) divided by log(1 + the week's highest daily reads), at most 1.

    It's 0 if the story's reads are unknown. If the week has no readership data, return None.
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
    """Return 1 for a story that an editor pinned or featured.

    Otherwise, return one half for a story that has an official source, and 0 for any other.
    """
    if story.is_pinned:
        return TermShare(1.0, PINNED_NOTE)
    if story.is_featured:
        return TermShare(1.0, FEATURED_NOTE)
    if story.has_official_source:
        return TermShare(OFFICIAL_SOURCE_SHARE, "its sources include an official one")
    return TermShare(0.0, "neither featured nor from an official source")


@scoring_term("topic", weight=0.15, bounds=NOT_NEGATIVE, words="The words that match the story's topic.")
def score_topic_match(story: StoryMeasures) -> TermShare:
    """Return the strength of the match between a story and its topic, or 0 if it has none."""
    if not story.topic:
        return TermShare(0.0, "it doesn't match any of our topics")
    return TermShare(story.topic_strength, f"{story.topic}: {', '.join(story.topic_words[:MAX_TOPIC_WORDS])}")


@scoring_term("freshness", weight=0.10, bounds=NOT_NEGATIVE, words="The age of the story's leading article.")
def score_freshness(story: StoryMeasures) -> TermShare:
    """Return a share that's 1 for a new lead article and halves every four days."""
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
    """Return the share of a story's articles that are about the home country.

    For a borderless topic, it's at least one half.
    """
    home, share = story.home_country, story.home_share
    note = f"{share:.0%} about {home}, based on the places and agencies its articles mention"
    if story.is_borderless:
        return TermShare((1 + share) / 2, f"{note}; {story.topic} matters there no matter where it happens")
    return TermShare(share, note if share else f"nothing in it mentions {home}, its agencies, or places there")
