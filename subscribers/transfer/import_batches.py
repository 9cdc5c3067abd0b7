"""Records of unfinished and finished imports."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from subscribers.consent import ledger
from subscribers.store.models import ImportBatch
from subscribers.transfer.import_undo import UNDONE_OPTION, is_undone, read_option_time


@dataclass(frozen=True, slots=True)
class UnfinishedImport:
    """An import that was interrupted by a crash or a person.

    Its people aren't emailed until it's run again.
    """

    batch: int
    name: str
    started_at: datetime
    file_hash: str
    is_undo: bool = False

    @property
    def sentence(self) -> str:
        """A text that says that the import is unfinished, and what to do."""
        if self.is_undo:
            return (
                f"Undoing import {self.batch} ({self.name}) was interrupted, so the people in it won't be emailed. To "
                f"finish, run 'digest subscribers import --undo {self.batch} --reason \"…\"'."
            )
        return (
            f"Import {self.batch} ({self.name}, started {self.started_at:%Y-%m-%d %H:%M} UTC) is unfinished, so "
            "the people in it won't be emailed. To continue, import the same file again. To undo it, run 'digest "
            f"subscribers import --abandon {self.batch}'."
        )


def list_unfinished_imports(session: Session) -> list[UnfinishedImport]:
    """Return the imports that are unfinished or whose undo was interrupted, oldest first."""
    query = select(ImportBatch).where(ImportBatch.done_at.is_(None)).order_by(ImportBatch.id)
    rows = session.scalars(query)
    return [
        UnfinishedImport(row.id, row.name, row.started_at, row.file_hash, UNDONE_OPTION in row.options) for row in rows
    ]


@dataclass(frozen=True, slots=True)
class FinishedImport:
    """A finished import, and the number of rows with each outcome."""

    batch: int
    name: str
    done_at: datetime
    counts: Mapping[str, int]
    is_undone: bool = False
    # Also None if it was undone before it was finished.
    undone_at: datetime | None = None

    @property
    def undo_until(self) -> datetime:
        """The time until which the import can be undone."""
        return self.done_at + ledger.UNDO_PERIOD


def list_finished_imports(session: Session, *, limit: int) -> list[FinishedImport]:
    """Return up to `limit` finished imports, newest first."""
    done = select(ImportBatch).where(ImportBatch.done_at.is_not(None)).order_by(ImportBatch.id.desc()).limit(limit)
    return [each for row in session.scalars(done) if (each := _describe_finished_import(row)) is not None]


def find_finished_import(session: Session, batch: int) -> FinishedImport | None:
    """Return the finished import with the given number, or None if there's none."""
    row = session.get(ImportBatch, batch)
    return _describe_finished_import(row) if row is not None else None


def _describe_finished_import(row: ImportBatch) -> FinishedImport | None:
    if row.done_at is None:
        return None
    undone_at = read_option_time(row, UNDONE_OPTION)
    return FinishedImport(row.id, row.name, row.done_at, row.counts, is_undone(row), undone_at)


def drop_import_salts(session: Session, *, before: datetime) -> int:
    """Delete the salts of imports that finished before a given moment, and return the number of imports.

    Afterward, IP addresses can't be guessed from their digests anymore.
    """
    old = (ImportBatch.done_at < before) & ImportBatch.salt.is_not(None)
    change = update(ImportBatch).where(old).values(salt=None).returning(ImportBatch.id)
    dropped = session.scalars(change)
    return len(list(dropped))
