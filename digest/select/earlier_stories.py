"""Comparison with earlier editions: articles already used, and stories that continue.

A story continues an earlier edition's story if it's about the same matter but has new articles. It
may appear again only if it has news: an article published after that edition's cutoff that isn't a
repost. A repost has nearly the text of an article from the same publisher, or the same text as
another publisher's article.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import chain

from digest.select.advisories import AdvisoryKind, find_advisory, find_advisory_numbers
from digest.select.selection_types import (
    CandidateArticle,
    Continuation,
    EarlierStory,
    PreviousEditions,
    PreviouslyUsedArticle,
    Story,
    format_edition_name,
)
from digest.select.story_similarity import SAME_TITLE_OVERLAP, StorySimilarity
from digest.select.text_similarity import (
    TextVectorizer,
    are_texts_near_duplicates,
    cosine_similarity,
    distinct_words,
    jaccard_overlap,
    significant_words,
)

CONTINUATION_FACTOR = 2.6  # multiplies `same_story`: minimum similarity of the two stories' centroids
NAMED_CONTINUATION_FACTOR = 2.0  # the same if both contain a rare name that no other large story of the week has
MIN_NAMED_PUBLISHERS = 3  # minimum number of publishers of a large story
MAX_THRESHOLD = 0.95
MIN_SHARED_TITLE_WORDS = 2  # shared title words needed for a detailed comparison
MIN_SHARED_WORDS = 3  # distinctive words that both texts must contain; a town with a two-word name isn't enough
MIN_SERIES_RUN = 4  # consecutive significant words shared by two headlines of a publisher's series
OWN_REPOST_OVERLAP = 0.5  # minimum word overlap of two texts from one publisher for the later to be a repost
SAME_TEXT_OVERLAP = 0.5  # the same, if the titles are also the same
COPY_OVERLAP = 0.85  # minimum word overlap of two publishers' texts for the later to be a copy


@dataclass(frozen=True, slots=True)
class _IndexedArticle:
    article: PreviouslyUsedArticle
    title_words: frozenset[str]


class UsedArticleIndex:
    """An index of the articles that recent editions used, for finding repeats."""

    def __init__(self, previous: PreviousEditions, reader: TextVectorizer) -> None:
        """Index the used articles by URL and by title words. The latest edition takes precedence."""
        self._reader = reader
        self._by_url: dict[str, PreviouslyUsedArticle] = {}
        self._by_word: dict[str, list[_IndexedArticle]] = {}
        # Keep only the articles that `_is_new_text` needs. Sorting makes the result independent of
        # their order if an article has two versions.
        used_urls = {used.url for used in previous.used_stories}
        used_articles = (a for a in previous.earlier_articles if a.url in used_urls)
        self._earlier_articles = {article.url: article for article in sorted(used_articles, key=repr)}
        for used in sorted(previous.used_stories, key=lambda used: used[:3]):
            self._by_url[used.url] = used
            indexed = _IndexedArticle(used, distinct_words(used.title))
            for word in sorted(indexed.title_words):
                self._by_word.setdefault(word, []).append(indexed)

    def explain_repeated_article(self, article: CandidateArticle) -> str:
        """Explain that a recent edition used this article or one with nearly the same title.

        Return an empty string if none did.
        """
        if used := self._by_url.get(article.url) or self._by_url.get(article.link):
            return f"it was in {used.edition_called}"
        words = self._reader.read_text(article.title, article.summary).title_words
        sharing = chain.from_iterable(self._by_word[word] for word in sorted(words & self._by_word.keys()))
        near = dict.fromkeys(sharing)
        alike = [used.article for used in near if self._is_same_title(article, words, used)]
        hits = [used for used in alike if not self._is_new_text(article, used)]
        if not hits:
            return ""
        last = max(hits, key=lambda used: used.edition)
        return f"it was in {last.edition_called} under nearly the same title"

    @staticmethod
    def _is_same_title(article: CandidateArticle, words: frozenset[str], used: _IndexedArticle) -> bool:
        is_near = jaccard_overlap(words, used.title_words) >= SAME_TITLE_OVERLAP
        return is_near and are_texts_near_duplicates(article.title, used.article.title, SAME_TITLE_OVERLAP)

    def _is_new_text(self, article: CandidateArticle, earlier: PreviouslyUsedArticle) -> bool:
        """Return True if a publisher reused an old title for a new text.

        Publishers do so in series ("CISA Adds One Known …").
        """
        old = self._earlier_articles.get(earlier.url)
        if advisory := find_advisory(article):  # agencies reuse titles
            old_advisory = find_advisory(old) if old else None
            return not (old_advisory and old_advisory.numbers & advisory.numbers)
        if old is None or old.publisher != article.publisher or not (old.summary and article.summary):
            return False
        return not are_texts_near_duplicates(old.summary, article.summary, SAME_TEXT_OVERLAP)


class EarlierStoryIndex:
    """An index of the stories of recent editions by the words of their titles."""

    def __init__(
        self, stories: Iterable[EarlierStory], similarity: StorySimilarity, common_names: frozenset[str] = frozenset()
    ) -> None:
        """Index the stories. If two match a new story equally well, the newer edition's is found.

        Args:
            stories: the stories of recent editions.
            similarity: the similarities among this proposal's articles.
            common_names: names that several of this week's stories contain, and so don't
                identify any.
        """
        self._similarity = similarity
        self._common_names = common_names
        stories_with_articles = [story for story in stories if story.articles]
        self._stories = sorted(stories_with_articles, key=lambda story: (story.cut_off, story.headline))
        self._places_by_word: dict[str, set[int]] = defaultdict(set)
        for place, story in enumerate(self._stories):
            titles = {story.headline, *(a.title for a in story.articles)}
            for word in {word for title in titles for word in distinct_words(title)}:
                self._places_by_word[word].add(place)

    def find_continuation(self, story: Story, threshold: float, named_threshold: float) -> Continuation | None:
        """Return the earlier story that a story continues, with the new articles, or None.

        Args:
            story: a story from this edition's window.
            threshold: the minimum similarity of the two stories.
            named_threshold: the minimum if both contain the same rare name.
        """
        near = self._measure_near_stories(story, named_threshold)
        fitting = [
            (similarity, place)
            for similarity, place in near
            if similarity >= threshold or self._share_name(story, self._stories[place])
        ]
        if not fitting:
            return None
        _, place = max(fitting)
        earlier = self._stories[place]
        return Continuation(earlier, tuple(a for a in story.members if is_news_since(a, earlier)))

    def _share_name(self, story: Story, earlier: EarlierStory) -> bool:
        """Return True if both stories contain the same rare name, and it isn't common this week."""
        shared = self._similarity.find_telling_names(story) & self._similarity.find_telling_names(_make_story(earlier))
        return not shared <= self._common_names

    def _measure_near_stories(self, story: Story, threshold: float) -> Iterator[tuple[float, int]]:
        """Yield the similarity and index of each earlier story that may be about the same matter."""
        shared: dict[int, int] = defaultdict(int)
        for word in self._similarity.title_words(story.lead):
            for place in self._places_by_word.get(word, ()):
                shared[place] += 1
        for place in sorted(place for place, count in shared.items() if count >= MIN_SHARED_TITLE_WORDS):
            earlier = self._stories[place]
            middle = self._similarity.centroid(story)
            earlier_middle = self._similarity.centroid(_make_story(earlier))
            similarity = round(cosine_similarity(middle, earlier_middle), 6)
            is_one_matter = similarity >= threshold and len(middle.keys() & earlier_middle.keys()) >= MIN_SHARED_WORDS
            if is_one_matter and not _is_other_issue(story, earlier):
                yield similarity, place


