"""Addresses at rest: encrypted for one person, and found again by keyed hashes."""

import hmac
import secrets
from collections.abc import Iterable
from typing import NamedTuple

from subscribers.address import Address, read_address
from subscribers.crypto.encrypted_values import decrypt_bytes, encrypt_bytes
from subscribers.crypto.keys import KeyRing, SecretKey


class AddressHashes(NamedTuple):
    """An address's keyed hashes: by the current look-up key, by older ones, and for each suppression key.

    `suppressions` are pairs of hash and key id; a new suppression is written under the last one.
    """

    lookup: str
    lookup_key: str
    older_lookups: tuple[str, ...]
    suppressions: tuple[tuple[str, str], ...]


def encrypt_address(keys: KeyRing, address: Address, number: int) -> tuple[bytes, str]:
    """Encrypt the address of person `number`; return the ciphertext and the id of the key."""
    return encrypt_bytes(keys, address.mailbox.encode("ascii"), bound_to=f"person {number}")


def decrypt_address(keys: KeyRing, encrypted: tuple[bytes, str], number: int) -> str:
    """Return the address (ASCII, as mail goes to it) that `encrypt_address` made `encrypted` of: ciphertext and key id.

    Raises:
        DecryptionError: the ciphertext was changed, or belongs to another person.
        KeyFileError: the key is not in the key file.
    """
    person = f"person {number}"
    return decrypt_bytes(keys, encrypted, bound_to=person, label=f"the address of {person}").decode("ascii")


def lookup_hash(keys: KeyRing, address: Address | str, *, key_id: str | None = None) -> str:
    """Return the keyed hash (64 hex digits) by which a person is found; by the current look-up key unless one is named.

    Raises:
        AddressError: `address` is a text that is no address.
    """
    key = keys.current("lookup") if key_id is None else keys.by_id("lookup", key_id)
    return _keyed_hash(key, b"address", (read_address(address) if isinstance(address, str) else address).canonical)


def domain_tag(keys: KeyRing, address: Address) -> str:
    """Return a keyed hash (32 hex digits) of the domain: caps per receiving domain need no more."""
    return _keyed_hash(keys.current("lookup"), b"domain", address.domain)[:32]


def suppression_hash(key: SecretKey, address: Address) -> str:
    """Return the keyed hash (64 hex digits) under which an address is suppressed."""
    return _keyed_hash(key, b"suppressed", address.canonical)


def departure_hash(key: SecretKey, lookup: str) -> str:
    """Return the keyed hash (64 hex digits) under which the departure log knows the person of a look-up hash."""
    return _keyed_hash(key, b"left", lookup)


def new_address_salt() -> bytes:
    """Draw the salt of one person's commitments: 128 bits, without which nobody can try addresses against them."""
    return secrets.token_bytes(16)


def commit_address(key: SecretKey, mailbox: str, salt: bytes) -> str:
    """Return the commitment (64 hex digits) of a consent to `mailbox`, the address as mail goes to it."""
    return hmac.digest(key.secret, b"commitment\0" + salt + mailbox.encode("ascii"), "sha256").hex()


def hash_addresses(keys: KeyRing, addresses: Iterable[Address]) -> list[AddressHashes]:
    """Compute every hash by which addresses are found, or suppressed.

    After a restore a suppression may be known by the departure log's hash of the look-up alone
    (`subscribers.lifecycle.departure_merge`); those come first.
    """
    *older_keys, current_key = keys.of_kind("lookup")
    key_id = current_key.id
    suppression_keys = [(key, key.id) for key in keys.of_kind("suppression")]
    hashes = []
    for address in addresses:
        current = _keyed_hash(current_key, b"address", address.canonical)
        older = tuple(_keyed_hash(key, b"address", address.canonical) for key in older_keys)
        logged = [(departure_hash(key, lookup), id_) for key, id_ in suppression_keys for lookup in (*older, current)]
        direct = [(suppression_hash(key, address), id_) for key, id_ in suppression_keys]
        hashes.append(AddressHashes(current, key_id, older, (*logged, *direct)))
    return hashes


def hash_address(keys: KeyRing, address: Address) -> AddressHashes:
    """Compute every hash of one address."""
    return hash_addresses(keys, (address,))[0]


def _keyed_hash(key: SecretKey, purpose: bytes, text: str) -> str:
    return hmac.digest(key.secret, purpose + b"\0" + text.encode(), "sha256").hex()
