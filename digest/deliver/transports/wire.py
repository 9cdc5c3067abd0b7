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

CONNECT = 30.0  # seconds for connecting, and for each answer until mail can be offered
COMMAND = 300.0  # RFC 5321, 4.5.3.2: MAIL, RCPT and the data itself
FINAL = 600.0  # and after the final dot, where a server may well be busy
LEAST = 1.0  # an answer that may have come while nobody looked is still read
BROKEN = -1  # smtplib's code for a reply that is none
_GOOD = {"MAIL": (250,), "RCPT": (250, 251), "DATA": (354,)}
_ADDRESS = re.compile(r"[!-;=?-~]+@[!-;=?-~]+")  # no blank, no angle bracket, no line break


@dataclass(frozen=True, slots=True)
class Limits:
    """How many seconds a server may take, from the moment when something was said to it until its answer is whole."""

    connect: float = CONNECT
    command: float = COMMAND
    final: float = FINAL

    @property
    def whole(self) -> float:
        """The longest that one message may take: two connections, on the first of which it failed."""
        return 2 * (self.connect + 3 * self.command) + self.final


@dataclass(frozen=True, slots=True)
class Server:
    """Where mail goes and how. `tls` is `starttls`, `implicit` (RFC 8314) or `off` (loopback only)."""

    host: str
    port: int
    tls: str
    user: str = ""
    password: str = field(default="", repr=False)
    authorities: Path | None = None  # further certificate authorities to trust
    messages: int = 100  # a connection, then it says goodbye
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who sends to whom, and the id that a delivery report shall quote."""

    sender: str
    recipient: str
    id: str

    @property
    def sound(self) -> bool:
        """Whether both addresses can stand in a command without being read as something else."""
        return bool(_ADDRESS.fullmatch(self.sender) and _ADDRESS.fullmatch(self.recipient))


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said, and to which command."""

    verb: str
    code: int
    reply: bytes

    @property
    def good(self) -> bool:
        """Whether the next step may follow."""
        return self.code in _GOOD[self.verb]


class Wire(smtplib.SMTP):
    """A connection on which envelopes are offered in one write where the server can take that.

    A socket's timeout begins anew with every byte, and a server that lets its answer drip would hold us for ever.
    Here the time runs from what was said to the end of the answer.
    """

    limits = Limits()
    _commands: Sequence[tuple[str, bytes]] = ()
    _allowed: float | None = None
    _written = 0.0
    _until = 0.0

    def offer(self, envelope: Envelope) -> None:
        """Say MAIL, RCPT and DATA in one write where the server can take that; else `answer` says them one by one.

        Raises:
            OSError: the connection broke.
        """
        self._commands = _commands(envelope, dsn=self.has_extn("dsn"))
        self.allow(self.limits.command)
        if self.has_extn("pipelining"):
            self.send(b"".join(line for _, line in self._commands))

    def answer(self) -> Answer:
        """Give the answer that refuses the message that was offered, or DATA's 354.

        Raises:
            OSError: the connection broke before the server had answered; the data was not sent.
        """
        if self.has_extn("pipelining"):
            return self._answer_to_all()
        answer = Answer("MAIL", BROKEN, b"")
        for verb, line in self._commands:
            self.send(line)
            answer = Answer(verb, *self.getreply())
            if not answer.good:
                break
        return answer

    def _answer_to_all(self) -> Answer:
        answers: list[Answer] = []
        for verb, _ in self._commands:  # every answer belongs to its command: all are read
            try:
                answers.append(Answer(verb, *self.getreply()))
            except OSError:
                if all(answer.good for answer in answers):
                    raise
                break
            if answers[-1].code == BROKEN:
                break
        refusals = [answer for answer in answers if not answer.good]
        if refusals and answers[-1].verb == "DATA" and answers[-1].good:
            self._send_nothing(answers)
        return refusals[0] if refusals else answers[-1]

    def _send_nothing(self, answers: list[Answer]) -> None:
        """End a transaction whose DATA the server took all the same: with a lone dot (RFC 2920, 3.1).

        Should it have taken the recipient of a sender that it refused, an empty message would arrive: hang up.
        """
        try:
            if not answers[1].good:
                self.send(b".\r\n")
                self.getreply()
                return
        except OSError:
            pass
        self.close()  # the next command finds that out

    def allow(self, seconds: float) -> None:
        """Let every step that follows take so many seconds, counted from the last thing that was said."""
        self._allowed = seconds

    def send(self, s: bytes | str) -> None:  # type: ignore[override]  # typeshed says ReadableBuffer | str
        """Write, and remember when: the server's time to answer runs from here."""
        if self.sock is not None:
            self.sock.settimeout(self._seconds)
        super().send(s)
        self._written = time.monotonic()

    def getreply(self) -> tuple[int, bytes]:
        """Read an answer, as `smtplib` does, for as long as the server may take.

        Raises:
            smtplib.SMTPServerDisconnected: it took longer, or the connection broke.
        """
        now = time.monotonic()
        if self.file is None:  # a greeting, or the first answer after STARTTLS
            self._written = now
            self.file = io.BufferedReader(_Slow(self))
        self._until = max(self._written + self._seconds, now + LEAST)
        return super().getreply()

    def read_into(self, buffer: Any) -> int:
        """Read what is there, or wait for it until the server's time is over.

        Raises:
            TimeoutError: it is over.
        """
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer takes too long")
        assert self.sock is not None
        self.sock.settimeout(left)
        return self.sock.recv_into(buffer)

    @property
    def _seconds(self) -> float:
        return self._allowed if self._allowed is not None else self.timeout


class _Slow(io.RawIOBase):
    """What a wire reads from, in the time that it gives."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._wire.read_into(buffer)


class TlsWire(Wire, smtplib.SMTP_SSL):
    """The same on a connection that is secure from its first byte."""


def _commands(envelope: Envelope, *, dsn: bool) -> list[tuple[str, bytes]]:
    # A report quotes the id as Original-Envelope-Id, and the headers alone: enough to know which message it was.
    mail, rcpt = (f" RET=HDRS ENVID={envelope.id}", " NOTIFY=FAILURE") if dsn else ("", "")
    return [
        ("MAIL", f"MAIL FROM:<{envelope.sender}>{mail}\r\n".encode("ascii")),
        ("RCPT", f"RCPT TO:<{envelope.recipient}>{rcpt}\r\n".encode("ascii")),
        ("DATA", b"DATA\r\n"),
    ]


def connect(server: Server, context: ssl.SSLContext | None) -> Wire:
    """Connect, secure and sign in; with `starttls` nothing is said in the clear but the greeting.

    `context` is what TLS trusts, None with `off` alone: smtplib would trust anybody then.

    Raises:
        OSError: smtplib's errors and those of `ssl` and `socket`; the connection is closed.
    """
    assert context is not None or server.tls == "off", "TLS without a check of the certificate is none"
    where = (server.host, server.port, _own_name())
    if server.tls == "implicit":
        connection: Wire = TlsWire(*where, timeout=server.limits.connect, context=context)
    else:
        connection = Wire(*where, timeout=server.limits.connect)
    connection.limits = server.limits
    try:
        connection.ehlo_or_helo_if_needed()
        if server.tls == "starttls":
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
def _own_name() -> str:
    """Give the name to greet with. smtplib would ask the DNS for it at every connection."""
    return str(smtplib.SMTP().local_hostname)
