"""A message's fields and parts, read with bounds. Pure: nothing here raises, whatever the bytes are.

Python's own parser follows nested parts into the depth and fails there. A report has its parts on one level
(RFC 6522), so one level is read, of that the first parts only, and work stays linear in the bytes.
"""

import binascii
import quopri
import re
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from functools import cached_property

MAX_HEAD_BYTES = 100_000  # bytes of the fields of a message or a part
MAX_FIELDS = 1000
MAX_PARTS = 20
MAX_DECODED_BYTES = 100_000  # bytes of a part that is decoded
_MAX_CONTENT_TYPE_LENGTH = 2000  # characters of a Content-Type: its parser's work grows with the square
_HEAD_END = re.compile(rb"\A\r?\n|\n\r?\n")
_FIELD = re.compile(r"([!-9;-~]{1,80})[ \t]*:(.*)", re.DOTALL)
_FOLDED_LINE = re.compile(r"\r?\n(?=[ \t])")
_EMPTY_LINES = re.compile(rb"\n(?:[ \t]*\r?\n)+")


class HeaderFields:
    """Header fields, in any case of their names, in their order. Folded values stand on one line."""

    def __init__(self, head: bytes) -> None:
        text = _FOLDED_LINE.sub("", head[:MAX_HEAD_BYTES].decode("utf-8", "replace"))
        self._values: dict[str, list[str]] = {}
        for line in text.split("\n")[:MAX_FIELDS]:
            if found := _FIELD.fullmatch(line.rstrip("\r")):
                self._values.setdefault(found[1].lower(), []).append(found[2].strip())

    def all(self, name: str) -> list[str]:
        """Give the values of every field of that name."""
        return self._values.get(name, [])

    def first(self, name: str) -> str:
        """Give the value of the topmost field of that name; empty where there is none."""
        return self.all(name)[0] if self.all(name) else ""

    def __contains__(self, name: str) -> bool:
        return name in self._values


@dataclass(frozen=True)
class MimePart:
    """A message, or one part of one."""

    fields: HeaderFields
    body: bytes

    @cached_property
    def _content_type(self) -> Message:
        typed = Message()
        typed["Content-Type"] = self.fields.first("content-type")[:_MAX_CONTENT_TYPE_LENGTH] or "text/plain"
        return typed

    @property
    def media_type(self) -> str:
        """The media type, in small letters: `multipart/report`."""
        return self._content_type.get_content_type()

    def parameter(self, name: str) -> str:
        """Give a parameter of the media type; empty where there is none, or one in an odd encoding."""
        value = self._content_type.get_param(name, "")
        return value if isinstance(value, str) else ""

    def parts(self) -> list["MimePart"]:
        """Give the first parts of a multipart message, each as it stands there."""
        boundary = self.parameter("boundary").rstrip()
        if not self.media_type.startswith("multipart/") or not 0 < len(boundary) <= 200:
            return []
        return [parse_mime(raw) for raw in _split_at_boundary(self.body, boundary.encode("utf-8", "replace"))]

    def decoded_body(self) -> bytes:
        """Give the body, its transfer encoding undone (RFC 2045, 6); what cannot be undone is empty."""
        how, body = self.fields.first("content-transfer-encoding").lower(), self.body[:MAX_DECODED_BYTES]
        if how == "quoted-printable":
            return quopri.decodestring(body)
        if how != "base64":
            return body
        try:
            return b64decode(body + b"==")
        except (binascii.Error, ValueError):
            return b""

    def field_groups(self) -> list[HeaderFields]:
        """Give the groups of fields of the body, as reports hold them: empty lines stand between (RFC 3464, 2.1)."""
        return [HeaderFields(group) for group in _EMPTY_LINES.split(self.decoded_body(), maxsplit=MAX_PARTS)]


def parse_mime(raw: bytes) -> MimePart:
    """Cut a message into its fields and its body."""
    ends = _HEAD_END.search(raw, 0, MAX_HEAD_BYTES)
    return MimePart(HeaderFields(raw[: ends.start()]), raw[ends.end() :]) if ends else MimePart(HeaderFields(raw), b"")


def _split_at_boundary(body: bytes, boundary: bytes) -> Iterator[bytes]:
    line = re.compile(rb"(?:\A|\r?\n)--" + re.escape(boundary) + rb"(--)?[ \t]*(?=\r?\n|\r?\Z)")
    start = None
    for count, found in enumerate(line.finditer(body)):
        if start is not None:
            yield body[start : found.start()]
        if found[1] or count == MAX_PARTS:
            return
        start = re.compile(rb"\r?\n?").match(body, found.end()).end()  # type: ignore[union-attr]  # it matches nothing too
    if start is not None:  # cut short
        yield body[start:]
