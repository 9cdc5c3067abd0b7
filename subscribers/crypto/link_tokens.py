"""Mail tokens: 22 characters that name a person, computed and never stored.

Sixteen bytes in base64url: the person's number (5), the key's number (1) and ten bytes of an HMAC over
purpose and number. A token for one purpose is none for another, and is checked before any look-up.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Literal

from subscribers.crypto.keys import KeyRing, SecretKey

LinkPurpose = Literal["leave", "preferences", "test leave", "test preferences"]
TOKEN_LENGTH = 22
_MAC_LENGTH = 10
_MAX_PERSON_NUMBER = 2**40 - 1


def make_link_token(keys: KeyRing, number: int, purpose: LinkPurpose) -> str:
    """Compute the token of person `number` for `purpose`.

    The two `test` purposes are for test mails: their pages say that it was a test and change nobody.
    """
    key = keys.current("token")
    numbers = _encode_numbers(number, key)
    return urlsafe_b64encode(numbers + _mac(key, numbers, purpose))[:TOKEN_LENGTH].decode("ascii")


def read_link_token(keys: KeyRing, token: str, purpose: LinkPurpose) -> int | None:
    """Return the number of the person that `token` names, or None where it is no token of ours for `purpose`.

    Tokens made with earlier keys stay good: a reader may leave by last year's mail.
    """
    raw = _decode_token(token)
    if raw is None:
        return None
    numbers, mac = raw[:-_MAC_LENGTH], raw[-_MAC_LENGTH:]
    for key in keys.of_kind("token"):
        if key.number == numbers[5] and hmac.compare_digest(_mac(key, numbers, purpose), mac):
            return int.from_bytes(numbers[:5])
    return None


def _encode_numbers(number: int, key: SecretKey) -> bytes:
    if not 0 < number <= _MAX_PERSON_NUMBER:
        raise ValueError(f"person number {number} does not fit a token")
    return number.to_bytes(5) + bytes([key.number])


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
