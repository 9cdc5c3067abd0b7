"""Importing a list: first a dry run that only counts, and then the import in small steps.

People in an import aren't in the audience until its batch is done, which is a change to one row.
After a crash, they don't count. If the same file is run again with the same options, it's continued.
"""

import secrets
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from subscribers.consent import ledger, suppression
from subscribers.garbage_collection import reduce_garbage_collection
from subscribers.import_names import FILE_OPTION
from subscribers.store.models import ImportBatch
from subscribers.transfer.decisions import EarlierRow, RowOutcome, RowReason, decide_stated_reason
from subscribers.transfer.formats import DEPARTURE_STATUSES
from subscribers.transfer.import_report import (
    ImportProgress,
    ImportReport,
    RejectCallback,
    count_decided_row,
    find_likely_domain,
    ignore_reject,
)
from subscribers.transfer.import_run import MAX_STEP_ROWS, ImportContext, ImportRun, decide_rows
from subscribers.transfer.import_store import lock_unfinished_batch
from subscribers.transfer.import_undo import check_no_undo_interrupted
from subscribers.transfer.list_file import FileSurvey, ListFileError, read_rows
from subscribers.transfer.options import ImportOptions
from subscribers.transfer.outcome_file import OutcomeFile
from subscribers.transfer.row_builder import BatchDetails, HashedRow
from subscribers.transfer.rows import ImportRow, LikelyTypoError, RowError, is_blank_row, list_tags, parse_row
from subscribers.transfer.suppressions.suppression_adoption import review_imported_people

# The hex digits of the keyed hash. They're 60 bits, which fit in SQLite's row ID.
_HASH_DIGITS = 15


class SeenAddresses:
    """A record of addresses, as keyed hashes, and of what their rows say, in a private temporary file.

    It must be used in one thread. The probability that two of a million addresses have the same 60
    bits is one in two million.
    """

    def __init__(self, options: ImportOptions) -> None:
        self._options = options
        # The name "" creates a private file.
        self._connection = sqlite3.connect("", isolation_level=None)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-4000"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute(
            "CREATE TABLE seen (hash INTEGER PRIMARY KEY, row INTEGER NOT NULL, claim TEXT NOT NULL, bare INTEGER NOT NULL)"
        )

    def close(self) -> None:
        """Delete the hashes."""
        self._connection.close()

    def remember(self, rows: Sequence[HashedRow]) -> list[EarlierRow | None]:
        """Remember the addresses in rows.

        Returns:
            For each row, in order, None if the address is new, or the earlier row that counts,
            which is the first departure or else the first row.
        """
        hashes = [int(row.hashes.lookup[:_HASH_DIGITS], 16) for row in rows]
        places = ",".join("?" * len(hashes))
        query = f"SELECT hash, row, claim, bare FROM seen WHERE hash IN ({places})"  # noqa: S608 (question marks only)
        seen_by_hash = {
            number: EarlierRow(row, RowReason(claim), bool(bare))
            for number, row, claim, bare in self._connection.execute(query, hashes)
        }
        earlier: list[EarlierRow | None] = []
        changed: dict[int, EarlierRow] = {}
        for number, (row, *_) in zip(hashes, rows, strict=True):
            before = seen_by_hash.get(number)
            seen = EarlierRow(row.number, decide_stated_reason(row, self._options), row.lacks_network)
            earlier.append(before)
            if before is None or (seen.departed and not before.departed):
                seen_by_hash[number] = changed[number] = seen
        self._connection.execute("BEGIN")
        self._connection.executemany(
            "INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?)",
            ((number, *seen_row) for number, seen_row in changed.items()),
        )
        self._connection.execute("COMMIT")
        return earlier


def rehearse_import(
    context: ImportContext,
    survey: FileSurvey,
    options: ImportOptions,
    *,
    now: datetime,
    on_reject: RejectCallback = ignore_reject,
    outcomes: OutcomeFile | None = None,
    progress: ImportProgress = lambda *_: None,
) -> ImportReport:
    """Count what importing a file would do.

    Nothing is written, except for the outcomes of the rows in `outcomes`. `on_reject` and
    `progress` are called as in `run_import`.

    Raises:
        ListFileError: the file has changed.
        OSError: the outcomes couldn't be written.
    """
    report = ImportReport(survey, outcomes=outcomes)
    if outcomes is not None:
        outcomes.clear()
    with closing(SeenAddresses(options)) as seen_addresses:
        for rows, through in _read_chunks(report, now, on_reject, lambda: MAX_STEP_ROWS):
            for decided in decide_rows(
                context, _drop_duplicates(report, seen_addresses, _hash_rows(context, rows)), options, batch=None
            ):
                count_decided_row(report.counts, decided)
                report.note_decided_row(decided)
            progress(through)
    return report


