"""Loading the input for selection: candidates, and the content of earlier editions."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain, islice
from operator import attrgetter

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from digest.collect.articles.storage import find_urls_withdrawn_by_own_site
from digest.collect.documents.deadlines import Deadline
from digest.collect.documents.parsed_document import DateBasis, ParsedItem, SummaryBasis
from digest.collect.texts.event_texts import is_event_title
from digest.collect.texts.image_credits import is_agency_image
from digest.collect.texts.urls import site_name, usable_url
from digest.edition.calendar.edition_windows import EditionWindow
from digest.edition.drafting.imported_editions import convert_imported_story, load_imported_editions
from digest.edition.edition_queries import select_editions_before
from digest.edition.kinds import SECTION_KINDS
from digest.select.exclusion_reasons import WITHDRAWN_REASON
from digest.select.selection_types import (
    CandidateArticle,
    EarlierStory,
    PreviousEditions,
    PreviouslyUsedArticle,
    format_edition_name,
)
from digest.select.stories import merge_by_url
from digest.select.text_similarity import distinct_words
from digest.settings import NEWS_SECTION
from digest.store.imported_edition_models import ImportedEdition
from digest.store.models import Article, Edition, EditionStory, Source

RELATED_LOOKBACK = timedelta(days=120)
MAX_STORY_ARTICLES = 20  # maximum number of articles to load for a story of an earlier edition
KEPT_REASON = "an editor kept it for the next edition"  # reason stored for a story that an edition left out
_URLS_PER_QUERY = 500
_SAME_EVENT_WORDS = 2  # number of title words shared by two listings of an event on the same day
_FEED_SUBDOMAIN = re.compile(r"^(?:feeds?|rss)\.")  # subdomain of a site that has its feeds on a separate host
# Number of the newest earlier articles that are considered for "related".
MAX_EARLIER_ARTICLES = 2000


def load_candidates(session: Session, window: EditionWindow, release_at: datetime) -> tuple[CandidateArticle, ...]:
    """Return the candidate articles for an edition.

    These are the articles in its window, the events and opportunities to announce at its release,
    and the stories kept for it.
    """
    seen_before, kept = _urls_seen_before(session, window, release_at), _map_kept_urls(session, release_at)
    rows: list[Row[Article, Source]] = []
    for kind in {kind.source_section: kind for kind in SECTION_KINDS.values()}.values():
        query = select(Article, Source).join(Source).where(Source.section == kind.source_section)
        condition = kind.build_candidate_condition(window, release_at)
        if not kind.has_own_date:
            condition |= Article.url.in_(kept)
        for row in session.execute(query.where(condition)):
            article, _ = row
            url, seen = article.url, article.url in seen_before
            if kind.has_own_date or url in kept or window.includes(article.dated_at, seen_before=seen):
                rows.append(row)
    candidates = [replace(c, kept_from=kept.get(c.url, "")) for c in _read_candidates(session, rows)]
    listed = [candidate for candidate in candidates if candidate.section == "events"]
    return _sort_candidates(
        replace(candidate, section="events") if _announces_event(candidate, release_at, listed) else candidate
        for candidate in candidates
    )


def _read_candidates(session: Session, rows: Iterable[Row[Article, Source]]) -> list[CandidateArticle]:
    """Build candidates from articles' rows.

    An article withdrawn by its own site counts as withdrawn for all sources. If only a publisher's
    host is known, the publisher gets the name of the news source on that host.
    """
    names = _map_hosts_to_publishers(session)
    candidates = [
        replace(c, publisher=names.get(c.publisher, c.publisher)) if c.aggregated else c
        for c in (build_candidate(*row) for row in rows)
    ]
    withheld = find_urls_withdrawn_by_own_site(session, {c.url for c in candidates if not c.withdrawn})
    return [replace(c, withdrawn=True) if c.url in withheld else c for c in candidates]


def _map_hosts_to_publishers(session: Session) -> dict[str, str]:
    """Return the news sources' publishers by host, omitting hosts that several publishers share."""
    named: dict[str, set[str]] = defaultdict(set)
    for url, publisher in session.execute(select(Source.url, Source.publisher).where(Source.section == NEWS_SECTION)):
        named[_FEED_SUBDOMAIN.sub("", site_name(url))].add(publisher)
    return {host: publishers.pop() for host, publishers in named.items() if host and len(publishers) == 1}


