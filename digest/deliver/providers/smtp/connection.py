"""One SMTP connection: `smtplib`, with PIPELINING (RFC 2920) and delivery reports by id (RFC 3461) where offered."""

import io
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
MIN_READ_TIMEOUT = 1.0  # an answer that may have come while nobody looked is still read
NO_REPLY = -1  # smtplib's code for a reply that is none
_EXPECTED_CODES = {"MAIL": (250,), "RCPT": (250, 251), "DATA": (354,)}
_ADDRESS = re.compile(r"[!-;=?-~]+@[!-;=?-~]+")  # no blank, no angle bracket, no line break


@dataclass(frozen=True, slots=True)
class SmtpTimeouts:
    """How many seconds a server may take, from the moment when something was said to it until its answer is whole."""

    connect: float = CONNECT_TIMEOUT
    command: float = COMMAND_TIMEOUT
    final: float = FINAL_REPLY_TIMEOUT

    @property
    def max_per_message(self) -> float:
        """The longest that one message may take: two connections, on the first of which it failed."""
        return 2 * (self.connect + 3 * self.command) + self.final


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mail goes and how. `tls_mode` is `starttls`, `implicit` (RFC 8314) or `off` (loopback only)."""

    host: str
    port: int
    tls_mode: str
    user: str = ""
    password: str = field(default="", repr=False)
    ca_file: Path | None = None  # further certificate authorities to trust
    messages_per_connection: int = 100  # a connection, then it says goodbye
    timeouts: SmtpTimeouts = SmtpTimeouts()


@dataclass(frozen=True, slots=True)
class SmtpEnvelope:
    """Who sends to whom, and the id that a delivery report shall quote."""

    sender: str
    recipient: str
    id: str

    @property
    def is_valid(self) -> bool:
        """Whether both addresses can stand in a command without being read as something else."""
        return bool(_ADDRESS.fullmatch(self.sender) and _ADDRESS.fullmatch(self.recipient))


@dataclass(frozen=True, slots=True)
class SmtpReply:
    """What the server said, and to which command."""

    command: str
    code: int
    text: bytes

    @property
    def is_expected(self) -> bool:
        """Whether the next step may follow."""
        return self.code in _EXPECTED_CODES[self.command]


class SmtpConnection(smtplib.SMTP):
    """A connection on which envelopes are offered in one write where the server can take that.

    A socket's timeout begins anew with every byte, and a server that lets its answer drip would hold us for ever.
    Here the time runs from what was said to the end of the answer.
    """

    timeouts = SmtpTimeouts()
    _envelope_commands: Sequence[tuple[str, bytes]] = ()
    _reply_timeout: float | None = None
    _last_write_at = 0.0
    _reply_deadline = 0.0

    def offer_envelope(self, envelope: SmtpEnvelope) -> None:
        """Say MAIL, RCPT and DATA in one write where the server can take that; else `read_envelope_reply` says them one by one.

        Raises:
            OSError: the connection broke.
        """
        self._envelope_commands = _commands_for_envelope(envelope, dsn=self.has_extn("dsn"))
        self.set_reply_timeout(self.timeouts.command)
        if self.has_extn("pipelining"):
            self.send(b"".join(line for _, line in self._envelope_commands))

    def read_envelope_reply(self) -> SmtpReply:
        """Give the answer that refuses the message that was offered, or DATA's 354.

        Raises:
            OSError: the connection broke before the server had answered; the data was not sent.
        """
        if self.has_extn("pipelining"):
            return self._read_pipelined_replies()
        answer = SmtpReply("MAIL", NO_REPLY, b"")
        for verb, line in self._envelope_commands:
            self.send(line)
            answer = SmtpReply(verb, *self.getreply())
            if not answer.is_expected:
                break
        return answer

    def _read_pipelined_replies(self) -> SmtpReply:
        answers: list[SmtpReply] = []
        for verb, _ in self._envelope_commands:  # every answer belongs to its command: all are read
            try:
                answers.append(SmtpReply(verb, *self.getreply()))
            except OSError:
                if all(answer.is_expected for answer in answers):
                    raise
                break
            if answers[-1].code == NO_REPLY:
                break
        refusals = [answer for answer in answers if not answer.is_expected]
        if refusals and answers[-1].command == "DATA" and answers[-1].is_expected:
            self._abort_empty_data(answers)
        return refusals[0] if refusals else answers[-1]

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
        self.close()  # the next command finds that out

    def set_reply_timeout(self, seconds: float) -> None:
        """Let every step that follows take so many seconds, counted from the last thing that was said."""
        self._reply_timeout = seconds

    def send(self, s: bytes | str) -> None:  # type: ignore[override]  # typeshed says ReadableBuffer | str
        """Write, and remember when: the server's time to answer runs from here."""
        if self.sock is not None:
            self.sock.settimeout(self._effective_timeout)
        super().send(s)
        self._last_write_at = time.monotonic()

    def getreply(self) -> tuple[int, bytes]:
        """Read an answer, as `smtplib` does, for as long as the server may take.

        Raises:
            smtplib.SMTPServerDisconnected: it took longer, or the connection broke.
        """
        now = time.monotonic()
        if self.file is None:  # a greeting, or the first answer after STARTTLS
            self._last_write_at = now
            self.file = io.BufferedReader(_DeadlineReader(self))
        self._reply_deadline = max(self._last_write_at + self._effective_timeout, now + MIN_READ_TIMEOUT)
        return super().getreply()

    def receive_into(self, buffer: Any) -> int:
        """Read what is there, or wait for it until the server's time is over.

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
    """What a wire reads from, in the time that it gives."""

    def __init__(self, connection: SmtpConnection) -> None:
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._connection.receive_into(buffer)


class TlsSmtpConnection(SmtpConnection, smtplib.SMTP_SSL):
    """The same on a connection that is secure from its first byte."""


def _commands_for_envelope(envelope: SmtpEnvelope, *, dsn: bool) -> list[tuple[str, bytes]]:
    # A report quotes the id as Original-Envelope-Id, and the headers alone: enough to know which message it was.
    mail, rcpt = (f" RET=HDRS ENVID={envelope.id}", " NOTIFY=FAILURE") if dsn else ("", "")
    return [
        ("MAIL", f"MAIL FROM:<{envelope.sender}>{mail}\r\n".encode("ascii")),
        ("RCPT", f"RCPT TO:<{envelope.recipient}>{rcpt}\r\n".encode("ascii")),
        ("DATA", b"DATA\r\n"),
    ]


def connect_smtp(server: SmtpServer, context: ssl.SSLContext | None) -> SmtpConnection:
    """Connect, secure and sign in; with `starttls` nothing is said in the clear but the greeting.

    `context` is what TLS trusts, None with `off` alone: smtplib would trust anybody then.

    Raises:
        OSError: smtplib's errors and those of `ssl` and `socket`; the connection is closed.
    """
    assert context is not None or server.tls_mode == "off", "TLS without a check of the certificate is none"
    where = (server.host, server.port, _greeting_name())
    if server.tls_mode == "implicit":
        connection: SmtpConnection = TlsSmtpConnection(*where, timeout=server.timeouts.connect, context=context)
    else:
        connection = SmtpConnection(*where, timeout=server.timeouts.connect)
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
    """Give the name to greet with. smtplib would ask the DNS for it at every connection."""
    return str(smtplib.SMTP().local_hostname)
