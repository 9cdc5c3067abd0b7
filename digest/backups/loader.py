"""Loading an archive into an empty database: its original schema, its rows, and the migration to the current schema."""

from collections.abc import Mapping
from itertools import islice
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

from digest.backups import archive, table_rows
from digest.store.engine import (
    REPLACE_DEVELOPMENT_BUILD,
    is_development_revision,
    newest_schema_revision,
    run_migrations_to_revision,
)
from subscribers.callback_types import Progress
from subscribers.crypto.keys import KeyFileError, KeyRing
from subscribers.store.keyed_row_seals import attach_keys_to_session
from subscribers.store.models import Person, UtcDateTime
from subscribers.store.people import decrypt_person_address

INSERT_BATCH_SIZE = 1000  # rows per statement
ADDRESSES_TRIED = 20


def load_archive(
    connection: Connection, reader: archive.ArchiveReader, keys: KeyRing, progress: Progress = lambda *_: None
) -> Session:
    """Create the archive's schema, insert its rows, migrate to the current schema, and return a session.

    Raises:
        BackupError: this version doesn't know the schema, the rows don't match it, or the keys don't decrypt addresses.
    """
    create_schema_and_insert_rows(connection, reader, progress)
    if reader.manifest.revision != newest_schema_revision():
        run_migrations_to_revision(connection, "head")
    for current_table in table_rows.list_tables_by_dependency():
        advance_sequence(connection, current_table)
    session = Session(connection, expire_on_commit=False)
    attach_keys_to_session(session, keys)
    _check_keys(session, reader, keys)
    return session


def create_schema_and_insert_rows(
    connection: Connection, reader: archive.ArchiveReader, progress: Progress = lambda *_: None
) -> None:
    """Create the archive's schema and insert its rows.

    Raises:
        BackupError: this version doesn't know the schema, or the rows don't match it.
    """
    manifest = reader.manifest
    if is_development_revision(manifest.revision):
        raise archive.BackupError(
            f"{reader.path} was made by a development build (schema {manifest.revision}), so it can't be restored.",
            remedy=REPLACE_DEVELOPMENT_BUILD,
        )
    try:
        run_migrations_to_revision(connection, manifest.revision)
    except Exception as exc:
        if type(exc).__module__.startswith("alembic"):
            raise archive.BackupError(
                f"{reader.path} was made by version {manifest.version}, and the version you're running "
                "doesn't support the backup's database schema. Restore the backup with the version that "
                "made it or a newer one."
            ) from exc
        raise
    total = sum(part.rows for part in manifest.tables.values())
    rows_done = 0
    tables = set(inspect(connection).get_table_names())
    if strange := sorted(manifest.tables.keys() - tables):
        raise archive.BackupError(
            f"{reader.path} has unknown tables ({', '.join(strange)}), so it can't be restored. Restore from a "
            "different backup."
        )
    for name, part in manifest.tables.items():
        if unlike := part.columns.keys() ^ {stored["name"] for stored in inspect(connection).get_columns(name)}:
            raise archive.BackupError(
                f"{reader.path}: the rows don't match the schema ({manifest.revision}): {name} differs in "
                f"the columns {', '.join(sorted(unlike))}. The database's schema number was wrong when the "
                "backup was made. Restore from a different backup."
            )
    for name, part in manifest.tables.items():
        insert = build_insert_statement(connection, name, part.columns)
        remaining = reader.read_rows(name)
        while rows := list(islice(remaining, INSERT_BATCH_SIZE)):
            connection.execute(insert, rows)
            rows_done += len(rows)
            progress(rows_done, total)


_COLUMN_TYPES: dict[table_rows.ValueFormat, TypeEngine[Any]] = {
    "plain": NullType(),
    "bytes": LargeBinary(),
    "moment": UtcDateTime(),
    "day": Date(),
    "json": Text(),
}


def build_insert_statement(connection: Connection, name: str, columns: Mapping[str, table_rows.ValueFormat]) -> Insert:
    """Return a statement that inserts rows unchanged, without the current schema's defaults for missing columns.

    SQLite stores JSON as text, and a cast would convert it to a number.
    """
    typed = connection.dialect.name == "postgresql"
    plain = table(name, *(column(c, _COLUMN_TYPES[form]) for c, form in columns.items()))
    values = {
        c: cast(bindparam(c, type_=Text()), JSON())
        if typed and form == "json"
        else bindparam(c, type_=_COLUMN_TYPES[form])
        for c, form in columns.items()
    }
    return insert(plain).values(values)


def advance_sequence(connection: Connection, target_table: Table) -> None:
    """Set PostgreSQL's sequence to the highest number in use. SQLite does so automatically."""
    key = target_table.autoincrement_column
    if connection.dialect.name != "postgresql" or key is None:
        return
    last = select(func.max(target_table.c[key.name])).scalar_subquery()
    sequence = func.pg_get_serial_sequence(f'"{target_table.name}"', key.name)
    next_value = func.setval(sequence, func.coalesce(last, 1), last.is_not(None))
    connection.execute(select(next_value))


def _check_keys(session: Session, reader: archive.ArchiveReader, keys: KeyRing) -> None:
    """Check that the key file decrypts an address, because it may be damaged or have different keys with the same IDs.

    Several addresses are tried, as a row may have been damaged before the backup.
    """
    person_query = select(Person).where(Person.ciphertext.is_not(None))
    query = person_query.order_by(Person.number).limit(ADDRESSES_TRIED)
    some = session.scalars(query).all()
    try:
        if some and all(decrypt_person_address(keys, person) is None for person in some):
            raise archive.BackupError(
                f"The key file can't decrypt the addresses in {reader.path}. Restore the key file from the "
                "time of the backup."
            )
    except KeyFileError as exc:
        raise archive.BackupError(f"{reader.path}: {exc}") from exc


def check_sqlite_integrity(connection: Connection) -> None:
    """Run SQLite's integrity and foreign key checks.

    Raises:
        BackupError: a check failed.
    """
    problems = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    if problems != ["ok"] or broken:
        raise archive.BackupError("The restored database failed its integrity check. Restore from a different backup.")
