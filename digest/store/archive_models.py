"""The table behind searching the public archive and listing its stories by topic."""

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from subscribers.store.column_types import RowId, Str40, Str100, Str200
from subscribers.store.models import Base, Moment


class ArchivedStory(Base):
    """A story of an approved or sent edition, as the edition's page shows it; rewritten if the edition is corrected.

    The full-text index is specific to the database (FTS5, GIN); `digest.edition.archive.story_archive` reads it.
    `topic_key` is the topic's name in URLs.
    """

    __tablename__ = "archived_story"
    __table_args__ = (Index("ix_archived_story_topic", "topic_key", "released_at"),)  # a topic's stories, newest first

    id: Mapped[RowId]
    edition_id: Mapped[int] = mapped_column(ForeignKey("edition.id", ondelete="CASCADE"), index=True)
    position: Mapped[int]  # in the edition
    released_at: Mapped[Moment]
    anchor: Mapped[Str40]  # on the edition's page
    url: Mapped[str]
    headline: Mapped[str]
    summary: Mapped[str]
    topic: Mapped[Str100]
    topic_key: Mapped[Str100]
    source: Mapped[Str200]
    dated: Mapped[Str100]  # "Nov 18", "Deadline: Friday, December 4"
    sources: Mapped[int]  # how many publishers reported it
