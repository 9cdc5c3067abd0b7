"""Average-linkage clustering of articles by text, to find those that report the same news.

Two articles from one publisher aren't compared, because publishers use a house style for different
news ("CISA Adds One Known Exploited Vulnerability to Catalog", 149 times). The mean similarity of
two clusters is therefore computed only over pairs from different publishers. Two articles from one
publisher end up in the same story only if other publishers' articles connect them.

The mean over all pairs of two clusters can be computed exactly from the product of their vector
sums. Only pairs that share a distinctive word are considered, so the work grows with the number of
articles, not with its square.

Average linkage alone splits large stories: the more ways a story is told, the lower the mean
similarity between two of its parts. Therefore, a cluster's threshold falls with the mean similarity
of its own articles, to half at the lowest.

Clusters about different places are kept apart, however similar their wording (two derailments, two
storms). A story that spans several states has a name of its own ("Hurricane Idalia"), so clusters
about different states may be merged if they share a rare name.
"""

import heapq
import math
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from digest.select.places import ArticlePlaces
from digest.select.text_similarity import ArticleText, WordVector, cosine_similarity, jaccard_overlap, sum_vectors

PROBE_WORDS = 12  # number of a text's heaviest words used to find candidate pairs
# Maximum number of texts to compare for each probe word, nearest in time first. A higher limit
# didn't change any story in the week that was measured.
MAX_TEXTS_PER_WORD = 40
# Number of likely pairs whose similarity is computed exactly. A lower limit misses pairs if all
# texts are alike.
MAX_MEASURED_PAIRS = 24
# Number of most similar earlier texts to keep for each text. This bounds the work if all texts are alike.
MAX_PARTNERS = 10
MAX_CLUSTER_SIZE = 400  # maximum number of articles in a cluster
SERIES_TITLE_OVERLAP = 0.6  # minimum title overlap for articles from one publisher to count as a series, not a story
MAX_SERIES_SHARE = 0.2  # share of a publisher's title pairs that may overlap; large stories repeat some titles
MAX_SERIES_TITLES = 20  # number of titles to compare for each publisher and cluster
CASE_WORDS = frozenset(
    """accused alleged allegedly arrest arrested charge charged convicted court guilty indicted jailed judge man murder plead
    pleaded pleading police prison sentence sentenced suspect trial woman""".split()  # noqa: SIM905 - as for stop words
)
BARE_FACTOR = 0.8  # multiplies the threshold for articles without a real summary
MIN_LOOSE_SIZE = 3  # minimum number of articles for a cluster's own similarity to lower its threshold
TIGHT_FACTOR = 2.5  # a cluster is tight if its mean similarity is this multiple of the threshold
MIN_LOOSE_FACTOR = 0.5  # lowest multiple of the threshold that a cluster can get
MIN_STRAY_SIZE = 20  # minimum size of a cluster from which strays are removed
MIN_STRAY_SHARE = 0.6  # minimum similarity of an article to the rest of its cluster, as a share of the mean
MIN_COMMON_SHARE = 1 / 3  # share of the articles naming any place that must name the same place


# Word → the latest texts that contain it, as pairs of a text's index and the word's weight in it.
_Holders = dict[str, deque[tuple[int, float]]]


@dataclass(frozen=True, slots=True)
class ClusterText:
    """The features of an article that clustering uses. `timestamp` is in seconds since the epoch."""

    publisher: str
    timestamp: float
    text: ArticleText


def find_similar_pairs(texts: Sequence[ClusterText], min_similarity: float) -> Iterator[tuple[int, int, float]]:
    """Yield the pairs of texts whose similarity is at least `min_similarity`.

    Each item is the index of the earlier text, the index of the later text, and their similarity.
    `texts` must be sorted by time. Each text is paired only with the earlier texts most similar to
    it. Pairs within a publisher and pairs across publishers are limited separately, so that neither
    kind crowds out the other.
    """
    counts = Counter(chain.from_iterable(text.text.vector for text in texts))
    probes = [_heaviest_shared_words(text.text.vector, counts) for text in texts]
    holders: _Holders = {word: deque(maxlen=MAX_TEXTS_PER_WORD) for word, _ in chain.from_iterable(probes)}
    for number, text in enumerate(texts):
        vector = text.text.vector
        likely = _likely_partners(probes[number], holders, min_similarity)
        for word, weight in vector.items():
            if word in holders:
                holders[word].append((number, weight))
        for partners in _split_by_publisher(text.publisher, texts, likely):
            for earlier, similarity in _most_similar(text, texts, partners[:MAX_MEASURED_PAIRS]):
                if similarity >= min_similarity:
                    yield earlier, number, similarity


