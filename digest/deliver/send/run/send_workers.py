"""Send workers: threads that hand over messages while the calling thread assigns tasks and stores the results.

Workers decrypt addresses, compose and sign messages, and talk to servers; they never use the database.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread

from digest.deliver.providers.base import OutgoingMessage, Provider, StreamingProvider, list_thread_providers
from digest.deliver.send.claims.claim_buffer import MAX_CLAIM_BUFFER
from digest.deliver.send.claims.run_progress_file import HandoverSlots, RunFile
from digest.deliver.send.handover import FinishedTaskBatch, SendTask, compose_and_hand_over_batch, compose_tasks

HANDOUT_SIZE = 25  # tasks assigned to a streaming worker at once


@dataclass(frozen=True, slots=True)
class WorkerResult:
    """The outcome of some of the tasks assigned to a worker."""

    worker: "SendWorker"
    batch: FinishedTaskBatch


class SendWorker:
    """A thread with one provider, which takes a batch once it has finished the previous one."""

    is_streaming = False

    def __init__(self, provider: Provider, slots: HandoverSlots, results: "SimpleQueue[WorkerResult]") -> None:
        self._provider = provider
        self._slots = slots
        self._results = results
        self._task_queue: SimpleQueue[Sequence[SendTask] | None] = SimpleQueue()
        self.batch_size = provider.batch_size  # at the time of the last result
        self.task_count = 0  # tasks that it currently has
        self.is_suspended = False  # its last tasks got no reply
        # It's a daemon thread because a second interruption must not wait for a server's 10-minute timeout.
        self._thread = Thread(target=self._run_until_dismissed, name=f"worker {provider.name}", daemon=True)
        self._thread.start()

    @property
    def handout_size(self) -> int:
        """The best number of tasks to assign at once."""
        return self.batch_size

    @property
    def free_capacity(self) -> int:
        """The number of tasks that the worker can take now."""
        return 0 if self.is_suspended or self.task_count else self.batch_size

    def assign_tasks(self, tasks: Sequence[SendTask]) -> None:
        """Assign tasks to the worker, which must have room for all of them.

        Their slots must have begun.
        """
        self.task_count += len(tasks)
        self._queue_tasks(tasks)

    def note_result(self, batch: FinishedTaskBatch) -> None:
        """Record that the worker has finished some tasks."""
        self.task_count -= len(batch.tasks)
        self.batch_size = self._provider.batch_size

    def dismiss(self) -> None:
        """End the thread, either now or once it has finished its tasks."""
        self._queue_tasks(None)
        if not self.task_count:
            self._thread.join()  # from now on, another thread may use its provider

    def _run_until_dismissed(self) -> None:
        while (tasks := self._task_queue.get()) is not None:
            self._report(compose_and_hand_over_batch(self._provider, tasks, self._slots))

    def _queue_tasks(self, tasks: Sequence[SendTask] | None) -> None:
        self._task_queue.put(tasks)

    def _report(self, batch: FinishedTaskBatch) -> None:
        self._results.put(WorkerResult(self, batch))


class StreamingWorker(SendWorker):
    """A thread with a provider that accepts more messages while it hands over others."""

    is_streaming = True

    def __init__(self, provider: StreamingProvider, slots: HandoverSlots, results: "SimpleQueue[WorkerResult]") -> None:
        self._stream = provider
        self._wake_fd = os.eventfd(0, os.EFD_SEMAPHORE)  # readable once per assignment
        self._tasks: dict[str, SendTask] = {}  # the provider's tasks, by delivery ID
        super().__init__(provider, slots, results)

    @property
    def handout_size(self) -> int:
        """The best number of tasks to assign at once."""
        return min(self.batch_size, HANDOUT_SIZE)

    @property
    def free_capacity(self) -> int:
        """The number of additional tasks that the worker can take now."""
        return 0 if self.is_suspended else max(0, self.batch_size - self.task_count)

    def _queue_tasks(self, tasks: Sequence[SendTask] | None) -> None:
        os.eventfd_write(self._wake_fd, 1)
        super()._queue_tasks(tasks)  # last, because the thread closes the file once it's dismissed

    def _run_until_dismissed(self) -> None:
        try:
            while not self._take_step():
                pass
        except BaseException as exc:  # noqa: BLE001 - reraised by the thread that writes to the database
            for is_leaving in (True, False):
                tasks = [task for id_, task in self._tasks.items() if self._slots.may_have_arrived(id_) is is_leaving]
                self._report(FinishedTaskBatch(tasks, error=exc, may_have_left=is_leaving))
            while (assigned := self._task_queue.get()) is not None:
                self._report(FinishedTaskBatch(assigned, error=exc))
        finally:
            os.close(self._wake_fd)

    def _return_tasks(self, messages: Sequence[OutgoingMessage]) -> list[SendTask]:
        return [self._tasks.pop(message.delivery_id) for message in messages]

    def _take_step(self) -> bool:
        """Report the tasks that the provider has finished, or pass on tasks that have been assigned.

        Return True if the worker is dismissed.
        """
        finished = self._stream.await_outcomes(self._wake_fd)
        if finished.messages or finished.returned:
            if finished.returned:
                self._report(FinishedTaskBatch(self._return_tasks(finished.returned), is_returned=True))
            self._report(FinishedTaskBatch(self._return_tasks(finished.messages), finished.batch))
            return False
        os.eventfd_read(self._wake_fd)
        assigned = self._task_queue.get()
        if assigned is None:
            return True
        self._tasks |= {task.delivery.delivery_id: task for task in assigned}
        untried, messages = compose_tasks(assigned, self._slots)
        if untried.tasks:
            for task in untried.tasks:
                del self._tasks[task.delivery.delivery_id]
            self._report(untried)
        self._stream.offer(messages, self._slots)
        return False


def count_run_file_slots(provider: Provider) -> int:
    """Return how many slots a run with this provider needs for claims that have no recorded results."""
    return sum(each.batch_size for each in list_thread_providers(provider)) + MAX_CLAIM_BUFFER


class WorkerPool:
    """The workers of one run, used by one thread. Close the pool at the end."""

    def __init__(self, providers: Sequence[Provider], run_file: RunFile) -> None:
        """Start one worker for each provider, giving it slots in the run's file."""
        self._results: SimpleQueue[WorkerResult] = SimpleQueue()
        self._slots = run_file.take_slots()
        self._workers = [self._start_worker(provider) for provider in providers]
        self.tasks_in_flight: dict[str, SendTask] = {}  # the workers' tasks, by delivery ID
        self.first_capacity = self.idle_capacity  # before any of them takes more

    def _start_worker(self, provider: Provider) -> SendWorker:
        if isinstance(provider, StreamingProvider):
            return StreamingWorker(provider, self._slots, self._results)
        return SendWorker(provider, self._slots, self._results)

    @property
    def free_capacity(self) -> int:
        """The number of tasks that the workers can take now."""
        return min(self.idle_capacity, self._slots.free_count)

    @property
    def idle_capacity(self) -> int:
        """The number of tasks that the workers can take once their results have been committed."""
        return sum(worker.free_capacity for worker in self._workers)

    @property
    def handout_size(self) -> int:
        """The best number of tasks to assign at once to the worker that takes the most."""
        return max(worker.handout_size for worker in self._workers)

    def assign_tasks(self, tasks: Sequence[SendTask]) -> None:
        """Distribute tasks among the workers, which must have room for all of them."""
        assert len(tasks) <= self.free_capacity, "more tasks than the workers can take"
        start = 0
        for worker in self._workers:
            if share := tasks[start : start + worker.free_capacity]:
                start += len(share)
                tasks_by_delivery = {task.delivery.delivery_id: task for task in share}
                self._slots.begin_batch(list(tasks_by_delivery))
                self.tasks_in_flight |= tasks_by_delivery
                worker.assign_tasks(share)

    def wait_for_results(self, seconds: float | None = None) -> list[WorkerResult]:
        """Wait until there's a result or a number of seconds have passed, and return all available results."""
        results: list[WorkerResult] = []
        with suppress(Empty):
            results.append(self._results.get(timeout=seconds))
            while True:
                results.append(self._results.get_nowait())
        for result in results:
            result.worker.note_result(result.batch)
            self._slots.end_batch(result.batch.ended)
            for task in result.batch.tasks:
                del self.tasks_in_flight[task.delivery.delivery_id]
        return results

    def note_commit(self) -> None:
        """Record that all returned results have been committed."""
        self._slots.free_ended()

    def resume_workers(self) -> None:
        """Let suspended workers take tasks again."""
        for worker in self._workers:
            worker.is_suspended = False

    def close(self) -> None:
        """End all workers. Busy ones end once they've finished."""
        for worker in self._workers:
            worker.dismiss()
