"""Several connections at once. An edition goes out over each by itself (`providers_per_thread`); a batch is shared out."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from digest.deliver.providers.base import BatchOutcome, OutgoingMessage, Provider


class ParallelProvider:
    """Shares out batches over transports of one kind, each in a thread of its own."""

    def __init__(self, providers: Sequence[Provider]) -> None:
        """Take the transports, at least one."""
        self._providers = tuple(providers)
        self._executor = ThreadPoolExecutor(len(self._providers), thread_name_prefix="hand")
        self.name = self._providers[0].name
        self.batch_size = sum(t.batch_size for t in self._providers)
        self.batch_timeout = max(t.batch_timeout for t in self._providers)

    @property
    def providers(self) -> tuple[Provider, ...]:
        """Them."""
        return self._providers

    def send_batch(self, messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        """Hand the messages over, shared out in turn; the outcomes are in the order of the messages."""
        shares = [messages[start :: len(self._providers)] for start in range(len(self._providers))]
        waiting = [
            self._executor.submit(t.send_batch, share)
            for t, share in zip(self._providers, shares, strict=True)
            if share
        ]
        answers = [w.result() for w in waiting]
        by_share = [list(a.outcomes) for a in answers]
        outcomes = tuple(by_share[place % len(by_share)].pop(0) for place in range(len(messages)))
        found = BatchOutcome(outcomes, wait_seconds=max((a.wait_seconds for a in answers), default=0.0))
        return replace(found, stop_reason=next((a.stop_reason for a in answers if a.stop_reason), ""))

    def close(self) -> None:
        """Close them all."""
        for transport in self._providers:
            transport.close()
        self._executor.shutdown()


def providers_per_thread(provider: Provider) -> tuple[Provider, ...]:
    """Give the connections of a transport, each a transport for one thread."""
    return provider.providers if isinstance(provider, ParallelProvider) else (provider,)
