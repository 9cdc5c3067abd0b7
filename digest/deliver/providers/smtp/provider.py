"""SMTP (RFC 5321, section 3.3): one recipient a transaction, TLS or nothing, and it is always known how far a message got.

Several connections are moved in step by one thread. With a thread for each, Python's threads spend more time waiting for one another than for the server. A pool writes
to all its connections before it reads from the first; the slowest answer sets its pace.

A pool of few connections takes several messages for each at once while the server is quick: then a question for consent, and
a change of threads, serves as many messages as with many connections.
"""

import smtplib  # its errors are all OSErrors
import ssl
import time
from collections.abc import Callable, Generator, Sequence
from functools import cached_property

from digest.deliver.compose.dkim import DkimSigner
from digest.deliver.events.replies import scrub_addresses
from digest.deliver.events.smtp_blame import BlamedParty, ReplyHandling, SmtpStage, judge_reply
from digest.deliver.providers.base import (
    GROWN_BATCH_SIZE,
    LEASE_EXPIRED,
    BatchOutcome,
    HandoverRecorder,
    HandoverResult,
    MessageOutcome,
    OutgoingMessage,
    make_stopped_batch,
)
from digest.deliver.providers.certificates import read_certificate_end
from digest.deliver.providers.kind import MailServerFacts
from digest.deliver.providers.smtp.connection import (
    CONNECT_TIMEOUT,
    NO_REPLY,
    SmtpConnection,
    SmtpEnvelope,
    SmtpReply,
    SmtpServer,
    connect_smtp,
)
from subscribers.errors import ApplicationError
from subscribers.loggers import get_logger

SendSteps = Generator[None, None, MessageOutcome]


