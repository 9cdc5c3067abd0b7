"""An import under way: rows are processed some at a time, each time in one short transaction."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import update
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from subscribers.consent.departure_log import DepartureKind, DepartureLog, PendingDeparture
from subscribers.consent.suppression import DEPARTURE_KINDS
from subscribers.crypto.keys import KeyRing
from subscribers.crypto.stored_addresses import AddressHashes
from subscribers.store.database import PeopleDatabase, is_postgresql
from subscribers.store.models import ConsentKind, ImportBatch
from subscribers.transfer import import_store
from subscribers.transfer.decisions import ExistingPerson, RowOutcome, decide_row
from subscribers.transfer.import_report import ImportReport, count_row
from subscribers.transfer.list_file import ListFileError
from subscribers.transfer.options import ImportOptions
from subscribers.transfer.row_builder import BatchDetails, DecidedRow, ImportRowBuilder
from subscribers.transfer.rows import ImportRow

MAX_STEP_ROWS = 1000  # rows a step: the most that one transaction may hold
_MIN_STEP_ROWS = 100
# what a step's transaction may take, as it stops SQLite's other writers; then steps get smaller
_SQLITE_STEP_SECONDS = 0.05
_POSTGRESQL_STEP_SECONDS = 0.08  # PostgreSQL's go on
_NUMBERS_RESERVED = 20_000  # people's numbers taken at a time
_CHECKPOINT_STEPS = 8  # steps: of SQLite's log some 40 MB
_MAX_TRIES = 40
_TRANSIENT_SQLSTATES = frozenset({"55P03", "40P01", "40001"})  # PostgreSQL: lock not available, deadlock, serialization

HashedRow = tuple[ImportRow, AddressHashes]


@dataclass(frozen=True, slots=True)
class ImportContext:
    """The context of an import. `actor` is who does it, and stands in every person's chain."""

    database: PeopleDatabase
    keys: KeyRing
    departure_log: DepartureLog
    actor: str


@dataclass(frozen=True, slots=True)
class _PendingWrite:
    """A step that is being written: what it processes, the counts that go with it, the row that is then reached."""

    future: Future[list[DecidedRow]]
    rows: list[DecidedRow]
    counts: Counter[str]
    last_row: int | None