def _make_story(earlier: EarlierStory) -> Story:
    first, *others = earlier.articles
    return Story(first, tuple(others))


def find_continuations(
    stories: Sequence[Story], earlier: Iterable[EarlierStory], similarity: StorySimilarity, same_story: float
) -> dict[str, Continuation]:
    """Return the stories that continue an earlier one, keyed by the URL of the story's lead.

    Args:
        stories: the news stories of this edition's window.
        earlier: the news stories of recent editions.
        similarity: the similarities among this proposal's articles.
        same_story: the setting of that name, which determines the threshold.
    """
    index = EarlierStoryIndex(earlier, similarity, _find_common_names(stories, similarity))
    threshold = min(CONTINUATION_FACTOR * same_story, MAX_THRESHOLD)
    named_threshold = min(NAMED_CONTINUATION_FACTOR * same_story, MAX_THRESHOLD)
    found = {story.lead.url: index.find_continuation(story, threshold, named_threshold) for story in stories}
    return {url: continuation for url, continuation in found.items() if continuation}


def _find_common_names(stories: Iterable[Story], similarity: StorySimilarity) -> frozenset[str]:
    """Return the rare names that several large stories of the week contain, such as "Elon".

    These names don't identify a story.
    """
    large = (s for s in stories if len({a.publisher for a in s.members}) >= MIN_NAMED_PUBLISHERS)
    counts = Counter(chain.from_iterable(similarity.find_rare_names(story) for story in large))
    return frozenset(name for name, count in counts.items() if count > 1)


