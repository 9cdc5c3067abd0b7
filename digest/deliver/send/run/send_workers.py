"""Send workers: one thread for each connection. The calling thread gives them tasks and writes the results down.

Decrypting addresses, composing, signing and talking to servers happens in the workers; they never use the database.
"""

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from digest.deliver.providers.base import GROWN_BATCH_SIZE, Provider, list_thread_providers
from digest.deliver.send.claims.claim_reserve import MAX_RESERVE
from digest.deliver.send.claims.run_file import HandoverSlots, RunFile
from digest.deliver.send.handover import BatchResult, SendTask, hand_over_tasks


@dataclass(frozen=True, slots=True)
class WorkerResult:
    """What came of the tasks of one worker."""

    worker: "SendWorker"
    batch: BatchResult


class SendWorker:
    """One thread over one provider. It takes the slots of a batch, which are free again once its results are committed."""

    def __init__(
        self, provider: Provider, slots: Sequence[HandoverSlots], results: "SimpleQueue[WorkerResult]"
    ) -> None:
        self._provider = provider
        self._free_slots = list(slots)
        self._slots_in_use: HandoverSlots | None = None  # of the batch that it holds
        self._uncommitted_slots: list[HandoverSlots] = []
        self._results = results
        self._task_queue: SimpleQueue[tuple[Sequence[SendTask], HandoverSlots] | None] = SimpleQueue()
        # A daemon: who interrupts twice will not wait for a server's ten minutes.
        threading.Thread(target=self._run_until_dismissed, name=f"worker {provider.name}", daemon=True).start()

    @property
    def batch_size(self) -> int:
        """The number of tasks that it takes at once."""
        return self._provider.batch_size

    @property
    def awaits_commit(self) -> bool:
        """Whether it can take no more tasks before its results are committed."""
        return not self._free_slots

    def assign_tasks(self, tasks: Sequence[SendTask]) -> None:
        """Give the worker tasks, at most `batch_size`."""
        self._slots_in_use = slots = self._free_slots.pop()
        slots.begin_batch([task.delivery.delivery_id for task in tasks])
        self._task_queue.put((tasks, slots))

    def note_result(self) -> None:
        """Note that it is done with its batch."""
        assert self._slots_in_use is not None, "it holds a batch"
        self._uncommitted_slots.append(self._slots_in_use)
        self._slots_in_use = None

    def note_commit(self) -> None:
        """Note that what came of the batches that it is done with is committed."""
        self._free_slots += self._uncommitted_slots
        self._uncommitted_slots = []

    def dismiss(self) -> None:
        """End its thread."""
        self._task_queue.put(None)

    def _run_until_dismissed(self) -> None:
        while (assigned := self._task_queue.get()) is not None:
            tasks, slots = assigned
            self._results.put(WorkerResult(self, hand_over_tasks(self._provider, tasks, slots)))


def _batch_slot_sets(batch_size: int) -> int:
    """Return for how many batches a worker has slots: those that it may hand over between two commits."""
    return 1 + -(-MAX_RESERVE // batch_size) if batch_size <= MAX_RESERVE else 1


def count_slots(provider: Provider) -> int:
    """Return how many slots the workers of a run over this provider need."""
    sizes = [each.batch_size for each in list_thread_providers(provider)]
    return sum(_slots_per_set(size) * _batch_slot_sets(size) for size in sizes)


def _slots_per_set(batch_size: int) -> int:
    return max(batch_size, GROWN_BATCH_SIZE)


def _take_batch_slots(provider: Provider, run_file: RunFile) -> list[HandoverSlots]:
    size = provider.batch_size
    return [run_file.take_slots(_slots_per_set(size)) for _ in range(_batch_slot_sets(size))]


class WorkerPool:
    """The workers of one run, used by one thread; close it at the end."""

    def __init__(self, providers: Sequence[Provider], run_file: RunFile) -> None:
        """Start one worker for each provider, with its slots in the run's file."""
        self._results: SimpleQueue[WorkerResult] = SimpleQueue()
        self._workers = [
            SendWorker(provider, _take_batch_slots(provider, run_file), self._results) for provider in providers
        ]
        self.idle_workers = list(self._workers)
        self.suspended_workers: list[SendWorker] = []  # idle, but their last tasks got no answer
        self.busy_count = 0
        self.tasks_in_flight: dict[str, SendTask] = {}  # by delivery: what the busy ones hold
        self.worker_count = len(self.idle_workers)
        self.first_capacity = self.idle_capacity  # before any batch grows

    @property
    def free_capacity(self) -> int:
        """The number of tasks that the idle ones can take now."""
        return sum(worker.batch_size for worker in self.idle_workers if not worker.awaits_commit)

    @property
    def idle_capacity(self) -> int:
        """The number of tasks that the idle ones can take once their results are committed."""
        return sum(worker.batch_size for worker in self.idle_workers)

    @property
    def largest_batch(self) -> int:
        """The number of tasks that the largest of them takes at once."""
        return max(worker.batch_size for worker in self._workers)

    def assign_tasks(self, tasks: Sequence[SendTask]) -> None:
        """Share tasks out over the idle ones; there must be room for all."""
        assert len(tasks) <= self.free_capacity, "more tasks than the workers can take"
        start = 0
        while start < len(tasks):
            worker = next(worker for worker in reversed(self.idle_workers) if not worker.awaits_commit)
            self.idle_workers.remove(worker)
            share = tasks[start : start + worker.batch_size]
            start += len(share)
            self.busy_count += 1
            self.tasks_in_flight |= {task.delivery.delivery_id: task for task in share}
            worker.assign_tasks(share)

    def wait_for_results(self, seconds: float | None = None) -> list[WorkerResult]:
        """Wait until one worker is done, or for so many seconds; return the results of all that are done by then."""
        results: list[WorkerResult] = []
        with suppress(Empty):
            while len(results) < self.busy_count:
                results.append(self._results.get_nowait() if results else self._results.get(timeout=seconds))
        self.busy_count -= len(results)
        for result in results:
            result.worker.note_result()
            for task in result.batch.tasks:
                del self.tasks_in_flight[task.delivery.delivery_id]
        self.idle_workers += [result.worker for result in results]
        return results

    def note_commit(self) -> None:
        """Note that all results that it gave are committed."""
        for worker in self._workers:
            worker.note_commit()

    def suspend_worker(self, worker: SendWorker) -> None:
        """Give an idle one no more tasks until another brings an answer."""
        self.idle_workers.remove(worker)
        self.suspended_workers.append(worker)

    def resume_workers(self) -> None:
        """Make the suspended ones idle again."""
        self.idle_workers += self.suspended_workers
        self.suspended_workers = []

    def dismiss_worker(self, worker: SendWorker) -> None:
        """End an idle one for good."""
        self.idle_workers.remove(worker)
        self.worker_count -= 1
        worker.dismiss()

    def close(self) -> None:
        """End all that are idle or suspended."""
        self.resume_workers()
        for worker in list(self.idle_workers):
            self.dismiss_worker(worker)
