"""A mail server or a SendGrid fake in a separate process that records what it accepts.

    python message_recorder.py smtp|sendgrid PORT FOLDER DELAY

A line of `FOLDER/accepted` for each message (its recipient) is with the operating system before the answer goes out. Like
a real server it accepts what it has whole, also when the sender is gone. A line of `FOLDER/moments` for each dot that comes by
SMTP and each answer that goes out: the word, the recipient, the time in seconds since 1970. While `FOLDER/hold-before` or
`FOLDER/hold-after` exists, the next message is held before or after it is written down: the file becomes `FOLDER/held`,
and the server goes on with it when that is gone. While `FOLDER/rest` exists, no message is written down. A number in one of
these files says how many messages are accepted before it counts. `FOLDER/settle` becomes `FOLDER/settled` once no connection
is open. `FOLDER/freeze` names a step of the conversation, a process, and how many messages are accepted before it counts: the
process is stopped (SIGSTOP) at that step, before it gets its reply, and the file becomes `FOLDER/frozen`.
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_POLL_INTERVAL = 0.002  # seconds
_POLLS_UNTIL_SETTLED = 3  # a connection that waits to be accepted is open after one of them
_MAX_BYTES = 2**26
_CLIENT_IS_GONE = (asyncio.IncompleteReadError, ConnectionError)


class MessageRecorder:
    """Accepts every message, after a while."""

    def __init__(self, folder: Path, delay: float) -> None:
        self._folder = folder
        self._file = (folder / "accepted").open("ab", buffering=0)
        self._moments = (folder / "moments").open("ab", buffering=0)
        self._delay = delay
        self._open_connections = self._accepted = 0

    async def record_message(self, recipients: Sequence[str]) -> None:
        """Write one line for each recipient, all at once."""
        while self._is_asked_to("rest"):
            await asyncio.sleep(_POLL_INTERVAL)
        await self._hold_if_wanted("before")
        await asyncio.sleep(self._delay)
        self._file.write("".join(f"{recipient}\n" for recipient in recipients).encode())
        self._accepted += len(recipients)
        await self._hold_if_wanted("after")
        await asyncio.sleep(self._delay)

    async def _hold_if_wanted(self, when: str) -> None:
        if not self._is_asked_to(f"hold-{when}"):
            return
        held = (self._folder / f"hold-{when}").rename(self._folder / "held")
        while held.exists():
            await asyncio.sleep(_POLL_INTERVAL)

    def _is_asked_to(self, name: str) -> bool:
        """Return whether a file with this name is there, and as many messages were accepted as it says."""
        try:
            least = (self._folder / name).read_text("ascii")
        except FileNotFoundError:
            return False
        return self._accepted >= int(least)

    async def answer_resolve_requests(self) -> None:
        """Tell whoever asks once nothing is under way."""
        request, idle_polls = self._folder / "settle", 0
        while True:
            await asyncio.sleep(_POLL_INTERVAL)
            idle_polls = 0 if self._open_connections else idle_polls + 1
            if idle_polls >= _POLLS_UNTIL_SETTLED and request.exists():
                request.rename(self._folder / "settled")

    async def serve_smtp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take messages that come by SMTP, with PIPELINING."""
        self._open_connections += 1
        writer.write(b"220 recorder\r\n")
        try:
            await self._answer_commands(reader, writer)
        except _CLIENT_IS_GONE:  # before its final dot
            pass
        finally:
            writer.close()
            self._open_connections -= 1

    async def _answer_commands(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        recipient = ""
        while line := await reader.readline():
            verb = line[:4].upper()
            await self._freeze_client(verb.decode("ascii", "replace").strip())
            if verb == b"RCPT":
                recipient = line.partition(b"<")[2].partition(b">")[0].decode()
            if verb != b"DATA":
                writer.write(b"250-recorder\r\n250 PIPELINING\r\n" if verb == b"EHLO" else b"250 ok\r\n")
                continue
            writer.write(b"354 go on\r\n")
            await reader.readuntil(b"\r\n.\r\n")
            self._note_moment("dot", recipient)
            await self._freeze_client("dot")
            await self.record_message([recipient])
            self._note_moment("answer", recipient)
            writer.write(b"250 2.0.0 written down\r\n")

    async def _freeze_client(self, step: str) -> None:
        try:
            wanted, process, least = (self._folder / "freeze").read_text("ascii").split()
        except FileNotFoundError:
            return
        if step != wanted or self._accepted < int(least):
            return
        file = (self._folder / "freeze").rename(self._folder / "freezing")
        os.kill(int(process), signal.SIGSTOP)
        while Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()[0] != "T":
            await asyncio.sleep(_POLL_INTERVAL)
        file.rename(self._folder / "frozen")

    def _note_moment(self, word: str, recipient: str) -> None:
        self._moments.write(f"{word} {recipient} {time.time():.4f}\n".encode())

    async def serve_sendgrid(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a batch that comes by HTTP, one request a connection."""
        self._open_connections += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            people = json.loads(await reader.readexactly(length))["personalizations"]
            assert all(len(person["to"]) == 1 for person in people)
            await self._freeze_client("body")
            await self.record_message([person["to"][0]["email"] for person in people])
            writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        except _CLIENT_IS_GONE:  # before the request was out
            pass
        finally:
            writer.close()
            self._open_connections -= 1


async def main(kind: str, port: int, folder: Path, delay: float) -> None:
    """Serve until killed; `FOLDER/ready` is there once it listens."""
    recorder = MessageRecorder(folder, delay)
    serve = recorder.serve_smtp if kind == "smtp" else recorder.serve_sendgrid
    server = await asyncio.start_server(serve, "127.0.0.1", port, limit=_MAX_BYTES)
    (folder / "ready").touch()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve_forever())
        tasks.create_task(recorder.answer_resolve_requests())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4])))
