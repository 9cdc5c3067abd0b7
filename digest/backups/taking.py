"""Making a backup: every row as it was at one moment, while senders and pages go on."""

import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Table, func, not_, select, text
from sqlalchemy.orm import Session

from digest import __version__
from digest.backups.archive import (
    FORMAT,
    BackupError,
    Manifest,
    Progress,
    Reader,
    Writer,
    expression,
    left_out,
    tables,
)
from digest.db import Audit
from digest.install import Install
from subscribers.keyfile import sync_folder
from subscribers.rotation import uses

AT_ONCE = 2000  # rows that are read at a time


def back_up(
    install: Install, file: Path, *, actor: str, now: datetime, progress: Progress | None = None
) -> Manifest:
    """Write a backup to a file that must not exist yet, and read it again to prove it.

    Raises:
        BackupError: the file is there, or cannot be written.
    """
    if file.exists():
        raise BackupError(f"{file}: is there already. Name a new file.")
    part = file.with_name(f".{file.name}.part")
    try:
        _write(install, part, now, progress)
        reader = Reader(part)
        try:
            reader.verify()
        finally:
            reader.close()
        part.rename(file)
        sync_folder(file.parent)
    except OSError as exc:
        raise BackupError(f"{file}: cannot be written ({exc.strerror}).") from exc
    finally:
        part.unlink(missing_ok=True)
    with install.database.write() as session:
        detail = {"people": reader.manifest.people, "format": FORMAT}
        session.add(Audit(at=now, actor=actor, act="backed up", subject="installation", detail=detail))
    return reader.manifest


def _write(install: Install, part: Path, now: datetime, progress: Progress | None) -> None:
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as out, install.database.snapshot() as session:
        writer = Writer(out)
        whole = sum(_count(session, table) for table in tables())
        done = 0
        for table in tables():
            for written in writer.table(table, _rows(session, table)):
                if progress is not None:
                    progress(done + written, whole)
            done += writer.parts[table.name].rows
        writer.close(
            Manifest(
                format=FORMAT,
                version=__version__,
                revision=str(session.scalar(text("SELECT version_num FROM alembic_version"))),
                made_at=now.isoformat(timespec="seconds"),
                origin=session.get_bind().dialect.name,
                keys=_keys(session, install),
                tables=writer.parts,
            )
        )
        out.flush()
        os.fsync(out.fileno())


def _rows(session: Session, table: Table) -> Iterator[Sequence[Any]]:
    query = select(*(expression(column) for column in table.c)).order_by(*table.primary_key.columns)
    out = left_out(table)
    query = query if out is None else query.where(not_(out))
    yield from session.execute(query, execution_options={"yield_per": AT_ONCE})


def _count(session: Session, table: Table) -> int:
    return session.scalar(select(func.count()).select_from(table)) or 0


def _keys(session: Session, install: Install) -> dict[str, list[str]]:
    """Name the keys that rows were made with: without them the copy cannot be read."""
    found: dict[str, list[str]] = {}
    for use in uses(session, install.keys):
        if use.rows:
            found.setdefault(use.kind, []).append(use.id)
    return found
