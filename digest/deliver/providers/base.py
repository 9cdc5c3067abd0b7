"""What passes between sending and a provider: a message for one person, and its outcome."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol

from digest.deliver.compose.dkim import DkimSigner
from digest.deliver.compose.message import MessageTemplate, PlaceholderValues, splice_message, splice_signed_message


class HandoverResult(StrEnum):
    """The result of handing one message over."""

    ACCEPTED = "accepted"
    REFUSED = "refused"  # for good: this message is not offered again
    TRY_LATER = "later"  # not accepted now; another try may be
    UNCERTAIN = "uncertain"  # it left, and no answer came: only evidence or an admin may repeat it
    NOT_TRIED = "untouched"  # it never left: it waits as before


@dataclass(frozen=True, slots=True)
class MessageOutcome:
    """The result for one message; `reply` is scrubbed of addresses (`replies.scrub_addresses`).

    `may_blame_message` tells of a refusal that it may be about the message that all get, not about this reader.
    """

    result: HandoverResult
    reply: str = ""
    may_blame_message: bool = False


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """The outcomes of a batch, in its order, and what they mean for the whole run.

    `stop_reason` is empty, or says why nothing more should be handed over, and what to do; with `this_connection_only`
    others may go on. For `wait_seconds` nothing should be handed over.
    """

    outcomes: tuple[MessageOutcome, ...]
    stop_reason: str = ""
    this_connection_only: bool = False
    wait_seconds: float = 0.0


def stopped_batch(
    outcomes: Sequence[MessageOutcome], count: int, reason: str, *, this_connection_only: bool = False
) -> BatchOutcome:
    """Return the outcome of a batch of `count` that stopped after `outcomes`: the others were not tried."""
    rest = (MessageOutcome(HandoverResult.NOT_TRIED),) * (count - len(outcomes))
    return BatchOutcome((*outcomes, *rest), stop_reason=reason, this_connection_only=this_connection_only)


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
        """Where bounces go (RFC 5321, 4.4)."""
        return self.bounce_address or self.template.sender_address

    def to_bytes(self, signer: DkimSigner | None = None) -> bytes:
        """Return the finished bytes (RFC 5322), the same at every call but for the signature's time."""
        if signer:
            return splice_signed_message(self.template, self.placeholders, signer)
        return splice_message(self.template, self.placeholders)


class Provider(Protocol):
    """An open provider. It serves one thread."""

    @property
    def name(self) -> str:
        """The name in a delivery's row: that of its `ProviderKind`."""
        ...

    @property
    def batch_size(self) -> int:
        """How many messages to give it at once: all of them are in doubt when the process dies."""
        ...

    @property
    def batch_timeout(self) -> float:
        """The longest that handing over one batch may take, in seconds."""
        ...

    def send_batch(self, messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        """Hand messages over, each to its one recipient. Failures are outcomes, not exceptions."""
        ...

    def close(self) -> None:
        """Close all connections; failures are ignored, and closing twice is fine."""
        ...
