"""A running import, in which rows are processed in steps, each in one short transaction."""

import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from subscribers.consent.suppression import DEPARTURE_KINDS
from subscribers.consent.unsubscribe_log import PendingUnsubscribeLogEntry, UnsubscribeLog, UnsubscribeLogEntryKind
from subscribers.crypto.keys import KeyRing
from subscribers.store.database import PeopleDatabase, is_postgresql
from subscribers.store.models import ConsentKind
from subscribers.transfer import import_store
from subscribers.transfer.decisions import ExistingPerson, RowOutcome, decide_row, find_overridden_reason
from subscribers.transfer.import_report import ImportReport, count_decided_row
from subscribers.transfer.list_file import ListFileError
from subscribers.transfer.options import ImportOptions
from subscribers.transfer.row_builder import BatchDetails, DecidedRow, HashedRow, ImportRowBuilder
from subscribers.transfer.step_writer import DirectStepWriter, ImportStepWriter, StepProgress
from subscribers.transfer.writer_process import DatabaseOpener, WriterProcess

# The maximum number of rows per step, which is the limit of one transaction.
MAX_STEP_ROWS = 1000
_MIN_STEP_ROWS = 100
# The seconds for which the transaction of a step may block SQLite's other writers. If it takes
# longer, steps are made smaller.
_SQLITE_STEP_SECONDS = 0.05
_POSTGRESQL_STEP_SECONDS = 0.08  # PostgreSQL's writers aren't blocked
# The numbers for people that are reserved at a time.
_NUMBERS_RESERVED = 20_000
# The unfinished steps passed to the writer. A checkpoint of SQLite takes as long as two of them.
_MAX_STEPS_AHEAD = 3
_MAX_TRIES = 40
# With fewer rows, it isn't worth starting a writer process.
_PROCESS_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class ImportContext:
    """The context in which an import runs.

    `actor` is recorded in every person's chain. A long list is written by a separate process, which
    opens the database with `open_database`. If that's None, this process writes. `file_name` is the
    name of the file with the list.
    """

    database: PeopleDatabase
    keys: KeyRing
    unsubscribe_log: UnsubscribeLog
    actor: str
    open_database: DatabaseOpener | None = None
    file_name: str = ""


@dataclass(frozen=True, slots=True)
class _StepInFlight:
    """A step passed to the writer: its rows, the counts that include them, and the last row that it completes."""

    rows: list[DecidedRow]
    counts: Counter[str]
    last_row: int | None


