"""Articles → stories: those of several sources that tell the same news."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import chain
from operator import attrgetter, itemgetter

from digest.collect.texts.urls import site_name
from digest.select import text_similarity
from digest.select.advisories import link_advisories
from digest.select.clustering import BARE_FACTOR, AverageLinkage, ClusterLimits, ClusterText, find_similar_pairs
from digest.select.penalties import (
    find_penalties,
    is_forecast_title,
    is_round_up_title,
    is_statement_title,
    reports_outcome,
)
from digest.select.places import PlaceRules
from digest.select.selection_types import CandidateArticle, Story
from digest.select.story_links import ArticleLinks, StoryGroupingDecision, resolve_links
from digest.select.text_similarity import TextVectorizer, WordExtractor
from digest.select.word_rarity import (
    STRANGE_TABLE_WEIGHT,
    DocumentFrequencies,
    WordRarity,
    count_document_frequencies,
    knows_language_of,
    sample_evenly,
)

MAX_STORY_SPAN = timedelta(days=8)  # from a story's first article to its last: a week's window, and a day


def group_into_stories(
    candidates: Iterable[CandidateArticle],
    min_similarity: float,
    *,
    reader: TextVectorizer | None = None,
    links: Sequence[StoryGroupingDecision] = (),
    place_rules: PlaceRules | None = None,
) -> tuple[Story, ...]:
    """Group articles into stories, in any order of arrival to the same result.

    One canonical URL is one article. Articles of one publisher join only where their texts are nearly equal, or where
    other publishers' articles tie both to a story. Round-ups stay alone, and so do stories of different places. What an
    editor decided comes before all that.

    Args:
        candidates: articles, with repetitions of a URL where several sources carried it.
        min_similarity: the mean cosine over a story's pairs of articles, 0 to 1.
        reader: knows how rare words are; by the shipped table where none is given. See `build_text_vectorizer`.
        links: what editors put together or apart, in the order in which they did.
        place_rules: tell which places articles name; without them, places don't keep stories apart.

    Returns:
        The stories by their lead's date and URL; every canonical URL stands in exactly one.
    """
    articles = merge_by_url(candidates)
    reader = reader or TextVectorizer()
    texts = [reader.read_text(article.title, article.summary) for article in articles]
    # What an editor decided comes later, so it holds against an advisory's number.
    decided = resolve_links([*link_advisories(articles), *links], [article.url for article in articles])
    stories = []
    for members in _cluster_articles(articles, reader, min_similarity, decided, place_rules):
        vectors = [texts[n].vector for n in members]
        stories.append(build_story([articles[n] for n in members], vectors))
    stories.sort(key=lambda s: (s.lead.dated_at, s.lead.url))
    return tuple(stories)


def build_text_vectorizer(words: DocumentFrequencies, articles: Sequence[CandidateArticle]) -> TextVectorizer:
    """Return a reader of a week's articles that knows how rare their words are.

    Args:
        words: in how many earlier articles each word stands.
        articles: those of the week, in a fixed order; in a language that neither table knows they say it themselves.
    """
    reader = WordExtractor()
    if knows_language_of(words, _distinct_words(sample_evenly(articles), reader)):
        return TextVectorizer(WordRarity(words), reader)
    of_week = count_document_frequencies(_distinct_words(articles, reader))
    return TextVectorizer(WordRarity(of_week, shipped_weight=STRANGE_TABLE_WEIGHT), reader)


def count_earlier_articles_per_word(articles: Iterable[CandidateArticle]) -> DocumentFrequencies:
    """Count in how many of some earlier articles each word stands."""
    return count_document_frequencies(_distinct_words(articles, WordExtractor()))


def _distinct_words(articles: Iterable[CandidateArticle], reader: WordExtractor) -> Iterator[frozenset[str]]:
    return (reader.distinct_words(article.title, article.summary) for article in articles)


def merge_by_url(candidates: Iterable[CandidateArticle]) -> list[CandidateArticle]:
    """Return one article a canonical URL, by date and URL; the best source's wording wins.

    After our own, that's a source on the article's own site: another feed can't put words in its mouth.
    What the others alone know is kept: that an editor featured it, how often it was read, its picture.
    """
    by_url: dict[str, list[CandidateArticle]] = {}
    for candidate in candidates:
        by_url.setdefault(candidate.url, []).append(candidate)
    merged = map(_merge_candidates, by_url.values())
    return sorted(merged, key=lambda article: (article.dated_at, article.url))


def name_publishers(candidates: Iterable[CandidateArticle]) -> list[CandidateArticle]:
    """Name the publishers of articles that aggregators list, so that each publisher counts once.

    A source that's mostly on an article's site names its publisher. Else an article has the name that its item or page
    gives, or the one that another article on its site has.
    """
    articles = list(candidates)
    aggregated = [a for a in articles if a.aggregated]
    if not aggregated:
        return articles
    by_publisher = sorted(aggregated, key=attrgetter("publisher"))
    named_last = sorted(by_publisher, key=lambda a: a.publisher != site_name(a.url))
    names = {site_name(a.url): a.publisher for a in named_last}
    own_names = _name_main_sites(a for a in articles if not a.aggregated)

    def find_name(article: CandidateArticle) -> str:
        site = site_name(article.url)
        return own_names.get(site) or (names[site] if article.publisher == site else article.publisher)

    return [replace(a, publisher=find_name(a)) if a.aggregated else a for a in articles]


def _name_main_sites(articles: Iterable[CandidateArticle]) -> dict[str, str]:
    """Return the publishers of sources by the site that most of a source's articles are on."""
    sites: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for article in articles:
        sites[article.publisher, article.source][site_name(article.url)] += 1
    return {
        min(counts, key=lambda site: (-counts[site], site)): publisher
        for (publisher, _), counts in sorted(sites.items(), key=itemgetter(0))
    }


