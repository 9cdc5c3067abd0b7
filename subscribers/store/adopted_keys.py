"""The keys for the hashes in suppression files: this installation's, and those of adopted files' installations.

Adopted keys are stored in the database, encrypted with the vault key. They're only used for
checking addresses. Nothing is written with them except the content of an adopted file.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Self

from sqlalchemy import select
from sqlalchemy.orm import Session

from subscribers.crypto.encrypted_values import decrypt_json, encrypt_json
from subscribers.crypto.keys import MAX_KEYS_PER_KIND, KeyKind, KeyRing, SecretKey
from subscribers.crypto.stored_addresses import AdoptedSuppressionKey
from subscribers.store.models import SuppressionAdoption

# The maximum per file. Every check of an address computes a hash per key.
MAX_ADOPTED_KEYS = 500
_SECRET_LENGTHS = range(32, 65)  # in bytes


class SuppressionKeySet(NamedTuple):
    """The keys for one installation's suppressions.

    Lookup keys are needed for hashes of departures.
    """

    suppression: tuple[SecretKey, ...]
    lookup: tuple[SecretKey, ...]

    @classmethod
    def of_ring(cls, keys: KeyRing) -> Self:
        """Return the suppression and lookup keys of a key ring."""
        return cls(keys.of_kind("suppression"), keys.of_kind("lookup"))

    @classmethod
    def parse(cls, value: Any) -> Self:
        """Parse a key set from a JSON value created by `as_json`.

        Raises:
            ValueError, KeyError, TypeError: it isn't a set of keys.
        """
        return cls(_parse_keys("suppression", value["suppression"]), _parse_keys("lookup", value["lookup"]))

    def as_json(self) -> dict[str, list[dict[str, Any]]]:
        """Return the key set, including the secrets, as a JSON value."""
        return {
            "suppression": [_key_as_json(key) for key in self.suppression],
            "lookup": [_key_as_json(key) for key in self.lookup],
        }

    def list_keys(self) -> list[AdoptedSuppressionKey]:
        """Return the keys in the form used by an installation that adopts them.

        Each suppression key is used alone and with each lookup key.
        """
        lookups = (*self.lookup, None)
        return [AdoptedSuppressionKey(key, lookup) for key in self.suppression for lookup in lookups]


def _key_as_json(key: SecretKey) -> dict[str, Any]:
    return {"number": key.number, "secret": b64encode(key.secret).decode()}


def _parse_keys(kind: KeyKind, values: Any) -> tuple[SecretKey, ...]:
    keys = tuple(_parse_key(kind, value) for value in values)
    if not all(_is_sound(key) for key in keys):
        raise ValueError("not suppression keys")
    return keys


def _parse_key(kind: KeyKind, value: Any) -> SecretKey:
    return SecretKey(kind, value["number"], b64decode(value["secret"], validate=True))


def _is_sound(key: SecretKey) -> bool:
    is_numbered = type(key.number) is int and 1 <= key.number <= MAX_KEYS_PER_KIND
    return is_numbered and len(key.secret) in _SECRET_LENGTHS


def parse_key_sets(values: Any) -> list[SuppressionKeySet]:
    """Parse key sets from a JSON value.

    Raises:
        ValueError, KeyError, TypeError: they aren't key sets, or there are too many.
    """
    key_sets = [SuppressionKeySet.parse(value) for value in values]
    if len(list_suppression_keys(key_sets)) > MAX_ADOPTED_KEYS:
        raise ValueError("too many keys")
    return key_sets


def encrypt_key_sets(
    keys: KeyRing,
    key_sets: Sequence[SuppressionKeySet],
    adoption: int,
) -> tuple[bytes, str]:
    """Encrypt adopted keys for the row of an adoption, and return the ciphertext and the vault key's ID."""
    value = {"sets": [each.as_json() for each in key_sets]}
    return encrypt_json(keys, value, bound_to=_binding(adoption))


def load_key_sets(session: Session, keys: KeyRing) -> list[SuppressionKeySet]:
    """Return the distinct key sets of all adopted suppression files.

    Raises:
        DecryptionError: a row is damaged; without its keys, suppressed people wouldn't be
            recognized.
    """
    columns = (SuppressionAdoption.id, SuppressionAdoption.ciphertext, SuppressionAdoption.key_id)
    key_sets: list[SuppressionKeySet] = []
    for row in session.execute(select(*columns).order_by(SuppressionAdoption.id)):
        stored = decrypt_json(keys, (row.ciphertext, row.key_id), bound_to=_binding(row.id))
        key_sets += [each for each in parse_key_sets(stored["sets"]) if each not in key_sets]
    return key_sets


def list_suppression_keys(key_sets: Iterable[SuppressionKeySet]) -> list[AdoptedSuppressionKey]:
    """Return the distinct keys of several key sets.

    Two files of one installation have keys in common.
    """
    return list(dict.fromkeys(key for each in key_sets for key in each.list_keys()))


def _binding(adoption: int) -> str:
    return f"adoption {adoption}"
