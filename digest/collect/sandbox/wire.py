"""Messages to and from the processes that read documents: a JSON head and plain bytes, never a pickle."""

import json
import struct
from typing import Any, Protocol

MAX_MESSAGE_BYTES = 100_000_000
_FRAME = struct.Struct(">QI")  # the request's number, the bytes of its message
_HEAD = struct.Struct(">I")  # the bytes of the head


class OversizedMessageError(Exception):
    """A message announces more bytes than are taken."""


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
        raise ValueError("a message without a head")
    end = _HEAD.size + _HEAD.unpack_from(message)[0]
    head = json.loads(message[_HEAD.size : end])
    if not isinstance(head, dict):
        raise TypeError("a message whose head is no JSON object")
    return head, message[end:]


def write_frame(stream: RawStream, number: int, message: bytes) -> None:
    """Write one numbered message."""
    unwritten = memoryview(_FRAME.pack(number, len(message)) + message)
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
