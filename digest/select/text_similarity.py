"""Words and weighted word vectors (TF-IDF) of texts, the basis of similarity."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from sys import intern

from digest.select.word_rarity import WordRarity, WordTable, load_shipped_rarity

TITLE_WORD_WEIGHT = 2  # each word in the title counts as this many in the summary
MIN_NAME_WEIGHT = 8.5  # minimum inverse document frequency of a name; the word is in about one of 2,000 articles
MAX_SUMMARY_WORDS = 120  # a limit, so that sources whose summary is the full text don't have more influence
# Added to each text's sum of squared weights for unstated content. It corresponds to about four unique words.
UNSAID_WEIGHT = 400.0
RARE_WORD_WEIGHT = 9.5  # inverse document frequency of a word in one of 5,000 articles
# A headline is in title case if it has at least this many words of this length, all capitalized.
MIN_TITLE_CASE_WORDS, MIN_TITLE_CASE_LENGTH = 4, 4
MIN_SUMMARY_WORDS = 4  # if the summary adds fewer words to the title, the article is a bare headline

# Word → weight. The length is at most 1. Texts without significant words have an empty vector.
WordVector = Mapping[str, float]

_TOKEN = re.compile(r"[Cc][Vv][Ee]-\d{4}-\d{4,}|\d+(?:[.,]\d+)*|[^\W_]+(?:['\u2019][^\W_]+)?")
# The titles and summaries of a large week, which are read for their words, topics, and places.
_CACHED_TEXTS = 20_000

STOP_WORDS = frozenset(
    """a about above according across after again against ago all along already also although always am amid
    among an and another any are around as ask asked at away back be became because become been before began
    being below between both but by call called came can cannot come could day did do does doing don't down
    during each early either else end even ever every few first five following for former four from further
    get give go going got great had half has have having he her here hers herself him himself his how however
    i if in including inside into is it it's its itself just keep know last late latest later least less let
    like likely live long look made make makes making many may me mean might month more most much must my
    nearly need never new news next no nor not now of off often old on once one only onto or other our out
    over own part people per place put read report reported reportedly reports right said same say saying
    says second see seen set several she should show shows since so some still story such take taken takes
    than that that's the their them then there these they thing this those though three through thursday time
    to today together told too took toward towards two under until up update updated upon us use used using
    very via wait want was way we week weeks well went were what what's when where whether which while who
    whom whose why will with within without won't work would year years yet you your yesterday tomorrow
    monday tuesday wednesday friday saturday sunday here's he's she's they're we're i'm""".split()  # noqa: SIM905 - a list of 300 literals reads worse
)


@lru_cache(maxsize=_CACHED_TEXTS)
def split_tokens(text: str) -> tuple[str, ...]:
    """Split a text into words as written, with compatibility characters folded.

    Numbers and CVE IDs are kept whole.
    """
    return tuple(map(intern, _TOKEN.findall(text if text.isascii() else unicodedata.normalize("NFKC", text))))


def fold_text(text: str) -> str:
    """Fold a text's compatibility characters and case, and straighten its apostrophes."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")


def significant_words(text: str) -> Iterator[str]:
    """Yield a text's significant words in order, including numbers and CVE IDs.

    Stop words are omitted, and plurals are folded.
    """
    return filter(None, map(_folded_words.__getitem__, split_tokens(text)))


def _fold_word(token: str) -> str:
    """Return a word in lower case, without plural and possessive endings, or "" if it's insignificant."""
    word = fold_text(token)
    if word in STOP_WORDS:
        return ""
    word = fold_plural(word.removesuffix("'s"))
    return word if word not in STOP_WORDS and (len(word) > 1 or word.isdigit()) else ""


_folded_words = WordTable(_fold_word, 100_000)


def fold_plural(word: str) -> str:
    """Fold simple English plurals, such as `agencies` to `agency` and `breaches` to `breach`."""
    is_plural = word.endswith("s") and not word.endswith(("ss", "us", "is"))
    if len(word) < 4 or not is_plural:
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "sses", "xes", "zes")):
        return word[:-2]
    return word[:-1]


def find_capitalized_words(texts: Iterable[str]) -> frozenset[str]:
    """Return the significant words that are never in lower case. In enough text, these are names.

    In a title-case headline, only words with a second capital or a digit count as capitalized.
    """
    names: set[str] = set()
    common: set[str] = set()
    for words in map(split_tokens, texts):
        long_words = [word for word in words if len(word) >= MIN_TITLE_CASE_LENGTH]
        is_title_case = len(long_words) >= MIN_TITLE_CASE_WORDS and all(word[0].isupper() for word in long_words)
        for word in words:
            if not word[0].isupper():
                common.add(_folded_words[word])
            elif not is_title_case or not word[1:].islower():
                names.add(_folded_words[word])
    return frozenset(names - common - {""})


