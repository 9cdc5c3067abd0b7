"""Emails about editions that were paused automatically.

They're sent because no one on the team may be looking at the desk.
"""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.deliver.control import article_recheck_results, edition_control, installation_hold
from digest.deliver.plan.delivery_plan import count_deliveries, make_edition_delivery_purpose
from digest.installation.opened_installation import Installation
from digest.installation.staff_mail import make_pause_email_key, queue_staff_mail
from digest.store.audit import record_audit
from digest.store.models import Edition
from digest.store.staff import list_verified_staff
from subscribers.english_text import curl_quotes

PAUSE_EMAILED = "alarm mailed"  # the name of the action in the audit log


def email_automatic_pauses(installation: Installation, *, now: datetime) -> int:
    """Email all verified staff about each new automatic pause, and return the number of pauses."""
    resting = (Edition.paused_at.is_not(None), Edition.state.in_(edition_control.PAUSABLE_STATES))
    with installation.read() as session:
        editions = session.scalars(select(Edition).where(*resting))
        names = [edition.name for edition in editions if _is_new_pause(session, edition)]
    return sum(_email_pause(installation, name, now) for name in names)


def _is_new_pause(session: Session, edition: Edition) -> bool:
    """Return True if an edition was paused automatically and no email about that has been queued.

    The final check sends emails of its own, so its pauses don't count.
    """
    assert edition.paused_at is not None, "it rests"
    reported_pause = installation_hold.read_installation_value(session, _state_key(edition))
    article_check = article_recheck_results.read_article_check(session, edition.name)
    if (reported_pause is not None and reported_pause["paused_at"] == edition.paused_at.isoformat()) or (
        article_check is not None and article_recheck_results.is_paused_by_article_check(edition, article_check)
    ):
        return False
    return edition_control.is_paused_automatically(session, edition)


def _state_key(edition: Edition) -> str:
    return f"alarm told {edition.name}"


def _email_pause(installation: Installation, name: str, now: datetime) -> bool:
    with installation.write() as session:
        locked = select(Edition).where(Edition.name == name).with_for_update()
        edition = session.scalars(locked).one()
        if edition.paused_at is None or not _is_new_pause(session, edition):
            return False  # another process was faster, or someone resumed the edition
        counts = count_deliveries(session, make_edition_delivery_purpose(name))
        facts = {
            "number": edition.title,
            "reason": curl_quotes(edition.paused_because),
            "waiting": f"{counts.open:,}",
            "handed_over": f"{counts.handed_over:,}",
            "address": f"{installation.settings.link_base}/desk/editions/{name}/sending",
        }
        queue_staff_mail(session, installation, "alarm", make_pause_email_key(name, edition.paused_at), facts, now=now)
        state = {"paused_at": edition.paused_at.isoformat()}
        installation_hold.write_installation_value(session, _state_key(edition), state, now=now)
        detail = {"staff": [member.id for member in list_verified_staff(session)]}
        record_audit(session, PAUSE_EMAILED, name, detail, actor="scheduler", now=now)
    return True
