"""Writing the steps of an import, each in one short transaction."""

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from sqlalchemy import update
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from subscribers.consent import ledger
from subscribers.store.database import PeopleDatabase
from subscribers.store.models import ImportBatch
from subscribers.transfer import import_store
from subscribers.transfer.import_store import ImportStep
from subscribers.transfer.list_file import ListFileError

# This many steps are about 40 MB of SQLite's log.
_CHECKPOINT_STEPS = 8
# PostgreSQL's codes for an unavailable lock, a deadlock, and a serialization failure.
_TRANSIENT_SQLSTATES = frozenset({"55P03", "40P01", "40001"})


class StepProgress(NamedTuple):
    """The progress committed with a step: all counts including the step's, and the last processed row.

    The row is None if earlier rows are still to follow. Steps are passed in advance. If a step
    can't be written, later ones of the same `attempt` aren't written, either, because its rows
    would be skipped. All of them are decided again, and passed with the next attempt.
    """

    counts: Mapping[str, int]
    last_row: int | None
    attempt: int


@dataclass(frozen=True, slots=True)
class StepResult:
    """The result of a step: whether it was written, and how long its transaction took, in seconds.

    A step isn't written if other processes outdated it or held its locks, or if an earlier one
    wasn't written.
    """

    written: bool
    seconds: float = 0.0


_NOT_WRITTEN = StepResult(written=False)


class ImportStepWriter(Protocol):
    """The interface of writers that write one import's steps in order, in this process or another one."""

    def start_step(self, step: ImportStep, progress: StepProgress) -> None:
        """Accept a step to be written after the previous ones."""

    def finish_step(self) -> StepResult:
        """Return the result of the earliest step whose result hasn't been returned, waiting if necessary."""

    def close(self) -> None:
        """Wait for the accepted steps to be written, and end the writer."""


class DirectStepWriter:
    """A writer that writes one import's steps immediately, in this process and from one thread."""

    def __init__(
        self,
        database: PeopleDatabase,
        batch: int,
        *,
        reached: int,
        now: datetime,
    ) -> None:
        self._database = database
        self._batch = batch
        self._reached = reached
        self._now = now
        with database.read() as session:
            self._dialect = session.get_bind().dialect
        self._steps_written = 0
        self._failed_attempt = 0
        self._results: deque[StepResult] = deque()

    def start_step(self, step: ImportStep, progress: StepProgress) -> None:
        """Write a step (see `write_step`)."""
        self._results.append(self.write_step(step, progress))

    def finish_step(self) -> StepResult:
        """Return the result of the earliest step whose result hasn't been returned."""
        return self._results.popleft()

    def close(self) -> None:
        """Do nothing, because no steps are in flight."""

    def write_step(self, step: ImportStep, progress: StepProgress) -> StepResult:
        """Write a step if it isn't outdated.

        Raises:
            ListFileError: the import was undone, or another process is working on it.
            sqlalchemy.exc.DBAPIError: the database rejected the statement or is unavailable.
        """
        if progress.attempt == self._failed_attempt:
            return _NOT_WRITTEN
        try:
            seconds = self._write_in_transaction(step, progress)
        except import_store.ConcurrentChangeError:
            return self._fail(progress)
        except (IntegrityError, OperationalError) as exc:
            if not _is_transient(exc):
                raise
            return self._fail(progress)
        self._steps_written += 1
        if self._steps_written % _CHECKPOINT_STEPS == 0:
            import_store.checkpoint_sqlite(self._database)
        return StepResult(written=True, seconds=seconds)

    def _write_in_transaction(self, step: ImportStep, progress: StepProgress) -> float:
        """Write a step and its progress, and return how long the transaction took, in seconds."""
        reached = self._reached
        # This is done before the transaction, which is then shorter and allows SQLite's other
        # writers to write between steps.
        links = ledger.prepare_people_with_first_links(self._dialect, step.people, step.events)
        with self._database.write() as session:
            began = time.monotonic()
            reached_before = import_store.lock_unfinished_batch(session, self._batch)
            if reached_before is None:
                raise ListFileError(
                    "This import was undone by another process, so the people in it won't be emailed. Import the file again."
                )
            if reached_before != reached:
                raise ListFileError(
                    "Another process is working on this import. Wait until it's finished, then run the command again."
                )
            import_store.write_step(session, step, links, now=self._now)
            if progress.last_row is not None:
                reached = progress.last_row
                mine = update(ImportBatch).where(ImportBatch.id == self._batch)
                session.execute(mine.values(counts=dict(progress.counts), reached=reached))
        self._reached = reached
        return time.monotonic() - began

    def _fail(self, progress: StepProgress) -> StepResult:
        self._failed_attempt = progress.attempt
        return _NOT_WRITTEN


def _is_transient(exc: DBAPIError) -> bool:
    """Return True if a retry would help because another process was faster or holds a lock."""
    if isinstance(exc, IntegrityError):
        return True
    return getattr(exc.orig, "sqlstate", None) in _TRANSIENT_SQLSTATES or "locked" in str(exc.orig)
