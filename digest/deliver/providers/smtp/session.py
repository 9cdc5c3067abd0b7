"""An SMTP session (RFC 5321, section 3) with one recipient per transaction.

TLS is required, and progress is recorded.
"""

import os
import select
import smtplib  # all of its errors are OSErrors
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from math import inf

from digest.deliver.events.server_replies import scrub_addresses
from digest.deliver.events.smtp_blame import BlamedParty, ReplyConsequence, SmtpStage, judge_reply
from digest.deliver.providers.base import (
    LEASE_EXPIRED,
    HandoverRecorder,
    HandoverStatus,
    MessageOutcome,
    OutgoingMessage,
)
from digest.deliver.providers.certificates import read_certificate_end
from digest.deliver.providers.kind import MailServerCheckResult
from digest.deliver.providers.smtp.connection import (
    NO_REPLY,
    SmtpConnection,
    SmtpEnvelope,
    SmtpReply,
    SmtpServer,
    SmtpSteps,
    SocketWait,
    connect_smtp,
)
from digest.settings import is_loopback
from subscribers.errors import ApplicationError

# OpenSSL's codes for certificates that aren't trusted (X509_V_ERR_…).
_EXPIRED, _OTHER_NAME, _OTHER_IP_ADDRESS = 10, 62, 64
TLS_PORT = 465  # see RFC 8314, section 3.3
QUIT_TIMEOUT = 5.0  # seconds; a reply to QUIT isn't worth waiting for longer


class SmtpSessionError(ApplicationError):
    """Raised when the server doesn't accept any more messages. The text is for the operator.

    If `this_connection_only` is true, the server may accept them over a different connection: there
    are too many, or this one broke. If `is_busy` is true, it may accept them in a few seconds.
    """

    def __init__(
        self,
        reason: str,
        *,
        remedy: str = "",
        this_connection_only: bool = False,
        is_busy: bool = False,
    ) -> None:
        super().__init__(reason, remedy=remedy)
        self.this_connection_only = this_connection_only
        self.is_busy = is_busy


