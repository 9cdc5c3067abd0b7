"""Make the built-in word table: `python -m tests.tools.make_word_table` writes digest/select/word_table.txt.

It wants the package wordfreq (3.1.1), which is none of the project's dependencies: install it into an environment of your
own. A word that stands N times in a million words is taken to stand in 1 - exp(-N * 40 / 1,000,000) of all articles:
a title and a short summary have about 40 words. Words of the trade, which news uses far more often than English does,
stand in `trade_words.txt` with the share that they have there.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from digest.select.text_similarity import significant_words

TABLE = Path(__file__).resolve().parents[2] / "digest" / "select" / "word_table.txt"
TRADE_WORDS = Path(__file__).with_name("trade_words.txt")
WORDS_PER_ARTICLE = 40
MAX_WORDS = 20_000
STEP = 1.25  # shares are rounded to powers of it: no grouping is finer
LINE_WIDTH = 120

HEADER = """\
# How common words are in news: a number of articles in a million, then the words that stand in about so many.
#
# Made by tests/tools/make_word_table.py of wordfreq 3.1.1 by Robyn Speer and of tests/tools/trade_words.txt.
# wordfreq's data are under CC BY-SA 4.0 (https://creativecommons.org/licenses/by-sa/4.0/), and so is this file. They hold
# data extracted from Google Books Ngrams (http://books.google.com/ngrams), the Leeds Internet Corpus, Wikipedia, ParaCrawl,
# OPUS OpenSubtitles 2018 (http://www.opensubtitles.org/), SUBTLEX, and others that wordfreq names. Changed: plurals folded,
# words without meaning of their own left out, frequencies turned into shares of articles and rounded, words of the trade added.
"""


def main() -> None:
    """Write the table."""
    from wordfreq import get_frequency_dict  # type: ignore[import-not-found]

    shares = merge_shares(english_shares(get_frequency_dict("en", "best")), read_trade_words(TRADE_WORDS))
    TABLE.write_text(HEADER + "".join(f"{line}\n" for line in table_lines(shares)), "utf-8")
    print(f"{TABLE}: {len(shares):,} words, {TABLE.stat().st_size // 1000} KB")


def english_shares(frequencies: Mapping[str, float]) -> dict[str, float]:
    """Give the share of articles that hold a word, for the most frequent words of English."""
    folded: dict[str, float] = defaultdict(float)
    for word, frequency in frequencies.items():
        if not any(ch.isdigit() for ch in word):
            for part in significant_words(word):
                folded[part] += frequency
    most = sorted(folded.items(), key=lambda item: (-item[1], item[0]))[:MAX_WORDS]
    return {word: 1 - math.exp(-frequency * WORDS_PER_ARTICLE) for word, frequency in most}


def read_trade_words(file: Path) -> dict[str, float]:
    """Read the words of the trade: a line with a number says in how many of 10,000 articles the words below it stand."""
    shares: dict[str, float] = {}
    share = 0.0
    for line in file.read_text("utf-8").splitlines():
        if line.strip().isdigit():
            share = int(line) / 10_000
        elif not line.startswith("#"):
            shares |= {word: max(share, shares.get(word, 0.0)) for word in significant_words(line)}
    return shares


def merge_shares(*tables: Mapping[str, float]) -> dict[str, float]:
    """Take the greatest share of each word."""
    merged: dict[str, float] = {}
    for table in tables:
        for word, share in table.items():
            merged[word] = max(share, merged.get(word, 0.0))
    return merged


def table_lines(shares: Mapping[str, float]) -> Iterable[str]:
    """Give the lines of the file, the most common words first."""
    by_step: dict[int, list[str]] = defaultdict(list)
    for word, share in shares.items():
        by_step[round(math.log(share, STEP))].append(word)
    for step in sorted(by_step, reverse=True):
        line = number = f"{max(1, round(STEP**step * 1_000_000))}"
        for word in sorted(by_step[step]):
            if len(line) + 1 + len(word) > LINE_WIDTH:
                yield line
                line = number
            line += f" {word}"
        yield line


if __name__ == "__main__":
    main()
