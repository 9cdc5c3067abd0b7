"""Passwords: which are taken, and their hashes (Argon2id, RFC 9106; parameters of OWASP's Password Storage Cheat Sheet)."""

import secrets
from functools import cache

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from subscribers.errors import RefusalError

MIN_LENGTH, MAX_LENGTH = 12, 200  # characters
MIN_STRENGTH = 3  # of zxcvbn's 0 to 4: more than 10^8 guesses
MIN_OWN_WORD = 3  # characters of a word that a password must not be made of
MIN_REST = 8  # letters and digits, that are left without such words
_ADVICE = "Take four or more words that have nothing to do with each other."
_ANALYSED_LENGTH = 72  # characters: all that zxcvbn looks at


class PasswordRefusedError(RefusalError):
    """A password is not taken; the message says why, and what would be."""


def check_password(password: str, *, own_words: list[str]) -> None:
    """Refuse what others would guess, also by knowing `own_words`: the member's address and name, and the publication's.

    Raises:
        PasswordRefusedError: it is too short, too long, or easily guessed.
    """
    if len(password) < MIN_LENGTH:
        raise PasswordRefusedError(f"{len(password)} characters are too few: take {MIN_LENGTH} or more.")
    if len(password) > MAX_LENGTH:
        raise PasswordRefusedError(f"{len(password)} characters are too many: take at most {MAX_LENGTH}.")
    rest = password.lower()
    for word in sorted((word for word in own_words if len(word) >= MIN_OWN_WORD), key=len, reverse=True):
        rest = rest.replace(word, "")
    if sum(character.isalnum() for character in rest) < MIN_REST:
        raise PasswordRefusedError(f"This is mostly your address or name, or the publication's. {_ADVICE}")
    from zxcvbn import zxcvbn  # reads 30,000 words: only where a password is chosen

    judged = zxcvbn(password[:_ANALYSED_LENGTH], user_inputs=own_words)
    if judged["score"] < MIN_STRENGTH:
        reason = judged["feedback"]["warning"] or "This would be guessed."
        raise PasswordRefusedError(f"{reason} {_ADVICE}")


def hash_password(password: str) -> str:
    """Return the hash of a password, with its parameters and salt, in the PHC format."""
    return _hasher(secrets.token_bytes(16)).derive_phc_encoded(password.encode())


def matches_password(password: str, password_hash: str | None) -> bool:
    """Say whether a hash is that of a password; without a hash it takes as long, and is not."""
    try:
        Argon2id.verify_phc_encoded(password[: 2 * MAX_LENGTH].encode(), password_hash or _nobodys_hash())
    except InvalidKey:
        return False
    return password_hash is not None


@cache
def _nobodys_hash() -> str:
    return hash_password(secrets.token_urlsafe(16))


def _hasher(salt: bytes) -> Argon2id:
    return Argon2id(salt=salt, length=32, iterations=2, lanes=1, memory_cost=19 * 1024)