class SmtpConnector:
    """An opener of connections to a server. Thread-safe."""

    def __init__(self, server: SmtpServer, trusted: ssl.SSLContext | None = None) -> None:
        self.server = server
        self._trusted = trusted

    @cached_property
    def _tls_context(self) -> ssl.SSLContext | None:
        """The TLS context, cached because loading the certificate authorities takes longer than sending a message."""
        if self.server.tls_mode == "off":
            return None
        return self._trusted or ssl.create_default_context(cafile=self.server.ca_file)

    @property
    def _place(self) -> str:
        return f"{self.server.host}:{self.server.port}"

    @property
    def _url_place(self) -> str:
        return f"DIGEST_MAIL_URL ({self.server.settings_place})"

    @property
    def sign_in_remedy(self) -> str:
        """The remedy for a rejected sign-in."""
        scheme = "smtps" if self.server.tls_mode == "implicit" else "smtp"
        return (
            f"Correct the user and password in the line DIGEST_MAIL_URL of {self.server.settings_place}, in the "
            f"form {scheme}://USER:PASSWORD@{self._place}."
        )

    def connect(self) -> SmtpConnection:
        """Connect, encrypt, and sign in.

        Raises:
            SmtpSessionError: one of these steps failed.
        """
        try:
            return connect_smtp(self.server, self._tls_context)
        except OSError as exc:
            raise self._explain_failure(exc) from None

    def _explain_failure(self, error: OSError) -> SmtpSessionError:
        """Return an error that explains a failed connection, according to its cause."""
        match error:
            case smtplib.SMTPAuthenticationError():
                reply = f"{error.smtp_code} {scrub_addresses(error.smtp_error)}"
                return SmtpSessionError(
                    f"{self._place} rejected the sign-in: {reply.rstrip('.')}.",
                    remedy=self.sign_in_remedy,
                    this_connection_only=judge_reply(SmtpStage.AUTH, reply).handling
                    is ReplyConsequence.DROP_CONNECTION,
                )
            case ssl.SSLError():
                return self._explain_tls_failure(error)
            case smtplib.SMTPNotSupportedError() if "AUTH" in str(error):
                return SmtpSessionError(
                    f"{self._place} doesn't offer sign-in on this connection.",
                    remedy=f"In {self._url_place}, remove the user and password, or use the port for signing in (587) with TLS.",
                )
            case smtplib.SMTPNotSupportedError():
                here = ", or add ?starttls=off for a server on this machine" if is_loopback(self.server.host) else ""
                return SmtpSessionError(
                    f"{self._place} doesn't offer encryption (STARTTLS).",
                    remedy=f"In {self._url_place}, use a port that does (usually 587), or smtps:// with port 465{here}.",
                )
            case smtplib.SMTPException() if "authentication method" in str(error):
                return SmtpSessionError(
                    f"{self._place} offers no way to sign in with a user and password (CRAM-MD5, PLAIN, or LOGIN).",
                    remedy="Ask your mail provider for a server or an app password for sending from programs.",
                )
        cause = getattr(error, "strerror", None) or scrub_addresses(str(error)) or type(error).__name__
        remedy = (
            f"Start the mail server, have firewalls allow the port, or correct the host and port in {self._url_place}."
        )
        if self.server.port == TLS_PORT and self.server.tls_mode != "implicit":
            remedy = f"Use smtps:// in {self._url_place}, because servers expect TLS from the start on port 465."
        return SmtpSessionError(
            f"couldn't connect to {self._place}: {cause.rstrip('.')}.", remedy=remedy, this_connection_only=True
        )

    def _explain_tls_failure(self, error: ssl.SSLError) -> SmtpSessionError:
        if error.reason == "WRONG_VERSION_NUMBER":
            return SmtpSessionError(
                f"{self._place} doesn't use TLS from the start.",
                remedy=f"In {self._url_place}, use smtp:// instead of smtps://, or port 465.",
            )
        cause = getattr(error, "verify_message", "") or error.reason or "no TLS"
        remedies = {
            _EXPIRED: "Renew the server's certificate, or ask its operator to renew it.",
            _OTHER_NAME: f"In {self._url_place}, use the name in the server's certificate.",
            _OTHER_IP_ADDRESS: f"In {self._url_place}, use the name in the server's certificate.",
        }
        own_authority = (
            f"If you have your own certificate authority, add ca=FILE with its certificates to {self._url_place}: smtp://…?ca=FILE. "
            "Otherwise, the server needs a certificate from a public one."
        )
        return SmtpSessionError(
            f"couldn't establish a trusted TLS connection to {self.server.host}: {cause.rstrip('.')}.",
            remedy=remedies.get(getattr(error, "verify_code", 0), own_authority),
        )

    def connect_in_thread(self) -> SmtpSteps[SmtpConnection]:
        """Connect in a separate thread, because the name lookup, TLS, and the greeting can be slow."""
        attempt = _ConnectionAttempt(self.connect)
        try:
            yield SocketWait(attempt.is_over, select.POLLIN, inf)
            return attempt.take_connection()
        finally:
            attempt.abandon()

    def examine(self) -> MailServerCheckResult:
        """Connect, encrypt, sign in, and say QUIT, without handing over anything.

        Raises:
            SmtpSessionError: one of these steps failed.
        """
        connection = self.connect()
        greeting = (connection.ehlo_resp or b"").split(maxsplit=1)
        secured = connection.sock if isinstance(connection.sock, ssl.SSLSocket) else None
        facts = MailServerCheckResult(
            greeting[0].decode("ascii", "replace").lower() if greeting else "",
            read_certificate_end(secured.getpeercert()) if secured else None,
        )
        with suppress(OSError):
            connection.quit()
        return facts


