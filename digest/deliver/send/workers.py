"""Send workers: one thread for each connection. The calling thread gives them tasks and writes the results down.

Decrypting addresses, composing, signing and talking to servers happens in the workers; they never use the database.
"""

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from digest.deliver.providers.base import Provider
from digest.deliver.send.handover import BatchResult, SendTask, hand_over_tasks
from digest.deliver.send.run_file import HandoverSlots, RunFile


@dataclass(frozen=True, slots=True)
class WorkerResult:
    """What came of the tasks of one worker."""

    worker: "SendWorker"
    batch: BatchResult


class SendWorker:
    """One thread over one provider."""

    def __init__(self, provider: Provider, slots: HandoverSlots, results: "SimpleQueue[WorkerResult]") -> None:
        self._provider = provider
        self._slots = slots
        self._results = results
        self._task_queue: SimpleQueue[Sequence[SendTask] | None] = SimpleQueue()
        # A daemon: who interrupts twice will not wait for a server's ten minutes.
        threading.Thread(target=self._run_until_dismissed, name=f"worker {provider.name}", daemon=True).start()

    @property
    def batch_size(self) -> int:
        """The number of tasks that it takes at once."""
        return self._provider.batch_size

    def assign_tasks(self, tasks: Sequence[SendTask] | None) -> None:
        """Give the worker tasks, what came of its last ones being committed, or None to end its thread."""
        if tasks is not None:
            self._slots.begin_batch([task.delivery.delivery_id for task in tasks])
        self._task_queue.put(tasks)

    def _run_until_dismissed(self) -> None:
        while (tasks := self._task_queue.get()) is not None:
            self._results.put(WorkerResult(self, hand_over_tasks(self._provider, tasks, self._slots)))


class WorkerPool:
    """The workers of one run, used by one thread; close it at the end."""

    def __init__(self, providers: Sequence[Provider], run_file: RunFile) -> None:
        """Start one worker for each provider, with its slots in the run's file."""
        self._results: SimpleQueue[WorkerResult] = SimpleQueue()
        self.idle_workers = [
            SendWorker(provider, run_file.take_slots(provider.batch_size), self._results) for provider in providers
        ]
        self.suspended_workers: list[SendWorker] = []  # idle, but their last tasks got no answer
        self.busy_count = 0
        self.tasks_in_flight: dict[str, SendTask] = {}  # by delivery: what the busy ones hold
        self.worker_count = len(self.idle_workers)

    @property
    def free_capacity(self) -> int:
        """The number of tasks that the idle ones can take."""
        return sum(worker.batch_size for worker in self.idle_workers)

    def assign_tasks(self, tasks: Sequence[SendTask]) -> None:
        """Share tasks out over the idle ones; there must be room for all."""
        assert len(tasks) <= self.free_capacity, "more tasks than the workers can take"
        start = 0
        while start < len(tasks):
            worker = self.idle_workers.pop()
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
            for task in result.batch.tasks:
                del self.tasks_in_flight[task.delivery.delivery_id]
        self.idle_workers += [result.worker for result in results]
        return results

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
        worker.assign_tasks(None)

    def close(self) -> None:
        """End all that are idle or suspended."""
        self.resume_workers()
        for worker in list(self.idle_workers):
            self.dismiss_worker(worker)
