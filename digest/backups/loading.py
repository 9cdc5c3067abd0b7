"""Writing an archive's rows into an empty database: the schema of its time, the rows as they stood, then today's schema."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import (
    JSON,
    Connection,
    Date,
    Insert,
    LargeBinary,
    Table,
    Text,
    bindparam,
    cast,
    column,
    func,
    insert,
    inspect,
    select,
    table,
)
from sqlalchemy.orm import Session
from sqlalchemy.types import NullType, TypeEngine

from digest.backups.archive import BackupError, Form, Part, Progress, Reader, tables
from digest.db import newest_revision, upgrade
from subscribers.db import Person, UtcDateTime
from subscribers.vault import KeyFileError, Keys, VaultError, open_

AT_ONCE = 1000  # rows that are written at a time


def load(connection: Connection, reader: Reader, keys: Keys, progress: Progress | None) -> Session:
    """Make the schema of the archive's time, write its rows, and bring the schema along."""
    manifest = reader.manifest
    try:
        upgrade(connection, manifest.revision)
    except Exception as exc:
        if type(exc).__module__.startswith("alembic"):
            raise BackupError(
                f"{reader.path}: made by version {manifest.version}, whose database this version does not know. "
                "Restore it with that version, or a newer one."
            ) from exc
        raise
    whole = sum(part.rows for part in manifest.tables.values())
    done = 0
    there = set(inspect(connection).get_table_names())
    if strange := sorted(manifest.tables.keys() - there):
        raise BackupError(f"{reader.path}: has tables that its version does not know: {', '.join(strange)}.")
    for name, part in manifest.tables.items():
        put = _insert(connection, name, part)
        for rows in _some(reader.rows(name)):
            connection.execute(put, rows)
            done += len(rows)
            if progress is not None:
                progress(done, whole)
    if manifest.revision != newest_revision():
        upgrade(connection, "head")
    for one in tables():
        _count_on(connection, one)
    session = Session(connection, expire_on_commit=False)
    _try_keys(session, reader, keys)
    return session


def _some(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    some: list[dict[str, Any]] = []
    for row in rows:
        some.append(row)
        if len(some) == AT_ONCE:
            yield some
            some = []
    if some:
        yield some


_TYPES: dict[Form, TypeEngine[Any]] = {
    "plain": NullType(),
    "bytes": LargeBinary(),
    "moment": UtcDateTime(),
    "day": Date(),
    "json": Text(),
}


def _insert(connection: Connection, name: str, part: Part) -> Insert:
    """Write rows as they stood: no default of today's may fill in what the archive's time did not have.

    SQLite keeps JSON as the text that it is; to cast it there would make a number of it.
    """
    typed = connection.dialect.name == "postgresql"
    plain = table(name, *(column(c, _TYPES[form]) for c, form in part.columns.items()))
    values = {
        c: cast(bindparam(c, type_=Text()), JSON())
        if typed and form == "json"
        else bindparam(c, type_=_TYPES[form])
        for c, form in part.columns.items()
    }
    return insert(plain).values(values)


def _count_on(connection: Connection, of: Table) -> None:
    """Have PostgreSQL count on from the highest number that was given; SQLite does so by itself."""
    key = of.autoincrement_column
    if connection.dialect.name != "postgresql" or key is None:
        return
    last = select(func.max(of.c[key.name])).scalar_subquery()
    sequence = func.pg_get_serial_sequence(f'"{of.name}"', key.name)
    connection.execute(select(func.setval(sequence, func.coalesce(last, 1), last.is_not(None))))


def _try_keys(session: Session, reader: Reader, keys: Keys) -> None:
    """Open one address: the key file may be another one with keys of the same ids in it, or damaged."""
    person = session.scalar(
        select(Person).where(Person.ciphertext.is_not(None)).order_by(Person.number).limit(1)
    )
    if person is None or person.ciphertext is None:
        return
    try:
        open_(keys, (person.ciphertext, person.key_id or ""), person.number)
    except (VaultError, KeyFileError) as exc:
        raise BackupError(f"{reader.path}: {exc}") from exc


def examine(connection: Connection) -> None:
    """Have SQLite look at every page and every reference."""
    found = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    if found != ["ok"] or broken:
        raise BackupError("the restored database is not sound: take another backup.")
