"""Quoted-printable (RFC 2045, 6.7) with room for what sending fills in later.

Every mark stands on an encoded line of its own, between soft line breaks, so that any replacement of up to
`WIDEST` characters keeps the lines within 76. Each piece starts and ends at the start of a line: pieces that
were encoded apart join to one sound body.
"""

import re

from digest.edition import marks

LINE = 76  # characters, the "=" of a soft break included
WIDEST = 60  # ASCII characters that may stand for a mark; more than any of ours needs
SOFT = b"=\r\n"
_MARK = re.compile("|".join(re.escape(m) for m in marks.ALL))
_PLAIN = frozenset(range(33, 127)) - {ord("=")}
_BLANK = frozenset(b" \t")
_CODES = [bytes([b]) if b in _PLAIN | _BLANK else b"=%02X" % b for b in range(256)]


def encode(text: str) -> bytes:
    """Encode a piece of text (UTF-8); every line break becomes CRLF.

    Where the text does not end with a line break, the piece ends with a soft one.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    whole = b"".join(_encode_line(line) + b"\r\n" for line in lines[:-1])
    rest = _encode_line(lines[-1])
    return whole + rest + SOFT if rest else whole


def safe(value: str) -> bool:
    """Say whether a value may stand for a mark: short, printable ASCII that no encoding or HTML cares about."""
    return bool(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9 _.,:/()+-]*", value)) and len(value) <= WIDEST


def _encode_line(line: str) -> bytes:
    parts = []
    start = 0
    for found in _MARK.finditer(line):
        parts += [_wrap(line[start : found.start()], last=False), found[0].encode()]
        start = found.end()
    parts.append(_wrap(line[start:], last=True))
    return SOFT.join(part for part in parts if part)


def _wrap(text: str, *, last: bool) -> bytes:
    """Encode text without marks and cut it into lines; `last` tells that a hard line break follows."""
    codes = [_CODES[b] for b in text.encode()]
    if codes and last and codes[-1] in {b" ", b"\t"}:
        codes[-1] = b"=%02X" % codes[-1][0]  # RFC 2045, 6.7 (3): blanks before a line break must be encoded
    lines: list[bytes] = []
    line = b""
    for code in codes:
        if len(line) + len(code) > LINE - 1:
            lines.append(line)
            line = b""
        line += code if line else _first(code)
    return SOFT.join([*lines, line] if line else lines)


def _first(code: bytes) -> bytes:
    """Encode what is special at the start of a line: SMTP's dot (RFC 5321, 4.5.2) and mbox's "From ".

    A message without such lines has the same bytes in a file, on the wire, and under a signature.
    """
    return b"=%02X" % code[0] if code in {b".", b"F"} else code
