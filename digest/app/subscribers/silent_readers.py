"""Asking readers of whom nothing was heard for long whether they still want the mail, by an admin."""

from datetime import datetime, timedelta

from digest.app.subscribers.consent_wordings import current_wording
from digest.deliver.send.notices import notice_queue
from digest.installation.acts import Act, Actor, Role
from digest.installation.opened import Installation
from digest.settings.concerns import Concern
from subscribers.lifecycle import silent_readers
from subscribers.lifecycle.silent_readers import SilenceQuestion

ASK = Act("silent readers asked", Role.ADMIN, Concern.ADDRESSES)
SUBJECT = "silent readers"
ANSWER_DAYS = silent_readers.ANSWER_PERIOD.days
USUAL_YEARS = 2
MOST_YEARS = 20
_DAYS_A_YEAR = 365.25


def silence_begin(years: int, now: datetime) -> datetime:
    """Return the moment since when nothing may have been heard, so many years before `now`."""
    return now - timedelta(days=years * _DAYS_A_YEAR)


def count_silent_readers(installation: Installation, actor: Actor, years: int, *, now: datetime) -> int:
    """Count the readers who could be asked; with a large list that takes some seconds.

    Raises:
        NotPermittedError: the actor is no admin.
    """
    ASK.check_permitted(installation.database, actor, SUBJECT, now=now)
    with installation.database.read() as session:
        return silent_readers.count_silent_readers(session, silence_begin(years, now))


def ask_silent_readers(
    installation: Installation, actor: Actor, years: int, *, takes_off: bool, limit: int, now: datetime
) -> int:
    """Queue the question for up to `limit` readers who have been silent for so many years; give for how many.

    With `takes_off` the question says that who does not answer in time is taken off the list, and the nightly work does so.

    Raises:
        NotPermittedError: the actor is no admin.
    """
    settings = installation.settings
    with ASK.steps(installation, actor, SUBJECT, now=now) as draft:
        asked = silent_readers.queue_silence_questions(
            installation.database,
            notice_queue.make_notice_queue(installation.keys, settings, lambda: now),
            SilenceQuestion(silence_begin(years, now), takes_off),
            wording=current_wording(settings),
            page=f"{settings.link_base}/stay",
            actor=actor.name,
            limit=limit,
            now=now,
        )
        draft.detail = {"asked": asked, "years": years, "takes off": takes_off}
        return asked
