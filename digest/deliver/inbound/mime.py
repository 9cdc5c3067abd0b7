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

MOST_HEAD = 100_000  # bytes of the fields of a message or a part
MOST_FIELDS = 1000
MOST_PARTS = 20
MOST_TEXT = 100_000  # bytes of a part that is decoded
_LONGEST_TYPE = 2000  # characters of a Content-Type: its parser's work grows with the square
_HEAD_ENDS = re.compile(rb"\A\r?\n|\n\r?\n")
_FIELD = re.compile(r"([!-9;-~]{1,80})[ \t]*:(.*)", re.DOTALL)
_FOLD = re.compile(r"\r?\n(?=[ \t])")
_EMPTY_LINES = re.compile(rb"\n(?:[ \t]*\r?\n)+")


class Fields:
    """Header fields, in any case of their names, in their order. Folded values stand on one line."""

    def __init__(self, head: bytes) -> None:
        text = _FOLD.sub("", head[:MOST_HEAD].decode("utf-8", "replace"))
        self._values: dict[str, list[str]] = {}
        for line in text.split("\n")[:MOST_FIELDS]:
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
class Part:
    """A message, or one part of one."""

    fields: Fields
    body: bytes

    @cached_property
    def _type(self) -> Message:
        typed = Message()
        typed["Content-Type"] = self.fields.first("content-type")[:_LONGEST_TYPE] or "text/plain"
        return typed

    @property
    def kind(self) -> str:
        """The media type, in small letters: `multipart/report`."""
        return self._type.get_content_type()

    def parameter(self, name: str) -> str:
        """Give a parameter of the media type; empty where there is none, or one in an odd encoding."""
        value = self._type.get_param(name, "")
        return value if isinstance(value, str) else ""

    def parts(self) -> list["Part"]:
        """Give the first parts of a multipart message, each as it stands there."""
        boundary = self.parameter("boundary").rstrip()
        if not self.kind.startswith("multipart/") or not 0 < len(boundary) <= 200:
            return []
        return [read(raw) for raw in _between(self.body, boundary.encode("utf-8", "replace"))]

    def text(self) -> bytes:
        """Give the body, its transfer encoding undone (RFC 2045, 6); what cannot be undone is empty."""
        how, body = self.fields.first("content-transfer-encoding").lower(), self.body[:MOST_TEXT]
        if how == "quoted-printable":
            return quopri.decodestring(body)
        if how != "base64":
            return body
        try:
            return b64decode(body + b"==")
        except (binascii.Error, ValueError):
            return b""

    def groups(self) -> list[Fields]:
        """Give the groups of fields of the body, as reports hold them: empty lines stand between (RFC 3464, 2.1)."""
        return [Fields(group) for group in _EMPTY_LINES.split(self.text(), maxsplit=MOST_PARTS)]


def read(raw: bytes) -> Part:
    """Cut a message into its fields and its body."""
    ends = _HEAD_ENDS.search(raw, 0, MOST_HEAD)
    return Part(Fields(raw[: ends.start()]), raw[ends.end() :]) if ends else Part(Fields(raw), b"")


def _between(body: bytes, boundary: bytes) -> Iterator[bytes]:
    line = re.compile(rb"(?:\A|\r?\n)--" + re.escape(boundary) + rb"(--)?[ \t]*(?=\r?\n|\r?\Z)")
    start = None
    for count, found in enumerate(line.finditer(body)):
        if start is not None:
            yield body[start : found.start()]
        if found[1] or count == MOST_PARTS:
            return
        start = re.compile(rb"\r?\n?").match(body, found.end()).end()  # type: ignore[union-attr]  # it matches nothing too
    if start is not None:  # cut short
        yield body[start:]
