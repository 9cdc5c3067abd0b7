"""An `smtplib` connection that uses PIPELINING (RFC 2920, section 3) and DSN (RFC 3461, section 4) if offered.

Steps that wait for the server are generators. They yield what they're waiting for, so that one
thread can serve many connections.
"""

import math
import os
import re
import select
import smtplib
import socket
import ssl
import time
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar

CONNECT_TIMEOUT = 30.0  # seconds for connecting, and for each reply until messages can be sent
COMMAND_TIMEOUT = 300.0  # seconds for MAIL, RCPT, and the data itself (RFC 5321, section 4.5.3.2)
FINAL_REPLY_TIMEOUT = 600.0  # seconds after the final dot, when a server may be busy
MIN_READ_TIMEOUT = 1.0  # seconds, so that a reply that has already arrived is still read
# Bytes of a line of a reply, without its end, after which the connection is dropped.
MAX_REPLY_LINE = 8192
# Bytes to read at once. This is a complete TLS record (RFC 8446, section 5.1), so none of it stays buffered.
READ_SIZE = 16384
FINAL_DOT = b".\r\n"  # ends the data (RFC 5321, section 4.1.1.4)
NO_REPLY = -1  # smtplib's code for an invalid reply
_EXPECTED_CODES = {"MAIL": (250,), "RCPT": (250, 251), "DATA": (354,)}
# One-line replies to MAIL, RCPT, and DATA with which the message can proceed.
_USUAL_REPLIES = re.compile(rb"250 [^\r\n]*\r\n25[01] [^\r\n]*\r\n354 ([^\r\n]*)\r\n")
T = TypeVar("T")


class SocketWait(NamedTuple):
    """A connection's wait for a poll(2) event on a file.

    `deadline` is a time of the monotonic clock.
    """

    file: int
    event: int
    deadline: float

    @property
    def milliseconds_left(self) -> float | None:
        """The milliseconds until the deadline, for poll(2), or None if there's no deadline."""
        return None if self.deadline == math.inf else max(0.0, self.deadline - time.monotonic()) * 1000


SmtpSteps = Generator[SocketWait, None, T]


def run_steps(steps: SmtpSteps[T]) -> T:
    """Run all steps, waiting after each one, and return their result."""
    while True:
        try:
            wait = next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        poll = select.poll()
        poll.register(wait.file, wait.event)
        poll.poll(wait.milliseconds_left)


_ADDRESS = re.compile(r"[!-;=?-~]+@[!-;=?-~]+")  # no spaces, angle brackets, or line breaks


@dataclass(frozen=True, slots=True)
class SmtpTimeouts:
    """The number of seconds that a server may take, from the last write to the complete reply."""

    connect: float = CONNECT_TIMEOUT
    command: float = COMMAND_TIMEOUT
    final: float = FINAL_REPLY_TIMEOUT

    @property
    def max_per_message(self) -> float:
        """The maximum time for one message, which may take two connections if the first one fails."""
        return 2 * (self.connect + 3 * self.command) + self.final


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """The server that email is submitted to.

    `tls_mode` is "starttls", "implicit" (RFC 8314, section 3.3), or "off" (loopback only).
    `settings_place` says where DIGEST_MAIL_URL is set, for error messages.
    """

    host: str
    port: int
    tls_mode: str
    user: str = ""
    password: str = field(default="", repr=False)
    ca_file: Path | None = None  # additional certificate authorities to trust
    messages_per_connection: int = 100  # then QUIT
    timeouts: SmtpTimeouts = SmtpTimeouts()
    settings_place: str = "digest.env"


@dataclass(frozen=True, slots=True)
class SmtpEnvelope:
    """The sender, the recipient, and the ID for delivery reports to quote."""

    sender: str
    recipient: str
    id: str

    @property
    def is_valid(self) -> bool:
        """True if both addresses can be used in a command without being parsed as something else."""
        return bool(_ADDRESS.fullmatch(self.sender) and _ADDRESS.fullmatch(self.recipient))


