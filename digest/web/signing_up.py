"""What the sign-up pages stand on, taken from the installation."""

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from digest.deliver import notices
from digest.deliver.upcoming import upcoming
from digest.errands import bounds_of
from digest.install import Install
from digest.timetable import Rule
from digest.web.words import long_day
from subscribers.signup_pages import Reception

_DAYS = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")


def reception_of(install: Install, clock: Callable[[], datetime]) -> Reception:
    """Put together what `subscribers.signup_pages` asks for.

    Raises:
        InstallError: the installation has no keys.
    """
    settings = install.settings
    publication = settings.file.publication

    def first_edition(session: Session, now: datetime) -> str:
        following = upcoming(session, settings, now)
        return f"No. {following.number} comes {long_day(following.release_at, publication.zone)}."

    return Reception(
        name=publication.name,
        home=publication.site,
        base=settings.base,
        rhythm=rhythm(settings.file.schedule.release_rule),
        books=install.database,
        keys=install.keys,
        bounds=bounds_of(settings),
        evidence_for=timedelta(days=settings.file.retention.evidence_days),
        proxies=settings.file.limits.proxies,
        queue=notices.queue(install.keys, settings, clock),
        first_edition=first_edition,
        clock=clock,
    )


def rhythm(release: Rule) -> str:
    """Say when the mail comes: "Fridays", "Mondays and Thursdays", "every day"."""
    days = [_DAYS[day] for day in sorted(release.days)]
    if not days or len(days) == len(_DAYS):
        return "every day" if days else "as it comes"
    return " and ".join(part for part in (", ".join(days[:-1]), days[-1]) if part)
