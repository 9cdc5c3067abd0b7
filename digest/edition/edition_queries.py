"""Queries for editions: the sent ones, the next one, and their numbers."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

from sqlalchemy import Select, bindparam, select
from sqlalchemy.orm import Session, defer

from digest.edition.calendar.calendar_store import load_calendar
from digest.edition.calendar.release_calendar import PlannedRelease, ReleaseCalendar
from digest.edition.content.edition_content import RenderedFragment
from digest.edition.content.slotted_text import unpack_slots
from digest.settings import Settings
from digest.store.imported_edition_models import ImportedEdition
from digest.store.models import BREAKING_NEWS_NUMBER, Edition, EditionState, RenderedEditionFragment
from subscribers.errors import ApplicationError

OUTGOING_STATES = (EditionState.APPROVED, EditionState.SENDING, EditionState.SENT)
MISSED_RELEASE_LIMIT = timedelta(hours=24)  # an approved edition isn't sent automatically if it's later than this
UNAPPROVED_STATES = (EditionState.DRAFT, EditionState.INCOMPLETE)
COMING_STATES = (*UNAPPROVED_STATES, EditionState.APPROVED)
PUBLIC_STATES = (EditionState.SENDING, EditionState.SENT)  # publicly readable
DRAFT_ACT = "draft"  # action in the audit log, with the edition as its subject
FINISHED_STATES = (EditionState.SENT, EditionState.CANCELLED)
# Breaking news isn't part of the sequence of editions (windows, numbers, repeats, archive).
IS_REGULAR = Edition.number != BREAKING_NEWS_NUMBER
# Query options for editions whose texts aren't needed. Parsing the texts takes longer than
# everything else.
WITHOUT_TEXTS = (defer(Edition.content), defer(Edition.written_parts))


class UnknownEditionError(ApplicationError):
    """Raised when no edition has a given name.

    The message lists up to five of the latest editions.
    """


def find_edition(session: Session, name: str, *, lock: bool = False) -> Edition:
    """Return the edition with the given name.

    "current" means the result of `find_upcoming_or_last_edition`. If `lock` is true, the edition's
    row is locked, except for "current".

    Raises:
        UnknownEditionError: no edition has that name.
    """
    if name == "current":
        edition = find_upcoming_or_last_edition(session)
    else:
        edition = session.scalar(_select_edition(lock=lock), {"edition_name": name})
    if edition is None:
        latest = select(Edition.name).order_by(Edition.release_at.desc()).limit(5)
        advice = "Draft the first one with 'digest draft'."
        if names := session.scalars(latest).all():
            advice = f"Choose one of the latest: {', '.join(names)}."
        raise UnknownEditionError(f"There's no edition {name}.", advice)
    return edition


@cache  # used by every operation on an edition
def _select_edition(*, lock: bool) -> Select[Edition]:
    query = select(Edition).where(Edition.name == bindparam("edition_name"))
    return query.with_for_update() if lock else query


def make_release_slot_key(release_at: datetime) -> str:
    """Return the key of a release's slot. The table allows one edition per slot."""
    return release_at.isoformat(timespec="seconds")


def find_upcoming_or_last_edition(session: Session) -> Edition | None:
    """Return the unfinished regular edition with the latest release, or else the latest edition of all, or None."""
    editions = select(Edition).where(IS_REGULAR).order_by(Edition.release_at.desc(), Edition.id.desc())
    coming = editions.where(Edition.state.not_in(FINISHED_STATES))
    return session.scalar(coming.limit(1)) or session.scalar(editions.limit(1))


def find_next_release(
    session: Session, calendar: ReleaseCalendar, now: datetime
) -> tuple[PlannedRelease, Edition | None]:
    """Return the calendar's next release, and the edition drafted for it, if any.

    If the hour or the time zone was changed, an unsent edition's release may no longer be in the
    calendar. Such an edition also belongs to the next release, unless there has been another
    release since. Therefore, there's only one edition per release, however the settings change.
    """
    release = calendar.next_release(now)
    same = session.scalar(select(Edition).where(Edition.slot == make_release_slot_key(release.release_at)))
    if same is not None:
        return release, same
    latest = calendar.latest_release(now)
    is_waiting = (IS_REGULAR, Edition.state.in_(COMING_STATES))
    waiting = select(Edition).where(*is_waiting).order_by(Edition.release_at)
    if latest is not None:
        waiting = waiting.where(Edition.release_at > latest.release_at)
    outside = (e for e in session.scalars(waiting) if calendar.find_release(e.release_at) is None)
    return release, next(outside, None)


