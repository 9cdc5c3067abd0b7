"""A process of a simulated send, which follows the schedule and can be killed at any point.

One that's killed commits nothing after that moment, hears nothing from the relay, and its locks are released, as the kernel would.
"""

import errno
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import scheduler
from digest.app import jobs
from digest.app.approval import approval_overviews
from digest.app.editing import editing_state
from digest.deliver.plan import canary, planning
from digest.deliver.send.claims import run_progress_file
from digest.deliver.send.run import send_workers
from digest.installation.opened_installation import Installation
from digest.settings import Settings
from digest.store import process_identity
from digest.store.engine import Database, open_database
from subscribers.store.compiled_statements import insert_missing
from tests.deliver.commit_faults import CommitWatcher, watch_commits
from tests.deliver.conftest import KEYS
from tests.deliver.send_scenario import Mishap, SendScenario
from tests.moments import RELEASE, Clock
from tests.shared_statements import share_compiled_statements

DEADLINE_OVER = RELEASE + timedelta(days=1)
WORKER_TIMEOUT = 20.0  # seconds until a worker of a dead process has noticed that its connections are gone


def open_simulated_database(url: str, watcher: CommitWatcher | None = None) -> Database:
    """Open the database for one process; the watcher sees its commits."""
    database = open_database(url)
    if watcher:
        watch_commits(database.engine, watcher)
    database.row_keys.find = lambda: KEYS
    return share_compiled_statements(database)


class KilledError(BaseException):
    """The process is dead: whatever it would do next doesn't happen."""


class InterruptionError(BaseException):
    """The process is interrupted, and may still tidy up."""


class StoppingFlag(threading.Event):
    """What jobs wait by: the wait takes no time but the clock's."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        self._clock.sleep(timeout or 0.0)
        return self.is_set()


class _PointWatcher(CommitWatcher):
    def __init__(self, process: "SimulatedProcess") -> None:
        super().__init__()
        self._process = process

    def before_commit(self, _kind: str) -> None:
        self._process.reach("COMMIT")
        self._process.require_alive()
        self._process.require_disk_space()

    def after_commit(self, _kind: str) -> None:
        self._process.reach("COMMITTED")
        self._process.require_alive()


@dataclass
class SimulatedProcess:
    """A process that follows the timetable, and the mishaps that it meets. `act` does what others do meanwhile."""

    settings: Settings
    scenario: SendScenario
    clock: Clock
    mishaps: tuple[Mishap, ...]
    act: Callable[[Mishap], object]
    is_dead: bool = False
    is_interrupted: bool = False
    failing_commits: int = 0
    run_files: list[run_progress_file.RunFile] = field(default_factory=list)
    workers: list[send_workers.SendWorker] = field(default_factory=list)
    reached: Counter[str] = field(default_factory=Counter)
    backoff: scheduler.EditionSendBackoff = field(default_factory=scheduler.EditionSendBackoff)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self.stopping = StoppingFlag(self.clock)
        process_identity._identify_process.cache_clear()
        self.database = open_simulated_database(str(self.settings.database_url), _PointWatcher(self))
        installation, owner = Installation(self.settings, self.database), process_identity.identify_current_process()
        self.context = jobs.JobContext(installation, self.tell_time, self.stopping, owner)

    def tell_time(self) -> datetime:
        """Return the time to the process, unless it was killed or interrupted meanwhile."""
        self.require_alive()
        if self.is_interrupted:
            self.is_interrupted = False
            raise InterruptionError
        return self.clock()

    def require_alive(self) -> None:
        if self.is_dead:
            raise KilledError

    def require_disk_space(self) -> None:
        if self.failing_commits:
            self.failing_commits -= 1
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

    def reach(self, point: str) -> None:
        """Note that the process came to a point, and let strike what strikes there."""
        with self._lock:
            self.reached[point] += 1
            count = self.reached[point]
        for mishap in self.mishaps:
            if (mishap.point, mishap.count) == (point, count) and not self.is_dead:
                self._strike(mishap)

    def _strike(self, mishap: Mishap) -> None:
        self.act(mishap)
        match mishap.what:
            case "kill":
                self.is_dead = True
            case "interrupt":
                self.is_interrupted = True
            case "stop":
                self.stopping.set()
            case "jump":
                self.clock.sleep(mishap.amount)
            case "full disk":
                self.failing_commits = mishap.amount

    def run_step(self, *, is_corrected: bool) -> None:
        """Do what the timetable owes now."""
        if not self.reached["STEP"]:
            jobs.record_schedule_start(self.context)
            jobs.run_job(self.context, "recover_runs")
        self.reached["STEP"] += 1
        if self.scenario.at_deadline and self.clock.now <= DEADLINE_OVER:
            scheduler.run_due_slots(self.context, "deadline")
        scheduler.send_due_editions(self.context, self.backoff)
        if is_corrected:
            scheduler.run_in_order(self.context, "plan_corrections", "send_corrections")

    def end(self) -> None:
        """End as the kernel ends a process: its connections and locks are gone."""
        self.is_dead = True
        for worker in self.workers:
            if worker._thread.is_alive():  # not dismissed before
                worker.dismiss()
        for thread in threading.enumerate():
            if thread.name.startswith("worker "):
                thread.join(WORKER_TIMEOUT)
                assert not thread.is_alive(), "a worker of a dead process goes on"
        for worker in self.workers:  # one may have connected after its provider was closed
            worker._provider.close()
        for file in self.run_files:
            if file._descriptor is not None:
                file._buffer.close()  # type: ignore[union-attr]
                os.close(file._descriptor)
                file._descriptor = None
        self.database.close()


def _reach_alive(process: SimulatedProcess | None, point: str) -> None:
    """Let a process that's alive come to a point, and go no further if it dies there."""
    if process and not process.is_dead:
        process.reach(point)
        process.require_alive()


