"""The content of the public pages: editions, feeds, topics, and search results.

Every query is bounded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from digest.app.editions.web_editions import (
    LIST_ITEM_COLUMNS,
    EditionListItem,
    correct_edition_list_item,
    make_edition_list_item,
    read_edition_list_items,
)
from digest.edition.archive import corrections, verified_editions
from digest.edition.archive.story_archive import (
    MAX_RANKED,
    ArchiveMatch,
    ArchiveTopic,
    StoryQuery,
    list_archive_topics,
    list_topic_stories,
    search_stories,
    split_search_query,
)
from digest.edition.content.corrected_content import correct_content
from digest.edition.content.edition_content import EditionContent
from digest.edition.edition_queries import IS_REGULAR, PUBLIC_STATES, UpcomingEdition, find_upcoming_edition
from digest.edition.rendering.anchors import story_anchor
from digest.edition.rendering.corrected_copy import DisplayedCorrection, insert_fragment_corrections
from digest.edition.rendering.mail_layout import MailLayout, arrange_email
from digest.installation.opened_installation import Installation
from digest.store.correction_models import Correction
from digest.store.models import Edition

EDITIONS_A_PAGE, HOME_EDITIONS, STORIES_A_PAGE, FEED_EDITIONS, FEED_STORIES = 50, 6, 40, 20, 50


@dataclass(frozen=True, slots=True)
class EditionList:
    """A page of the public editions, newest first.

    `earlier` is the number below which the next page starts, or None on the last page.
    """

    editions: tuple[EditionListItem, ...]
    count: int
    earlier: int | None


@dataclass(frozen=True, slots=True)
class HomePage:
    """The content of the public home page.

    It has the newest edition with its corrections, a list of recent editions, and the next edition.
    """

    newest: EditionContent | None
    layout: MailLayout | None
    editions: EditionList
    upcoming: UpcomingEdition
    corrected_at: Mapping[str, datetime]  # when stories of the newest edition were corrected, by link

    @property
    def lead_anchor(self) -> str:
        """The anchor of the lead story on the newest edition's page, or an empty string."""
        return story_anchor(self.layout.lead.entry) if self.layout and self.layout.lead else ""


@dataclass(frozen=True, slots=True)
class FeedEdition:
    """An edition as published in the feeds.

    `html` is the content of its page, or empty if it was approved without a page.
    """

    line: EditionListItem
    headlines: tuple[str, ...]
    html: str
    corrections: tuple[Correction, ...]
    published_at: datetime

    @property
    def updated_at(self) -> datetime:
        """The time of the last correction, or else of publication."""
        return max([self.published_at, *(correction.at for correction in self.corrections)])


@dataclass(frozen=True, slots=True)
class TopicPage:
    """A page of a topic's stories, newest first.

    `earlier` is the number of the edition below which the next page starts.
    """

    topic: ArchiveTopic
    stories: Sequence[ArchiveMatch]
    earlier: int | None


@dataclass(frozen=True, slots=True)
class SearchPage:
    """A page of search results, with the available filters.

    `count` is the number of matches, or only a lower bound if `is_bounded` is true.
    """

    query: StoryQuery
    stories: Sequence[ArchiveMatch]
    count: int
    is_bounded: bool
    page: int
    pages: int
    topics: Sequence[ArchiveTopic]
    years: Sequence[int]


def read_home_page(installation: Installation, *, now: datetime) -> HomePage:
    """Return the content of the public home page."""
    with installation.read() as session:
        editions, corrected = _list_editions(session, None, HOME_EDITIONS)
        content, edition_corrections = None, tuple[Correction, ...]()
        if editions.editions:
            newest_name = editions.editions[0].name
            newest = session.scalars(select(Edition).where(Edition.name == newest_name)).one()
            edition_corrections = corrected.get(newest_name, ())
            versions = verified_editions.find_verified_versions(session, [newest])
            approved = verified_editions.read_verified_contents(session, versions).get(newest.id)
            content = correct_content(approved, edition_corrections) if approved else None
        upcoming = find_upcoming_edition(session, installation.settings, now)
    oldest_first = sorted(edition_corrections, key=lambda correction: correction.at)
    corrected_at = {correction.url: correction.at for correction in oldest_first}
    return HomePage(content, arrange_email(content) if content else None, editions, upcoming, corrected_at)


def read_archive_page(installation: Installation, *, before: int | None) -> EditionList:
    """Return one page of the list of public editions.

    If `before` is given, only editions with lower numbers are included.
    """
    with installation.read() as session:
        return _list_editions(session, before, EDITIONS_A_PAGE)[0]


_Corrections = Mapping[str, tuple[Correction, ...]]  # by edition name


