"""Read a message's fields and parts with limits. Pure: nothing here raises, whatever the bytes are.

Python's own parser recurses into nested parts and fails there. A report has its parts on one level (RFC 6522, section 3), so
one level is read, of that the first parts only, and work stays linear in the bytes.
"""

import binascii
import quopri
import re
from base64 import b64decode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.message import Message
from email.utils import getaddresses
from functools import cached_property

MAX_HEAD_BYTES = 100_000  # bytes of the fields of a message or a part
MAX_FIELDS = 1000
MAX_PARTS = 20
MAX_DECODED_BYTES = 100_000  # bytes of a part that is decoded
_MAX_ADDRESS_LENGTH = 1000  # characters of a field that names addresses
_MAX_CONTENT_TYPE_LENGTH = 2000  # characters of a Content-Type: its parser's work grows with the square
_HEAD_END = re.compile(rb"\A\r?\n|\n\r?\n")
_FIELD = re.compile(r"([!-9;-~]{1,80})[ \t]*:(.*)", re.DOTALL)
_FOLDED_LINE = re.compile(r"\r?\n(?=[ \t])")
_EMPTY_LINES = re.compile(rb"\n(?:[ \t]*\r?\n)+")


class HeaderFields:
    """Header fields in their order, their names in any case. Folded values are on one line."""

    def __init__(self, head: bytes) -> None:
        text = _FOLDED_LINE.sub("", head[:MAX_HEAD_BYTES].decode("utf-8", "replace"))
        self._values: dict[str, list[str]] = {}
        for line in text.split("\n")[:MAX_FIELDS]:
            if match := _FIELD.fullmatch(line.rstrip("\r")):
                self._values.setdefault(match[1].lower(), []).append(match[2].strip())

    def all(self, name: str) -> list[str]:
        """Return the values of every field of that name."""
        return self._values.get(name, [])

    def first(self, name: str) -> str:
        """Return the value of the topmost field of that name; empty where there is none."""
        return next(iter(self.all(name)), "")

    def __contains__(self, name: str) -> bool:
        return name in self._values


@dataclass(frozen=True)
class MimePart:
    """A message, or one part of one."""

    fields: HeaderFields
    body: bytes

    @cached_property
    def _content_type(self) -> Message:
        header = Message()
        header["Content-Type"] = self.fields.first("content-type")[:_MAX_CONTENT_TYPE_LENGTH] or "text/plain"
        return header

    @property
    def media_type(self) -> str:
        """The media type, in small letters: `multipart/report`."""
        return self._content_type.get_content_type()

    def parameter(self, name: str) -> str:
        """Return a parameter of the media type; empty where there is none, or one in an odd encoding."""
        value = self._content_type.get_param(name, "")
        return value if isinstance(value, str) else ""

    def parts(self) -> list["MimePart"]:
        """Return the first parts of a multipart message, still encoded."""
        boundary = self.parameter("boundary").rstrip()
        if not self.media_type.startswith("multipart/") or not 0 < len(boundary) <= 200:
            return []
        return [parse_mime(raw) for raw in _split_at_boundary(self.body, boundary.encode("utf-8", "replace"))]

    def decoded_body(self, limit: int = MAX_DECODED_BYTES) -> bytes:
        """Return the body up to `limit` bytes, its transfer encoding decoded (RFC 2045, section 6); what cannot be decoded is empty."""
        encoding, body = self.fields.first("content-transfer-encoding").lower(), self.body[:limit]
        if encoding == "quoted-printable":
            return quopri.decodestring(body)
        if encoding != "base64":
            return body
        try:
            return b64decode(body + b"==")
        except (binascii.Error, ValueError):
            return b""

    def field_groups(self) -> list[HeaderFields]:
        """Return the groups of fields in the body of a report, separated by empty lines (RFC 3464, section 2.1)."""
        return [HeaderFields(group) for group in _EMPTY_LINES.split(self.decoded_body(), maxsplit=MAX_PARTS)]


def parse_header_addresses(values: Iterable[str]) -> list[str]:
    """Return the addresses that fields name; none where they cannot be read."""
    try:
        return [address for _, address in getaddresses([value[:_MAX_ADDRESS_LENGTH] for value in values])]
    except RecursionError:  # comments within comments: Python's parser goes down with them
        return []


def parse_header_address(value: str) -> str:
    """Return the address of a field that names one mailbox; empty where it cannot be read."""
    return next(iter(parse_header_addresses([value])), "")


def parse_mime(raw: bytes) -> MimePart:
    """Split a message into its fields and its body."""
    if end := _HEAD_END.search(raw, 0, MAX_HEAD_BYTES):
        return MimePart(HeaderFields(raw[: end.start()]), raw[end.end() :])
    return MimePart(HeaderFields(raw), b"")


def _split_at_boundary(body: bytes, boundary: bytes) -> Iterator[bytes]:
    line = re.compile(rb"(?:\A|\r?\n)--" + re.escape(boundary) + rb"(--)?[ \t]*(?=\r?\n|\r?\Z)")
    start = None
    for count, match in enumerate(line.finditer(body)):
        if start is not None:
            yield body[start : match.start()]
        if match[1] or count == MAX_PARTS:
            return
        start = re.compile(rb"\r?\n?").match(body, match.end()).end()  # type: ignore[union-attr]  # it matches nothing too
    if start is not None:  # cut short
        yield body[start:]