def count_weighted_words(title: Iterable[str], summary: Iterable[str]) -> dict[str, int]:
    """Count the words of a title and a summary. Each occurrence in the title counts twice."""
    return dict(Counter(chain([*title] * TITLE_WORD_WEIGHT, summary)))


def weigh_words(word_counts: Mapping[str, int], rarities: Mapping[str, float]) -> WordVector:
    """Return a text's word vector, whose length is below 1.

    A word's weight is its rarity, increased if the word is repeated. The shorter a text is, the
    shorter its vector: two headlines of four words that share one of them aren't 50% alike.
    """
    weights = dict(rarities)
    for word, count in word_counts.items():
        if count > 1:
            weights[word] *= 1 + math.log(count)
    squares = math.fsum([w * w for w in weights.values()])
    length = math.sqrt(squares + UNSAID_WEIGHT)
    return {word: w / length for word, w in weights.items()}


@dataclass(frozen=True, slots=True)
class ArticleText:
    """The features of an article's text that selection uses.

    `is_bare` is true if the summary adds almost nothing to the title.
    """

    vector: WordVector
    title_words: frozenset[str]
    rare_words: frozenset[str]
    is_bare: bool


class TextVectorizer:
    """A cache of article texts and their word vectors, used for one proposal."""

    def __init__(self, rarity: WordRarity | None = None) -> None:
        """Initialize from word rarities, by default those in the shipped table."""
        self._rarity = rarity or load_shipped_rarity()
        self._texts: dict[tuple[str, str], ArticleText] = {}

    def read_text(self, title: str, summary: str) -> ArticleText:
        """Return the word vector and other features of an article's title and summary."""
        text = self._texts.get((title, summary))
        if text is None:
            text = self._analyze_text([*significant_words(title)], [*significant_words(summary)])
            self._texts[title, summary] = text
        return text

    def pick_rare_words(self, words: Iterable[str]) -> frozenset[str]:
        """Return those of the given folded words that are rare enough to be names."""
        rarities = self._rarity.weigh_words(dict.fromkeys(words))
        return frozenset(word for word, weight in rarities.items() if weight >= MIN_NAME_WEIGHT)

    def _analyze_text(self, title: Sequence[str], summary: Sequence[str]) -> ArticleText:
        counts = count_weighted_words(title, summary[:MAX_SUMMARY_WORDS])
        rarities = self._rarity.weigh_words(counts)
        return ArticleText(
            vector=weigh_words(counts, rarities),
            title_words=frozenset(title),
            rare_words=frozenset([word for word, weight in rarities.items() if weight >= RARE_WORD_WEIGHT]),
            is_bare=len(counts) - len(set(title)) < MIN_SUMMARY_WORDS,
        )


def cosine_similarity(first: WordVector, other: WordVector) -> float:
    """Return the dot product of two vectors.

    For vectors of length 1, it's the cosine. For sums of vectors, it's the total over all pairs.
    Since `fsum` rounds only once, the result doesn't depend on the order of words or texts.
    """
    shared = first.keys() & other.keys()
    return math.fsum([first[word] * other[word] for word in shared])


def sum_vectors(vectors: Iterable[WordVector]) -> WordVector:
    """Return the sum of vectors, added in the given order."""
    remaining = iter(vectors)
    total = dict(next(remaining, {}))
    for vector in remaining:
        for word, weight in vector.items():
            total[word] = total.get(word, 0.0) + weight
    return total


def find_centroid(vectors: Iterable[WordVector]) -> WordVector:
    """Return the sum of vectors, scaled to length 1, so that closeness to it doesn't depend on their number."""
    total = sum_vectors(vectors)
    length = math.sqrt(math.fsum([w * w for w in total.values()])) or 1.0
    return {word: weight / length for word, weight in total.items()}


def distinct_words(*texts: str) -> frozenset[str]:
    """Return the distinct significant words of the texts."""
    return frozenset(chain.from_iterable(map(significant_words, texts)))


def jaccard_overlap(first: frozenset[str], other: frozenset[str]) -> float:
    """Return the Jaccard index of two sets of words, from 0 to 1, or 0 if both are empty."""
    both = len(first & other)
    either = len(first) + len(other) - both
    return both / either if either else 0.0


def are_texts_near_duplicates(first: str, other: str, min_overlap: float = 0.85) -> bool:
    """Return True if two texts differ only slightly.

    Their words must overlap enough, and their numbers and CVE IDs must be the same.
    """
    return are_word_sets_near_duplicates(distinct_words(first), distinct_words(other), min_overlap)


def are_word_sets_near_duplicates(first: frozenset[str], other: frozenset[str], min_overlap: float = 0.85) -> bool:
    """Return True if two sets of significant words overlap enough and have the same numbers."""
    return jaccard_overlap(first, other) >= min_overlap and _words_with_digits(first) == _words_with_digits(other)


def _words_with_digits(words: frozenset[str]) -> frozenset[str]:
    return frozenset(word for word in words if any(ch.isdigit() for ch in word))