class _ConnectionAttempt:
    """A thread's attempt to open a connection.

    The file `is_over` becomes readable when the attempt succeeds or fails.
    """

    def __init__(self, connect: Callable[[], SmtpConnection]) -> None:
        self.is_over, self._signal = os.pipe()
        self._lock = threading.Lock()
        self._is_abandoned = False
        self._connection: SmtpConnection | None = None
        self._error: BaseException | None = None
        # A daemon thread, because an interruption must not wait for the server's greeting.
        threading.Thread(target=self._run, args=(connect,), name="connect", daemon=True).start()

    def _run(self, connect: Callable[[], SmtpConnection]) -> None:
        try:
            self._connection = connect()
        except BaseException as exc:  # noqa: BLE001 - reraised by the waiting thread
            self._error = exc
        os.close(self._signal)
        with self._lock:
            if self._is_abandoned and self._connection:
                self._connection.close()

    def take_connection(self) -> SmtpConnection:
        """Return the connection that a finished attempt opened, or raise its error."""
        if self._error is not None:
            raise self._error
        assert self._connection is not None, "it is over"
        connection, self._connection = self._connection, None
        return connection

    def abandon(self) -> None:
        """Close a connection that won't be used, now or as soon as it's open."""
        os.close(self.is_over)
        with self._lock:
            self._is_abandoned = True
            if self._connection:
                self._connection.close()


