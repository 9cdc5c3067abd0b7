"""The outcome of every row in a list, and the reason for it.

Outcomes are stored in a file during a dry run or import, and then written as CSV. Rows are
identified only by number. People who have the list can find the addresses by those numbers. For
anyone else, a file with addresses would be a disclosure of everyone in it, and of who left. Because
this file has no addresses, it isn't a disclosure.

The file is a small database, because outdated rows are decided again, and interrupted imports continue.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import IO, NamedTuple, Self

from subscribers.transfer.decisions import RowReason
from subscribers.transfer.spreadsheet_csv import SpreadsheetCsvWriter

OUTCOME_COLUMNS = ("row", "outcome", "why")
_MAX_PENDING = 1000  # unwritten rows


class ImportRowResult(NamedTuple):
    """The outcome of a row, and the reason for it.

    `detail` belongs to the reason, and is the number of an earlier row or a sentence.
    """

    row: int
    reason: RowReason
    detail: str = ""


class OutcomeFile:
    """The outcomes so far of a list's rows, in a file that only its owner can read.

    It's used as a context in one thread. If a row is recorded twice, the last record counts.
    """

    def __init__(self, path: Path) -> None:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600))
        self._pending: list[tuple[int, str, str]] = []
        # What a process writes is kept if it's killed. If the machine fails, the file may be lost,
        # and the import continues.
        self._connection = sqlite3.connect(path, isolation_level=None)
        for statement in (
            "PRAGMA synchronous = OFF",
            "CREATE TABLE IF NOT EXISTS outcome (row INTEGER PRIMARY KEY, reason TEXT NOT NULL, detail TEXT NOT NULL)",
        ):
            self._connection.execute(statement)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Write the pending records.

        They're written even if the work was interrupted, because an import may continue from there.
        """
        with closing(self._connection):
            self.flush()

    def clear(self) -> None:
        """Delete earlier records, because the list is being processed from its first row."""
        self._pending.clear()
        self._execute("DELETE FROM outcome WHERE row >= ?", [(0,)])

    def note(self, row: int, reason: RowReason, detail: str = "") -> None:
        """Record the outcome of a row."""
        self._pending.append((row, reason, detail))
        if len(self._pending) >= _MAX_PENDING:
            self.flush()

    def note_settled(self, rows: Iterable[int]) -> None:
        """Record rows that an earlier run processed, unless that run recorded their outcome."""
        self._execute(
            "INSERT OR IGNORE INTO outcome VALUES (?, ?, ?)", [(row, RowReason.EARLIER_RUN, "") for row in rows]
        )

    def flush(self) -> None:
        """Write the pending records.

        An import does that before storing its progress.
        """
        if self._pending:
            self._execute("INSERT OR REPLACE INTO outcome VALUES (?, ?, ?)", self._pending)
            self._pending.clear()

    def _execute(
        self,
        statement: str,
        rows: Iterable[tuple[int | str, ...]],
    ) -> None:
        try:
            self._connection.execute("BEGIN")
            self._connection.executemany(statement, rows)
            self._connection.execute("COMMIT")
        except sqlite3.Error as exc:
            raise OSError(f"Can't write the row results: {exc}") from exc


def read_outcomes(path: Path) -> Iterator[ImportRowResult]:
    """Yield the outcomes, in order of row number, without holding them all in memory."""
    # The server may send the rest from a different thread than the first part.
    with closing(
        sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)
    ) as connection:
        for row, reason, detail in connection.execute("SELECT row, reason, detail FROM outcome ORDER BY row"):
            yield ImportRowResult(row, RowReason(reason), detail)


def write_outcomes(
    file: IO[str],
    results: Iterable[ImportRowResult],
    name_outcome: Callable[[RowReason], str],
    *,
    headings: Sequence[str] = OUTCOME_COLUMNS,
) -> None:
    """Write outcomes as CSV that can't contain formulas.

    `name_outcome` returns the text for the outcome of a reason.
    """
    writer = SpreadsheetCsvWriter(file)
    if headings:
        writer.write_row(headings)
    for result in results:
        writer.write_row((result.row, name_outcome(result.reason), describe_reason(result)))


def describe_reason(result: ImportRowResult) -> str:
    """Return the reason for a row's outcome as a sentence."""
    return result.reason.words.format(detail=result.detail)
