"""Grouping articles from several sources that report the same news."""

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
    find_death_toll,
    find_penalties,
    is_forecast_title,
    is_round_up,
    is_sentence_title,
    is_statement_title,
    measure_title_agreement,
    reports_outcome,
)
from digest.select.places import PlaceFinder
from digest.select.selection_types import CandidateArticle, Story
from digest.select.story_links import ArticleLinks, StoryGroupingDecision, resolve_links
from digest.select.text_similarity import TextVectorizer, distinct_words
from digest.select.word_rarity import (
    UNKNOWN_LANGUAGE_TABLE_WEIGHT,
    DocumentFrequencies,
    WordRarity,
    count_document_frequencies,
    knows_language_of,
    sample_evenly,
)

MAX_STORY_SPAN = timedelta(days=8)  # maximum time from the first article to the last: a week's window plus a day
# An article of the same stage may be older than the lead by this much, whatever its title.
STAGE_GRACE = timedelta(hours=6)
STAGE_SPAN = timedelta(hours=20)  # age, relative to the lead, at which an article's title would have to agree fully
MAX_STAGE_AGREEMENT = 0.8  # share of common words that's enough at any age


def group_into_stories(
    candidates: Iterable[CandidateArticle],
    min_similarity: float,
    *,
    reader: TextVectorizer | None = None,
    links: Sequence[StoryGroupingDecision] = (),
    place_finder: PlaceFinder | None = None,
) -> tuple[Story, ...]:
    """Group articles into stories, regardless of their order.

    A canonical URL counts as one article. Articles from one publisher are grouped only if their
    texts are nearly equal or if other publishers' articles connect them. Round-ups, and stories
    about different places, stay separate. Editors' decisions take precedence.

    Args:
        candidates: the articles; a URL may be repeated if several sources carried it.
        min_similarity: the minimum mean cosine similarity over a story's pairs of articles, 0
            to 1.
        reader: a vectorizer from `build_text_vectorizer`; by default, one based on the shipped
            table.
        links: editors' decisions to group or separate articles, in chronological order.
        place_finder: the rules for recognizing places; without them, places don't separate
            stories.

    Returns:
        The stories, sorted by their lead's date and URL. Every canonical URL is in exactly one.
    """
    articles = merge_by_url(candidates)
    reader = reader or TextVectorizer()
    texts = [reader.read_text(article.title, article.summary) for article in articles]
    # Editors' decisions come last, so that they override advisory numbers.
    decided = resolve_links([*link_advisories(articles), *links], [article.url for article in articles])
    stories = []
    for members in _cluster_articles(articles, reader, min_similarity, decided, place_finder):
        vectors = [texts[n].vector for n in members]
        stories.append(build_story([articles[n] for n in members], vectors))
    stories.sort(key=lambda s: (s.lead.dated_at, s.lead.url))
    return tuple(stories)


def build_text_vectorizer(words: DocumentFrequencies, articles: Sequence[CandidateArticle]) -> TextVectorizer:
    """Return a vectorizer for a week's articles, based on how rare each word is.

    Args:
        words: the number of earlier articles that contain each word.
        articles: the week's articles, in a fixed order; they're counted instead if neither
            table covers their language.
    """
    if knows_language_of(words, _words_of_each(sample_evenly(articles))):
        return TextVectorizer(WordRarity(words))
    of_week = count_articles_per_word(articles)
    return TextVectorizer(WordRarity(of_week, shipped_weight=UNKNOWN_LANGUAGE_TABLE_WEIGHT))


def count_articles_per_word(articles: Iterable[CandidateArticle]) -> DocumentFrequencies:
    """Return the number of articles that contain each word."""
    return count_document_frequencies(_words_of_each(articles))


def _words_of_each(articles: Iterable[CandidateArticle]) -> Iterator[frozenset[str]]:
    return (distinct_words(article.title, article.summary) for article in articles)


