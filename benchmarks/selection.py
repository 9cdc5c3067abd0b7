"""CPU seconds to group, rank and choose 5,000 and 50,000 made-up articles of 100 feeds: `python -m benchmarks.selection`."""

import math
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from digest.edition.kinds import SECTION_KINDS
from digest.select.proposals import propose_edition
from digest.select.values import CandidateArticle, PreviousEditions
from digest.settings import DEFAULT_SECTIONS, SelectionSettings

NOW = datetime(2026, 11, 19, 22, 30, tzinfo=UTC)
FEEDS = 100
VOCABULARY = 60_000
TOPIC_WORDS = (
    "ransomware",
    "hurricane",
    "wildfire",
    "border",
    "asylum",
    "terrorism",
    "TSA",
    "FEMA",
    "vaccine",
    "drone",
)


def made_up_articles(number: int, seed: int = 1) -> list[CandidateArticle]:
    """Make a week: a third of the articles retell some story in other words, the others stand alone.

    Words follow Zipf's law, as they do in news, so that common words are as common as there.
    """
    chance = random.Random(seed)
    common = [f"w{int(math.exp(chance.random() * math.log(VOCABULARY)))}" for _ in range(200_000)]
    themes = [[f"theme{n}x{k}" for k in range(14)] for n in range(number // 9)]
    return [_made_up_article(n, chance, common, themes) for n in range(number)]


def _made_up_article(
    n: int, rng: random.Random, common_words: Sequence[str], themes: Sequence[Sequence[str]]
) -> CandidateArticle:
    own = [f"only{n}x{k}" for k in range(4)]
    if rng.random() < 1 / 3:
        own += rng.sample(rng.choice(themes), 9)
    if rng.random() < 1 / 2:
        own.append(rng.choice(TOPIC_WORDS))
    rng.shuffle(own)
    words = own + rng.choices(common_words, k=28)
    feed = rng.randrange(FEEDS)
    return CandidateArticle(
        url=f"https://feed{feed}.example.org/{n}",
        link=f"https://feed{feed}.example.org/{n}",
        title=" ".join(words[:5] + words[-5:]),
        summary=" ".join(words),
        source=f"Feed {feed}",
        publisher=f"Publisher {feed}",
        dated_at=NOW - timedelta(days=7 * rng.random()),
    )


def measure_selection(number: int) -> float:
    """Give the CPU seconds of one choice among so many articles."""
    week = made_up_articles(number)
    start = time.process_time()
    choice = propose_edition(
        week,
        select=SelectionSettings(),
        sections=DEFAULT_SECTIONS,
        kinds=SECTION_KINDS,
        now=NOW,
        previous=PreviousEditions(),
    )
    spent = time.process_time() - start
    assert choice.sections["featured"]
    return spent


def main() -> None:
    """Print the seconds and their ratio."""
    few, many = measure_selection(5_000), measure_selection(50_000)
    print(f"select 5,000 articles: {few:.1f} s CPU; 50,000: {many:.1f} s; ratio {many / few:.1f} (bar: below 15)")


if __name__ == "__main__":
    main()
