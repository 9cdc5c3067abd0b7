"""Verification that a version is what was approved.

Versions are verified before they're sent, tested, or reinstated at a deadline.
"""

import hmac
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from digest.edition.approval.approved_versions import (
    REVOKED_DETAIL,
    ApprovalError,
    build_approval_statement,
    build_signature_payload,
    check_article_window_continuity,
    check_no_open_note,
    compute_content_hash,
    count_missing_signatures,
    find_last_unrevoked_approval,
    find_valid_approval,
    hash_text,
    list_edition_identity_changes,
    list_fragment_hashes,
    read_approved_version,
    sign_payload,
    supersede_approval,
)
from digest.edition.approval.approvers import ApproverRule
from digest.edition.approval.unpublished_setting_changes import parse_audit_detail
from digest.edition.content.edition_content import EditionContent
from digest.edition.content.mailable_edition import MailableEdition, build_mailable_draft
from digest.settings import Settings
from digest.store.approval_models import Approval, ApprovalState, SignatureColumns
from digest.store.audit import APPROVAL_REVOKED, SENT_BACK
from digest.store.logged_actions import read_actions_since
from digest.store.models import Edition, EditionState
from subscribers.crypto.keys import KeyRing


def verify_approval(session: Session, edition: Edition, *, settings: Settings, keys: KeyRing) -> MailableEdition:
    """Verify the valid version of an edition, and return it.

    Raises:
        ApprovalError: there's no approval, something it covers has changed, or the audit log
            contradicts it.
    """
    approval = find_valid_approval(session, edition)
    if approval is None:
        raise ApprovalError(
            f"{edition.name} isn't approved.", "Approve the edition under Review and approve, or with 'digest approve'."
        )
    return verify_version(session, edition, approval, settings=settings, keys=keys)


def verify_version(
    session: Session, edition: Edition, approval: Approval, *, settings: Settings, keys: KeyRing
) -> MailableEdition:
    """Verify the content and the approvals of an approved version, and return it.

    Raises:
        ApprovalError: something the approval covers has changed, it has too few signatures, or
            the audit log contradicts it.
    """
    mailable = read_approved_version(session, approval)
    if fault := _find_fault(approval, mailable, edition, settings, keys):
        raise ApprovalError(
            f"{edition.name} differs from the approved version ({str(approval.content_hash)[:7]}): {fault[0]}", fault[1]
        )
    if revocation := _find_revocation(session, approval, keys):
        raise ApprovalError(
            f"{edition.name} can't be sent because {revocation}.",
            "Revoke the approval again, then approve the edition.",
        )
    return mailable


def read_signed_content(session: Session, edition: Edition, keys: KeyRing) -> EditionContent | None:
    """Return the content of an edition's valid version, or None if there's none or it fails verification."""
    approval = find_valid_approval(session, edition)
    if approval is None:
        return None
    stated = approval.statement
    is_stated = stated.get("content") == compute_content_hash(approval.content)
    if not is_stated or list_edition_identity_changes(stated, edition) or not is_signed(approval, keys):
        return None
    return None if _find_revocation(session, approval, keys) else EditionContent.from_json(approval.content)


def _find_revocation(session: Session, approval: Approval, keys: KeyRing) -> str:
    """Return the reason that the audit log gives for rejecting a version, or "" if there's none.

    The log takes precedence over the state in the version's row.
    """
    # Only the times in signatures can't be changed to be later than a revocation.
    signed_at = min((signed.at for signed in _list_own_signatures(approval, keys)), default=None)
    actions, is_intact = read_actions_since(session, signed_at, (APPROVAL_REVOKED, SENT_BACK))
    own = [parse_audit_detail(a.detail) for a in actions if a.subject == approval.statement["edition"]]
    if any(approval.version in detail.get(REVOKED_DETAIL, ()) for detail in own):
        return "the audit log says that the approval was revoked"
    return "" if is_intact else "the audit log since the approval fails verification"


def _find_fault(
    approval: Approval, mailable: MailableEdition, edition: Edition, settings: Settings, keys: KeyRing
) -> tuple[str, str] | None:
    """Return how a version differs from what was approved or from the settings, and what to do about it, or None."""
    stated = approval.statement
    advice = "Revoke the approval, then approve the edition again."
    if compute_content_hash(stated) != approval.content_hash:
        return "the record was changed.", advice
    if _count_missing(approval, keys):
        return "the key file doesn't contain the key that signed the approval.", advice
    current = build_mailable_draft(edition, (), settings)
    now = build_approval_statement(current, edition, ApproverRule(1, (), (), ()))
    if now["list"][-1] != stated["list"][-1]:
        return (
            f"the links point to {stated['list'][-1]}, but DIGEST_BASE_URL is now {now['list'][-1]}.",
            "Restore DIGEST_BASE_URL, or revoke the approval, draft the edition again, and approve the new draft.",
        )
    changes = [words for part, words in _HEADER_WORDS.items() if stated[part] != now[part]]
    changes += list_edition_identity_changes(stated, edition)
    if list_fragment_hashes(mailable.pieces) != stated["fragments"]:
        changes.append("the text")
    elif hash_text(mailable.join("web").text) != stated["web"]:
        changes.append("the web copy")
    return (f"{' and '.join(changes)} changed.", advice) if changes else None


