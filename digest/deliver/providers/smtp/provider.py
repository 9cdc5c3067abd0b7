"""SMTP as a provider: several connections in one loop, each taking the next message when it's free.

One thread serves all of them: if each had its own, Python's threads would spend more time waiting
for each other than for the server. A connection that's waiting for its server doesn't hold up the
others, and connecting happens while others send. While the server is fast, slightly more messages
than connections are queued here, so that no connection waits for our database.
"""

import select
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from digest.deliver.compose.dkim import DkimSigner
from digest.deliver.providers.base import (
    BatchOutcome,
    FinishedMessages,
    HandoverRecorder,
    HandoverStatus,
    MessageOutcome,
    OutgoingMessage,
)
from digest.deliver.providers.signing import SigningThreads
from digest.deliver.providers.smtp.connection import SmtpServer, SmtpSteps, SocketWait
from digest.deliver.providers.smtp.session import SmtpConnector, SmtpSession, SmtpSessionError
from subscribers.loggers import get_logger

# Maximum messages, including those being sent, and maximum messages waiting for a connection.
MAX_HELD, MAX_AHEAD = 50, 32
# How long messages should wait. Reporting outcomes and claiming the next messages takes less time.
AHEAD_SECONDS = 0.1
# Messages that waited longer aren't tried, because their consent was checked too long ago.
MAX_AHEAD_SECONDS = 0.25
REPORTED_TOGETHER = 25  # number of outcomes to report without waiting for more
# How long fewer outcomes wait. The second value applies if connections are idle.
MAX_REPORT_SECONDS, IDLE_REPORT_SECONDS = 0.03, 0.01
# Seconds until another connection beyond the server's limit is tried.
FIRST_REST, MAX_REST = 1.0, 60.0
_ANSWERED = frozenset({HandoverStatus.ACCEPTED, HandoverStatus.REFUSED, HandoverStatus.TRY_LATER})

log = get_logger("sending")


@dataclass(frozen=True, slots=True)
class _Offer:
    """A message to hand over, and the deadline for starting to do so."""

    message: OutgoingMessage
    recorder: HandoverRecorder
    expires_at: float


@dataclass(slots=True)
class _Transfer:
    """The work of a session: a message, or QUIT."""

    session: SmtpSession
    steps: SmtpSteps[MessageOutcome | None]
    message: OutgoingMessage | None
    was_open: bool
    deadline: float = inf


class ConnectionLimit:
    """The number of connections that a server accepts, learned from its refusals.

    After a refusal, another connection is tried after a delay, which doubles each time.
    """

    def __init__(self, connections: int, clock: Callable[[], float]) -> None:
        self._connections = connections  # the number wanted
        self._clock = clock
        self.taken = connections  # number of connections that the server accepts, as far as known
        self._rest_seconds = 0.0
        self._rests_until = 0.0

    @property
    def allowed(self) -> int:
        """The number of connections that may be open."""
        is_rested = self.taken < self._connections and self._clock() >= self._rests_until
        return max(1, self.taken + is_rested)

    @property
    def is_exhausted(self) -> bool:
        """True if the server doesn't accept any connections."""
        return not self.taken

    def note_refusal(self, others: int) -> float:
        """Record a refusal while `others` connections were open.

        Return the number of seconds until the next attempt.
        """
        self.taken = min(self.taken, others)
        now = self._clock()
        if now >= self._rests_until:
            self._rest_seconds = min(MAX_REST, max(FIRST_REST, 2 * self._rest_seconds))
            self._rests_until = now + self._rest_seconds
        return self._rest_seconds

    def note_open(self, count: int) -> None:
        """Record the number of open connections.

        If the server accepts all that are wanted, reset the delay.
        """
        self.taken = max(self.taken, count)
        if self.taken >= self._connections:
            self._rest_seconds = 0.0