@contextmanager
def simulated_processes(scenario: SendScenario, find_process: Callable[[], SimulatedProcess | None]) -> Iterator[None]:
    """Let the product's parts that a kill concerns be those of the simulated process within the block."""
    create_file, begin_worker = run_progress_file._create_run_file, send_workers.SendWorker.__init__
    mark_sending = run_progress_file.HandoverSlots.mark_sending

    def create_recorded(*given: Any) -> run_progress_file.RunFile:
        if not scenario.has_run_files:
            raise OSError(errno.ENOSPC, "No space left on device")
        file = create_file(*given)
        if process := find_process():
            process.run_files.append(file)
        return file

    def begin_recorded(worker: Any, *given: Any) -> None:
        begin_worker(worker, *given)
        if process := find_process():
            process.workers.append(worker)

    def mark_and_reach(slots: Any, message: Any) -> bool:
        may_leave = mark_sending(slots, message)
        _reach_alive(find_process(), "MARK")
        return may_leave

    def reach_and_plan(session: Any, table: Any, rows: Any) -> None:
        _reach_alive(find_process(), "PLAN")
        insert_missing(session, table, rows)

    with ExitStack() as stack:
        # A memory of its own: the process that runs the tests keeps its name.
        identify = cache(process_identity._identify_process.__wrapped__)
        stack.enter_context(patch.object(process_identity, "_identify_process", identify))
        stack.enter_context(patch.object(planning, "insert_missing", reach_and_plan))
        stack.enter_context(patch.object(run_progress_file, "_create_run_file", create_recorded))
        stack.enter_context(patch.object(send_workers.SendWorker, "__init__", begin_recorded))
        stack.enter_context(patch.object(run_progress_file.HandoverSlots, "mark_sending", mark_and_reach))
        stack.enter_context(patch.object(jobs.log, "exception", _report_failed_job))
        if scenario.at_deadline == "send-last-approved":  # the draft has no proposal behind it
            state = SimpleNamespace(edits=(), approved=False)
            stack.enter_context(patch.object(editing_state, "read_editing_state", lambda *_: state))
            stack.enter_context(patch.object(approval_overviews, "_bring_back_draft", lambda *_: state))
        stack.enter_context(patch.object(planning, "MAX_TRANSACTION_ROWS", scenario.planned_together))
        if scenario.has_canary:
            stack.enter_context(patch.object(canary, "MIN_EDITION_SIZE", 4))
            stack.enter_context(patch.object(canary, "MIN_CANARY_SIZE", 2))
        yield


def _report_failed_job(*_: Any, **details: Any) -> None:
    raise AssertionError(f"a job failed: {details}")
