"""Email tokens: 22 characters that identify a person and the address that the email is sent to.

They're computed and never stored. A token is 16 bytes in base64url: the generation of the person's
links (1), the person's number (4), the key's number (1), six bytes of an HMAC of the purpose and
all of these, and four bytes of an HMAC that also covers the address. A token is only valid for its
purpose, and is checked before any lookup. Only the last four bytes require the person's row
(`was_made_for_address`). The row says whose number it is, but not what was emailed to whom.

The generation is 0 until a person's links are renewed. It isn't compared with the person's current
one here, because a token for unsubscribing never expires.
"""

import hmac
from base64 import b32decode, b32encode, urlsafe_b64decode, urlsafe_b64encode
from typing import Literal, NamedTuple

from subscribers.crypto.keyed_hashes import keyed_hash
from subscribers.crypto.keys import KeyRing, SecretKey

LinkPurpose = Literal["leave", "preferences", "test leave", "test preferences"]
TOKEN_LENGTH = 22
BASE32_TOKEN_LENGTH = 26
_NUMBERS_LENGTH, _PERSON_MAC_LENGTH = 6, 6  # bytes
_MAC_LENGTH = 10
_MAX_PERSON_NUMBER = 2**32 - 1
_MAX_GENERATION = 2**8 - 1


class LinkOwner(NamedTuple):
    """The owner of a link: a person's number, and the generation of their links."""

    number: int
    generation: int


def next_generation(generation: int) -> int:
    """Return the generation that follows a generation.

    The last one is followed by 1, because 0 is in all early emails.
    """
    return generation % _MAX_GENERATION + 1


def make_link_token(
    keys: KeyRing,
    number: int,
    purpose: LinkPurpose,
    generation: int = 0,
    *,
    address: str,
) -> str:
    """Return a token for person `number` and `purpose`, to be emailed to `address`.

    `generation` is the current one of their links (`Person.link_generation`). If the address is
    empty, the token can only be used to unsubscribe. The two `test` purposes are for test emails.
    Their pages say so and don't change anyone's data.
    """
    key = keys.current("token")
    numbers = _encode_numbers(number, generation, key)
    person_mac = _mac(key, f"{purpose} by person", numbers)[:_PERSON_MAC_LENGTH]
    raw = numbers + person_mac + _address_mac(key, purpose, numbers, address)
    return urlsafe_b64encode(raw)[:TOKEN_LENGTH].decode("ascii")


def read_link_token(keys: KeyRing, token: str, purpose: LinkPurpose) -> LinkOwner | None:
    """Return a token's owner, or None if it isn't one of our tokens for `purpose`.

    Tokens made with earlier keys remain valid, so that subscribers can unsubscribe with old emails.
    """
    key, numbers, mac = _split_token(keys, token)
    if key is None:
        return None
    person_mac = _mac(key, f"{purpose} by person", numbers)[:_PERSON_MAC_LENGTH]
    is_ours = hmac.compare_digest(person_mac, mac[:_PERSON_MAC_LENGTH])
    return LinkOwner(int.from_bytes(numbers[1:5]), numbers[0]) if is_ours else None


def was_made_for_address(keys: KeyRing, token: str, purpose: LinkPurpose, address: str) -> bool:
    """Return True if a token was made for emails to `address`."""
    key, numbers, mac = _split_token(keys, token)
    if key is None:
        return False
    return hmac.compare_digest(_address_mac(key, purpose, numbers, address), mac[_PERSON_MAC_LENGTH:])


def convert_to_base32(token: str) -> str:
    """Return a token in lowercase base32, for email addresses.

    Email systems may change the case of the letters in addresses.
    """
    return b32encode(urlsafe_b64decode(token + "==")).decode("ascii").rstrip("=").lower()


def convert_from_base32(text: str) -> str:
    """Return the token that `convert_to_base32` turned into these 26 characters, in either case."""
    return urlsafe_b64encode(b32decode(text + "======", casefold=True)).decode("ascii").rstrip("=")


def _encode_numbers(number: int, generation: int, key: SecretKey) -> bytes:
    if not 0 < number <= _MAX_PERSON_NUMBER:
        raise ValueError(f"person number {number} is too large for a token")
    return bytes([generation]) + number.to_bytes(4) + bytes([key.number])


def _split_token(keys: KeyRing, token: str) -> tuple[SecretKey | None, bytes, bytes]:
    """Return a token's key (or None), its numbers, and its MAC."""
    raw = _decode_token(token) or bytes(_NUMBERS_LENGTH)
    numbers, mac = raw[:_NUMBERS_LENGTH], raw[_NUMBERS_LENGTH:]
    return next((key for key in keys.of_kind("token") if key.number == numbers[5]), None), numbers, mac


def _address_mac(key: SecretKey, purpose: LinkPurpose, numbers: bytes, address: str) -> bytes:
    text = numbers + address.casefold().encode()
    return _mac(key, f"{purpose} by address", text)[: _MAC_LENGTH - _PERSON_MAC_LENGTH]


def _mac(key: SecretKey, label: str, text: bytes) -> bytes:
    return bytes.fromhex(keyed_hash(key.secret, f"{label}\0".encode(), text)[: 2 * _MAC_LENGTH])


def _decode_token(token: str) -> bytes | None:
    """Decode base64url, accepting only the form that `make_link_token` produces.

    The last character has spare bits, so other spellings would exist.
    """
    if len(token) != TOKEN_LENGTH or not token.isascii():
        return None
    try:
        raw = urlsafe_b64decode(token + "==")
    except ValueError:
        return None
    return (
        raw
        if len(raw) == _NUMBERS_LENGTH + _MAC_LENGTH and urlsafe_b64encode(raw)[:TOKEN_LENGTH].decode("ascii") == token
        else None
    )