@dataclass(frozen=True, slots=True)
class SmtpReply:
    """The server's reply to a command."""

    command: str
    code: int
    text: bytes

    @property
    def is_expected(self) -> bool:
        """True if the reply allows the next step."""
        return self.code in _EXPECTED_CODES[self.command]


class SmtpConnection(smtplib.SMTP):
    """An SMTP connection that shares its thread with other connections.

    A socket's timeout restarts with every byte, so a server that trickles its reply could block us
    forever. Here, the time counts from the last write to the end of the reply. Once the connection
    is open (`stop_blocking`), a write or read is a single system call, with a wait only if it would
    block. A socket with a timeout would wait before each call.
    """

    timeouts = SmtpTimeouts()
    _reply_timeout: float | None = None
    _last_write_at = 0.0
    _is_open = False
    _received = b""
    _received_from: socket.socket | None = None

    def offer_envelope(self, envelope: SmtpEnvelope) -> SmtpSteps[SmtpReply]:
        """Send MAIL, RCPT, and DATA, in a single write if possible.

        Return the first refusal, or the 354 that DATA got.

        Raises:
            OSError: the connection broke before the server replied. The data wasn't sent.
        """
        commands = _commands_for_envelope(envelope, dsn=self.has_extn("dsn"))
        self.set_reply_timeout(self.timeouts.command)
        if self.has_extn("pipelining"):
            yield from self._write(b"".join(line for _, line in commands))
            usual = yield from self._take_usual_replies()
            return usual or (yield from self._read_each_reply())
        reply = SmtpReply("MAIL", NO_REPLY, b"")
        for verb, line in commands:
            yield from self._write(line)
            reply = SmtpReply(verb, *(yield from self._read_reply()))
            if not reply.is_expected:
                break
        return reply

    def run_command(self, verb: str) -> SmtpSteps[int]:
        """Send a command without arguments, and return the code of the reply.

        Raises:
            OSError: the connection broke.
        """
        yield from self._write(f"{verb}\r\n".encode("ascii"))
        code, _ = yield from self._read_reply()
        return code

    def _take_usual_replies(self) -> SmtpSteps[SmtpReply | None]:
        """Return the 354 reply to DATA if all three replies have arrived as single lines without a refusal.

        Otherwise, keep the replies to be read one by one.
        """
        deadline = self._reply_deadline()
        if not self._received:
            yield from self._receive_more(deadline)
        usual = _USUAL_REPLIES.fullmatch(self._received)
        if usual is None:
            return None
        self._received = b""
        return SmtpReply("DATA", 354, usual[1])

    def _read_each_reply(self) -> SmtpSteps[SmtpReply]:
        replies: list[SmtpReply] = []
        for verb in _EXPECTED_CODES:  # replies come in the order of the commands, so all are read
            try:
                replies.append(SmtpReply(verb, *(yield from self._read_reply())))
            except OSError:
                if all(reply.is_expected for reply in replies):
                    raise
                break
            if replies[-1].code == NO_REPLY:
                break
        refusals = [reply for reply in replies if not reply.is_expected]
        if refusals and replies[-1].command == "DATA" and replies[-1].is_expected:
            yield from self._abort_empty_data(replies)
        return refusals[0] if refusals else replies[-1]

    def _abort_empty_data(self, replies: list[SmtpReply]) -> SmtpSteps[None]:
        """End a transaction whose DATA the server accepted despite a refusal.

        This takes a lone dot (RFC 2920, section 3.1). If the server accepted the recipient after
        rejecting the sender, the dot would deliver an empty message, so hang up instead.
        """
        try:
            if not replies[1].is_expected:
                yield from self._write(FINAL_DOT)
                yield from self._read_reply()
                return
        except OSError:
            pass
        self.close()  # makes the next command fail

    def set_reply_timeout(self, seconds: float) -> None:
        """Set the timeout of all following steps, counted from the last write."""
        self._reply_timeout = seconds

    def stop_blocking(self) -> None:
        """Make the socket nonblocking.

        Call this once the connection is open, encrypted, and signed in.
        """
        assert self.sock is not None
        self.sock.settimeout(0)
        self._is_open = True

    def send(self, s: bytes | str) -> None:  # type: ignore[override]  # typeshed says ReadableBuffer | str
        """Write data and note the time, because the server's time to reply counts from then.

        Raises:
            smtplib.SMTPServerDisconnected: the connection is closed or broke, or the server
                accepted nothing for too long.
        """
        run_steps(self._write(s.encode(self.command_encoding) if isinstance(s, str) else s))

    def send_data(self, data: bytes) -> SmtpSteps[None]:
        """Send a message without its final dot. `send_final_dot` must follow immediately.

        Raises:
            OSError: the connection broke.
        """
        # Hold back the last packet for the dot. TLS forms its own packets.
        return self._write(data, 0 if isinstance(self.sock, ssl.SSLSocket) else socket.MSG_MORE)

    def send_final_dot(self) -> SmtpSteps[None]:
        """Complete a message.

        A message marked before this counts as sent if the process is killed, so as little as
        possible happens in between: a socket's `send` would first check whether it can write, and
        another thread might run.

        Raises:
            OSError: the connection broke.
        """
        written = 0
        if self.sock is not None and not isinstance(self.sock, ssl.SSLSocket):
            with suppress(BlockingIOError):
                written = os.write(self.sock.fileno(), FINAL_DOT)
            self._last_write_at = time.monotonic()
        if written < len(FINAL_DOT):
            yield from self._write(FINAL_DOT[written:])

    def read_final_reply(self) -> SmtpSteps[tuple[int, bytes]]:
        """Read the reply to a message, as `getreply` does."""
        self.set_reply_timeout(self.timeouts.final)
        return self._read_reply()

    def getreply(self) -> tuple[int, bytes]:
        """Read a reply within the timeout.

        Return its code, which is -1 if it has none, and its text.

        Raises:
            smtplib.SMTPServerDisconnected: the reply took too long, or the connection
                broke.
            smtplib.SMTPResponseException: a line was too long.
        """
        return run_steps(self._read_reply())

    def _read_reply(self) -> SmtpSteps[tuple[int, bytes]]:
        deadline = self._reply_deadline()
        texts = []
        while True:
            line = yield from self._read_line(deadline)
            texts.append(line[4:].strip(b" \t\r\n"))
            code = int(line[:3]) if line[:3].isdigit() else NO_REPLY
            if code == NO_REPLY or line[3:4] != b"-":
                return code, b"\n".join(texts)

    def _reply_deadline(self) -> float:
        """Return the deadline for the next reply."""
        now = time.monotonic()
        if self._received_from is not self.sock:
            # For a greeting, or the first reply after STARTTLS, discard what was received
            # unencrypted before it.
            self._received, self._received_from, self._last_write_at = b"", self.sock, now
        return max(self._last_write_at + self._effective_timeout, now + MIN_READ_TIMEOUT)

    def _read_line(self, deadline: float) -> SmtpSteps[bytes]:
        while True:
            line, end, remainder = self._received.partition(b"\n")
            if end:
                self._received = remainder
                return line
            if len(line) > MAX_REPLY_LINE:
                self.close()
                raise smtplib.SMTPResponseException(500, "The mail server's reply line is too long.")
            yield from self._receive_more(deadline)

    def _receive_more(self, deadline: float) -> SmtpSteps[None]:
        """Receive more data before the deadline, and append it to what was already received."""
        try:
            received = yield from self._receive(deadline)
        except OSError as exc:
            self.close()
            raise smtplib.SMTPServerDisconnected(f"the connection closed unexpectedly: {exc}") from exc
        if not received:
            self.close()
            raise smtplib.SMTPServerDisconnected("the connection closed unexpectedly")
        self._received += received

    def _receive(self, deadline: float) -> SmtpSteps[bytes]:
        """Read what arrives before the deadline, assuming that everything before it has been read."""
        assert self.sock is not None
        if self._is_open:
            yield SocketWait(self.sock.fileno(), select.POLLIN, deadline)
        while True:
            if not self._is_open:
                self.sock.settimeout(_seconds_until(deadline))
            try:
                return self.sock.recv(READ_SIZE)
            except (BlockingIOError, ssl.SSLWantReadError):
                yield self._wait_for(select.POLLIN, deadline)
            except ssl.SSLWantWriteError:
                yield self._wait_for(select.POLLOUT, deadline)

    def _write(self, data: bytes, flags: int = 0) -> SmtpSteps[None]:
        """Write all of the data."""
        if self.sock is None:
            raise smtplib.SMTPServerDisconnected("call connect() first")
        deadline = time.monotonic() + self._effective_timeout
        try:
            written = yield from self._write_some(data, flags, deadline)
            while written < len(data):
                written += yield from self._write_some(memoryview(data)[written:], flags, deadline)
        except OSError as exc:
            self.close()
            raise smtplib.SMTPServerDisconnected("the server isn't connected") from exc
        self._last_write_at = time.monotonic()

    def _write_some(self, data: bytes | memoryview, flags: int, deadline: float) -> SmtpSteps[int]:
        """Write as much as the socket accepts, and return the number of bytes written.

        If the socket doesn't accept anything, wait until it does.
        """
        assert self.sock is not None
        while True:
            if not self._is_open:
                self.sock.settimeout(_seconds_until(deadline))
            try:
                return self.sock.send(data, flags)
            except (BlockingIOError, ssl.SSLWantWriteError):
                yield self._wait_for(select.POLLOUT, deadline)
            except ssl.SSLWantReadError:
                yield self._wait_for(select.POLLIN, deadline)

    def _wait_for(self, event: int, deadline: float) -> SocketWait:
        """Return a wait that ends when the socket is readable or writable, or has failed.

        Raises:
            TimeoutError: the deadline has passed.
        """
        assert self.sock is not None
        _seconds_until(deadline)
        return SocketWait(self.sock.fileno(), event, deadline)

    @property
    def _effective_timeout(self) -> float:
        return self._reply_timeout if self._reply_timeout is not None else self.timeout


