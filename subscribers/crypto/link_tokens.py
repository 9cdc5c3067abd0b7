"""Mail tokens: 22 characters that name a person, computed and never stored.

Sixteen bytes in base64url: the generation of the person's links (1), their number (4), the key's number (1) and ten bytes of
an HMAC over purpose and all of these. A token for one purpose is none for another, and is checked before any look-up.

Generation 0 stands until a person's link is renewed; tokens from before there were generations have a zero in that place.
Whether a generation is still the person's own is not asked here: a token to leave is good for ever.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Literal, NamedTuple

from subscribers.crypto.keys import KeyRing, SecretKey

LinkPurpose = Literal["leave", "preferences", "test leave", "test preferences"]
TOKEN_LENGTH = 22
_MAC_LENGTH = 10
_MAX_PERSON_NUMBER = 2**32 - 1
_MAX_GENERATION = 2**8 - 1


class LinkOwner(NamedTuple):
    """Whose link a token is: a person's number, and the generation of their links that it belongs to."""

    number: int
    generation: int


def next_generation(generation: int) -> int:
    """Return the generation that follows; after the last one comes 1, for 0 is that of all early mails."""
    return generation % _MAX_GENERATION + 1


def make_link_token(keys: KeyRing, number: int, purpose: LinkPurpose, generation: int = 0) -> str:
    """Compute the token of person `number` for `purpose`, in the generation that their links have (`Person.link_generation`).

    The two `test` purposes are for test mails: their pages say that it was a test and change nobody.
    """
    key = keys.current("token")
    numbers = _encode_numbers(number, generation, key)
    return urlsafe_b64encode(numbers + _mac(key, numbers, purpose))[:TOKEN_LENGTH].decode("ascii")


def read_link_token(keys: KeyRing, token: str, purpose: LinkPurpose) -> LinkOwner | None:
    """Return whose token it is, or None where it is no token of ours for `purpose`.

    Tokens made with earlier keys stay good: a reader may leave by last year's mail.
    """
    raw = _decode_token(token)
    if raw is None:
        return None
    numbers, mac = raw[:-_MAC_LENGTH], raw[-_MAC_LENGTH:]
    for key in keys.of_kind("token"):
        if key.number == numbers[5] and hmac.compare_digest(_mac(key, numbers, purpose), mac):
            return LinkOwner(int.from_bytes(numbers[1:5]), numbers[0])
    return None


def _encode_numbers(number: int, generation: int, key: SecretKey) -> bytes:
    if not 0 < number <= _MAX_PERSON_NUMBER:
        raise ValueError(f"person number {number} is too large for a token")
    return bytes([generation]) + number.to_bytes(4) + bytes([key.number])


def _mac(key: SecretKey, encoded_numbers: bytes, purpose: LinkPurpose) -> bytes:
    return hmac.digest(key.secret, purpose.encode() + b"\0" + encoded_numbers, "sha256")[:_MAC_LENGTH]


def _decode_token(token: str) -> bytes | None:
    """Undo base64url, taking only the one spelling that `make_link_token` gives: the last character carries spare bits."""
    if len(token) != TOKEN_LENGTH or not token.isascii():
        return None
    try:
        raw = urlsafe_b64decode(token + "==")
    except ValueError:
        return None
    return raw if len(raw) == 16 and urlsafe_b64encode(raw)[:TOKEN_LENGTH].decode("ascii") == token else None
