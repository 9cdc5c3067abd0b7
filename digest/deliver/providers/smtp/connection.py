"""One SMTP connection: `smtplib`, with PIPELINING (RFC 2920) and delivery reports by id (RFC 3461) where offered."""

import io
import os
import re
import smtplib
import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

CONNECT_TIMEOUT = 30.0  # seconds for connecting, and for each answer until mail can be offered
COMMAND_TIMEOUT = 300.0  # RFC 5321, 4.5.3.2: MAIL, RCPT and the data itself
FINAL_REPLY_TIMEOUT = 600.0  # and after the final dot, where a server may well be busy
MIN_READ_TIMEOUT = 1.0  # a reply that arrived while nobody read is still read
FINAL_DOT = b".\r\n"  # ends the data (RFC 5321, 4.1.1.4)
NO_REPLY = -1  # smtplib's code for a reply that is none
_EXPECTED_CODES = {"MAIL": (250,), "RCPT": (250, 251), "DATA": (354,)}
_ADDRESS = re.compile(r"[!-;=?-~]+@[!-;=?-~]+")  # no blank, no angle bracket, no line break


@dataclass(frozen=True, slots=True)
class SmtpTimeouts:
    """How many seconds a server may take, from the last thing written to it until its reply is complete."""

    connect: float = CONNECT_TIMEOUT
    command: float = COMMAND_TIMEOUT
    final: float = FINAL_REPLY_TIMEOUT

    @property
    def max_per_message(self) -> float:
        """The longest that one message may take: two connections, on the first of which it failed."""
        return 2 * (self.connect + 3 * self.command) + self.final


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """The server that mail goes to, and how. `tls_mode` is `starttls`, `implicit` (RFC 8314) or `off` (loopback only)."""

    host: str
    port: int
    tls_mode: str
    user: str = ""
    password: str = field(default="", repr=False)
    ca_file: Path | None = None  # further certificate authorities to trust
    messages_per_connection: int = 100  # a connection, then QUIT
    timeouts: SmtpTimeouts = SmtpTimeouts()


@dataclass(frozen=True, slots=True)
class SmtpEnvelope:
    """Sender, recipient, and the id that a delivery report shall quote."""

    sender: str
    recipient: str
    id: str

    @property
    def is_valid(self) -> bool:
        """Whether both addresses can stand in a command without being parsed as something else."""
        return bool(_ADDRESS.fullmatch(self.sender) and _ADDRESS.fullmatch(self.recipient))


@dataclass(frozen=True, slots=True)
class SmtpReply:
    """The server's reply to one command."""

    command: str
    code: int
    text: bytes

    @property
    def is_expected(self) -> bool:
        """Whether the next step may follow."""
        return self.code in _EXPECTED_CODES[self.command]


