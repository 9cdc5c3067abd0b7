"""Several SMTP connections moved in step by one thread.

With a thread for each, Python's threads spend more time waiting for one another than for the server. A pool writes
to all its connections before it reads from the first; the slowest answer sets its pace.

A pool of few connections takes several messages for each at once while the server is quick: then a question for consent, and
a change of threads, serves as many messages as with many connections.
"""

import time
from collections.abc import Callable, Sequence

import structlog

from digest.deliver.providers.base import (
    GROWN_BATCH_SIZE,
    BatchOutcome,
    HandoverMarks,
    HandoverResult,
    MessageOutcome,
    OutgoingMessage,
    stopped_batch,
)
from digest.deliver.providers.smtp.connection import CONNECT_TIMEOUT
from digest.deliver.providers.smtp.provider import SmtpProvider, SmtpSessionError

POOL_COUNT = 2  # while one waits for its commit, the other keeps the server busy; more would only wait for one another
GROWN_BATCH_SECONDS = 0.05  # what a batch of several rounds is to take
MAX_GROWN_SECONDS = 0.25  # after which it begins no further round: the rest waits as before
_EXTRA_TIMEOUT = 2 * CONNECT_TIMEOUT + 5.0  # seconds that each further connection may add

log = structlog.get_logger("sending")


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

    def send_batch(self, messages: Sequence[OutgoingMessage], marks: HandoverMarks) -> BatchOutcome:
        """Hand messages over, as many at a time as there are connections."""
        outcomes: list[MessageOutcome] = []
        began, rounds, may_stop = self._clock(), 0, self._rounds > 1
        while len(outcomes) < len(messages):
            batch = self._send_one_each(messages[len(outcomes) : len(outcomes) + self.connection_count], marks)
            outcomes += batch.outcomes
            rounds += 1
            if batch.stop_reason:
                only = batch.this_connection_only
                return stopped_batch(outcomes, len(messages), batch.stop_reason, this_connection_only=only)
            is_slow = self._clock() - began > MAX_GROWN_SECONDS
            if may_stop and (is_slow or any(outcome.result is HandoverResult.UNCERTAIN for outcome in batch.outcomes)):
                break
        self._rounds = choose_rounds(self.connection_count, (self._clock() - began) / max(rounds, 1))
        return stopped_batch(outcomes, len(messages), "")

    def _send_one_each(self, messages: Sequence[OutgoingMessage], marks: HandoverMarks) -> BatchOutcome:
        """Hand at most one message over each connection."""
        outcomes: dict[int, MessageOutcome] = {}
        refusals: dict[SmtpProvider, SmtpSessionError] = {}
        running = [
            (n, c, c.send_in_steps(messages[n], marks)) for n, c in enumerate(self._connections[: len(messages)])
        ]
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
        for refusal in refusals.values():
            if not refusal.this_connection_only or len(refusals) == self.connection_count:
                return BatchOutcome(
                    outcomes, stop_reason=str(refusal), this_connection_only=refusal.this_connection_only
                )
        for connection, refusal in refusals.items():
            self._connections.remove(connection)
            log.warning("one connection fewer", why=str(refusal), left=self.connection_count)
        return BatchOutcome(outcomes)

    def close(self) -> None:
        """Close them all."""
        for connection in self._connections:
            connection.close()


def choose_rounds(connections: int, seconds: float) -> int:
    """Return how many messages to take for each of so many connections at once, where one round took so many seconds."""
    few = GROWN_BATCH_SIZE // connections
    return max(1, few if seconds <= 0 else min(few, int(GROWN_BATCH_SECONDS / seconds)))


def split_into_pools(connections: Sequence[SmtpProvider]) -> list[SmtpConnectionPool]:
    """Share connections, at least two, out among pools."""
    return [SmtpConnectionPool(connections[start::POOL_COUNT]) for start in range(min(POOL_COUNT, len(connections)))]
