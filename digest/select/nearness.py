"""How near stories are to each other, and which earlier articles belong beside them."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from digest.select.kinds import faults
from digest.select.values import Candidate, Scored, Story
from digest.select.words import Lexicon, Vector, add, counts, likeness, overlap, title_words

SAME_MATTER = 1.5  # times `same_story`: stories so near (by their middles) are pieces of one matter
SAME_TOPIC = 0.3  # how alike two stories of one topic count at least, when variety is weighed
MOST_RELATED = 3
RELATED_LEAST = (
    0.28  # likeness of an earlier article to the middle of a story; below it the measured week gave noise
)
SAME_TITLE = 0.8  # of the words of two titles, for them to say the same
_HEAVIEST = 12  # words of a story by which earlier articles are sought
_MIDDLE_OF = 20  # articles of a story that make its middle; more move it little


class Nearness:
    """Measures nearness among the articles of one choice. Keeps what it has measured; lives as long as the choice."""

    def __init__(self, articles: Iterable[Candidate], threshold: float) -> None:
        """Learn from the articles how rare each word is."""
        self._lexicon = Lexicon(counts(a.title, a.summary) for a in articles)
        self._matter = min(SAME_MATTER * threshold, 0.95)
        self._middles: dict[str, Vector] = {}

    def middle(self, story: Story) -> Vector:
        """Give the middle of a story's articles as a vector of length 1."""
        if story.lead.url not in self._middles:
            total = add(self.vector(a) for a in story.members[:_MIDDLE_OF])
            length = math.sqrt(math.fsum(w * w for w in total.values())) or 1.0
            self._middles[story.lead.url] = {word: w / length for word, w in total.items()}
        return self._middles[story.lead.url]

    def vector(self, article: Candidate) -> Vector:
        """Give an article as a vector of length 1."""
        return self._lexicon.vector(counts(article.title, article.summary))

    def alike(self, one: Scored, other: Scored) -> float:
        """Say how alike two stories are to a reader, 0 to 1: by their words, or by their topic."""
        words = likeness(self.middle(one.story), self.middle(other.story))
        return max(words, SAME_TOPIC) if one.topic and one.topic == other.topic else words

    def same_matter(self, scored: Scored, placed: Iterable[Scored]) -> Scored | None:
        """Find the placed story of whose matter this is one more piece."""
        mine = self.middle(scored.story)
        near = ((likeness(mine, self.middle(p.story)), p) for p in placed)
        like, found = max(near, key=lambda pair: (pair[0], pair[1].story.lead.url), default=(0.0, None))
        return found if like >= self._matter else None


def related(
    placed: Sequence[Scored], earlier: Iterable[Candidate], nearness: Nearness
) -> dict[str, tuple[Candidate, ...]]:
    """Find up to three earlier articles for each story, by the lead's URL, the newest first.

    Args:
        placed: the stories of the edition, in the order in which they may choose.
        earlier: articles that are not in the edition; each is offered once at most.
        nearness: measured over this choice's articles.
    """
    heaviest = {p.story.lead.url: _heaviest(nearness.middle(p.story)) for p in placed}
    telling = {word for words in heaviest.values() for word in words}
    pool = _Pool(earlier, telling, nearness)
    return {
        p.story.lead.url: pool.take(p.story, heaviest[p.story.lead.url], nearness.middle(p.story))
        for p in placed
    }


def _heaviest(vector: Vector) -> list[str]:
    ordered = sorted(vector.items(), key=lambda item: (-item[1], item[0]))
    return [word for word, _ in ordered[:_HEAVIEST]]


class _Pool:
    """The earlier articles, found by the words that tell something of the edition's stories."""

    def __init__(self, earlier: Iterable[Candidate], telling: set[str], nearness: Nearness) -> None:
        by_url = {a.url: a for a in sorted(earlier, key=lambda a: (a.dated_at, a.url, repr(a)))}
        self._articles = [a for a in by_url.values() if a.dated and not faults(a)]
        self._vectors: dict[int, Vector] = {}
        self._holders: dict[str, list[int]] = defaultdict(list)
        self._given: set[int] = set()
        for n, article in enumerate(self._articles):
            words = counts(article.title, article.summary).keys() & telling
            if words:
                self._vectors[n] = nearness.vector(article)
            for word in words:
                self._holders[word].append(n)

    def take(self, story: Story, heaviest: Sequence[str], middle: Vector) -> tuple[Candidate, ...]:
        near = {n for word in heaviest for n in self._holders[word]} - self._given
        fit = [n for n in sorted(near) if self._articles[n].dated_at < story.lead.dated_at]
        alike = [(likeness(middle, self._vectors[n]), n) for n in fit]
        best = sorted(
            (pair for pair in alike if pair[0] >= RELATED_LEAST), key=lambda pair: (-pair[0], -pair[1])
        )
        chosen = self._with_new_titles([n for _, n in best], story)
        self._given.update(chosen)
        return tuple(self._articles[n] for n in sorted(chosen, reverse=True))

    def _with_new_titles(self, places: Iterable[int], story: Story) -> list[int]:
        """Take the first few, leaving out what says the same as the lead or as one taken."""
        titles = [title_words(story.lead.title)]
        chosen: list[int] = []
        for n in places:
            title = title_words(self._articles[n].title)
            if len(chosen) < MOST_RELATED and not any(overlap(title, t) >= SAME_TITLE for t in titles):
                chosen.append(n)
                titles.append(title)
        return chosen