class SmtpSessionError(ApplicationError):
    """The server takes no further message; the text is for the operator.

    With `this_connection_only` it may take them over another connection: there are too many, or one broke. With
    `is_busy` it may take them in some seconds.
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


class SmtpProvider:
    """One connection, opened when it is needed, used for many messages, closed with QUIT."""

    name = "smtp"
    batch_size = 1

    def __init__(
        self, server: SmtpServer, signer: DkimSigner | None = None, *, trusted: ssl.SSLContext | None = None
    ) -> None:
        self._server = server
        self._trusted = trusted
        self._signer = signer
        self._connection: SmtpConnection | None = None
        self._messages_on_connection = 0
        self._max_messages = server.messages_per_connection  # the server may end connections earlier

    @property
    def batch_timeout(self) -> float:
        """The longest that one message may take, in seconds."""
        return self._server.timeouts.max_per_message

    def send_batch(self, messages: Sequence[OutgoingMessage], marks: HandoverRecorder) -> BatchOutcome:
        """Hand messages over, one after the other."""
        outcomes: list[MessageOutcome] = []
        for message in messages:
            try:
                outcomes.append(_run_all_steps(self.send_in_steps(message, marks)))
            except SmtpSessionError as refusal:
                outcomes.append(MessageOutcome(HandoverResult.NOT_TRIED, str(refusal)))
                return make_stopped_batch(
                    outcomes,
                    len(messages),
                    "" if refusal.is_busy else str(refusal),
                    this_connection_only=refusal.this_connection_only,
                    is_busy=refusal.is_busy,
                )
        return BatchOutcome(tuple(outcomes))

    def close(self) -> None:
        """Say QUIT and hang up."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.set_reply_timeout(connection.timeouts.connect)  # QUIT is not worth waiting longer
            try:
                connection.quit()
            except OSError:
                connection.close()

    def send_in_steps(self, message: OutgoingMessage, marks: HandoverRecorder) -> SendSteps:
        """Hand one message over, yielding wherever the server has to answer: meanwhile others can go on.

        The server may have closed a connection that had served before, or close it now (421). Whatever fails on it before
        the data goes out is tried once more, on a new one: nothing can have been accepted.

        Raises:
            SmtpSessionError: the server, or this connection, takes nothing at all.
        """
        envelope = SmtpEnvelope(message.return_path, message.address, message.delivery_id)
        if not envelope.is_valid:
            return MessageOutcome(HandoverResult.REFUSED, "the address can't be used in an SMTP command")
        data = self._smtp_data(message)
        fresh = self._connection is None
        outcome = yield from self._run_transaction(message, envelope, data, marks)
        if outcome is None and not fresh:
            outcome = yield from self._run_transaction(message, envelope, data, marks)
        outcome = outcome or MessageOutcome(
            HandoverResult.TRY_LATER, "the server closed the connection before it took the message"
        )
        marks.mark_outcome(message, outcome)
        return outcome

    def _smtp_data(self, message: OutgoingMessage) -> bytes:
        """Return what follows DATA, up to the final dot: dots that start a line are doubled (RFC 5321, section 4.5.2)."""
        data = message.to_bytes(self._signer)
        if not message.template.needs_no_dot_stuffing:
            data = data.replace(b"\r\n.", b"\r\n..")
        return data if data.endswith(b"\r\n") else data + b"\r\n"

    def _run_transaction(
        self, message: OutgoingMessage, envelope: SmtpEnvelope, data: bytes, marks: HandoverRecorder
    ) -> Generator[None, None, MessageOutcome | None]:
        """Run one mail transaction; return None if the connection broke before anything could be accepted."""
        connection = self._ensure_connection()
        try:
            connection.offer_envelope(envelope)
            yield
            reply = connection.read_envelope_reply()
            if not reply.is_expected:
                return self._handle_refusal(reply, envelope.recipient)
            connection.set_reply_timeout(connection.timeouts.command)
            # smtplib's `data` would hide whether it failed before or after the final dot.
            connection.send_data(data)
            if not marks.mark_dot(message):
                self._hang_up()  # in the middle of the data: the server drops what it has
                return MessageOutcome(HandoverResult.NOT_TRIED, LEASE_EXPIRED)
            connection.send_final_dot()
        except OSError:
            self._hang_up()
            marks.mark_begun(message)  # had the final dot gone out, sending it would not have failed
            return None
        except BaseException:
            # Interrupted: in the middle of a message QUIT would be a line of it, and no answer would come.
            self._hang_up()
            raise
        yield
        return self._read_final_outcome(connection, envelope.recipient)

    def _handle_refusal(self, reply: SmtpReply, address: str) -> MessageOutcome | None:
        """Return the outcome of a message that wasn't taken; None if a new connection may take it.

        Raises:
            SmtpSessionError: the server takes no message now, or none at all.
        """
        text = f"{reply.code} {scrub_addresses(reply.text, address)}"
        is_between = reply.code == 421 and self._messages_on_connection > 0
        handling = judge_reply(SmtpStage.BETWEEN if is_between else SmtpStage(reply.command), text).handling
        if reply.command == "MAIL" or reply.code in {421, NO_REPLY} or handling is ReplyHandling.STOP:
            self._hang_up()
        else:
            self._reset_transaction()
        if handling is ReplyHandling.RECONNECT:
            self._max_messages = min(self._max_messages, self._messages_on_connection)
            return None
        if handling is ReplyHandling.PAUSE:
            raise SmtpSessionError(f"the server isn't accepting email for now: {text}.", is_busy=True)
        if handling is ReplyHandling.STOP:
            raise self._refuse_sender(reply.code, text)
        return _make_outcome(SmtpStage(reply.command), text)

    def _refuse_sender(self, code: int, text: str) -> SmtpSessionError:
        if code in {530, 535, 538}:
            return SmtpSessionError(f"the server requires a sign-in: {text}.", remedy=self._sign_in_remedy)
        return SmtpSessionError(
            f"the server rejected the sender: {text}. Correct sender.address, or sign in with an account that may use it."
        )

    def _read_final_outcome(self, connection: SmtpConnection, address: str) -> MessageOutcome:
        """Read the reply after the final dot. Without one the outcome is uncertain (RFC 5321, section 6.1)."""
        try:
            connection.set_reply_timeout(connection.timeouts.final)
            code, reply = connection.getreply()
        except OSError:
            code, reply = NO_REPLY, b""
        text = f"{code} {scrub_addresses(reply, address)}"
        self._messages_on_connection += 1
        if code == NO_REPLY:
            self._hang_up()
            return MessageOutcome(HandoverResult.UNCERTAIN, "no response after the whole message was sent")
        if self._messages_on_connection >= self._max_messages:
            self.close()
        elif code == 421:
            self._hang_up()
        if 200 <= code < 300:
            return MessageOutcome(HandoverResult.ACCEPTED, text)
        return _make_outcome(SmtpStage.DOT, text)

    @cached_property
    def _tls_context(self) -> ssl.SSLContext | None:
        """What TLS trusts, kept: loading the authorities takes longer than a message."""
        if self._server.tls_mode == "off":
            return None
        return self._trusted or ssl.create_default_context(cafile=self._server.ca_file)

    def examine_server(self) -> MailServerFacts:
        """Connect, secure, sign in and say QUIT; nothing is handed over.

        Raises:
            SmtpSessionError: any of it failed.
        """
        connection = self._ensure_connection()
        greeting = (connection.ehlo_resp or b"").split(maxsplit=1)
        secured = connection.sock if isinstance(connection.sock, ssl.SSLSocket) else None
        facts = MailServerFacts(
            greeting[0].decode("ascii", "replace").lower() if greeting else "",
            read_certificate_end(secured.getpeercert()) if secured else None,
        )
        self.close()
        return facts

    @property
    def _place(self) -> str:
        return f"{self._server.host}:{self._server.port}"

    @property
    def _sign_in_remedy(self) -> str:
        scheme = "smtps" if self._server.tls_mode == "implicit" else "smtp"
        return (
            f"Correct the user and password in the line DIGEST_MAIL_URL of {self._server.settings_place}, in the "
            f"form {scheme}://USER:PASSWORD@{self._place}."
        )

    def _ensure_connection(self) -> SmtpConnection:
        if self._connection is None:
            try:
                self._connection = connect_smtp(self._server, self._tls_context)
            except smtplib.SMTPAuthenticationError as exc:
                reply = f"{exc.smtp_code} {scrub_addresses(exc.smtp_error)}"
                raise SmtpSessionError(
                    f"{self._place} rejected the sign-in: {reply.rstrip('.')}.",
                    remedy=self._sign_in_remedy,
                    this_connection_only=judge_reply(SmtpStage.AUTH, reply).handling is ReplyHandling.DROP_CONNECTION,
                ) from None
            except ssl.SSLError as exc:
                cause = getattr(exc, "verify_message", "") or exc.reason or "no TLS"
                raise SmtpSessionError(
                    f"couldn't establish a trusted TLS connection to {self._server.host}: {cause.rstrip('.')}.",
                    remedy=(
                        f"In DIGEST_MAIL_URL ({self._server.settings_place}), use the server name in its certificate. For your "
                        "own certificate authority, add ca=FILE with its certificates: smtp://…?ca=FILE."
                    ),
                ) from None
            except smtplib.SMTPNotSupportedError as exc:
                raise SmtpSessionError(f"{self._place}: {exc} Email isn't sent unencrypted.") from None
            except OSError as exc:
                cause = getattr(exc, "strerror", None) or scrub_addresses(str(exc)) or type(exc).__name__
                raise SmtpSessionError(
                    f"couldn't connect to {self._place}: {cause.rstrip('.')}.",
                    remedy=(
                        "Send again when the server is back, or correct host and port in DIGEST_MAIL_URL "
                        f"({self._server.settings_place})."
                    ),
                    this_connection_only=True,
                ) from None
            self._messages_on_connection = 0
        return self._connection

    def _reset_transaction(self) -> None:
        try:
            if self._connection is not None:
                self._connection.set_reply_timeout(self._connection.timeouts.command)
                if self._connection.rset()[0] == 250:
                    return
        except OSError:
            pass
        self._hang_up()

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _make_outcome(stage: SmtpStage, reply: str) -> MessageOutcome:
    """Return the outcome of a message that a reply refuses, for now or for good."""
    verdict = judge_reply(stage, reply)
    if verdict.handling in {ReplyHandling.RETRY, ReplyHandling.SLOW_DOWN}:
        slows_domain = verdict.handling is ReplyHandling.SLOW_DOWN
        return MessageOutcome(HandoverResult.TRY_LATER, reply, slows_domain=slows_domain)
    return MessageOutcome(
        HandoverResult.REFUSED,
        reply,
        may_blame_message=verdict.handling is ReplyHandling.SUSPECT,
        cause=verdict.cause,
        blames_domain=verdict.culprit is not BlamedParty.MESSAGE,
    )


