"""The ids of a delivery, computed from purpose and person: the same at every try, revealing nothing."""

import hmac
from base64 import b32encode

from subscribers.crypto.keys import KeyRing

DELIVERY_ID_LENGTH = 26


def make_delivery_id(keys: KeyRing, purpose: str, person: int) -> str:
    """Return the opaque id (26 characters of base32, 130 bits) of a person's delivery for a purpose."""
    data = b"delivery\0%s\0%d" % (purpose.encode(), person)
    digest = hmac.digest(keys.current("return-path").secret, data, "sha256")
    return b32encode(digest[:20]).decode("ascii").lower()[:DELIVERY_ID_LENGTH]


def make_message_id(purpose: str, delivery_id: str, list_domain: str) -> str:
    """Return the Message-ID (RFC 5322, 3.6.4), the same at every try of one delivery.

    Mail systems that see it twice drop one message, which limits the harm of a doubt resolved the wrong way.
    """
    stem = purpose.rpartition(":")[2] if purpose.startswith("edition:") else purpose.partition(":")[0]
    return f"<{stem}.{delivery_id[:20]}@{list_domain}>"