def run_import(
    context: ImportContext,
    survey: FileSurvey,
    options: ImportOptions,
    *,
    now: datetime,
    on_reject: RejectCallback,
    outcomes: OutcomeFile | None = None,
    progress: ImportProgress = lambda *_: None,
) -> ImportReport:
    """Import a file, or continue an unfinished import of the file.

    Events and people get the time `now`. `on_reject` is called with the number, reason, and fields
    of each rejected row, and again in a second run. `progress` is called with the number of the
    last processed row. The outcome of every row is recorded in `outcomes`. A second run continues
    with the outcomes of the first.

    Raises:
        ListFileError: the file has changed, an import of it began with other options, or this
            one was undone.
        ImportUndoError: an import is being undone.
        OSError: the unsubscribe log or the outcomes couldn't be written.
    """
    report, batch, reached = _open_batch(context, survey, options, now)
    if report.already_imported:
        return report
    report.outcomes = outcomes
    if outcomes is not None and not reached:
        outcomes.clear()
    with (
        reduce_garbage_collection(),
        closing(SeenAddresses(options)) as seen_addresses,
        closing(ImportRun(context, report, batch, reached=reached)) as run,
    ):
        for rows, through in _read_chunks(report, now, on_reject, lambda: run.step_size, reached=reached):
            hashed = _hash_rows(context, rows)
            if rows[-1].number <= reached:
                seen_addresses.remember(hashed)
                if outcomes is not None:
                    outcomes.note_settled(row.number for row in rows)
            else:
                run.process_rows(_drop_duplicates(report, seen_addresses, hashed), through)
            progress(through)
        run.finish_steps()
    review_imported_people(context, batch.id, started_at=report.started_at or now, now=now)
    with context.database.write() as session:
        if lock_unfinished_batch(session, batch.id) is None:
            raise ListFileError(
                "This import was undone by another process, so the people in it won't be emailed. Import "
                "the file again."
            )
        row = session.get_one(ImportBatch, batch.id)
        row.counts, row.done_at = dict(report.counts), now  # from now on, all of them count
    return report


def count_imported_departures(session: Session) -> int:
    """Return how many rows in all imported lists were departures that took effect.

    Departures are unsubscribes, bounces, complaints, and blocks. Most of them aren't of people
    here. For these, only a keyed hash is stored, which isn't included in any count of people.
    """
    counts = session.scalars(select(ImportBatch.counts).where(ImportBatch.done_at.is_not(None)))
    return sum(each.get(RowOutcome.DEPARTED, 0) for each in counts)


def _open_batch(
    context: ImportContext, survey: FileSurvey, options: ImportOptions, now: datetime
) -> tuple[ImportReport, BatchDetails, int]:
    """Open a new batch for a file, or its unfinished one.

    Return the report, the details of the batch, and the last processed row.
    """
    with context.database.write() as session:
        row = _find_earlier_batch(session, survey, options)
        if row is None:
            row = ImportBatch(
                origin=survey.layout.origin,
                file_hash=survey.file_hash,
                options=options.as_json() | {FILE_OPTION: context.file_name},
                salt=secrets.token_bytes(16),
                actor=context.actor,
                started_at=now,
                counts={},
                reached=0,
            )
            session.add(row)
            session.flush()
        report = ImportReport(
            survey,
            Counter(row.counts),
            batch=row.id,
            started_at=row.started_at,
            already_imported=row.done_at is not None,
        )
        event_time = ledger.truncate_to_millisecond(now)
        return report, BatchDetails(row.id, row.origin, row.actor, row.salt or b"", options, event_time), row.reached


def _find_earlier_batch(session: Session, survey: FileSurvey, options: ImportOptions) -> ImportBatch | None:
    """Return the batch for this file with these options, or None.

    Raises:
        ListFileError: an import of the file with other options is unfinished.
        ImportUndoError: an import is being undone.
    """
    check_no_undo_interrupted(session)
    query = select(ImportBatch).where(ImportBatch.file_hash == survey.file_hash).order_by(ImportBatch.id.desc())
    batches = list(session.scalars(query))
    wanted = options.as_json()
    same = next((row for row in batches if {**row.options, FILE_OPTION: ""} == {**wanted, FILE_OPTION: ""}), None)
    if same is None and any(row.done_at is None for row in batches):
        raise ListFileError(
            "An unfinished import of this file used other options. Finish it with the same options, then import "
            "the file again with the new ones."
        )
    return same


def _read_chunks(
    report: ImportReport,
    now: datetime,
    on_reject: RejectCallback,
    size: Callable[[], int],
    *,
    reached: int = 0,
) -> Iterator[tuple[list[ImportRow], int]]:
    """Yield a file's valid rows in chunks, in order.

    Each chunk has the number of the last row read, including blank and rejected ones. Rows up to
    `reached` were processed by an earlier run. They're in separate chunks and aren't counted.
    """
    layout = report.survey.layout
    rows: list[ImportRow] = []
    number = 0
    for number, fields in read_rows(report.survey):
        if is_blank_row(fields):
            report.add_blank(number, counted=number > reached)
            continue
        try:
            row = parse_row(layout, fields, number, now=now)
            if meant := find_likely_domain(row.address.domain):
                report.count_likely_typo(row.address.domain, meant)
                if report.survey.leave_out_slips:
                    raise LikelyTypoError(f"the domain {row.address.domain} is probably a typo for {meant}")
        except RowError as exc:
            on_reject(number, str(exc), fields)
            report.add_reject(number, exc, counted=number > reached)
            continue
        report.note_tags(list_tags(layout, fields))
        if rows and (len(rows) >= size() or rows[-1].number <= reached < number):
            yield rows, number - 1
            rows = []
        rows.append(row)
    if rows:
        yield rows, number


def _hash_rows(context: ImportContext, rows: Sequence[ImportRow]) -> list[HashedRow]:
    with context.database.read() as session:
        hashes = suppression.hash_addresses(session, context.keys, (row.address for row in rows))
    return list(map(HashedRow, rows, hashes))


def _drop_duplicates(report: ImportReport, seen_addresses: SeenAddresses, rows: Sequence[HashedRow]) -> list[HashedRow]:
    """Omit rows that repeat an address, except for the first row and the first departure."""
    unique_rows = []
    for (row, hashes, _), before in zip(rows, seen_addresses.remember(rows), strict=True):
        departs = row.status in DEPARTURE_STATUSES
        if before is None or (departs and not before.departed):
            unique_rows.append(HashedRow(row, hashes, before))
        else:
            had_departed = before.departed and not departs
            report.resolve_row(
                row, RowReason.LEFT_BY_ANOTHER_ROW if had_departed else RowReason.DUPLICATE, str(before.number)
            )
    return unique_rows
