"""The edition that comes next, and the latest one, as a new reader is told."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.edition.queries import find_next_release, next_edition_number
from digest.settings import Settings
from digest.store.models import Edition, EditionState


@dataclass(frozen=True, slots=True)
class UpcomingEdition:
    """The next edition by the timetable: its number and its release, UTC."""

    number: int
    release_at: datetime


def find_upcoming_edition(session: Session, settings: Settings, now: datetime) -> UpcomingEdition:
    """Return the edition that a reader who subscribes now gets first, if it is approved in time."""
    publication = settings.file.publication
    release_at, edition = find_next_release(session, settings.file.schedule.release_rule, publication.zone, now)
    if edition is None:
        return UpcomingEdition(next_edition_number(session, publication.first_number), release_at)
    return UpcomingEdition(edition.number, edition.release_at if edition.state == EditionState.APPROVED else release_at)


def find_latest_edition(session: Session, now: datetime) -> Edition | None:
    """Return the newest edition that is public at `now`, None before the first."""
    public = (Edition.state.in_((EditionState.SENDING, EditionState.SENT)), Edition.release_at <= now)
    return session.scalar(select(Edition).where(*public).order_by(Edition.release_at.desc()).limit(1))
