"""Word rarity, based on a table of earlier articles.

The table is fixed for a week and excludes that week's articles, so the similarity of two articles
depends only on those two and the table, not on other articles or the order of their arrival. The
words of a story that dominates a week also remain as distinctive as before.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import resources
from itertools import chain, count
from typing import TypeVar

# Weight of the shipped table, in articles. With it, a name in a single earlier article counts as
# one in 5,000.
SHIPPED_TABLE_WEIGHT = 5000
# The same if the shipped table doesn't cover the language. It then only keeps weights in scale.
UNKNOWN_LANGUAGE_TABLE_WEIGHT = 500
ENOUGH_ARTICLES = 2000  # number of earlier articles that suffice in any language
MAX_UNLISTED_SHARE = (
    0.4  # share of a week's words missing from the shipped table: .07 in English, .57 and more elsewhere
)
_KEPT_WEIGHTS = 1_000_000  # number of words; more than any week has
_SAMPLE_SIZE = 400  # number of the week's articles to sample for detecting the language
# Estimated share of articles that contain one particular number of each form. Tables exclude numbers.
_YEAR_SHARE = 1 / 60
_SHORT_NUMBER_SHARE = 1 / 60
_HUNDREDS_SHARE = 1 / 150
_LONG_NUMBER_SHARE = 1 / 1000
_Value = TypeVar("_Value")
_YEAR = re.compile(r"(?:19|20)\d\d")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


class WordTable(dict[str, _Value]):
    """A cache of a function's values by word, which is emptied when it's full.

    It's twice as fast as `lru_cache`, because it doesn't track the order of use.
    """

    def __init__(self, function: Callable[[str], _Value], most: int) -> None:
        """Initialize from the function and the maximum number of words to keep."""
        self._function = function
        self._most = most

    def __missing__(self, word: str) -> _Value:
        """Compute and keep the value for a word."""
        if len(self) >= self._most:
            self.clear()
        value = self[word] = self._function(word)
        return value


@dataclass(frozen=True, slots=True)
class DocumentFrequencies:
    """The number of earlier articles that contain each word.

    Words that no article contains are omitted from `counts`.
    """

    article_count: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)


NO_EARLIER_WORDS = DocumentFrequencies()


def count_document_frequencies(words_of_articles: Iterable[Iterable[str]]) -> DocumentFrequencies:
    """Count the articles that contain each word.

    Args:
        words_of_articles: the words of each article; repetitions within an article count once.
    """
    articles = count()
    distinct_words = (frozenset(words) for words, _ in zip(words_of_articles, articles, strict=False))
    counts = Counter(chain.from_iterable(distinct_words))
    listed = {word: number for word, number in counts.items() if not _is_number(word)}
    return DocumentFrequencies(next(articles), listed)


class WordRarity:
    """The rarity of words, from a table of earlier articles blended with the shipped one."""

    def __init__(self, table: DocumentFrequencies | None = None, *, shipped_weight: int = SHIPPED_TABLE_WEIGHT) -> None:
        """Initialize from a table of earlier articles and the weight of the shipped table, in articles."""
        self._shipped_weight = shipped_weight
        self._table = table or NO_EARLIER_WORDS
        self._shipped, self._unlisted_share = _load_shipped_shares()
        self._weights = WordTable(self._compute_weight, _KEPT_WEIGHTS)

    def weight(self, word: str) -> float:
        """Return a word's inverse document frequency, at least 1.

        It's 1 - ln(share), where share is the share of articles that contain the word.
        """
        return self._weights[word]

    def weigh_words(self, words: Iterable[str]) -> dict[str, float]:
        """Return the inverse document frequencies of the words."""
        listed = tuple(words)
        return dict(zip(listed, map(self._weights.__getitem__, listed), strict=True))

    def _compute_weight(self, word: str) -> float:
        return 1 - math.log(self.share(word))

    def share(self, word: str) -> float:
        """Return the share of articles that contain a word, above 0.

        For numbers, it's an estimate.
        """
        if _is_number(word):
            return estimate_numeral_frequency(word)
        shipped = self._shipped.get(word, self._unlisted_share)
        counted = self._table.counts.get(word, 0)
        return (shipped * self._shipped_weight + counted) / (self._shipped_weight + self._table.article_count)


def _is_number(word: str) -> bool:
    return word[:1].isdecimal() and _NUMBER.fullmatch(word) is not None


def estimate_numeral_frequency(number: str) -> float:
    """Estimate the share of articles that contain a number from the number's form.

    Years and small numbers are common.
    """
    if _YEAR.fullmatch(number):
        return _YEAR_SHARE
    digits = sum(ch.isdigit() for ch in number)
    if digits <= 2:
        return _SHORT_NUMBER_SHARE
    return _HUNDREDS_SHARE if digits == 3 else _LONG_NUMBER_SHARE


def knows_language_of(table: DocumentFrequencies, words_of_articles: Iterable[Collection[str]]) -> bool:
    """Return True if a table, combined with the shipped one, covers the language of the articles.

    The shipped table covers English. In other languages, most words are missing from it, so enough
    earlier articles are required.
    """
    shares, _ = _load_shipped_shares()
    words = [word for words in words_of_articles for word in words if not _is_number(word)]
    unlisted = sum(word not in shares for word in words)
    return table.article_count >= ENOUGH_ARTICLES or unlisted <= MAX_UNLISTED_SHARE * len(words)


def sample_evenly(values: Sequence[_Value]) -> Sequence[_Value]:
    """Return an evenly spaced sample of about 200 to 400 values, or all if there are fewer."""
    return values[:: 1 + len(values) // _SAMPLE_SIZE]


@cache
def load_shipped_rarity() -> WordRarity:
    """Return the word rarities of the shipped table alone."""
    return WordRarity()


@lru_cache(maxsize=1)
def _load_shipped_shares() -> tuple[Mapping[str, float], float]:
    """Return each word's share of articles in the shipped table, and the share assumed for other words."""
    shares: dict[str, float] = {}
    for line in resources.files("digest.select").joinpath("word_table.txt").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            per_million, *words = line.split()
            shares.update(dict.fromkeys(words, int(per_million) / 1_000_000))
    return shares, min(shares.values()) / 2