def _split_by_publisher(publisher: str, texts: Sequence[ClusterText], numbers: Sequence[int]) -> tuple[list[int], ...]:
    """Split indices into those of other publishers' texts and those of this publisher's."""
    others = [n for n in numbers if texts[n].publisher != publisher]
    return others, [n for n in numbers if texts[n].publisher == publisher]


def _heaviest_shared_words(vector: WordVector, counts: Mapping[str, int]) -> list[tuple[str, float]]:
    """Return a text's heaviest words and their weights, omitting words that occur in no other text."""
    ordered = sorted(sorted(vector), key=vector.__getitem__, reverse=True)
    return [(word, vector[word]) for word in ordered[:PROBE_WORDS] if counts[word] > 1]


def _likely_partners(probe: Sequence[tuple[str, float]], holders: _Holders, min_similarity: float) -> list[int]:
    """Return the earlier texts that share heavy words with a text, likeliest first.

    Args:
        probe: the text's heaviest words that occur in other texts, with their weights.
        holders: for each word, the latest earlier texts that contain it, with its weight in
            each.
        min_similarity: the similarity that a pair must reach.
    """
    shared: dict[int, float] = defaultdict(float)
    for word, weight in probe:
        for number, other_weight in holders[word]:
            shared[number] += weight * other_weight
    # The heaviest words account for most of a similarity. If they add up to less than half of the
    # minimum, the pair can't reach it.
    least = min_similarity / 2
    likely = sorted([(-part, number) for number, part in shared.items() if part >= least])
    return [number for _, number in likely]


def _most_similar(
    text: ClusterText, texts: Sequence[ClusterText], candidates: Iterable[int]
) -> list[tuple[int, float]]:
    measured = [
        (number, similarity)
        for number in candidates
        if (similarity := _compare_texts(texts[number].text, text.text)) is not None
    ]
    measured.sort(key=lambda pair: (-pair[1], pair[0]))
    return measured[:MAX_PARTNERS]


def _compare_texts(first: ArticleText, other: ArticleText) -> float | None:
    """Return the similarity of two texts, or None if they share too few words.

    They must share at least two words or a rare word, not counting the words that all court cases
    share. One common word doesn't make two headlines alike.
    """
    shared = first.vector.keys() & other.vector.keys()
    telling = shared - CASE_WORDS
    if len(telling) < 2 and first.rare_words.isdisjoint(telling):
        return None
    return math.fsum([first.vector[word] * other.vector[word] for word in shared])


@dataclass(slots=True)
class _ArticleCluster:
    """The articles of one story.

    `pair_total` is the total similarity of the `pair_count` pairs of articles from different publishers.
    """

    members: list[int]
    vector_sum: WordVector
    by_publisher: dict[str, tuple[WordVector, list[int]]]
    first_at: float
    last_at: float
    bare_count: int
    apart_from: frozenset[int]
    pair_total: float = 0.0
    pair_count: int = 0

    def merge_with(self, other: "_ArticleCluster") -> "_ArticleCluster":
        by_publisher = dict(self.by_publisher)
        for name, (total, members) in other.by_publisher.items():
            if name in by_publisher:
                own_total, own_members = by_publisher[name]
                by_publisher[name] = (sum_vectors((own_total, total)), own_members + members)
            else:
                by_publisher[name] = (total, members)
        between, pairs = self._compare_publishers(other)
        return _ArticleCluster(
            members=self.members + other.members,
            vector_sum=sum_vectors((self.vector_sum, other.vector_sum)),
            by_publisher=by_publisher,
            first_at=min(self.first_at, other.first_at),
            last_at=max(self.last_at, other.last_at),
            bare_count=self.bare_count + other.bare_count,
            apart_from=self.apart_from | other.apart_from,
            pair_total=self.pair_total + other.pair_total + between,
            pair_count=self.pair_count + other.pair_count + pairs,
        )

    def mean_similarity(self, other: "_ArticleCluster") -> float:
        """Return the mean similarity over pairs from different publishers, or 0 if there are none."""
        total, pairs = self._compare_publishers(other)
        return total / pairs if pairs else 0.0

    def threshold_factor(self, min_similarity: float) -> float:
        """Return the factor, at most 1, by which to multiply this cluster's threshold.

        If a story is told in many ways, its articles are less similar to each other, and further
        articles will be, too. Bare headlines have few words to share.
        """
        bare = 1 - (1 - BARE_FACTOR) * self.bare_count / len(self.members)
        if len(self.members) < MIN_LOOSE_SIZE:
            return bare
        tight = TIGHT_FACTOR * min_similarity
        mean = (self.pair_total + tight) / (self.pair_count + 1)
        return bare * min(1.0, max(MIN_LOOSE_FACTOR, mean / tight))

    def _compare_publishers(self, other: "_ArticleCluster") -> tuple[float, int]:
        """Return the total similarity over pairs from different publishers, and the number of pairs."""
        total = cosine_similarity(self.vector_sum, other.vector_sum)
        pairs = len(self.members) * len(other.members)
        for name, (mine, members) in self.by_publisher.items():
            if name in other.by_publisher:
                theirs, others = other.by_publisher[name]
                total -= cosine_similarity(mine, theirs)
                pairs -= len(members) * len(others)
        return total, pairs


