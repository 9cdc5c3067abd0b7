"""The tables for alerts and their notifications."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from subscribers.store.column_types import RowId, Str10, Str20, Str40, Str200
from subscribers.store.models import Base, Moment

OPEN_ALERT = text("ended_at IS NULL")


class Alert(Base):
    """A problem that needs attention, identified by `kind` and `subject`.

    It doesn't identify subscribers. Problems that often resolve themselves are observed for a while
    before the alert is opened and sent. `missing_since` is set while the problem is absent but the
    alert doesn't count as resolved yet.
    """

    __tablename__ = "alert"
    __table_args__ = (
        Index(
            "uq_alert_one_open", "kind", "subject", unique=True, sqlite_where=OPEN_ALERT, postgresql_where=OPEN_ALERT
        ),
        Index("ix_alert_ended", "ended_at"),  # open alerts, every minute; old alerts, every night
        {"sqlite_autoincrement": True},  # recipients identify alerts by ID, so IDs aren't reused
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
    """A notification, on one channel, that an alert was opened or resolved.

    `next_try_at` is None once the notification was delivered or given up.
    """

    __tablename__ = "alert_post"
    __table_args__ = (
        UniqueConstraint("alert_id", "event", "channel", name="uq_alert_post_once"),
        Index("ix_alert_post_next", "next_try_at"),  # due notifications, every few seconds
    )

    id: Mapped[RowId]
    alert_id: Mapped[int] = mapped_column(ForeignKey("alert.id", ondelete="CASCADE"))
    event: Mapped[Str10]  # opened | over
    channel: Mapped[Str20]
    attempts: Mapped[int] = mapped_column(default=0)
    next_try_at: Mapped[datetime | None]
    done_at: Mapped[datetime | None]
    trouble: Mapped[str] = mapped_column(default="")