class SmtpSession:
    """A connection that's opened on demand, used for many messages, and closed with QUIT."""

    def __init__(self, connector: SmtpConnector, finish_message: Callable[[OutgoingMessage], bytes]) -> None:
        self._connector = connector
        self._finish_message = finish_message
        self._connection: SmtpConnection | None = None
        self.message_count = 0  # number of messages on this connection
        self._max_messages = connector.server.messages_per_connection  # the server may close connections earlier

    @property
    def is_open(self) -> bool:
        """True if the session is connected, as far as we know."""
        return self._connection is not None

    def send_message(self, message: OutgoingMessage, recorder: HandoverRecorder) -> SmtpSteps[MessageOutcome]:
        """Hand over a message, yielding while the server prepares a reply so that others can continue.

        The server may have closed a connection after earlier messages, or close it now (421).
        Therefore, a failure before the data is sent is retried once over a new connection, because
        nothing can have been accepted.

        Raises:
            SmtpSessionError: the server, or this connection, accepts nothing.
        """
        envelope = SmtpEnvelope(message.return_path, message.address, message.delivery_id)
        if not envelope.is_valid:
            return MessageOutcome(HandoverStatus.REFUSED, "the address can't be used in an SMTP command")
        data = self._smtp_data(message)
        if self.message_count >= self._max_messages:
            yield from self.quit()
        was_open = self.is_open
        outcome = yield from self._run_transaction(message, envelope, data, recorder)
        if outcome is None and was_open:
            outcome = yield from self._run_transaction(message, envelope, data, recorder)
        outcome = outcome or MessageOutcome(
            HandoverStatus.TRY_LATER, "the server closed the connection before it took the message"
        )
        recorder.mark_outcome(message, outcome)
        return outcome

    def _smtp_data(self, message: OutgoingMessage) -> bytes:
        """Return the data before the final dot, with leading dots doubled (RFC 5321, section 4.5.2)."""
        data = self._finish_message(message)
        if not message.template.needs_no_dot_stuffing:
            data = data.replace(b"\r\n.", b"\r\n..")
        return data if data.endswith(b"\r\n") else data + b"\r\n"

    def _run_transaction(
        self, message: OutgoingMessage, envelope: SmtpEnvelope, data: bytes, recorder: HandoverRecorder
    ) -> SmtpSteps[MessageOutcome | None]:
        """Run a mail transaction.

        Return None if the connection broke before anything could be accepted.
        """
        if self._connection is None:
            self._connection = yield from self._connector.connect_in_thread()
            self.message_count = 0
        connection = self._connection
        try:
            reply = yield from connection.offer_envelope(envelope)
            if not reply.is_expected:
                return (yield from self._handle_refusal(reply, envelope.recipient))
            connection.set_reply_timeout(connection.timeouts.command)
            # smtplib's `data` doesn't say whether it failed before or after the final dot.
            yield from connection.send_data(data)
            if not recorder.mark_sending(message):
                self.hang_up()  # within the data, so that the server discards it
                return MessageOutcome(HandoverStatus.NOT_TRIED, LEASE_EXPIRED)
            yield from connection.send_final_dot()
        except OSError:
            self.hang_up()
            recorder.mark_unsent(message)  # the message would have been accepted only after the final dot
            return None
        return (yield from self._read_final_outcome(connection, envelope.recipient))

    def _handle_refusal(self, reply: SmtpReply, address: str) -> SmtpSteps[MessageOutcome | None]:
        """Return the outcome of a message that wasn't accepted, or None if a new connection may accept it.

        Raises:
            SmtpSessionError: the server doesn't accept messages for now, or at all.
        """
        text = f"{reply.code} {scrub_addresses(reply.text, address)}"
        is_between = reply.code == 421 and self.message_count > 0
        handling = judge_reply(SmtpStage.BETWEEN if is_between else SmtpStage(reply.command), text).handling
        if reply.command == "MAIL" or reply.code in {421, NO_REPLY} or handling is ReplyConsequence.STOP:
            self.hang_up()
        else:
            yield from self._reset_transaction()
        if handling is ReplyConsequence.RECONNECT:
            self._max_messages = min(self._max_messages, self.message_count)
            return None
        if handling is ReplyConsequence.PAUSE:
            raise SmtpSessionError(f"the server isn't accepting email for now: {text}.", is_busy=True)
        if handling is ReplyConsequence.STOP:
            raise self._refuse_sender(reply.code, text)
        return _make_outcome(SmtpStage(reply.command), text)

    def _refuse_sender(self, code: int, text: str) -> SmtpSessionError:
        if code in {530, 535, 538}:
            return SmtpSessionError(f"the server requires a sign-in: {text}.", remedy=self._connector.sign_in_remedy)
        return SmtpSessionError(
            f"the server rejected the sender: {text}. Correct sender.address, or sign in with an account that may use it."
        )

    def _read_final_outcome(self, connection: SmtpConnection, address: str) -> SmtpSteps[MessageOutcome]:
        """Read the reply after the final dot.

        Without a reply, the outcome is uncertain (RFC 5321, section 6.1).
        """
        try:
            code, reply = yield from connection.read_final_reply()
        except OSError:
            code, reply = NO_REPLY, b""
        text = f"{code} {scrub_addresses(reply, address)}"
        self.message_count += 1
        if code == NO_REPLY:
            self.hang_up()
            return MessageOutcome(HandoverStatus.UNCERTAIN, "no response after the whole message was sent")
        if code == 421:
            self.hang_up()
        if 200 <= code < 300:
            return MessageOutcome(HandoverStatus.ACCEPTED, text)
        return _make_outcome(SmtpStage.DOT, text)

    def _reset_transaction(self) -> SmtpSteps[None]:
        with suppress(OSError):
            if self._connection is not None:
                self._connection.set_reply_timeout(self._connection.timeouts.command)
                if (yield from self._connection.run_command("RSET")) == 250:
                    return
        self.hang_up()

    def quit(self) -> SmtpSteps[None]:
        """Say QUIT and close the connection."""
        if self._connection is not None:
            self._connection.set_reply_timeout(min(QUIT_TIMEOUT, self._connection.timeouts.connect))
            with suppress(OSError):
                yield from self._connection.run_command("QUIT")
        self.hang_up()

    def hang_up(self) -> None:
        """Close the connection immediately. In the middle of a message, QUIT would become part of it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _make_outcome(stage: SmtpStage, reply: str) -> MessageOutcome:
    """Return the outcome of a message that a reply refuses, whether temporarily or permanently."""
    verdict = judge_reply(stage, reply)
    if verdict.handling in {ReplyConsequence.RETRY, ReplyConsequence.SLOW_DOWN}:
        slows_domain = verdict.handling is ReplyConsequence.SLOW_DOWN
        return MessageOutcome(HandoverStatus.TRY_LATER, reply, slows_domain=slows_domain)
    return MessageOutcome(
        HandoverStatus.REFUSED,
        reply,
        may_blame_message=verdict.handling is ReplyConsequence.SUSPECT,
        cause=verdict.cause,
        blames_domain=verdict.culprit is not BlamedParty.MESSAGE,
    )