def _run_all_steps(steps: SendSteps) -> MessageOutcome:
    """Run all steps, waiting for the server at each."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            outcome: MessageOutcome = end.value
            return outcome


POOL_COUNT = 2  # while one waits for its commit, the other keeps the server busy; more would only wait for one another
GROWN_BATCH_SECONDS = 0.05  # what a batch of several rounds is to take
MAX_GROWN_SECONDS = 0.25  # after which it begins no further round: the rest waits as before
_EXTRA_TIMEOUT = 2 * CONNECT_TIMEOUT + 5.0  # seconds that each further connection may add

log = get_logger("sending")


class SmtpConnectionPool:
    """Connections, at least one, that one thread uses, each for one message at a time."""

    name = SmtpProvider.name

    def __init__(self, connections: Sequence[SmtpProvider], clock: Callable[[], float] = time.monotonic) -> None:
        self._connections = list(connections)
        self._clock = clock
        self._rounds = 1  # messages for each connection

    @property
    def connection_count(self) -> int:
        """How many connections it has: those that were refused are gone."""
        return len(self._connections)

    @property
    def batch_size(self) -> int:
        """One message for each connection, or some where they are few and their server is quick."""
        return self.connection_count * self._rounds

    @property
    def batch_timeout(self) -> float:
        """The seconds of one connection, since all wait at the same time; but each may have to connect."""
        return max(c.batch_timeout for c in self._connections) + _EXTRA_TIMEOUT * self.connection_count

    def send_batch(self, messages: Sequence[OutgoingMessage], marks: HandoverRecorder) -> BatchOutcome:
        """Hand messages over, as many at a time as there are connections."""
        outcomes: list[MessageOutcome] = []
        began, rounds, may_stop = self._clock(), 0, self._rounds > 1
        while len(outcomes) < len(messages):
            batch = self._send_one_each(messages[len(outcomes) : len(outcomes) + self.connection_count], marks)
            outcomes += batch.outcomes
            rounds += 1
            if batch.stop_reason or batch.is_busy:
                return make_stopped_batch(
                    outcomes,
                    len(messages),
                    batch.stop_reason,
                    this_connection_only=batch.this_connection_only,
                    is_busy=batch.is_busy,
                )
            is_slow = self._clock() - began > MAX_GROWN_SECONDS
            if may_stop and (is_slow or any(outcome.result is HandoverResult.UNCERTAIN for outcome in batch.outcomes)):
                break
        self._rounds = choose_messages_per_round(self.connection_count, (self._clock() - began) / max(rounds, 1))
        return make_stopped_batch(outcomes, len(messages), "")

    def _send_one_each(self, messages: Sequence[OutgoingMessage], marks: HandoverRecorder) -> BatchOutcome:
        """Hand at most one message over each connection."""
        outcomes: dict[int, MessageOutcome] = {}
        refusals: dict[SmtpProvider, SmtpSessionError] = {}
        pairs = enumerate(zip(self._connections, messages, strict=False))
        running = [(n, connection, connection.send_in_steps(message, marks)) for n, (connection, message) in pairs]
        try:
            while running:
                for number, connection, steps in running:
                    try:
                        next(steps)
                    except StopIteration as end:
                        outcomes[number] = end.value
                    except SmtpSessionError as refusal:
                        outcomes[number] = MessageOutcome(HandoverResult.NOT_TRIED, str(refusal))
                        refusals[connection] = refusal
                running = [(number, c, steps) for number, c, steps in running if number not in outcomes]
        finally:
            for _, _, steps in running:  # interrupted: none of them goes on
                steps.close()
        return self._drop_refused_connections(tuple(outcomes[number] for number in range(len(messages))), refusals)

    def _drop_refused_connections(
        self, outcomes: tuple[MessageOutcome, ...], refusals: dict[SmtpProvider, SmtpSessionError]
    ) -> BatchOutcome:
        """Drop the connections that were refused; stop where none is left, or the refusal concerns all."""
        is_busy = any(refusal.is_busy for refusal in refusals.values())
        refusals = {connection: refusal for connection, refusal in refusals.items() if not refusal.is_busy}
        for refusal in refusals.values():
            if not refusal.this_connection_only or len(refusals) == self.connection_count:
                return BatchOutcome(
                    outcomes, stop_reason=str(refusal), this_connection_only=refusal.this_connection_only
                )
        for connection, refusal in refusals.items():
            self._connections.remove(connection)
            log.warning("one connection fewer", why=str(refusal), left=self.connection_count)
        return BatchOutcome(outcomes, is_busy=is_busy)

    def close(self) -> None:
        """Close them all."""
        for connection in self._connections:
            connection.close()


def choose_messages_per_round(connections: int, seconds: float) -> int:
    """Return how many messages to take for each of so many connections at once, where one round took so many seconds."""
    few = GROWN_BATCH_SIZE // connections
    return max(1, few if seconds <= 0 else min(few, int(GROWN_BATCH_SECONDS / seconds)))


def split_into_pools(connections: Sequence[SmtpProvider]) -> list[SmtpConnectionPool]:
    """Share connections, at least two, out among pools."""
    return [SmtpConnectionPool(connections[start::POOL_COUNT]) for start in range(min(POOL_COUNT, len(connections)))]
