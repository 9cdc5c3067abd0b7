"""Average linkage over texts: which articles tell the same news.

Two articles of one publisher say nothing about each other here: a publisher gives one house style to different news
("CISA Adds One Known Exploited Vulnerability to Catalog", 149 times), so the mean similarity of two clusters is taken
over the pairs of different publishers only. Such articles meet in a story where others' articles tie both to it.

The mean over all pairs of two clusters is the product of their sums of vectors, so it is exact and costs one product.
Only pairs that share a telling word are looked at; the work grows with the articles, not with their square.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from digest.select.text_similarity import WordVector, cosine_similarity, jaccard_overlap, sum_vectors

PROBE_WORDS = 12  # a text's heaviest words, by which partners are sought
# Texts with one of those words that are compared, the nearest in time; more changes no story of the measured week.
MAX_TEXTS_PER_WORD = 40
# of those, the most probable measured exactly; fewer where all texts are alike would lose partners
MAX_MEASURED_PAIRS = 24
# pairs kept for a text, the most similar earlier ones: bounds the work where all texts are much alike
MAX_PARTNERS = 10
MAX_CLUSTER_SIZE = 200  # articles in one cluster
SERIES_TITLE_OVERLAP = 0.6  # titles of one publisher that overlap so much are a series, not one story


@dataclass(frozen=True, slots=True)
class ClusterText:
    """What linkage knows of one article; `timestamp` is in seconds, `title_words` its words."""

    publisher: str
    timestamp: float
    vector: WordVector
    title_words: frozenset[str]


def find_similar_pairs(texts: Sequence[ClusterText], min_similarity: float) -> Iterator[tuple[int, int, float]]:
    """Return pairs (earlier, later, similarity) of at least that similarity. `texts` stand in order of time.

    A text's pairs within its publisher do not crowd out those with others: each kind has its own bound.
    """
    holders: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for number, text in enumerate(texts):
        likely = _likely_partners(text, holders, min_similarity)
        for word, weight in text.vector.items():
            holders[word].append((number, weight))
        others = [n for n in likely if texts[n].publisher != text.publisher]
        same = [n for n in likely if texts[n].publisher == text.publisher]
        for earlier, similarity in [
            *_most_similar(text, texts, others[:MAX_MEASURED_PAIRS]),
            *_most_similar(text, texts, same[:MAX_MEASURED_PAIRS]),
        ]:
            if similarity >= min_similarity:
                yield earlier, number, similarity


def _likely_partners(
    text: ClusterText, texts_by_word: Mapping[str, Sequence[tuple[int, float]]], min_similarity: float
) -> list[int]:
    """Return the earlier texts that share the most of this one's heaviest words, the likeliest first."""
    shared: dict[int, float] = {}
    heaviest = sorted(text.vector.items(), key=lambda item: (-item[1], item[0]))
    for word, weight in heaviest[:PROBE_WORDS]:
        for number, other_weight in texts_by_word.get(word, ())[-MAX_TEXTS_PER_WORD:]:
            shared[number] = shared.get(number, 0.0) + weight * other_weight
    # the heaviest words hold most of a similarity: with less than half by them the whole is not reached
    return sorted((n for n, part in shared.items() if part >= min_similarity / 2), key=lambda n: (-shared[n], n))


def _most_similar(
    text: ClusterText, texts: Sequence[ClusterText], candidates: Iterable[int]
) -> list[tuple[int, float]]:
    measured = [(number, cosine_similarity(texts[number].vector, text.vector)) for number in candidates]
    return sorted(measured, key=lambda pair: (-pair[1], pair[0]))[:MAX_PARTNERS]


