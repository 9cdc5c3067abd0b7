"""What passes between sending and a transport: a message for one person, and what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol

from digest.deliver.dkim import Signer
from digest.deliver.letters import Filled, Letter, signed, splice


class Result(StrEnum):
    """What came of handing one message over."""

    ACCEPTED = "accepted"
    REFUSED = "refused"  # for good: this message is not offered again
    LATER = "later"  # not accepted now; another try may be
    UNCERTAIN = "uncertain"  # it left, and no answer came: nobody may repeat it without a word
    UNTOUCHED = "untouched"  # it never left: it waits as if nothing had been tried


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result for one message; `reply` is scrubbed of addresses (`replies.scrub`)."""

    result: Result
    reply: str = ""


@dataclass(frozen=True, slots=True)
class Handed:
    """The outcomes of a batch, in its order, and what they mean for the whole run.

    `stop` is empty, or says why nothing more should be handed over, and what to do; with `here_alone` that
    holds for this connection, and others may go on. `wait` asks to hand nothing over for so many seconds.
    """

    outcomes: tuple[Outcome, ...]
    stop: str = ""
    here_alone: bool = False
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message for one person, ready to be handed over."""

    delivery: str  # the opaque id
    box: Literal["edition", "notice", "test"]
    letter: Letter
    filled: Filled
    bounces_to: str = ""  # see `return_path.make`; empty: the sender's address

    @property
    def address(self) -> str:
        """The one recipient."""
        return self.filled.to

    @property
    def return_path(self) -> str:
        """Where bounces go (RFC 5321, 4.4)."""
        return self.bounces_to or self.letter.sender_address

    def message(self, signer: Signer | None = None) -> bytes:
        """Give the finished bytes (RFC 5322), the same at every call but for the signature's time."""
        return signed(self.letter, self.filled, signer) if signer else splice(self.letter, self.filled)


class Transport(Protocol):
    """A way out. One transport serves one thread.

    `batch` is how many messages it likes to be given at once: all of them are in doubt when it dies.
    `patience` is the longest, in seconds, that handing over one batch may take.
    """

    @property
    def name(self) -> str:
        """The name that stands in a delivery's row."""
        ...

    @property
    def batch(self) -> int:
        """How many messages it likes to be given at once."""
        ...

    @property
    def patience(self) -> float:
        """The longest that handing over one batch may take, in seconds."""
        ...

    def hand_all(self, messages: Sequence[Outgoing]) -> Handed:
        """Hand messages over, each to its one recipient. Failures are outcomes, not exceptions."""
        ...

    def close(self) -> None:
        """Say goodbye; whatever fails then is of no matter."""
        ...
