"""Encryption of stored values with AES-GCM and the vault key. Each value is bound to its row."""

import json
import secrets
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from subscribers.crypto.keys import DecryptionError, KeyRing

# The length in bytes of a nonce for AES-GCM (NIST SP 800-38D, section 8.2).
_NONCE_LENGTH = 12
# JSON is padded to a multiple of this many bytes, so that its length reveals little.
_PADDING_STEP = 512


@lru_cache(maxsize=16)
def _cipher(secret: bytes) -> AESGCM:
    return AESGCM(secret)


def encrypt_bytes(keys: KeyRing, plain: bytes, *, bound_to: str) -> tuple[bytes, str]:
    """Encrypt bytes with the current vault key, and return the ciphertext and the key's ID.

    The ciphertext can only be decrypted with the same `bound_to`, so it's useless in another row.
    """
    (ciphertext,), key_id = encrypt_many(keys, [(plain, bound_to)])
    return ciphertext, key_id


def encrypt_many(
    keys: KeyRing,
    values: Sequence[tuple[bytes, str]],
) -> tuple[list[bytes], str]:
    """Encrypt many values, each with its own binding, and return the ciphertexts in order and the key's ID."""
    key = keys.current("vault")
    cipher = _cipher(key.secret)
    # All nonces are requested at once, because requesting each from the system takes longer than encrypting.
    random_bytes = secrets.token_bytes(_NONCE_LENGTH * len(values))
    nonces = (random_bytes[at : at + _NONCE_LENGTH] for at in range(0, len(random_bytes), _NONCE_LENGTH))
    return [
        nonce + cipher.encrypt(nonce, plain, bound_to.encode())
        for nonce, (plain, bound_to) in zip(nonces, values, strict=True)
    ], key.id


def decrypt_bytes(
    keys: KeyRing,
    encrypted: tuple[bytes, str],
    *,
    bound_to: str,
    label: str = "",
) -> bytes:
    """Decrypt the result of `encrypt_bytes`.

    `label` identifies the value in errors.

    Raises:
        DecryptionError: the ciphertext was changed, or belongs to another row.
        KeyFileError: the key isn't in the key file.
    """
    (plain,) = decrypt_many(keys, [(*encrypted, bound_to)])
    if plain is None:
        label = label or f"a sealed {bound_to.partition(' ')[0]}"
        raise DecryptionError(f"Can't decrypt {label} with the vault key {encrypted[1]}")
    return plain


def decrypt_many(keys: KeyRing, values: Iterable[tuple[bytes, str, str]]) -> Iterator[bytes | None]:
    """Decrypt many values, each given as its ciphertext, the key's ID, and what it's bound to.

    For a value that was changed or belongs to another row, yield None.

    Raises:
        KeyFileError: a key isn't in the key file.
    """
    ciphers: dict[str, AESGCM] = {}
    for ciphertext, key_id, bound_to in values:
        cipher = ciphers.get(key_id)
        if cipher is None:
            cipher = ciphers[key_id] = _cipher(keys.by_id("vault", key_id).secret)
        try:
            yield cipher.decrypt(ciphertext[:_NONCE_LENGTH], ciphertext[_NONCE_LENGTH:], bound_to.encode())
        except (InvalidTag, ValueError, TypeError):  # SQLite allows text in a column for bytes
            yield None


def reencrypt(
    keys: KeyRing,
    encrypted: tuple[bytes, str],
    *,
    bound_to: str,
    label: str = "",
) -> tuple[bytes, str]:
    """Decrypt a value and encrypt it with the current vault key.

    Raises:
        DecryptionError: the ciphertext was changed, or belongs to another row.
        KeyFileError: the key isn't in the key file.
    """
    return encrypt_bytes(keys, decrypt_bytes(keys, encrypted, bound_to=bound_to, label=label), bound_to=bound_to)


def encrypt_json(
    keys: KeyRing,
    value: dict[str, Any],
    *,
    bound_to: str,
) -> tuple[bytes, str]:
    """Encrypt a JSON object with `encrypt_bytes`, padded so that its length reveals little."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return encrypt_bytes(keys, text + b" " * (-len(text) % _PADDING_STEP), bound_to=bound_to)


def decrypt_json(
    keys: KeyRing,
    encrypted: tuple[bytes, str],
    *,
    bound_to: str,
) -> dict[str, Any]:
    """Decrypt the result of `encrypt_json`.

    Raises:
        DecryptionError: the ciphertext was changed, or belongs to another row.
        KeyFileError: the key isn't in the key file.
    """
    value: dict[str, Any] = json.loads(decrypt_bytes(keys, encrypted, bound_to=bound_to))
    return value
