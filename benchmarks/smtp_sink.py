"""A mail server on loopback for the benchmarks: takes each message, answers, and counts. See `receiver_process`.

python -m benchmarks.smtp_sink SECONDS [N]    answers each final dot, or only every Nth, after so many seconds; 0 for at once

Postfix's `smtp-sink` waits for whole seconds only, and does not say how much it has taken.
"""

import asyncio
import sys
from collections import Counter
from typing import ClassVar

from benchmarks.receiver_process import answer_counts

_GREETING = b"220 sink ESMTP\r\n"
_EXTENSIONS = b"250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
_END_OF_DATA = b"\r\n.\r\n"


class _SinkProtocol(asyncio.Protocol):
    """One session: it refuses nothing."""

    answer_seconds = 0.0
    slow_every = 1  # so many messages: others are answered at once
    dots = 0
    messages: ClassVar[Counter[str]] = Counter()  # by the recipient's domain

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._received = bytearray()
        self._in_data = False
        self._domain = ""
        self._searched = 0  # bytes of `_received` that hold no end of a message
        transport.write(_GREETING)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while self._take_message() if self._in_data else self._take_command():
            pass

    def _take_command(self) -> bool:
        line, end, _ = self._received.partition(b"\r\n")
        if not end:
            return False
        del self._received[: len(line) + 2]
        verb = bytes(line[:4]).upper()
        if verb == b"DATA":
            self._in_data = True
            self._transport.write(b"354 go on\r\n")
        elif verb == b"QUIT":
            self._transport.write(b"221 bye\r\n")
            self._transport.close()
        else:
            if verb == b"RCPT":
                self._domain = line.partition(b"@")[2].partition(b">")[0].decode()
            self._transport.write(_EXTENSIONS if verb == b"EHLO" else b"250 ok\r\n")
        return True

    def _take_message(self) -> bool:
        end = self._received.find(_END_OF_DATA, max(0, self._searched - len(_END_OF_DATA)))
        if end < 0:
            self._searched = len(self._received)
            return False
        del self._received[: end + len(_END_OF_DATA)]
        self._in_data, self._searched = False, 0
        _SinkProtocol.dots += 1
        if self.answer_seconds and not _SinkProtocol.dots % self.slow_every:
            asyncio.get_running_loop().call_later(self.answer_seconds, self._accept, self._domain)
        else:
            self._accept(self._domain)
        return True

    def _accept(self, domain: str) -> None:
        _SinkProtocol.messages[domain] += 1
        self._transport.write(b"250 taken\r\n")


async def _serve_until_told(answer_seconds: float, slow_every: int = 1) -> None:
    _SinkProtocol.answer_seconds, _SinkProtocol.slow_every = answer_seconds, slow_every
    server = await asyncio.get_running_loop().create_server(_SinkProtocol, "127.0.0.1", 0, backlog=200)
    port = server.sockets[0].getsockname()[1]
    await asyncio.to_thread(answer_counts, port, _count_messages)


def _count_messages(domain: str) -> int:
    return _SinkProtocol.messages[domain] if domain else _SinkProtocol.messages.total()


if __name__ == "__main__":
    asyncio.run(_serve_until_told(float(sys.argv[1]), *map(int, sys.argv[2:])))
