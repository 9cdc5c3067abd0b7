"""The names of a delivery, computed from purpose and person: the same in every attempt, telling nothing."""

import hmac
from base64 import b32encode

from subscribers.vault import Keys

LENGTH = 26


def delivery_id(keys: Keys, purpose: str, person: int) -> str:
    """Give the opaque id (26 characters of base32, 130 bits) of what is owed to a person for a purpose."""
    said = b"delivery\0%s\0%d" % (purpose.encode(), person)
    digest = hmac.digest(keys.current("return-path").secret, said, "sha256")
    return b32encode(digest[:20]).decode("ascii").lower()[:LENGTH]


def message_id(purpose: str, delivery: str, domain: str) -> str:
    """Give the Message-ID (RFC 5322, 3.6.4): the same for every attempt at one delivery.

    Mail systems that see it twice drop one, which bounds the harm of a doubt settled the wrong way.
    """
    stem = purpose.rpartition(":")[2] if purpose.startswith("edition:") else purpose.partition(":")[0]
    return f"<{stem}.{delivery[:20]}@{domain}>"
