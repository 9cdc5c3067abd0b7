"""The history of an edition as its editors see it: every act with who did it, and how the edition stood after any of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from digest.app import staff
from digest.app.editing import EditingState, preview_state, read_editing_state
from digest.app.editions import APPROVE, VOID_APPROVAL
from digest.app.installation import Installation
from digest.edition.mailable_edition import join_fragments
from digest.edition.queries import COMING_STATES, find_edition
from digest.store.models import AuditEntry, Edition


@dataclass(frozen=True, slots=True)
class ApprovalAct:
    """An approval that was given or taken back; `seq` is the number of the last edit before it."""

    at: datetime  # UTC
    actor: str
    given: bool
    seq: int


@dataclass(frozen=True, slots=True)
class EditionHistory:
    """All that was done to an edition. `names` says how colleagues see each actor of the staff."""

    edition: Edition
    state: EditingState
    approvals: tuple[ApprovalAct, ...]
    names: Mapping[str, str]

    @property
    def can_change(self) -> bool:
        """Whether the edition can still be edited."""
        return self.edition.state in COMING_STATES


def read_edition_history(installation: Installation, name: str) -> EditionHistory:
    """Read the history of an edition.

    Raises:
        UnknownEditionError: there is none of that name.
        EditRefusedError: it was drafted by a version that had no edits.
    """
    state = read_editing_state(installation, name)
    with installation.database.read() as session:
        edition = find_edition(session, state.name)
        acts = {APPROVE.name: True, VOID_APPROVAL.name: False}
        entries = session.scalars(
            select(AuditEntry)
            .where(AuditEntry.subject == edition.name, AuditEntry.act.in_(acts))
            .order_by(AuditEntry.at, AuditEntry.id)
        )
        approvals = tuple(
            ApprovalAct(e.at, e.actor, acts[e.act], max((x.seq for x in state.edits if x.at <= e.at), default=0))
            for e in entries
        )
    return EditionHistory(edition, state, approvals, staff.read_display_names(installation))


def render_moment(installation: Installation, name: str, seq: int) -> str:
    """Render the HTML of an edition as it stood after the edit of a number, without storing anything; 0 is before the first.

    Raises:
        UnknownEditionError: there is none of that name.
        EditRefusedError: it was drafted by a version that had no edits.
    """
    return join_fragments(preview_state(installation, name, seq=seq).fragments, "html")