@dataclass(frozen=True, slots=True)
class ClusterLimits:
    """The conditions for merging two clusters.

    Args:
        min_similarity: the minimum mean similarity of two tight clusters.
        max_span: the maximum time from the first article to the last, in seconds.
        together: sets of articles that an editor grouped; these override all other conditions.
        apart: for each article, the articles that an editor separated from it.
        places: for each article, the places it's about.
    """

    min_similarity: float
    max_span: float
    together: Sequence[Collection[int]] = ()
    apart: Mapping[int, frozenset[int]] = field(default_factory=dict)
    places: Mapping[int, ArticlePlaces] = field(default_factory=dict)


class AverageLinkage:
    """One run of agglomerative clustering. `pairs` are similar pairs of articles."""

    def __init__(
        self, texts: Sequence[ClusterText], pairs: Sequence[tuple[int, int, float]], limits: ClusterLimits
    ) -> None:
        """Start with one cluster per article, after merging the articles that an editor grouped."""
        self._texts = texts
        self._limits = limits
        joinable = {n for pair in pairs for n in pair[:2]}.union(*limits.together)
        self._unpaired = [n for n in range(len(texts)) if n not in joinable]
        self._clusters = {n: self._single_cluster(n) for n in sorted(joinable)}
        cluster_of = self._join_demanded()
        clusters = self._clusters.items()
        self._factors = {n: cluster.threshold_factor(limits.min_similarity) for n, cluster in clusters}
        self._neighbors: dict[int, set[int]] = defaultdict(set)
        self._heap: list[tuple[float, int, int]] = []
        for first, second, similarity in pairs:
            self._pair_clusters(cluster_of.get(first, first), cluster_of.get(second, second), similarity)

    def _pair_clusters(self, cluster_a: int, cluster_b: int, similarity: float) -> None:
        """Record two clusters as neighbors, given the similarity of one article from each."""
        first, last = sorted((cluster_a, cluster_b))
        if first == last or last in self._neighbors[first]:
            return
        self._neighbors[first].add(last)
        self._neighbors[last].add(first)
        a, b = self._clusters[first], self._clusters[last]
        is_single = len(a.members) == len(b.members) == 1
        self._offer_join(first, last, similarity if is_single else a.mean_similarity(b))

    def find_clusters(self) -> list[list[int]]:
        """Merge the most similar clusters until none are similar enough, and return the result.

        Each cluster is a list of article indices. Ties go to the earliest pair.
        """
        new = len(self._texts)
        while self._heap:
            _, first, other = heapq.heappop(self._heap)
            if first in self._clusters and other in self._clusters and self._may_join(first, other):
                self._join_clusters(first, other, new)
                new += 1
        members = {n: [n] for n in self._unpaired}
        members |= {n: cluster.members for n, cluster in self._clusters.items()}
        return list(chain.from_iterable(self._separate_strays(members[n]) for n in sorted(members)))

    def _separate_strays(self, members: list[int]) -> Iterator[list[int]]:
        """Yield a cluster without its strays, then each stray as a cluster of its own.

        Strays are articles in a large cluster that have little in common with the rest: its low
        threshold admits articles that only mention its news.
        """
        strays: set[int] = set()
        if len(members) >= MIN_STRAY_SIZE:
            vectors = {n: self._texts[n].text.vector for n in members}
            total = sum_vectors(vectors.values())
            shares = {n: cosine_similarity(v, total) - cosine_similarity(v, v) for n, v in vectors.items()}
            least = MIN_STRAY_SHARE * math.fsum(shares.values()) / len(members)
            strays = {n for n, share in shares.items() if share < least}.difference(*self._limits.together)
        yield [n for n in members if n not in strays]
        yield from ([n] for n in sorted(strays))

    def _single_cluster(self, n: int) -> _ArticleCluster:
        text = self._texts[n]
        return _ArticleCluster(
            members=[n],
            vector_sum=text.text.vector,
            by_publisher={text.publisher: (text.text.vector, [n])},
            first_at=text.timestamp,
            last_at=text.timestamp,
            bare_count=int(text.text.is_bare),
            apart_from=self._limits.apart.get(n, frozenset()),
        )

    def _join_demanded(self) -> dict[int, int]:
        """Merge the articles that an editor grouped, and map each merged article to its new cluster."""
        cluster_of = {}
        for demanded in self._limits.together:
            first, *others = sorted(demanded)
            for n in others:
                self._clusters[first] = self._clusters[first].merge_with(self._clusters.pop(n))
                cluster_of[n] = first
        return cluster_of

    def _offer_join(self, first: int, last: int, mean_similarity: float) -> None:
        """Queue two clusters for merging if they're similar enough.

        Pairs are merged in order of how far they exceed their threshold.
        """
        factor = math.sqrt(self._factors[first] * self._factors[last])
        excess = mean_similarity / (self._limits.min_similarity * factor)
        if excess >= 1:
            heapq.heappush(self._heap, (-excess, first, last))

    def _may_join(self, first: int, other: int) -> bool:
        a, b = self._clusters[first], self._clusters[other]
        span = max(a.last_at, b.last_at) - min(a.first_at, b.first_at)
        return (
            span <= self._limits.max_span
            and len(a.members) + len(b.members) <= MAX_CLUSTER_SIZE
            and a.apart_from.isdisjoint(b.members)
            and not self._are_elsewhere(a, b)
            and not self._would_hold_series(a, b)
        )

    def _are_elsewhere(self, a: _ArticleCluster, b: _ArticleCluster) -> bool:
        """Return True if two clusters name different countries, or different states without a shared rare name."""
        places = [[self._limits.places.get(n, ArticlePlaces()) for n in cluster.members] for cluster in (a, b)]
        if _are_disjoint(*(_common_values([p.countries for p in of_one]) for of_one in places)):
            return True
        if not _are_disjoint(*(_common_values([p.title_states for p in of_one]) for of_one in places)):
            return False
        names = (
            _common_values([self._limits.places[n].names & self._texts[n].text.rare_words for n in cluster.members])
            for cluster in (a, b)
        )
        return next(names).isdisjoint(next(names))

    def _would_hold_series(self, a: _ArticleCluster, b: _ArticleCluster) -> bool:
        """Return True if a publisher's articles in both clusters form a series, because too many titles are alike."""
        pairs = [
            (self._texts[mine].text.title_words, self._texts[theirs].text.title_words)
            for name, (_, members) in a.by_publisher.items()
            if name in b.by_publisher
            for mine in members[:MAX_SERIES_TITLES]
            for theirs in b.by_publisher[name][1][:MAX_SERIES_TITLES]
        ]
        in_series = sum(jaccard_overlap(mine, theirs) >= SERIES_TITLE_OVERLAP for mine, theirs in pairs)
        return in_series > MAX_SERIES_SHARE * len(pairs)

    def _join_clusters(self, first: int, other: int, new_number: int) -> None:
        cluster = self._clusters.pop(first).merge_with(self._clusters.pop(other))
        self._clusters[new_number] = cluster
        self._factors[new_number] = cluster.threshold_factor(self._limits.min_similarity)
        near = self._neighbors.pop(first) | self._neighbors.pop(other)
        near &= self._clusters.keys()
        self._neighbors[new_number] = near
        for n in sorted(near):
            self._neighbors[n].add(new_number)
            self._offer_join(n, new_number, self._clusters[n].mean_similarity(cluster))


def _common_values(sets: Sequence[frozenset[str]]) -> frozenset[str]:
    """Return the values contained in at least a third of the nonempty sets."""
    counts = Counter(chain.from_iterable(sets))
    least = MIN_COMMON_SHARE * sum(map(bool, sets))
    return frozenset(value for value, count in counts.items() if count >= least)


def _are_disjoint(first: frozenset[str], other: frozenset[str]) -> bool:
    """Return True if both sets are nonempty and have no value in common."""
    return bool(first and other) and first.isdisjoint(other)