class ImportRun:
    """One import under way, to be used in one thread as a context.

    While a step is written, the next one is read, judged and encrypted. What a step in flight changes is seen when the
    next one is written: `import_store.write_step` then gives back what no longer holds. For the same reason nobody is looked
    up beforehand while a list brings strangers only. `step_size` is the pace that the database bears, in rows.
    """

    def __init__(self, context: ImportContext, report: ImportReport, batch: BatchDetails) -> None:
        self.step_size = MAX_STEP_ROWS
        self._context = context
        self._report = report
        self._batch = batch
        self._row_builder = ImportRowBuilder(context.keys, batch)
        self._numbers: Iterator[int] = iter(())
        self._numbers_left = 0
        self._steps_written = 0
        self._needs_lookup = True
        with context.database.read() as session:
            self._is_postgresql = is_postgresql(session)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="import")
        self._pending: _PendingWrite | None = None

    def close(self) -> None:
        """Wait for the write that is under way, and end the thread that writes."""
        self._writer.shutdown()

    def process_rows(self, rows: Sequence[HashedRow], last_row: int) -> None:
        """Process a chunk of rows, and remember that the file is processed through row `last_row`.

        Two rows of one address never share a step: the second is judged by what the first has done.
        """
        first, later = _split_repeated(rows)
        decided = self._decide_rows(first)
        step = self._build_step(decided)
        self.finish_pending_write()
        _count_rows(self._report.counts, decided)
        self._note_outcomes(decided)
        self._start_write(decided, step, Counter(self._report.counts), None if later else last_row)
        if later:
            self.finish_pending_write()
            self.process_rows(later, last_row)

    def finish_pending_write(self) -> None:
        """Wait for the step in flight. What others have overtaken is judged again until it is written."""
        for tried in range(_MAX_TRIES):
            if self._pending is None:
                return
            flight, self._pending = self._pending, None
            rows_to_retry = _rows_to_retry(flight)
            if not rows_to_retry:
                continue
            time.sleep(0.01 * tried)
            self._needs_lookup = True
            anew = self._decide_rows([(row.row, row.hashes) for row in rows_to_retry])
            for counts in (self._report.counts, flight.counts):
                _count_rows(counts, rows_to_retry, by=-1)
                _count_rows(counts, anew)
            self._note_outcomes(anew)
            self._start_write(anew, self._build_step(anew), flight.counts, flight.last_row)
        raise ListFileError("others keep changing the same people: run the command again in a while.")

    def _decide_rows(self, rows: Sequence[HashedRow]) -> list[DecidedRow]:
        decided = decide_rows(
            self._context, rows, self._batch.options, batch=self._batch.id, needs_lookup=self._needs_lookup
        )
        if self._needs_lookup:
            self._needs_lookup = any(
                row.existing is not None or row.decision.reason.outcome is RowOutcome.LEFT_OR_SUPPRESSED
                for row in decided
            )
        return decided

    def _note_outcomes(self, rows: list[DecidedRow]) -> None:
        """Note what rows come to before they are written: of what is committed nothing may be missing from the account."""
        if self._report.outcomes is not None:
            for row in rows:
                self._report.outcomes.note(row.row.number, row.decision.reason)
            self._report.outcomes.flush()

    def _start_write(
        self, rows: list[DecidedRow], step: import_store.ImportStep, counts: Counter[str], last_row: int | None
    ) -> None:
        self._pending = _PendingWrite(self._submit_write(step, dict(counts), last_row), rows, counts, last_row)

    def _submit_write(self, *step: Any) -> Future[list[DecidedRow]]:
        """Begin to write a step.

        PostgreSQL's server works aside. SQLite works in our process, where a second thread would wait for Python's
        lock at each row, its transaction open; only its commit, which waits for the disk, is left to one.
        """
        if self._is_postgresql:
            return self._writer.submit(lambda: self._commit_step(*self._write_step(*step)))
        try:
            return self._writer.submit(self._commit_step, *self._write_step(*step))
        except (IntegrityError, OperationalError) as exc:
            failed: Future[list[DecidedRow]] = Future()
            failed.set_exception(exc)
            return failed

    def _write_step(
        self, step: import_store.ImportStep, counts: dict[str, int], last_row: int | None
    ) -> tuple[ExitStack, float, list[DecidedRow]]:
        """Write one step with its counts into a transaction that stays open; return what is to be judged again."""
        self._log_departures(step)
        with ExitStack() as stack:
            session = stack.enter_context(self._context.database.write())
            began = time.monotonic()
            if not import_store.lock_if_unfinished(session, self._batch.id):
                raise ListFileError("this import was dropped meanwhile: nobody of it is mailed.")
            rows_to_retry = import_store.write_step(session, step, now=self._batch.now)
            if not rows_to_retry and last_row is not None:
                mine = update(ImportBatch).where(ImportBatch.id == self._batch.id)
                session.execute(mine.values(counts=counts, reached=last_row))
            return stack.pop_all(), began, rows_to_retry

    def _commit_step(self, transaction: ExitStack, began: float, rows_to_retry: list[DecidedRow]) -> list[DecidedRow]:
        transaction.close()
        self._adjust_step_size(time.monotonic() - began)
        self._steps_written += 1
        if self._steps_written % _CHECKPOINT_STEPS == 0:
            import_store.checkpoint_sqlite(self._context.database)
        return rows_to_retry

    def _build_step(self, rows: list[DecidedRow]) -> import_store.ImportStep:
        new = [row for row in rows if row.existing is None and row.decision.event_kind is not None]
        changing = [row for row in rows if row.existing is not None and (row.decision.event_kind or row.decision.adopt)]
        barring = [row for row in rows if row.decision.suppression_reason is not None]
        self._reserve_numbers(len(new))
        people, events = self._row_builder.build_people(new, self._numbers)
        return import_store.ImportStep(
            new, people, events, changing, [self._row_builder.build_change(row) for row in changing], barring
        )

    def _reserve_numbers(self, count: int) -> None:
        """See to it that so many numbers are at hand; a few that are left over are given up."""
        if count > self._numbers_left:
            take = max(count, min(_NUMBERS_RESERVED, self._report.survey.rows))
            with self._context.database.write() as session:
                self._numbers = iter(import_store.reserve_person_numbers(session, take))
            self._numbers_left = take
        self._numbers_left -= count

    def _log_departures(self, step: import_store.ImportStep) -> None:
        """Write departures down before they are committed (see `lifecycle.unsubscribe`): our own people's, and every complaint.

        A list of those who left somewhere else may be long, and can be brought in again after a restore.
        """
        departed = {}
        for row in (*step.changed_rows, *step.suppressed_rows):
            kind = _departure_kind(row)
            if kind is not None:
                person, hashes = row.existing, row.hashes
                lookup = (person.lookup, person.lookup_key) if person else (hashes.lookup, hashes.lookup_key)
                departed[hashes.lookup] = PendingDeparture(*lookup, kind)
        self._context.departure_log.append_all(list(departed.values()), at=self._batch.now)

    def _adjust_step_size(self, seconds: float) -> None:
        self._report.longest_write = max(self._report.longest_write, seconds)
        bearable = _POSTGRESQL_STEP_SECONDS if self._is_postgresql else _SQLITE_STEP_SECONDS
        if seconds > bearable:
            self.step_size = max(_MIN_STEP_ROWS, self.step_size // 2)
        elif seconds < bearable / 2:
            self.step_size = min(MAX_STEP_ROWS, self.step_size + 50)


def _departure_kind(row: DecidedRow) -> DepartureKind | None:
    """Return how the departure log calls what a row does; None where it does not belong there."""
    decision = row.decision
    if decision.event_kind is ConsentKind.WITHDRAWN:
        return "left"
    if decision.event_kind is ConsentKind.COMPLAINED or decision.suppression_reason == "complained":
        return "complained"
    return DEPARTURE_KINDS[decision.suppression_reason] if row.existing and decision.suppression_reason else None


def decide_rows(
    context: ImportContext,
    rows: Sequence[HashedRow],
    options: ImportOptions,
    *,
    batch: int | None,
    needs_lookup: bool = True,
) -> list[DecidedRow]:
    """Decide what each row does, by what is known of its address. `batch` is None in a dry run.

    Without a `needs_lookup` nothing is taken for known: the transaction that writes finds out.
    """
    existing: dict[str, ExistingPerson] = {}
    suppressed: dict[str, str] = {}
    if rows and needs_lookup:
        hashes = [address_hashes for _, address_hashes in rows]
        with context.database.read() as session:
            import_store.force_custom_plans(session)
            existing = import_store.find_existing_people(session, hashes)
            suppressed = import_store.find_suppression_reasons(session, hashes)
            chains = import_store.load_event_chains(session, [person.number for person in existing.values()])
        existing = {lookup: replace(person, events=chains[person.number]) for lookup, person in existing.items()}
    return [
        DecidedRow(
            row,
            address_hashes,
            person := existing.get(address_hashes.lookup),
            decide_row(row, person, suppressed=suppressed.get(address_hashes.lookup, ""), batch=batch, options=options),
        )
        for row, address_hashes in rows
    ]


def _count_rows(counts: Counter[str], rows: Sequence[DecidedRow], *, by: int = 1) -> None:
    for row in rows:
        count_row(counts, row.row, row.decision.reason, by=by)


def _rows_to_retry(pending: _PendingWrite) -> list[DecidedRow]:
    """Return what a step did not write: some of it, or all where somebody held what it needed."""
    try:
        return pending.future.result()
    except (IntegrityError, OperationalError) as exc:
        if not _is_transient(exc):
            raise
        return pending.rows


def _split_repeated(rows: Sequence[HashedRow]) -> tuple[list[HashedRow], list[HashedRow]]:
    """Part the first row of each address from those that follow it."""
    first: dict[str, HashedRow] = {}
    later = [hashed_row for hashed_row in rows if first.setdefault(hashed_row[1].lookup, hashed_row) is not hashed_row]
    return list(first.values()), later


def _is_transient(exc: DBAPIError) -> bool:
    """Return whether trying again helps: somebody else was there first, or holds what we need."""
    if isinstance(exc, IntegrityError):
        return True
    return getattr(exc.orig, "sqlstate", None) in _TRANSIENT_SQLSTATES or "locked" in str(exc.orig)