def _list_editions(session: Session, before: int | None, limit: int) -> tuple[EditionList, _Corrections]:
    public = IS_REGULAR & Edition.state.in_(PUBLIC_STATES)
    newest_first = (Edition.release_at.desc(), Edition.id.desc())
    query = select(*LIST_ITEM_COLUMNS).where(public).order_by(*newest_first)
    if before is not None:
        query = query.where(Edition.number < before)
    rows = list(session.execute(query.limit(limit + 1)))
    counted = select(func.count()).select_from(Edition).where(public)
    count = session.scalar(counted) or 0
    older_than = rows[limit - 1].number if len(rows) > limit else None
    lines, corrections_by_edition = _read_lines(session, rows[:limit])
    return EditionList(tuple(lines), count, older_than), corrections_by_edition


def _read_lines(session: Session, rows: Sequence[Any]) -> tuple[list[EditionListItem], _Corrections]:
    lines = read_edition_list_items(session, rows)
    made = corrections.list_corrections_by_edition(session, [line.name for line in lines])
    return [correct_edition_list_item(line, made.get(line.name, ())) for line in lines], made


def list_sitemap_editions(installation: Installation) -> list[EditionListItem]:
    """Return all public editions for the sitemap, newest first."""
    public = select(*LIST_ITEM_COLUMNS).where(IS_REGULAR, Edition.state.in_(PUBLIC_STATES))
    query = public.order_by(Edition.release_at.desc())
    with installation.read() as session:
        return _read_lines(session, session.execute(query).all())[0]


def read_feed_editions(installation: Installation) -> list[FeedEdition]:
    """Return the newest editions with the corrected content of their pages."""
    zone, language = installation.settings.zone, installation.settings.subscriber_language
    public = select(Edition).where(IS_REGULAR, Edition.state.in_(PUBLIC_STATES))
    query = public.order_by(Edition.release_at.desc())
    with installation.read() as session:
        editions = list(session.scalars(query.limit(FEED_EDITIONS)))
        feed_editions = []
        versions = verified_editions.find_verified_versions(session, editions)
        pages = verified_editions.read_verified_fragments(session, versions, "page")
        contents = verified_editions.read_verified_contents(session, versions)
        for version in versions:
            edition = version.edition
            if edition.id not in pages or edition.id not in contents:
                continue
            body = next((piece.body for piece in pages[edition.id] if piece.name == "body"), "")
            edition_corrections = corrections.list_genuine_corrections(session, edition)
            shown_corrections = [
                DisplayedCorrection(
                    c.headline, c.was, c.becomes, c.note, corrections.format_correction_byline(c, zone, language)
                )
                for c in edition_corrections
            ]
            content = correct_content(contents[edition.id], edition_corrections)
            feed_editions.append(
                FeedEdition(
                    correct_edition_list_item(make_edition_list_item(version), edition_corrections),
                    tuple(e.headline for section in content.sections for e in section.entries),
                    insert_fragment_corrections(body, shown_corrections, language, with_notes=True),
                    edition_corrections,
                    edition.sent_at or edition.release_at,
                )
            )
    return feed_editions


def list_topics(installation: Installation) -> Sequence[ArchiveTopic]:
    """Return the topics of public stories, sorted by name."""
    with installation.read() as session:
        return list_archive_topics(session)


def read_topic_page(
    installation: Installation, key: str, *, before: int | None = None, limit: int = STORIES_A_PAGE
) -> TopicPage | None:
    """Return a page of a topic's stories, or None if no story has the topic."""
    with installation.read() as session:
        topic = next((topic for topic in list_archive_topics(session) if topic.key == key), None)
        if topic is None:
            return None
        stories = list_topic_stories(session, key, before=before, limit=limit + 1)
    if len(stories) <= limit:
        return TopicPage(topic, stories, None)
    # An edition isn't split across pages unless it's longer than a page.
    last = stories[limit].number
    whole_editions = [story for story in stories[:limit] if story.number != last] or stories[:limit]
    return TopicPage(topic, whole_editions, whole_editions[-1].number)


def search_archive(
    installation: Installation,
    typed: str,
    *,
    topic: str,
    year: int | None,
    newest_first: bool,
    page: int,
    now: datetime,
) -> SearchPage:
    """Return a page of the public stories that match a search.

    Queries aren't stored or logged.
    """
    query = StoryQuery(split_search_query(typed), topic, year, newest_first)
    with installation.read() as session:
        matches = search_stories(session, query)
        topics = list_archive_topics(session)
    pages = max(1, -(-len(matches) // STORIES_A_PAGE))
    page = min(max(page, 1), pages)
    start = (page - 1) * STORIES_A_PAGE
    first_year = min((t.since.year for t in topics), default=None)
    years = list(range(now.year, first_year - 1, -1)) if first_year else []
    return SearchPage(
        query,
        matches[start : start + STORIES_A_PAGE],
        len(matches),
        len(matches) >= MAX_RANKED,
        page,
        pages,
        topics,
        years,
    )
