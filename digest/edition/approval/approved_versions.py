"""What was approved is what is sent: approved versions of an edition, which never change, and the signatures on them.

A content hash is a SHA-256 over the canonical JSON of everything a reader will get: subject, preheader, sender and
list headers, the hash of every fragment in order and of the web copy. Approval stores that list with a copy of all that it
names, as a version of its own, and an HMAC of its hash by a key that is not in the database, one for each approver. It lists
the authors of the texts, links, and images too, so that a version proves by itself that others approved them. What is
sent, tested and shown in the archive is read from the version that stands; the edition's own pieces are its draft.

`approval_check` proves a version before it is sent. Whoever ends or makes a version holds the edition's row, so that acts on one edition come one after the other.
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
from digest.edition.approval.authors import read_draft_approver_rule
from digest.edition.calendar.edition_windows import find_next_window
from digest.edition.content.edition_content import RenderedFragment
from digest.edition.content.mailable_edition import MailableEdition, build_mailable_draft, has_old_placeholders
from digest.edition.content.placeholders import SlotPositions, pack_slots, unpack_slots
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

OPEN_STATES = (ApprovalState.WAITING, ApprovalState.STANDING)
REVOKED_DETAIL = "taken back"  # of a row of the audit log: the numbers of the versions
_MARK_DIGITS = 16  # of a keyed hash, for a person to type


class ApprovalError(ApplicationError):
    """The edition cannot be approved, or is not what was approved; the message says why and what to do."""


def hash_text(text: str) -> str:
    """Return the hash of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def hash_fragment(body: str, slots: SlotPositions | None = ()) -> str:
    """Return the hash of a fragment's text and slots, as JSON. One from before 0037 has the hash of its text."""
    if slots is None:
        return hash_text(body)
    return hash_text(json.dumps([body, pack_slots(slots)], separators=(",", ":")))


def build_approval_statement(mailable: MailableEdition, edition: Edition, rule: ApproverRule) -> dict[str, Any]:
    """List all that approval vouches for, as plain JSON values: what readers get, who wrote in it, and how many have to approve."""
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
    """Return a moment as a statement has it."""
    return moment.astimezone(UTC).isoformat()


def list_fragment_hashes(pieces: Sequence[RenderedFragment]) -> list[list[str]]:
    """List kind, name and hash of each piece, kind by kind, in the order of the mail."""
    return [[p.kind, p.name, hash_fragment(p.body, p.slots)] for p in sorted(pieces, key=lambda p: p.kind)]


