"""What passes between sending and a provider: a message for one person, and its outcome.

Replies of servers are stored scrubbed of addresses. Several connections may share a batch.
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
    """The result of handing one message over."""

    ACCEPTED = "accepted"
    REFUSED = "refused"  # for good: this message is not offered again
    TRY_LATER = "later"  # not accepted now; another try may be
    UNCERTAIN = "uncertain"  # it left, and no answer came: only evidence or an admin may repeat it
    NOT_TRIED = "untouched"  # it never left: it waits as before


@dataclass(frozen=True, slots=True)
class MessageOutcome:
    """The result for one message; `reply` is scrubbed of addresses (`replies.scrub_addresses`).

    A refusal that `may_blame_message` may be about the message rather than this subscriber; with `blames_domain`, rather about
    what the receiving domain thinks of us. `cause` is what a refusal says about the address, None if only the reply's codes
    tell. With `slows_domain`, the domain asks for fewer messages.
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
    """The outcomes of a batch, in its order, and what they mean for the whole run.

    `stop_reason` is empty, or says why nothing more should be handed over, and what to do. For `wait_seconds` nothing should
    be handed over. `is_busy` means that the server takes nothing for now: a pause of seconds may be enough.
    """

    outcomes: tuple[MessageOutcome, ...]
    stop_reason: str = ""
    wait_seconds: float = 0.0
    is_busy: bool = False


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """One message for one person, ready to be handed over."""

    delivery_id: str  # the opaque id
    outbox_folder: Literal["edition", "notice", "test"]
    template: MessageTemplate
    placeholders: PlaceholderValues
    bounce_address: str = ""  # see `return_path.make_return_path`; empty: the sender's address

    @property
    def address(self) -> str:
        """The one recipient."""
        return self.placeholders.to

    @property
    def return_path(self) -> str:
        """Where bounces go (RFC 5321, section 4.4)."""
        return self.bounce_address or self.template.sender_address

    def to_bytes(self, signer: DkimSigner | None = None) -> bytes:
        """Return the finished bytes (RFC 5322, section 2.1), the same at every call but for the signature's time."""
        if signer:
            return splice_signed_message(self.template, self.placeholders, signer)
        return splice_message(self.template, self.placeholders)


class HandoverRecorder(Protocol):
    """Where a provider marks how far each message of a batch is: it counts if the process is killed.

    At the beginning of a batch no message has left. A provider that hands a message over without its `mark_dot` has it
    sent again after a kill.
    """

    def mark_begun(self, message: OutgoingMessage) -> None:
        """Mark that a message has not left after all, and none of it can arrive."""
        ...

    def mark_dot(self, message: OutgoingMessage) -> bool:
        """Mark that a message leaves now: right before what completes it is written, with SMTP its final dot.

        Return False if it must not leave: this process was silent for too long, and another may have taken the message over.
        """
        ...

    def mark_outcome(self, message: OutgoingMessage, outcome: MessageOutcome) -> None:
        """Mark what came of a message, as soon as that is known."""
        ...


class Provider(Protocol):
    """An open provider. It serves one thread."""

    @property
    def name(self) -> str:
        """The name in a delivery's row: that of its `ProviderKind`."""
        ...

    @property
    def batch_size(self) -> int:
        """How many messages to give it at once.

        It may change with each outcome, and is never less than one.
        """
        ...

    @property
    def batch_timeout(self) -> float:
        """The longest that handing over one batch may take, in seconds."""
        ...

    def send_batch(self, messages: Sequence[OutgoingMessage], marks: HandoverRecorder) -> BatchOutcome:
        """Hand messages over, each to its one recipient, and mark how far each is. Failures are outcomes, not exceptions."""
        ...

    def close(self) -> None:
        """Close all connections; failures are ignored, and closing twice is fine."""
        ...


@dataclass(frozen=True, slots=True)
class FinishedMessages:
    """Messages that a provider is done with, and what came of them, in the same order.

    It gives `returned` ones back untouched, for lack of a connection. They may be offered again once consent was asked again.
    """

    messages: Sequence[OutgoingMessage]
    batch: BatchOutcome
    returned: Sequence[OutgoingMessage] = ()


@runtime_checkable
class StreamingProvider(Provider, Protocol):
    """A provider that takes further messages while it is at others: no message waits for another's outcome."""

    def offer(self, messages: Sequence[OutgoingMessage], marks: HandoverRecorder) -> None:
        """Take messages: with those that it has already, no more than its `batch_size` when it last reported."""
        ...

    def await_outcomes(self, wake_file: int) -> FinishedMessages:
        """Hand over what it has until it is done with some of it, or `wake_file` can be read: then return nothing.

        After an exception, nothing leaves that wasn't marked as leaving before.
        """
        ...


class ParallelProvider:
    """Shares batches out over providers of one kind, at least one, each in a thread of its own."""

    def __init__(self, providers: Sequence[Provider]) -> None:
        self.providers = tuple(providers)
        self.name = self.providers[0].name
        self.batch_size = sum(provider.batch_size for provider in self.providers)
        self.batch_timeout = max(provider.batch_timeout for provider in self.providers)
        self._executor = ThreadPoolExecutor(len(self.providers), thread_name_prefix="hand")

    def send_batch(self, messages: Sequence[OutgoingMessage], marks: HandoverRecorder) -> BatchOutcome:
        """Hand the messages over, dealt out in turn; the outcomes are in the order of the messages."""
        count = len(self.providers)
        futures = [
            self._executor.submit(provider.send_batch, messages[start::count], marks)
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
        """Close them all."""
        for provider in self.providers:
            provider.close()
        self._executor.shutdown()


def list_thread_providers(provider: Provider) -> tuple[Provider, ...]:
    """Return the connections of a provider, each a provider for one thread."""
    return provider.providers if isinstance(provider, ParallelProvider) else (provider,)
