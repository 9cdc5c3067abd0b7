"""Proof that a post is SendGrid's: ECDSA (P-256, SHA-256) over the timestamp's bytes and the raw body. Pure.

The official package is not used for it: it takes the body as text, raises on what is missing, and checks no time
(see docs/decisions/0014-events.md).
"""

import re
from base64 import b64decode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256

SIGNATURE_HEADER = "X-Twilio-Email-Event-Webhook-Signature"
TIMESTAMP_HEADER = "X-Twilio-Email-Event-Webhook-Timestamp"
# SendGrid tries for 24 hours, and does not say whether it signs each try anew. Two hours more for clocks and outages.
MAX_AGE = timedelta(hours=26)
MAX_CLOCK_SKEW = timedelta(minutes=10)  # of clocks
_MAX_SIGNATURE_LENGTH = 200  # characters; 72 bytes of DER are 96
_TIMESTAMP = re.compile(r"[1-9][0-9]{8,10}")  # seconds since 1970


def webhook_refusal_reason(
    keys: Sequence[EllipticCurvePublicKey], body: bytes, *, signature: str | None, timestamp: str | None, now: datetime
) -> str:
    """Return why a post is refused, for the log alone; empty where any of `keys` signed it and it is fresh."""
    if not keys:
        return "no key is configured"
    if not signature or not timestamp:
        return "a header is missing"
    if not _TIMESTAMP.fullmatch(timestamp):
        return "the timestamp is no time"
    decoded = _decode_signature(signature)
    if decoded is None:
        return "the signature is no base64"
    if not any(_is_signed_by(key, decoded, timestamp.encode("ascii") + body) for key in keys):
        return "the signature is not by our key"
    age = now - datetime.fromtimestamp(int(timestamp), UTC)
    return "" if -MAX_CLOCK_SKEW <= age <= MAX_AGE else "it was signed too long ago, or in the future"


def _decode_signature(text: str) -> bytes | None:
    if len(text) > _MAX_SIGNATURE_LENGTH or not text.isascii():
        return None
    try:
        return b64decode(text, validate=True)
    except ValueError:
        return None


def _is_signed_by(key: EllipticCurvePublicKey, signature: bytes, signed_bytes: bytes) -> bool:
    try:
        key.verify(signature, signed_bytes, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True
