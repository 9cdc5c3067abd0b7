"""Who carries messages out: one thread for each connection. The books are kept by the one who gives them errands.

Opening addresses, splicing, signing and talking to servers happens here; nothing here touches the database.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

import structlog

from digest.deliver.compose.message import MessageTemplate
from digest.deliver.providers.base import BatchOutcome, OutgoingMessage, Provider
from digest.deliver.send.claims import ClaimedDelivery
from subscribers.crypto.keys import DecryptionError

log = structlog.get_logger("sending")


@dataclass(frozen=True, slots=True)
class SendTask:
    """A claimed delivery and the letter that its reader gets."""

    delivery: ClaimedDelivery
    template: MessageTemplate


@dataclass(frozen=True, slots=True)
class WorkerResult:
    """What came of the errands of one courier.

    `compose_errors` says, by delivery, why a message could not be made; `batch_outcome` speaks of the others, in their order.
    With an `error`, `may_have_left` says whether some may have left all the same.
    """

    worker: "SendWorker"
    tasks: Sequence[SendTask]
    batch_outcome: BatchOutcome = field(default_factory=lambda: BatchOutcome(()))
    compose_errors: Mapping[str, str] = field(default_factory=dict)
    error: BaseException | None = None
    may_have_left: bool = False

    @property
    def handed_over(self) -> list[ClaimedDelivery]:
        """What was handed to the transport."""
        return [e.delivery for e in self.tasks if e.delivery.delivery_id not in self.compose_errors]


class SendWorker:
    """One thread over one transport."""

    def __init__(
        self,
        provider: Provider,
        compose_message: Callable[[SendTask], OutgoingMessage],
        results: "SimpleQueue[WorkerResult]",
    ) -> None:
        self._provider = provider
        self._compose_message = compose_message
        self._results = results
        self._task_queue: SimpleQueue[Sequence[SendTask] | None] = SimpleQueue()
        # A daemon: who interrupts twice will not wait for a server's ten minutes.
        threading.Thread(target=self._run_until_dismissed, name=f"courier {provider.name}", daemon=True).start()

    @property
    def batch_size(self) -> int:
        """How many errands it takes at once."""
        return self._provider.batch_size

    def assign_tasks(self, tasks: Sequence[SendTask] | None) -> None:
        """Send the courier off with errands, or home with None."""
        self._task_queue.put(tasks)

    def _run_until_dismissed(self) -> None:
        while (errands := self._task_queue.get()) is not None:
            self._results.put(self._send_tasks(errands))

    def _send_tasks(self, tasks: Sequence[SendTask]) -> WorkerResult:
        left = False
        try:
            messages, spoiled = self._compose_messages(tasks)
            left = bool(messages)
            handed = self._provider.send_batch(messages) if messages else BatchOutcome(())
        except BaseException as exc:  # noqa: BLE001 - raised again by whoever keeps the books
            return WorkerResult(self, tasks, error=exc, may_have_left=left)
        return WorkerResult(self, tasks, handed, spoiled)

    def _compose_messages(self, tasks: Sequence[SendTask]) -> tuple[list[OutgoingMessage], dict[str, str]]:
        messages, spoiled = [], {}
        for errand in tasks:
            try:
                messages.append(self._compose_message(errand))
            except DecryptionError as exc:  # a damaged row must not hold up everybody behind it
                owed = errand.delivery
                log.error("address does not open", person=owed.reader.number, delivery=owed.delivery_id)  # noqa: TRY400 - no trace needed
                spoiled[owed.delivery_id] = str(exc)
        return messages, spoiled


class WorkerPool:
    """The couriers of one run, used by one thread. They must be sent home at the end."""

    def __init__(self, providers: Sequence[Provider], compose_message: Callable[[SendTask], OutgoingMessage]) -> None:
        """Hire one courier for each transport; `compose_message` makes a message, in the courier's thread."""
        self._results: SimpleQueue[WorkerResult] = SimpleQueue()
        self.idle_workers = [SendWorker(transport, compose_message, self._results) for transport in providers]
        self.suspended_workers: list[SendWorker] = []  # idle, but their last errands got no answer
        self.busy_count = 0
        self.tasks_in_flight: dict[str, SendTask] = {}  # by delivery: what those who are busy carry
        self.worker_count = len(self.idle_workers)

    @property
    def free_capacity(self) -> int:
        """How many errands the idle ones can take."""
        return sum(courier.batch_size for courier in self.idle_workers)

    def assign_tasks(self, tasks: Sequence[SendTask]) -> None:
        """Share errands out over the idle ones; there must be room for all."""
        assert len(tasks) <= self.free_capacity, "more errands than the couriers can take"
        start = 0
        while start < len(tasks):
            courier = self.idle_workers.pop()
            share = tasks[start : start + courier.batch_size]
            start += len(share)
            self.busy_count += 1
            self.tasks_in_flight |= {errand.delivery.delivery_id: errand for errand in share}
            courier.assign_tasks(share)

    def wait_for_results(self) -> list[WorkerResult]:
        """Wait until one comes back, and give what came of the errands of all who are back by then."""
        found = [self._results.get()] if self.busy_count else []
        while len(found) < self.busy_count:
            try:
                found.append(self._results.get_nowait())
            except Empty:
                break
        self.busy_count -= len(found)
        for errand in (e for done in found for e in done.tasks):
            del self.tasks_in_flight[errand.delivery.delivery_id]
        self.idle_workers += [done.worker for done in found]
        return found

    def suspend_worker(self, worker: SendWorker) -> None:
        """Give one no more errands until some other brings an answer."""
        self.idle_workers.remove(worker)
        self.suspended_workers.append(worker)

    def resume_workers(self) -> None:
        """Give all of them errands again."""
        self.idle_workers += self.suspended_workers
        self.suspended_workers = []

    def dismiss_worker(self, worker: SendWorker) -> None:
        """Send one home for good."""
        self.idle_workers.remove(worker)
        self.worker_count -= 1
        worker.assign_tasks(None)

    def close(self) -> None:
        """Send all home that are back."""
        self.resume_workers()
        for courier in list(self.idle_workers):
            self.dismiss_worker(courier)
