"""Creating backups in a temporary file, which is renamed once it has been read back and verified."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, TypeVar
from typing import cast as cast_type

from sqlalchemy import Table, func, not_, select, text
from sqlalchemy.orm import Session

from digest import __version__
from digest.backups.archive import ARCHIVE_FORMAT, ArchiveManifest, ArchiveReader, ArchiveWriter, BackupError
from digest.backups.early_rows import split_tables
from digest.backups.encrypted_file import EncryptedWriter
from digest.backups.table_rows import (
    READ_BATCH_SIZE,
    build_exclusion_condition,
    list_tables_by_dependency,
    make_row_encoder,
    reflect_tables,
    select_columns,
)
from digest.store.engine import Database, newest_schema_revision
from subscribers.callback_types import Progress
from subscribers.crypto.key_file import sync_folder
from subscribers.store.key_check import list_key_id_columns, list_stored_key_ids

Row = TypeVar("Row")


def create_backup(
    database: Database,
    file: Path,
    *,
    passphrase: str | None = None,
    now: datetime,
    progress: Progress = lambda *_: None,
    prove: Callable[[Path], object] | None = None,
) -> ArchiveManifest:
    """Write a backup to a new file, encrypting it if there's a passphrase, and read it back to verify it.

    The schema may be an older one. `prove` verifies more before the file is renamed, and raises a BackupError on
    failure.

    Raises:
        BackupError: the file exists, can't be written, or failed verification.
    """
    if file.exists():
        raise BackupError(f"{file} already exists. Choose another name.")
    part = file.with_name(f".{file.name}.part")
    try:
        _write_archive(database, part, passphrase, now, progress)
        with closing(ArchiveReader(part, passphrase)) as reader:
            reader.verify()
        if prove is not None:
            prove(part)
        part.rename(file)
        sync_folder(file.parent)
    except OSError as exc:
        raise BackupError(f"Can't write {file}: {exc.strerror}. Free up space, or choose another location.") from exc
    finally:
        part.unlink(missing_ok=True)
    return reader.manifest


def _write_archive(database: Database, part: Path, passphrase: str | None, now: datetime, progress: Progress) -> None:
    with database.read() as session:
        revision = _read_revision(session)
        is_newest = revision == newest_schema_revision()
        tables = list_tables_by_dependency() if is_newest else reflect_tables(session.connection())
        counts = {table.name: _count_rows(session, table) for table in tables}
    with ExitStack() as stack:
        writer = stack.enter_context(_create_archive(part, passphrase))
        # Older schemas are backed up before an upgrade, when nothing is being sent.
        splits = stack.enter_context(split_tables(database, part.parent, now=now)) if is_newest else {}
        split_rows = sum(counts[name] for name in splits)
        row_count = _RowCount(sum(counts.values()) + split_rows, progress)
        for split in splits.values():
            split.store_early_rows(database, row_count.watch)
        with database.snapshot() as session:
            if _read_revision(session) != revision:
                raise BackupError("The database was upgraded during the backup. Make another one.")
            for split in splits.values():
                split.store_late_rows(session, row_count.watch)
            for table in tables:
                if table.name not in splits:
                    rows = row_count.watch(_select_rows(session, table))
                    writer.write_table(table, map(make_row_encoder(table), rows))
            keys = _used_key_ids(session, tables)
        for split in splits.values():
            writer.write_table(split.table, row_count.watch(split.read_lines()))
        writer.close(
            ArchiveManifest(
                format=ARCHIVE_FORMAT,
                version=__version__,
                revision=revision,
                made_at=now.isoformat(timespec="seconds"),
                origin=database.engine.dialect.name,
                keys=keys,
                tables={table.name: writer.archived_tables[table.name] for table in tables},
            )
        )


@contextmanager
def _create_archive(part: Path, passphrase: str | None) -> Iterator[ArchiveWriter]:
    """Yield a writer for a new private file, which is synced to disk at the end of the block."""
    part.unlink(missing_ok=True)
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW
    descriptor = os.open(part, flags, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        sealed = EncryptedWriter(out, passphrase) if passphrase else None
        with ArchiveWriter(cast_type("IO[bytes]", sealed or out)) as writer:
            yield writer
        if sealed:
            sealed.close()
        out.flush()
        os.fsync(out.fileno())


@dataclass(slots=True)
class _RowCount:
    """A counter of rows read and lines copied, which reports progress every 1,000 rows."""

    total: int
    progress: Progress
    done: int = 0

    def watch(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield rows and count them."""
        for row in rows:
            yield row
            self.done += 1
            if self.done % 1000 == 0:
                self.progress(self.done, self.total)


def _count_rows(session: Session, table: Table) -> int:
    return session.scalar(select(func.count()).select_from(table)) or 0


def _read_revision(session: Session) -> str:
    return str(session.scalar(text("SELECT version_num FROM alembic_version")))


def _select_rows(session: Session, table: Table) -> Iterator[Sequence[Any]]:
    query = select_columns(table).order_by(*table.primary_key.columns)
    excluded = build_exclusion_condition(table)
    if excluded is not None:
        query = query.where(not_(excluded))
    yield from session.execute(query, execution_options={"yield_per": READ_BATCH_SIZE})


def _used_key_ids(session: Session, tables: Sequence[Table]) -> dict[str, list[str]]:
    """Return, by kind, the IDs of the keys that rows use, which are needed to read the copy."""
    stored = {table.name: table for table in tables}
    ids_by_kind: dict[str, set[str]] = {}
    for kind, table, column in list_key_id_columns():
        if table.name in stored and column.name in stored[table.name].c:
            ids_by_kind.setdefault(kind, set()).update(list_stored_key_ids(session, column))
    return {kind: sorted(ids) for kind, ids in ids_by_kind.items() if ids}
