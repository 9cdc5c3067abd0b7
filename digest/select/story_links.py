"""Editors' decisions about stories, as sets of articles that grouping must keep together or apart."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain


@dataclass(frozen=True, slots=True)
class StoryGroupingDecision:
    """One decision of an editor, by the articles' canonical URLs.

    Without `apart_from`, the articles of `urls` are one story. With it, none of them is in a story with any article of
    `apart_from`, and `is_split` is true if they were all in one story until then.
    """

    urls: frozenset[str]
    apart_from: frozenset[str] = frozenset()
    is_split: bool = False


@dataclass(frozen=True, slots=True)
class ArticleLinks:
    """Decisions without contradictions, by article index: sets to group, and for each article, those to keep apart."""

    together: tuple[tuple[int, ...], ...]
    apart: Mapping[int, frozenset[int]]

    @property
    def places(self) -> frozenset[int]:
        """All articles that a decision names."""
        return frozenset({place for group in self.together for place in group} | self.apart.keys())


def resolve_links(links: Sequence[StoryGroupingDecision], urls: Sequence[str]) -> ArticleLinks:
    """Return decisions as sets of indices into `urls`; if two contradict each other, the later one applies.

    Unknown URLs are ignored, so that a decision outlives its articles.

    Args:
        links: the decisions, in chronological order.
        urls: the articles' canonical URLs, each once.
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
    """Collects decisions, latest first, without the parts that contradict decisions already taken."""

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
