"""The stories of editions that anybody may read, to be searched and listed by topic."""

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from subscribers.store.models import Base, Moment


class ArchivedStory(Base):
    """One entry of an edition that goes out or went, as its page says it; written anew where the edition is corrected.

    The full-text index beside it is the database's own (FTS5, GIN): `digest.edition.archive.story_archive` reads it. `topic_key` is how the
    topic is named in addresses.
    """

    __tablename__ = "archived_story"
    __table_args__ = (Index("ix_archived_story_topic", "topic_key", "released_at"),)  # a topic, the newest first

    id: Mapped[int] = mapped_column(primary_key=True)
    edition_id: Mapped[int] = mapped_column(ForeignKey("edition.id", ondelete="CASCADE"), index=True)
    position: Mapped[int]  # in the edition
    released_at: Mapped[Moment]
    anchor: Mapped[str] = mapped_column(String(40))  # on the edition's page
    url: Mapped[str] = mapped_column(Text)
    headline: Mapped[str] = mapped_column(Text)
    summary: Mapped[str] = mapped_column(Text)
    topic: Mapped[str] = mapped_column(String(100))
    topic_key: Mapped[str] = mapped_column(String(100))
    source: Mapped[str] = mapped_column(String(200))
    dated: Mapped[str] = mapped_column(String(100))  # "Nov 18", "Deadline: Friday, December 4"
    sources: Mapped[int]  # how many reported it
