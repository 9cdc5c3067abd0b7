"""An import under way: rows are processed some at a time, each time in one short transaction."""

import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from subscribers.consent.suppression import DEPARTURE_KINDS
from subscribers.consent.unsubscribe_log import PendingUnsubscribeLogEntry, UnsubscribeLog, UnsubscribeLogEntryKind
from subscribers.crypto.keys import KeyRing
from subscribers.crypto.stored_addresses import AddressHashes
from subscribers.store.database import PeopleDatabase, is_postgresql
from subscribers.store.models import ConsentKind
from subscribers.transfer import import_store
from subscribers.transfer.decisions import ExistingPerson, RowOutcome, decide_row
from subscribers.transfer.import_report import ImportReport, count_row
from subscribers.transfer.list_file import ListFileError
from subscribers.transfer.options import ImportOptions
from subscribers.transfer.row_builder import BatchDetails, DecidedRow, ImportRowBuilder
from subscribers.transfer.rows import ImportRow
from subscribers.transfer.step_writer import DirectStepWriter, ImportStepWriter, StepProgress
from subscribers.transfer.writer_process import DatabaseOpener, WriterProcess

MAX_STEP_ROWS = 1000  # rows a step: the most that one transaction may hold
_MIN_STEP_ROWS = 100
# what a step's transaction may take, as it stops SQLite's other writers; then steps get smaller
_SQLITE_STEP_SECONDS = 0.05
_POSTGRESQL_STEP_SECONDS = 0.08  # PostgreSQL's go on
_NUMBERS_RESERVED = 20_000  # people's numbers taken at a time
_MAX_STEPS_AHEAD = 3  # steps handed over and not finished: a checkpoint of SQLite takes as long as two
_MAX_TRIES = 40
_PROCESS_ROWS = 20_000  # rows for which it is worth while to start a process that writes

HashedRow = tuple[ImportRow, AddressHashes]


@dataclass(frozen=True, slots=True)
class ImportContext:
    """The context of an import. `actor` is who does it, and stands in every person's chain.

    A long list is written by a process of its own, which opens the database by `open_database`; without that, by this one.
    """

    database: PeopleDatabase
    keys: KeyRing
    unsubscribe_log: UnsubscribeLog
    actor: str
    open_database: DatabaseOpener | None = None


@dataclass(frozen=True, slots=True)
class _StepInFlight:
    """A step that is handed over: what it processes, the counts that go with it, the row that is then reached."""

    rows: list[DecidedRow]
    counts: Counter[str]
    last_row: int | None


class ImportRun:
    """One import under way, to be used in one thread as a context.

    While a step is written, the next ones are read, judged and encrypted. What a step in flight changes is seen when those
    after it are written: `import_store.write_step` then refuses what no longer holds. For the same reason nobody is looked
    up beforehand while a list brings strangers only. `step_size` is the pace that the database bears, in rows.
    """

    def __init__(self, context: ImportContext, report: ImportReport, batch: BatchDetails, *, reached: int) -> None:
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
        """Wait for the steps in flight, and end the process that writes."""
        self._writer.close()

    def process_rows(self, rows: Sequence[HashedRow], last_row: int) -> None:
        """Process a chunk of rows, and remember that the file is processed through row `last_row`.

        Two rows of one address never share a step: the second is judged by what the first has done.
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
        """Wait for all steps in flight. What others have overtaken is judged again until it is written."""
        while self._in_flight:
            self._finish_first_step()

    def _finish_first_step(self) -> None:
        flight = self._in_flight.popleft()
        if self._finish_handed_over():
            return
        flights = [flight, *self._in_flight]
        while self._in_flight:  # those behind it come back unwritten
            self._in_flight.popleft()
            self._finish_handed_over()
        for place in range(len(flights)):
            self._write_again(flights[place:])

    def _write_again(self, flights: Sequence[_StepInFlight]) -> None:
        """Judge the first of some steps again until it is written; the counts of those behind it hold its own."""
        rows = flights[0].rows
        for attempt in range(_MAX_TRIES):
            time.sleep(0.01 * attempt)
            self._attempt += 1
            self._needs_lookup = True
            anew = self._decide_rows([(row.row, row.hashes) for row in rows])
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
        """Wait for the first step that was handed over; return whether it is written."""
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
        """Note what rows come to before they are written: of what is committed nothing may be missing from the account."""
        if self._report.outcomes is not None:
            for row in rows:
                self._report.outcomes.note(row.row.number, row.decision.reason)
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
        """Return so many numbers for people to come; a few that are left over are given up."""
        if count > len(self._numbers):
            reserved = max(count, min(_NUMBERS_RESERVED, self._report.survey.rows))
            with self._context.database.write() as session:
                self._numbers = import_store.reserve_person_numbers(session, reserved)
        numbers, self._numbers = self._numbers[:count], self._numbers[count:]
        return numbers

    def _log_departures(self, rows: Sequence[DecidedRow]) -> None:
        """Write departures down before they are committed (see `lifecycle.unsubscribe`): our own people's, and every complaint.

        A list of those who left somewhere else may be long, and can be brought in again after a restore.
        """
        departed = {}
        # Most rows are those of strangers who come.
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
        with context.database.read() as session, import_store.force_custom_plans(session):
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


def _split_repeated(rows: Sequence[HashedRow]) -> tuple[list[HashedRow], list[HashedRow]]:
    """Part the first row of each address from those that follow it."""
    first: dict[str, HashedRow] = {}
    later = [hashed_row for hashed_row in rows if first.setdefault(hashed_row[1].lookup, hashed_row) is not hashed_row]
    return list(first.values()), later
