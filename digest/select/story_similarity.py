"""Similarity of stories, and a story's related earlier articles."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from digest.select import text_similarity
from digest.select.penalties import find_penalties, is_sentence_title, is_title_repeated
from digest.select.selection_types import CandidateArticle, ScoredStory, Story
from digest.select.stories import order_by_text

SAME_MATTER_FACTOR = 1.2  # multiplies `same_story`: minimum similarity of stories on one matter that share a rare name
SAME_NEWS_FACTOR = 1.9  # multiplies `same_story`: the same for stories that share no rare name
MIN_NAME_LENGTH = 4  # minimum length; shorter words are titles and abbreviations ("Gov", "Rep")
MIN_NAME_ARTICLES = 2  # minimum number of a story's articles that contain a name that the story is about
MIN_NAME_SHARE = 0.15  # minimum share of a story's articles that contain such a name
SAME_TOPIC_SIMILARITY = 0.3  # minimum similarity assumed for two stories on one topic, for variety
MAX_RELATED = 3
# Minimum similarity of an earlier article to a story's centroid. Lower values were noise in the
# week that was measured.
MIN_RELATED_SIMILARITY = 0.28
SAME_TITLE_OVERLAP = 0.8  # minimum word overlap of two titles that say the same
_PROBE_WORDS = 12  # number of a story's words used to find earlier articles
_MAX_CENTROID_ARTICLES = 20  # maximum number of articles used for a centroid; more make little difference


class StorySimilarity:
    """A cache of similarities among the articles of one proposal."""

    def __init__(self, reader: text_similarity.TextVectorizer, threshold: float) -> None:
        """Initialize from a vectorizer and the `same_story` threshold."""
        self._reader = reader
        self._same_matter_threshold = min(SAME_MATTER_FACTOR * threshold, 0.95)
        self._same_news_threshold = min(SAME_NEWS_FACTOR * threshold, 0.95)
        self._centroids: dict[str, text_similarity.WordVector] = {}
        self._rare_names: dict[str, frozenset[str]] = {}

    def centroid(self, story: Story) -> text_similarity.WordVector:
        """Return the centroid of a story's articles as a vector of length 1."""
        if story.lead.url not in self._centroids:
            vectors = map(self.article_vector, story.members[:_MAX_CENTROID_ARTICLES])
            self._centroids[story.lead.url] = text_similarity.find_centroid(vectors)
        return self._centroids[story.lead.url]

    def title_words(self, article: CandidateArticle) -> frozenset[str]:
        """Return the significant words of an article's title."""
        return self._reader.read_text(article.title, article.summary).title_words

    def article_vector(self, article: CandidateArticle) -> text_similarity.WordVector:
        """Return an article's word vector, whose length is below 1."""
        return self._reader.read_text(article.title, article.summary).vector

    def order_leads(self, articles: Sequence[CandidateArticle]) -> list[CandidateArticle]:
        """Return articles of one story by how well they would lead it, best first."""
        return order_by_text(articles, [self.article_vector(article) for article in articles])

    def compare_stories(self, first: ScoredStory, other: ScoredStory) -> float:
        """Return how similar two stories seem to readers, from 0 to 1.

        The similarity is based on their words, and at least `SAME_TOPIC_SIMILARITY` if they have
        the same topic.
        """
        words = text_similarity.cosine_similarity(self.centroid(first.story), self.centroid(other.story))
        return max(words, SAME_TOPIC_SIMILARITY) if first.topic and first.topic == other.topic else words

    def find_same_matter(self, scored: ScoredStory, placed: Iterable[ScoredStory]) -> ScoredStory | None:
        """Return the most similar placed story about the same matter, or None."""
        return self._find_nearest(scored, placed, self._same_matter_threshold)

    def find_same_news(self, scored: ScoredStory, placed: Iterable[ScoredStory]) -> ScoredStory | None:
        """Return the most similar placed story with nearly the same news, or None."""
        return self._find_nearest(scored, placed, self._same_news_threshold)

    def _find_nearest(
        self, scored: ScoredStory, placed: Iterable[ScoredStory], min_similarity: float
    ) -> ScoredStory | None:
        centroid = self.centroid(scored.story)
        nearest, highest = None, min_similarity
        for other in sorted(placed, key=lambda p: p.story.lead.url):
            similarity = text_similarity.cosine_similarity(centroid, self.centroid(other.story))
            if similarity >= highest and self._is_one_matter(scored, other, similarity):
                nearest, highest = other, similarity
        return nearest

    def _is_one_matter(self, scored: ScoredStory, other: ScoredStory, similarity: float) -> bool:
        """Return True if two similar stories are about the same matter.

        They must not be in different places, and they must be nearly the same or share a rare name.
        """
        if scored.places.is_elsewhere(other.places):
            return False
        is_near = similarity >= self._same_news_threshold
        return is_near or self.share_rare_name(scored.story, other.story)

    def share_rare_name(self, story: Story, other: Story) -> bool:
        """Return True if two stories share a rare name."""
        return not self.find_rare_names(story).isdisjoint(self.find_rare_names(other))

    def find_rare_names(self, story: Story) -> frozenset[str]:
        """Return the rare names in a story's articles: rare words that are never in lower case."""
        if story.lead.url not in self._rare_names:
            texts = [text for a in story.members[:_MAX_CENTROID_ARTICLES] for text in (a.title, a.summary)]
            rare = self._reader.pick_rare_words(text_similarity.find_capitalized_words(texts))
            self._rare_names[story.lead.url] = frozenset(name for name in rare if len(name) >= MIN_NAME_LENGTH)
        return self._rare_names[story.lead.url]

    def find_telling_names(self, story: Story) -> frozenset[str]:
        """Return the rare names found in several of a story's articles.

        This excludes names that are only mentioned in passing.
        """
        vectors = [self.article_vector(a) for a in story.members[:_MAX_CENTROID_ARTICLES]]
        least = max(MIN_NAME_ARTICLES, MIN_NAME_SHARE * len(vectors))
        return frozenset(n for n in self.find_rare_names(story) if sum(n in vector for vector in vectors) >= least)


