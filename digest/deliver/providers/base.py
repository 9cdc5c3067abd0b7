"""The interface between sending and a provider: a message for one person, and its outcome.

Servers' replies are stored without addresses. Several connections may share a batch.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol, runtime_checkable

from digest.deliver.compose.dkim import DkimSigner
from digest.deliver.compose.message import MessageTemplate, PlaceholderValues, splice_message, splice_signed_message
from digest.deliver.events.failure_causes import FailureCause


class HandoverStatus(StrEnum):
    """The result of handing over one message."""

    ACCEPTED = "accepted"
    REFUSED = "refused"  # permanently: this message isn't offered again
    TRY_LATER = "later"  # not accepted now, but may be later
    UNCERTAIN = "uncertain"  # it was sent, but no answer came: only evidence or an admin may have it sent again
    NOT_TRIED = "untouched"  # it wasn't sent, and waits as before


@dataclass(frozen=True, slots=True)
class MessageOutcome:
    """The result for one message; `reply` has no addresses (`server_replies.scrub_addresses`).

    `may_blame_message` recorder a refusal that may be due to the message rather than the subscriber, and `blames_domain`
    one that may be due to our reputation with the recipient's domain. `cause` is what a refusal says about the address,
    or None if it has to be inferred from the reply's codes. `slows_domain` means that the domain asks for fewer messages.
    """

    result: HandoverStatus
    reply: str = ""
    may_blame_message: bool = False
    cause: FailureCause | None = None
    slows_domain: bool = False
    blames_domain: bool = False


LEASE_EXPIRED = "this process was silent for too long, so it didn't send the message"


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """The outcomes of a batch, in order, and their consequences for the run.

    `stop_reason` says why nothing more should be handed over, and what to do; it's empty if sending can go on. Nothing
    should be handed over for `wait_seconds`. `is_busy` means that the server accepts nothing for now, perhaps only for
    seconds.
    """

    outcomes: tuple[MessageOutcome, ...]
    stop_reason: str = ""
    wait_seconds: float = 0.0
    is_busy: bool = False


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A message for one person, ready to be handed over."""

    delivery_id: str  # opaque
    outbox_folder: Literal["edition", "notice", "test"]
    template: MessageTemplate
    placeholders: PlaceholderValues
    bounce_address: str = ""  # see `return_path.make_return_path`; if empty, the sender's address

    @property
    def address(self) -> str:
        """The only recipient."""
        return self.placeholders.to

    @property
    def return_path(self) -> str:
        """The address for bounces (RFC 5321, section 4.4)."""
        return self.bounce_address or self.template.sender_address

    def to_bytes(self, signer: DkimSigner | None = None) -> bytes:
        """Return the finished message (RFC 5322, section 2.1), always the same except for the signature's time."""
        if signer:
            return splice_signed_message(self.template, self.placeholders, signer)
        return splice_message(self.template, self.placeholders)


class HandoverRecorder(Protocol):
    """Records a provider's progress with each message of a batch, in case the process is killed.

    At the beginning of a batch, no message has been sent. A message handed over without `mark_sending` would be sent again
    after a kill.
    """

    def mark_unsent(self, message: OutgoingMessage) -> None:
        """Record that a message marked as being sent wasn't sent after all, so it can't arrive."""
        ...

    def mark_sending(self, message: OutgoingMessage) -> bool:
        """Record that a message is being sent, right before completing it: with SMTP, before the final dot.

        Return False if it mustn't be sent because this process was silent for too long and another may have taken over.
        """
        ...

    def mark_outcome(self, message: OutgoingMessage, outcome: MessageOutcome) -> None:
        """Record the outcome of a message as soon as it's known."""
        ...


class Provider(Protocol):
    """An open provider, for one thread."""

    @property
    def name(self) -> str:
        """The name in a delivery's row: that of its `ProviderKind`."""
        ...

    @property
    def batch_size(self) -> int:
        """The number of messages to hand over at once, at least one.

        It may change with each outcome.
        """
        ...

    @property
    def batch_timeout(self) -> float:
        """The longest time that handing over a batch may take, in seconds."""
        ...

    def send_batch(self, messages: Sequence[OutgoingMessage], recorder: HandoverRecorder) -> BatchOutcome:
        """Hand over messages, each to its recipient, and record progress; failures are outcomes, not exceptions."""
        ...

    def close(self) -> None:
        """Close all connections. Failures are ignored, and closing twice is allowed."""
        ...


@dataclass(frozen=True, slots=True)
class FinishedMessages:
    """Messages that a provider has finished, and their outcomes, in the same order.

    `returned` messages come back untried for lack of a connection. They may be offered again after consent is checked
    again.
    """

    messages: Sequence[OutgoingMessage]
    batch: BatchOutcome
    returned: Sequence[OutgoingMessage] = ()


@runtime_checkable
class StreamingProvider(Provider, Protocol):
    """A provider that accepts more messages while handing over others, so none waits for another's outcome."""

    def offer(self, messages: Sequence[OutgoingMessage], recorder: HandoverRecorder) -> None:
        """Accept more messages. With those not yet finished, they mustn't exceed the last reported `batch_size`."""
        ...

    def await_outcomes(self, wake_fd: int) -> FinishedMessages:
        """Hand over messages until some are finished, and return those.

        Return none if the file descriptor `wake_fd` becomes readable first. After an exception, only messages that
        were already marked as being sent may still be sent.
        """
        ...


class ParallelProvider:
    """Distributes batches over one or more providers of one kind, each in a separate thread."""

    def __init__(self, providers: Sequence[Provider]) -> None:
        self.providers = tuple(providers)
        self.name = self.providers[0].name
        self.batch_size = sum(provider.batch_size for provider in self.providers)
        self.batch_timeout = max(provider.batch_timeout for provider in self.providers)
        self._executor = ThreadPoolExecutor(len(self.providers), thread_name_prefix="hand")

    def send_batch(self, messages: Sequence[OutgoingMessage], recorder: HandoverRecorder) -> BatchOutcome:
        """Hand over the messages, distributed round-robin; the outcomes are in the order of the messages."""
        count = len(self.providers)
        futures = [
            self._executor.submit(provider.send_batch, messages[start::count], recorder)
            for start, provider in enumerate(self.providers[: len(messages)])
        ]
        batches = [future.result() for future in futures]
        return BatchOutcome(
            tuple(batches[place % count].outcomes[place // count] for place in range(len(messages))),
            stop_reason=next((batch.stop_reason for batch in batches if batch.stop_reason), ""),
            wait_seconds=max((batch.wait_seconds for batch in batches), default=0.0),
            is_busy=any(batch.is_busy for batch in batches),
        )

    def close(self) -> None:
        """Close all of the providers."""
        for provider in self.providers:
            provider.close()
        self._executor.shutdown()


def list_thread_providers(provider: Provider) -> tuple[Provider, ...]:
    """Return the providers among which a provider distributes its batches, one per thread, or else the provider."""
    return provider.providers if isinstance(provider, ParallelProvider) else (provider,)