def next_edition_number(session: Session, first_number: int) -> int:
    """Return the number of the next edition.

    If an edition didn't reach anyone, its number is used again.
    """
    cancelled_on_its_way = Edition.planned_at.is_not(None)
    had = Edition.state.in_(OUTGOING_STATES) | cancelled_on_its_way
    # Compare in Python, because SQLite would treat a text as the greatest number.
    numbers = [
        *session.scalars(select(Edition.number).where(IS_REGULAR, had)),
        *filter(None, session.scalars(select(ImportedEdition.number))),
    ]
    return max(numbers, default=first_number - 1) + 1


def select_editions_before(release_at: datetime) -> Select[Edition]:
    """Return an unordered query for the regular editions before a release that are approved, sending, or sent."""
    return select(Edition).where(IS_REGULAR, Edition.state.in_(OUTGOING_STATES), Edition.release_at < release_at)


def find_last_cut_off(session: Session, release_at: datetime) -> datetime | None:
    """Return the latest cutoff among the editions before a release, or None if there are none.

    The release's window opens at that time.
    """
    last = select_editions_before(release_at).order_by(Edition.cut_off.desc()).limit(1)
    return edition.cut_off if (edition := session.scalar(last)) else None


def explain_missed_release(edition: Edition, now: datetime) -> str:
    """Explain that an approved edition missed its send time by over a day, and what to do.

    Return "" if it didn't. After a long downtime, or in a restored copy, the news may be out of
    date, so a person decides. For an edition that was approved after its send time, such as
    breaking news, the time since the approval counts.
    """
    if edition.state != EditionState.APPROVED or edition.approved_at is None:
        return ""
    if now - max(edition.release_at, edition.approved_at) <= MISSED_RELEASE_LIMIT:
        return ""
    if edition.is_breaking_news:
        return (
            f"The edition was approved more than a day ago. Check the news, then revoke the approval and approve the "
            f"edition again, or cancel it with 'digest cancel {edition.name}'."
        )
    return (
        f"The edition missed its send time by more than a day, so it won't be sent automatically. Send it with "
        f"'digest send {edition.name}', or cancel it with 'digest cancel {edition.name}'."
    )


def load_rendered_fragments(session: Session, edition: Edition) -> tuple[RenderedFragment, ...]:
    """Return the stored fragments of an edition's draft, in order."""
    stored = RenderedEditionFragment
    columns = select(stored.kind, stored.name, stored.body, stored.slots).where(stored.edition_id == edition.id)
    rows = session.execute(columns.order_by(stored.position, stored.id))
    return tuple(RenderedFragment(kind, name, body, unpack_slots(slots)) for kind, name, body, slots in rows)


@dataclass(frozen=True, slots=True)
class UpcomingEdition:
    """The number of the next edition to be sent, and its send time in UTC."""

    number: int
    release_at: datetime


def find_upcoming_edition(session: Session, settings: Settings, now: datetime) -> UpcomingEdition:
    """Return the first edition that a new subscriber would get, assuming that it's approved in time.

    Drafts that missed their send time keep their numbers, as in the calendar.
    """
    release, edition = find_next_release(session, load_calendar(session, settings.file), now)
    if edition is not None and edition.state not in UNAPPROVED_STATES:
        approved = edition.state == EditionState.APPROVED
        return UpcomingEdition(edition.number, edition.release_at if approved else release.release_at)
    number = next_edition_number(session, settings.file.publication.first_number)
    late = select(Edition.id).where(IS_REGULAR, Edition.state.in_(UNAPPROVED_STATES), Edition.release_at <= now)
    late_ids = set(session.scalars(late)) - {edition and edition.id}
    return UpcomingEdition(number + len(late_ids), release.release_at)


def find_latest_public_edition(session: Session, now: datetime) -> Edition | None:
    """Return the latest regular edition that's public at `now`, or None."""
    public = select(Edition).where(IS_REGULAR, Edition.state.in_(PUBLIC_STATES), Edition.release_at <= now)
    return session.scalar(public.order_by(Edition.release_at.desc()).limit(1))


def count_merged_subscribers(session: Session) -> int:
    """Return the stored number of subscribers who got extra parts, from the latest regular edition that has one.

    Return 0 if no edition was counted.
    """
    counted = select(Edition.merged).where(IS_REGULAR, Edition.merged.is_not(None))
    return session.scalar(counted.order_by(Edition.release_at.desc()).limit(1)) or 0