def find_related_articles(
    placed: Sequence[ScoredStory], earlier: Iterable[CandidateArticle], similarity: StorySimilarity
) -> dict[str, tuple[CandidateArticle, ...]]:
    """Return up to three earlier articles for each story, newest first, keyed by the lead's URL.

    Each article shares a rare name with its story. Posts, whose titles are sentences, are excluded.

    Args:
        placed: the edition's stories; those earlier in the list choose first.
        earlier: articles that aren't in the edition; each is used at most once.
        similarity: the similarities among this proposal's articles.
    """
    centroids = {p.url: similarity.centroid(p.story) for p in placed}
    heaviest = {url: _heaviest_words(centroid) for url, centroid in centroids.items()}
    telling = {word for words in heaviest.values() for word in words}
    pool = _RelatedPool(earlier, telling, similarity)
    related = {}
    for scored in placed:
        url = scored.url
        related[url] = pool.take_related(scored.story, heaviest[url], centroids[url])
    return related


def _heaviest_words(vector: text_similarity.WordVector) -> list[str]:
    ordered = sorted(vector, key=lambda word: (-vector[word], word))
    return ordered[:_PROBE_WORDS]


def _latest_by_url(articles: Iterable[CandidateArticle]) -> list[CandidateArticle]:
    """Return the latest article for each URL, sorted by date and URL, regardless of the input's order."""
    by_url: dict[str, list[CandidateArticle]] = defaultdict(list)
    for article in articles:
        by_url[article.url].append(article)
    latest = map(_latest_article, by_url.values())
    return sorted(latest, key=lambda a: (a.dated_at, a.url))


def _latest_article(repeated: Sequence[CandidateArticle]) -> CandidateArticle:
    if len(repeated) == 1:  # `repr` is slow
        return repeated[0]
    return max(repeated, key=lambda a: (a.dated_at, repr(a)))


def _repeats_news(article: CandidateArticle, story: Story) -> bool:
    """Return True if an article says the same as one of a story's articles.

    An article older than the story is background, and doesn't count.
    """
    first = min(member.dated_at for member in story.members)
    return article.dated_at >= first and is_title_repeated(article.title, (member.title for member in story.members))


class _RelatedPool:
    """The earlier articles, indexed by the distinctive words of the edition's stories."""

    def __init__(
        self, earlier: Iterable[CandidateArticle], telling_words: set[str], similarity: StorySimilarity
    ) -> None:
        self._similarity = similarity
        self._articles = [
            a
            for a in _latest_by_url(earlier)
            if a.has_date and not find_penalties(a) and not is_sentence_title(a.title)
        ]
        self._vectors: dict[int, text_similarity.WordVector] = {}
        self._articles_by_word: dict[str, list[int]] = defaultdict(list)
        self._offered: set[int] = set()
        for n, article in enumerate(self._articles):
            vector = similarity.article_vector(article)
            words = vector.keys() & telling_words
            if words:
                self._vectors[n] = vector
            for word in words:
                self._articles_by_word[word].append(n)

    def take_related(
        self, story: Story, heaviest_words: Sequence[str], centroid: text_similarity.WordVector
    ) -> tuple[CandidateArticle, ...]:
        near = {n for word in heaviest_words for n in self._articles_by_word[word]} - self._offered
        latest = story.lead.dated_at
        earlier = [n for n in sorted(near) if self._articles[n].dated_at < latest]
        alike = [(text_similarity.cosine_similarity(centroid, self._vectors[n]), n) for n in earlier]
        best = sorted((pair for pair in alike if pair[0] >= MIN_RELATED_SIMILARITY), reverse=True)
        shared = [n for _, n in best if self._similarity.share_rare_name(story, Story(self._articles[n]))]
        new = [n for n in shared if not _repeats_news(self._articles[n], story)]
        chosen = self._skip_similar_titles(new, story)
        self._offered.update(chosen)
        return tuple(self._articles[n] for n in sorted(chosen, reverse=True))

    def _skip_similar_titles(self, places: Iterable[int], story: Story) -> list[int]:
        """Return the first three articles whose titles don't repeat the lead's or each other's."""
        titles = [text_similarity.distinct_words(story.lead.title)]
        chosen: list[int] = []
        for n in places:
            title = text_similarity.distinct_words(self._articles[n].title)
            if len(chosen) < MAX_RELATED and not any(
                text_similarity.jaccard_overlap(title, t) >= SAME_TITLE_OVERLAP for t in titles
            ):
                chosen.append(n)
                titles.append(title)
        return chosen
