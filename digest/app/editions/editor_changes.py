"""Counts of the changes that editors made to each draft.

They're taken at approval, stored with the approved version, and shown over time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.edition.approval.approved_versions import read_current_content_hash
from digest.edition.content.edition_content import EditionContent
from digest.edition.content.editor_changes import EditorChangeCounts, count_editor_changes
from digest.edition.drafting.composition import build_proposed_content
from digest.edition.drafting.content_builder import EditionIdentity
from digest.edition.editing.edit_log import load_proposal
from digest.edition.edition_queries import IS_REGULAR
from digest.settings import Settings
from digest.store.approval_models import Approval, ApprovalState
from digest.store.models import Edition, EditionState

MAX_COUNTED_EDITIONS = 20  # on a page
_SHOWN_STATES = (EditionState.SENDING, EditionState.SENT)


@dataclass(frozen=True, slots=True)
class DraftChangeCounts:
    """Counts of editors' changes to a draft.

    `content_hash` identifies the state that was counted.
    """

    content_hash: str
    counts: EditorChangeCounts


@dataclass(frozen=True, slots=True)
class EditionChangeCounts:
    """Counts of editors' changes to an edition that's being sent or was sent."""

    name: str
    number: int
    release_at: datetime  # in UTC
    counts: EditorChangeCounts


def read_proposed_content(session: Session, edition: Edition, settings: Settings) -> EditionContent | None:
    """Return an edition's content as proposed, without edits, or None if its proposal isn't valid."""
    proposal = load_proposal(session, edition)
    if proposal is None:
        return None
    return build_proposed_content(proposal, EditionIdentity.of_edition(edition), settings)


def count_draft_changes(session: Session, edition: Edition, settings: Settings) -> DraftChangeCounts | None:
    """Return the counts of editors' changes to an edition so far, or None if its proposal isn't valid."""
    proposed = read_proposed_content(session, edition, settings)
    if proposed is None:
        return None
    counts = count_editor_changes(proposed, EditionContent.from_json(edition.content))
    return DraftChangeCounts(read_current_content_hash(session, edition, settings), counts)


def find_editor_change_counts(session: Session, edition: Edition) -> EditorChangeCounts | None:
    """Return the counts of editors' changes to the approved version, or None if they weren't counted."""
    query = select(Approval.editor_counts).where(
        Approval.edition_id == edition.id, Approval.state == ApprovalState.VALID
    )
    stored = session.scalar(query)
    return EditorChangeCounts.from_json(stored) if stored else None


def list_edition_change_counts(session: Session) -> Sequence[EditionChangeCounts]:
    """Return the counts of the latest editions that are being sent or were sent, newest first.

    Editions without counts are left out.
    """
    query = (
        select(Edition.name, Edition.number, Edition.release_at, Approval.editor_counts)
        .join(Approval, Approval.edition_id == Edition.id)
        .where(
            IS_REGULAR,
            Edition.state.in_(_SHOWN_STATES),
            Approval.state == ApprovalState.VALID,
            Approval.editor_counts.is_not(None),
        )
        .order_by(Edition.release_at.desc(), Edition.id.desc())
        .limit(MAX_COUNTED_EDITIONS)
    )
    return [
        EditionChangeCounts(row.name, row.number, row.release_at, EditorChangeCounts.from_json(row.editor_counts))
        for row in session.execute(query)
    ]
