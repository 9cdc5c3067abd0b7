"""Emails that ask inactive subscribers whether they want to stay subscribed."""

from datetime import datetime, timedelta

from digest.app.subscribers.consent_texts import build_consent_text
from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation
from digest.installation.staff_mail import make_mail_queue
from subscribers.lifecycle import inactivity_questions
from subscribers.lifecycle.inactivity_questions import InactivityQuestion

ASK = Action("silent readers asked")
SUBJECT = "silent readers"
ANSWER_DAYS = inactivity_questions.ANSWER_PERIOD.days
USUAL_YEARS = 2
MOST_YEARS = 20
_DAYS_A_YEAR = 365.25


def find_inactivity_start(years: int, now: datetime) -> datetime:
    """Return the time `years` before `now`.

    Subscribers who have shown no activity since then are inactive.
    """
    return now - timedelta(days=years * _DAYS_A_YEAR)


def count_inactive_subscribers(installation: Installation, actor: Actor, years: int, *, now: datetime) -> int:
    """Count the subscribers who could be asked.

    For a large list, this takes a few seconds.

    Raises:
        NotPermittedError: the actor isn't an admin.
    """
    ASK.check_permitted(installation, actor, SUBJECT, now=now)
    with installation.read() as session:
        return inactivity_questions.count_inactive_subscribers(session, find_inactivity_start(years, now))


def ask_inactive_subscribers(
    installation: Installation, actor: Actor, years: int, *, takes_off: bool, limit: int, now: datetime
) -> int:
    """Queue emails to up to `limit` subscribers who have been inactive for `years`.

    Return the number of emails queued. With `takes_off`, the email says that people who don't
    answer in time will be removed, and nightly maintenance then removes them.

    Raises:
        NotPermittedError: the actor isn't an admin.
    """
    settings = installation.settings
    with ASK.steps(installation, actor, SUBJECT, now=now) as draft:
        asked_count = inactivity_questions.queue_inactivity_questions(
            installation.database,
            make_mail_queue(installation, now),
            InactivityQuestion(find_inactivity_start(years, now), takes_off),
            wording=build_consent_text(settings),
            page=f"{settings.link_base}/stay",
            actor=actor.name,
            limit=limit,
            now=now,
        )
        draft.detail = {"asked": asked_count, "years": years, "takes off": takes_off}
        return asked_count
