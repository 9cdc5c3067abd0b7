"""The tables for editions sent before this installation existed, and for their stories."""

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from subscribers.store.column_types import RowId, Str20, Str200
from subscribers.store.models import Base, Moment


class ImportedEdition(Base):
    """An edition sent before this installation existed, imported so that its stories aren't repeated.

    `address` is its URL or the name of the file it was read from. `name` is its ISO week.
    """

    __tablename__ = "past_edition"
    __table_args__ = (UniqueConstraint("address", name="uq_past_edition_imported_once"),)

    id: Mapped[RowId]
    address: Mapped[str]
    name: Mapped[Str20]
    number: Mapped[int | None]
    title: Mapped[str]
    released_at: Mapped[Moment]
    imported_at: Mapped[Moment]
    imported_by: Mapped[Str200]

    stories: Mapped[list["ImportedStory"]] = relationship(order_by="ImportedStory.id", cascade="all, delete-orphan")


class ImportedStory(Base):
    """A story in an imported edition. `url` is canonical."""

    __tablename__ = "past_story"

    id: Mapped[RowId]
    past_edition_id: Mapped[int] = mapped_column(ForeignKey("past_edition.id", ondelete="CASCADE"), index=True)
    url: Mapped[str]
    headline: Mapped[str]
    summary: Mapped[str] = mapped_column(default="", server_default="")
