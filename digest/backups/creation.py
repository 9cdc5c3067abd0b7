"""Making a backup: every row into an archive beside its place, which has its name only once it was read again and proved."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import IO, Any
from typing import cast as cast_type

from sqlalchemy import Table, func, not_, select, text
from sqlalchemy.orm import Session

from digest import __version__
from digest.backups.archive import ARCHIVE_FORMAT, ArchiveManifest, ArchiveReader, ArchiveWriter, BackupError
from digest.backups.encrypted_file import EncryptedWriter
from digest.backups.table_rows import (
    READ_BATCH_SIZE,
    build_exclusion_condition,
    reflect_tables,
    select_expression,
    tables_by_dependency,
)
from digest.store.engine import Database, newest_schema_revision
from subscribers.callback_types import Progress
from subscribers.crypto.key_file import sync_folder
from subscribers.store.key_check import list_key_id_columns


def create_backup(
    database: Database,
    file: Path,
    *,
    passphrase: str | None = None,
    now: datetime,
    progress: Progress = lambda *_: None,
    prove: Callable[[Path], object] | None = None,
) -> ArchiveManifest:
    """Write a backup to a file that must not exist yet, and read it again to prove it; with a passphrase it is encrypted.

    The schema may be an older one. `prove` proves more of it, before it has its name; it raises a BackupError where that fails.

    Raises:
        BackupError: the file is there, cannot be written, or does not hold what it should.
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
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as out, database.snapshot() as session:
        sealed = EncryptedWriter(out, passphrase) if passphrase else None
        with ArchiveWriter(cast_type("IO[bytes]", sealed or out)) as writer:
            revision = str(session.scalar(text("SELECT version_num FROM alembic_version")))
            is_newest = revision == newest_schema_revision()
            tables = tables_by_dependency() if is_newest else reflect_tables(session.connection())
            _write_tables(session, tables, writer, progress)
            writer.close(
                ArchiveManifest(
                    format=ARCHIVE_FORMAT,
                    version=__version__,
                    revision=revision,
                    made_at=now.isoformat(timespec="seconds"),
                    origin=session.get_bind().dialect.name,
                    keys=_used_key_ids(session, tables),
                    tables=writer.archived_tables,
                )
            )
        if sealed:
            sealed.close()
        out.flush()
        os.fsync(out.fileno())


def _write_tables(session: Session, tables: Sequence[Table], writer: ArchiveWriter, progress: Progress) -> None:
    counts = [select(func.count()).select_from(table) for table in tables]
    total = sum(session.scalar(count) or 0 for count in counts)
    rows_done = 0
    for table in tables:
        for written in writer.write_table(table, _select_rows(session, table)):
            progress(rows_done + written, total)
        rows_done += writer.archived_tables[table.name].rows


def _select_rows(session: Session, table: Table) -> Iterator[Sequence[Any]]:
    columns = map(select_expression, table.c)
    query = select(*columns).order_by(*table.primary_key.columns)
    excluded = build_exclusion_condition(table)
    if excluded is not None:
        query = query.where(not_(excluded))
    yield from session.execute(query, execution_options={"yield_per": READ_BATCH_SIZE})


def _used_key_ids(session: Session, tables: Sequence[Table]) -> dict[str, list[str]]:
    """Name the keys that rows were made with: without them the copy cannot be read."""
    stored = {table.name: table for table in tables}
    ids_by_kind: dict[str, set[str]] = {}
    for kind, table, column in list_key_id_columns():
        if table.name in stored and column.name in stored[table.name].c:
            ids = session.scalars(select(column).where(column.is_not(None)).distinct())
            ids_by_kind.setdefault(kind, set()).update(ids)
    return {kind: sorted(ids) for kind, ids in ids_by_kind.items() if ids}
