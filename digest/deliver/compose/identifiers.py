"""A delivery's IDs, derived from its purpose and person.

They're opaque, and the same at every attempt.
"""

import hmac
import re
from base64 import b32encode
from collections.abc import Iterable, Sequence

from subscribers.crypto.keys import KeyRing, SecretKey

DELIVERY_ID_LENGTH = 26
_HASHED_BYTES = 20  # number of bytes per hash; base32 encodes them as 32 characters without padding
_ENCODED_LENGTH = 32
_DOMAIN_END = re.compile(r"[!-;=?A-~]+>")  # the end of a Message-ID: any domain that the settings accept, in ASCII


def make_delivery_id(keys: KeyRing, purpose: str, person: int) -> str:
    """Return the opaque ID of a person's delivery for a purpose (26 base32 characters, 130 bits)."""
    return make_delivery_ids(keys, purpose, (person,))[0]


def make_delivery_ids(keys: KeyRing, purpose: str, people: Iterable[int]) -> list[str]:
    """Return the IDs of several people's deliveries for a purpose, in order.

    This is twice as fast as one call per person.
    """
    return _compute_ids(keys.current("return-path"), purpose, people)


def _compute_ids(key: SecretKey, purpose: str, people: Iterable[int]) -> list[str]:
    keyed = hmac.new(key.secret, b"delivery\0%s\0" % purpose.encode(), "sha256")
    digests = []
    for person in people:
        completed = keyed.copy()
        completed.update(b"%d" % person)
        digests.append(completed.digest()[:_HASHED_BYTES])
    encoded = b32encode(b"".join(digests)).decode("ascii").lower()
    return [encoded[n : n + DELIVERY_ID_LENGTH] for n in range(0, len(encoded), _ENCODED_LENGTH)]


def make_message_id(purpose: str, delivery_id: str, list_domain: str) -> str:
    """Return the Message-ID (RFC 5322, section 3.6.4), which is the same for every attempt.

    Mail systems drop a second copy of a message, which limits the harm if a delivery with unknown
    status is wrongly repeated.
    """
    stem = purpose.rpartition(":")[2] if purpose.startswith("edition:") else purpose.partition(":")[0]
    return f"<{stem}.{delivery_id[:20]}@{list_domain}>"


def find_genuine_ids(
    keys: KeyRing,
    purpose: str,
    deliveries: Sequence[tuple[str, int | None, str]],
) -> frozenset[str]:
    """Return the genuine IDs among deliveries given as tuples of ID, person, and Message-ID.

    An ID is a keyed hash of the purpose and person, so it's genuine only if both are as planned.
    The Message-ID must match, too, except for its domain, which changes with the settings. Older
    keys are accepted.
    """
    people = [person or 0 for _, person, _ in deliveries]
    computed = zip(*(_compute_ids(key, purpose, people) for key in keys.of_kind("return-path")), strict=True)
    return frozenset(
        delivery_id
        for (delivery_id, _, message_id), own in zip(deliveries, computed, strict=True)
        if delivery_id in own and _is_message_id(message_id, purpose, delivery_id)
    )


def _is_message_id(value: object, purpose: str, delivery_id: str) -> bool:
    begin, text = make_message_id(purpose, delivery_id, "").removesuffix(">"), str(value)
    return text.startswith(begin) and _DOMAIN_END.fullmatch(text, len(begin)) is not None
