"""Several SMTP connections moved in step by one thread.

With a thread for each, Python's threads spend more time waiting for one another than for the server. A crew writes
to all its connections before it reads from the first; whichever answers last sets its pace.
"""

from collections.abc import Sequence

import structlog

from digest.deliver.providers.base import BatchOutcome, HandoverResult, MessageOutcome, OutgoingMessage
from digest.deliver.providers.smtp.connection import CONNECT_TIMEOUT
from digest.deliver.providers.smtp.provider import SmtpProvider, SmtpSessionError

POOL_COUNT = 2  # while one waits for its commit, the other keeps the server busy; more only wait for one another
_EXTRA_TIMEOUT = 2 * CONNECT_TIMEOUT + 5.0  # seconds that each further connection may add to what a crew waits

log = structlog.get_logger("sending")


class SmtpConnectionPool:
    """Connections that are used by one thread, each for one message at a time."""

    name = SmtpProvider.name

    def __init__(self, connections: Sequence[SmtpProvider]) -> None:
        """Take the connections, at least one."""
        self._connections = list(connections)

    @property
    def batch_size(self) -> int:
        """One message for each connection."""
        return len(self._connections)

    @property
    def batch_timeout(self) -> float:
        """The seconds of one, for what one waits the others have waited too; but each may have to connect."""
        return max(c.batch_timeout for c in self._connections) + _EXTRA_TIMEOUT * self.batch_size

    def send_batch(self, messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        """Hand messages over, as many at a time as there are connections."""
        outcomes: list[MessageOutcome] = []
        while len(outcomes) < len(messages):
            handed = self._send_one_each(messages[len(outcomes) : len(outcomes) + self.batch_size])
            outcomes += handed.outcomes
            if handed.stop_reason:
                outcomes += [MessageOutcome(HandoverResult.NOT_TRIED)] * (len(messages) - len(outcomes))
                return BatchOutcome(
                    tuple(outcomes), stop_reason=handed.stop_reason, this_connection_only=handed.this_connection_only
                )
        return BatchOutcome(tuple(outcomes))

    def _send_one_each(self, messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        """Hand at most one message over each connection."""
        outcomes: dict[int, MessageOutcome] = {}
        refusals: dict[SmtpProvider, SmtpSessionError] = {}
        going = [(at, c, c.send_in_steps(messages[at])) for at, c in enumerate(self._connections[: len(messages)])]
        while going:
            for at, connection, steps in going:
                try:
                    next(steps)
                except StopIteration as end:
                    outcomes[at] = end.value
                except SmtpSessionError as refusal:
                    outcomes[at] = MessageOutcome(HandoverResult.NOT_TRIED, str(refusal))
                    refusals[connection] = refusal
            going = [(at, c, steps) for at, c, steps in going if at not in outcomes]
        return self._drop_refused_connections(tuple(outcomes[at] for at in range(len(messages))), refusals)

    def _drop_refused_connections(
        self, outcomes: tuple[MessageOutcome, ...], refusals: dict[SmtpProvider, SmtpSessionError]
    ) -> BatchOutcome:
        """Go on without the connections that were refused, unless none is left or it concerns all."""
        for refusal in refusals.values():
            if not refusal.this_connection_only or len(refusals) == self.batch_size:
                return BatchOutcome(
                    outcomes, stop_reason=str(refusal), this_connection_only=refusal.this_connection_only
                )
        for connection, refusal in refusals.items():
            self._connections.remove(connection)
            log.warning("one connection fewer", why=str(refusal), left=self.batch_size)
        return BatchOutcome(outcomes)

    def close(self) -> None:
        """Close them all."""
        for connection in self._connections:
            connection.close()


def split_into_pools(connections: Sequence[SmtpProvider]) -> list[SmtpConnectionPool]:
    """Form the crews that share connections, at least two, out among them."""
    return [SmtpConnectionPool(connections[start::POOL_COUNT]) for start in range(min(POOL_COUNT, len(connections)))]
