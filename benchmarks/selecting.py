"""CPU seconds to group, rank and choose 5,000 and 50,000 made-up articles of 100 feeds: `python -m benchmarks.selecting`."""

import math
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from digest.select.choosing import choose
from digest.select.values import Candidate, Previous
from digest.settings import DEFAULT_SECTIONS, Select

NOW = datetime(2026, 11, 19, 22, 30, tzinfo=UTC)
FEEDS = 100
VOCABULARY = 60_000
TELLING = (
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


def articles(number: int, seed: int = 1) -> list[Candidate]:
    """Make a week: a third of the articles retell some story in other words, the others stand alone.

    Words follow Zipf's law, as they do in news, so that common words are as common as there.
    """
    chance = random.Random(seed)
    common = [f"w{int(math.exp(chance.random() * math.log(VOCABULARY)))}" for _ in range(200_000)]
    themes = [[f"theme{n}x{k}" for k in range(14)] for n in range(number // 9)]
    return [_article(n, chance, common, themes) for n in range(number)]


def _article(
    n: int, chance: random.Random, common: Sequence[str], themes: Sequence[Sequence[str]]
) -> Candidate:
    own = [f"only{n}x{k}" for k in range(4)]
    if chance.random() < 1 / 3:
        own += chance.sample(chance.choice(themes), 9)
    if chance.random() < 1 / 2:
        own.append(chance.choice(TELLING))
    chance.shuffle(own)
    words = own + chance.choices(common, k=28)
    feed = chance.randrange(FEEDS)
    return Candidate(
        url=f"https://feed{feed}.example.org/{n}",
        link=f"https://feed{feed}.example.org/{n}",
        title=" ".join(words[:5] + words[-5:]),
        summary=" ".join(words),
        source=f"Feed {feed}",
        publisher=f"Publisher {feed}",
        dated_at=NOW - timedelta(days=7 * chance.random()),
    )


def seconds(number: int) -> float:
    """Give the CPU seconds of one choice among so many articles."""
    week = articles(number)
    start = time.process_time()
    choice = choose(week, select=Select(), sections=DEFAULT_SECTIONS, now=NOW, previous=Previous())
    spent = time.process_time() - start
    assert choice.sections["featured"]
    return spent


def main() -> None:
    """Print the seconds and their ratio."""
    few, many = seconds(5_000), seconds(50_000)
    print(
        f"select 5,000 articles: {few:.1f} s CPU; 50,000: {many:.1f} s; ratio {many / few:.1f} (bar: below 15)"
    )


if __name__ == "__main__":
    main()
