"""Bringing a list in: first a rehearsal that only counts, then the import, in small steps that count all at once.

Nobody of an import is in the audience before its batch is done, and that is one row's change. A crash leaves people
who do not count; the same file with the same options goes on where it stopped.
"""

import secrets
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from subscribers.consent import ledger, suppression
from subscribers.garbage_collection import rare_garbage_collection
from subscribers.store.models import ImportBatch
from subscribers.transfer.decisions import RowOutcome, RowReason
from subscribers.transfer.formats import DEPARTURE_STATUSES
from subscribers.transfer.import_report import (
    ImportProgress,
    ImportReport,
    RejectCallback,
    find_likely_domain,
    ignore_reject,
)
from subscribers.transfer.import_run import MAX_STEP_ROWS, HashedRow, ImportContext, ImportRun, decide_rows
from subscribers.transfer.import_store import lock_unfinished_batch
from subscribers.transfer.import_undo import check_no_undo_interrupted
from subscribers.transfer.list_file import FileSurvey, ListFileError, read_rows
from subscribers.transfer.options import ImportOptions
from subscribers.transfer.outcome_file import OutcomeFile
from subscribers.transfer.row_builder import BatchDetails
from subscribers.transfer.rows import ImportRow, LikelyTypoError, RowError, is_blank_row, parse_row
from subscribers.transfer.suppressions.suppression_adoption import review_imported_people

_HASH_DIGITS = 15  # hex digits of the keyed hash: 60 bits, which fit SQLite's row id


class EarlierRow(NamedTuple):
    """An earlier row of the same address: whether it says that they left, and its number."""

    departed: bool
    row: int


