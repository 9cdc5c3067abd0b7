"""Header fields, formatted without Python's `email` package.

That package turns a long List-Unsubscribe into encoded words, which RFC 2047, section 5, forbids
there, and wraps lines at lengths that RFC 2045, section 6.7, and RFC 2047, section 2, don't allow.
See docs/decisions/0007-message-bytes.md.
"""

import re
from base64 import b64encode
from collections.abc import Iterable
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from subscribers.address import is_safe_in_angle_brackets
from subscribers.errors import ApplicationError

HEADER_LINE_LENGTH = 78  # recommended maximum characters per line (RFC 5322, section 2.1.1)
ENCODED_WORD_LENGTH = 75  # maximum characters in an encoded word (RFC 2047, section 2)
_WORD_START, _WORD_END = "=?utf-8?b?", "?="
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")


class HeaderError(ApplicationError):
    """Raised when a value can't be used in a header field. The message names the field."""


def format_header_field(name: str, value: str) -> bytes:
    """Return a field whose value is ASCII and fits on one line.

    Raises:
        HeaderError: the value contains a line break, another control character, or a non-ASCII
            character, or it's too long.
    """
    if not value.isascii() or not value.isprintable():
        raise HeaderError(f"{name} contains a line break, another control character, or a non-ASCII character")
    line = f"{name}: {value}\r\n"
    if len(line) > 998:
        raise HeaderError(f"{name} has {len(line)} characters, over the limit for a line (RFC 5322, section 2.1.1)")
    return line.encode("ascii")


def format_unstructured_field(name: str, text: str) -> bytes:
    """Return a free-text field such as Subject, folded at spaces or as encoded words (RFC 2047, section 5)."""
    words = " ".join(text.split()).split(" ")
    used = len(name) + 2
    if not all(map(_is_plain_word, words)):
        words = _encode_words(" ".join(words), first_width=ENCODED_WORD_LENGTH - used)
    return _write_lines(name, _fold_words(words, HEADER_LINE_LENGTH - used))


def _is_plain_word(word: str) -> bool:
    is_short = len(word) <= HEADER_LINE_LENGTH - 2
    return is_short and word.isascii() and word.isprintable() and "=?" not in word


def _write_lines(name: str, lines: Iterable[str]) -> bytes:
    value = "\r\n ".join(lines)
    return f"{name}: {value}\r\n".encode("ascii")


def format_mailbox_field(name: str, display_name: str, address: str) -> bytes:
    """Return a folded field, such as From, that contains a display name and one address.

    It also formats List-Id, with the ID as the address.
    """
    return _write_lines(name, _mailbox_lines(name, display_name, address))


def format_mailbox_value(name: str, display_name: str, address: str) -> str:
    """Return the value of a field that contains a display name and one address.

    It's meant for a provider that writes the field itself.
    """
    return " ".join(_mailbox_lines(name, display_name, address))


def _mailbox_lines(name: str, display_name: str, address: str) -> list[str]:
    if not is_safe_in_angle_brackets(address):
        raise HeaderError(f"the address in {name} has invalid characters")
    phrase = _display_phrase(" ".join(display_name.split()), first_width=ENCODED_WORD_LENGTH - len(name) - 2)
    return _fold_words([*phrase, f"<{address}>"], HEADER_LINE_LENGTH - len(name) - 2)


@lru_cache(maxsize=256)  # all messages in a batch have the same date
def format_date_value(at: datetime, zone: ZoneInfo) -> str:
    """Return a time formatted for a Date field (RFC 5322, section 3.3) in the given time zone."""
    return format_datetime(at.astimezone(zone))


def _display_phrase(display_name: str, *, first_width: int) -> list[str]:
    if not display_name:
        return []
    if not display_name.isascii() or not display_name.isprintable() or "=?" in display_name:
        return _encode_words(display_name, first_width=first_width)
    if _ATOMS.fullmatch(display_name):
        return display_name.split(" ")
    return ['"' + re.sub(r'(["\\])', r"\\\1", display_name) + '"']


def _encode_words(text: str, *, first_width: int) -> list[str]:
    """Split text into encoded words of at most 75 characters, never within a letter (RFC 2047, section 5).

    All of the text is encoded, because email apps drop the space between two encoded words. The
    first word is short enough to fit on the line with the field's name.
    """
    words = []
    capacity = _encoded_word_capacity(first_width)
    chunk = b""
    for letter in "".join(c if c.isprintable() else " " for c in text):
        octets = letter.encode("utf-8", "replace")
        if len(chunk) + len(octets) > capacity:
            words.append(chunk)
            capacity, chunk = _encoded_word_capacity(ENCODED_WORD_LENGTH), b""
        chunk += octets
    words.append(chunk)
    return [f"{_WORD_START}{b64encode(w).decode()}{_WORD_END}" for w in words]


def _encoded_word_capacity(width: int) -> int:
    """Return the number of octets that fit into a base64 encoded word of `width` characters."""
    return (width - len(_WORD_START) - len(_WORD_END)) // 4 * 3


def _fold_words(words: list[str], first_width: int) -> list[str]:
    """Arrange words into lines.

    The first line has at most `first_width` characters, and the others `HEADER_LINE_LENGTH` - 1.
    """
    lines = [words[0]]
    for word in words[1:]:
        width = first_width if len(lines) == 1 else HEADER_LINE_LENGTH - 1
        if len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
