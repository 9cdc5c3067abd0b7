"""Small values at rest: JSON encrypted with the vault key, bound to the row that it stands in.

Addresses of people have a place of their own (`vault.encrypt_address`); this is for what waits for a moment: a form that
was sent, a mail that is still to go out.
"""

import json
import secrets
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from subscribers.crypto.keys import DecryptionError, KeyRing

_NONCE_LENGTH = 12  # bytes, as NIST SP 800-38D 8.2 wants for AES-GCM
_PADDING_STEP = 512  # bytes: what is sealed is filled up to a multiple, so that its length says next to nothing


@lru_cache(maxsize=16)
def _cipher(secret: bytes) -> AESGCM:
    return AESGCM(secret)


def encrypt_bytes(keys: KeyRing, plain: bytes, *, bound_to: str) -> tuple[bytes, str]:
    """Encrypt bytes as they are; give the ciphertext and the id of the key. It opens for `bound_to` only."""
    key = keys.current("vault")
    nonce = secrets.token_bytes(_NONCE_LENGTH)
    return nonce + _cipher(key.secret).encrypt(nonce, plain, bound_to.encode()), key.id


def decrypt_bytes(keys: KeyRing, encrypted: tuple[bytes, str], *, bound_to: str) -> bytes:
    """Give the bytes that `encrypt_bytes` made `encrypted` of.

    Raises:
        DecryptionError: the ciphertext was changed, or belongs to another row.
        KeyFileError: the key is not in the key file.
    """
    ciphertext, key_id = encrypted
    cipher = _cipher(keys.by_id("vault", key_id).secret)
    try:
        return cipher.decrypt(ciphertext[:_NONCE_LENGTH], ciphertext[_NONCE_LENGTH:], bound_to.encode())
    except (InvalidTag, ValueError):
        kind = bound_to.partition(" ")[0]
        raise DecryptionError(f"a sealed {kind} does not open with the vault key {key_id}") from None


def encrypt_json(keys: KeyRing, value: dict[str, Any], *, bound_to: str) -> tuple[bytes, str]:
    """Encrypt a value of plain JSON; give the ciphertext and the id of the key. It opens for `bound_to` only."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return encrypt_bytes(keys, text + b" " * (-len(text) % _PADDING_STEP), bound_to=bound_to)


def decrypt_json(keys: KeyRing, encrypted: tuple[bytes, str], *, bound_to: str) -> dict[str, Any]:
    """Give the value that `encrypt_json` made `encrypted` of.

    Raises:
        DecryptionError: the ciphertext was changed, or belongs to another row.
        KeyFileError: the key is not in the key file.
    """
    value: dict[str, Any] = json.loads(decrypt_bytes(keys, encrypted, bound_to=bound_to))
    return value