def compute_content_hash(statement: dict[str, Any]) -> str:
    """Return the hash of a statement, or of what an edition says: 64 hex digits. Pages show the first seven; approving takes them all."""
    return hashlib.sha256(json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


# --- which version -------------------------------------------------------------------------------------------


def find_valid_approval(session: Session, edition: Edition) -> Approval | None:
    """Find the version that goes out, or went; None where nothing is approved."""
    return _find_last(session, edition, ApprovalState.STANDING)


def find_waiting_approval(session: Session, edition: Edition) -> Approval | None:
    """Find the version that some have approved and that waits for another."""
    return _find_last(session, edition, ApprovalState.WAITING)


def find_last_unrevoked_approval(session: Session, edition: Edition) -> Approval | None:
    """Find the last version that enough people approved and that nobody took back; an edit since does not matter.

    This is what a deadline may send in place of an unapproved draft. A version that was approved for another release, or under
    another number, says so in its text and is none.
    """
    approved = select(Approval).where(
        Approval.edition_id == edition.id,
        Approval.state.in_((ApprovalState.STANDING, ApprovalState.SUPERSEDED)),
        Approval.stood_at.is_not(None),
    )
    last = session.scalar(approved.order_by(Approval.version.desc()).limit(1))
    return last if last is not None and not list_edition_identity_changes(last.statement, edition) else None


def find_matching_approval(session: Session, edition: Edition, settings: Settings) -> Approval | None:
    """Find the last version that enough people approved and nobody revoked, if a draft is again exactly what it says."""
    approval = find_last_unrevoked_approval(session, edition) if edition.state == EditionState.DRAFT else None
    if approval is None or approval.content_hash != read_current_content_hash(session, edition, settings):
        return None
    return approval


def list_approvals(session: Session, edition: Edition) -> tuple[Approval, ...]:
    """List every version of an edition that anybody approved, the newest first."""
    query = select(Approval).where(Approval.edition_id == edition.id).order_by(Approval.version.desc())
    return tuple(session.scalars(query))


def _find_last(session: Session, edition: Edition, state: ApprovalState) -> Approval | None:
    query = select(Approval).where(Approval.edition_id == edition.id, Approval.state == state)
    return session.scalar(query.order_by(Approval.version.desc()).limit(1))


def read_approved_version(session: Session, approval: Approval) -> MailableEdition:
    """Return what an approved version holds, unproven: to look at."""
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
    """Return an edition as its editors have it now, approved or not."""
    return build_mailable_draft(edition, load_rendered_fragments(session, edition), settings)


def read_mailable_edition(session: Session, edition: Edition, settings: Settings) -> MailableEdition:
    """Return an edition as readers get it: the version that stands, unproven; without one the draft."""
    valid_approval = find_valid_approval(session, edition)
    return (
        read_approved_version(session, valid_approval)
        if valid_approval
        else read_draft_version(session, edition, settings)
    )


def read_edition_with_hash(session: Session, edition: Edition, settings: Settings) -> tuple[MailableEdition, str]:
    """Return an edition as `read_mailable_edition` does, and the content hash that `read_current_content_hash` gives for it."""
    valid_approval = find_valid_approval(session, edition)
    if valid_approval:
        return read_approved_version(session, valid_approval), valid_approval.content_hash
    draft, rule = read_draft_version(session, edition, settings), read_draft_approver_rule(session, edition, settings)
    return draft, compute_content_hash(build_approval_statement(draft, edition, rule))


def read_current_content_hash(session: Session, edition: Edition, settings: Settings) -> str:
    """Return the content hash of the version that stands, without one that of the draft, by which it is approved."""
    return read_edition_with_hash(session, edition, settings)[1]


def read_draft_approval_code(session: Session, edition: Edition, settings: Settings, keys: KeyRing) -> str:
    """Return a short name, in hex, of the draft and of its last edit, to type in a terminal.

    It's keyed, so that nobody can search for two drafts with the same mark, as they could with the first digits of a content hash.
    """
    state = json.dumps([read_current_content_hash(session, edition, settings), _read_last_edit(session, edition)])
    return sign_payload(keys.current("approval"), b"approval mark:" + state.encode())[:_MARK_DIGITS]


def _read_last_edit(session: Session, edition: Edition) -> int:
    return session.scalar(select(func.max(EditionEdit.seq)).where(EditionEdit.edition_id == edition.id)) or 0


def _state_draft(session: Session, edition: Edition, settings: Settings) -> dict[str, Any]:
    draft, rule = read_draft_version(session, edition, settings), read_draft_approver_rule(session, edition, settings)
    return build_approval_statement(draft, edition, rule)


# --- approving -----------------------------------------------------------------------------------------------


def sign_approval(
    session: Session, edition: Edition, mark: str, *, settings: Settings, keys: KeyRing, actor: str, now: datetime
) -> Approval:
    """Approve what `mark` names, and return the version with the signature on it. It's a whole content hash or an approval mark.

    It stands, and the edition is approved, once as many people as the settings ask for have signed each text, link, and image
    that somebody else wrote.

    Raises:
        ApprovalError: it is no draft, an older version drafted it, another edition covers its week or leaves a gap before it, it has changed since
            `mark` was shown, a note with which it was sent back is not done, or the actor may not approve it
            (`ApproverRule`).
    """
    # Nobody else decides about it until this commits.
    session.refresh(edition, with_for_update=True)
    if edition.state != EditionState.DRAFT:
        raise ApprovalError(
            f"{edition.name} is {edition.state.predicate}. Only drafts can be approved.",
            "Reload the page to see the latest state.",
        )
    check_article_window_continuity(session, edition)
    statement = _state_draft(session, edition, settings)
    current_hash = compute_content_hash(statement)
    if has_old_placeholders(load_rendered_fragments(session, edition)):
        raise ApprovalError(
            f"{edition.name} was drafted by an older version.", "Draft the edition again, then approve it."
        )
    if mark.lower() not in {current_hash, read_draft_approval_code(session, edition, settings, keys)}:
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
        approval.state, approval.stood_at = ApprovalState.STANDING, now
        edition.state, edition.approved_by, edition.approved_at = EditionState.APPROVED, actor, now
    session.flush()
    return approval


def _check_approver(session: Session, edition: Edition, settings: Settings, actor: str) -> None:
    """Check that nothing is left to do before an actor approves an edition, and that they may."""
    check_no_open_note(session, edition)
    if refusal := read_approver_rule(session, edition, settings).explain_refusal(actor):
        raise ApprovalError(f"{edition.name}: {refusal}")


def check_no_open_note(session: Session, edition: Edition) -> None:
    """Check that an edition wasn't sent back with a note that's still open.

    Raises:
        ApprovalError: it was.
    """
    open_note = select(SentBackNote.id).where(SentBackNote.edition_id == edition.id, SentBackNote.done_at.is_(None))
    if session.scalar(open_note):
        raise ApprovalError(
            f"{edition.name} was sent back with a note that isn't marked as done.",
            "Mark the note as done on the edition page, then approve the edition.",
        )


def read_approver_rule(session: Session, edition: Edition, settings: Settings) -> ApproverRule:
    """Read who may approve an edition as it is now."""
    waiting = find_waiting_approval(session, edition)
    if waiting and waiting.content_hash != compute_content_hash(_state_draft(session, edition, settings)):
        waiting = None
    rule = read_draft_approver_rule(session, edition, settings)
    return replace(rule, signed=tuple(signed.actor for signed in waiting.signatures)) if waiting else rule


def count_missing_signatures(stated: dict[str, Any], signed: Sequence[str]) -> int:
    """Return how many more people have to sign a version at least, by its statement; 0 if it's approved.

    Statements of before authors were recorded ask for a number of approvals, and those of version 0.1 for one.
    """
    authors = () if stated.get("alone") else stated.get("authors", ())
    return count_missing_approvals(max(1, stated.get("approvals", 1)), authors, signed)


def check_article_window_continuity(session: Session, edition: Edition) -> None:
    """Check that a regular edition's articles follow on those of the edition before.

    Raises:
        ApprovalError: another edition covers its week, or there is a gap before it.
    """
    if edition.is_breaking_news:
        return
    newer = select(Edition.name).where(IS_REGULAR, Edition.release_at > edition.release_at).limit(1)
    if (name := session.scalar(newer)) is not None:
        raise ApprovalError(
            f"{name} was drafted later and covers the week of {edition.name} too.", "Approve the other edition."
        )
    window = find_next_window(edition.cut_off, find_last_cut_off(session, edition.release_at))
    if edition.opens_at != window.opens_at:
        raise ApprovalError(
            f"An earlier edition changed after {edition.name} was drafted, so a story could be lost or sent twice.",
            "Draft the edition again with 'digest draft', then approve it.",
        )


def _freeze_version(session: Session, edition: Edition, statement: dict[str, Any], now: datetime) -> Approval:
    """Copy an edition as it stands into a version of its own."""
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
    """End the version that stands or waits, because the draft has moved on; the caller makes the edition a draft.

    A version that stood may still be sent where a deadline's rule says so: see `find_last_unrevoked_approval`. Return whether there was one.
    """
    ended = [approval for approval in list_approvals(session, edition) if approval.state in OPEN_STATES]
    for approval in ended:
        approval.ended_by_edit = by_edit
        _end_approval(approval, ApprovalState.SUPERSEDED, actor=actor, now=now, because=because)
    edition.approved_by = edition.approved_at = edition.send_requested_at = None
    session.flush()
    return bool(ended)


def supersede_outdated_approval(session: Session, edition: Edition, *, now: datetime) -> None:
    """End a version that waits for another approver, where a new draft took the place of what it was made of."""
    waiting = find_waiting_approval(session, edition)
    if waiting is None:
        return
    same = read_approved_version(session, waiting).pieces == load_rendered_fragments(session, edition)
    if not same or list_edition_identity_changes(waiting.statement, edition):
        supersede_approval(session, edition, actor=None, now=now, because="it was drafted again")


def revoke_all_approvals(session: Session, edition: Edition, *, actor: str, now: datetime, because: str = "") -> None:
    """Take back every approval that an edition has, superseded ones too: none of them is ever sent. It is a draft again.

    Raises:
        ApprovalError: nothing is approved, or sending has begun.
    """
    # Sending may have begun since it was read.
    session.refresh(edition, with_for_update=True)
    open_approvals = [a for a in list_approvals(session, edition) if a.state != ApprovalState.TAKEN_BACK]
    if edition.state not in {EditionState.DRAFT, EditionState.INCOMPLETE, EditionState.APPROVED} or not open_approvals:
        raise ApprovalError(
            f"{edition.name} is {edition.state.predicate}, so it has no approval to revoke.", "Reload the page."
        )
    for approval in open_approvals:
        _end_approval(approval, ApprovalState.TAKEN_BACK, actor=actor, now=now, because=because)
    edition.approved_by = edition.approved_at = edition.send_requested_at = None
    if edition.state == EditionState.APPROVED:
        edition.state = EditionState.DRAFT
    session.flush()


def list_revoked(session: Session, edition: Edition) -> list[int]:
    """List the numbers of the versions whose approval was taken back, for the audit log: `approval_check` looks them up there."""
    ended = (Approval.edition_id == edition.id, Approval.state == ApprovalState.TAKEN_BACK)
    return list(session.scalars(select(Approval.version).where(*ended).order_by(Approval.version)))


def revoke_valid_or_waiting_approvals(
    session: Session, edition: Edition, *, actor: str, now: datetime, because: str
) -> None:
    """Take back what stands, with every version before it, or what waits for another approver; the caller holds the edition.

    A version that was superseded before, while nothing stands, is left: this is about the draft, not about that.
    """
    if find_valid_approval(session, edition):
        revoke_all_approvals(session, edition, actor=actor, now=now, because=because)
    elif waiting := find_waiting_approval(session, edition):
        _end_approval(waiting, ApprovalState.TAKEN_BACK, actor=actor, now=now, because=because)


def _end_approval(approval: Approval, state: ApprovalState, *, actor: str | None, now: datetime, because: str) -> None:
    approval.state, approval.ended_by, approval.ended_at, approval.ended_because = state, actor, now, because


# --- what approving and proving share ----------------------------------------------------------------------

_MOVED_WORDS = {"edition": "the name", "number": "the number", "release": "the send time"}


def list_edition_identity_changes(stated: dict[str, Any], edition: Edition) -> list[str]:
    """Name what an edition is called, or when it is released, where a version of it says otherwise. 0.1 stated no release."""
    now = {"edition": edition.name, "number": edition.number, "release": format_utc_time(edition.release_at)}
    return [words for part, words in _MOVED_WORDS.items() if stated.get(part, now[part]) != now[part]]


def build_signature_payload(content_hash: str, version: int, actor: str, at: datetime) -> bytes:
    """Return what an approver signs: which version of an edition or which correction, who they are, and when."""
    return b"approval of:" + json.dumps([content_hash, version, actor, format_utc_time(at)]).encode()


def sign_payload(key: SecretKey, payload: bytes) -> str:
    """Return the signature of a payload: its HMAC, in hex."""
    return hmac.new(key.secret, payload, hashlib.sha256).hexdigest()
