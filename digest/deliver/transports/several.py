"""Several connections at once. An edition goes out over each by itself (`each`); a batch is shared out."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from digest.deliver.handing import Handed, Outgoing, Transport


class Several:
    """Shares out batches over transports of one kind, each in a thread of its own."""

    def __init__(self, transports: Sequence[Transport]) -> None:
        """Take the transports, at least one."""
        self._transports = tuple(transports)
        self._threads = ThreadPoolExecutor(len(self._transports), thread_name_prefix="hand")
        self.name = self._transports[0].name
        self.batch = sum(t.batch for t in self._transports)
        self.patience = max(t.patience for t in self._transports)

    @property
    def transports(self) -> tuple[Transport, ...]:
        """Them."""
        return self._transports

    def hand_all(self, messages: Sequence[Outgoing]) -> Handed:
        """Hand the messages over, shared out in turn; the outcomes are in the order of the messages."""
        shares = [messages[start :: len(self._transports)] for start in range(len(self._transports))]
        waiting = [
            self._threads.submit(t.hand_all, share)
            for t, share in zip(self._transports, shares, strict=True)
            if share
        ]
        answers = [w.result() for w in waiting]
        by_share = [list(a.outcomes) for a in answers]
        outcomes = tuple(by_share[place % len(by_share)].pop(0) for place in range(len(messages)))
        found = Handed(outcomes, wait=max((a.wait for a in answers), default=0.0))
        return replace(found, stop=next((a.stop for a in answers if a.stop), ""))

    def close(self) -> None:
        """Close them all."""
        for transport in self._transports:
            transport.close()
        self._threads.shutdown()


def each(transport: Transport) -> tuple[Transport, ...]:
    """Give the connections of a transport, each a transport for one thread."""
    return transport.transports if isinstance(transport, Several) else (transport,)
