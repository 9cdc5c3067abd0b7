"""Several SMTP connections moved in step by one thread.

With a thread for each, Python's threads spend more time waiting for one another than for the server. A crew writes
to all its connections before it reads from the first; whichever answers last sets its pace.
"""

from collections.abc import Sequence

import structlog

from digest.deliver.handing import Handed, Outcome, Outgoing, Result
from digest.deliver.transports.smtp import Refusal, Smtp
from digest.deliver.transports.wire import CONNECT

CREWS = 2  # while one waits for its commit, the other keeps the server busy; more only wait for one another
_MORE = 2 * CONNECT + 5.0  # seconds that each further connection may add to what a crew waits

log = structlog.get_logger("sending")


class Crew:
    """Connections that are used by one thread, each for one message at a time."""

    name = Smtp.name

    def __init__(self, connections: Sequence[Smtp]) -> None:
        """Take the connections, at least one."""
        self._connections = list(connections)

    @property
    def batch(self) -> int:
        """One message for each connection."""
        return len(self._connections)

    @property
    def patience(self) -> float:
        """The seconds of one, for what one waits the others have waited too; but each may have to connect."""
        return max(c.patience for c in self._connections) + _MORE * self.batch

    def hand_all(self, messages: Sequence[Outgoing]) -> Handed:
        """Hand messages over, as many at a time as there are connections."""
        outcomes: list[Outcome] = []
        while len(outcomes) < len(messages):
            handed = self._hand(messages[len(outcomes) : len(outcomes) + self.batch])
            outcomes += handed.outcomes
            if handed.stop:
                outcomes += [Outcome(Result.UNTOUCHED)] * (len(messages) - len(outcomes))
                return Handed(tuple(outcomes), stop=handed.stop, here_alone=handed.here_alone)
        return Handed(tuple(outcomes))

    def _hand(self, messages: Sequence[Outgoing]) -> Handed:
        """Hand at most one message over each connection."""
        outcomes: dict[int, Outcome] = {}
        refusals: dict[Smtp, Refusal] = {}
        going = [(at, c, c.steps(messages[at])) for at, c in enumerate(self._connections[: len(messages)])]
        while going:
            for at, connection, steps in going:
                try:
                    next(steps)
                except StopIteration as end:
                    outcomes[at] = end.value
                except Refusal as refusal:
                    outcomes[at] = Outcome(Result.UNTOUCHED, str(refusal))
                    refusals[connection] = refusal
            going = [(at, c, steps) for at, c, steps in going if at not in outcomes]
        return self._heed(tuple(outcomes[at] for at in range(len(messages))), refusals)

    def _heed(self, outcomes: tuple[Outcome, ...], refusals: dict[Smtp, Refusal]) -> Handed:
        """Go on without the connections that were refused, unless none is left or it concerns all."""
        for refusal in refusals.values():
            if not refusal.here_alone or len(refusals) == self.batch:
                return Handed(outcomes, stop=str(refusal), here_alone=refusal.here_alone)
        for connection, refusal in refusals.items():
            self._connections.remove(connection)
            log.warning("one connection fewer", why=str(refusal), left=self.batch)
        return Handed(outcomes)

    def close(self) -> None:
        """Close them all."""
        for connection in self._connections:
            connection.close()


def crews(connections: Sequence[Smtp]) -> list[Crew]:
    """Form the crews that share connections, at least two, out among them."""
    return [Crew(connections[start::CREWS]) for start in range(min(CREWS, len(connections)))]
