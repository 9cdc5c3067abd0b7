"""Messages to and from the processes that read documents: a JSON head and plain bytes, never a pickle."""

import json
import struct
from typing import Any, Protocol

MAX_MESSAGE_BYTES = 100_000_000
FROM_BROKER, FROM_CHILD = b"B", b"C"  # what the broker's replies begin with: whose word the rest is
_FRAME = struct.Struct(">QI")  # the request's number, the bytes of its message
_HEAD = struct.Struct(">I")  # the bytes of the head


class OversizedMessageError(Exception):
    """A message announces, or has, more bytes than are taken."""


class RawStream(Protocol):
    """An unbuffered end of a pipe."""

    def read(self, size: int, /) -> bytes | None:
        """Give at most so many bytes; none at the end."""

    def write(self, data: Any, /) -> int | None:
        """Write some of the bytes; say how many."""


def pack_message(head: dict[str, Any], body: bytes = b"") -> bytes:
    """Put a head and a body into one message."""
    text = json.dumps(head).encode("ascii")
    return b"".join((_HEAD.pack(len(text)), text, body))


def unpack_message(message: bytes) -> tuple[dict[str, Any], bytes]:
    """Give a message's head and body.

    Raises:
        ValueError: it is none.
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
    """Put a message's number and its length before it."""
    return _FRAME.pack(number, len(message)) + message


def write_frame(stream: RawStream, number: int, message: bytes) -> None:
    """Write one numbered message."""
    unwritten = memoryview(pack_frame(number, message))
    while unwritten:
        unwritten = unwritten[stream.write(unwritten) or 0 :]


def read_frame(stream: RawStream) -> tuple[int, bytes] | None:
    """Read one numbered message; None where the stream ends.

    Raises:
        OversizedMessageError: it is longer than `MAX_MESSAGE_BYTES`; nothing after it can be read.
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
    """Puts numbered messages together from parts, as they come from a pipe that nobody may wait for."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._parts = bytearray()

    def take(self, part: bytes) -> tuple[int, bytes] | None:
        """Give the message that a part completes; None where more is to come.

        Raises:
            OversizedMessageError: it is longer than it may be, or than it says.
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
