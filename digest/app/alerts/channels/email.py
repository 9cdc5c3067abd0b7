"""Alert emails: one message for all the alerts that a check opened or ended.

The messages go to the staff chosen in `alerts.mail`.
"""

from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from digest.app.alerts.channel import AlertChannel, AlertEvent, AlertEvents
from digest.app.alerts.problem_detection import OWN_EMAIL_KINDS
from digest.deliver.control import article_recheck_results
from digest.edition.calendar.calendar_store import find_deadline
from digest.edition.calendar.release_calendar import DeadlineDecision
from digest.edition.edition_queries import UnknownEditionError, find_edition
from digest.installation.opened_installation import Installation
from digest.installation.staff_mail import (
    StaffMailKind,
    is_staff_mailed,
    make_deadline_email_key,
    make_pause_email_key,
    queue_staff_mail,
)
from digest.settings import Settings
from digest.store.alert_models import Alert
from digest.store.models import Edition
from subscribers.english_text import curl_quotes, short_day_and_hour
from subscribers.errors import ApplicationError

# While sending is paused, no email is sent, including one that says so.
UNMAILED_KINDS = frozenset({"held"})


def send_alert_email(installation: Installation, events: AlertEvents, now: datetime) -> str:
    """Queue one email about new and resolved alerts.

    Return an error message, or an empty string if the email was queued. Emails are encrypted until
    they're sent, so they can't be queued without the keys.
    """
    opened = [alert for alert, event in events if event == "opened"]
    over = [alert for alert, event in events if event == "over"]
    zone = installation.settings.zone
    facts = {
        "heading": format_alert_heading(len(opened), len(over)),
        "opened": "\n\n".join(curl_quotes(alert.sentence) for alert in opened),
        "over": "\n\n".join(curl_quotes(describe_resolved_alert(alert, zone)) for alert in over),
        "address": f"{installation.settings.link_base}/desk/",
    }
    occasion = f"{min(alert.id for alert, _ in events)}-{now:%Y%m%d%H%M%S}"
    admins_only = installation.settings.file.alerts.mail == "admins"
    try:
        with installation.write() as session:
            queue_staff_mail(session, installation, "alert", occasion, facts, now=now, admins_only=admins_only)
    except ApplicationError as exc:
        return str(exc)
    return ""


def is_emailed(session: Session, settings: Settings, alert: Alert, event: AlertEvent) -> bool:
    """Return True if an alert should be emailed.

    That's every alert except those about a pause of all sending and new ones that another email
    covers.
    """
    if alert.kind in UNMAILED_KINDS:
        return False
    return event == "over" or alert.kind not in OWN_EMAIL_KINDS or not _has_own_email(session, settings, alert)


def _has_own_email(session: Session, settings: Settings, alert: Alert) -> bool:
    """Return True if another, more detailed email about the alert's edition was queued.

    The email itself is looked up, because it may not have been queued even if a rule calls for it.
    """
    try:
        edition = find_edition(session, alert.subject)
    except UnknownEditionError:
        return False
    return any(is_staff_mailed(session, *email) for email in _own_emails(session, settings, alert.kind, edition))


def _own_emails(
    session: Session, settings: Settings, kind: str, edition: Edition
) -> Iterator[tuple[StaffMailKind, str]]:
    """Yield the kind and occasion of each email that may have covered an alert about an edition."""
    deadline = find_deadline(session, settings.file, edition)
    if kind == "missed-deadline" and deadline is not None:
        yield "deadline", make_deadline_email_key(edition.slot, DeadlineDecision.WAIT, deadline)
    check = article_recheck_results.read_article_check(session, edition.name)
    is_by_look = check is not None and article_recheck_results.is_paused_by_article_check(edition, check)
    if check is not None and (is_by_look if kind == "paused" else kind == "gone-articles" and check.gone):
        yield "gone", check.occasion
    if kind == "paused" and edition.paused_at is not None:
        yield "alarm", make_pause_email_key(edition.name, edition.paused_at)


def format_alert_heading(opened: int, over: int) -> str:
    """Return the heading of an alert email, also used as its subject.

    The arguments are the numbers of new and resolved alerts.
    """
    if not opened:
        return "An alert is resolved" if over == 1 else f"{over} alerts are resolved"
    return "1 problem needs your attention" if opened == 1 else f"{opened} problems need your attention"


def describe_resolved_alert(alert: Alert, zone: ZoneInfo) -> str:
    """Return a sentence that describes a resolved alert and says when it ended."""
    ended = (alert.missing_since or alert.ended_at or alert.seen_at).astimezone(zone)
    return f"Resolved on {short_day_and_hour(ended)}: {alert.sentence}"


CHANNEL = AlertChannel("email", "email", "mail", send_alert_email, batch_size=100, handles=is_emailed)
