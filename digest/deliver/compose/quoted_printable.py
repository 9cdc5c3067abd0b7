"""Quoted-printable (RFC 2045, 6.7) with room for the values that sending fills in later.

Each slot has an encoded line of its own, between soft line breaks, and a value is encoded as whole lines. So lines stay within 76
characters whatever the values are, and no value is searched for in the text.
"""

import re
from collections.abc import Iterable, Iterator

from digest.edition.content.placeholders import Slot, SlottedText

MAX_LINE_LENGTH = 76  # characters, the "=" of a soft break included
SOFT_BREAK = b"=\r\n"
# What stands encoded: neither printable ASCII nor a blank; "=", of which HTML is full, is replaced apart.
_SPECIAL_BYTE = re.compile(rb"[^ \t\n!-~]")
# A line that isn't cut, and has nothing to encode at its start or its end.
_WHOLE_LINE = re.compile(rb"[^.F].{,%d}(?<![ \t])" % (MAX_LINE_LENGTH - 2))

# What fits into a line before a soft break, and ends within no escape; what is encoded at its start becomes longer by two.
_PIECE = re.compile(rb"(?:[.F].{,%d}|.{1,%d})(?<!=)(?<!=.)" % (MAX_LINE_LENGTH - 4, MAX_LINE_LENGTH - 1))


def encode_quoted_printable(text: SlottedText) -> list[bytes | Slot]:
    """Encode a text (UTF-8) into encoded parts and its slots, in order. Every line break becomes CRLF.

    If the text doesn't end with a line break, a soft one is added.
    """
    *whole, last = _split_lines(text)
    encoded: list[bytes | Slot] = []
    for line in whole:
        encoded += [*_encode_line(line), b"\r\n"]
    if ending := _encode_line(last):
        encoded += [*ending, SOFT_BREAK]
    return join_literals(encoded)


def _split_lines(text: SlottedText) -> Iterator[list[bytes | Slot]]:
    """Yield the lines, each as bytes that are encoded but not cut, and slots."""
    line: list[bytes | Slot] = []
    for part in text.parts():
        if isinstance(part, Slot):
            line.append(part)
            continue
        first, *others = _encode_bytes(part.replace("\r\n", "\n").replace("\r", "\n")).split(b"\n")
        line.append(first)
        for other in others:
            yield line
            line = [other]
    yield line


def _encode_line(line: list[bytes | Slot]) -> list[bytes | Slot]:
    """Cut a line at its slots, and where it's too long."""
    if len(line) == 1 and isinstance(line[0], bytes) and _WHOLE_LINE.fullmatch(line[0]):
        return line
    last = len(line) - 1
    parts: list[bytes | Slot] = []
    for at, part in enumerate(line):
        if encoded := part if isinstance(part, Slot) else _wrap_line(part, ends_line=at == last):
            parts += [SOFT_BREAK, encoded] if parts else [encoded]
    return parts


def join_literals(parts: Iterable[bytes | Slot]) -> list[bytes | Slot]:
    """Join the bytes between slots."""
    joined, literals = list[bytes | Slot](), list[bytes]()
    for part in parts:
        if isinstance(part, bytes):
            literals.append(part)
        else:
            joined += [b"".join(literals), part]
            literals = []
    return [*joined, b"".join(literals)]


def encode_value(text: str) -> bytes:
    """Encode the value of a slot (UTF-8); a soft line break stands before and after it."""
    *whole, last = _encode_bytes(text).split(b"\n")
    return b"".join(_wrap_line(line, ends_line=True) + b"\r\n" for line in whole) + _wrap_line(last, ends_line=False)


def _encode_bytes(text: str) -> bytes:
    return _SPECIAL_BYTE.sub(_escape_byte, text.encode().replace(b"=", b"=3D"))


def _escape_byte(match: re.Match[bytes]) -> bytes:
    return b"=%02X" % match[0][0]


def _wrap_line(line: bytes, *, ends_line: bool) -> bytes:
    """Cut a line without slots where it's too long. `ends_line`: a hard line break follows."""
    if ends_line and line.endswith((b" ", b"\t")):
        line = line[:-1] + b"=%02X" % line[-1]  # RFC 2045, 6.7 (3): blanks before a line break must be encoded
    return SOFT_BREAK.join(_escape_line_start(piece[:1]) + piece[1:] for piece in _PIECE.findall(line))


def _escape_line_start(encoded_byte: bytes) -> bytes:
    """Encode what is special at the start of a line: SMTP's dot (RFC 5321, 4.5.2) and mbox's "From ".

    A message without such lines has the same bytes in a file, on the wire, and under a signature.
    """
    return b"=%02X" % encoded_byte[0] if encoded_byte in {b".", b"F"} else encoded_byte
