"""Who carries messages out: one thread for each connection. The books are kept by the one who gives them errands.

Opening addresses, splicing, signing and talking to servers happens here; nothing here touches the database.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

import structlog

from digest.deliver.claims import Owed
from digest.deliver.handing import Handed, Outgoing, Transport
from digest.deliver.letters import Letter
from subscribers.vault import VaultError

log = structlog.get_logger("sending")


@dataclass(frozen=True, slots=True)
class Errand:
    """A claimed delivery and the letter that its reader gets."""

    owed: Owed
    letter: Letter


@dataclass(frozen=True, slots=True)
class Done:
    """What came of the errands of one courier.

    `spoiled` says, by delivery, why a message could not be made; `handed` speaks of the others, in their order.
    With an `error`, `left` says whether some may have left all the same.
    """

    courier: "Courier"
    errands: Sequence[Errand]
    handed: Handed = field(default_factory=lambda: Handed(()))
    spoiled: Mapping[str, str] = field(default_factory=dict)
    error: BaseException | None = None
    left: bool = False

    @property
    def carried(self) -> list[Owed]:
        """What was handed to the transport."""
        return [e.owed for e in self.errands if e.owed.delivery not in self.spoiled]


class Courier:
    """One thread over one transport."""

    def __init__(
        self, transport: Transport, write: Callable[[Errand], Outgoing], done: "SimpleQueue[Done]"
    ) -> None:
        self._transport = transport
        self._write = write
        self._done = done
        self._errands: SimpleQueue[Sequence[Errand] | None] = SimpleQueue()
        # A daemon: who interrupts twice will not wait for a server's ten minutes.
        threading.Thread(target=self._work, name=f"courier {transport.name}", daemon=True).start()

    @property
    def batch(self) -> int:
        """How many errands it takes at once."""
        return self._transport.batch

    def send(self, errands: Sequence[Errand] | None) -> None:
        """Send the courier off with errands, or home with None."""
        self._errands.put(errands)

    def _work(self) -> None:
        while (errands := self._errands.get()) is not None:
            self._done.put(self._carry(errands))

    def _carry(self, errands: Sequence[Errand]) -> Done:
        left = False
        try:
            messages, spoiled = self._messages(errands)
            left = bool(messages)
            handed = self._transport.hand_all(messages) if messages else Handed(())
        except BaseException as exc:  # noqa: BLE001 - raised again by whoever keeps the books
            return Done(self, errands, error=exc, left=left)
        return Done(self, errands, handed, spoiled)

    def _messages(self, errands: Sequence[Errand]) -> tuple[list[Outgoing], dict[str, str]]:
        messages, spoiled = [], {}
        for errand in errands:
            try:
                messages.append(self._write(errand))
            except VaultError as exc:  # a damaged row must not hold up everybody behind it
                owed = errand.owed
                log.error("address does not open", person=owed.reader.number, delivery=owed.delivery)  # noqa: TRY400 - no trace needed
                spoiled[owed.delivery] = str(exc)
        return messages, spoiled


class Couriers:
    """The couriers of one run, used by one thread. They must be sent home at the end."""

    def __init__(self, transports: Sequence[Transport], write: Callable[[Errand], Outgoing]) -> None:
        """Hire one courier for each transport; `write` makes a message, in the courier's thread."""
        self._done: SimpleQueue[Done] = SimpleQueue()
        self.idle = [Courier(transport, write, self._done) for transport in transports]
        self.doubted: list[Courier] = []  # idle, but their last errands got no answer
        self.busy = 0
        self.out: dict[str, Errand] = {}  # by delivery: what those who are busy carry
        self.staff = len(self.idle)

    @property
    def room(self) -> int:
        """How many errands the idle ones can take."""
        return sum(courier.batch for courier in self.idle)

    def send(self, errands: Sequence[Errand]) -> None:
        """Share errands out over the idle ones; there must be room for all."""
        assert len(errands) <= self.room, "more errands than the couriers can take"
        start = 0
        while start < len(errands):
            courier = self.idle.pop()
            share = errands[start : start + courier.batch]
            start += len(share)
            self.busy += 1
            self.out |= {errand.owed.delivery: errand for errand in share}
            courier.send(share)

    def returned(self) -> list[Done]:
        """Wait until one comes back, and give what came of the errands of all who are back by then."""
        found = [self._done.get()] if self.busy else []
        while len(found) < self.busy:
            try:
                found.append(self._done.get_nowait())
            except Empty:
                break
        self.busy -= len(found)
        for errand in (e for done in found for e in done.errands):
            del self.out[errand.owed.delivery]
        self.idle += [done.courier for done in found]
        return found

    def doubt(self, courier: Courier) -> None:
        """Give one no more errands until some other brings an answer."""
        self.idle.remove(courier)
        self.doubted.append(courier)

    def trust(self) -> None:
        """Give all of them errands again."""
        self.idle += self.doubted
        self.doubted = []

    def dismiss(self, courier: Courier) -> None:
        """Send one home for good."""
        self.idle.remove(courier)
        self.staff -= 1
        courier.send(None)

    def close(self) -> None:
        """Send all home that are back."""
        self.trust()
        for courier in list(self.idle):
            self.dismiss(courier)
