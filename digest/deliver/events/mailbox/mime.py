"""Bounded parsing of a message's fields and parts. All functions are pure and accept any input.

Python's parser fails on deeply nested parts. A report's parts are all on one level (RFC 6522,
section 3), so only the first parts of one level are read, in linear time.
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

MAX_HEAD_BYTES = 100_000  # maximum size of the header of a message or part
MAX_FIELDS = 1000
MAX_PARTS = 20
MAX_DECODED_BYTES = 100_000  # maximum number of bytes of a part to decode
_MAX_ADDRESS_LENGTH = 1000  # maximum length of a field with addresses
# Maximum length of a Content-Type, whose parser takes quadratic time.
_MAX_CONTENT_TYPE_LENGTH = 2000
_HEAD_END = re.compile(rb"\A\r?\n|\n\r?\n")
_FIELD = re.compile(r"([!-9;-~]{1,80})[ \t]*:(.*)", re.DOTALL)
_FOLDED_LINE = re.compile(r"\r?\n(?=[ \t])")
_EMPTY_LINES = re.compile(rb"\n(?:[ \t]*\r?\n)+")


class HeaderFields:
    """Header fields in order. Names are case-insensitive, and folded values are unfolded."""

    def __init__(self, head: bytes) -> None:
        text = _FOLDED_LINE.sub("", head[:MAX_HEAD_BYTES].decode("utf-8", "replace"))
        self._values: dict[str, list[str]] = {}
        for line in text.split("\n")[:MAX_FIELDS]:
            if match := _FIELD.fullmatch(line.rstrip("\r")):
                self._values.setdefault(match[1].lower(), []).append(match[2].strip())

    def all(self, name: str) -> list[str]:
        """Return the values of all fields with the given name."""
        return self._values.get(name, [])

    def first(self, name: str) -> str:
        """Return the value of the topmost field with the given name, or "" if there isn't one."""
        return next(iter(self.all(name)), "")

    def __contains__(self, name: str) -> bool:
        return name in self._values


@dataclass(frozen=True)
class MimePart:
    """A message, or a part of one."""

    fields: HeaderFields
    body: bytes

    @cached_property
    def _content_type(self) -> Message:
        header = Message()
        header["Content-Type"] = self.fields.first("content-type")[:_MAX_CONTENT_TYPE_LENGTH] or "text/plain"
        return header

    @property
    def media_type(self) -> str:
        """The media type in lower case, such as "multipart/report"."""
        return self._content_type.get_content_type()

    def parameter(self, name: str) -> str:
        """Return a parameter of the media type, or "" if it's missing or encoded in an unusual way."""
        value = self._content_type.get_param(name, "")
        return value if isinstance(value, str) else ""

    def parts(self) -> list["MimePart"]:
        """Return the first parts of a multipart message, still encoded."""
        boundary = self.parameter("boundary").rstrip()
        if not self.media_type.startswith("multipart/") or not 0 < len(boundary) <= 200:
            return []
        return [parse_mime(raw) for raw in _split_at_boundary(self.body, boundary.encode("utf-8", "replace"))]

    def decoded_body(self, limit: int = MAX_DECODED_BYTES) -> bytes:
        """Return the first `limit` bytes of the body, with the transfer encoding decoded (RFC 2045, section 6).

        Return b"" if the body can't be decoded.
        """
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
        """Return the groups of fields in a report's body (RFC 3464, section 2.1).

        The groups are separated by empty lines.
        """
        return [HeaderFields(group) for group in _EMPTY_LINES.split(self.decoded_body(), maxsplit=MAX_PARTS)]


def parse_header_addresses(values: Iterable[str]) -> list[str]:
    """Return the addresses in the given field values, or an empty list if they can't be parsed."""
    try:
        return [address for _, address in getaddresses([value[:_MAX_ADDRESS_LENGTH] for value in values])]
    except RecursionError:  # nested comments exceed the recursion limit of Python's parser
        return []


def parse_header_address(value: str) -> str:
    """Return the first address in a field, or "" if there isn't one or it can't be parsed."""
    return next(iter(parse_header_addresses([value])), "")


def parse_mime(raw: bytes) -> MimePart:
    """Split a message into its fields and body."""
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
    if start is not None:  # truncated
        yield body[start:]
