"""The drafts of releases that are moved or skipped: checks, and rendering for another time."""

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.edition.approval.approved_versions import supersede_outdated_approval
from digest.edition.calendar import calendar_store
from digest.edition.calendar.release_calendar import PlannedRelease, ReleaseCalendar
from digest.edition.drafting.composition import ComposedEdition, compose_edition, save_edition_content
from digest.edition.drafting.content_builder import EditionIdentity
from digest.edition.drafting.drafts import name_edition_of_release, replace_fragments
from digest.edition.editing.edit_log import load_edits, load_proposal, read_proposal_hash
from digest.edition.edition_queries import COMING_STATES, UNAPPROVED_STATES, make_release_slot_key
from digest.installation.opened_installation import Installation
from digest.store.models import Edition, EditionState
from subscribers.errors import RefusalError


class CalendarError(RefusalError):
    """Raised when a change to the calendar is refused. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class MovedDraft:
    """A draft that was rendered for the send time of another release.

    `last_seq` and `proposal_hash` identify the edits and the proposal that it was rendered from.
    """

    edition_id: int
    identity: EditionIdentity
    composed: ComposedEdition
    last_seq: int
    proposal_hash: str | None


def compose_moved_draft(
    session: Session, installation: Installation, calendar: ReleaseCalendar, release: PlannedRelease, at: datetime
) -> MovedDraft | None:
    """Render a release's draft for another time, and return it, or None if there's no draft.

    Raises:
        CalendarError: the edition is approved, being sent, or sent, or its draft was changed
            outside the program.
    """
    edition = find_movable_draft(session, release)
    if edition is None:
        return None
    proposal, edits = load_proposal(session, edition), load_edits(session, edition)
    if proposal is None:
        raise CalendarError(
            f"{edition.name} was changed outside the program.",
            "Draft the edition again with 'digest draft', then change its send time.",
        )
    planned = PlannedRelease(at, release.regular_at)
    name = name_edition_of_release(session, calendar, planned, edition)
    identity = replace(EditionIdentity.of_edition(edition), name=name, release_at=at)
    composed = compose_edition(proposal, edits, identity, installation.settings)
    return MovedDraft(edition.id, identity, composed, len(edits), read_proposal_hash(session, edition))


def is_draft_unchanged(
    session: Session,
    calendar: ReleaseCalendar,
    installation: Installation,
    release: PlannedRelease,
    moved_draft: MovedDraft | None,
) -> bool:
    """Return True if the calendar and the draft haven't changed since `moved_draft` was rendered.

    The draft's row is locked.
    """
    if calendar_store.load_calendar(session, installation.settings.file) != calendar:
        return False
    edition = find_movable_draft(session, release, lock=True)
    if edition is None or moved_draft is None:
        return edition is None and moved_draft is None
    as_rendered = (moved_draft.edition_id, moved_draft.last_seq, moved_draft.proposal_hash)
    return (edition.id, len(load_edits(session, edition)), read_proposal_hash(session, edition)) == as_rendered


def store_moved_draft(session: Session, moved_draft: MovedDraft, now: datetime) -> None:
    """Store a draft that was rendered for another release.

    An approval for the old send time is superseded.
    """
    edition, identity = session.get_one(Edition, moved_draft.edition_id), moved_draft.identity
    edition.slot, edition.name = make_release_slot_key(identity.release_at), identity.name
    edition.release_at = identity.release_at
    save_edition_content(edition, moved_draft.composed)
    replace_fragments(session, edition, moved_draft.composed.fragments)
    session.flush()
    supersede_outdated_approval(session, edition, now=now)


def find_movable_draft(session: Session, release: PlannedRelease, *, lock: bool = False) -> Edition | None:
    """Return a release's draft if it can be skipped or moved.

    Return None if there's no draft or if it was canceled.

    Raises:
        CalendarError: the draft is approved, being sent, or sent.
    """
    query = select(Edition).where(Edition.slot == make_release_slot_key(release.release_at))
    edition = session.scalar(query.with_for_update() if lock else query)
    if edition is None or edition.state == EditionState.CANCELLED:
        return None
    if edition.state == EditionState.APPROVED:
        raise CalendarError(
            f"{edition.name} is approved.",
            f"Revoke the approval first, on the edition page or with 'digest approve {edition.name} --revoke'.",
        )
    if edition.state not in UNAPPROVED_STATES:
        raise CalendarError(
            f"{edition.name} is {edition.state.predicate}, so its send time is final.", "Choose another edition."
        )
    return edition


def refuse_release_before_draft(session: Session, at: datetime, moved_release: PlannedRelease | None) -> None:
    """Raise `CalendarError` if a later edition is already drafted, since its draft covers the days before `at`."""
    own = make_release_slot_key(moved_release.release_at) if moved_release else ""
    is_later = (Edition.release_at > at, Edition.state.in_(COMING_STATES), Edition.slot != own)
    later = select(Edition).where(*is_later)
    if edition := session.scalar(later.order_by(Edition.release_at).limit(1)):
        raise CalendarError(
            f"{edition.name} has already been drafted and covers the days before this time.",
            "Move or skip that edition first.",
        )


def refuse_taken_slot(session: Session, at: datetime) -> None:
    """Raise `CalendarError` if another edition has this send time.

    A canceled edition counts, because it keeps its slot and history.
    """
    if edition := session.scalar(select(Edition).where(Edition.slot == make_release_slot_key(at))):
        raise CalendarError(
            f"{edition.name} is {edition.state.predicate} and has the same send time.", "Choose a different time."
        )