def merge_by_url(candidates: Iterable[CandidateArticle]) -> list[CandidateArticle]:
    """Merge articles with the same canonical URL, and sort them by date and URL.

    The wording comes from the best source: the publication's own, or else one on the article's own
    site, so that other feeds can't change the wording. Facts that only the other sources have are
    kept: an editor's "featured" mark, views, a summary, an image.
    """
    by_url: dict[str, list[CandidateArticle]] = {}
    for candidate in candidates:
        by_url.setdefault(candidate.url, []).append(candidate)
    merged = map(_merge_candidates, by_url.values())
    return sorted(merged, key=lambda article: (article.dated_at, article.url))


def name_publishers(candidates: Iterable[CandidateArticle]) -> list[CandidateArticle]:
    """Return the articles, with those from aggregators attributed to their own publishers.

    Each publisher therefore counts once. If most articles of another source are on the article's
    site, the publisher is that source's. Otherwise, it's the name that the item or page gives, or
    the name that another article on the site has.
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
    """Map sites to publishers, using the site that most of each source's articles are on."""
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
    described = best if best.summary else next((c for c in ordered if c.summary), best)
    views = [c.views for c in ordered if c.views is not None]
    return replace(
        best,
        featured=any(c.featured for c in ordered),
        views=max(views, default=None),
        summary=described.summary,
        summary_basis=described.summary_basis,
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
    place_finder: PlaceFinder | None,
) -> list[list[int]]:
    """Return clusters of indices into `articles`.

    Near-duplicates from one publisher stay with the first of them.
    """
    read = [reader.read_text(article.title, article.summary) for article in articles]
    texts = [
        ClusterText(article.publisher, article.dated_at.timestamp(), text)
        for article, text in zip(articles, read, strict=True)
    ]
    alone = [is_round_up(a) for a in articles]
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
        if is_free and _are_twins(first_article, later_article):
            twin_of[other] = twin_of.get(first, first)
    first_only = [pair for pair in pairs if twin_of.keys().isdisjoint(pair[:2])]
    joinable = {n for pair in first_only for n in pair[:2]}.union(*decided.together)
    limits = ClusterLimits(
        min_similarity,
        MAX_STORY_SPAN.total_seconds(),
        decided.together,
        decided.apart,
        {n: place_finder.list_places(articles[n]) for n in joinable} if place_finder else {},
    )
    return _add_twins(AverageLinkage(texts, first_only, limits).find_clusters(), twin_of)