class SeenAddresses:
    """Keyed hashes, and which row had them, in a file that has no name and vanishes when it is closed. Use it in one thread.

    Among a million addresses two share 60 bits with a chance of one in two million.
    """

    def __init__(self) -> None:
        self._connection = sqlite3.connect("", isolation_level=None)  # "" is SQLite's word for a private file
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-4000"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute(
            "CREATE TABLE seen (hash INTEGER PRIMARY KEY, departed INTEGER NOT NULL, row INTEGER NOT NULL)"
        )

    def close(self) -> None:
        """Drop what was remembered."""
        self._connection.close()

    def remember(self, rows: Sequence[HashedRow]) -> list[EarlierRow | None]:
        """Remember the addresses of rows.

        Returns:
            For each, in order: None the first time, else the earlier row that counts: the first that says they left, or the first.
        """
        hashes = [int(address_hashes.lookup[:_HASH_DIGITS], 16) for _, address_hashes in rows]
        places = ",".join("?" * len(hashes))
        known_rows = self._connection.execute(f"SELECT hash, departed, row FROM seen WHERE hash IN ({places})", hashes)  # noqa: S608 (question marks only)
        seen_by_hash = {number: EarlierRow(bool(departed), row) for number, departed, row in known_rows}
        earlier: list[EarlierRow | None] = []
        changed: dict[int, EarlierRow] = {}
        for number, (row, _) in zip(hashes, rows, strict=True):
            before, departed = seen_by_hash.get(number), row.status in DEPARTURE_STATUSES
            earlier.append(before)
            if before is None or (departed and not before.departed):
                seen_by_hash[number] = changed[number] = EarlierRow(departed, row.number)
        self._connection.execute("BEGIN")
        self._connection.executemany(
            "INSERT OR REPLACE INTO seen VALUES (?, ?, ?)",
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
    """Go through a file and count what an import would do. Nothing is written but the account of the rows in `outcomes`.

    `on_reject` and `progress` are called as by `run_import`.

    Raises:
        ListFileError: the file changed meanwhile.
        OSError: the account could not be written.
    """
    report = ImportReport(survey, outcomes=outcomes)
    if outcomes is not None:
        outcomes.clear()
    with closing(SeenAddresses()) as seen_addresses:
        for rows, through in _read_chunks(report, now, on_reject, lambda: MAX_STEP_ROWS):
            for decided in decide_rows(
                context, _drop_duplicates(report, seen_addresses, _hash_rows(context, rows)), options, batch=None
            ):
                report.resolve_row(decided.row, decided.decision.reason)
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
    """Import a file, or go on with an import of it that was not finished.

    Events and people get the time `now`. `on_reject` is called with number, reason and fields of each row that is not
    taken, on a second run again; `progress` with the number of the last processed row. What becomes of every row is noted
    in `outcomes`: a second run goes on with the account of the first.

    Raises:
        ListFileError: the file changed meanwhile, an import of it was begun with other options, or this one was dropped.
        ImportUndoError: an import is being undone.
        OSError: the departure log, or the account of the rows, could not be written.
    """
    report, batch, reached = _open_batch(context, survey, options, now)
    if report.already_imported:
        return report
    report.outcomes = outcomes
    if outcomes is not None and not reached:
        outcomes.clear()
    with (
        rare_garbage_collection(),
        closing(SeenAddresses()) as seen_addresses,
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
        row.counts, row.done_at = dict(report.counts), now  # from here on, all of them count
    return report


def count_imported_departures(session: Session) -> int:
    """Count the rows of all lists that said somebody left, bounced, complained or was blocked, and that took effect.

    Most of them are of nobody here: of those a keyed hash alone is kept, which no count of people has.
    """
    counts = session.scalars(select(ImportBatch.counts).where(ImportBatch.done_at.is_not(None)))
    return sum(each.get(RowOutcome.DEPARTED, 0) for each in counts)


def _open_batch(
    context: ImportContext, survey: FileSurvey, options: ImportOptions, now: datetime
) -> tuple[ImportReport, BatchDetails, int]:
    """Open the batch of a file, or take up the one that was left behind; return the last row that it reached."""
    with context.database.write() as session:
        row = _find_earlier_batch(session, survey, options)
        if row is None:
            row = ImportBatch(
                origin=survey.layout.origin,
                file_hash=survey.file_hash,
                options=options.as_json(),
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
    """Find the batch of this file with these options.

    Raises:
        ListFileError: an import of the file with other options was not finished.
        ImportUndoError: an import is being undone.
    """
    check_no_undo_interrupted(session)
    query = select(ImportBatch).where(ImportBatch.file_hash == survey.file_hash).order_by(ImportBatch.id.desc())
    several = list(session.scalars(query))
    same = next((row for row in several if row.options == options.as_json()), None)
    if same is None and any(row.done_at is None for row in several):
        raise ListFileError(
            "An unfinished import of this file used other options. Finish it with the same options, then import "
            "the file again with the new ones."
        )
    return same


def _read_chunks(
    report: ImportReport, now: datetime, on_reject: RejectCallback, size: Callable[[], int], *, reached: int = 0
) -> Iterator[tuple[list[ImportRow], int]]:
    """Read and judge the rows of a file; give those that can be taken, some at a time, in order.

    With them comes the number of the last row that was looked at, also one that is blank or rejected. Rows up to `reached` were settled by an earlier run: they come in chunks of their own, and are not counted.
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
                report.note_slip(row.address.domain, meant)
                if report.survey.leave_out_slips:
                    raise LikelyTypoError(f"the domain {row.address.domain} is probably a typo for {meant}")
        except RowError as exc:
            on_reject(number, str(exc), fields)
            report.add_reject(number, exc, counted=number > reached)
            continue
        if rows and (len(rows) >= size() or rows[-1].number <= reached < number):
            yield rows, number - 1
            rows = []
        rows.append(row)
    if rows:
        yield rows, number


def _hash_rows(context: ImportContext, rows: Sequence[ImportRow]) -> list[HashedRow]:
    with context.database.read() as session:
        hashes = suppression.hash_addresses(session, context.keys, (row.address for row in rows))
    return list(zip(rows, hashes, strict=True))


def _drop_duplicates(report: ImportReport, seen_addresses: SeenAddresses, rows: Sequence[HashedRow]) -> list[HashedRow]:
    """Leave out rows whose address came by before: the first row counts, and the first that says they left."""
    unique_rows = []
    for (row, hashes), before in zip(rows, seen_addresses.remember(rows), strict=True):
        departs = row.status in DEPARTURE_STATUSES
        if before is None or (departs and not before.departed):
            unique_rows.append((row, hashes))
        else:
            had_departed = before.departed and not departs
            report.resolve_row(
                row, RowReason.LEFT_BY_EARLIER_ROW if had_departed else RowReason.DUPLICATE, str(before.row)
            )
    return unique_rows
