"""The interface between sending and a provider: a message for one person, and its outcome.

Replies from servers are stored without addresses. Several connections may share a batch.
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
    """The result of handing over a message."""

    ACCEPTED = "accepted"
    REFUSED = "refused"  # permanently; this message isn't offered again
    TRY_LATER = "later"  # not accepted now, but possibly later
    # Sent, but no reply came. Only evidence or an admin may cause it to be sent again.
    UNCERTAIN = "uncertain"
    NOT_TRIED = "untouched"  # not sent; it waits as before


@dataclass(frozen=True, slots=True)
class MessageOutcome:
    """The outcome of a message. `reply` contains no addresses (see `server_replies.scrub_addresses`).

    `may_blame_message` marks a refusal that may be due to the message rather than the subscriber,
    and `blames_domain` marks one that may be due to our reputation with the recipient's domain.
    `cause` is what a refusal says about the address, or None if it has to be inferred from the
    reply's codes. `slows_domain` means that the domain asks for fewer messages.
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

    `stop_reason` says why nothing more should be handed over, and what to do. It's empty if sending
    can continue. Nothing should be handed over for `wait_seconds`. `is_busy` means that the server
    accepts nothing for now, perhaps only for seconds.
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
    bounce_address: str = ""  # see `return_path.make_return_path`; if empty, the sender's address is used

    @property
    def address(self) -> str:
        """The address of the only recipient."""
        return self.placeholders.to

    @property
    def return_path(self) -> str:
        """The address for bounces (RFC 5321, section 4.4)."""
        return self.bounce_address or self.template.sender_address

    def to_bytes(self, signer: DkimSigner | None = None) -> bytes:
        """Return the complete message (RFC 5322, section 2.1).

        It's always the same except for the signature's time.
        """
        if signer:
            return splice_signed_message(self.template, self.placeholders, signer)
        return splice_message(self.template, self.placeholders)


class HandoverRecorder(Protocol):
    """A recorder of a provider's progress with each message in a batch, in case the process is killed.

    At the start of a batch, no message has been sent. A message handed over without `mark_sending`
    would be sent again if the process were killed.
    """

    def mark_unsent(self, message: OutgoingMessage) -> None:
        """Record that a message marked as being sent wasn't sent after all, so it can't arrive."""
        ...

    def mark_sending(self, message: OutgoingMessage) -> bool:
        """Record that a message is being sent, right before completing it.

        With SMTP, that's before the final dot. Return False if the message must not be sent, because
        this process was unresponsive for too long and another one may have taken over.
        """
        ...

    def mark_outcome(self, message: OutgoingMessage, outcome: MessageOutcome) -> None:
        """Record the outcome of a message as soon as it's known."""
        ...


class Provider(Protocol):
    """An open provider, for one thread."""

    @property
    def name(self) -> str:
        """The provider's name as stored with deliveries, which is the name of its `ProviderKind`."""
        ...

    @property
    def batch_size(self) -> int:
        """The number of messages to hand over at once, at least one.

        It may change with each outcome.
        """
        ...

    @property
    def batch_timeout(self) -> float:
        """The maximum time for handing over a batch, in seconds."""
        ...

    def send_batch(self, messages: Sequence[OutgoingMessage], recorder: HandoverRecorder) -> BatchOutcome:
        """Hand over each message to its recipient, recording the progress.

        Failures are outcomes, not exceptions.
        """
        ...

    def close(self) -> None:
        """Close all connections. Failures are ignored, and closing twice is allowed."""
        ...


@dataclass(frozen=True, slots=True)
class FinishedMessages:
    """Messages that a provider has finished, and their outcomes, in the same order.

    `returned` are messages that weren't tried for lack of a connection. They may be offered again
    after consent is checked again.
    """

    messages: Sequence[OutgoingMessage]
    batch: BatchOutcome
    returned: Sequence[OutgoingMessage] = ()


@runtime_checkable
class StreamingProvider(Provider, Protocol):
    """A provider that accepts more messages while it hands over others.

    No message has to wait for another's outcome.
    """

    def offer(self, messages: Sequence[OutgoingMessage], recorder: HandoverRecorder) -> None:
        """Accept more messages to hand over.

        Together with unfinished ones, they must not exceed the last reported `batch_size`.
        """
        ...

    def await_outcomes(self, wake_fd: int) -> FinishedMessages:
        """Hand over messages until some are finished, and return them.

        Return none if the file descriptor `wake_fd` becomes readable first. After an exception,
        only messages that were already marked as being sent may still be sent.
        """
        ...


class ParallelProvider:
    """A provider that distributes batches over several providers of one kind, each in its own thread."""

    def __init__(self, providers: Sequence[Provider]) -> None:
        self.providers = tuple(providers)
        self.name = self.providers[0].name
        self.batch_size = sum(provider.batch_size for provider in self.providers)
        self.batch_timeout = max(provider.batch_timeout for provider in self.providers)
        self._executor = ThreadPoolExecutor(len(self.providers), thread_name_prefix="hand")

    def send_batch(self, messages: Sequence[OutgoingMessage], recorder: HandoverRecorder) -> BatchOutcome:
        """Hand over the messages, distributed round-robin.

        The outcomes are in the order of the messages.
        """
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
    """Return the providers that a provider distributes batches to, or else the provider itself.

    There's one per thread.
    """
    return provider.providers if isinstance(provider, ParallelProvider) else (provider,)
