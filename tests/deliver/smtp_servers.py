"""Mail servers on loopback: aiosmtpd for correct behavior, a scripted one for faults."""

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

from digest.deliver.compose.message import MessageTemplate, PlaceholderValues
from digest.deliver.providers.base import BatchOutcome, HandoverStatus, OutgoingMessage
from digest.deliver.providers.smtp.connection import SmtpServer
from digest.deliver.providers.smtp.provider import SmtpProvider
from digest.edition.content.slotted_text import SlottedText
from tests.conftest import WAIT_TIMEOUT, reserve_port
from tests.deliver.conftest import DATE_VALUE
from tests.deliver.mark_recorder import MarkRecorder
from tests.threaded_server import ServedInThread

SAMPLE_TEMPLATE = MessageTemplate(
    subject="Hello",
    sender_name="Desk",
    sender_address="digest@news.example.org",
    reply_to="",
    text=SlottedText("A line.\n.\n.dots\nFrom here.\n" + "word " * 4000),
    html=None,
)


def outgoing_message(address: str = "ada@example.org") -> OutgoingMessage:
    return OutgoingMessage(
        "d" * 26, "edition", SAMPLE_TEMPLATE, PlaceholderValues(address, "<1@x.example.org>", DATE_VALUE)
    )


def server_tls_context(certificate: Path) -> ssl.SSLContext:
    """Give what a server needs to speak TLS, of a file with key and certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


class RecordingHandler:
    """Takes every message and remembers it with its envelope."""

    def __init__(self) -> None:
        self.messages: list[tuple[str | None, list[str], bytes]] = []
        self.peers: set[Any] = set()
        self.tls_flags: list[bool] = []

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - its name
        assert isinstance(envelope.original_content, bytes)
        self.messages.append((envelope.mail_from, list(envelope.rcpt_tos), envelope.original_content))
        self.peers.add(session.peer)
        self.tls_flags.append(session.ssl is not None)
        return "250 2.0.0 taken"


@contextmanager
def run_smtp_server(handler: object, **options: Any) -> Iterator[int]:
    """Run a mail server whose messages a handler gets (aiosmtpd's `handle_DATA`); lend its port."""
    with reserve_port() as port:
        controller = Controller(handler, hostname="127.0.0.1", port=port, ready_timeout=WAIT_TIMEOUT, **options)
        controller.start()
    try:
        yield port
    finally:
        controller.stop()


class DrippingReply(bytes):
    """A reply of which one byte comes after the other, and never the last."""


class HeldReply(bytes):
    """A reply that comes once `may_come` is set."""

    def __init__(self, _reply: bytes) -> None:
        self.may_come = threading.Event()


class GatheredReply(bytes):
    """A reply that comes once so many connections wait for it at the same time, and never if they don't."""

    def __new__(cls, reply: bytes, _barrier: threading.Barrier) -> Self:
        return super().__new__(cls, reply)

    def __init__(self, _reply: bytes, barrier: threading.Barrier) -> None:
        self.barrier = barrier


class ScriptedSmtpServer(ServedInThread, socketserver.ThreadingTCPServer):
    """An SMTP server that answers by a script: verb → replies, None to hang up. `accepted_count` counts what it accepted.

    `offers` is what it offers in answer to EHLO. Every line that it read is in `received_lines`, those of messages are in `message_lines`. After a message's first line
    it hangs up with `hangs_up_in_message`, and takes hardly any more with `reads_slowly`.
    """

    daemon_threads = True

    def __init__(self, script: dict[str, list[bytes | None]], extensions: bytes = b"") -> None:
        super().__init__(("127.0.0.1", 0), _SmtpSession)
        self.script = script
        self.default_replies = DEFAULT_REPLIES | ({"EHLO": b"250-here\r\n250 " + extensions} if extensions else {})
        self.received_lines: list[bytes] = []
        self.message_lines: list[bytes] = []
        self.accepted_count = self.connection_count = self.quit_count = 0
        self.port = int(self.server_address[1])
        self.hangs_up_in_message = self.reads_slowly = False
        self.messages_per_connection: int | None = None  # after so many, MAIL gets a 421
        self.max_connections: int | None = None  # with so many open, another is greeted with a 421
        self.open_count = self.most_open = self.refused_count = 0
        self.lock = threading.Lock()

    def shrink_receive_buffer(self) -> Self:
        """Let little be under way: a client that writes much has to wait until it is read."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        return self

    def admit(self) -> bool:
        """Return whether one more connection may be open, and count it."""
        with self.lock:
            if self.max_connections is not None and self.open_count >= self.max_connections:
                self.refused_count += 1
                return False
            self.open_count += 1
            self.most_open = max(self.most_open, self.open_count)
            return True

    def next_reply(self, verb: str) -> bytes | None:
        """Give the next scripted reply to a verb, else the usual one."""
        planned = self.script.get(verb)
        return planned.pop(0) if planned else self.default_replies.get(verb, b"250 ok")


DEFAULT_REPLIES = {"GREETING": b"220 ready", "DATA": b"354 go on", "DOT": b"250 taken", "QUIT": b"221 bye"}


class _SmtpSession(socketserver.StreamRequestHandler):
    server: ScriptedSmtpServer
    has_recipient = False
    message_count = 0

    def handle(self) -> None:
        self.server.connection_count += 1
        if not self.server.admit():
            self.wfile.write(b"421 4.7.0 too many connections\r\n")
            return
        try:
            self._converse()
        finally:
            with self.server.lock:
                self.server.open_count -= 1

    def _converse(self) -> None:
        going_on = self._send_reply("GREETING")
        while going_on and (line := self.rfile.readline()):
            self.server.received_lines.append(line)
            verb = line.split(None, 1)[0].upper().decode() if line.strip() else ""
            self.server.quit_count += verb == "QUIT"
            going_on = self._send_reply(verb) and verb != "QUIT"

    def _send_reply(self, verb: str) -> bool:
        """Say the reply; after a 354 read the message and say what comes after the dot."""
        if verb == "MAIL" and self.message_count == self.server.messages_per_connection:
            self.wfile.write(b"421 4.4.2 too many messages on this connection\r\n")
            return False
        reply = self.server.next_reply(verb)
        if reply is None:
            return False
        if isinstance(reply, HeldReply):
            reply.may_come.wait(WAIT_TIMEOUT)
        if isinstance(reply, GatheredReply):
            reply.barrier.wait()
        if verb in {"MAIL", "RCPT"}:
            self.has_recipient = verb == "RCPT" and reply.startswith(b"25")
        if verb == "DOT":
            self.message_count += 1
            self.server.accepted_count += reply.startswith(b"250") and self.has_recipient
        if isinstance(reply, DrippingReply):
            return self._drip_reply(reply)
        self.wfile.write(reply + b"\r\n")
        return self._read_message() if reply.startswith(b"354") else True

    def _drip_reply(self, reply: bytes) -> bool:
        """Say a byte, and another, until the client has had enough."""
        with suppress(OSError):
            for byte in chain(reply, repeat(ord("."))):
                self.wfile.write(bytes([byte]))
                time.sleep(0.02)
        return False

    def _read_message(self) -> bool:
        if self.server.hangs_up_in_message or self.server.reads_slowly:
            self.rfile.readline()
            while self.server.reads_slowly and self.connection.recv(1):
                time.sleep(0.02)
            return False
        while (line := self.rfile.readline()) != b".\r\n":
            if not line:
                return False
            self.server.message_lines.append(line)
        return self._send_reply("DOT")


def send_through(server: ScriptedSmtpServer, *addresses: str, **more: Any) -> BatchOutcome:
    provider = SmtpProvider(SmtpServer("127.0.0.1", server.port, "off", **more))
    try:
        return provider.send_batch([outgoing_message(a) for a in addresses or ("ada@example.org",)], MarkRecorder())
    finally:
        provider.close()


def results_of(handed: BatchOutcome) -> list[HandoverStatus]:
    return [o.result for o in handed.outcomes]


ACCEPTED, REFUSED, LATER = HandoverStatus.ACCEPTED, HandoverStatus.REFUSED, HandoverStatus.TRY_LATER
UNCERTAIN, UNTOUCHED = HandoverStatus.UNCERTAIN, HandoverStatus.NOT_TRIED