@dataclass(slots=True)
class _ArticleCluster:
    members: list[int]
    vector_sum: WordVector
    by_publisher: dict[str, tuple[WordVector, list[int]]]
    first_at: float
    last_at: float

    def merge_with(self, other: "_ArticleCluster") -> "_ArticleCluster":
        by_publisher = dict(self.by_publisher)
        for name, (total, members) in other.by_publisher.items():
            mine = by_publisher.get(name)
            by_publisher[name] = (sum_vectors((mine[0], total)), mine[1] + members) if mine else (total, members)
        return _ArticleCluster(
            self.members + other.members,
            sum_vectors((self.vector_sum, other.vector_sum)),
            by_publisher,
            min(self.first_at, other.first_at),
            max(self.last_at, other.last_at),
        )

    def mean_similarity(self, other: "_ArticleCluster") -> float:
        """Return the mean over the pairs of different publishers; 0 where there are none."""
        total = cosine_similarity(self.vector_sum, other.vector_sum)
        pairs = len(self.members) * len(other.members)
        for name, (mine, members) in self.by_publisher.items():
            if name in other.by_publisher:
                theirs, others = other.by_publisher[name]
                total -= cosine_similarity(mine, theirs)
                pairs -= len(members) * len(others)
        return total / pairs if pairs else 0.0


@dataclass(frozen=True, slots=True)
class ClusterLimits:
    """When two clusters may become one: mean similarity, and seconds from the first article to the last."""

    min_similarity: float
    max_span: float


class AverageLinkage:
    """One run of agglomeration: `pairs` are similarityes of articles of different publishers."""

    def __init__(
        self, texts: Sequence[ClusterText], pairs: Sequence[tuple[int, int, float]], limits: ClusterLimits
    ) -> None:
        """Begin with each article alone."""
        self._texts = texts
        self._limits = limits
        self._clusters = {
            n: _ArticleCluster([n], t.vector, {t.publisher: (t.vector, [n])}, t.timestamp, t.timestamp)
            for n, t in enumerate(texts)
        }
        self._neighbours: dict[int, set[int]] = defaultdict(set)
        self._heap = [(-like, one, other) for one, other, like in pairs if like >= limits.min_similarity]
        for _, first, other in self._heap:
            self._neighbours[first].add(other)
            self._neighbours[other].add(first)
        heapq.heapify(self._heap)

    def find_clusters(self) -> list[list[int]]:
        """Join the most similar clusters until none are like enough; ties go to those that stood first."""
        new = len(self._texts)
        while self._heap:
            _, first, other = heapq.heappop(self._heap)
            if first in self._clusters and other in self._clusters and self._may_join(first, other):
                self._join_clusters(first, other, new)
                new += 1
        return [cluster.members for _, cluster in sorted(self._clusters.items())]

    def _may_join(self, first: int, other: int) -> bool:
        a, b = self._clusters[first], self._clusters[other]
        return (
            max(a.last_at, b.last_at) - min(a.first_at, b.first_at) <= self._limits.max_span
            and len(a.members) + len(b.members) <= MAX_CLUSTER_SIZE
            and not self._would_hold_series(a, b)
        )

    def _would_hold_series(self, a: _ArticleCluster, b: _ArticleCluster) -> bool:
        return any(
            jaccard_overlap(self._texts[mine].title_words, self._texts[theirs].title_words) >= SERIES_TITLE_OVERLAP
            for name, (_, members) in a.by_publisher.items()
            if name in b.by_publisher
            for mine in members
            for theirs in b.by_publisher[name][1]
        )

    def _join_clusters(self, first: int, other: int, new_number: int) -> None:
        cluster = self._clusters.pop(first).merge_with(self._clusters.pop(other))
        self._clusters[new_number] = cluster
        near = {n for n in self._neighbours.pop(first) | self._neighbours.pop(other) if n in self._clusters}
        self._neighbours[new_number] = near
        for n in sorted(near):
            self._neighbours[n].add(new_number)
            if (similarity := cluster.mean_similarity(self._clusters[n])) >= self._limits.min_similarity:
                heapq.heappush(self._heap, (-similarity, n, new_number))
