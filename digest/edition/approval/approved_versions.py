"""Approved versions of an edition, which never change, and the signatures on them.

A content hash is a SHA-256 over the canonical JSON of a statement, which lists everything that
readers get: the subject, preheader, sender, list headers, and the hashes of the web copy and of all
fragments in order. Approval stores the statement, a copy of everything in it as a version, and each
approver's HMAC of the hash, made with a key that isn't in the database. The statement also lists the
authors of texts, links, and images, so that a version proves that others approved them. Sending,
test emails, and the archive use the valid version. The edition's own fragments are its draft.

`approval_check` verifies a version before it's sent. Functions that end or create a version lock
the edition's row, so that operations on an edition are serialized.
"""

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from digest.edition.approval.approvers import ApproverRule, count_missing_approvals
from digest.edition.approval.authors import DraftAuthorship, read_draft_authorship
from digest.edition.calendar.edition_windows import find_next_window
from digest.edition.content.edition_content import RenderedFragment
from digest.edition.content.mailable_edition import MailableEdition, build_mailable_draft
from digest.edition.content.slotted_text import SlotPositions, pack_slots, unpack_slots
from digest.edition.edition_queries import IS_REGULAR, find_last_cut_off, load_rendered_fragments
from digest.settings import Settings
from digest.store.approval_models import (
    Approval,
    ApprovalSignature,
    ApprovalState,
    ApprovedRenderedFragment,
    SentBackNote,
)
from digest.store.models import Edition, EditionEdit, EditionState
from subscribers.crypto.keys import KeyRing, SecretKey
from subscribers.errors import ApplicationError

OPEN_STATES = (ApprovalState.WAITING, ApprovalState.VALID)
REVOKED_DETAIL = "taken back"  # key in an audit log row for the numbers of the revoked versions
_CODE_LENGTH = 16  # hex digits of a keyed hash that's short enough to type


class ApprovalError(ApplicationError):
    """Raised when an edition can't be approved or isn't what was approved.

    The message says why and what to do.
    """


def hash_text(text: str) -> str:
    """Return the SHA-256 of a text in UTF-8, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def hash_fragment(body: str, slots: SlotPositions = ()) -> str:
    """Return the SHA-256, in hex, of a fragment's text and slots as JSON."""
    return hash_text(json.dumps([body, pack_slots(slots)], separators=(",", ":")))


def build_approval_statement(mailable: MailableEdition, edition: Edition, rule: ApproverRule) -> dict[str, Any]:
    """Return everything that an approval covers, as JSON values.

    This is the content, its authors, and the required number of approvals.
    """
    return {
        "edition": mailable.name,
        "number": mailable.number,
        "release": format_utc_time(edition.release_at),
        "approvals": rule.needed,
        "authors": list(rule.written),
        "alone": rule.is_alone,
        "subject": mailable.subject,
        "preheader": mailable.preheader,
        "from": [mailable.sender_name, mailable.sender_address],
        "reply_to": mailable.reply_to,
        "list": [mailable.list_name, mailable.list_id, mailable.base_url],
        "fragments": list_fragment_hashes(mailable.pieces),
        "web": hash_text(mailable.join("web").text),
        "content": compute_content_hash(edition.content),
    }


def format_utc_time(moment: datetime) -> str:
    """Return a time in the format of statements: ISO 8601, in UTC."""
    return moment.astimezone(UTC).isoformat()


def list_fragment_hashes(pieces: Sequence[RenderedFragment]) -> list[list[str]]:
    """Return the kind, name, and hash of each fragment, sorted by kind.

    Fragments of the same kind stay in order.
    """
    return [[p.kind, p.name, hash_fragment(p.body, p.slots)] for p in sorted(pieces, key=lambda p: p.kind)]