def _are_twins(first: CandidateArticle, other: CandidateArticle) -> bool:
    """Return True if a publisher put the same text under two URLs.

    Return False if there's no summary to compare.
    """
    return bool(first.summary and other.summary) and text_similarity.are_word_sets_near_duplicates(
        distinct_words(first.title, first.summary), distinct_words(other.title, other.summary)
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
    """Build a story from articles, with the lead that `order_leads` chooses."""
    if len(articles) == 1:  # true of most stories
        return Story(articles[0])
    ordered = order_by_text(articles, vectors)
    return build_story_with_lead(ordered[0], ordered[1:])


def order_by_text(
    articles: Sequence[CandidateArticle], vectors: Sequence[text_similarity.WordVector]
) -> list[CandidateArticle]:
    """Return articles by how well they would lead their story, best first, based on their vectors."""
    centroid = text_similarity.find_centroid(vectors)
    central = {
        article.url: round(text_similarity.cosine_similarity(vector, centroid), 6)
        for article, vector in zip(articles, vectors, strict=True)
    }
    return order_leads(articles, central)


def build_story_with_lead(lead: CandidateArticle, others: Sequence[CandidateArticle]) -> Story:
    """Return a story with a given lead.

    `also_reported` gets the best article of each other publisher that is news and isn't overtaken,
    sorted by date. All other articles are `further_articles`. So are articles that report an
    earlier stage of the story if another publisher also reports the lead's stage; otherwise, the
    lead may just be late.

    Args:
        lead: the lead article.
        others: the other articles, best first.
    """
    told = (lead, *others)
    candidates = [
        a for a in others if a.publisher != lead.publisher and not (_is_outdone(a, lead) or is_overtaken(a, told))
    ]
    current = [a for a in candidates if not _tells_earlier_stage(a, lead)]
    also: dict[str, CandidateArticle] = {}
    for article in current or candidates:
        also.setdefault(article.publisher, article)
    further = [article for article in others if article is not also.get(article.publisher)]
    by_date = attrgetter("dated_at", "publisher", "url")
    return Story(lead, tuple(sorted(also.values(), key=by_date)), tuple(sorted(further, key=by_date)))


def _is_outdone(article: CandidateArticle, lead: CandidateArticle) -> bool:
    """Return True if the lead makes an article obsolete.

    It does if the article isn't news while the lead is, or if the article is older and gives a
    lower death toll.
    """
    if find_penalties(article):
        return not find_penalties(lead)
    is_older = article.dated_at <= lead.dated_at
    return is_older and 0 < find_death_toll(article.title) < find_death_toll(lead.title)


def _tells_earlier_stage(article: CandidateArticle, lead: CandidateArticle) -> bool:
    """Return True if an article is older than the lead and their titles have too little in common.

    After `STAGE_GRACE`, the required share of common words grows with the article's age, in
    proportion to `STAGE_SPAN`, up to `MAX_STAGE_AGREEMENT`.
    """
    age = lead.dated_at - article.dated_at
    if age <= STAGE_GRACE:
        return False
    required = min(age / STAGE_SPAN, MAX_STAGE_AGREEMENT)
    _, share = measure_title_agreement(article.title, lead.title)
    return share < required


def is_overtaken(article: CandidateArticle, others: Iterable[CandidateArticle]) -> bool:
    """Return True if an article announces an event that a later article of its story reports."""
    later = (a for a in others if a is not article and a.dated_at >= article.dated_at)
    return is_forecast_title(article.title) and any(reports_outcome(a.title, article.title) for a in later)


def _has_outdated_toll(article: CandidateArticle, others: Iterable[CandidateArticle]) -> bool:
    """Return True if a later article of its story gives a higher death toll."""
    toll = find_death_toll(article.title)
    return toll > 0 and any(find_death_toll(a.title) > toll for a in others if a.dated_at >= article.dated_at)


# --- choosing the lead ------------------------------------------------------------------------------------------

LATER_HALF_BONUS = 0.06  # added to centrality in the later half of a story that's longer than `STAGE_SPAN`
TOLL_BONUS = 0.06  # added to centrality for a title with the story's highest death toll
SUMMARY_BONUS = 0.08  # added to centrality for a summary of `FULL_SUMMARY_WORDS`
FULL_SUMMARY_WORDS = 25
STATEMENT_MALUS = 0.08  # subtracted from the centrality if the title reports a statement


def order_leads(articles: Sequence[CandidateArticle], centrality: Mapping[str, float]) -> list[CandidateArticle]:
    """Return a story's articles by how well they would lead it, best first.

    Ties go to the earliest article, then to the URL that sorts first.

    Args:
        articles: the articles of one story, in any order.
        centrality: each article's similarity to the story's centroid by URL, 0 to 1.
    """
    if len(articles) == 1:  # true of most stories
        return list(articles)
    first, last = min(a.dated_at for a in articles), max(a.dated_at for a in articles)
    later_half = first + (last - first) / 2 if last - first > STAGE_SPAN else last + STAGE_SPAN
    highest_toll = max(find_death_toll(a.title) for a in articles)

    def lead_key(article: CandidateArticle) -> tuple[object, ...]:
        later = LATER_HALF_BONUS if article.has_date and article.dated_at >= later_half else 0.0
        tells_toll = TOLL_BONUS if 0 < find_death_toll(article.title) == highest_toll else 0.0
        summary_bonus = SUMMARY_BONUS * min(len(article.summary.split()) / FULL_SUMMARY_WORDS, 1.0)
        statement_malus = STATEMENT_MALUS if is_statement_title(article.title) else 0.0
        is_outdated = is_overtaken(article, articles) or _has_outdated_toll(article, articles)
        return (
            bool(find_penalties(article)) or is_outdated,
            not article.own,
            not article.primary,
            is_sentence_title(article.title),
            -round(centrality[article.url] + later + tells_toll + summary_bonus - statement_malus, 6),
            article.dated_at,
            article.url,
        )

    return sorted(articles, key=lead_key)
