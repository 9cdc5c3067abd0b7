"""SMTP (RFC 5321): one recipient a transaction, TLS or nothing, and always known how far a message got."""

import smtplib  # its errors are all OSErrors
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from digest.deliver.handing import Handed, Outcome, Outgoing, Result
from digest.deliver.replies import scrub

_CONNECT = 30.0  # seconds for connecting, and for each line of the greeting
_COMMAND = 300.0  # RFC 5321, 4.5.3.2: MAIL, RCPT and the data itself
_FINAL = 600.0  # and after the final dot, where a server may well be busy
_BROKEN = -1  # smtplib's code for a reply that is none


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


class _Refusal(Exception):  # noqa: N818 - it is no error of ours: the server said no
    """The server will not go on with anything; the message is fit for the operator."""


class Smtp:
    """One connection, opened when it is needed, used for many messages, closed with QUIT."""

    name = "smtp"
    batch = 1
    patience = 2 * (_CONNECT + 3 * _COMMAND) + _FINAL

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection: smtplib.SMTP | None = None
        self._used = 0

    def hand_all(self, messages: Sequence[Outgoing]) -> Handed:
        """Hand messages over, one after the other."""
        outcomes: list[Outcome] = []
        stop = ""
        for message in messages:
            if stop:
                outcomes.append(Outcome(Result.UNTOUCHED))
                continue
            try:
                outcomes.append(self._hand(message))
            except _Refusal as refusal:
                stop = str(refusal)
                outcomes.append(Outcome(Result.UNTOUCHED, stop))
        return Handed(tuple(outcomes), stop=stop)

    def close(self) -> None:
        """Say QUIT and hang up."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.quit()
            except OSError:
                connection.close()

    def _hand(self, message: Outgoing) -> Outcome:
        """Hand one message over.

        A connection that had served before may have been closed by the other side meanwhile. What fails on it
        before the data goes out is tried once more, on a new one: nothing can have been accepted.
        """
        fresh = self._connection is None
        outcome = self._transact(message)
        if outcome is None and not fresh:
            outcome = self._transact(message)
        return outcome or Outcome(Result.LATER, "the server closed the connection before it took the message")

    def _transact(self, message: Outgoing) -> Outcome | None:
        """Run one mail transaction; None says that the connection broke while nothing was at stake."""
        connection = self._connected()
        try:
            refused = self._envelope(connection, message)
            if refused is not None:
                return refused
            # smtplib's `data` would hide whether it failed before or after the final dot.
            connection.send(_dotted(message.message()))
        except OSError:
            self._hang_up()  # had the final dot gone out, `send` would not have failed
            return None
        return self._verdict(connection, message)

    def _envelope(self, connection: smtplib.SMTP, message: Outgoing) -> Outcome | None:
        """Say MAIL, RCPT and DATA; give what refuses the message, or None to go on."""
        code, reply = connection.mail(message.return_path)
        if code != 250:
            return self._sender_refused(code, reply)
        code, reply = connection.rcpt(message.address)
        if code not in {250, 251}:
            return self._refused(code, reply, message)
        code, reply = connection.docmd("DATA")
        return None if code == 354 else self._refused(code, reply, message)

    def _sender_refused(self, code: int, reply: bytes) -> Outcome:
        """A refusal at MAIL is about us: offering the other messages would spoil them all."""
        said = f"{code} {scrub(reply)}"
        self._hang_up()
        if code >= 500:
            raise _Refusal(f"the server refuses the sender: {said}. Put sender.address or the account right.")
        return Outcome(Result.LATER, said)

    def _refused(self, code: int, reply: bytes, message: Outgoing) -> Outcome:
        said = f"{code} {scrub(reply, message.address)}"
        if code in {421, _BROKEN}:
            self._hang_up()
        else:
            self._reset()
        if code in {530, 535, 538}:
            self._hang_up()
            raise _Refusal(f"the server wants a sign-in: {said}. Put user and password into DIGEST_MAIL_URL.")
        return Outcome(Result.REFUSED if 500 <= code < 600 else Result.LATER, said)

    def _verdict(self, connection: smtplib.SMTP, message: Outgoing) -> Outcome:
        """Wait for the word after the final dot. Without one nobody knows (RFC 1047)."""
        try:
            _patience(connection, _FINAL)
            code, reply = connection.getreply()
            _patience(connection, _COMMAND)
        except OSError:
            code, reply = _BROKEN, b""
        said = f"{code} {scrub(reply, message.address)}"
        self._used += 1
        if code == _BROKEN:
            self._hang_up()
            return Outcome(Result.UNCERTAIN, "no answer after the whole message was sent")
        if self._used >= self._server.messages:
            self.close()
        elif code == 421:
            self._hang_up()
        if 200 <= code < 300:
            return Outcome(Result.ACCEPTED, said)
        return Outcome(Result.REFUSED if code >= 500 else Result.LATER, said)

    def _connected(self) -> smtplib.SMTP:
        if self._connection is None:
            try:
                self._connection = _connect(self._server)
            except smtplib.SMTPAuthenticationError as exc:
                said = f"{exc.smtp_code} {scrub(exc.smtp_error)}"
                raise _Refusal(f"the server refuses the sign-in: {said}. Check DIGEST_MAIL_URL.") from None
            except ssl.SSLError as exc:
                why = getattr(exc, "verify_message", "") or exc.reason or "no TLS"
                raise _Refusal(f"no trusted TLS with {self._server.host}: {why}.") from None
            except smtplib.SMTPNotSupportedError as exc:
                raise _Refusal(f"{self._server.host}: {exc} Nothing is sent in the clear.") from None
            except OSError as exc:
                why = getattr(exc, "strerror", None) or scrub(str(exc)) or type(exc).__name__
                where = f"{self._server.host}:{self._server.port}"
                raise _Refusal(f"no connection to {where}: {why}. Send again when it is back.") from None
            self._used = 0
        return self._connection

    def _reset(self) -> None:
        try:
            if self._connection is not None and self._connection.rset()[0] == 250:
                return
        except OSError:
            pass
        self._hang_up()

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _connect(server: Server) -> smtplib.SMTP:
    """Connect, secure and sign in; with `starttls` nothing is said in the clear but the greeting."""
    context = ssl.create_default_context(cafile=server.authorities)
    if server.tls == "implicit":
        connection: smtplib.SMTP = smtplib.SMTP_SSL(
            server.host, server.port, timeout=_CONNECT, context=context
        )
    else:
        connection = smtplib.SMTP(server.host, server.port, timeout=_CONNECT)
    try:
        connection.ehlo_or_helo_if_needed()
        if server.tls == "starttls":
            connection.starttls(context=context)
            connection.ehlo_or_helo_if_needed()
        if server.user:
            connection.login(server.user, server.password)
        _patience(connection, _COMMAND)
    except BaseException:
        connection.close()
        raise
    return connection


def _patience(connection: smtplib.SMTP, seconds: float) -> None:
    if connection.sock is not None:
        connection.sock.settimeout(seconds)


def _dotted(message: bytes) -> bytes:
    """Close the message with the final dot, and double a dot that starts a line (RFC 5321, 4.5.2).

    No encoded line starts with one (`encoding` sees to it), but a header field might.
    """
    body = message.replace(b"\r\n.", b"\r\n..")
    return body + b".\r\n" if body.endswith(b"\r\n") else body + b"\r\n.\r\n"
