"""The tables of alerts: what needs somebody, from when to when, and what each channel told of it."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from subscribers.store.column_types import RowId, Str10, Str20, Str40, Str200
from subscribers.store.models import Base, Moment

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

    id: Mapped[RowId]
    kind: Mapped[Str40]
    subject: Mapped[Str200]
    sentence: Mapped[str]
    seen_at: Mapped[Moment]
    opened_at: Mapped[datetime | None]
    missing_since: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class AlertNotification(Base):
    """An alert told over one channel, as it opens or when it is over. Without `next_try_at` it is done, or given up."""

    __tablename__ = "alert_post"
    __table_args__ = (
        UniqueConstraint("alert_id", "event", "channel", name="uq_alert_post_once"),
        Index("ix_alert_post_next", "next_try_at"),  # every few seconds: what is due
    )

    id: Mapped[RowId]
    alert_id: Mapped[int] = mapped_column(ForeignKey("alert.id", ondelete="CASCADE"))
    event: Mapped[Str10]  # opened | over
    channel: Mapped[Str20]
    attempts: Mapped[int] = mapped_column(default=0)
    next_try_at: Mapped[datetime | None]
    done_at: Mapped[datetime | None]
    trouble: Mapped[str] = mapped_column(default="")
