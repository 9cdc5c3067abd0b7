"""Applying an edit to an edition, with its role check, transaction, and audit row.

An edit is folded into the stored proposal and rendered outside the transaction. It's then stored,
unless someone else's edit was stored first, in which case it's folded again on top of that one. A
form has the number of the last edit that it was based on. If an edit would overwrite a change that
its author hasn't seen, it's returned as a conflict with both versions.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from digest.app.editing.editing_state import (
    EditingState,
    EditRefusedError,
    apply_edits_to_proposal,
    find_editing_state,
    read_editing_state,
)
from digest.edition.approval.approval_check import reinstate_matching_approval
from digest.edition.approval.approved_versions import (
    find_matching_approval,
    supersede_approval,
    supersede_outdated_approval,
)
from digest.edition.approval.unpublished_setting_changes import SHOWN_TABLES
from digest.edition.drafting.composition import (
    ComposedEdition,
    compose_arrangement,
    matches_composition,
    replace_story_rows,
    save_edition_content,
    update_story_rows,
)
from digest.edition.drafting.drafts import replace_fragments
from digest.edition.editing import edits as history
from digest.edition.editing.arrangement import Arrangement
from digest.edition.editing.edit_log import append_edit, load_edits, read_proposal_hash
from digest.edition.editing.edits import Edit, EditConflict, EditDraft
from digest.edition.edition_queries import COMING_STATES, UNAPPROVED_STATES, find_edition
from digest.installation.audited_actions import Action, Actor, PendingAuditEntry
from digest.installation.opened_installation import Installation
from digest.store.approval_models import Approval
from digest.store.audit import SETTINGS_CHANGED
from digest.store.models import AuditEntry, Edition, EditionState

EDIT = Action("edited")
UPDATE_DRAFT = Action("draft updated")
# Tables of the settings that a draft shows. The email's footer says how often it's sent and which preferences there are.
_SHOWN_TABLES = (*SHOWN_TABLES, "preferences", "schedule")
_MAX_ATTEMPTS = 20  # at one edit, if colleagues are faster each time
_MAX_AUDITED_TARGET = 200  # characters


@dataclass(frozen=True, slots=True)
class EditForm:
    """The edition, actor, time, and base of an edit.

    `based_on` is the number of the last edit that the actor saw. Without it, the edit applies to
    the current edition. `state` is the edition as the caller just read it, and is used unless the
    edition has changed since. `supersedes` is the content hash of the approved version that the
    editor agreed to supersede.
    """

    edition: str
    actor: Actor
    now: datetime
    based_on: int | None = None
    state: EditingState | None = None
    supersedes: str = ""


@dataclass(frozen=True, slots=True)
class EditResult:
    """The stored edit or the conflict that resulted from an edit.

    `edit` is the stored edit and `conflict` a conflict. Both are None if nothing had to change.
    `state` is the edition with the edit or, if there's a conflict, the current edition. `before` is
    the arrangement that the conflicting form was based on.
    """

    state: EditingState
    edit: Edit | None = None
    conflict: EditConflict | None = None
    before: Arrangement | None = None


class ApprovedEditionError(EditRefusedError):
    """Raised when the edition is approved and the editor hasn't agreed to end the approval."""


def apply_edit(installation: Installation, form: EditForm, draft: EditDraft) -> EditResult:
    """Apply one edit to an edition, unless someone has changed the same part.

    Returns:
        The edit and the edition with it, or a conflict if someone has changed the same part since
        the form was opened.

    Raises:
        NotPermittedError: the actor isn't an editor.
        UnknownEditionError: there's no such edition.
        EditRefusedError: the edition was sent or canceled, or the edit would have no effect.
        ApprovedEditionError: the edition is approved, and `form.supersedes` doesn't name that
            approval.
    """
    return apply_edit_decided_from_state(installation, form, lambda _: draft)


class _OvertakenError(Exception):
    """Raised when someone else's edit was stored first, so that this one has to be folded again."""