class SmtpConnection(smtplib.SMTP):
    """A connection that offers envelopes in one write where the server supports that.

    A socket's timeout starts again with every byte: a server that drips its reply would hold us for ever. Here the
    time runs from the last write to the end of the reply.
    """

    timeouts = SmtpTimeouts()
    _envelope_commands: Sequence[tuple[str, bytes]] = ()
    _reply_timeout: float | None = None
    _last_write_at = 0.0
    _reply_deadline = 0.0

    def offer_envelope(self, envelope: SmtpEnvelope) -> None:
        """Send MAIL, RCPT and DATA in one write where the server supports that; else `read_envelope_reply` sends them singly.

        Raises:
            OSError: the connection broke.
        """
        self._envelope_commands = _commands_for_envelope(envelope, dsn=self.has_extn("dsn"))
        self.set_reply_timeout(self.timeouts.command)
        if self.has_extn("pipelining"):
            self.send(b"".join(line for _, line in self._envelope_commands))

    def read_envelope_reply(self) -> SmtpReply:
        """Return the reply that refuses the offered message, or DATA's 354.

        Raises:
            OSError: the connection broke before the server had replied; the data was not sent.
        """
        if self.has_extn("pipelining"):
            return self._read_pipelined_replies()
        reply = SmtpReply("MAIL", NO_REPLY, b"")
        for verb, line in self._envelope_commands:
            self.send(line)
            reply = SmtpReply(verb, *self.getreply())
            if not reply.is_expected:
                break
        return reply

    def _read_pipelined_replies(self) -> SmtpReply:
        replies: list[SmtpReply] = []
        for verb, _ in self._envelope_commands:  # every reply belongs to its command: all are read
            try:
                replies.append(SmtpReply(verb, *self.getreply()))
            except OSError:
                if all(reply.is_expected for reply in replies):
                    raise
                break
            if replies[-1].code == NO_REPLY:
                break
        refusals = [reply for reply in replies if not reply.is_expected]
        if refusals and replies[-1].command == "DATA" and replies[-1].is_expected:
            self._abort_empty_data(replies)
        return refusals[0] if refusals else replies[-1]

    def _abort_empty_data(self, replies: list[SmtpReply]) -> None:
        """End a transaction whose DATA the server took all the same: with a lone dot (RFC 2920, 3.1).

        Should it have taken the recipient of a sender that it refused, an empty message would arrive: hang up.
        """
        try:
            if not replies[1].is_expected:
                self.send(b".\r\n")
                self.getreply()
                return
        except OSError:
            pass
        self.close()  # the next command fails on it

    def set_reply_timeout(self, seconds: float) -> None:
        """Let every following step take so many seconds, counted from the last write."""
        self._reply_timeout = seconds

    def send(self, s: bytes | str) -> None:  # type: ignore[override]  # typeshed says ReadableBuffer | str
        """Write, and remember when: the server's time to reply runs from here."""
        if self.sock is not None:
            self.sock.settimeout(self._effective_timeout)
        super().send(s)
        self._last_write_at = time.monotonic()

    def send_data(self, data: bytes) -> None:
        """Send a message but for its final dot; `send_final_dot` has to follow at once.

        Raises:
            OSError: the connection broke.
        """
        if isinstance(self.sock, ssl.SSLSocket) or self.sock is None:
            self.send(data)
            return
        self.sock.settimeout(self._effective_timeout)
        self.sock.sendall(data, socket.MSG_MORE)  # its last packet waits for the dot

    def send_final_dot(self) -> None:
        """Complete a message.

        What is marked before counts as sent if the process is killed, so as little as possible comes in between: a
        socket's own `send` would ask first whether it can write, and another thread may come to its turn.

        Raises:
            OSError: the connection broke.
        """
        if isinstance(self.sock, ssl.SSLSocket) or self.sock is None:
            self.send(FINAL_DOT)
            return
        try:
            written = os.write(self.sock.fileno(), FINAL_DOT)
        except BlockingIOError:
            written = 0
        self._last_write_at = time.monotonic()
        if written < len(FINAL_DOT):
            self.send(FINAL_DOT[written:])

    def getreply(self) -> tuple[int, bytes]:
        """Read a reply, as `smtplib` does, for as long as the server may take.

        Raises:
            smtplib.SMTPServerDisconnected: it took longer, or the connection broke.
        """
        now = time.monotonic()
        if self.file is None:  # a greeting, or the first reply after STARTTLS
            self._last_write_at = now
            self.file = io.BufferedReader(_DeadlineReader(self))
        self._reply_deadline = max(self._last_write_at + self._effective_timeout, now + MIN_READ_TIMEOUT)
        return super().getreply()

    def receive_into(self, buffer: Any) -> int:
        """Read what has arrived, or wait for it until the server's time is over.

        Raises:
            TimeoutError: it is over.
        """
        left = self._reply_deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer takes too long")
        assert self.sock is not None
        self.sock.settimeout(left)
        return self.sock.recv_into(buffer)

    @property
    def _effective_timeout(self) -> float:
        return self._reply_timeout if self._reply_timeout is not None else self.timeout


class _DeadlineReader(io.RawIOBase):
    """The connection as a raw stream that reads within the connection's deadline."""

    def __init__(self, connection: SmtpConnection) -> None:
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._connection.receive_into(buffer)


class TlsSmtpConnection(SmtpConnection, smtplib.SMTP_SSL):
    """The same over TLS from the first byte (RFC 8314)."""


def _commands_for_envelope(envelope: SmtpEnvelope, *, dsn: bool) -> list[tuple[str, bytes]]:
    # A report quotes the id as Original-Envelope-Id, and the headers alone: enough to know which message it was.
    mail, rcpt = (f" RET=HDRS ENVID={envelope.id}", " NOTIFY=FAILURE") if dsn else ("", "")
    return [
        ("MAIL", f"MAIL FROM:<{envelope.sender}>{mail}\r\n".encode("ascii")),
        ("RCPT", f"RCPT TO:<{envelope.recipient}>{rcpt}\r\n".encode("ascii")),
        ("DATA", b"DATA\r\n"),
    ]


def connect_smtp(server: SmtpServer, context: ssl.SSLContext | None) -> SmtpConnection:
    """Connect, secure and sign in; with `starttls` nothing is sent in the clear but the greeting.

    `context` says whom TLS trusts, and is None with `off` alone: without one smtplib would trust anybody.

    Raises:
        OSError: smtplib's errors and those of `ssl` and `socket`; the connection is closed.
    """
    assert context is not None or server.tls_mode == "off", "TLS without a check of the certificate is none"
    address = (server.host, server.port, _greeting_name())
    if server.tls_mode == "implicit":
        connection: SmtpConnection = TlsSmtpConnection(*address, timeout=server.timeouts.connect, context=context)
    else:
        connection = SmtpConnection(*address, timeout=server.timeouts.connect)
    connection.timeouts = server.timeouts
    try:
        connection.ehlo_or_helo_if_needed()
        if server.tls_mode == "starttls":
            connection.starttls(context=context)
            connection.ehlo_or_helo_if_needed()
        if server.user:
            connection.login(server.user, server.password)
        assert connection.sock is not None
        # The end of a message must not wait for the acknowledgement of its beginning (Nagle).
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        connection.close()
        raise
    return connection


@cache
def _greeting_name() -> str:
    """Return the name for EHLO. smtplib would ask the DNS for it at every connection."""
    return str(smtplib.SMTP().local_hostname)
