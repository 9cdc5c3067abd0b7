"""What becomes of every row of a list, and why: kept in a file while the list is tried or imported, written as CSV afterwards.

It names rows by their numbers alone. Whoever brought the list has the addresses beside those numbers; for whoever has not, a file that
named them would be a disclosure of everybody on the list whom it names, and of who left. So it holds none, and nobody has to be told.

The file is a small database of its own: a row that others have overtaken is judged again, and an import that was cut short goes on.
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
_MAX_PENDING = 1000  # rows that are not written yet


class ImportRowResult(NamedTuple):
    """What became of a row, and why. `detail` is what the reason speaks of: an earlier row's number, or a sentence."""

    row: int
    reason: RowReason
    detail: str = ""


class OutcomeFile:
    """The account of a list's rows under way, in a file that its owner alone can read. Use it in one thread, as a context.

    Of a row that is noted twice the last note counts.
    """

    def __init__(self, path: Path) -> None:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600))
        self._pending: list[tuple[int, str, str]] = []
        # A killed process leaves what it wrote; a machine that fails may take the account with it, and the import goes on.
        self._connection = sqlite3.connect(path, isolation_level=None)
        for statement in (
            "PRAGMA synchronous = OFF",
            "CREATE TABLE IF NOT EXISTS outcome (row INTEGER PRIMARY KEY, reason TEXT NOT NULL, detail TEXT NOT NULL)",
        ):
            self._connection.execute(statement)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Write what is noted, also of work that broke off: the import may go on from there."""
        with closing(self._connection):
            self.flush()

    def clear(self) -> None:
        """Forget an earlier account: the list is gone through from its first row."""
        self._pending.clear()
        self._execute("DELETE FROM outcome WHERE row >= ?", [(0,)])

    def note(self, row: int, reason: RowReason, detail: str = "") -> None:
        """Note what becomes of a row."""
        self._pending.append((row, reason, detail))
        if len(self._pending) >= _MAX_PENDING:
            self.flush()

    def note_settled(self, rows: Iterable[int]) -> None:
        """Note rows that an earlier run settled; its own account of them stays, where it kept one."""
        self._execute(
            "INSERT OR IGNORE INTO outcome VALUES (?, ?, ?)", [(row, RowReason.EARLIER_RUN, "") for row in rows]
        )

    def flush(self) -> None:
        """Write what is noted. An import does so before it writes down how far it came."""
        if self._pending:
            self._execute("INSERT OR REPLACE INTO outcome VALUES (?, ?, ?)", self._pending)
            self._pending.clear()

    def _execute(self, statement: str, rows: Iterable[tuple[int | str, ...]]) -> None:
        try:
            self._connection.execute("BEGIN")
            self._connection.executemany(statement, rows)
            self._connection.execute("COMMIT")
        except sqlite3.Error as exc:
            raise OSError(f"Can't write the row results: {exc}") from exc


def read_outcomes(path: Path) -> Iterator[ImportRowResult]:
    """Read an account, by the rows' numbers, in constant memory."""
    # The server may send it by another thread than the one that begins.
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)) as account:
        for row, reason, detail in account.execute("SELECT row, reason, detail FROM outcome ORDER BY row"):
            yield ImportRowResult(row, RowReason(reason), detail)


def write_outcomes(
    file: IO[str],
    accounts: Iterable[ImportRowResult],
    name_outcome: Callable[[RowReason], str],
    *,
    headings: Sequence[str] = OUTCOME_COLUMNS,
) -> None:
    """Write an account as CSV that no spreadsheet executes. `name_outcome` has the words of the face that gives it."""
    writer = SpreadsheetCsvWriter(file)
    if headings:
        writer.write_row(headings)
    for account in accounts:
        writer.write_row((account.row, name_outcome(account.reason), describe_reason(account)))


def describe_reason(account: ImportRowResult) -> str:
    """Say why a row comes to what it comes to."""
    return account.reason.words.format(detail=account.detail)