def _announces_event(candidate: CandidateArticle, release_at: datetime, listed: Iterable[CandidateArticle]) -> bool:
    """Return True if an official source's or our own news announces a future event, which readers look for by date.

    Return False if a calendar lists the event, so that it isn't announced twice.
    """
    starts_at = candidate.starts_at
    is_ahead = starts_at is not None and starts_at > release_at
    is_vouched_for = candidate.primary or candidate.own
    if not (is_ahead and is_vouched_for and candidate.section == NEWS_SECTION and is_event_title(candidate.title)):
        return False
    return not any(_is_same_event(candidate, other) for other in listed)


def _is_same_event(one: CandidateArticle, other: CandidateArticle) -> bool:
    days = [event.starts_at.date() for event in (one, other) if event.starts_at]
    shared = distinct_words(one.title) & distinct_words(other.title)
    return len(days) == 2 and days[0] == days[1] and len(shared) >= _SAME_EVENT_WORDS


def _urls_seen_before(session: Session, window: EditionWindow, release_at: datetime) -> set[str]:
    """Return the URLs of all articles that earlier editions placed or left out, except withdrawn pages.

    An edition's stories record what it considered. Row numbers and times don't: on PostgreSQL, a
    lower number may become visible after a higher one, and a date may be corrected after the cutoff.
    """
    near = select_editions_before(release_at).where(Edition.cut_off > window.late_from)
    is_near = EditionStory.edition_id.in_(near.with_only_columns(Edition.id))
    stories = select(EditionStory.members).where(is_near, EditionStory.reason != WITHDRAWN_REASON)
    return set(chain(*session.scalars(stories)))


def _map_kept_urls(session: Session, release_at: datetime) -> dict[str, str]:
    """Return the URLs of articles that the previous edition's editors kept, mapped to that edition's name."""
    last = session.scalar(select_editions_before(release_at).order_by(Edition.release_at.desc()).limit(1))
    if last is None:
        return {}
    is_kept = EditionStory.edition_id == last.id, EditionStory.reason == KEPT_REASON
    urls = chain(*session.scalars(select(EditionStory.members).where(*is_kept)))
    return dict.fromkeys(urls, format_edition_name(last.name, last.number))


def _sort_candidates(candidates: Iterable[CandidateArticle]) -> tuple[CandidateArticle, ...]:
    """Return candidates sorted by their content, regardless of when their rows were created."""
    return tuple(sorted(candidates, key=attrgetter("url", "source", "dated_at", "title", "link")))


def build_candidate(article: Article, source: Source) -> CandidateArticle:
    """Build a candidate from an article's row."""
    return CandidateArticle(
        url=article.url,
        link=article.link,
        title=article.title,
        summary=article.summary,
        summary_basis=SummaryBasis(article.summary_basis),
        source=source.name,
        publisher=article.publisher or source.publisher,
        aggregated=bool(article.publisher),
        dated_at=article.dated_at,
        has_date=not DateBasis(article.date_basis).is_first_seen,
        section=source.section,
        weight=source.weight,
        primary=source.primary,
        own=source.own,
        on_own_site=site_name(source.url) == site_name(article.url),
        categories=tuple(article.categories),
        topics=tuple(sorted(source.topics.items())),
        default_topic=source.default_topic,
        author=article.author,
        credit=article.credit,
        image=article.image_url if may_mail_image(source, article) else None,
        image_alt=article.image_alt,
        image_credit=article.image_credit,
        starts_at=article.starts_at or article.announced_at,
        ends_at=article.ends_at or article.announced_until,
        all_day=article.all_day,
        event_zone=article.event_zone,
        place=article.place,
        deadline=_stated_deadline(article),
        featured=article.featured,
        views=article.views if source.own else None,
        withdrawn=article.withdrawn_at is not None,
        superseded=article.superseded,
    )