def apply_edit_decided_from_state(
    installation: Installation, form: EditForm, decide: Callable[[EditingState], EditDraft | None]
) -> EditResult:
    """Apply the edit that `decide` returns for the current state of an edition (see `apply_edit`).

    `decide` returns None if nothing has to change. It's called again if someone else's edit is
    stored first.
    """
    with EDIT.steps(installation, form.actor, form.edition, now=form.now) as audit:
        known_state = form.state
        for _ in range(_MAX_ATTEMPTS):
            state, known_state = known_state or read_editing_state(installation, form.edition), None
            audit.subject = state.name
            draft = decide(state)
            if draft is None:
                audit.changed = False
                return EditResult(state)
            based_on = state.last_seq if form.based_on is None else form.based_on
            conflict = history.find_edit_conflict(
                draft, state.edits, based_on=based_on, resolve=state.arrangement.name_target
            )
            if conflict:
                audit.changed = False
                return EditResult(state, conflict=conflict, before=state.arrange_at(installation, based_on))
            edit = _next_edit(draft, state, form)
            arrangement = _fold_edit(installation, state, edit)
            # This comes after the fold, so that no one is asked about a change that has no effect.
            if state.approval != form.supersedes and state.approved:
                raise ApprovedEditionError(
                    f"{state.name} is approved.", "Confirm that you want to revoke the approval."
                )
            composed = compose_arrangement(arrangement, state.identity, installation.settings)
            try:
                with installation.write() as session:
                    edition, approval = _store_edit(session, state, edit, composed, audit, installation)
            except _OvertakenError:
                continue
            edits = (*state.edits, edit)
            state = replace(state, edition=edition, edits=edits, arrangement=arrangement, approval=approval)
            return EditResult(state, edit)
        raise _overtaken_too_often()


def _overtaken_too_often() -> EditRefusedError:
    return EditRefusedError("Someone else changed the edition at the same time.", "Try again.")


def is_draft_behind_settings(installation: Installation, name: str) -> bool:
    """Return True if composing an unapproved draft with the current settings would change it.

    Raises:
        UnknownEditionError: there's no edition of that name.
    """
    with installation.read() as session:
        edition = find_edition(session, name)
        if edition.state not in UNAPPROVED_STATES:
            return False
        state = find_editing_state(installation, edition)
        composed = compose_arrangement(state.arrangement, state.identity, installation.settings) if state else None
        return not matches_composition(session, edition, composed)


def find_settings_change_after_draft(installation: Installation, edition: Edition) -> AuditEntry | None:
    """Return the last logged change to settings that a draft shows, if it's later than the draft's last composition.

    Changes to the settings file, the templates, or the program on the server aren't logged.
    """
    with installation.read() as session:
        updates = select(func.max(AuditEntry.at)).where(
            AuditEntry.act == UPDATE_DRAFT.name, AuditEntry.subject == edition.name
        )
        composed = [edition.drafted_at, session.scalar(updates), *(edit.at for edit in load_edits(session, edition))]
        changes = select(AuditEntry).where(
            AuditEntry.act == SETTINGS_CHANGED,
            AuditEntry.subject.in_(_SHOWN_TABLES),
            AuditEntry.at > max(filter(None, composed)),
        )
        return session.scalars(changes.order_by(AuditEntry.id.desc()).limit(1)).first()


def apply_current_settings_to_draft(installation: Installation, name: str, *, actor: Actor, now: datetime) -> str:
    """Compose an unapproved draft again from its proposal and edits, with the current settings.

    Return the edition's name, or an empty string if the draft was up to date. A version that was
    waiting for another approval is superseded.

    Raises:
        NotPermittedError: the actor isn't an editor.
        UnknownEditionError: there's no such edition.
        EditRefusedError: the edition is approved, being sent, or sent, or its proposal is missing
            or not genuine.
    """
    with UPDATE_DRAFT.steps(installation, actor, name, now=now) as audit:
        for _ in range(_MAX_ATTEMPTS):
            state = read_editing_state(installation, name)
            audit.subject = state.name
            composed = compose_arrangement(state.arrangement, state.identity, installation.settings)
            with suppress(_OvertakenError), installation.write() as session:
                edition = _lock_edition(session, state)
                if edition.state not in UNAPPROVED_STATES:
                    raise EditRefusedError(
                        f"{edition.name} is {edition.state.predicate}, so it can't be updated.",
                        "Reload the page.",
                    )
                audit.changed = not matches_composition(session, edition, composed)
                if not audit.changed:
                    return ""
                save_edition_content(edition, composed)
                replace_story_rows(session, edition, composed.arrangement)
                replace_fragments(session, edition, composed.fragments)
                supersede_outdated_approval(session, edition, now=now)
                audit.record(session)
                return state.name
        raise _overtaken_too_often()


