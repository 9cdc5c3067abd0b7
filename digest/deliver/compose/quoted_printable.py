"""Quoted-printable (RFC 2045, 6.7) with room for the values that sending fills in later.

Every placeholder has an encoded line of its own, between soft line breaks, and a value is encoded as whole lines: so any
value keeps the lines within 76. Each piece starts and ends at the start of a line: pieces that were encoded apart join to
one valid body.
"""

import re

from digest.edition import placeholders

MAX_LINE_LENGTH = 76  # characters, the "=" of a soft break included
SOFT_BREAK = b"=\r\n"
_PLACEHOLDER = re.compile(b"|".join(re.escape(p.encode()) for p in placeholders.ALL_PLACEHOLDERS))
# What stands encoded: neither printable ASCII nor a blank; "=", of which HTML is full, is replaced apart.
_SPECIAL_BYTE = re.compile(rb"[^ \t\n!-~]")
# A line that is cut nowhere, and has nothing to encode at its start or its end.
_WHOLE_LINE = re.compile(rb"[^.F~][^~]{,%d}(?<![ \t])" % (MAX_LINE_LENGTH - 2))

# What fits into a line before a soft break, and ends within no escape; what is encoded at its start becomes longer by two.
_PIECE = re.compile(rb"(?:[.F].{,%d}|.{1,%d})(?<!=)(?<!=.)" % (MAX_LINE_LENGTH - 4, MAX_LINE_LENGTH - 1))


def encode_quoted_printable(text: str) -> bytes:
    """Encode a piece of text (UTF-8); every line break becomes CRLF.

    Where the text does not end with a line break, the piece ends with a soft one.
    """
    lines = _encode_bytes(text.replace("\r\n", "\n").replace("\r", "\n")).split(b"\n")
    encoded = [line if _WHOLE_LINE.fullmatch(line) else _cut_line(line) for line in lines]
    return b"\r\n".join(encoded) + (SOFT_BREAK if encoded[-1] else b"")


def encode_value(text: str) -> bytes:
    """Encode the value of a placeholder (UTF-8); a soft line break stands before and after it."""
    *whole, last = _encode_bytes(text).split(b"\n")
    return b"".join(_wrap_line(line, ends_line=True) + b"\r\n" for line in whole) + _wrap_line(last, ends_line=False)


def _encode_bytes(text: str) -> bytes:
    return _SPECIAL_BYTE.sub(_escape_byte, text.encode().replace(b"=", b"=3D"))


def _escape_byte(match: re.Match[bytes]) -> bytes:
    return b"=%02X" % match[0][0]


def _cut_line(line: bytes) -> bytes:
    """Cut a line at its placeholders, and where it is too long."""
    parts = []
    start = 0
    for match in _PLACEHOLDER.finditer(line):
        parts += [_wrap_line(line[start : match.start()], ends_line=False), match[0]]
        start = match.end()
    parts.append(_wrap_line(line[start:], ends_line=True))
    return SOFT_BREAK.join(part for part in parts if part)


def _wrap_line(line: bytes, *, ends_line: bool) -> bytes:
    """Cut a line without placeholders where it is too long; `ends_line` tells that a hard line break follows."""
    if ends_line and line.endswith((b" ", b"\t")):
        line = line[:-1] + b"=%02X" % line[-1]  # RFC 2045, 6.7 (3): blanks before a line break must be encoded
    return SOFT_BREAK.join(_escape_line_start(piece[:1]) + piece[1:] for piece in _PIECE.findall(line))


def _escape_line_start(encoded_byte: bytes) -> bytes:
    """Encode what is special at the start of a line: SMTP's dot (RFC 5321, 4.5.2) and mbox's "From ".

    A message without such lines has the same bytes in a file, on the wire, and under a signature.
    """
    return b"=%02X" % encoded_byte[0] if encoded_byte in {b".", b"F"} else encoded_byte