def _seconds_until(deadline: float) -> float:
    """Return the seconds until the deadline. Raise TimeoutError if it has passed."""
    seconds_left = deadline - time.monotonic()
    if seconds_left <= 0:
        raise TimeoutError("the response took too long")
    return seconds_left


class TlsSmtpConnection(SmtpConnection, smtplib.SMTP_SSL):
    """An SMTP connection that uses TLS from the first byte (RFC 8314, section 3.3)."""


def _commands_for_envelope(envelope: SmtpEnvelope, *, dsn: bool) -> list[tuple[str, bytes]]:
    # A report quotes the ID as Original-Envelope-Id. It includes only the headers, which are enough
    # to identify the message.
    mail, rcpt = (f" RET=HDRS ENVID={envelope.id}", " NOTIFY=FAILURE") if dsn else ("", "")
    return [
        ("MAIL", f"MAIL FROM:<{envelope.sender}>{mail}\r\n".encode("ascii")),
        ("RCPT", f"RCPT TO:<{envelope.recipient}>{rcpt}\r\n".encode("ascii")),
        ("DATA", b"DATA\r\n"),
    ]


def connect_smtp(server: SmtpServer, context: ssl.SSLContext | None) -> SmtpConnection:
    """Connect, encrypt, and sign in. With "starttls", only the greeting is unencrypted.

    `context` may be None only if TLS is off, because smtplib would otherwise trust any certificate.

    Raises:
        OSError: an error from smtplib, `ssl`, or `socket`. The connection is closed.
    """
    assert context is not None or server.tls_mode == "off", "TLS without verifying the certificate protects nothing"
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
        # Disable Nagle's algorithm: the end of a message must not wait for the acknowledgment of its start.
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.stop_blocking()
    except BaseException:
        connection.close()
        raise
    return connection


@cache
def _greeting_name() -> str:
    """Return the name for EHLO, which smtplib would otherwise look up in DNS for every connection."""
    return str(smtplib.SMTP().local_hostname)
