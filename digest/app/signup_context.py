"""What the sign-up pages are handed, taken from the installation."""

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from digest.app.background import signup_limits
from digest.app.installation import Installation
from digest.deliver.plan.upcoming_edition import find_upcoming_edition
from digest.deliver.send import notices
from digest.timetable import ScheduleRule
from subscribers.pages.signup import SignupContext
from subscribers.phrases import join_words, weekday_date

_DAY_NAMES = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")


def build_signup_context(installation: Installation, clock: Callable[[], datetime]) -> SignupContext:
    """Build what `subscribers.pages.signup` is handed.

    Raises:
        InstallationError: the installation has no keys.
    """
    settings = installation.settings
    publication = settings.file.publication

    def first_edition(session: Session, now: datetime) -> str:
        upcoming = find_upcoming_edition(session, settings, now)
        return f"No. {upcoming.number} comes {weekday_date(upcoming.release_at.astimezone(publication.zone))}."

    return SignupContext(
        publication_name=publication.name,
        home_url=publication.site,
        base_url=settings.link_base,
        schedule=describe_release_days(settings.file.schedule.release_rule),
        database=installation.database,
        keys=installation.keys,
        bounds=signup_limits(settings),
        evidence_retention=timedelta(days=settings.file.retention.evidence_days),
        trusted_proxies=settings.file.limits.proxies,
        queue=notices.make_notice_queue(installation.keys, settings, clock),
        describe_first_edition=first_edition,
        clock=clock,
    )


def describe_release_days(rule: ScheduleRule) -> str:
    """Say when the mail comes: "Fridays", "Mondays and Thursdays", "every day"."""
    days = [_DAY_NAMES[day] for day in sorted(rule.days)]
    if not days or len(days) == len(_DAY_NAMES):
        return "every day" if days else "as it comes"
    return join_words(days)
