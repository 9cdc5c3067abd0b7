"""Quoted-printable (RFC 2045, 6.7) with room for the values that sending fills in later.

Every placeholder has an encoded line of its own, between soft line breaks, and a value is encoded as whole lines: so any
value keeps the lines within 76. Each piece starts and ends at the start of a line: pieces that were encoded apart join to
one valid body.
"""

import re

from digest.edition import placeholders

MAX_LINE_LENGTH = 76  # characters, the "=" of a soft break included
SOFT_BREAK = b"=\r\n"
_PLACEHOLDER = re.compile("|".join(re.escape(m) for m in placeholders.ALL_PLACEHOLDERS))
_PLAIN_TEXT = re.compile(
    rb"[ \t!-<>-~]*[!-<>-~]"
)  # nothing in it is encoded but what is special at the start of a line
_PLAIN_BYTES = frozenset(range(33, 127)) - {ord("=")}
_BLANK_BYTES = frozenset(b" \t")
_ENCODED_BYTES = [bytes([b]) if b in _PLAIN_BYTES | _BLANK_BYTES else b"=%02X" % b for b in range(256)]


def encode_quoted_printable(text: str) -> bytes:
    """Encode a piece of text (UTF-8); every line break becomes CRLF.

    Where the text does not end with a line break, the piece ends with a soft one.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    whole = b"".join(_encode_line(line) + b"\r\n" for line in lines[:-1])
    last = _encode_line(lines[-1])
    return whole + last + SOFT_BREAK if last else whole


def encode_value(text: str) -> bytes:
    """Encode the value of a placeholder (UTF-8); a soft line break stands before and after it."""
    *whole, last = text.split("\n")
    return b"".join(_wrap_lines(line, ends_line=True) + b"\r\n" for line in whole) + _wrap_lines(last, ends_line=False)


def _encode_line(line: str) -> bytes:
    parts = []
    start = 0
    for match in _PLACEHOLDER.finditer(line):
        parts += [_wrap_lines(line[start : match.start()], ends_line=False), match[0].encode()]
        start = match.end()
    parts.append(_wrap_lines(line[start:], ends_line=True))
    return SOFT_BREAK.join(part for part in parts if part)


def _wrap_lines(text: str, *, ends_line: bool) -> bytes:
    """Encode text without placeholders and cut it into lines; `ends_line` tells that a hard line break follows."""
    raw = text.encode()
    if _PLAIN_TEXT.fullmatch(raw):
        return _wrap_plain_text(raw)
    codes = [_ENCODED_BYTES[b] for b in raw]
    if codes and ends_line and codes[-1] in {b" ", b"\t"}:
        codes[-1] = b"=%02X" % codes[-1][0]  # RFC 2045, 6.7 (3): blanks before a line break must be encoded
    lines: list[bytes] = []
    line = b""
    for code in codes:
        if len(line) + len(code) > MAX_LINE_LENGTH - 1:
            lines.append(line)
            line = b""
        line += code if line else _escape_line_start(code)
    return SOFT_BREAK.join([*lines, line] if line else lines)


def _wrap_plain_text(raw: bytes) -> bytes:
    """Cut text of which only starts of lines may have to be encoded; most lines of a mail are such text."""
    lines = []
    while raw:
        start = _escape_line_start(raw[:1])
        end = MAX_LINE_LENGTH - len(start)
        lines.append(start + raw[1:end])
        raw = raw[end:]
    return SOFT_BREAK.join(lines)


def _escape_line_start(encoded_byte: bytes) -> bytes:
    """Encode what is special at the start of a line: SMTP's dot (RFC 5321, 4.5.2) and mbox's "From ".

    A message without such lines has the same bytes in a file, on the wire, and under a signature.
    """
    return b"=%02X" % encoded_byte[0] if encoded_byte in {b".", b"F"} else encoded_byte
