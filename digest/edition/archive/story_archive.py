"""The public story archive, which can be searched by words and browsed by topic.

Words are stemmed as English on both databases (FTS5's porter, PostgreSQL's `english`). All of them
are required, in any order. Matches are ranked among the newest `MAX_RANKED`, so that a common word
costs no more than a rare one.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Float, Integer, Select, column, delete, func, insert, select, text
from sqlalchemy.orm import Session

from digest.edition.content.corrected_content import correct_entry
from digest.edition.content.edition_content import EditionSection, SectionEntry, parse_sections
from digest.edition.edition_queries import PUBLIC_STATES
from digest.edition.rendering.anchors import story_anchor
from digest.store.archive_models import ArchivedStory
from digest.store.correction_models import Correction
from digest.store.models import Edition

MAX_QUERY_LENGTH, MAX_QUERY_WORDS = 200, 12  # number of characters, number of words
MAX_RANKED = 500  # number of stories
_NOT_A_WORD = re.compile(r"[^\w]+")
# The headline has four times the weight of the source's name, the topic twice, and the summary 1.5 times.
_SQLITE_MATCHES = text(
    """
    SELECT rowid AS id, bm25(archived_story_fts, 4.0, 1.5, 2.0, 1.0) AS rank
    FROM archived_story_fts WHERE archived_story_fts MATCH :words ORDER BY rowid DESC LIMIT :most
    """
)
_POSTGRESQL_MATCHES = text(
    """
    SELECT id, -ts_rank(
        setweight(to_tsvector('english', headline), 'A')
        || to_tsvector('english', summary || ' ' || topic || ' ' || source),
        plainto_tsquery('english', :words)
    ) AS rank
    FROM archived_story
    WHERE to_tsvector('english', headline || ' ' || summary || ' ' || topic || ' ' || source)
        @@ plainto_tsquery('english', :words)
    ORDER BY id DESC LIMIT :most
    """
)


@dataclass(frozen=True, slots=True)
class ArchiveMatch:
    """A public story, and the name and number of its edition."""

    story: ArchivedStory
    edition: str
    number: int
    corrected_at: datetime | None = None  # the time of the last correction, which the texts include

    @property
    def changed_at(self) -> datetime:
        """The time of the last correction, or else of the edition's release."""
        return self.corrected_at or self.story.released_at

    @property
    def path(self) -> str:
        """The path of the story on its edition's page, relative to the base URL."""
        return f"/editions/{self.edition}#{self.story.anchor}"


@dataclass(frozen=True, slots=True)
class ArchiveTopic:
    """A topic in the archive: its slug, one of its names, its number of stories, and its first date."""

    key: str
    name: str
    stories: int
    since: datetime


@dataclass(frozen=True, slots=True)
class StoryQuery:
    """Search criteria. Empty criteria don't apply.

    All `words` must occur. `topic` is a topic's slug, and `year` is in UTC.
    """

    words: tuple[str, ...] = ()
    topic: str = ""
    year: int | None = None
    newest_first: bool = False


def make_topic_slug(topic: str) -> str:
    """Return a topic's name for use in URLs, such as "maritime-security"."""
    return _NOT_A_WORD.sub("-", topic.casefold()).strip("-_")[:100]


def split_search_query(typed: str) -> tuple[str, ...]:
    """Return at most `MAX_QUERY_WORDS` words of a typed query, without operators."""
    folded = unicodedata.normalize("NFC", typed[:MAX_QUERY_LENGTH])
    return tuple(word for word in _NOT_A_WORD.split(folded) if word)[:MAX_QUERY_WORDS]


def archive_edition_stories(session: Session, edition: Edition, corrections: Iterable[Correction] = ()) -> None:
    """Store a regular edition's stories as its page shows them, replacing those stored earlier."""
    if edition.is_breaking_news:
        return
    session.execute(delete(ArchivedStory).where(ArchivedStory.edition_id == edition.id))
    if rows := build_archive_rows(edition, parse_sections(edition.content), tuple(corrections)):
        session.execute(insert(ArchivedStory), rows)