def may_mail_image(source: Source, article: Article | ParsedItem) -> bool:
    """Return True if the source's settings and the image's credit permit using an article's image in email."""
    if source.images != "credited":
        return source.images in {"own", "licensed"}
    credit, alt = article.image_credit, article.image_alt
    return is_agency_image(credit, source.publisher, article.image_url or "", alt)


def _stated_deadline(article: Article) -> Deadline | None:
    if article.closes_on is None:
        return None
    return Deadline(article.closes_on, article.closes_clock, article.closes_zone, article.closes_label)


def load_previous_editions(
    session: Session, window: EditionWindow, release_at: datetime, edition_count: int
) -> PreviousEditions:
    """Return the stories of the last editions before a release, and older articles that may be offered as related.

    `edition_count` is the number of editions.
    """
    recent = select_editions_before(release_at).order_by(Edition.release_at.desc()).limit(edition_count)
    placed: list[tuple[Edition, EditionStory]] = []
    in_section = select(EditionStory).where(EditionStory.section.is_not(None)).order_by(EditionStory.id)
    used: list[PreviouslyUsedArticle] = []
    for edition in session.scalars(recent):
        for story in session.scalars(in_section.where(EditionStory.edition_id == edition.id)):
            placed.append((edition, story))
            title, number = story.title, edition.number
            used += (PreviouslyUsedArticle(edition.name, url, title, number) for url in story.members)
    # If there are too few editions of this installation, editions from before it make up the number.
    own_count = len({edition.id for edition, _ in placed})
    past_editions = load_imported_editions(session, release_at, max(0, edition_count - own_count))
    for past in past_editions:
        links = ((link.url, link.headline) for link in past.stories)
        used += (PreviouslyUsedArticle(past.name, *link, past.number) for link in links)
    earlier = (
        select(Article, Source)
        .join(Source)
        .where(
            Article.withdrawn_at.is_(None),
            Source.section == NEWS_SECTION,
            Article.dated_at <= window.late_from,
            Article.dated_at > window.opens_at - RELATED_LOOKBACK,
        )
        .order_by(Article.dated_at.desc(), Article.url, Source.name)
        .limit(MAX_EARLIER_ARTICLES)
    )
    candidates = _read_candidates(session, session.execute(earlier))
    news = [*_load_news_stories(session, placed), *_list_past_stories(past_editions)]
    news.sort(key=lambda story: (story.edition, story.articles[0].url))
    return PreviousEditions(
        used_stories=tuple(sorted(used, key=lambda used: used[:3])),
        earlier_articles=_sort_candidates(candidate for candidate in candidates if not candidate.withdrawn),
        news_stories=tuple(news),
    )


def _list_past_stories(past: Iterable[ImportedEdition]) -> Iterator[EarlierStory]:
    """Yield the stories of past editions that have a page to link to and a number."""
    for edition in past:
        if edition.number is not None and usable_url(edition.address):
            for story in edition.stories:
                article = convert_imported_story(story, edition.released_at)
                yield EarlierStory(edition.name, edition.number, edition.released_at, story.headline, (article,))


def _load_news_stories(
    session: Session,
    placed: Sequence[tuple[Edition, EditionStory]],
) -> Iterator[EarlierStory]:
    """Yield the placed news stories with the stored texts of their first articles."""
    members = {url for _, story in placed for url in story.members[:MAX_STORY_ARTICLES]}
    urls = iter(sorted(members))
    news = select(Article, Source).join(Source).where(Source.section == NEWS_SECTION)
    candidates: list[CandidateArticle] = []
    while some := list(islice(urls, _URLS_PER_QUERY)):
        candidates += _read_candidates(session, session.execute(news.where(Article.url.in_(some))))
    by_url = {article.url: article for article in merge_by_url(candidates)}
    for edition, story in placed:
        first = story.members[:MAX_STORY_ARTICLES]
        if articles := tuple(by_url[url] for url in first if url in by_url):
            yield EarlierStory(edition.name, edition.number, edition.cut_off, story.title, articles)