class ImportRun:
    """A running import, used as a context manager in a single thread.

    While a step is written, the following ones are read, decided, and encrypted. If a step in
    flight changes something that later ones are based on, that's noticed when they're written,
    because `import_store.write_step` rejects outdated steps. People therefore aren't looked up in
    advance while a list only contains strangers. `step_size` is the number of rows per step that
    the database can handle.
    """

    def __init__(
        self,
        context: ImportContext,
        report: ImportReport,
        batch: BatchDetails,
        *,
        reached: int,
    ) -> None:
        self.step_size = MAX_STEP_ROWS
        self._context = context
        self._report = report
        self._batch = batch
        self._row_builder = ImportRowBuilder(context.keys, batch)
        self._numbers: Sequence[int] = ()
        self._needs_lookup = True
        with context.database.read() as session:
            self._is_postgresql = is_postgresql(session)
        self._writer = _open_writer(context, batch, reached=reached, rows=report.survey.rows)
        self._in_flight: deque[_StepInFlight] = deque()
        self._attempt = 1

    def close(self) -> None:
        """Wait for the steps in flight, and end the writer process."""
        self._writer.close()

    def process_rows(self, rows: Sequence[HashedRow], last_row: int) -> None:
        """Process a chunk of rows, and record that the file has been processed through row `last_row`.

        Two rows with the same address are never in the same step, because the second depends on the
        effect of the first.
        """
        first, later = _split_repeated(rows)
        decided = self._decide_rows(first)
        step = self._build_step(decided)
        while len(self._in_flight) >= _MAX_STEPS_AHEAD:
            self._finish_first_step()
        _count_rows(self._report.counts, decided)
        self._note_outcomes(decided)
        flight = _StepInFlight(decided, Counter(self._report.counts), None if later else last_row)
        self._hand_over(flight, step)
        self._in_flight.append(flight)
        if later:
            self.finish_steps()
            self.process_rows(later, last_row)

    def finish_steps(self) -> None:
        """Wait for all steps in flight.

        Steps that were outdated by other processes are decided again until they're written.
        """
        while self._in_flight:
            self._finish_first_step()

    def _finish_first_step(self) -> None:
        flight = self._in_flight.popleft()
        if self._finish_handed_over():
            return
        flights = [flight, *self._in_flight]
        # The following steps return unwritten.
        while self._in_flight:
            self._in_flight.popleft()
            self._finish_handed_over()
        for place in range(len(flights)):
            self._write_again(flights[place:])

    def _write_again(self, flights: Sequence[_StepInFlight]) -> None:
        """Decide the first of the given steps again until it's written.

        The counts of later steps include its counts.
        """
        rows = flights[0].rows
        for attempt in range(_MAX_TRIES):
            time.sleep(0.01 * attempt)
            self._attempt += 1
            self._needs_lookup = True
            anew = self._decide_rows([HashedRow(row.row, row.hashes, row.earlier) for row in rows])
            for counts in (self._report.counts, *(flight.counts for flight in flights)):
                _count_rows(counts, rows, by=-1)
                _count_rows(counts, anew)
            self._note_outcomes(anew)
            self._hand_over(replace(flights[0], rows=anew), self._build_step(anew))
            if self._finish_handed_over():
                return
            rows = anew
        raise ListFileError("Other processes keep changing the same subscribers. Run the command again later.")

    def _hand_over(self, flight: _StepInFlight, step: import_store.ImportStep) -> None:
        self._log_departures(flight.rows)
        self._writer.start_step(step, StepProgress(dict(flight.counts), flight.last_row, self._attempt))

    def _finish_handed_over(self) -> bool:
        """Wait for the first step passed to the writer, and return True if it was written."""
        result = self._writer.finish_step()
        if result.written:
            self._adjust_step_size(result.seconds)
        return result.written

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
        """Record the outcomes of rows before the rows are written, so that none are missing after the commit."""
        if self._report.outcomes is not None:
            for row in rows:
                self._report.note_decided_row(row)
            self._report.outcomes.flush()

    def _build_step(self, rows: list[DecidedRow]) -> import_store.ImportStep:
        new = [row for row in rows if row.existing is None and row.decision.event_kind is not None]
        people, events = self._row_builder.build_people(new, self._take_numbers(len(new)))
        return import_store.ImportStep(
            newcomers=[row.hashes for row in new],
            people=people,
            events=events,
            changes=[self._row_builder.build_change(row) for row in rows if _changes_person(row)],
            suppressions=_list_suppressions(rows),
        )

    def _take_numbers(self, count: int) -> Sequence[int]:
        """Return `count` numbers for new people.

        Some reserved numbers may never be used.
        """
        if count > len(self._numbers):
            reserved = max(count, min(_NUMBERS_RESERVED, self._report.survey.rows))
            with self._context.database.write() as session:
                self._numbers = import_store.reserve_person_numbers(session, reserved)
        numbers, self._numbers = self._numbers[:count], self._numbers[count:]
        return numbers

    def _log_departures(self, rows: Sequence[DecidedRow]) -> None:
        """Log departures before they're committed (see `lifecycle.unsubscribe`).

        These are the departures of people here, and all complaints. There may be many people who
        left elsewhere, and their list can be imported again after a restore.
        """
        departed = {}
        # Most rows are about new people.
        for row in (row for row in rows if row.existing is not None or row.decision.suppression_reason is not None):
            kind = _departure_kind(row)
            if kind is not None:
                person, hashes = row.existing, row.hashes
                lookup = (person.lookup, person.lookup_key) if person else (hashes.lookup, hashes.lookup_key)
                departed[hashes.lookup] = PendingUnsubscribeLogEntry(*lookup, kind)
        self._context.unsubscribe_log.append_all(list(departed.values()), at=self._batch.now)

    def _adjust_step_size(self, seconds: float) -> None:
        self._report.longest_write = max(self._report.longest_write, seconds)
        bearable = _POSTGRESQL_STEP_SECONDS if self._is_postgresql else _SQLITE_STEP_SECONDS
        if seconds > bearable:
            self.step_size = max(_MIN_STEP_ROWS, self.step_size // 2)
        elif seconds < bearable / 2:
            self.step_size = min(MAX_STEP_ROWS, self.step_size + 50)


def _changes_person(row: DecidedRow) -> bool:
    return row.existing is not None and (row.decision.event_kind is not None or row.decision.adopt)


def _list_suppressions(rows: Sequence[DecidedRow]) -> list[import_store.RequestedSuppression]:
    return [
        import_store.RequestedSuppression(row.hashes, reason, row.existing is not None)
        for row in rows
        if (reason := row.decision.suppression_reason) is not None
    ]


def _open_writer(context: ImportContext, batch: BatchDetails, *, reached: int, rows: int) -> ImportStepWriter:
    if context.open_database is not None and rows >= _PROCESS_ROWS:
        return WriterProcess(context.open_database, batch.id, reached=reached, now=batch.now)
    return DirectStepWriter(context.database, batch.id, reached=reached, now=batch.now)


def _departure_kind(row: DecidedRow) -> UnsubscribeLogEntryKind | None:
    """Return the kind of a row's entry in the unsubscribe log, or None if the row doesn't get one."""
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
    """Decide the outcome of each row, given what's known about its address.

    `batch` is None in a dry run. Without `needs_lookup`, addresses are assumed to be unknown, which
    is checked by the writing transaction.
    """
    existing: dict[str, ExistingPerson] = {}
    suppressed: dict[str, str] = {}
    if rows and needs_lookup:
        hashes = [row.hashes for row in rows]
        with context.database.read() as session, import_store.force_custom_plans(session):
            existing = import_store.find_existing_people(session, hashes)
            suppressed = import_store.find_suppression_reasons(session, hashes)
            chains = import_store.load_event_chains(session, [person.number for person in existing.values()])
        existing = {lookup: replace(person, events=chains[person.number]) for lookup, person in existing.items()}
    decided = []
    for row in rows:
        person, reason = existing.get(row.hashes.lookup), suppressed.get(row.hashes.lookup, "")
        decision = decide_row(row.row, person, suppressed=reason, batch=batch, options=options)
        overridden = find_overridden_reason(decision, row.earlier, person, suppressed=reason, batch=batch)
        decided.append(DecidedRow(*row, person, decision, overridden))
    return decided


def _count_rows(
    counts: Counter[str],
    rows: Sequence[DecidedRow],
    *,
    by: int = 1,
) -> None:
    for row in rows:
        count_decided_row(counts, row, by=by)


def _split_repeated(rows: Sequence[HashedRow]) -> tuple[list[HashedRow], list[HashedRow]]:
    """Separate the first row of each address from its later rows."""
    first: dict[str, HashedRow] = {}
    later = [
        hashed_row for hashed_row in rows if first.setdefault(hashed_row.hashes.lookup, hashed_row) is not hashed_row
    ]
    return list(first.values()), later
