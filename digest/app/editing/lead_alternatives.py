"""A story's articles, sorted to help an editor choose a different lead."""

from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from zlib import crc32

from digest.select.selection_types import CandidateArticle, Story
from digest.select.stories import order_by_text
from digest.select.text_similarity import TextVectorizer

MAX_BEST_ARTICLES = 3


@dataclass(frozen=True, slots=True)
class LeadAlternatives:
    """The articles of a story other than its lead.

    `best` are those that would lead it best, and `others` are the rest, newest first. `key` is a
    checksum of the article URLs, so it changes when the articles do.
    """

    best: tuple[CandidateArticle, ...]
    others: tuple[CandidateArticle, ...]
    key: str


@lru_cache(maxsize=16)  # large stories are rendered again on each save of their form
def order_articles(story: Story) -> LeadAlternatives:
    """Return the articles of a story other than its lead, beginning with the best alternatives."""
    reader, members = TextVectorizer(), story.members
    by_rank = order_by_text(members, [reader.read_text(article.title, article.summary).vector for article in members])
    best = [article for article in by_rank if article is not story.lead][:MAX_BEST_ARTICLES]
    others = sorted(members[1:], key=attrgetter("dated_at"), reverse=True)
    key = f"{crc32(' '.join(sorted(article.url for article in members)).encode()):08x}"
    return LeadAlternatives(tuple(best), tuple(article for article in others if article not in best), key)
