"""SMTP as a provider: several connections in one loop, each of which takes its next message as soon as it is free.

One thread moves all of them on. With a thread for each, Python's threads spend more time waiting for one another than for
the server. A connection that waits for its server holds up no other, for as long as that takes, and connecting happens
beside sending. While the server is quick, a few messages more than it has connections wait here for one that is free, so
that no connection waits for our database.
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

MAX_HELD, MAX_AHEAD = 50, 32  # messages: with those on their way, and that wait for a connection
AHEAD_SECONDS = 0.1  # which is how long they are to wait: longer than a report and the next messages take
MAX_AHEAD_SECONDS = 0.25  # what waited longer isn't tried: consent was asked too long ago
REPORTED_TOGETHER = 25  # outcomes that are reported without waiting for more
MAX_REPORT_SECONDS, HASTY_REPORT_SECONDS = 0.03, 0.01  # for which fewer wait for others; and while connections do
FIRST_REST, MAX_REST = 1.0, 60.0  # seconds until a connection more than the server took is tried
_ANSWERED = frozenset({HandoverStatus.ACCEPTED, HandoverStatus.REFUSED, HandoverStatus.TRY_LATER})

log = get_logger("sending")


@dataclass(frozen=True, slots=True)
class _Offer:
    """A message to hand over, and the moment until which it may begin."""

    message: OutgoingMessage
    marks: HandoverRecorder
    expires_at: float


@dataclass(slots=True)
class _Transfer:
    """The work of one session: a message, or saying QUIT."""

    session: SmtpSession
    steps: SmtpSteps[MessageOutcome | None]
    message: OutgoingMessage | None
    was_open: bool
    deadline: float = inf


class ConnectionLimit:
    """The number of connections that a server takes, learned from refusals. One more is tried after a rest, which doubles each time."""

    def __init__(self, connections: int, clock: Callable[[], float]) -> None:
        self._connections = connections  # that we would like
        self._clock = clock
        self.taken = connections  # as far as is known
        self._rest_seconds = 0.0
        self._rests_until = 0.0

    @property
    def allowed(self) -> int:
        """The number of connections that may be open."""
        is_rested = self.taken < self._connections and self._clock() >= self._rests_until
        return max(1, self.taken + is_rested)

    @property
    def is_exhausted(self) -> bool:
        """True if the server takes none at all."""
        return not self.taken

    def note_refusal(self, others: int) -> float:
        """Note that the server refused a connection beside so many others; return the seconds of the rest that follows."""
        self.taken = min(self.taken, others)
        now = self._clock()
        if now >= self._rests_until:
            self._rest_seconds = min(MAX_REST, max(FIRST_REST, 2 * self._rest_seconds))
            self._rests_until = now + self._rest_seconds
        return self._rest_seconds

    def note_open(self, count: int) -> None:
        """Note that so many are open. Where that is more than before, the next one needs no rest."""
        self.taken = max(self.taken, count)
        if self.taken >= self._connections:
            self._rest_seconds = 0.0


class SmtpProvider:
    """Connections to one server, at least one, opened when they are needed, used for many messages, closed with QUIT."""

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
        self._idle = deque(self._sessions)  # the open ones last
        self._silent: list[SmtpSession] = []  # whose answer was lost: they wait until another brings one
        self._queue: deque[_Offer] = deque()
        self._transfers: dict[int, _Transfer] = {}  # by the file that each waits for
        self._poll = select.poll()
        self._finished: list[tuple[OutgoingMessage, MessageOutcome]] = []
        self._returned: list[OutgoingMessage] = []
        self._first_finished_at = self._reported_at = 0.0
        self._stop_reason, self._is_busy = "", False
        self._ahead = 0
        self._is_streaming = False

    @property
    def batch_size(self) -> int:
        """One message for each connection that the server takes, and some more while it is quick."""
        return self.connection_count + self._ahead

    @property
    def connection_count(self) -> int:
        """The number of connections that may be used now."""
        return max(1, min(self._limit.allowed, len(self._sessions) - len(self._silent)))

    def send_batch(self, messages: Sequence[OutgoingMessage], marks: HandoverRecorder) -> BatchOutcome:
        """Hand messages over, and wait for all of them."""
        self.offer(messages, marks)
        outcomes: dict[int, MessageOutcome] = {}
        stop_reason, is_busy = "", False
        while len(outcomes) < len(messages):
            finished = self.await_outcomes()
            outcomes |= {id(m): o for m, o in zip(finished.messages, finished.batch.outcomes, strict=True)}
            outcomes |= {id(m): MessageOutcome(HandoverStatus.NOT_TRIED) for m in finished.returned}
            stop_reason, is_busy = stop_reason or finished.batch.stop_reason, is_busy or finished.batch.is_busy
        return BatchOutcome(tuple(outcomes[id(m)] for m in messages), stop_reason=stop_reason, is_busy=is_busy)

    def offer(self, messages: Sequence[OutgoingMessage], marks: HandoverRecorder) -> None:
        """Take messages, each for the next connection that is free."""
        now = self._clock()
        if not (self._transfers or self._finished):
            self._reported_at = now
        expires_at = now + MAX_AHEAD_SECONDS if self._ahead else inf
        self._signing.begin(messages)
        self._queue.extend(_Offer(message, marks, expires_at) for message in messages)

    def await_outcomes(self, wake_file: int | None = None) -> FinishedMessages:
        """Move all connections on until it is known what came of some messages; return nothing once `wake_file` can be read."""
        self._is_streaming = wake_file is not None
        if wake_file is not None:
            self._poll.register(wake_file, select.POLLIN)
        try:
            while True:
                self._end_silence()
                self._begin_queued()
                if self._is_report_due():
                    return self._report()
                if self._move_on(wake_file):
                    return FinishedMessages((), BatchOutcome(()))
        except BaseException:
            self._abort()
            raise
        finally:
            if wake_file is not None:
                self._poll.unregister(wake_file)

    def close(self) -> None:
        """Say QUIT on all connections and hang up; at once where messages are under way, since someone interrupted them."""
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
                steps = session.send_message(offer.message, offer.marks)
                self._advance(_Transfer(session, steps, offer.message, session.is_open))

    def _take_session(self) -> SmtpSession | None:
        """Take a session that is free: an open one, or one that may be opened."""
        if not self._idle or not (self._idle[-1].is_open or self._count_used() < self._limit.allowed):
            return None
        return self._idle.pop()

    def _count_used(self) -> int:
        """Count the sessions that are at work or open."""
        return len(self._sessions) - len(self._silent) - sum(not session.is_open for session in self._idle)

    def _move_on(self, wake_file: int | None = None) -> bool:
        """Wait for any of the connections, and take their next steps; return whether `wake_file` can be read."""
        deadline = min((transfer.deadline for transfer in self._transfers.values()), default=inf)
        events = self._poll.poll(SocketWait(-1, 0, min(deadline, self._report_due_at)).milliseconds_left)
        is_awake = False
        for file, _ in events:
            if file == wake_file:
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
        """Take a transfer's steps until it has to wait, or is over."""
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
        """Note what came of a message, and what that says about the connections."""
        assert transfer.message is not None
        self._finish(transfer.message, outcome)
        if outcome.may_blame_message and self._is_streaming:
            self._return_queued()  # the same text: whether it goes on is decided first
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
        """Use all connections again once each of them lost an answer; in a stream, after a pause."""
        if len(self._silent) == len(self._sessions):
            self._idle.extend(self._silent)
            self._silent.clear()
            if self._is_streaming:
                self._is_busy = True
                self._return_queued()

    def _note_refusal(self, refusal: SmtpSessionError) -> None:
        """Let a connection rest that the server refused; stop where it takes none, or the refusal concerns all."""
        if refusal.this_connection_only:
            seconds = self._limit.note_refusal(self._count_used())
            if not self._limit.is_exhausted:
                log.warning("one connection rests", why=str(refusal), left=self._limit.taken, seconds=seconds)
                return
        self._is_busy = refusal.is_busy or refusal.this_connection_only
        self._stop_reason = "" if refusal.is_busy else str(refusal)
        self._return_queued()

    def _return_queued(self) -> None:
        """Give back what has not begun."""
        self._returned += [offer.message for offer in self._queue]
        self._queue.clear()

    def _finish(self, message: OutgoingMessage, outcome: MessageOutcome) -> None:
        self._signing.forget(message)
        if not self._finished:
            self._first_finished_at = time.monotonic()
        self._finished.append((message, outcome))

    @property
    def _report_due_at(self) -> float:
        """The moment until which outcomes may wait, to be reported with others."""
        if not self._finished:
            return inf
        return self._first_finished_at + (MAX_REPORT_SECONDS if self._queue else HASTY_REPORT_SECONDS)

    def _is_report_due(self) -> bool:
        """Return whether to report what is finished. While connections are busy with other messages, several are reported together."""
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
        """Hang up everywhere and forget all messages: after an interruption, no reply is waited for."""
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
    """Return how many messages may wait for one of so many connections, where a message took so many seconds lately."""
    most = max(0, min(MAX_AHEAD, MAX_HELD - connections))
    return most if seconds <= 0 else min(most, int(AHEAD_SECONDS / seconds))
