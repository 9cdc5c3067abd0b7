"""Average linkage over texts: which articles tell the same news.

Two articles of one publisher say nothing about each other here: a publisher gives one house style to different news
("CISA Adds One Known Exploited Vulnerability to Catalog", 149 times), so the mean likeness of two clusters is taken
over the pairs of different publishers only. Such articles meet in a story where others' articles tie both to it.

The mean over all pairs of two clusters is the product of their sums of vectors, so it is exact and costs one product.
Only pairs that share a telling word are looked at; the work grows with the articles, not with their square.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from digest.select.words import Vector, likeness, overlap

PROBES = 12  # a text's heaviest words, by which partners are sought
NEAREST = (
    40  # texts with that word looked at, the nearest in time; more changes no story of the measured week
)
MEASURED = 24  # of those, the likeliest measured exactly; fewer where all texts are alike would lose partners
PARTNERS = (
    10  # pairs kept for a text, the likest earlier ones: bounds the work where all texts are much alike
)
LARGEST = 200  # articles in one cluster
FOLLOW_UP = 0.6  # titles of one publisher that overlap so much are a series, not one story


@dataclass(frozen=True, slots=True)
class Text:
    """What linkage knows of one article; `at` is in seconds, `title` its words."""

    publisher: str
    at: float
    vector: Vector
    title: frozenset[str]


def near_pairs(texts: Sequence[Text], least: float) -> Iterator[tuple[int, int, float]]:
    """Give pairs (earlier, later, likeness) of at least that likeness. `texts` stand in order of time.

    A text's pairs within its publisher do not crowd out those with others: each kind has its own bound.
    """
    holders: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for here, text in enumerate(texts):
        likely = _likely(text, holders, least)
        for word, weight in text.vector.items():
            holders[word].append((here, weight))
        others = [n for n in likely if texts[n].publisher != text.publisher]
        same = [n for n in likely if texts[n].publisher == text.publisher]
        for there, like in [*_likest(text, texts, others[:MEASURED]), *_likest(text, texts, same[:MEASURED])]:
            if like >= least:
                yield there, here, like


def _likely(text: Text, holders: Mapping[str, Sequence[tuple[int, float]]], least: float) -> list[int]:
    """Give the earlier texts that share the most of this one's heaviest words, the likeliest first."""
    shared: dict[int, float] = {}
    heaviest = sorted(text.vector.items(), key=lambda item: (-item[1], item[0]))
    for word, weight in heaviest[:PROBES]:
        for there, other in holders.get(word, ())[-NEAREST:]:
            shared[there] = shared.get(there, 0.0) + weight * other
    # the heaviest words hold most of a likeness: with less than half by them the whole is not reached
    return sorted((n for n, part in shared.items() if part >= least / 2), key=lambda n: (-shared[n], n))


def _likest(text: Text, texts: Sequence[Text], places: Iterable[int]) -> list[tuple[int, float]]:
    measured = [(there, likeness(texts[there].vector, text.vector)) for there in places]
    return sorted(measured, key=lambda pair: (-pair[1], pair[0]))[:PARTNERS]


@dataclass(slots=True)
class _Cluster:
    members: list[int]
    total: Vector
    by_publisher: dict[str, tuple[Vector, list[int]]]
    first: float
    last: float

    def joined(self, other: "_Cluster") -> "_Cluster":
        by_publisher = dict(self.by_publisher)
        for name, (total, members) in other.by_publisher.items():
            mine = by_publisher.get(name)
            by_publisher[name] = (_sum(mine[0], total), mine[1] + members) if mine else (total, members)
        return _Cluster(
            self.members + other.members,
            _sum(self.total, other.total),
            by_publisher,
            min(self.first, other.first),
            max(self.last, other.last),
        )

    def likeness(self, other: "_Cluster") -> float:
        """Give the mean over the pairs of different publishers; 0 where there are none."""
        total = likeness(self.total, other.total)
        pairs = len(self.members) * len(other.members)
        for name, (mine, members) in self.by_publisher.items():
            if name in other.by_publisher:
                theirs, others = other.by_publisher[name]
                total -= likeness(mine, theirs)
                pairs -= len(members) * len(others)
        return total / pairs if pairs else 0.0


def _sum(one: Vector, other: Vector) -> Vector:
    total = dict(one)
    for word, weight in other.items():
        total[word] = total.get(word, 0.0) + weight
    return total


@dataclass(frozen=True, slots=True)
class Rules:
    """When two clusters may become one: mean likeness, and seconds from the first article to the last."""

    threshold: float
    span: float


class Linkage:
    """One run of agglomeration: `pairs` are likenesses of articles of different publishers."""

    def __init__(self, texts: Sequence[Text], pairs: Sequence[tuple[int, int, float]], rules: Rules) -> None:
        """Begin with each article alone."""
        self._texts = texts
        self._rules = rules
        self._clusters = {
            n: _Cluster([n], t.vector, {t.publisher: (t.vector, [n])}, t.at, t.at)
            for n, t in enumerate(texts)
        }
        self._near: dict[int, set[int]] = defaultdict(set)
        self._heap = [(-like, one, other) for one, other, like in pairs if like >= rules.threshold]
        for _, one, other in self._heap:
            self._near[one].add(other)
            self._near[other].add(one)
        heapq.heapify(self._heap)

    def run(self) -> list[list[int]]:
        """Join the likest clusters until none are like enough; ties go to those that stood first."""
        new = len(self._texts)
        while self._heap:
            _, one, other = heapq.heappop(self._heap)
            if one in self._clusters and other in self._clusters and self._may_join(one, other):
                self._join(one, other, new)
                new += 1
        return [cluster.members for _, cluster in sorted(self._clusters.items())]

    def _may_join(self, one: int, other: int) -> bool:
        a, b = self._clusters[one], self._clusters[other]
        return (
            max(a.last, b.last) - min(a.first, b.first) <= self._rules.span
            and len(a.members) + len(b.members) <= LARGEST
            and not self._holds_series(a, b)
        )

    def _holds_series(self, a: _Cluster, b: _Cluster) -> bool:
        return any(
            overlap(self._texts[mine].title, self._texts[theirs].title) >= FOLLOW_UP
            for name, (_, members) in a.by_publisher.items()
            if name in b.by_publisher
            for mine in members
            for theirs in b.by_publisher[name][1]
        )

    def _join(self, one: int, other: int, new: int) -> None:
        cluster = self._clusters.pop(one).joined(self._clusters.pop(other))
        self._clusters[new] = cluster
        near = {n for n in self._near.pop(one) | self._near.pop(other) if n in self._clusters}
        self._near[new] = near
        for n in sorted(near):
            self._near[n].add(new)
            if (like := cluster.likeness(self._clusters[n])) >= self._rules.threshold:
                heapq.heappush(self._heap, (-like, n, new))
