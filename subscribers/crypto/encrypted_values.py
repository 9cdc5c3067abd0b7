"""Values at rest: encrypted by AES-GCM with the vault key, each bound to the row that it stands in."""

import json
import secrets
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from subscribers.crypto.keys import DecryptionError, KeyRing

# Bytes, as NIST SP 800-38D 8.2 asks for with AES-GCM.
_NONCE_LENGTH = 12
# JSON is filled up to a multiple of so many bytes, so that its length says next to nothing.
_PADDING_STEP = 512


@lru_cache(maxsize=16)
def _cipher(secret: bytes) -> AESGCM:
    return AESGCM(secret)


def encrypt_bytes(keys: KeyRing, plain: bytes, *, bound_to: str) -> tuple[bytes, str]:
    """Encrypt bytes with the current vault key; return the ciphertext and the id of the key.

    The ciphertext opens for the same `bound_to` only: rows that were swapped in the database do not open.
    """
    (ciphertext,), key_id = encrypt_many(keys, [(plain, bound_to)])
    return ciphertext, key_id


def encrypt_many(keys: KeyRing, values: Sequence[tuple[bytes, str]]) -> tuple[list[bytes], str]:
    """Encrypt many bytes, each with what it is bound to, as `encrypt_bytes` does; return them in order, and the key's id."""
    key = keys.current("vault")
    cipher = _cipher(key.secret)
    # Drawn at once: to ask the system for each takes longer than to encrypt.
    random_bytes = secrets.token_bytes(_NONCE_LENGTH * len(values))
    nonces = (random_bytes[at : at + _NONCE_LENGTH] for at in range(0, len(random_bytes), _NONCE_LENGTH))
    return [
        nonce + cipher.encrypt(nonce, plain, bound_to.encode())
        for nonce, (plain, bound_to) in zip(nonces, values, strict=True)
    ], key.id


def decrypt_bytes(keys: KeyRing, encrypted: tuple[bytes, str], *, bound_to: str, label: str = "") -> bytes:
    """Return the bytes that `encrypt_bytes` made `encrypted` of; `label` names the value in an error.

    Raises:
        DecryptionError: the ciphertext was changed, or belongs to another row.
        KeyFileError: the key is not in the key file.
    """
    ciphertext, key_id = encrypted
    cipher = _cipher(keys.by_id("vault", key_id).secret)
    try:
        return cipher.decrypt(ciphertext[:_NONCE_LENGTH], ciphertext[_NONCE_LENGTH:], bound_to.encode())
    except (InvalidTag, ValueError, TypeError):  # SQLite would keep a text in a column of bytes
        label = label or f"a sealed {bound_to.partition(' ')[0]}"
        raise DecryptionError(f"{label} does not open with the vault key {key_id}") from None


def reencrypt(keys: KeyRing, encrypted: tuple[bytes, str], *, bound_to: str, label: str = "") -> tuple[bytes, str]:
    """Encrypt with the current vault key what an earlier one encrypted.

    Raises:
        DecryptionError: the ciphertext was changed, or belongs to another row.
        KeyFileError: the key is not in the key file.
    """
    return encrypt_bytes(keys, decrypt_bytes(keys, encrypted, bound_to=bound_to, label=label), bound_to=bound_to)


def encrypt_json(keys: KeyRing, value: dict[str, Any], *, bound_to: str) -> tuple[bytes, str]:
    """Encrypt a value of plain JSON, as `encrypt_bytes` does."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return encrypt_bytes(keys, text + b" " * (-len(text) % _PADDING_STEP), bound_to=bound_to)


def decrypt_json(keys: KeyRing, encrypted: tuple[bytes, str], *, bound_to: str) -> dict[str, Any]:
    """Return the value that `encrypt_json` made `encrypted` of.

    Raises:
        DecryptionError: the ciphertext was changed, or belongs to another row.
        KeyFileError: the key is not in the key file.
    """
    value: dict[str, Any] = json.loads(decrypt_bytes(keys, encrypted, bound_to=bound_to))
    return value
