"""Alert notifications, one for each channel.

A notification that fails is retried up to five times on the same channel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from digest.app.alerts.channel import AlertChannel, AlertEvent
from digest.app.alerts.channels import list_enabled_channels, load_alert_channels
from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation
from digest.settings import Settings
from digest.store.alert_models import Alert, AlertNotification
from subscribers.errors import RefusalError
from subscribers.loggers import get_logger

# The times between attempts. After the last attempt, no more are made.
RETRY_DELAYS = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 30, 120, 720))
MAX_MESSAGES = 50  # per channel and run

SEND_TEST = Action("alert tested")

log = get_logger("alerts")


class AlertTestError(RefusalError):
    """Raised when a channel doesn't accept a test alert.

    The message says why and what to do.
    """


@dataclass(frozen=True, slots=True)
class _DueNotification:
    """A notification claimed by this process, with the number of earlier attempts."""

    number: int
    attempts: int
    event: AlertEvent
    alert: Alert


def queue_alert_notifications(
    session: Session, settings: Settings, alerts: Sequence[Alert], event: AlertEvent, *, now: datetime
) -> None:
    """Queue a notification of `event` for each alert, on each channel that handles such an event."""
    session.add_all(
        AlertNotification(alert_id=alert.id, event=event, channel=channel.name, next_try_at=now)
        for channel in list_enabled_channels(settings)
        for alert in alerts
        if channel.handles(session, settings, alert, event)
    )


def send_alert_notifications(installation: Installation, *, now: datetime) -> str:
    """Send the notifications that are due on each channel. Each is attempted at most six times.

    Return the counts as text, or an empty string if none was due.
    """
    sent = failed = 0
    for channel in list_enabled_channels(installation.settings):
        for _ in range(MAX_MESSAGES):
            posts = _claim_due_posts(installation, channel, now)
            if not posts:
                break
            events = [(post.alert, post.event) for post in posts]
            trouble = channel.send(installation, events, now)
            _record_outcome(installation, channel, posts, trouble, now)
            sent, failed = sent + (not trouble), failed + bool(trouble)
    return f"{sent} posts of alerts, {failed} failed" if sent or failed else ""


def _claim_due_posts(installation: Installation, channel: AlertChannel, now: datetime) -> list[_DueNotification]:
    """Claim the due notifications that fit into one message.

    The time of their next attempt is set first, so that no other process sends them.
    """
    is_due = (AlertNotification.channel == channel.name, AlertNotification.next_try_at <= now)
    due = select(AlertNotification).where(*is_due).order_by(AlertNotification.id)
    due = due.limit(channel.batch_size)
    with installation.read() as session:
        if session.scalars(due).first() is None:
            return []
    with installation.write() as session:
        posts = session.scalars(due.with_for_update(skip_locked=True)).all()
        return [_claim(session, post, now) for post in posts]


def _claim(session: Session, post: AlertNotification, now: datetime) -> _DueNotification:
    tries = post.attempts
    post.attempts = tries + 1
    post.next_try_at = now + RETRY_DELAYS[tries] if tries < len(RETRY_DELAYS) else None
    alert = session.get_one(Alert, post.alert_id)
    return _DueNotification(post.id, tries, cast("AlertEvent", post.event), alert)


def _record_outcome(
    installation: Installation, channel: AlertChannel, posts: Sequence[_DueNotification], trouble: str, now: datetime
) -> None:
    values = {"trouble": trouble} if trouble else {"trouble": "", "done_at": now, "next_try_at": None}
    statement = update(AlertNotification).where(AlertNotification.id.in_([post.number for post in posts]))
    with installation.write() as session:
        session.execute(statement.values(**values))
    if trouble:
        kinds = [post.alert.kind for post in posts]
        is_given_up = any(post.attempts >= len(RETRY_DELAYS) for post in posts)
        log.warning("couldn't send an alert", channel=channel.name, kinds=kinds, trouble=trouble, given_up=is_given_up)


def send_test_alert(installation: Installation, actor: Actor, channel_name: str, *, now: datetime) -> None:
    """Send a test alert over a channel.

    The alert says that nothing is wrong.

    Raises:
        NotPermittedError: the actor isn't an admin.
        AlertTestError: the channel can't be tested, is off, or its receiver didn't accept the test.
    """
    with SEND_TEST.steps(installation, actor, channel_name, now=now) as draft:
        channel = load_alert_channels().get(channel_name)
        if channel is None or channel.test is None:
            raise AlertTestError("This channel can't be tested. Choose another.")
        if not channel.is_on(installation.settings):
            raise AlertTestError(f"There's no {channel.title} yet. Enter one and save, then send the test.")
        trouble = channel.test.send(installation, now)
        draft.detail = {"trouble": trouble}
        if trouble:
            raise AlertTestError(
                f"The test failed ({trouble}). Check the URL and the server behind it, then try again."
            )
