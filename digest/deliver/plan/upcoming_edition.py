"""The edition that comes next, and the one that went out last: what a new reader is told."""

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
    """Say which edition a reader who subscribes now gets first, if it is approved in time."""
    publication = settings.file.publication
    release_at, here = find_next_release(session, settings.file.schedule.release_rule, publication.zone, now)
    if here is None:
        return UpcomingEdition(next_edition_number(session, publication.first_number), release_at)
    return UpcomingEdition(here.number, here.release_at if here.state == EditionState.APPROVED else release_at)


def find_latest_edition(session: Session, now: datetime) -> Edition | None:
    """Give the newest edition that anybody may read at `now`, None before the first."""
    public = (Edition.state.in_((EditionState.SENDING, EditionState.SENT)), Edition.release_at <= now)
    return session.scalar(select(Edition).where(*public).order_by(Edition.release_at.desc()).limit(1))
