"""The table of corrections: what was wrong in an edition that went out, and what became of putting it right."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from subscribers.store.models import Base, Moment, UtcDateTime


class Correction(Base):
    """One text of one story that was put right after the edition had begun to go out; it is never changed or deleted.

    `url` is the story's link in the edition, `section` the key of its section, `field` what was wrong. `signed` is the name
    that readers see. The mail is asked for once (`mail_asked_at`); `mail_planned_at` is set when all who are owed it have a delivery.
    """

    __tablename__ = "correction"
    __table_args__ = (
        UniqueConstraint("edition_id", "seq", name="uq_correction_one_a_number"),
        Index("ix_correction_at", "at"),  # drafting: what the next edition carries
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    edition_id: Mapped[int] = mapped_column(ForeignKey("edition.id", ondelete="CASCADE"))
    seq: Mapped[int]  # from 1 within the edition
    at: Mapped[Moment]
    actor: Mapped[str] = mapped_column(String(200))
    signed: Mapped[str] = mapped_column(String(200))
    url: Mapped[str] = mapped_column(Text)
    section: Mapped[str] = mapped_column(String(40))
    headline: Mapped[str] = mapped_column(Text)  # of the story as it went out
    field: Mapped[str] = mapped_column(String(20))  # headline | summary
    was: Mapped[str] = mapped_column(Text)
    becomes: Mapped[str] = mapped_column(Text)
    note: Mapped[str] = mapped_column(Text)  # what was wrong, for readers
    is_carried: Mapped[bool]  # stands in the next edition
    mail_asked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    mail_asked_by: Mapped[str] = mapped_column(String(200), default="", server_default="")
    mail_planned_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
