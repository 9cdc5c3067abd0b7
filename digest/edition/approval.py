"""What was approved is what is sent: the content hash, and the signature over it.

A content hash is a SHA-256 over the canonical JSON of everything a reader will get: subject, preheader, sender and
list headers, and the hash of every fragment in order. Approval stores that list, the hash and an HMAC of
the hash by a key that is not in the database. Any change afterwards makes `verify_approval` fail.
"""

import hashlib
import hmac
import json
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.edition.queries import last_cut_off_before
from digest.edition.windows import next_window
from digest.settings import Settings
from digest.store.models import Edition, EditionState, Fragment
from subscribers.crypto.keys import KeyRing, SecretKey
from subscribers.errors import ApplicationError


class ApprovalError(ApplicationError):
    """The edition cannot be approved, or is not what was approved; the message says why and what to do."""


def hash_fragment_body(text: str) -> str:
    """Return the hash of a fragment's body."""
    return hashlib.sha256(text.encode()).hexdigest()


def load_fragments(session: Session, edition: Edition) -> tuple[Fragment, ...]:
    """Read an edition's fragments, in order of kind and position."""
    query = select(Fragment).where(Fragment.edition_id == edition.id).order_by(Fragment.kind, Fragment.position)
    return tuple(session.scalars(query))


def approval_statement(edition: Edition, fragments: tuple[Fragment, ...], settings: Settings) -> dict[str, Any]:
    """List all that approval vouches for, as plain JSON values."""
    sender = settings.file.sender
    return {
        "edition": edition.name,
        "number": edition.number,
        "subject": edition.subject,
        "preheader": edition.preheader,
        "from": [sender.name, sender.address],
        "reply_to": sender.reply_to,
        "list": [settings.file.publication.name, sender.list_id, settings.link_base],
        "fragments": [[f.kind, f.name, hash_fragment_body(f.body)] for f in fragments],
    }


def content_hash_of(statement: dict[str, Any]) -> str:
    """Return the content hash of a statement: 64 hex digits, of which pages show the first seven."""
    return hashlib.sha256(json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def current_content_hash(session: Session, edition: Edition, settings: Settings) -> str:
    """Return the content hash of the edition as it is now."""
    return content_hash_of(approval_statement(edition, load_fragments(session, edition), settings))


def _sign_content_hash(key: SecretKey, content_hash: str) -> str:
    return hmac.new(key.secret, b"approval:" + content_hash.encode(), hashlib.sha256).hexdigest()


def sign_approval(
    session: Session,
    edition: Edition,
    content_hash: str,
    *,
    settings: Settings,
    keys: KeyRing,
    actor: str,
    now: datetime,
) -> str:
    """Approve what `content_hash` names (at least its first seven digits), and give the whole hash.

    Raises:
        ApprovalError: it is no draft, another edition covers its week or leaves a gap before it, or it has
            changed since `content_hash` was shown.
    """
    session.refresh(edition, with_for_update=True)  # nobody else decides about it until this commits
    if edition.state != EditionState.DRAFT:
        raise ApprovalError(f"{edition.name} is {edition.state}: only a draft can be approved.")
    newer = select(Edition.name).where(Edition.release_at > edition.release_at).limit(1)
    if (name := session.scalar(newer)) is not None:
        raise ApprovalError(f"{name} was drafted since, and covers the week of {edition.name} too. Approve that one.")
    window = next_window(edition.cut_off, last_cut_off_before(session, edition.release_at))
    if edition.opens_at != window.opens_at:
        raise ApprovalError(
            f"What goes out before {edition.name} is not what it was when {edition.name} was drafted, so a story "
            "could be lost or come twice. Draft it again ('digest draft'), and approve that."
        )
    statement = approval_statement(edition, load_fragments(session, edition), settings)
    current_hash = content_hash_of(statement)
    if len(content_hash) < 7 or not current_hash.startswith(content_hash.lower()):
        raise ApprovalError(
            f"{edition.name} has changed: you looked at {content_hash[:7] or 'nothing'}, now it is {current_hash[:7]}. "
            "Look at it again and approve what you see."
        )
    edition.approval = {
        "mark": current_hash,
        "signature": _sign_content_hash(keys.current("approval"), current_hash),
        "stated": statement,
    }
    edition.approved_by = actor
    edition.approved_at = now
    edition.state = EditionState.APPROVED
    return current_hash


def clear_approval(session: Session, edition: Edition) -> None:
    """Take an approval back, so that the edition can be changed again.

    Raises:
        ApprovalError: nothing is approved, or sending has begun.
    """
    session.refresh(edition, with_for_update=True)  # sending may have begun since it was read
    if edition.state != EditionState.APPROVED:
        raise ApprovalError(f"{edition.name} is {edition.state}: there is no approval to take back.")
    edition.approval = None
    edition.approved_by = edition.approved_at = None
    edition.state = EditionState.DRAFT


def verify_approval(session: Session, edition: Edition, *, settings: Settings, keys: KeyRing) -> tuple[Fragment, ...]:
    """Return the approved fragments, after proving that they are what was approved.

    Raises:
        ApprovalError: there is no approval, or something that it vouches for is different now.
    """
    approval = edition.approval
    if not approval:
        raise ApprovalError(f"{edition.name} is not approved. Approve it at the desk or with 'digest approve'.")
    fragments = load_fragments(session, edition)
    statement = approval_statement(edition, fragments, settings)
    current_hash = content_hash_of(statement)
    # By any key: one that was rotated between approval and sending must not stop an edition. Version 0.1 signed by session keys.
    signing_keys = (*keys.of_kind("approval"), *keys.of_kind("session"))
    signature = str(approval["signature"])
    signed = any(hmac.compare_digest(_sign_content_hash(key, current_hash), signature) for key in signing_keys)
    if current_hash != approval["mark"] or not signed:
        raise ApprovalError(
            f"{edition.name} is not what was approved ({str(approval['mark'])[:7]}, now {current_hash[:7]}): "
            f"{_explain_difference(approval['stated'], statement)}"
        )
    return fragments


_STATEMENT_WORDS = {
    "subject": "its subject",
    "preheader": "its preheader",
    "from": "its sender",
    "reply_to": "its reply address",
    "list": "its list address",
    "fragments": "its text",
}


def _explain_difference(approved: dict[str, Any], current: dict[str, Any]) -> str:
    """Say in what two statements differ, and what to do."""
    changes = [words for part, words in _STATEMENT_WORDS.items() if approved.get(part) != current[part]]
    approved_base, current_base = approved["list"][-1], current["list"][-1]
    if approved_base != current_base:
        return (
            f"DIGEST_BASE_URL was {approved_base}, to which its links lead, and is {current_base} now. Put it back; or take the "
            "approval back, draft the edition again and approve that."
        )
    if not changes:
        return "the key that signed it is not in the key file. Take the approval back and approve anew."
    return f"{' and '.join(changes)} changed. Take the approval back and approve anew."