def _next_edit(draft: EditDraft, state: EditingState, form: EditForm) -> Edit:
    seq, actor, value = state.last_seq + 1, form.actor.name, dict(draft.value)
    return Edit(seq, form.now, actor, draft.kind, draft.target, value, draft.undoes)


def _fold_edit(installation: Installation, state: EditingState, edit: Edit) -> Arrangement:
    """Return the arrangement with one more edit folded in.

    An edit without effect is refused, so that the editor learns why.

    """
    arrangement = apply_edits_to_proposal(installation, state.proposal, (*state.edits, edit), state.identity)
    if reason := arrangement.outcomes[-1].idle_reason:
        raise EditRefusedError(
            f"Couldn't change the edition: {reason}.", "Reload the page, and choose another story or place."
        )
    return arrangement


def _lock_edition(session: Session, state: EditingState) -> Edition:
    """Lock and return the row of an edition that's still in the given state.

    Raises:
        _OvertakenError: the edition was drafted again, edited, or approved in the meantime.
    """
    query = select(Edition).where(Edition.name == state.name)
    edition = session.scalar(query.with_for_update())
    if edition is None or read_proposal_hash(session, edition) != state.proposal_hash:
        raise _OvertakenError
    is_approved = edition.state == EditionState.APPROVED
    if load_edits(session, edition, after=state.last_seq) or is_approved != state.approved:
        raise _OvertakenError
    return edition


def _store_edit(
    session: Session,
    state: EditingState,
    edit: Edit,
    composed: ComposedEdition,
    audit: PendingAuditEntry,
    installation: Installation,
) -> tuple[Edition, str]:
    """Store an edit and the resulting content.

    Return the edition's row, and the content hash of the approval that this reinstated, or an empty
    string.
    """
    edition = _lock_edition(session, state)
    if edition.state not in COMING_STATES:
        raise EditRefusedError(
            f"{edition.name} is {edition.state.predicate} and can no longer be edited.",
            "Correct the edition in the archive instead.",
        )
    audit.detail = {"seq": edit.seq, "kind": str(edit.kind)}
    audit.detail["target"] = edit.target[:_MAX_AUDITED_TARGET]
    actor, at = edit.actor, edit.at
    if supersede_approval(session, edition, actor=actor, now=at, by_edit=edit.seq):
        audit.detail["approval"] = "superseded"
    if discarded := append_edit(session, edition, edit):
        audit.detail["discarded"] = discarded
    save_edition_content(edition, composed)
    update_story_rows(session, edition, before=state.arrangement, after=composed.arrangement)
    replace_fragments(session, edition, composed.fragments)
    approval = _reinstate_matching_approval(session, edition, installation, at)
    if approval:
        audit.detail |= {"approval": "reinstated", "version": approval.version}
    audit.record(session)
    return edition, approval.content_hash if approval else ""


def _reinstate_matching_approval(
    session: Session, edition: Edition, installation: Installation, now: datetime
) -> Approval | None:
    """Reinstate and return the approval whose content the draft has again.

    Return None if there's no such approval or it isn't valid.
    """
    settings = installation.settings
    approval = find_matching_approval(session, edition, settings)
    if approval is None:
        return None
    keys = installation.keys
    is_valid = reinstate_matching_approval(session, edition, approval, settings=settings, keys=keys, now=now)
    return approval if is_valid else None