_HEADER_WORDS = {"from": "the sender", "reply_to": "the reply address", "list": "the List-Id or URL"}


def is_signed(approval: Approval, keys: KeyRing) -> bool:
    """Return True if a version's statement is intact and has enough signatures."""
    is_intact = compute_content_hash(approval.statement) == approval.content_hash
    return is_intact and not _count_missing(approval, keys)


def list_valid_signatures(
    signatures: Sequence[SignatureColumns], content_hash: str, number: int, keys: KeyRing
) -> list[SignatureColumns]:
    """Return the signatures on a content hash that were made with a current or rotated approval key.

    `number` is the number of the version or correction that was signed.
    """

    def is_valid(signed: SignatureColumns) -> bool:
        payload = build_signature_payload(content_hash, number, signed.actor, signed.at)
        expected_signatures = (sign_payload(key, payload) for key in keys.of_kind("approval"))
        return any(hmac.compare_digest(expected, signed.signature) for expected in expected_signatures)

    return list(filter(is_valid, signatures))


def _list_own_signatures(approval: Approval, keys: KeyRing) -> list[SignatureColumns]:
    return list_valid_signatures(approval.signatures, approval.content_hash, approval.version, keys)


def _count_missing(approval: Approval, keys: KeyRing) -> int:
    signers = [signed.actor for signed in _list_own_signatures(approval, keys)]
    return count_missing_signatures(approval.statement, signers)


def find_reinstatable_approval(
    session: Session, edition: Edition, *, settings: Settings, keys: KeyRing
) -> Approval | None:
    """Return the version that may be reinstated in place of an unapproved draft, or None.

    Raises:
        ApprovalError: the version isn't what was approved, it can't be sent with the current
            settings, or the edition's articles don't continue the previous edition's.
    """
    approval = find_last_unrevoked_approval(session, edition)
    if approval is not None:
        check_article_window_continuity(session, edition)
        verify_version(session, edition, approval, settings=settings, keys=keys)
    return approval


def reinstate_approval(
    session: Session, edition: Edition, *, settings: Settings, keys: KeyRing, now: datetime
) -> Approval:
    """Reinstate the last unrevoked version in place of an unapproved draft.

    Raises:
        ApprovalError: the edition isn't a draft or has no such version, the version fails
            verification, or the edition's articles don't continue the previous edition's.
    """
    # Lock the edition until the commit, so that no other decision interferes.
    session.refresh(edition, with_for_update=True)
    approval = find_reinstatable_approval(session, edition, settings=settings, keys=keys)
    if edition.state not in {EditionState.DRAFT, EditionState.INCOMPLETE} or approval is None:
        raise ApprovalError(
            f"{edition.name} is {edition.state.predicate}, so an earlier version can't be restored.",
            "Review the draft instead.",
        )
    supersede_approval(session, edition, actor=None, now=now, because="the deadline passed before it was approved")
    _reinstate(session, edition, approval, now)
    return approval


def reinstate_matching_approval(
    session: Session, edition: Edition, approval: Approval, *, settings: Settings, keys: KeyRing, now: datetime
) -> bool:
    """Reinstate the approved version that a draft has come to match, if possible.

    `approval` is from `find_matching_approval`. Return False if a note is open, or if
    `find_reinstatable_approval` rejects the version. The caller must have locked the edition.
    """
    try:
        check_no_open_note(session, edition)
        find_reinstatable_approval(session, edition, settings=settings, keys=keys)
    except ApprovalError:
        return False
    _reinstate(session, edition, approval, approval.stood_at or now)
    return True


def _reinstate(session: Session, edition: Edition, approval: Approval, approved_at: datetime) -> None:
    approval.state, approval.ended_because = ApprovalState.VALID, ""
    approval.ended_at = approval.ended_by = approval.ended_by_edit = None
    edition.state, edition.approved_at = EditionState.APPROVED, approved_at
    edition.approved_by = approval.signatures[-1].actor
    session.flush()
