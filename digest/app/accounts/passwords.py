"""Rules for new passwords, and hashing and verifying passwords.

The hash is Argon2id (RFC 9106, section 3), with parameters from OWASP's Password Storage Cheat
Sheet.
"""

import re
import secrets
import string
from collections.abc import Iterator
from functools import cache
from itertools import product

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from subscribers.errors import RefusalError

MIN_LENGTH, MAX_LENGTH = 12, 200  # characters
MIN_STRENGTH = 3  # zxcvbn's score, from 0 to 4; 3 means more than 10^8 guesses
MIN_OWN_WORD = 3  # characters; the member's own words are ignored if they're shorter
MIN_REST = 8  # letters and digits that must remain without those words
_ADVICE = "Use four or more unrelated words."
_ANALYZED_LENGTH = 72  # characters; zxcvbn ignores the rest
_LOOKALIKES = str.maketrans("@4310$57", "aaeiosst")  # p@55w0rd is as common as password
_SYMBOLS = string.punctuation + string.whitespace
_MAX_YEAR_DIGITS = 4
_MAX_LOOKALIKES = 3  # at each end of a word
_FRAMED_WORD = re.compile(r"(?P<before>[\W\d_]*)(?P<word>.*?)(?P<after>[\W\d_]*)", re.DOTALL)


class PasswordRefusedError(RefusalError):
    """Raised when a new password breaks one of the rules.

    The message says why and what to use instead.
    """


def check_password_strength(password: str, *, own_words: list[str]) -> None:
    """Raise `PasswordRefusedError` if a password is easy to guess, even if only for people who know the member.

    `own_words` are the words of the member's address and name and of the publication's name and
    domain.

    Raises:
        PasswordRefusedError: the password is too short, too long, or easily guessed.
    """
    if len(password) < MIN_LENGTH:
        raise PasswordRefusedError(f"That password is too short. Use at least {MIN_LENGTH} characters.")
    if len(password) > MAX_LENGTH:
        raise PasswordRefusedError(f"That password is too long. Use at most {MAX_LENGTH} characters.")
    remainder = password.lower()
    for word in sorted((word for word in own_words if len(word) >= MIN_OWN_WORD), key=len, reverse=True):
        remainder = remainder.replace(word, "")
    if sum(character.isalnum() for character in remainder) < MIN_REST:
        raise PasswordRefusedError(
            f"This password is too similar to your name, your email address, or the publication's name. {_ADVICE}"
        )
    if is_padded_common_word(password):
        raise PasswordRefusedError(
            f"This password is only a common word or password with digits or symbols added. {_ADVICE}"
        )
    from zxcvbn import zxcvbn  # imported here because it loads 30,000 passwords

    strength = zxcvbn(password[:_ANALYZED_LENGTH], user_inputs=own_words)
    if strength["score"] < MIN_STRENGTH:
        reason = strength["feedback"]["warning"] or "This password is easy to guess."
        raise PasswordRefusedError(f"{reason} {_ADVICE}")


def is_padded_common_word(password: str) -> bool:
    """Return True if a password is only a common password, name, or word framed by digits and symbols.

    Case and lookalikes are ignored, so `P@55w0rd2026!` counts as `password`. The words are zxcvbn's
    frequency lists of leaked passwords, names, and English words.
    """
    common = _read_common_words()
    return any(core in common for core in _list_cores(password.casefold()))


def _list_cores(password: str) -> Iterator[str]:
    """Yield the words that remain when digits and symbols are stripped from both ends.

    Characters next to the letters are also tried as lookalikes. Because some common passwords, such
    as `123456`, consist of digits, the text is also yielded with only its symbols stripped, with
    and without a year at its end.
    """
    unframed = password.strip(_SYMBOLS)
    yield unframed
    year = min(len(unframed) - len(unframed.rstrip(string.digits)), _MAX_YEAR_DIGITS)
    yield from (unframed[:-digits] for digits in range(1, year + 1))
    framed = _FRAMED_WORD.fullmatch(password)
    if framed is None or not framed["word"]:
        return
    starts = range(framed.end("before"), max(framed.end("before") - _MAX_LOOKALIKES, 0) - 1, -1)
    ends = range(framed.start("after"), min(framed.start("after") + _MAX_LOOKALIKES, len(password)) + 1)
    for start, end in product(starts, ends):
        yield password[start:end]
        yield password[start:end].translate(_LOOKALIKES)


@cache
def _read_common_words() -> frozenset[str]:
    from zxcvbn.frequency_lists import FREQUENCY_LISTS

    return frozenset(word for words in FREQUENCY_LISTS.values() for word in words)


def upgrade_password_hash(password: str, password_hash: str) -> str | None:
    """Return a new hash for a password if its current hash has outdated parameters, or else None."""
    is_current = (
        password_hash.partition("$m=")[2].partition("$")[0] == _dummy_hash().partition("$m=")[2].partition("$")[0]
    )
    return None if is_current else hash_password(password)


def hash_password(password: str) -> str:
    """Return the hash of a password, with its parameters and salt, in the PHC format."""
    return _hasher(secrets.token_bytes(16)).derive_phc_encoded(password.encode())


def matches_password(password: str, password_hash: str | None) -> bool:
    """Return True if a password matches a hash.

    Without a hash, return False after the same amount of time.
    """
    try:
        Argon2id.verify_phc_encoded(password[: 2 * MAX_LENGTH].encode(), password_hash or _dummy_hash())
    except InvalidKey:
        return False
    return password_hash is not None


@cache
def _dummy_hash() -> str:
    return hash_password(secrets.token_urlsafe(16))


def _hasher(salt: bytes) -> Argon2id:
    return Argon2id(salt=salt, length=32, iterations=2, lanes=1, memory_cost=19 * 1024)