def explain_repeat(continuation: Continuation) -> str:
    """Explain that a story was left out because it continues an earlier one without news."""
    earlier = continuation.earlier
    called = format_edition_name(earlier.edition, earlier.number)
    return f"it was in {called} as “{earlier.headline},” and there's been no news since"


def is_news_since(article: CandidateArticle, earlier: EarlierStory) -> bool:
    """Return True if an article is news compared to an earlier story.

    It must be dated after that edition's cutoff, and not be a repost. A repost has the URL or
    nearly the text of one of the earlier story's articles.
    """
    if article.dated_at <= earlier.cut_off:
        return False
    if article.url in {old.url for old in earlier.articles}:
        return False
    return not any(_is_repost(article, old) for old in earlier.articles)


def _is_other_issue(story: Story, earlier: EarlierStory) -> bool:
    """Return True if two stories are different issues of a series, or about different numbered matters.

    For example, "CISA adds one known exploited vulnerability to catalog" appears every week and
    reports different news each time.
    """
    numbers, old_numbers = _find_numbers(story.members), _find_numbers(earlier.articles)
    if numbers and old_numbers:
        return not numbers & old_numbers
    if _is_of_series(story.lead) and any(map(_is_of_series, earlier.articles)):
        return True
    headlines = (a.title for a in earlier.articles if a.publisher == story.lead.publisher)
    return any(_longest_shared_run(story.lead.title, old) >= MIN_SERIES_RUN for old in headlines)


def _find_numbers(articles: Iterable[CandidateArticle]) -> frozenset[str]:
    return frozenset(n for a in articles for n in find_advisory_numbers(a))


def _is_of_series(article: CandidateArticle) -> bool:
    """Return True if an article adds to a catalog or lists advisories, so that each one is news."""
    advisory = find_advisory(article)
    return advisory is not None and advisory.kind in {AdvisoryKind.CATALOG, AdvisoryKind.LIST}


def _longest_shared_run(first: str, other: str) -> int:
    """Return the length of the longest run of significant words that both titles contain."""
    words, other_words = (list(significant_words(title)) for title in (first, other))
    match = SequenceMatcher(None, words, other_words, autojunk=False).find_longest_match()
    return match.size


def _is_repost(article: CandidateArticle, old: CandidateArticle) -> bool:
    overlap = OWN_REPOST_OVERLAP if article.publisher == old.publisher else COPY_OVERLAP
    return are_texts_near_duplicates(f"{article.title} {article.summary}", f"{old.title} {old.summary}", overlap)
