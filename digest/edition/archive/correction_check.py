"""Verification that a correction is the one that colleagues approved.

Corrections are verified before they're emailed or quoted in a welcome email.
"""

from typing import Any

from sqlalchemy.orm import Session

from digest.edition.approval.approval_check import list_valid_signatures
from digest.edition.approval.approved_versions import compute_content_hash, count_missing_signatures, format_utc_time
from digest.edition.archive.corrections import find_sent_text
from digest.store.correction_models import Correction
from digest.store.models import Edition
from subscribers.crypto.keys import KeyRing


def build_correction_statement(session: Session, edition: Edition, correction: Correction) -> dict[str, Any]:
    """Return the statement for a correction: the content of its email, and what determines the recipients."""
    fields = ("id", "url", "section", "headline", "field", "becomes", "note", "signed")
    return {name: getattr(correction, name) for name in fields} | {
        "edition": edition.name,
        "number": edition.number,
        "at": format_utc_time(correction.at),
        # The text that subscribers received. The archive may have shown a different one since.
        "sent": find_sent_text(session, correction),
    }


def explain_invalid_approval(session: Session, edition: Edition, correction: Correction, keys: KeyRing) -> str:
    """Explain why the approval of a correction's email isn't valid, and what to do.

    Return "" if the approval is valid or there's none yet.
    """
    stated = correction.mail_statement
    if stated is None:
        return "the approval isn't signed. Approve the correction again." if correction.mail_approved_at else ""
    text = build_correction_statement(session, edition, correction)
    expected_statement = text | {"authors": [correction.actor]}
    if any(stated.get(name) != value for name, value in expected_statement.items()):
        return "the correction isn't what was approved. Read the correction again, then approve it."
    if _has_lost_signatures(correction, stated, keys):
        return "the record was changed, or the key that signed it isn't in the key file. Approve the correction again."
    return ""


def _has_lost_signatures(correction: Correction, stated: dict[str, Any], keys: KeyRing) -> bool:
    """Return True if a correction has an invalid signature, or too few signatures for an approved email."""
    valid = list_valid_signatures(correction.signatures, compute_content_hash(stated), correction.seq, keys)
    if len(valid) < len(correction.signatures):
        return True
    signers = [signed.actor for signed in valid]
    return correction.mail_approved_at is not None and count_missing_signatures(stated, signers) > 0


def is_correction_approved(session: Session, edition: Edition, correction: Correction, keys: KeyRing) -> bool:
    """Return True if a correction's current email is approved, with enough valid signatures."""
    is_signed = correction.mail_statement is not None and correction.mail_approved_at is not None
    return is_signed and not explain_invalid_approval(session, edition, correction, keys)
