"""CPU seconds to group, rank and choose 5,000 and 50,000 made-up articles of 100 feeds: `python -m benchmarks.selection`.

Each size has a process of its own, so that its peak of memory is its own too.
"""

import json
import math
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from benchmarks.peak_memory import peak_memory_mb
from digest.edition.kinds import SECTION_KINDS
from digest.select.proposals import propose_edition
from digest.select.selection_types import CandidateArticle, PreviousEditions
from digest.settings import DEFAULT_SECTIONS, SelectionSettings

NOW = datetime(2026, 11, 19, 22, 30, tzinfo=UTC)
FEEDS = 100
VOCABULARY = 60_000
WORDS_PER_ARTICLE = 40  # that are drawn for it; its own 28 are taken of those of all
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
    drawn = min(200_000, number * WORDS_PER_ARTICLE)
    common = [f"w{int(math.exp(chance.random() * math.log(VOCABULARY)))}" for _ in range(drawn)]
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


@dataclass(frozen=True, slots=True)
class SelectionResult:
    """What one choice took: CPU seconds, and the peak of the process's memory in MB, the articles included."""

    seconds: float
    peak: float


def measure_selection(number: int) -> SelectionResult:
    """Choose among so many articles in this process."""
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
    return SelectionResult(spent, peak_memory_mb())


def select_in_subprocess(number: int) -> SelectionResult:
    """Choose among so many articles in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.selection", str(number)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return SelectionResult(**json.loads(told))


def main() -> None:
    """Print the seconds, the memory, and the ratio of the seconds."""
    few, many = select_in_subprocess(5_000), select_in_subprocess(50_000)
    print(
        f"select 5,000 articles: {few.seconds:.1f} s CPU, {few.peak:.0f} MB; 50,000: {many.seconds:.1f} s, "
        f"{many.peak:.0f} MB; ratio {many.seconds / few.seconds:.1f} (bar: below 15)"
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(asdict(measure_selection(int(sys.argv[1])))))
    else:
        main()
