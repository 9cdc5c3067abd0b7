"""Several connections at once: an edition takes each into a thread (`providers_per_thread`); a batch is shared out."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from digest.deliver.providers.base import BatchOutcome, OutgoingMessage, Provider


class ParallelProvider:
    """Shares batches out over providers of one kind, at least one, each in a thread of its own."""

    def __init__(self, providers: Sequence[Provider]) -> None:
        self.providers = tuple(providers)
        self.name = self.providers[0].name
        self.batch_size = sum(provider.batch_size for provider in self.providers)
        self.batch_timeout = max(provider.batch_timeout for provider in self.providers)
        self._executor = ThreadPoolExecutor(len(self.providers), thread_name_prefix="hand")

    def send_batch(self, messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        """Hand the messages over, dealt out in turn; the outcomes are in the order of the messages."""
        count = len(self.providers)
        futures = [
            self._executor.submit(provider.send_batch, messages[start::count])
            for start, provider in enumerate(self.providers[: len(messages)])
        ]
        batches = [future.result() for future in futures]
        return BatchOutcome(
            tuple(batches[place % count].outcomes[place // count] for place in range(len(messages))),
            stop_reason=next((batch.stop_reason for batch in batches if batch.stop_reason), ""),
            wait_seconds=max((batch.wait_seconds for batch in batches), default=0.0),
        )

    def close(self) -> None:
        """Close them all."""
        for provider in self.providers:
            provider.close()
        self._executor.shutdown()


def providers_per_thread(provider: Provider) -> tuple[Provider, ...]:
    """Return the connections of a provider, each a provider for one thread."""
    return provider.providers if isinstance(provider, ParallelProvider) else (provider,)
