"""Passwords and passphrases that are hashed at little cost.

Password hashes and backups name their cost, so that the same code runs. A key file names it too, but as one word for what is shipped:
another process doesn't open a key file that a test protected. Tests about the cost itself take the fixture `shipped_hashing`.
"""

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from digest.app.accounts import passwords
from digest.backups import encrypted_file
from subscribers.crypto import passphrase as text_passphrase

_SHIPPED_HASHER, _SHIPPED_WORK_FACTOR = passwords._hasher, encrypted_file.WORK_FACTOR
_SHIPPED_CIPHER = text_passphrase._cipher
_CHEAP_WORK_FACTOR = 4


def _cheap_hasher(salt: bytes) -> Argon2id:
    """Stand in for `passwords._hasher`."""
    return Argon2id(salt=salt, length=32, iterations=1, lanes=1, memory_cost=64)


def _cheap_cipher(passphrase: str, salt: bytes) -> AESGCM:
    """Stand in for `subscribers.crypto.passphrase._cipher`."""
    return AESGCM(_cheap_hasher(salt).derive(passphrase.encode()))


def make_hashing_cheap() -> None:
    """Have this process make cheap hashes and files. Processes that a test starts make what is shipped."""
    passwords._hasher = _cheap_hasher
    encrypted_file.WORK_FACTOR = _CHEAP_WORK_FACTOR
    text_passphrase._cipher = _cheap_cipher


def restore_shipped_hashing(patch: pytest.MonkeyPatch) -> None:
    """Have hashes and files cost what is shipped, for as long as the patch lasts."""
    patch.setattr(passwords, "_hasher", _SHIPPED_HASHER)
    patch.setattr(encrypted_file, "WORK_FACTOR", _SHIPPED_WORK_FACTOR)
    patch.setattr(text_passphrase, "_cipher", _SHIPPED_CIPHER)
    passwords._dummy_hash.cache_clear()