class SmtpProvider:
    """A provider with one or more connections to a server.

    Connections are opened on demand, used for many messages, and closed with QUIT.
    """

    name = "smtp"

    def __init__(
        self,
        server: SmtpServer,
        signer: DkimSigner | None = None,
        *,
        connections: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        connector = SmtpConnector(server)
        self.batch_timeout = server.timeouts.max_per_message
        self._clock = clock
        self._limit = ConnectionLimit(connections, clock)
        self._signing = SigningThreads(signer)
        self._sessions = tuple(SmtpSession(connector, self._signing.finish) for _ in range(connections))
        self._idle = deque(self._sessions)  # open sessions last
        # Sessions that lost a reply. They're unused until another one gets a reply.
        self._silent: list[SmtpSession] = []
        self._queue: deque[_Offer] = deque()
        self._transfers: dict[int, _Transfer] = {}  # by the file that each one waits for
        self._poll = select.poll()
        self._finished: list[tuple[OutgoingMessage, MessageOutcome]] = []
        self._returned: list[OutgoingMessage] = []
        self._first_finished_at = self._reported_at = 0.0
        self._stop_reason, self._is_busy = "", False
        self._ahead = 0
        self._is_streaming = False

    @property
    def batch_size(self) -> int:
        """One message for each connection that the server accepts, plus some more while it's fast."""
        return self.connection_count + self._ahead

    @property
    def connection_count(self) -> int:
        """The number of connections that can be used now."""
        return max(1, min(self._limit.allowed, len(self._sessions) - len(self._silent)))

    def send_batch(self, messages: Sequence[OutgoingMessage], recorder: HandoverRecorder) -> BatchOutcome:
        """Hand over messages, and wait for all of them."""
        self.offer(messages, recorder)
        outcomes: dict[int, MessageOutcome] = {}
        stop_reason, is_busy = "", False
        while len(outcomes) < len(messages):
            finished = self.await_outcomes()
            outcomes |= {id(m): o for m, o in zip(finished.messages, finished.batch.outcomes, strict=True)}
            outcomes |= {id(m): MessageOutcome(HandoverStatus.NOT_TRIED) for m in finished.returned}
            stop_reason, is_busy = stop_reason or finished.batch.stop_reason, is_busy or finished.batch.is_busy
        return BatchOutcome(tuple(outcomes[id(m)] for m in messages), stop_reason=stop_reason, is_busy=is_busy)

    def offer(self, messages: Sequence[OutgoingMessage], recorder: HandoverRecorder) -> None:
        """Queue messages, each for the next free connection."""
        now = self._clock()
        if not (self._transfers or self._finished):
            self._reported_at = now
        expires_at = now + MAX_AHEAD_SECONDS if self._ahead else inf
        self._signing.begin(messages)
        self._queue.extend(_Offer(message, recorder, expires_at) for message in messages)

    def await_outcomes(self, wake_fd: int | None = None) -> FinishedMessages:
        """Serve all connections until some messages have outcomes, and return them.

        Return none if the file descriptor `wake_fd` becomes readable first.
        """
        self._is_streaming = wake_fd is not None
        if wake_fd is not None:
            self._poll.register(wake_fd, select.POLLIN)
        try:
            while True:
                self._end_silence()
                self._begin_queued()
                if self._is_report_due():
                    return self._report()
                if self._move_on(wake_fd):
                    return FinishedMessages((), BatchOutcome(()))
        except BaseException:
            self._abort()
            raise
        finally:
            if wake_fd is not None:
                self._poll.unregister(wake_fd)

    def close(self) -> None:
        """Close all connections with QUIT.

        If an interruption left messages being sent, close them immediately.
        """
        if self._transfers:
            self._abort()
        for session in self._sessions:
            self._advance(_Transfer(session, session.quit(), None, was_open=True))
        while self._transfers:
            self._move_on()

    def _begin_queued(self) -> None:
        now = self._clock() if self._queue else 0.0
        while self._queue and (session := self._take_session()) is not None:
            offer = self._queue.popleft()
            if offer.expires_at < now:
                self._idle.append(session)
                self._returned.append(offer.message)
            else:
                steps = session.send_message(offer.message, offer.recorder)
                self._advance(_Transfer(session, steps, offer.message, session.is_open))

    def _take_session(self) -> SmtpSession | None:
        """Return a free session that is open or may be opened, or None."""
        if not self._idle or not (self._idle[-1].is_open or self._count_used() < self._limit.allowed):
            return None
        return self._idle.pop()

    def _count_used(self) -> int:
        """Return the number of sessions that are busy or open."""
        return len(self._sessions) - len(self._silent) - sum(not session.is_open for session in self._idle)

    def _move_on(self, wake_fd: int | None = None) -> bool:
        """Wait for any connection, and advance those that are ready.

        Return True if `wake_fd` is readable.
        """
        deadline = min((transfer.deadline for transfer in self._transfers.values()), default=inf)
        events = self._poll.poll(SocketWait(-1, 0, min(deadline, self._report_due_at)).milliseconds_left)
        is_awake = False
        for file, _ in events:
            if file == wake_fd:
                is_awake = True
            else:
                self._resume(file)
        if (now := time.monotonic()) >= deadline:
            for file in [file for file, transfer in self._transfers.items() if transfer.deadline <= now]:
                self._resume(file)
        return is_awake

    def _resume(self, file: int) -> None:
        self._poll.unregister(file)
        self._advance(self._transfers.pop(file))

    def _advance(self, transfer: _Transfer) -> None:
        """Advance a transfer until it has to wait or is finished."""
        try:
            wait = next(transfer.steps)
        except StopIteration as end:
            if transfer.message is not None:
                self._end_transfer(transfer, end.value)
        except SmtpSessionError as refusal:
            self._idle.appendleft(transfer.session)
            if transfer.message is not None and refusal.this_connection_only:
                self._returned.append(transfer.message)
            elif transfer.message is not None:
                self._finish(transfer.message, MessageOutcome(HandoverStatus.NOT_TRIED, str(refusal)))
            self._note_refusal(refusal)
        except BaseException:
            transfer.session.hang_up()
            raise
        else:
            self._transfers[wait.file], transfer.deadline = transfer, wait.deadline
            self._poll.register(wait.file, wait.event)

    def _end_transfer(self, transfer: _Transfer, outcome: MessageOutcome) -> None:
        """Record the outcome of a message, and what it reveals about the connections."""
        assert transfer.message is not None
        self._finish(transfer.message, outcome)
        if outcome.may_blame_message and self._is_streaming:
            self._return_queued()  # the others have the same text, so first decide whether to continue
        session = transfer.session
        if outcome.result is HandoverStatus.UNCERTAIN:
            self._silent.append(session)
            return
        if session.is_open:
            self._idle.append(session)
        else:
            self._idle.appendleft(session)
        if outcome.result in _ANSWERED:
            self._idle.extendleft(self._silent)
            self._silent.clear()
        if session.is_open and not transfer.was_open:
            self._limit.note_open(sum(each.is_open for each in self._sessions))

    def _end_silence(self) -> None:
        """Use all connections again once each of them has lost a reply. In a stream, pause first."""
        if len(self._silent) == len(self._sessions):
            self._idle.extend(self._silent)
            self._silent.clear()
            if self._is_streaming:
                self._is_busy = True
                self._return_queued()

    def _note_refusal(self, refusal: SmtpSessionError) -> None:
        """Use fewer connections after a refusal.

        Stop if the server doesn't accept any, or if the refusal concerns all connections.
        """
        if refusal.this_connection_only:
            seconds = self._limit.note_refusal(self._count_used())
            if not self._limit.is_exhausted:
                log.warning(
                    "one connection isn't used for now", why=str(refusal), left=self._limit.taken, seconds=seconds
                )
                return
        self._is_busy = refusal.is_busy or refusal.this_connection_only
        self._stop_reason = "" if refusal.is_busy else str(refusal)
        self._return_queued()

    def _return_queued(self) -> None:
        """Move the queued messages to those that are returned unsent."""
        self._returned += [offer.message for offer in self._queue]
        self._queue.clear()

    def _finish(self, message: OutgoingMessage, outcome: MessageOutcome) -> None:
        self._signing.forget(message)
        if not self._finished:
            self._first_finished_at = time.monotonic()
        self._finished.append((message, outcome))

    @property
    def _report_due_at(self) -> float:
        """The time at which finished outcomes are reported even if there are few of them."""
        if not self._finished:
            return inf
        return self._first_finished_at + (MAX_REPORT_SECONDS if self._queue else IDLE_REPORT_SECONDS)

    def _is_report_due(self) -> bool:
        """Return True if outcomes should be reported now.

        They're grouped while connections are busy with other messages.
        """
        if self._returned:
            return True
        if not self._finished:
            return False
        enough = REPORTED_TOGETHER if self._queue else min(REPORTED_TOGETHER, len(self._sessions) // 2)
        return len(self._finished) >= enough or not self._transfers or time.monotonic() >= self._report_due_at

    def _report(self) -> FinishedMessages:
        finished, self._finished = self._finished, []
        returned, self._returned = self._returned, []
        for message in returned:
            self._signing.forget(message)
        stop_reason, is_busy = self._stop_reason, self._is_busy
        self._stop_reason, self._is_busy = "", False
        now = self._clock()
        seconds = (now - self._reported_at) / max(len(finished), 1)
        is_suspected = any(outcome.may_blame_message for _, outcome in finished)
        self._ahead = 0 if is_suspected else choose_messages_ahead(len(self._sessions), seconds)
        self._reported_at = now
        outcomes = tuple(outcome for _, outcome in finished)
        batch = BatchOutcome(outcomes, stop_reason=stop_reason, is_busy=is_busy)
        return FinishedMessages(tuple(message for message, _ in finished), batch, returned)

    def _abort(self) -> None:
        """Close all connections without waiting for replies, and discard all messages.

        This is done after an interruption.
        """
        for file, transfer in self._transfers.items():
            self._poll.unregister(file)
            transfer.steps.close()
        for session in self._sessions:
            session.hang_up()
        self._transfers, self._finished, self._returned = {}, [], []
        self._idle, self._silent = deque(self._sessions), []
        self._queue.clear()
        self._signing.forget_all()


def choose_messages_ahead(connections: int, seconds: float) -> int:
    """Return how many messages to queue ahead for the connections.

    `seconds` is the recent time per message.
    """
    most = max(0, min(MAX_AHEAD, MAX_HELD - connections))
    return most if seconds <= 0 else min(most, int(AHEAD_SECONDS / seconds))