def compute_content_hash(statement: dict[str, Any]) -> str:
    """Return the SHA-256 of the canonical JSON of a statement or content, as 64 hex digits.

    Pages show the first seven digits; approval requires all of them.
    """
    return hashlib.sha256(json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


# --- finding versions ------------------------------------------------------------------------------------------


def find_valid_approval(session: Session, edition: Edition) -> Approval | None:
    """Return the version that will be or was sent, or None if no version is approved."""
    return _find_last(session, edition, ApprovalState.VALID)


def find_waiting_approval(session: Session, edition: Edition) -> Approval | None:
    """Return the version that's waiting for another approver, or None."""
    return _find_last(session, edition, ApprovalState.WAITING)


def find_last_unrevoked_approval(session: Session, edition: Edition) -> Approval | None:
    """Return the last unrevoked version with enough approvals, or None.

    The draft may have been edited since. A deadline may send this version in place of an unapproved
    draft. It doesn't count if the edition's name, number, or send time has changed since.
    """
    approved = select(Approval).where(
        Approval.edition_id == edition.id,
        Approval.state.in_((ApprovalState.VALID, ApprovalState.SUPERSEDED)),
        Approval.stood_at.is_not(None),
    )
    last = session.scalar(approved.order_by(Approval.version.desc()).limit(1))
    return last if last is not None and not list_edition_identity_changes(last.statement, edition) else None


def find_matching_approval(session: Session, edition: Edition, settings: Settings) -> Approval | None:
    """Return the last unrevoked version with enough approvals if the draft is identical to it, or None."""
    approval = find_last_unrevoked_approval(session, edition) if edition.state == EditionState.DRAFT else None
    if approval is None or approval.content_hash != read_current_content_hash(session, edition, settings):
        return None
    return approval


def list_approvals(session: Session, edition: Edition) -> tuple[Approval, ...]:
    """Return the versions of an edition that at least one person approved, newest first.

    Revoked versions are included.
    """
    query = select(Approval).where(Approval.edition_id == edition.id).order_by(Approval.version.desc())
    return tuple(session.scalars(query))


def _find_last(session: Session, edition: Edition, state: ApprovalState) -> Approval | None:
    query = select(Approval).where(Approval.edition_id == edition.id, Approval.state == state)
    return session.scalar(query.order_by(Approval.version.desc()).limit(1))


def read_approved_version(session: Session, approval: Approval) -> MailableEdition:
    """Return an approved version for display, without verifying it."""
    query = select(ApprovedRenderedFragment).where(ApprovedRenderedFragment.approval_id == approval.id)
    rows = session.scalars(query.order_by(ApprovedRenderedFragment.position, ApprovedRenderedFragment.id))
    stated = approval.statement
    return MailableEdition(
        name=stated["edition"],
        number=stated["number"],
        subject=stated["subject"],
        preheader=stated["preheader"],
        sender_name=stated["from"][0],
        sender_address=stated["from"][1],
        reply_to=stated["reply_to"],
        list_name=stated["list"][0],
        list_id=stated["list"][1],
        base_url=stated["list"][2],
        pieces=tuple(RenderedFragment(row.kind, row.name, row.body, unpack_slots(row.slots)) for row in rows),
    )


def read_draft_version(session: Session, edition: Edition, settings: Settings) -> MailableEdition:
    """Return the current draft of an edition, whether or not it's approved."""
    return build_mailable_draft(edition, load_rendered_fragments(session, edition), settings)


def read_mailable_edition(session: Session, edition: Edition, settings: Settings) -> MailableEdition:
    """Return the edition as readers get it: the valid version, unverified, or else the draft."""
    valid_approval = find_valid_approval(session, edition)
    return (
        read_approved_version(session, valid_approval)
        if valid_approval
        else read_draft_version(session, edition, settings)
    )


def read_edition_with_hash(session: Session, edition: Edition, settings: Settings) -> tuple[MailableEdition, str]:
    """Return the valid version, or else the draft, and its content hash.

    The version isn't verified.
    """
    valid_approval = find_valid_approval(session, edition)
    if valid_approval:
        return read_approved_version(session, valid_approval), valid_approval.content_hash
    draft, statement = _state_draft(session, edition, settings)
    return draft, compute_content_hash(statement)


def read_current_content_hash(session: Session, edition: Edition, settings: Settings) -> str:
    """Return the content hash of the valid version, or else of the draft."""
    return read_edition_with_hash(session, edition, settings)[1]


def read_draft_approval_code(session: Session, edition: Edition, settings: Settings, keys: KeyRing) -> str:
    """Return a short hexadecimal code, to be typed in a terminal, for the draft and its last edit.

    The code is keyed, so that it isn't possible to search for two drafts with the same code, as it
    would be with the first digits of a content hash.
    """
    state = json.dumps([read_current_content_hash(session, edition, settings), _read_last_edit(session, edition)])
    return sign_payload(keys.current("approval"), b"approval mark:" + state.encode())[:_CODE_LENGTH]


def _read_last_edit(session: Session, edition: Edition) -> int:
    return session.scalar(select(func.max(EditionEdit.seq)).where(EditionEdit.edition_id == edition.id)) or 0


def _state_draft(session: Session, edition: Edition, settings: Settings) -> tuple[MailableEdition, dict[str, Any]]:
    draft, authorship = (
        read_draft_version(session, edition, settings),
        read_draft_authorship(session, edition, settings),
    )
    return draft, build_approval_statement(draft, edition, authorship.rule)


# --- approving -----------------------------------------------------------------------------------------------


def sign_approval(
    session: Session,
    edition: Edition,
    hash_or_code: str,
    *,
    settings: Settings,
    keys: KeyRing,
    actor: str,
    now: datetime,
) -> Approval:
    """Sign the current version of an edition, and return it.

    `hash_or_code` is its content hash or approval code. The version becomes valid, and the edition
    approved, once each text, link, and image is approved by the required number of people other
    than its author.

    Raises:
        ApprovalError: the edition isn't a draft; another edition also covers its week; its
            articles don't continue the previous edition's; it has changed since the hash or
            code was shown; a note is open; or the actor may not approve it (`ApproverRule`).
    """
    # Lock the edition until the commit, so that no other decision interferes.
    session.refresh(edition, with_for_update=True)
    if edition.state != EditionState.DRAFT:
        raise ApprovalError(
            f"{edition.name} is {edition.state.predicate}. Only drafts can be approved.",
            "Reload the page to see the latest state.",
        )
    check_article_window_continuity(session, edition)
    _, statement = _state_draft(session, edition, settings)
    current_hash = compute_content_hash(statement)
    if hash_or_code.lower() not in {current_hash, read_draft_approval_code(session, edition, settings, keys)}:
        raise ApprovalError(
            f"{edition.name} has changed, or the content hash is incomplete.",
            "Review the edition again before you approve it.",
        )
    _check_approver(session, edition, settings, actor)
    approval = find_waiting_approval(session, edition)
    if approval is not None and approval.content_hash != current_hash:
        _end_approval(
            approval, ApprovalState.SUPERSEDED, actor=actor, now=now, because="the current draft was approved instead"
        )
        approval = None
    if approval is None:
        approval = _freeze_version(session, edition, statement, now)
    payload = build_signature_payload(current_hash, approval.version, actor, now)
    signature = sign_payload(keys.current("approval"), payload)
    approval.signatures.append(ApprovalSignature(actor=actor, at=now, signature=signature))
    if count_missing_signatures(statement, [signed.actor for signed in approval.signatures]) == 0:
        approval.state, approval.stood_at = ApprovalState.VALID, now
        edition.state, edition.approved_by, edition.approved_at = EditionState.APPROVED, actor, now
    session.flush()
    return approval


def _check_approver(session: Session, edition: Edition, settings: Settings, actor: str) -> None:
    """Raise ApprovalError unless an edition is ready to be approved by the given actor."""
    check_no_open_note(session, edition)
    approvals = list_approvals(session, edition)
    if refusal := read_authorship(session, edition, approvals, settings).rule.explain_refusal(actor):
        raise ApprovalError(f"{edition.name}: {refusal}")


def check_no_open_note(session: Session, edition: Edition) -> None:
    """Raise an error if an edition was sent back with a note that's still open.

    Raises:
        ApprovalError: there's an open note.
    """
    open_note = select(SentBackNote.id).where(SentBackNote.edition_id == edition.id, SentBackNote.done_at.is_(None))
    if session.scalar(open_note):
        raise ApprovalError(
            f"{edition.name} was sent back with a note that isn't marked as done.",
            "Mark the note as done on the edition page, then approve the edition.",
        )


def read_authorship(
    session: Session, edition: Edition, approvals: Sequence[Approval], settings: Settings
) -> DraftAuthorship:
    """Return the authors of an edition's current state and the rule for approving it.

    `approvals` is the result of `list_approvals`. Their signatures on the current state count.
    """
    parts, rule = read_draft_authorship(session, edition, settings)
    if waiting := next((each for each in approvals if each.state == ApprovalState.WAITING), None):
        statement = build_approval_statement(read_draft_version(session, edition, settings), edition, rule)
        if waiting.content_hash == compute_content_hash(statement):
            rule = replace(rule, signed=tuple(signed.actor for signed in waiting.signatures))
    return DraftAuthorship(parts, rule)


def count_missing_signatures(stated: dict[str, Any], signed: Sequence[str]) -> int:
    """Return the minimum number of additional signatures that a version needs, or 0 if it's approved.

    `signed` are the people who have signed it. A damaged statement requires one signature.
    """
    authors = () if stated.get("alone") else stated.get("authors", ())
    return count_missing_approvals(max(1, stated.get("approvals", 1)), authors, signed)


def check_article_window_continuity(session: Session, edition: Edition) -> None:
    """Raise an error unless a regular edition's article window starts where the previous edition's ends.

    Raises:
        ApprovalError: another edition covers its week, or there's a gap before it.
    """
    if edition.is_breaking_news:
        return
    newer = select(Edition.name).where(IS_REGULAR, Edition.release_at > edition.release_at).limit(1)
    if (name := session.scalar(newer)) is not None:
        raise ApprovalError(
            f"{name} was drafted later and covers the week of {edition.name}, too.", f"Approve {name} instead."
        )
    window = find_next_window(edition.cut_off, find_last_cut_off(session, edition.release_at))
    if edition.opens_at != window.opens_at:
        raise ApprovalError(
            f"An earlier edition changed after {edition.name} was drafted, so a story could be lost or sent twice.",
            "Draft the edition again with 'digest draft', then approve it.",
        )


def _freeze_version(
    session: Session,
    edition: Edition,
    statement: dict[str, Any],
    now: datetime,
) -> Approval:
    """Copy the current state of an edition into a new version."""
    last_version = select(func.max(Approval.version)).where(Approval.edition_id == edition.id)
    approval = Approval(
        edition_id=edition.id,
        version=(session.scalar(last_version) or 0) + 1,
        state=ApprovalState.WAITING,
        content_hash=compute_content_hash(statement),
        statement=statement,
        content=edition.content,
        edit_seq=_read_last_edit(session, edition),
        made_at=now,
    )
    session.add(approval)
    session.flush()
    rows = [
        {
            "approval_id": approval.id,
            "kind": piece.kind,
            "name": piece.name,
            "position": position,
            "body": piece.body,
            "slots": pack_slots(piece.slots),
        }
        for position, piece in enumerate(load_rendered_fragments(session, edition))
    ]
    if rows:
        session.execute(insert(ApprovedRenderedFragment), rows)
    return approval


# --- ending an approval --------------------------------------------------------------------------------------


def supersede_approval(
    session: Session,
    edition: Edition,
    *,
    actor: str | None,
    now: datetime,
    by_edit: int | None = None,
    because: str = "",
) -> bool:
    """Supersede a valid or waiting version because the draft has changed.

    Return True if there was one. The caller must make the edition a draft. A version that was valid
    may still be sent if the deadline's rule says so; see `find_last_unrevoked_approval`.
    """
    ended = [approval for approval in list_approvals(session, edition) if approval.state in OPEN_STATES]
    for approval in ended:
        approval.ended_by_edit = by_edit
        _end_approval(approval, ApprovalState.SUPERSEDED, actor=actor, now=now, because=because)
    edition.approved_by = edition.approved_at = edition.send_requested_at = None
    session.flush()
    return bool(ended)


def supersede_outdated_approval(session: Session, edition: Edition, *, now: datetime) -> None:
    """Supersede a waiting version if the edition was drafted again with changes."""
    waiting = find_waiting_approval(session, edition)
    if waiting is None:
        return
    same = read_approved_version(session, waiting).pieces == load_rendered_fragments(session, edition)
    if not same or list_edition_identity_changes(waiting.statement, edition):
        supersede_approval(session, edition, actor=None, now=now, because="it was drafted again")


def revoke_all_approvals(
    session: Session,
    edition: Edition,
    *,
    actor: str,
    now: datetime,
    because: str = "",
) -> None:
    """Revoke all approvals of an edition, including superseded ones, so that no version is ever sent.

    An approved edition becomes a draft again.

    Raises:
        ApprovalError: there's no approval, or sending has begun.
    """
    # Sending may have begun since the edition was read.
    session.refresh(edition, with_for_update=True)
    open_approvals = [a for a in list_approvals(session, edition) if a.state != ApprovalState.REVOKED]
    if edition.state not in {EditionState.DRAFT, EditionState.INCOMPLETE, EditionState.APPROVED} or not open_approvals:
        raise ApprovalError(
            f"{edition.name} is {edition.state.predicate}, so it has no approval to revoke.", "Reload the page."
        )
    for approval in open_approvals:
        _end_approval(approval, ApprovalState.REVOKED, actor=actor, now=now, because=because)
    edition.approved_by = edition.approved_at = edition.send_requested_at = None
    if edition.state == EditionState.APPROVED:
        edition.state = EditionState.DRAFT
    session.flush()


def list_revoked_versions(session: Session, edition: Edition) -> list[int]:
    """Return the numbers of an edition's revoked versions, for the audit log.

    `approval_check` looks them up there.
    """
    ended = (Approval.edition_id == edition.id, Approval.state == ApprovalState.REVOKED)
    return list(session.scalars(select(Approval.version).where(*ended).order_by(Approval.version)))


def revoke_valid_or_waiting_approvals(
    session: Session, edition: Edition, *, actor: str, now: datetime, because: str
) -> None:
    """Revoke a valid version and all earlier ones, or else a waiting version.

    If there's no valid version, superseded ones are kept, because only the draft is concerned. The
    caller must have locked the edition.
    """
    if find_valid_approval(session, edition):
        revoke_all_approvals(session, edition, actor=actor, now=now, because=because)
    elif waiting := find_waiting_approval(session, edition):
        _end_approval(waiting, ApprovalState.REVOKED, actor=actor, now=now, because=because)


def _end_approval(
    approval: Approval,
    state: ApprovalState,
    *,
    actor: str | None,
    now: datetime,
    because: str,
) -> None:
    approval.state, approval.ended_by, approval.ended_at, approval.ended_because = state, actor, now, because


# --- shared with verification ----------------------------------------------------------------------------------

_MOVED_WORDS = {"edition": "the name", "number": "the number", "release": "the send time"}


def list_edition_identity_changes(stated: dict[str, Any], edition: Edition) -> list[str]:
    """Return, in words, the identifying values that differ between a statement and its edition.

    These are the name, number, and send time.
    """
    now = {"edition": edition.name, "number": edition.number, "release": format_utc_time(edition.release_at)}
    return [words for part, words in _MOVED_WORDS.items() if stated.get(part) != now[part]]


def build_signature_payload(content_hash: str, version: int, actor: str, at: datetime) -> bytes:
    """Return the bytes that an approver signs: the version or correction, the approver, and the time."""
    return b"approval of:" + json.dumps([content_hash, version, actor, format_utc_time(at)]).encode()


def sign_payload(key: SecretKey, payload: bytes) -> str:
    """Return the signature of a payload: its HMAC in hex."""
    return hmac.new(key.secret, payload, hashlib.sha256).hexdigest()
