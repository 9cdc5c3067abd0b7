"""Editors' decisions about stories, as sets of articles to keep together or apart."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain


@dataclass(frozen=True, slots=True)
class StoryGroupingDecision:
    """An editor's decision on grouping, with articles identified by their canonical URLs.

    Without `apart_from`, the articles in `urls` are one story. Otherwise, none of them may be in a
    story with an article in `apart_from`, and `is_split` is true if they had all been in one story.
    """

    urls: frozenset[str]
    apart_from: frozenset[str] = frozenset()
    is_split: bool = False


@dataclass(frozen=True, slots=True)
class ArticleLinks:
    """Decisions without contradictions, by article index.

    `together` has the sets to group, and `apart` has the articles to keep apart from each article.
    """

    together: tuple[tuple[int, ...], ...]
    apart: Mapping[int, frozenset[int]]

    @property
    def places(self) -> frozenset[int]:
        """The indices of all articles that a decision affects."""
        return frozenset({place for group in self.together for place in group} | self.apart.keys())


def resolve_links(links: Sequence[StoryGroupingDecision], urls: Sequence[str]) -> ArticleLinks:
    """Convert decisions to sets of indices into `urls`. Later decisions override earlier ones.

    Unknown URLs are ignored, so that a decision can outlive its articles.

    Args:
        links: the decisions, in chronological order.
        urls: the articles' canonical URLs, without duplicates.
    """
    place_of = {url: place for place, url in enumerate(urls)}
    resolved = _LinkResolution()
    for link in reversed(links):
        ours = sorted(place_of[url] for url in link.urls if url in place_of)
        if link.apart_from:
            resolved.keep_apart(ours, sorted(place_of[url] for url in link.apart_from if url in place_of))
        else:
            resolved.keep_together(ours)
    return resolved.finish()


class _LinkResolution:
    """A collection of decisions, added latest first.

    Parts that contradict a decision already added are dropped.
    """

    def __init__(self) -> None:
        self._group_of: dict[int, set[int]] = {}
        self._apart: dict[int, set[int]] = {}

    def keep_together(self, places: Sequence[int]) -> None:
        for place in places[1:]:
            mine, other = self._group(places[0]), self._group(place)
            if mine is not other and not self._are_apart(mine, other):
                mine |= other
                self._group_of.update(dict.fromkeys(other, mine))

    def keep_apart(self, ours: Iterable[int], theirs: Collection[int]) -> None:
        for our_place in ours:
            for their_place in theirs:
                if their_place not in self._group(our_place):
                    self._apart.setdefault(our_place, set()).add(their_place)
                    self._apart.setdefault(their_place, set()).add(our_place)

    def finish(self) -> ArticleLinks:
        linked = [group for group in self._group_of.values() if len(group) > 1]
        groups = {tuple(sorted(group)) for group in linked}
        apart = {place: frozenset(others) for place, others in sorted(self._apart.items())}
        return ArticleLinks(tuple(sorted(groups)), apart)

    def _group(self, place: int) -> set[int]:
        return self._group_of.setdefault(place, {place})

    def _are_apart(self, mine: Iterable[int], other: Collection[int]) -> bool:
        kept_apart = chain.from_iterable(self._apart.get(place, ()) for place in mine)
        return not set(kept_apart).isdisjoint(other)
