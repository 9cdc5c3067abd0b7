"""A provider with scripted answers, to test how sending reacts."""

from collections.abc import Callable, Sequence

from digest.deliver.providers.base import (
    BatchOutcome,
    HandoverRecorder,
    HandoverStatus,
    MessageOutcome,
    OutgoingMessage,
)


class ScriptedProvider:
    """A provider that answers by a script and remembers the messages that it was given."""

    batch_timeout = 60.0

    def __init__(
        self, answer: Callable[[Sequence[OutgoingMessage]], BatchOutcome], batch_size: int = 10, name: str = "scripted"
    ) -> None:
        self.answer, self.batch_size, self.name = answer, batch_size, name
        self.received_messages: list[OutgoingMessage] = []

    def send_batch(self, messages: Sequence[OutgoingMessage], recorder: HandoverRecorder) -> BatchOutcome:
        for message in messages:
            recorder.mark_sending(message)
        self.received_messages += messages
        batch = self.answer(messages)
        for message, outcome in zip(messages, batch.outcomes, strict=True):
            recorder.mark_outcome(message, outcome)
        return batch

    def close(self) -> None: ...


def same_outcome_for_all(
    result: HandoverStatus,
    *,
    reply: str = "said",
    stop: str = "",
    is_busy: bool = False,
    wait: float = 0.0,
) -> Callable[[Sequence[OutgoingMessage]], BatchOutcome]:
    """Return an answer that gives every message the same outcome."""
    return lambda messages: BatchOutcome(tuple(MessageOutcome(result, reply) for _ in messages), stop, wait, is_busy)
