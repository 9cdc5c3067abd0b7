"""Alerts by email: one for all that one look found, to the staff whom `alerts.mail` names."""

from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from digest.app.alerts.channel import AlertChannel, AlertEvent, AlertEvents
from digest.deliver.control import article_checks, edition_control
from digest.edition.queries import UnknownEditionError, find_edition
from digest.installation.opened import Installation
from digest.installation.staff_mail import queue_staff_mail
from digest.store.alert_models import Alert
from subscribers.errors import ApplicationError

# While the installation is held no mail leaves, this one neither.
UNMAILED_KINDS = frozenset({"held"})
# Deadlines and articles that are gone have mails of their own, which say more; their end is said here.
OWN_MAIL_KINDS = frozenset({"missed-deadline", "gone-articles"})


def send_alert_email(installation: Installation, events: AlertEvents, now: datetime) -> str:
    """Queue one email of what opened and what is over; say what went wrong, empty if nothing did.

    Emails are encrypted until they have left, so without the keys none can be queued.
    """
    opened = [alert for alert, event in events if event == "opened"]
    over = [alert for alert, event in events if event == "over"]
    zone = installation.settings.file.publication.zone
    facts = {
        "heading": write_heading(len(opened), len(over)),
        "opened": "\n\n".join(alert.sentence for alert in opened),
        "over": "\n\n".join(describe_end(alert, zone) for alert in over),
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


def is_emailed(session: Session, alert: Alert, event: AlertEvent) -> bool:
    """Decide whether an email tells of an alert: not where another email does, or none can leave."""
    if alert.kind in UNMAILED_KINDS:
        return False
    return event == "over" or not _has_own_mail(session, alert)


def _has_own_mail(session: Session, alert: Alert) -> bool:
    return alert.kind in OWN_MAIL_KINDS or (alert.kind == "paused" and _is_pause_mailed(session, alert.subject))


def _is_pause_mailed(session: Session, name: str) -> bool:
    """Whether an edition rests because of an alarm or a gone article: both are mailed as such."""
    try:
        edition = find_edition(session, name)
    except UnknownEditionError:
        return False
    look = article_checks.read_look(session, name)
    is_by_look = look is not None and article_checks.is_paused_by(edition, look)
    return is_by_look or edition_control.is_paused_by_alarm(session, edition)


def write_heading(opened: int, over: int) -> str:
    """Return the heading, which is also the subject."""
    if not opened:
        return "An alert is resolved" if over == 1 else f"{over} alerts are resolved"
    return "1 problem needs your attention" if opened == 1 else f"{opened} problems need your attention"


def describe_end(alert: Alert, zone: ZoneInfo) -> str:
    """Describe a resolved alert and when it ended."""
    ended = (alert.missing_since or alert.ended_at or alert.seen_at).astimezone(zone)
    return f"Resolved on {ended:%b %d %H:%M %Z}: {alert.sentence}"


CHANNEL = AlertChannel("email", "email", "mail", send_alert_email, batch_size=100, tells=is_emailed)