def build_archive_rows(
    edition: Edition, sections: Iterable[EditionSection], corrections: Sequence[Correction]
) -> list[dict[str, Any]]:
    """Return the archive rows for an edition's stories, with corrections applied."""
    entries = [entry for section in sections for entry in section.entries]
    return [_row_values(edition, n, correct_entry(entry, corrections)) for n, entry in enumerate(entries)]


def _row_values(edition: Edition, position: int, entry: SectionEntry) -> dict[str, Any]:
    when = entry.when
    return {
        "edition_id": edition.id,
        "position": position,
        "released_at": edition.release_at,
        "anchor": story_anchor(entry),
        "url": entry.url,
        "headline": entry.headline,
        "summary": entry.summary,
        "topic": entry.kicker[:100],
        "topic_key": make_topic_slug(entry.kicker),
        "source": entry.source[:200],
        "dated": (f"{when.label}: {when.text}" if when else entry.date)[:100],
        "sources": len(entry.also) + bool(entry.url),
    }


def _select_public(query: StoryQuery) -> Select[Any]:
    is_same_story = (Correction.edition_id == ArchivedStory.edition_id) & (Correction.url == ArchivedStory.url)
    corrected_at = select(func.max(Correction.at)).where(is_same_story).scalar_subquery()
    columns: tuple[Any, ...] = (ArchivedStory, Edition.name, Edition.number, corrected_at)
    stories = select(*columns).join(Edition, Edition.id == ArchivedStory.edition_id)
    stories = stories.where(Edition.state.in_(PUBLIC_STATES))
    if query.topic:
        stories = stories.where(ArchivedStory.topic_key == query.topic)
    if query.year:
        start = datetime(query.year, 1, 1, tzinfo=UTC)
        end = start.replace(year=query.year + 1)
        stories = stories.where(ArchivedStory.released_at >= start, ArchivedStory.released_at < end)
    return stories


_NEWEST_FIRST = (ArchivedStory.released_at.desc(), ArchivedStory.position)


def search_stories(session: Session, query: StoryQuery) -> Sequence[ArchiveMatch]:
    """Return at most `MAX_RANKED` stories that contain all words, or none if there are no words.

    The best match is first, or the newest story if the query says so.
    """
    if not query.words:
        return ()
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    matches = _SQLITE_MATCHES if is_sqlite else _POSTGRESQL_MATCHES
    words = " ".join(f'"{word}"' if is_sqlite else word for word in query.words)
    matches = matches.bindparams(words=words, most=MAX_RANKED)
    matched = matches.columns(column("id", Integer), column("rank", Float)).subquery("matched")
    stories = _select_public(query).join(matched, matched.c.id == ArchivedStory.id)
    if not query.newest_first:
        stories = stories.order_by(matched.c.rank)
    stories = stories.order_by(*_NEWEST_FIRST)
    return [ArchiveMatch(*row) for row in session.execute(stories)]


def list_topic_stories(
    session: Session,
    key: str,
    *,
    before: int | None,
    limit: int,
) -> Sequence[ArchiveMatch]:
    """Return at most `limit` stories on a topic, newest first.

    If `before` is given, only stories from editions with a lower number are returned.
    """
    stories = _select_public(StoryQuery(topic=key))
    if before is not None:
        stories = stories.where(Edition.number < before)
    stories = stories.order_by(*_NEWEST_FIRST).limit(limit)
    return [ArchiveMatch(*row) for row in session.execute(stories)]


def list_archive_topics(session: Session) -> Sequence[ArchiveTopic]:
    """Return the topics of public stories, sorted by name."""
    newest_name, since = func.max(ArchivedStory.topic), func.min(ArchivedStory.released_at)
    query = (
        select(ArchivedStory.topic_key, newest_name, func.count(), since)
        .join(Edition, Edition.id == ArchivedStory.edition_id)
        .where(Edition.state.in_(PUBLIC_STATES), ArchivedStory.topic_key != "")
        .group_by(ArchivedStory.topic_key)
    )
    topics = (ArchiveTopic(*row) for row in session.execute(query))
    return sorted(topics, key=lambda topic: topic.name.casefold())
