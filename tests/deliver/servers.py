"""Mail servers on loopback: aiosmtpd where they behave, a scripted one where they do not."""

import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain, repeat
from pathlib import Path
from typing import Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from digest.deliver.handing import Handed, Outgoing, Result
from digest.deliver.letters import Filled, Letter
from digest.deliver.transports.smtp import Server, Smtp
from tests.deliver.conftest import RELEASE

LETTER = Letter(
    subject="Hello",
    sender_name="Desk",
    sender_address="digest@news.example.org",
    reply_to="",
    date=RELEASE,
    text="A line.\n.\n.dots\nFrom here.\n" + "word " * 4000,
    html=None,
)


def message(address: str = "ada@example.org") -> Outgoing:
    return Outgoing("d" * 26, "edition", LETTER, Filled(to=address, message_id="<1@x.example.org>"))


def tls_of(certificate: Path) -> ssl.SSLContext:
    """Give what a server needs to speak TLS, of a file with key and certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


class Box:
    """Takes every message and remembers it with its envelope."""

    def __init__(self) -> None:
        self.taken: list[tuple[str | None, list[str], bytes]] = []
        self.peers: set[Any] = set()
        self.secure: list[bool] = []

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - its name
        assert isinstance(envelope.original_content, bytes)
        self.taken.append((envelope.mail_from, list(envelope.rcpt_tos), envelope.original_content))
        self.peers.add(session.peer)
        self.secure.append(session.ssl is not None)
        return "250 2.0.0 taken"


@contextmanager
def serving(box: Box, **options: Any) -> Iterator[int]:
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as free:
        port = int(free.server_address[1])
    controller = Controller(box, hostname="127.0.0.1", port=port, **options)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


class Dripping(bytes):
    """A reply of which one byte comes after the other, and never the last."""


class Scripted(socketserver.ThreadingTCPServer):
    """An SMTP server that answers by a script: verb → replies, None to hang up. `taken` counts what it accepted.

    `offers` is what it offers in answer to EHLO. Every line that it read is in `lines`. After a message's first line
    it hangs up with `cut`, and takes hardly any more with `sips`.
    """

    daemon_threads = True

    def __init__(self, script: dict[str, list[bytes | None]], offers: bytes = b"") -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.script = script
        self.usual = USUAL | ({"EHLO": b"250-here\r\n250 " + offers} if offers else {})
        self.lines: list[bytes] = []
        self.taken = self.connections = self.quits = 0
        self.port = int(self.server_address[1])
        self.cut = self.sips = False

    def narrow(self) -> Self:
        """Let little be under way: a client that writes much has to wait until it is read."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        return self

    def reply(self, verb: str) -> bytes | None:
        """Give the next scripted reply to a verb, else the usual one."""
        planned = self.script.get(verb)
        return planned.pop(0) if planned else self.usual.get(verb, b"250 ok")

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


USUAL = {"GREETING": b"220 ready", "DATA": b"354 go on", "DOT": b"250 taken", "QUIT": b"221 bye"}


class _Conversation(socketserver.StreamRequestHandler):
    server: Scripted
    to_somebody = False

    def handle(self) -> None:
        self.server.connections += 1
        going_on = self._answer("GREETING")
        while going_on and (line := self.rfile.readline()):
            self.server.lines.append(line)
            verb = line.split(None, 1)[0].upper().decode() if line.strip() else ""
            self.server.quits += verb == "QUIT"
            going_on = self._answer(verb) and verb != "QUIT"

    def _answer(self, verb: str) -> bool:
        """Say the reply; after a 354 read the message and say what comes after the dot."""
        reply = self.server.reply(verb)
        if reply is None:
            return False
        if verb in {"MAIL", "RCPT"}:
            self.to_somebody = verb == "RCPT" and reply.startswith(b"25")
        if verb == "DOT":
            self.server.taken += reply.startswith(b"250") and self.to_somebody
        if isinstance(reply, Dripping):
            return self._drip(reply)
        self.wfile.write(reply + b"\r\n")
        return self._readmessage() if reply.startswith(b"354") else True

    def _drip(self, reply: bytes) -> bool:
        """Say a byte, and another, until the client has had enough."""
        with suppress(OSError):
            for byte in chain(reply, repeat(ord("."))):
                self.wfile.write(bytes([byte]))
                time.sleep(0.02)
        return False

    def _readmessage(self) -> bool:
        if self.server.cut or self.server.sips:
            self.rfile.readline()
            while self.server.sips and self.connection.recv(1):
                time.sleep(0.02)
            return False
        while (line := self.rfile.readline()) != b".\r\n":
            if not line:
                return False
        return self._answer("DOT")


def hand(server: Scripted, *addresses: str, **more: Any) -> Handed:
    transport = Smtp(Server("127.0.0.1", server.port, "off", **more))
    try:
        return transport.hand_all([message(a) for a in addresses or ("ada@example.org",)])
    finally:
        transport.close()


def results(handed: Handed) -> list[Result]:
    return [o.result for o in handed.outcomes]


ACCEPTED, REFUSED, LATER = Result.ACCEPTED, Result.REFUSED, Result.LATER
UNCERTAIN, UNTOUCHED = Result.UNCERTAIN, Result.UNTOUCHED