def _merge_candidates(duplicates: list[CandidateArticle]) -> CandidateArticle:
    if len(duplicates) == 1:
        return duplicates[0]
    ordered = sorted(duplicates, key=_source_order)
    best = ordered[0]
    pictured = best if best.image else next((c for c in ordered if c.image), best)
    views = [c.views for c in ordered if c.views is not None]
    return replace(
        best,
        featured=any(c.featured for c in ordered),
        views=max(views, default=None),
        image=pictured.image,
        image_alt=pictured.image_alt,
        image_credit=pictured.image_credit,
        withdrawn=all(c.withdrawn for c in ordered),
    )


def _source_order(candidate: CandidateArticle) -> tuple[object, ...]:
    return (
        not candidate.own,
        not candidate.on_own_site,
        candidate.aggregated,
        not candidate.primary,
        -candidate.weight,
        not candidate.has_date,
        candidate.dated_at,
        candidate.publisher,
        candidate.source,
        candidate.title,
        repr(candidate),
    )


def _cluster_articles(
    articles: Sequence[CandidateArticle],
    reader: TextVectorizer,
    min_similarity: float,
    decided: ArticleLinks,
    place_rules: PlaceRules | None,
) -> list[list[int]]:
    """Cluster by numbers in `articles`; twins (one publisher, nearly equal text) go where the first of them goes."""
    read = [reader.read_text(article.title, article.summary) for article in articles]
    texts = [
        ClusterText(article.publisher, article.dated_at.timestamp(), text)
        for article, text in zip(articles, read, strict=True)
    ]
    alone = [is_round_up_title(a.title) for a in articles]
    twin_of: dict[int, int] = {}
    linked = decided.places
    pairs = []
    for first, other, similarity in find_similar_pairs(texts, BARE_FACTOR * min_similarity):
        if alone[first] or alone[other]:
            continue
        first_article, later_article = articles[first], articles[other]
        if abs(later_article.dated_at - first_article.dated_at) > MAX_STORY_SPAN:
            continue
        if first_article.publisher != later_article.publisher:
            pairs.append((first, other, similarity))
            continue
        is_free = other not in twin_of and linked.isdisjoint((first, other))
        if is_free and _are_twins(first_article, later_article, reader.words):
            twin_of[other] = twin_of.get(first, first)
    first_only = [pair for pair in pairs if twin_of.keys().isdisjoint(pair[:2])]
    joinable = {n for pair in first_only for n in pair[:2]}.union(*decided.together)
    limits = ClusterLimits(
        min_similarity,
        MAX_STORY_SPAN.total_seconds(),
        decided.together,
        decided.apart,
        {n: place_rules.list_places(articles[n]) for n in joinable} if place_rules else {},
    )
    return _add_twins(AverageLinkage(texts, first_only, limits).find_clusters(), twin_of)


def _are_twins(first: CandidateArticle, other: CandidateArticle, words: WordExtractor) -> bool:
    """Return whether a publisher put out one text under two addresses; without a summary nobody can tell."""
    return bool(first.summary and other.summary) and text_similarity.are_word_sets_near_duplicates(
        words.distinct_words(first.title, first.summary), words.distinct_words(other.title, other.summary)
    )


