"""Encryption of texts with a passphrase, using AES-256-GCM and a key derived by Argon2id."""

import json
import secrets
from base64 import b64decode, b64encode

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from subscribers.errors import ApplicationError

# The name identifies all parameters, so new parameters need a new name. They're the second
# recommendation of RFC 9106, section 4, with 64 MiB.
_METHOD = "argon2id-t3-m65536-p4 aes-256-gcm"
_SALT_LENGTH, _NONCE_LENGTH = 16, 12  # in bytes


class PassphraseError(ApplicationError):
    """Raised when a text can't be decrypted.

    The message is a sentence without its subject, which is the name of the text.
    """


def encrypt_text(text: str, passphrase: str) -> str:
    """Encrypt a text as JSON that names the encryption method.

    `decrypt_text` reads it.
    """
    salt, nonce = secrets.token_bytes(_SALT_LENGTH), secrets.token_bytes(_NONCE_LENGTH)
    ciphertext = _cipher(passphrase, salt).encrypt(nonce, text.encode(), _METHOD.encode())
    values = {"salt": salt, "nonce": nonce, "ciphertext": ciphertext}
    return json.dumps({"protected": _METHOD, **{n: b64encode(v).decode() for n, v in values.items()}}, indent=1) + "\n"


def is_encrypted_text(text: str) -> bool:
    """Return True if a text was created by `encrypt_text`."""
    try:
        return "protected" in json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return False


def decrypt_text(text: str, passphrase: str | None) -> str:
    """Decrypt the result of `encrypt_text`.

    Raises:
        PassphraseError: the passphrase is missing or wrong, or the text was changed or truncated.
    """
    if not passphrase:
        raise PassphraseError(
            "is protected by a passphrase, but no passphrase was given.",
            remedy="Set DIGEST_KEY_PASSPHRASE or the systemd credential digest.key-passphrase.",
        )
    try:
        values = json.loads(text)
        if values["protected"] != _METHOD:
            raise PassphraseError(
                "was protected by a newer version of this program.", remedy="Install that version or a later one."
            )
        salt, nonce, ciphertext = (b64decode(values[name], validate=True) for name in ("salt", "nonce", "ciphertext"))
        return _cipher(passphrase, salt).decrypt(nonce, ciphertext, _METHOD.encode()).decode()
    except (InvalidTag, ValueError, KeyError, TypeError):
        raise PassphraseError(
            "can't be opened with this passphrase. The passphrase is wrong, or the file is damaged.",
            remedy="Correct DIGEST_KEY_PASSPHRASE, or restore the recovery copy: digest keys restore FILE --replace",
        ) from None


def _cipher(passphrase: str, salt: bytes) -> AESGCM:
    try:
        kdf = Argon2id(salt=salt, length=32, iterations=3, lanes=4, memory_cost=65536)
    except UnsupportedAlgorithm:
        raise PassphraseError(
            "requires Argon2id, which this build of the cryptography package doesn't include. Install the package as a wheel."
        ) from None
    return AESGCM(kdf.derive(passphrase.encode()))
