"""Bringing a list in: first a rehearsal that only counts, then the import, in small steps that count all at once.

Nobody of an import is on the roll before its batch is done, and that is one row's change. A crash leaves people
who do not count; the same file with the same options goes on where it stopped.
"""

import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from subscribers.db import ImportBatch
from subscribers.transfer.books import still_open
from subscribers.transfer.deciding import Options, Outcome
from subscribers.transfer.formats import DEPARTURES
from subscribers.transfer.reading import FileError, Survey, records
from subscribers.transfer.report import Progress, Reject, Report, count
from subscribers.transfer.rows import Row, RowError, blank, judge
from subscribers.transfer.sealing import Batch, hashes_of
from subscribers.transfer.seen import Seen
from subscribers.transfer.stepping import AT_ONCE, Desk, Hashed, Run, settle


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An import that a crash, or an interruption, left behind: nobody of it is mailed until it is run again."""

    batch: int
    origin: str
    started_at: datetime
    file_hash: str

    @property
    def sentence(self) -> str:
        """Say that it was not finished, and what to do."""
        return (
            f"Import {self.batch} ({self.origin}, begun {self.started_at:%Y-%m-%d %H:%M} UTC) was not finished: nobody "
            "of it is mailed. Run it again with the same file, or drop it with "
            f"'digest subscribers import --abandon {self.batch}'."
        )


def rehearse(
    desk: Desk, survey: Survey, options: Options, *, now: datetime, progress: Progress | None = None
) -> Report:
    """Go through a file and count what an import would do. Nothing is written.

    Raises:
        FileError: the file changed meanwhile.
    """
    report = Report(survey)
    with Seen() as seen:
        for rows, through in _chunks(report, now, _nowhere, lambda: AT_ONCE):
            for one in settle(desk, _first_seen(report, seen, _hashed(desk, rows)), options, batch=None):
                count(report.counts, one.row, one.decision.outcome)
            if progress is not None:
                progress(through)
    return report


def bring_in(
    desk: Desk,
    survey: Survey,
    options: Options,
    *,
    now: datetime,
    reject: Reject,
    progress: Progress | None = None,
) -> Report:
    """Import a file, or go on with an import of it that was not finished.

    Args:
        desk: what it stands on.
        survey: the file.
        options: how the file is to be read.
        now: the moment that events and people get.
        reject: called with number, reason and fields of each row that is not taken; on a second run again.
        progress: called with the number of the last settled row.

    Raises:
        FileError: the file changed meanwhile, an import of it was begun with other options, or this one was dropped.
        OSError: the journal could not be written.
    """
    report, batch, reached = _begin(desk, survey, options, now)
    if report.repeated:
        return report
    with Seen() as seen, Run(desk, report, batch) as run:
        for rows, through in _chunks(report, now, reject, lambda: run.size, reached=reached):
            hashed = _hashed(desk, rows)
            if rows[-1].number <= reached:
                seen.mark([(hashes.lookup, row.claim in DEPARTURES) for row, hashes in hashed])
            else:
                run.settle(_first_seen(report, seen, hashed), through)
            if progress is not None:
                progress(through)
        run.land()
    with desk.books.write() as session:
        if not still_open(session, batch.id):
            raise FileError("this import was dropped meanwhile: nobody of it is mailed.")
        row = session.get_one(ImportBatch, batch.id)
        row.counts, row.done_at = dict(report.counts), now  # from here on, all of them count
    return report


def unfinished(session: Session) -> list[Unfinished]:
    """List the imports that were begun and not finished."""
    query = select(ImportBatch).where(ImportBatch.done_at.is_(None)).order_by(ImportBatch.id)
    return [Unfinished(row.id, row.origin, row.started_at, row.file_hash) for row in session.scalars(query)]


def drop_salts(session: Session, *, before: datetime) -> int:
    """Drop the salts of imports done before a moment: nobody can then guess network addresses from their digests.

    Returns:
        Of how many imports.
    """
    old = (ImportBatch.done_at < before) & ImportBatch.salt.is_not(None)
    dropped = session.scalars(update(ImportBatch).where(old).values(salt=None).returning(ImportBatch.id))
    return len(list(dropped))


def _begin(desk: Desk, survey: Survey, options: Options, now: datetime) -> tuple[Report, Batch, int]:
    """Open the batch of a file, or take up the one that was left behind; give the last row that it reached."""
    with desk.books.write() as session:
        row = _earlier(session, survey, options)
        if row is None:
            row = ImportBatch(
                origin=survey.layout.origin,
                file_hash=survey.file_hash,
                options=options.as_json(),
                salt=secrets.token_bytes(16),
                actor=desk.actor,
                started_at=now,
                counts={},
                reached=0,
            )
            session.add(row)
            session.flush()
        report = Report(
            survey,
            Counter(row.counts),
            batch=row.id,
            started_at=row.started_at,
            repeated=row.done_at is not None,
        )
        return report, Batch(row.id, row.origin, row.actor, row.salt or b"", options, now), row.reached


def _earlier(session: Session, survey: Survey, options: Options) -> ImportBatch | None:
    """Find the batch of this file with these options.

    Raises:
        FileError: an import of the file with other options was not finished.
    """
    query = (
        select(ImportBatch).where(ImportBatch.file_hash == survey.file_hash).order_by(ImportBatch.id.desc())
    )
    several = list(session.scalars(query))
    same = next((row for row in several if row.options == options.as_json()), None)
    if same is None and any(row.done_at is None for row in several):
        raise FileError(
            "an import of this file was begun with other options and not finished: run it again with those, "
            "so that its people count, and then with the new ones."
        )
    return same


def _chunks(
    report: Report, now: datetime, reject: Reject, size: Callable[[], int], *, reached: int = 0
) -> Iterator[tuple[list[Row], int]]:
    """Read and judge the rows of a file; give those that can be taken, some at a time, in order.

    With them comes the number of the last row that was looked at, also one that is blank or rejected. Rows up to `reached` were settled by an earlier run: they come in chunks of their own, and are not counted.
    """
    layout = report.survey.layout
    rows: list[Row] = []
    number = 0
    for number, fields in records(report.survey):
        if blank(fields):
            report.counts[Outcome.BLANK] += number > reached
            continue
        try:
            row = judge(layout, fields, number, now=now)
        except RowError as exc:
            reject(number, str(exc), fields)
            report.reject(number, str(exc), counted=number > reached)
            continue
        if rows and (len(rows) >= size() or rows[-1].number <= reached < number):
            yield rows, number - 1
            rows = []
        rows.append(row)
    if rows:
        yield rows, number


def _hashed(desk: Desk, rows: Sequence[Row]) -> list[Hashed]:
    return list(zip(rows, hashes_of(desk.keys, (row.address for row in rows)), strict=True))


def _first_seen(report: Report, seen: Seen, rows: Sequence[Hashed]) -> list[Hashed]:
    """Leave out rows whose address came by before: the first row counts, and the first that says they left."""
    earlier = seen.mark([(hashes.lookup, row.claim in DEPARTURES) for row, hashes in rows])
    kept = []
    for (row, hashes), before in zip(rows, earlier, strict=True):
        departs = row.claim in DEPARTURES
        if before is None or (departs and not before):
            kept.append((row, hashes))
        else:
            count(report.counts, row, Outcome.GONE if before and not departs else Outcome.DUPLICATE)
    return kept


def _nowhere(_number: int, _reason: str, _fields: Sequence[str]) -> None:
    """Drop a rejected row: a rehearsal writes no file."""
