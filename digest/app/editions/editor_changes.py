"""What editors changed of each draft: counted when it is approved, kept with the version, shown over time."""

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

MAX_COUNTED_EDITIONS = 20  # that a page shows
_SHOWN_STATES = (EditionState.SENDING, EditionState.SENT)


@dataclass(frozen=True, slots=True)
class DraftChangeCounts:
    """What editors changed of a draft; `content_hash` names the state of it that was counted."""

    content_hash: str
    counts: EditorChangeCounts


@dataclass(frozen=True, slots=True)
class EditionChangeCounts:
    """An edition that goes out or went, with what editors changed of it."""

    name: str
    number: int
    release_at: datetime  # UTC
    counts: EditorChangeCounts


def read_proposed_content(session: Session, edition: Edition, settings: Settings) -> EditionContent | None:
    """Return what an edition would say without its editors; None for one of before proposals were stored."""
    proposal = load_proposal(session, edition)
    if proposal is None:
        return None
    return build_proposed_content(proposal, EditionIdentity.of_edition(edition), settings)


def count_draft_changes(session: Session, edition: Edition, settings: Settings) -> DraftChangeCounts | None:
    """Count what editors changed of an edition as it stands; None for one of before proposals were stored."""
    proposed = read_proposed_content(session, edition, settings)
    if proposed is None:
        return None
    counts = count_editor_changes(proposed, EditionContent.from_json(edition.content))
    return DraftChangeCounts(read_current_content_hash(session, edition, settings), counts)


def find_editor_change_counts(session: Session, edition: Edition) -> EditorChangeCounts | None:
    """Find what editors changed of the version that goes out, or went; None where nobody counted."""
    query = select(Approval.editor_counts).where(
        Approval.edition_id == edition.id, Approval.state == ApprovalState.STANDING
    )
    stored = session.scalar(query)
    return EditorChangeCounts.from_json(stored) if stored else None


def list_edition_change_counts(session: Session) -> Sequence[EditionChangeCounts]:
    """List the last editions that go out or went and that were counted, the newest first."""
    query = (
        select(Edition.name, Edition.number, Edition.release_at, Approval.editor_counts)
        .join(Approval, Approval.edition_id == Edition.id)
        .where(
            IS_REGULAR,
            Edition.state.in_(_SHOWN_STATES),
            Approval.state == ApprovalState.STANDING,
            Approval.editor_counts.is_not(None),
        )
        .order_by(Edition.release_at.desc(), Edition.id.desc())
        .limit(MAX_COUNTED_EDITIONS)
    )
    return [
        EditionChangeCounts(row.name, row.number, row.release_at, EditorChangeCounts.from_json(row.editor_counts))
        for row in session.execute(query)
    ]
