"""The table for searching the public archive and for listing its stories by topic."""

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from subscribers.store.column_types import RowId, Str40, Str100, Str200
from subscribers.store.models import Base, Moment


class ArchivedStory(Base):
    """A story of an approved or sent edition, as shown on the edition's page.

    It's rewritten if the edition is corrected. The full-text index is specific to the database (FTS5 or
    GIN), and is used by `digest.edition.archive.story_archive`. `topic_key` is the topic's name in URLs.
    """

    __tablename__ = "archived_story"
    __table_args__ = (Index("ix_archived_story_topic", "topic_key", "released_at"),)  # a topic's stories, newest first

    id: Mapped[RowId]
    edition_id: Mapped[int] = mapped_column(ForeignKey("edition.id", ondelete="CASCADE"), index=True)
    position: Mapped[int]  # within the edition
    released_at: Mapped[Moment]
    anchor: Mapped[Str40]  # on the edition's page
    url: Mapped[str]
    headline: Mapped[str]
    summary: Mapped[str]
    topic: Mapped[Str100]
    topic_key: Mapped[Str100]
    source: Mapped[Str200]
    dated: Mapped[Str100]  # "Nov 18", "Deadline: Friday, December 4"
    sources: Mapped[int]  # number of publishers that reported the story
