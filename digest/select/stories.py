"""Articles → stories: those of several sources that tell the same news."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from digest.select.kinds import is_round_up
from digest.select.linkage import Linkage, Rules, Text, near_pairs
from digest.select.values import Candidate, Story
from digest.select.words import Lexicon, Vector, add, counts, likeness, nearly_equal, title_words

SPAN = timedelta(days=5)  # from a story's first article to its last


def group(candidates: Iterable[Candidate], threshold: float) -> tuple[Story, ...]:
    """Group articles into stories, in any order of arrival to the same result.

    One canonical URL is one article. Articles of one publisher join only where their texts are nearly equal, or where
    other publishers' articles tie both to a story. Round-ups stay alone.

    Args:
        candidates: articles, with repetitions of a URL where several sources carried it.
        threshold: the mean cosine over a story's pairs of articles, 0 to 1.

    Returns:
        The stories by their lead's date and URL; every canonical URL stands in exactly one.
    """
    articles = unique(candidates)
    word_counts = [counts(a.title, a.summary) for a in articles]
    lexicon = Lexicon(word_counts)
    vectors = [lexicon.vector(c) for c in word_counts]
    stories = [
        story([articles[n] for n in members], [vectors[n] for n in members])
        for members in _clusters(articles, vectors, threshold)
    ]
    return tuple(sorted(stories, key=lambda s: (s.lead.dated_at, s.lead.url)))


def unique(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Give one article a canonical URL, by date and URL; the best source's wording wins.

    What the others alone know is kept: that an editor featured it, how often it was read, its picture.
    """
    by_url: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        by_url.setdefault(candidate.url, []).append(candidate)
    return sorted((_merged(found) for found in by_url.values()), key=lambda c: (c.dated_at, c.url))


def _merged(found: list[Candidate]) -> Candidate:
    if len(found) == 1:
        return found[0]
    ordered = sorted(found, key=_source_rank)
    best = ordered[0]
    pictured = best if best.image else next((c for c in ordered if c.image), best)
    views = [c.views for c in ordered if c.views is not None]
    return replace(
        best,
        featured=any(c.featured for c in ordered),
        views=max(views, default=None),
        image=pictured.image,
        image_alt=pictured.image_alt,
        withdrawn=all(c.withdrawn for c in ordered),
    )


def _source_rank(c: Candidate) -> tuple[object, ...]:
    return (
        not c.own,
        not c.primary,
        -c.weight,
        not c.dated,
        c.dated_at,
        c.publisher,
        c.source,
        c.title,
        repr(c),
    )


def _clusters(articles: Sequence[Candidate], vectors: Sequence[Vector], threshold: float) -> list[list[int]]:
    """Cluster by places in `articles`; twins (one publisher, nearly equal text) go where the first of them goes."""
    texts = [
        Text(a.publisher, a.dated_at.timestamp(), v, title_words(a.title))
        for a, v in zip(articles, vectors, strict=True)
    ]
    alone = [is_round_up(a.title) for a in articles]
    twin_of: dict[int, int] = {}
    pairs = []
    for one, other, like in near_pairs(texts, threshold):
        if alone[one] or alone[other] or texts[other].at - texts[one].at > SPAN.total_seconds():
            continue
        if texts[one].publisher != texts[other].publisher:
            pairs.append((one, other, like))
        elif other not in twin_of and _are_twins(articles[one], articles[other]):
            twin_of[other] = twin_of.get(one, one)
    first_only = [p for p in pairs if p[0] not in twin_of and p[1] not in twin_of]
    found = Linkage(texts, first_only, Rules(threshold, SPAN.total_seconds())).run()
    return _with_twins(found, twin_of)


def _are_twins(one: Candidate, other: Candidate) -> bool:
    """Say whether a publisher put out one text under two addresses; without a summary nobody can tell."""
    return bool(one.summary and other.summary) and nearly_equal(
        f"{one.title} {one.summary}", f"{other.title} {other.summary}"
    )


def _with_twins(clusters: Iterable[Sequence[int]], twin_of: Mapping[int, int]) -> list[list[int]]:
    followers: dict[int, list[int]] = {}
    for twin, first in sorted(twin_of.items()):
        followers.setdefault(first, []).append(twin)
    return [
        sorted([*members, *(t for m in members for t in followers.get(m, ()))])
        for members in clusters
        if members[0] not in twin_of
    ]


def story(articles: Sequence[Candidate], vectors: Sequence[Vector]) -> Story:
    """Make a story of its articles: who leads, who also reported, and the rest.

    The lead is of the own site, else a primary source, else the most central, else the earliest, else by URL.
    """
    middle = add(vectors)
    central = {a.url: round(likeness(v, middle), 6) for a, v in zip(articles, vectors, strict=True)}
    ordered = sorted(articles, key=lambda a: (not a.own, not a.primary, -central[a.url], a.dated_at, a.url))
    return led_by(ordered[0], ordered[1:])


def led_by(lead: Candidate, others: Iterable[Candidate]) -> Story:
    """Put the others behind a lead: the first article of each further publisher, by date and name, then the rest."""
    also: dict[str, Candidate] = {}
    rest = []
    for article in sorted(others, key=lambda a: (a.dated_at, a.publisher, a.url)):
        if article.publisher == lead.publisher or article.publisher in also:
            rest.append(article)
        else:
            also[article.publisher] = article
    return Story(lead, tuple(also.values()), tuple(rest))
