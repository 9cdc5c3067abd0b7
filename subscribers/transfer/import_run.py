"""A running import: rows are processed in steps, each in one short transaction."""

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

MAX_STEP_ROWS = 1000  # rows per step, at most: the limit of one transaction
_MIN_STEP_ROWS = 100
# seconds that a step's transaction may block SQLite's other writers; then steps get smaller
_SQLITE_STEP_SECONDS = 0.05
_POSTGRESQL_STEP_SECONDS = 0.08  # PostgreSQL's writers aren't blocked
_NUMBERS_RESERVED = 20_000  # people's numbers reserved at a time
_MAX_STEPS_AHEAD = 3  # unfinished steps passed to the writer: a checkpoint of SQLite takes as long as two
_MAX_TRIES = 40
_PROCESS_ROWS = 20_000  # rows from which starting a writer process pays off


@dataclass(frozen=True, slots=True)
class ImportContext:
    """The context of an import. `actor` is recorded in every person's chain.

    A long list is written by a separate process, which opens the database with `open_database`. Without it, this
    process writes. `file_name` is the name under which the list came.
    """

    database: PeopleDatabase
    keys: KeyRing
    unsubscribe_log: UnsubscribeLog
    actor: str
    open_database: DatabaseOpener | None = None
    file_name: str = ""


@dataclass(frozen=True, slots=True)
class _StepInFlight:
    """A step passed to the writer: its rows, the counts including them, and the last row that it completes."""

    rows: list[DecidedRow]
    counts: Counter[str]
    last_row: int | None


class ImportRun:
    """One running import, used as a context in a single thread.

    While a step is written, the next ones are read, decided, and encrypted. Changes by a step in flight are noticed
    when later ones are written: `import_store.write_step` rejects outdated ones. Therefore, people aren't looked up
    beforehand while a list only contains strangers. `step_size` is the number of rows per step that the database can
    handle.
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
        """Process a chunk of rows, and record that the file is processed through row `last_row`.

        Two rows of one address are never in the same step, because the second depends on the effect of the first.
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
        """Wait for all steps in flight. Steps outdated by other processes are decided again until they're written."""
        while self._in_flight:
            self._finish_first_step()

    def _finish_first_step(self) -> None:
        flight = self._in_flight.popleft()
        if self._finish_handed_over():
            return
        flights = [flight, *self._in_flight]
        while self._in_flight:  # those behind it return unwritten
            self._in_flight.popleft()
            self._finish_handed_over()
        for place in range(len(flights)):
            self._write_again(flights[place:])

    def _write_again(self, flights: Sequence[_StepInFlight]) -> None:
        """Decide the first of some steps again until it's written. The later steps' counts include its counts."""
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
        """Wait for the first step passed to the writer; return whether it was written."""
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
        """Record the outcomes of rows before they're written, so that none is missing once they're committed."""
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
        """Return `count` numbers for new people. A few that are left over are wasted."""
        if count > len(self._numbers):
            reserved = max(count, min(_NUMBERS_RESERVED, self._report.survey.rows))
            with self._context.database.write() as session:
                self._numbers = import_store.reserve_person_numbers(session, reserved)
        numbers, self._numbers = self._numbers[:count], self._numbers[count:]
        return numbers

    def _log_departures(self, rows: Sequence[DecidedRow]) -> None:
        """Log departures before they're committed (see `lifecycle.unsubscribe`): people's here, and all complaints.

        People who left elsewhere may be many, and their list can be imported again after a restore.
        """
        departed = {}
        # Most rows are new people's.
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
    """Return the kind of a row's entry in the unsubscribe log, or None if it doesn't get one."""
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
    """Decide on each row by what's known of its address. `batch` is None in a dry run.

    Without `needs_lookup`, addresses are assumed to be unknown. The writing transaction checks the assumption.
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
    """Separate each address's first row from its later rows."""
    first: dict[str, HashedRow] = {}
    later = [
        hashed_row for hashed_row in rows if first.setdefault(hashed_row.hashes.lookup, hashed_row) is not hashed_row
    ]
    return list(first.values()), later
