"""Stored addresses, each encrypted for one person and found by keyed hashes."""

import hmac
import secrets
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from subscribers.address import Address, read_address
from subscribers.crypto.encrypted_values import decrypt_bytes, decrypt_many, encrypt_many
from subscribers.crypto.keyed_hashes import keyed_hash
from subscribers.crypto.keys import KeyFileError, KeyRing, SecretKey

_SALT_LENGTH = 16  # in bytes


# The prefix of the ID of an adopted key in suppressions. The IDs of our own keys start with a digit.
ADOPTED_MARK = "a"


class AddressHashes(NamedTuple):
    """The keyed hashes of an address.

    They're lookup hashes with the current and older keys, and hashes with suppression keys.
    `suppressions` are pairs of a hash and a key ID, with adopted keys first. New suppressions are
    written with the last one.
    """

    lookup: str
    lookup_key: str
    older_lookups: tuple[str, ...]
    suppressions: tuple[tuple[str, str], ...]


class AdoptedSuppressionKey(NamedTuple):
    """Another installation's suppression key.

    `lookup` is set if the key is for hashes in an unsubscribe log.
    """

    suppression: SecretKey
    lookup: SecretKey | None

    @property
    def id(self) -> str:
        """The key's ID in suppressions, which has at most 15 characters."""
        return f"{ADOPTED_MARK}{self.suppression.id}"

    def hash_canonical(self, canonical: str) -> str:
        """Return the keyed hash of an address's canonical form as 64 hex digits."""
        if self.lookup is None:
            return _keyed_hash(self.suppression, b"suppressed", canonical)
        return make_departure_hash(self.suppression, _keyed_hash(self.lookup, b"address", canonical))


def is_adopted_key_id(key_id: str) -> bool:
    """Return True if a suppression's key ID is that of an adopted key."""
    return key_id.startswith(ADOPTED_MARK)


def encrypt_address(keys: KeyRing, address: Address, number: int) -> tuple[bytes, str]:
    """Encrypt the address of person `number`, and return the ciphertext and the key's ID."""
    (ciphertext,), key_id = encrypt_addresses(keys, [(address, number)])
    return ciphertext, key_id


def encrypt_addresses(
    keys: KeyRing,
    addresses: Iterable[tuple[Address, int]],
) -> tuple[list[bytes], str]:
    """Encrypt addresses, each bound to a person's number, and return the ciphertexts in order and the key's ID."""
    return encrypt_many(
        keys, [(address.mailbox.encode("ascii"), _person_binding(number)) for address, number in addresses]
    )


def decrypt_address(keys: KeyRing, encrypted: tuple[bytes, str], number: int) -> str:
    """Decrypt a person's address, given its ciphertext and key ID, and return it in ASCII.

    Raises:
        DecryptionError: the ciphertext was changed, or belongs to another person.
        KeyFileError: the key isn't in the key file.
    """
    person = _person_binding(number)
    return decrypt_bytes(keys, encrypted, bound_to=person, label=f"the address of {person}").decode("ascii")


def decrypt_addresses(keys: KeyRing, rows: Iterable[tuple[int, bytes, str]]) -> Iterator[bytes | None]:
    """Decrypt addresses, each given as the person's number, the ciphertext, and the key's ID, in ASCII.

    For a ciphertext that was changed or belongs to another person, yield None.

    Raises:
        KeyFileError: a key isn't in the key file.
    """
    return decrypt_many(keys, ((ciphertext, key_id, _person_binding(number)) for number, ciphertext, key_id in rows))


def make_lookup_hash(
    keys: KeyRing,
    address: Address | str,
    *,
    key_id: str | None = None,
) -> str:
    """Return a person's lookup hash as 64 hex digits.

    The current lookup key is used unless `key_id` is given.

    Raises:
        AddressError: `address` is text that isn't an address.
    """
    key = keys.current("lookup") if key_id is None else keys.by_id("lookup", key_id)
    return _keyed_hash(key, b"address", (read_address(address) if isinstance(address, str) else address).canonical)


def matches_lookup(
    keys: KeyRing,
    mailbox: str,
    lookup: str | None,
    key_id: str | None,
) -> bool:
    """Return True if a row's lookup hash matches its encrypted address.

    Return False if the lookup key is missing.
    """
    try:
        key = keys.by_id("lookup", key_id or "")
    except KeyFileError:
        return False
    return lookup is not None and hmac.compare_digest(_keyed_hash(key, b"address", mailbox.casefold()), lookup)


def make_domain_tag(keys: KeyRing, address: Address) -> str:
    """Return a keyed hash of an address's domain as 32 hex digits, used for limits on receiving domains."""
    return _keyed_hash(keys.current("lookup"), b"domain", address.domain)[:32]


def make_departure_hash(key: SecretKey, lookup: str) -> str:
    """Return the keyed hash of a lookup hash, as used in the unsubscribe log, as 64 hex digits."""
    return _keyed_hash(key, b"left", lookup)


def _person_binding(number: int) -> str:
    return f"person {number}"


def generate_address_salt() -> bytes:
    """Return a random 128-bit salt for the commitments of one person.

    Without it, guessed addresses can't be checked.
    """
    return generate_address_salts(1)[0]


def generate_address_salts(count: int) -> list[bytes]:
    """Return `count` random salts."""
    random_bytes = secrets.token_bytes(_SALT_LENGTH * count)
    return [random_bytes[at : at + _SALT_LENGTH] for at in range(0, len(random_bytes), _SALT_LENGTH)]


def compute_address_commitment(key: SecretKey, mailbox: str, salt: bytes) -> str:
    """Return the commitment to `mailbox`, the address in ASCII, as 64 hex digits."""
    return keyed_hash(key.secret, b"commitment\0", salt + mailbox.encode("ascii"))


def hash_addresses(
    keys: KeyRing,
    addresses: Iterable[Address],
    adopted: Sequence[AdoptedSuppressionKey],
) -> list[AddressHashes]:
    """Return all lookup and suppression hashes of the given addresses.

    `consent.suppression.hash_addresses` passes the adopted keys. After a restore, a suppression may
    only be known by the unsubscribe log's hash of the lookup
    (`subscribers.lifecycle.unsubscribe_log_merge`). These hashes precede the direct ones.
    """
    *older_keys, current_key = keys.of_kind("lookup")
    key_id = current_key.id
    suppression_keys = [(key, key.id) for key in keys.of_kind("suppression")]
    hashes = []
    for address in addresses:
        canonical = address.canonical
        current = _keyed_hash(current_key, b"address", canonical)
        older = tuple([_keyed_hash(key, b"address", canonical) for key in older_keys])
        logged = [
            (make_departure_hash(key, lookup), id_) for key, id_ in suppression_keys for lookup in (*older, current)
        ]
        direct = [(_keyed_hash(key, b"suppressed", canonical), id_) for key, id_ in suppression_keys]
        foreign = [(key.hash_canonical(canonical), key.id) for key in adopted]
        hashes.append(AddressHashes(current, key_id, older, (*foreign, *logged, *direct)))
    return hashes


def _keyed_hash(key: SecretKey, purpose: bytes, text: str) -> str:
    return keyed_hash(key.secret, purpose + b"\0", text.encode())
