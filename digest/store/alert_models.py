"""The tables of alerts: what needs somebody, from when to when, and what each channel told of it."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from subscribers.store.models import Base, Moment, UtcDateTime

OPEN_ALERT = text("ended_at IS NULL")


class Alert(Base):
    """One thing that needs somebody. `kind` and `subject` say which; it names no reader.

    It is told once it is opened; what often goes by itself is looked at for a while before. `missing_since` is set while it
    is not there, until it counts as over.
    """

    __tablename__ = "alert"
    __table_args__ = (
        Index(
            "uq_alert_one_open", "kind", "subject", unique=True, sqlite_where=OPEN_ALERT, postgresql_where=OPEN_ALERT
        ),
        Index("ix_alert_ended", "ended_at"),  # every minute: what is open; every night: what is old
        {"sqlite_autoincrement": True},  # a receiver knows an alert by its number
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(200))
    sentence: Mapped[str] = mapped_column(Text)
    seen_at: Mapped[Moment]
    opened_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    missing_since: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class AlertPost(Base):
    """An alert told over one channel, as it opens or when it is over. Without `next_try_at` it is done, or given up."""

    __tablename__ = "alert_post"
    __table_args__ = (
        UniqueConstraint("alert_id", "event", "channel", name="uq_alert_post_once"),
        Index("ix_alert_post_next", "next_try_at"),  # every few seconds: what is due
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    alert_id: Mapped[int] = mapped_column(ForeignKey("alert.id", ondelete="CASCADE"))
    event: Mapped[str] = mapped_column(String(10))  # opened | over
    channel: Mapped[str] = mapped_column(String(20))
    attempts: Mapped[int] = mapped_column(default=0)
    next_try_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    done_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    trouble: Mapped[str] = mapped_column(Text, default="")