def _add_twins(clusters: Iterable[Sequence[int]], twin_of: Mapping[int, int]) -> list[list[int]]:
    followers: dict[int, list[int]] = {}
    for twin, first in sorted(twin_of.items()):
        followers.setdefault(first, []).append(twin)
    return [
        sorted(chain(members, *(followers.get(member, ()) for member in members)))
        for members in clusters
        if members[0] not in twin_of
    ]


def build_story(articles: Sequence[CandidateArticle], vectors: Sequence[text_similarity.WordVector]) -> Story:
    """Make a story of its articles: who leads, who also reported, and the rest.

    Who leads is decided in `digest.select.stories`.
    """
    ordered = order_by_text(articles, vectors)
    return build_story_with_lead(ordered[0], ordered[1:])


def order_by_text(
    articles: Sequence[CandidateArticle], vectors: Sequence[text_similarity.WordVector]
) -> list[CandidateArticle]:
    """Order articles by how well they would lead their story, the best first, by their words as vectors."""
    middle = text_similarity.sum_vectors(vectors)
    central = {
        article.url: round(text_similarity.cosine_similarity(vector, middle), 6)
        for article, vector in zip(articles, vectors, strict=True)
    }
    return order_leads(articles, central)


def build_story_with_lead(lead: CandidateArticle, others: Iterable[CandidateArticle]) -> Story:
    """Put the others behind a lead: a page of each further publisher, by date and name, then the rest.

    Args:
        lead: the article that leads.
        others: the best first; a publisher's page is its first one here that is news and isn't overtaken.
    """
    also: dict[str, CandidateArticle] = {}
    further = []
    for article in others:
        if article.publisher in {lead.publisher, *also} or _is_outdone(article, lead):
            further.append(article)
        else:
            also[article.publisher] = article
    by_date = attrgetter("dated_at", "publisher", "url")
    also_reported = sorted(also.values(), key=by_date)
    return Story(lead, tuple(also_reported), tuple(sorted(further, key=by_date)))


def _is_outdone(article: CandidateArticle, lead: CandidateArticle) -> bool:
    """Return whether a page is no news while the lead is, or tells what was ahead while the lead, later, doesn't."""
    if find_penalties(article):
        return not find_penalties(lead)
    is_earlier = article.dated_at <= lead.dated_at
    return is_earlier and is_forecast_title(article.title) and not is_forecast_title(lead.title)


def is_overtaken(article: CandidateArticle, others: Iterable[CandidateArticle]) -> bool:
    """Return whether an article tells as ahead what another one of its story, not an earlier one, reports."""
    later = (a for a in others if a is not article and a.dated_at >= article.dated_at)
    return is_forecast_title(article.title) and any(reports_outcome(a.title, article.title) for a in later)


# --- which article leads ---------------------------------------------------------------------------------------

LATER_HALF_BONUS = 0.08  # of centrality, for an article of the later half of the story's time
SUMMARY_BONUS = 0.08  # of centrality, for a summary of `FULL_SUMMARY_WORDS`
FULL_SUMMARY_WORDS = 25
STATEMENT_MALUS = 0.08  # of centrality, for what somebody said of it


def order_leads(articles: Sequence[CandidateArticle], centrality: Mapping[str, float]) -> list[CandidateArticle]:
    """Order a story's articles by how well they would lead it, the best first; ties go to the earliest, then to the URL.

    Args:
        articles: of one story, in any order.
        centrality: by URL, how near an article is to the middle of the story, 0 to 1.
    """
    if len(articles) == 1:  # most stories of a week
        return list(articles)
    first, last = min(a.dated_at for a in articles), max(a.dated_at for a in articles)
    middle = first + (last - first) / 2

    def lead_key(article: CandidateArticle) -> tuple[object, ...]:
        later = LATER_HALF_BONUS if article.has_date and article.dated_at >= middle else 0.0
        summary_bonus = SUMMARY_BONUS * min(len(article.summary.split()) / FULL_SUMMARY_WORDS, 1.0)
        statement_malus = STATEMENT_MALUS if is_statement_title(article.title) else 0.0
        return (
            bool(find_penalties(article)) or is_overtaken(article, articles),
            not article.own,
            not article.primary,
            -round(centrality[article.url] + later + summary_bonus - statement_malus, 6),
            article.dated_at,
            article.url,
        )

    return sorted(articles, key=lead_key)
