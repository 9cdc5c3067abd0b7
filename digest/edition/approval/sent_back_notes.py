"""Notes that colleagues attach when they send an edition back.

Each note is shown in the editor until someone marks it as done.
"""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.edition.approval import approved_versions as approval
from digest.edition.edition_queries import COMING_STATES
from digest.store.approval_models import SentBackNote
from digest.store.models import Edition
from subscribers.errors import RefusalError

MAX_NOTE_LENGTH = 1000  # characters


class SentBackError(RefusalError):
    """Raised when an edition can't be sent back, or a note can't be closed.

    The message says why and what to do.
    """


def list_open_notes(session: Session, edition: Edition) -> tuple[SentBackNote, ...]:
    """Return the open notes of an edition, oldest first."""
    query = select(SentBackNote).where(SentBackNote.edition_id == edition.id, SentBackNote.done_at.is_(None))
    return tuple(session.scalars(query.order_by(SentBackNote.id)))


def list_all_open_notes(session: Session) -> tuple[tuple[SentBackNote, Edition], ...]:
    """Return the open notes on all upcoming editions, oldest first, each paired with its edition."""
    query = select(SentBackNote, Edition).join(Edition, Edition.id == SentBackNote.edition_id)
    open_notes = query.where(SentBackNote.done_at.is_(None), Edition.state.in_(COMING_STATES))
    return tuple((note, edition) for note, edition in session.execute(open_notes.order_by(SentBackNote.id)))


def list_notes(session: Session, edition: Edition) -> tuple[SentBackNote, ...]:
    """Return all notes of an edition, oldest first."""
    query = select(SentBackNote).where(SentBackNote.edition_id == edition.id)
    return tuple(session.scalars(query.order_by(SentBackNote.id)))


def add_sent_back_note(
    session: Session,
    edition: Edition,
    text: str,
    *,
    actor: str,
    now: datetime,
) -> SentBackNote:
    """Send an edition back with a note, revoking its valid or waiting approval, if any.

    Raises:
        SentBackError: the note is empty or too long, or the edition is neither a draft nor
            approved.
    """
    session.refresh(edition, with_for_update=True)
    if edition.state not in COMING_STATES:
        raise SentBackError(f"{edition.name} is {edition.state.predicate} and can't be sent back.", "Reload the page.")
    if not text:
        raise SentBackError("The note is empty.", "Describe what should change.")
    if len(text) > MAX_NOTE_LENGTH:
        raise SentBackError(
            f"The note has {len(text):,} characters.", f"Shorten the note to {MAX_NOTE_LENGTH:,} or fewer."
        )
    note = SentBackNote(edition_id=edition.id, at=now, actor=actor, text=text)
    session.add(note)
    approval.revoke_valid_or_waiting_approvals(session, edition, actor=actor, now=now, because="sent back with a note")
    session.flush()
    return note


def close_sent_back_note(
    session: Session, edition: Edition, note_id: int, *, actor: str, now: datetime
) -> SentBackNote:
    """Mark a note as done.

    Raises:
        SentBackError: the edition has no such note, or the note is already marked as done.
    """
    session.refresh(edition, with_for_update=True)
    note = session.get(SentBackNote, note_id)
    if note is None or note.edition_id != edition.id:
        raise SentBackError(f"{edition.name} doesn't have this note.", "Reload the page.")
    if note.done_at is not None:
        raise SentBackError("The note is already marked as done.", "Reload the page.")
    note.done_at, note.done_by = now, actor
    session.flush()
    return note
