"""The tables of alerts and of their notifications over each channel."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from subscribers.store.column_types import RowId, Str10, Str20, Str40, Str200
from subscribers.store.models import Base, Moment

OPEN_ALERT = text("ended_at IS NULL")


class Alert(Base):
    """A problem that needs attention, identified by `kind` and `subject`; it names no subscriber.

    Problems that often resolve without help are observed for a while before the alert is opened and sent.
    `missing_since` is set while the problem is absent, until the alert counts as resolved.
    """

    __tablename__ = "alert"
    __table_args__ = (
        Index(
            "uq_alert_one_open", "kind", "subject", unique=True, sqlite_where=OPEN_ALERT, postgresql_where=OPEN_ALERT
        ),
        Index("ix_alert_ended", "ended_at"),  # every minute: open alerts; every night: old ones
        {"sqlite_autoincrement": True},  # receivers identify an alert by its ID, so IDs aren't reused
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
    """A notification over one channel that an alert opened or ended; delivered or given up if `next_try_at` is None."""

    __tablename__ = "alert_post"
    __table_args__ = (
        UniqueConstraint("alert_id", "event", "channel", name="uq_alert_post_once"),
        Index("ix_alert_post_next", "next_try_at"),  # every few seconds: due notifications
    )

    id: Mapped[RowId]
    alert_id: Mapped[int] = mapped_column(ForeignKey("alert.id", ondelete="CASCADE"))
    event: Mapped[Str10]  # opened | over
    channel: Mapped[Str20]
    attempts: Mapped[int] = mapped_column(default=0)
    next_try_at: Mapped[datetime | None]
    done_at: Mapped[datetime | None]
    trouble: Mapped[str] = mapped_column(default="")
