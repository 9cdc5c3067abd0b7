"""Messages to and from the sandbox processes.

A message consists of a JSON header and a body of raw bytes. Messages are never pickled.
"""

import json
import struct
from typing import Any, Protocol

MAX_MESSAGE_BYTES = 100_000_000
FROM_BROKER, FROM_CHILD = b"B", b"C"  # first byte of the broker's replies, which says who sent the rest
_FRAME = struct.Struct(">QI")  # number of the request, and length of the message in bytes
_HEAD = struct.Struct(">I")  # length of the head in bytes


class OversizedMessageError(Exception):
    """Raised when a message announces or contains too many bytes."""


class RawStream(Protocol):
    """An unbuffered end of a pipe."""

    def read(self, size: int, /) -> bytes | None:
        """Return at most `size` bytes, or b"" at the end."""

    def write(self, data: Any, /) -> int | None:
        """Write some of the bytes, and return the number written."""


def pack_message(head: dict[str, Any], body: bytes = b"") -> bytes:
    """Return a head and a body as one message."""
    text = json.dumps(head).encode("ascii")
    return b"".join((_HEAD.pack(len(text)), text, body))


def unpack_message(message: bytes) -> tuple[dict[str, Any], bytes]:
    """Return a message's head and body.

    Raises:
        ValueError: the bytes aren't a message.
    """
    if len(message) < _HEAD.size:
        raise ValueError("the message has no header")
    end = _HEAD.size + _HEAD.unpack_from(message)[0]
    try:
        head = json.loads(message[_HEAD.size : end])
    except RecursionError as error:
        raise ValueError("the message header is nested too deeply") from error
    if not isinstance(head, dict):
        raise ValueError("the message header isn't a JSON object")  # noqa: TRY004  it comes from outside
    return head, message[end:]


def pack_frame(number: int, message: bytes) -> bytes:
    """Return a message preceded by its number and length."""
    return _FRAME.pack(number, len(message)) + message


def write_frame(stream: RawStream, number: int, message: bytes) -> None:
    """Write one numbered message."""
    unwritten = memoryview(pack_frame(number, message))
    while unwritten:
        unwritten = unwritten[stream.write(unwritten) or 0 :]


def read_frame(stream: RawStream) -> tuple[int, bytes] | None:
    """Return the next numbered message, or None at the end of the stream.

    Raises:
        OversizedMessageError: the message is longer than `MAX_MESSAGE_BYTES`. Nothing can be
            read after it.
    """
    start = _read_exactly(stream, _FRAME.size)
    if start is None:
        return None
    number, length = _FRAME.unpack(start)
    if length > MAX_MESSAGE_BYTES:
        raise OversizedMessageError(f"{length:,} bytes")
    message = _read_exactly(stream, length)
    return None if message is None else (number, message)


def _read_exactly(stream: RawStream, length: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < length:
        part = stream.read(min(length - len(parts), 1 << 20))
        if not part:
            return None
        parts += part
    return bytes(parts)


class FrameReader:
    """An assembler of numbered messages from parts read from nonblocking pipes."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._parts = bytearray()

    def take(self, part: bytes) -> tuple[int, bytes] | None:
        """Return the message that a part completes, or None if it's still incomplete.

        Raises:
            OversizedMessageError: the message is longer than allowed or announced.
        """
        self._parts += part
        if len(self._parts) < _FRAME.size:
            return None
        number, length = _FRAME.unpack_from(self._parts)
        end = _FRAME.size + length
        if length > self._max_bytes or len(self._parts) > end:
            raise OversizedMessageError(f"{max(length, len(self._parts)):,} bytes")
        if len(self._parts) < end:
            return None
        message = bytes(self._parts[_FRAME.size :])
        self._parts = bytearray()
        return number, message
