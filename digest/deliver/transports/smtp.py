"""SMTP (RFC 5321): one recipient a transaction, TLS or nothing, and always known how far a message got."""

import smtplib  # its errors are all OSErrors
import ssl
from collections.abc import Generator, Sequence
from functools import cached_property

from digest.deliver.dkim import Signer
from digest.deliver.handing import Handed, Outcome, Outgoing, Result
from digest.deliver.replies import scrub
from digest.deliver.transports.wire import (
    BROKEN,
    Answer,
    Envelope,
    Server,
    Wire,
    connect,
)

__all__ = ["Refusal", "Server", "Smtp", "Steps"]


Steps = Generator[None, None, Outcome]


class Refusal(Exception):  # noqa: N818 - it is no error of ours: the server said no
    """The server will not go on with anything; the message is fit for the operator.

    With `here_alone` it may go on with another connection: there are too many, or one broke.
    """

    def __init__(self, why: str, *, here_alone: bool = False) -> None:
        super().__init__(why)
        self.here_alone = here_alone


class Smtp:
    """One connection, opened when it is needed, used for many messages, closed with QUIT."""

    name = "smtp"
    batch = 1

    def __init__(self, server: Server, signer: Signer | None = None) -> None:
        self._server = server
        self._signer = signer
        self._connection: Wire | None = None
        self._used = 0

    @property
    def patience(self) -> float:
        """The seconds that one message may take."""
        return self._server.limits.whole

    def hand_all(self, messages: Sequence[Outgoing]) -> Handed:
        """Hand messages over, one after the other."""
        outcomes: list[Outcome] = []
        for message in messages:
            try:
                outcomes.append(_finish(self.steps(message)))
            except Refusal as refusal:
                stop = str(refusal)
                outcomes.append(Outcome(Result.UNTOUCHED, stop))
                outcomes += [Outcome(Result.UNTOUCHED)] * (len(messages) - len(outcomes))
                return Handed(tuple(outcomes), stop=stop, here_alone=refusal.here_alone)
        return Handed(tuple(outcomes))

    def close(self) -> None:
        """Say QUIT and hang up."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.allow(connection.limits.connect)  # a goodbye is not worth more
            try:
                connection.quit()
            except OSError:
                connection.close()

    def steps(self, message: Outgoing) -> Steps:
        """Hand one message over, pausing wherever the server has to answer: meanwhile others can go on.

        A connection that had served before may have been closed by the other side meanwhile. What fails on it
        before the data goes out is tried once more, on a new one: nothing can have been accepted.

        Raises:
            Refusal: the server, or this connection, takes nothing at all.
        """
        envelope = Envelope(message.return_path, message.address, message.delivery)
        if not envelope.sound:
            return Outcome(Result.REFUSED, "the address cannot stand in an SMTP command")
        data = self._data(message)
        fresh = self._connection is None
        outcome = yield from self._transact(envelope, data)
        if outcome is None and not fresh:
            outcome = yield from self._transact(envelope, data)
        return outcome or Outcome(Result.LATER, "the server closed the connection before it took the message")

    def _data(self, message: Outgoing) -> bytes:
        """Give what follows DATA: dots that start a line doubled (RFC 5321, 4.5.2), and the final dot."""
        data = message.message(self._signer)
        if not message.letter.dotless:
            data = data.replace(b"\r\n.", b"\r\n..")
        return data + (b".\r\n" if data.endswith(b"\r\n") else b"\r\n.\r\n")

    def _transact(self, envelope: Envelope, data: bytes) -> Generator[None, None, Outcome | None]:
        """Run one mail transaction; None says that the connection broke while nothing was at stake."""
        connection = self._connected()
        try:
            connection.offer(envelope)
            yield
            answer = connection.answer()
            if not answer.good:
                return self._refused(answer, envelope.recipient)
            connection.allow(connection.limits.command)
            # smtplib's `data` would hide whether it failed before or after the final dot.
            connection.send(data)
        except OSError:
            self._hang_up()  # had the final dot gone out, `send` would not have failed
            return None
        yield
        return self._verdict(connection, envelope.recipient)

    def _refused(self, answer: Answer, address: str) -> Outcome:
        said = f"{answer.code} {scrub(answer.reply, address)}"
        if answer.verb == "MAIL":
            return self._sender_refused(answer.code, said)
        if answer.code in {421, BROKEN}:
            self._hang_up()
        else:
            self._reset()
        if answer.code in {530, 535, 538}:
            self._hang_up()
            raise Refusal(f"the server wants a sign-in: {said}. Put user and password into DIGEST_MAIL_URL.")
        return Outcome(Result.REFUSED if 500 <= answer.code < 600 else Result.LATER, said)

    def _sender_refused(self, code: int, said: str) -> Outcome:
        """A refusal at MAIL is about us: offering the other messages would spoil them all."""
        self._hang_up()
        if code >= 500:
            raise Refusal(f"the server refuses the sender: {said}. Put sender.address or the account right.")
        return Outcome(Result.LATER, said)

    def _verdict(self, connection: Wire, address: str) -> Outcome:
        """Wait for the word after the final dot. Without one nobody knows (RFC 1047)."""
        try:
            connection.allow(connection.limits.final)
            code, reply = connection.getreply()
        except OSError:
            code, reply = BROKEN, b""
        said = f"{code} {scrub(reply, address)}"
        self._used += 1
        if code == BROKEN:
            self._hang_up()
            return Outcome(Result.UNCERTAIN, "no answer after the whole message was sent")
        if self._used >= self._server.messages:
            self.close()
        elif code == 421:
            self._hang_up()
        if 200 <= code < 300:
            return Outcome(Result.ACCEPTED, said)
        return Outcome(Result.REFUSED if code >= 500 else Result.LATER, said)

    @cached_property
    def _context(self) -> ssl.SSLContext | None:
        """What TLS trusts; loading the authorities takes longer than a message."""
        if self._server.tls == "off":
            return None
        return ssl.create_default_context(cafile=self._server.authorities)

    def _connected(self) -> Wire:
        if self._connection is None:
            try:
                self._connection = connect(self._server, self._context)
            except smtplib.SMTPAuthenticationError as exc:
                said = f"{exc.smtp_code} {scrub(exc.smtp_error)}"
                raise Refusal(f"the server refuses the sign-in: {said}. Check DIGEST_MAIL_URL.") from None
            except ssl.SSLError as exc:
                why = getattr(exc, "verify_message", "") or exc.reason or "no TLS"
                raise Refusal(f"no trusted TLS with {self._server.host}: {why}.") from None
            except smtplib.SMTPNotSupportedError as exc:
                raise Refusal(f"{self._server.host}: {exc} Nothing is sent in the clear.") from None
            except OSError as exc:
                why = getattr(exc, "strerror", None) or scrub(str(exc)) or type(exc).__name__
                where = f"{self._server.host}:{self._server.port}"
                again = f"no connection to {where}: {why}. Send again when it is back."
                raise Refusal(again, here_alone=True) from None
            self._used = 0
        return self._connection

    def _reset(self) -> None:
        try:
            if self._connection is not None:
                self._connection.allow(self._connection.limits.command)
                if self._connection.rset()[0] == 250:
                    return
        except OSError:
            pass
        self._hang_up()

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _finish(steps: Steps) -> Outcome:
    """Take all steps at once, waiting for the server at each."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome
