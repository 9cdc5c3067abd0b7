"""Rows that a backup reads before its snapshot: deliveries of finished editions, and events.

While a snapshot is open, PostgreSQL can't remove outdated rows, which slows down a send. So most rows are read before
it, each page in its own transaction. Triggers record later changes to them, such as late bounces, erasures, and
retention. Changed rows are read again in the snapshot, so that the result is the same as if all rows had been read in
it. See docs/decisions/0073-backups-beside-a-send.md.
"""

import gzip
import io
import json
import secrets
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any, cast

from sqlalchemy import Column, ColumnElement, Table, and_, func, select, text, true
from sqlalchemy.orm import Session

from digest.backups.archive import BackupError
from digest.backups.encrypted_file import CHUNK_BYTES, EncryptedReader, EncryptedWriter
from digest.backups.table_rows import READ_BATCH_SIZE, make_row_encoder, select_columns
from digest.store.delivery_models import ChangedRow, Delivery, RunningBackup, StoredDeliveryEvent
from digest.store.engine import Database
from subscribers.consent.disclosure_log import list_fully_sealed_subjects
from subscribers.store.models import DisclosureLogEntry, table_of

MAX_BACKUP_TIME = timedelta(days=3)  # after which a backup counts as killed, and changes are no longer recorded for it
WRITERS_TIMEOUT = 30.0  # seconds to wait for transactions that started before the backup
_POLL_SECONDS = 0.02

# The enabled triggers on both tables. Recreating a table, as SQLite requires for changes, drops its triggers.
_ACTIVE_TRIGGERS = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name IN ('delivery', 'event')",
    "postgresql": "SELECT tgname FROM pg_trigger WHERE tgenabled IN ('O', 'A') AND"
    " tgrelid IN ('delivery'::regclass, 'event'::regclass)",
}
_REQUIRED_TRIGGERS = {
    "sqlite": frozenset({"delivery_changed", "delivery_deleted", "event_changed", "event_deleted"}),
    "postgresql": frozenset({"delivery_changed", "event_changed", "event_added"}),
}

Condition = ColumnElement[bool]
Key = Column[Any]
StoredRows = Iterator[Sequence[Any]]
WatchRows = Callable[[Iterable[Any]], Iterable[Any]]  # passes rows on and counts them


@dataclass(frozen=True, slots=True)
class RowSplit:
    """A table's rows, divided into early and late ones.

    `early` selects the rows to read before the snapshot. `pages` selects the same rows in parts, each with its paging
    column, and `late` all others in parts. Each part is served by an index.
    """

    table: Table
    early: Condition
    pages: Sequence[tuple[Condition, Key]]
    late: Sequence[Condition]


def _split_deliveries(purposes: Sequence[str]) -> RowSplit:
    """Split deliveries by the purposes of finished editions, given in the database's sort order."""
    table = table_of(Delivery)
    purpose, person = table.c.purpose, table.c.person
    pages: list[tuple[Condition, Key]] = []
    for name in purposes:
        erased = and_(purpose == name, person.is_(None))
        pages += [(purpose == name, person), (erased, table.c.id)]
    above = (true(), *(purpose > name for name in purposes))
    below = (*(purpose < name for name in purposes), true())
    gaps = list(map(and_, above, below))
    return RowSplit(table, purpose.in_(purposes), pages, gaps)


def _split_events(last_event: int) -> RowSplit:
    table = table_of(StoredDeliveryEvent)
    number = table.c.id
    return RowSplit(table, number <= last_event, [(number <= last_event, number)], [number > last_event])


class LineSpool:
    """Lines buffered on disk, compressed and encrypted with a random key, in an anonymous file."""

    def __init__(self, folder: Path) -> None:
        self._key = secrets.token_hex()
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - `close` closes it
        self._sealed = EncryptedWriter(self._file, self._key)
        sealed = cast("IO[bytes]", self._sealed)
        self._packed = gzip.GzipFile(fileobj=sealed, mode="wb", compresslevel=1)

    def append_lines(self, lines: Iterable[bytes]) -> int:
        """Append lines, and return their number."""
        count = 0
        for line in lines:
            self._packed.write(line)
            count += 1
        return count

    def read_lines(self) -> Iterator[bytes]:
        """Yield all lines. Nothing can be appended afterward."""
        self._packed.close()
        self._sealed.close()
        opened = io.BufferedReader(EncryptedReader(self._file, self._key), CHUNK_BYTES)
        yield from gzip.GzipFile(fileobj=opened, mode="rb")

    def close(self) -> None:
        """Close the file, which deletes it."""
        self._file.close()


class SplitTable:
    """A table that a backup reads in two parts. Its rows are buffered on disk as lines of the archive."""

    def __init__(self, split: RowSplit, backup: int, spool: LineSpool) -> None:
        self.table = split.table
        self._split, self._backup, self._spool = split, backup, spool
        self._early_lines = 0
        self._changed_keys: set[Any] = set()

    def store_early_rows(self, database: Database, watch: WatchRows) -> None:
        """Read and buffer the early rows, each page in its own transaction."""
        for condition, key in self._split.pages:
            rows = self._read_pages(database, condition, key)
            self._early_lines += self._store_rows(watch(rows))

    def _read_pages(self, database: Database, part: Condition, key: Key) -> StoredRows:
        query = select_columns(self.table).where(part, key.is_not(None))
        query = next_query = query.order_by(key).limit(READ_BATCH_SIZE)
        while True:
            with database.read() as session:
                page = session.execute(next_query).all()
            yield from page
            if len(page) < READ_BATCH_SIZE:
                return
            next_query = query.where(key > getattr(page[-1], key.name))

    def store_late_rows(self, session: Session, watch: WatchRows) -> None:
        """Within a snapshot's session, read and buffer all other rows, and the early ones that have changed.

        Raises:
            BackupError: changes are no longer being recorded.
        """
        if session.get(RunningBackup, self._backup) is None:
            raise BackupError("The backup took too long, so it was canceled. Try again.")
        is_own = ChangedRow.backup == self._backup, ChangedRow.source == self.table.name
        texts = session.scalars(select(ChangedRow.key).where(*is_own).distinct())
        key = self.table.c.id
        changed_keys = [*map(key.type.python_type, texts)]
        self._changed_keys.update(changed_keys)
        starts = range(0, len(changed_keys), READ_BATCH_SIZE)
        batches = (changed_keys[start : start + READ_BATCH_SIZE] for start in starts)
        changed = (and_(self._split.early, key.in_(batch)) for batch in batches)
        for condition in (*self._split.late, *changed):
            query = select_columns(self.table).where(condition)
            rows = session.execute(query, execution_options={"yield_per": READ_BATCH_SIZE})
            self._store_rows(watch(rows))

    def _store_rows(self, rows: Iterable[Sequence[Any]]) -> int:
        return self._spool.append_lines(map(make_row_encoder(self.table), rows))

    def read_lines(self) -> Iterator[bytes]:
        """Yield the lines of all rows as of the snapshot."""
        place = list(self.table.c).index(self.table.c.id)
        for number, line in enumerate(self._spool.read_lines()):
            may_be_outdated = self._changed_keys and number < self._early_lines
            if not may_be_outdated or json.loads(line)[place] not in self._changed_keys:
                yield line


SplitTables = Mapping[str, SplitTable]


@contextmanager
def split_tables(database: Database, folder: Path, *, now: datetime) -> Iterator[SplitTables]:
    """Yield the tables to read in two parts, by name. Until the block ends, the database records changes to early rows.

    Lines are buffered in `folder`. If an old transaction doesn't end or the triggers are missing, no tables are split.
    """
    delete_stale_backup_records(database, now=now)
    with database.write() as session:
        last_event = session.scalar(select(func.max(StoredDeliveryEvent.id))) or 0
        backup = RunningBackup(started_at=now, last_event=last_event)
        session.add(backup)
    try:
        is_noted = _has_triggers(database) and _have_writers_ended(database)
        splits = _choose_splits(database, last_event) if is_noted else ()
        with ExitStack() as spools:
            tables = [
                SplitTable(split, backup.id, spools.enter_context(closing(LineSpool(folder)))) for split in splits
            ]
            yield {each.table.name: each for each in tables}
    finally:
        _delete_notes(database, RunningBackup.id == backup.id)


def delete_stale_backup_records(database: Database, *, now: datetime) -> int:
    """Delete the records of backups that were killed, and return the number of those backups."""
    return _delete_notes(database, RunningBackup.started_at < now - MAX_BACKUP_TIME)


def _delete_notes(database: Database, condition: Condition) -> int:
    backups = database.delete_in_batches(RunningBackup, condition, size=READ_BATCH_SIZE)
    without_backup = ChangedRow.backup.not_in(select(RunningBackup.id))
    database.delete_in_batches(ChangedRow, without_backup, size=READ_BATCH_SIZE)
    return backups


def _has_triggers(database: Database) -> bool:
    dialect = database.engine.dialect.name
    with database.read() as session:
        active = session.scalars(text(_ACTIVE_TRIGGERS[dialect]))
        return _REQUIRED_TRIGGERS[dialect] <= set(active)


def _have_writers_ended(database: Database) -> bool:
    """Wait for all transactions whose triggers may not have seen the backup. Return False if one doesn't end.

    SQLite has none, as it allows one writer at a time.
    """
    if database.engine.dialect.name == "sqlite":
        return True
    horizon = text("SELECT txid_snapshot_xmin(moment), txid_snapshot_xmax(moment) FROM txid_current_snapshot() moment")
    deadline, target = time.monotonic() + WRITERS_TIMEOUT, 0
    while True:
        with database.read() as session:
            oldest_open, newest = session.execute(horizon).one()
        target = target or newest
        if oldest_open >= target or time.monotonic() > deadline:
            return bool(oldest_open >= target)
        time.sleep(_POLL_SECONDS)


def _choose_splits(database: Database, last_event: int) -> Sequence[RowSplit]:
    subject = DisclosureLogEntry.subject
    with database.read() as session:
        finished = subject.in_(list_fully_sealed_subjects(session, Delivery.__tablename__))
        query = select(subject).where(finished).distinct()
        purposes = session.scalars(query.order_by(subject)).all()
    return _split_deliveries(purposes), _split_events(last_event)
