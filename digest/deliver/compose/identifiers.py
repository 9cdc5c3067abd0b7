"""The ids of a delivery, computed from purpose and person: the same at every try, revealing nothing."""

import hmac
from base64 import b32encode
from collections.abc import Iterable

from subscribers.crypto.keys import KeyRing

DELIVERY_ID_LENGTH = 26
_HASHED_BYTES = 20  # of each hash; base32 makes 32 characters of them, without padding
_ENCODED_LENGTH = 32


def make_delivery_id(keys: KeyRing, purpose: str, person: int) -> str:
    """Return the opaque id (26 characters of base32, 130 bits) of a person's delivery for a purpose."""
    return make_delivery_ids(keys, purpose, (person,))[0]


def make_delivery_ids(keys: KeyRing, purpose: str, people: Iterable[int]) -> list[str]:
    """Return the ids of several people's deliveries for a purpose, in their order: together they take half the time."""
    keyed = hmac.new(keys.current("return-path").secret, b"delivery\0%s\0" % purpose.encode(), "sha256")
    digests = []
    for person in people:
        completed = keyed.copy()
        completed.update(b"%d" % person)
        digests.append(completed.digest()[:_HASHED_BYTES])
    encoded = b32encode(b"".join(digests)).decode("ascii").lower()
    return [encoded[n : n + DELIVERY_ID_LENGTH] for n in range(0, len(encoded), _ENCODED_LENGTH)]


def make_message_id(purpose: str, delivery_id: str, list_domain: str) -> str:
    """Return the Message-ID (RFC 5322, section 3.6.4), the same at every try of one delivery.

    Mail systems that see it twice drop one message, which limits the harm of a doubt resolved the wrong way.
    """
    stem = purpose.rpartition(":")[2] if purpose.startswith("edition:") else purpose.partition(":")[0]
    return f"<{stem}.{delivery_id[:20]}@{list_domain}>"
