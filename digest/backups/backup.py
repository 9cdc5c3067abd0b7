"""Making a backup: every row as it was at one moment, while senders and pages go on."""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Table, func, not_, select, text
from sqlalchemy.orm import Session

from digest import __version__
from digest.backups import archive
from digest.store.engine import Database
from subscribers.crypto.key_file import sync_folder
from subscribers.crypto.keys import KeyRing
from subscribers.store.key_rotation import list_key_usage

READ_BATCH_SIZE = 2000  # rows that are read at a time


def create_backup(
    database: Database, keys: KeyRing, file: Path, *, now: datetime, progress: archive.RowProgress = lambda *_: None
) -> archive.ArchiveManifest:
    """Write a backup to a file that must not exist yet, and read it again to prove it.

    Raises:
        BackupError: the file is there, or cannot be written.
    """
    if file.exists():
        raise archive.BackupError(f"{file}: is there already. Name a new file.")
    part = file.with_name(f".{file.name}.part")
    try:
        _write_archive(database, keys, part, now, progress)
        with closing(archive.ArchiveReader(part)) as reader:
            reader.verify()
        part.rename(file)
        sync_folder(file.parent)
    except OSError as exc:
        raise archive.BackupError(f"{file}: cannot be written ({exc.strerror}).") from exc
    finally:
        part.unlink(missing_ok=True)
    return reader.manifest


def _write_archive(database: Database, keys: KeyRing, part: Path, now: datetime, progress: archive.RowProgress) -> None:
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as out, database.snapshot() as session:
        writer = archive.ArchiveWriter(out)
        counts = [select(func.count()).select_from(table) for table in archive.tables_by_dependency()]
        total = sum(session.scalar(count) or 0 for count in counts)
        rows_done = 0
        for table in archive.tables_by_dependency():
            for written in writer.write_table(table, _select_rows(session, table)):
                progress(rows_done + written, total)
            rows_done += writer.archived_tables[table.name].rows
        writer.close(
            archive.ArchiveManifest(
                format=archive.ARCHIVE_FORMAT,
                version=__version__,
                revision=str(session.scalar(text("SELECT version_num FROM alembic_version"))),
                made_at=now.isoformat(timespec="seconds"),
                origin=session.get_bind().dialect.name,
                keys=_used_key_ids(session, keys),
                tables=writer.archived_tables,
            )
        )
        out.flush()
        os.fsync(out.fileno())


def _select_rows(session: Session, table: Table) -> Iterator[Sequence[Any]]:
    query = select(*(archive.select_expression(column) for column in table.c)).order_by(*table.primary_key.columns)
    excluded = archive.excluded_rows(table)
    if excluded is not None:
        query = query.where(not_(excluded))
    yield from session.execute(query, execution_options={"yield_per": READ_BATCH_SIZE})


def _used_key_ids(session: Session, keys: KeyRing) -> dict[str, list[str]]:
    """Name the keys that rows were made with: without them the copy cannot be read."""
    ids_by_kind: dict[str, list[str]] = {}
    for usage in list_key_usage(session, keys):
        if usage.rows:
            ids_by_kind.setdefault(usage.kind, []).append(usage.id)
    return ids_by_kind
