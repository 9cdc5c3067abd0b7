"""A mail server or a SendGrid in a process of its own that writes down what it accepts.

    python message_recorder.py smtp|sendgrid PORT FOLDER DELAY

A line of `FOLDER/accepted` for each message (recipient, return path, the seconds since 1970 when the server had it
whole, a hash of its bytes) is with the operating system before the answer goes out. While `FOLDER/hold-before` or
`FOLDER/hold-after` exists, the next message is held before or after it is written down: the file becomes
`FOLDER/held`, and the server goes on with it when that is gone.
"""

import asyncio
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP


class MessageRecorder:
    """Accepts every message, after a while."""

    def __init__(self, folder: Path, delay: float) -> None:
        self._folder = folder
        self._file = (folder / "accepted").open("ab", buffering=0)
        self._delay = delay

    async def record_message(self, recipients: Sequence[str], sender: str, raw: bytes) -> None:
        """Write one line for each recipient, all at once."""
        came = time.time()
        await self._hold_if_wanted("before")
        await asyncio.sleep(self._delay)
        rest = f"{sender}\t{came:.6f}\t{hashlib.sha256(raw).hexdigest()}"
        self._file.write("".join(f"{recipient}\t{rest}\n" for recipient in recipients).encode())
        await self._hold_if_wanted("after")
        await asyncio.sleep(self._delay)

    async def _hold_if_wanted(self, when: str) -> None:
        wanted, held = self._folder / f"hold-{when}", self._folder / "held"
        if not wanted.exists():
            return
        wanted.rename(held)
        while held.exists():
            await asyncio.sleep(0.002)

    async def handle_DATA(self, _server: SMTP, _session: Any, envelope: Any) -> str:  # noqa: N802 - its name
        """Take a message that came by SMTP."""
        await self.record_message([" ".join(envelope.rcpt_tos)], envelope.mail_from, envelope.original_content)
        return "250 2.0.0 written down"

    async def handle_post(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a batch that came by HTTP, one request a connection; the client may be gone before the answer."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
        except asyncio.IncompleteReadError:  # it died before the request was out
            writer.close()
            return
        people = json.loads(body)["personalizations"]
        assert all(len(one["to"]) == 1 for one in people)
        await self.record_message([one["to"][0]["email"] for one in people], "", body)
        writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()


async def main(kind: str, port: int, folder: Path, delay: float) -> None:
    """Serve until killed; `FOLDER/ready` is there once it listens."""
    recorder = MessageRecorder(folder, delay)
    server: asyncio.Server
    if kind == "smtp":
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: SMTP(recorder, hostname="recorder"), "127.0.0.1", port)
    else:
        server = await asyncio.start_server(recorder.handle_post, "127.0.0.1", port, limit=2**26)
    (folder / "ready").touch()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4])))
