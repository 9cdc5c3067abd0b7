"""The archive: a ZIP with one member a table, each row a line of JSON, and a manifest that counts and proves them.

It is the same for SQLite and PostgreSQL. Addresses are in it as they are in the database: encrypted. No key is in it,
no outbox, and nothing that a provider posted and that was applied already.
"""

import base64
import hashlib
import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import IO, Any, Literal, Self
from typing import cast as cast_type

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    Date,
    DateTime,
    Enum,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    cast,
    func,
    inspect,
    not_,
    select,
    text,
    type_coerce,
)
from sqlalchemy.orm import Session

from digest import __version__
from digest.backups.encrypted_file import (
    CHUNK_BYTES,
    EncryptedReader,
    EncryptedWriter,
    WrongPassphraseError,
    is_encrypted,
)
from digest.store.delivery_models import InboundPayload
from digest.store.engine import Database, newest_schema_revision
from subscribers.crypto.key_file import sync_folder
from subscribers.errors import RefusalError
from subscribers.store.key_check import key_columns
from subscribers.store.models import Base, DamageTolerantJson, UtcDateTime

ARCHIVE_FORMAT = 1
MANIFEST_NAME = "manifest.json"
RowProgress = Callable[[int, int], None]  # rows done, rows in all
ValueFormat = Literal["plain", "bytes", "moment", "day", "json"]


# What Python's readers raise where bytes are not what they should be.
_DAMAGE_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError),
    *(LookupError, ValueError, TypeError, AttributeError, OverflowError),
)


class BackupError(RefusalError):
    """A backup cannot be made, read or restored; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class ArchivedTable:
    """One table: its columns in order with the form of their values, how many rows, and the SHA-256 of its lines."""

    columns: dict[str, ValueFormat]
    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ArchiveManifest:
    """What an archive holds. `revision` is the schema's, `keys` the ids of the keys that its rows name, by kind."""

    format: int
    version: str
    revision: str
    made_at: str
    origin: str
    keys: dict[str, list[str]]
    tables: dict[str, ArchivedTable]

    @property
    def people(self) -> int:
        """How many people's rows there are."""
        return self.tables["person"].rows


def tables_by_dependency() -> list[Table]:
    """Give every table, each after those that it refers to."""
    return list(Base.metadata.sorted_tables)


def list_stored_tables(connection: Connection) -> list[Table]:
    """Return the tables that a database of an older schema has, each after those that it refers to, with the columns that are there.

    A column is typed as it is today; one that is gone since then as the database says. What an index keeps for itself is no table.
    """
    stored = MetaData()
    virtual = set[str]()
    if connection.dialect.name == "sqlite":
        query = text("SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL TABLE%'")
        virtual = set(connection.scalars(query))
    names = [name for name in inspect(connection).get_table_names() if not any(name.startswith(v) for v in virtual)]
    stored.reflect(connection, only=[name for name in names if name != "alembic_version"])
    for table in stored.sorted_tables:
        today = Base.metadata.tables.get(table.name)
        for column in table.c:
            if today is not None and column.name in today.c:
                column.type = today.c[column.name].type
            elif isinstance(column.type, DateTime):
                column.type = UtcDateTime()
    return stored.sorted_tables


def excluded_rows(table: Table) -> ColumnElement[bool] | None:
    """Say which rows of a table are not for an archive."""
    return table.c.applied_at.is_not(None) if table.name == InboundPayload.__tablename__ else None


def value_format(column: Column[Any]) -> ValueFormat:
    """Say how a column's values are written."""
    kind = column.type
    if isinstance(kind, LargeBinary):
        return "bytes"
    if isinstance(kind, UtcDateTime):
        return "moment"
    if isinstance(kind, Date):
        return "day"
    return "json" if isinstance(kind, JSON | DamageTolerantJson) else "plain"


def select_expression(column: Column[Any]) -> ColumnElement[Any]:
    """Give what is selected for a column: JSON as the text that is stored, an enum as its value."""
    if value_format(column) == "json":
        return cast(column, Text).label(column.name)
    return type_coerce(column, String).label(column.name) if isinstance(column.type, Enum) else column


# Of the formats that are not written as they are.
_ENCODERS: dict[ValueFormat, Callable[[Any], Any]] = {
    "bytes": lambda value: base64.b64encode(value).decode(),
    "moment": datetime.isoformat,
    "day": date.isoformat,
}
_DECODERS: dict[ValueFormat, Callable[[Any], Any]] = {
    "bytes": lambda value: base64.b64decode(value, validate=True),
    "moment": datetime.fromisoformat,
    "day": date.fromisoformat,
}


def _unchanged(value: Any) -> Any:
    return value


def make_row_encoder(table: Table) -> Callable[[Sequence[Any]], bytes]:
    """Return what writes a row of a table, in the order of its columns, as a line: the same whatever the database."""
    encoders = [_ENCODERS.get(value_format(column), _unchanged) for column in table.c]

    def encode_row(row: Sequence[Any]) -> bytes:
        values = [None if v is None else write(v) for write, v in zip(encoders, row, strict=True)]
        return json.dumps(values, separators=(",", ":")).encode() + b"\n"

    return encode_row


class ArchiveWriter:
    """Writes an archive into an open file; `close` writes the manifest. Left without that, it is no archive."""

    def __init__(self, file: IO[bytes]) -> None:
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=6)
        self.archived_tables: dict[str, ArchivedTable] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # After a failed write: else the ZIP would try to end itself once its file is closed.
        with suppress(OSError, ValueError):
            self._zip.close()

    def write_table(self, table: Table, rows: Iterator[Sequence[Any]]) -> Iterator[int]:
        """Write a table's rows, in the order of its columns; give how many were written, now and then."""
        encode_row = make_row_encoder(table)
        digest, count = hashlib.sha256(), 0
        with self._zip.open(_member_name(table.name), "w", force_zip64=True) as member:
            for row in rows:
                line = encode_row(row)
                digest.update(line)
                member.write(line)
                count += 1
                if count % 1000 == 0:
                    yield count
        columns = {column.name: value_format(column) for column in table.c}
        self.archived_tables[table.name] = ArchivedTable(columns, count, digest.hexdigest())

    def close(self, manifest: ArchiveManifest) -> None:
        """Write the manifest and end the archive."""
        self._zip.writestr(MANIFEST_NAME, json.dumps(asdict(manifest), indent=1))
        self._zip.close()


def _member_name(table: str) -> str:
    return f"rows/{table}.jsonl"


def _open_to_read(path: Path, passphrase: str | None) -> IO[bytes]:
    """Open an archive for reading, decrypted where it is encrypted.

    Raises:
        BackupError: it is encrypted, and the passphrase is missing or another one.
        DamagedFileError: it is encrypted, and damaged.
    """
    with ExitStack() as on_failure:
        file = on_failure.enter_context(path.open("rb"))
        opened: IO[bytes] = file
        if is_encrypted(file):
            if passphrase is None:
                raise BackupError(f"{path}: is encrypted. Set DIGEST_BACKUP_PASSPHRASE to the passphrase of its time.")
            try:
                decrypted = EncryptedReader(file, passphrase)
            except WrongPassphraseError:
                raise BackupError(
                    f"{path}: does not open with this passphrase. Set DIGEST_BACKUP_PASSPHRASE to the one of its time."
                ) from None
            opened = io.BufferedReader(decrypted, CHUNK_BYTES)
        on_failure.pop_all()
    return opened


class ArchiveReader:
    """Reads an archive; every row that it gives was proved by the end of its table."""

    def __init__(self, path: Path, passphrase: str | None = None) -> None:
        """Open an archive, an encrypted one with its passphrase.

        Raises:
            BackupError: it is none, or one that this version cannot read.
        """
        self.path = path
        try:
            with ExitStack() as on_failure:
                file = on_failure.enter_context(_open_to_read(path, passphrase))
                self._zip = on_failure.enter_context(zipfile.ZipFile(file))
                fields = json.loads(self._zip.read(MANIFEST_NAME))
                parts = {name: ArchivedTable(**part) for name, part in fields.pop("tables").items()}
                self.manifest = ArchiveManifest(**fields, tables=parts)
                self._opened = on_failure.pop_all()
        except OSError as exc:
            raise BackupError(f"{path}: cannot be read ({exc.strerror}).") from exc
        except _DAMAGE_ERRORS as exc:
            raise BackupError(f"{path}: no backup of ours, or a damaged one. Take another.") from exc
        if self.manifest.format != ARCHIVE_FORMAT:
            self.close()
            raise BackupError(f"{path}: of format {self.manifest.format}; this version reads {ARCHIVE_FORMAT}.")

    def close(self) -> None:
        """Close the file."""
        self._opened.close()

    def read_rows(self, name: str) -> Iterator[dict[str, Any]]:
        """Give a table's rows by column.

        Raises:
            BackupError: the lines are not those that the manifest names.
        """
        part = self.manifest.tables[name]
        digest, count = hashlib.sha256(), 0
        try:
            forms = {column: _DECODERS.get(form, _unchanged) for column, form in part.columns.items()}
            with self._zip.open(_member_name(name)) as member:
                for line in member:
                    digest.update(line)
                    count += 1
                    values = json.loads(line)
                    yield {
                        column: None if value is None else read(value)
                        for (column, read), value in zip(forms.items(), values, strict=True)
                    }
        except (*_DAMAGE_ERRORS, OSError) as exc:
            raise BackupError(f"{self.path}: the rows of {name} are damaged. Take another.") from exc
        if (count, digest.hexdigest()) != (part.rows, part.sha256):
            raise BackupError(f"{self.path}: the rows of {name} are not those that were written.")

    def verify(self) -> Mapping[str, int]:
        """Read everything once and prove it; give the number of rows by table.

        Raises:
            BackupError: something is damaged, or missing.
        """
        return {name: sum(1 for _ in self.read_rows(name)) for name in self.manifest.tables}


READ_BATCH_SIZE = 2000  # rows that are read at a time


def create_backup(
    database: Database,
    file: Path,
    *,
    passphrase: str | None = None,
    now: datetime,
    progress: RowProgress = lambda *_: None,
    prove: Callable[[Path], object] | None = None,
) -> ArchiveManifest:
    """Write a backup to a file that must not exist yet, and read it again to prove it; with a passphrase it is encrypted.

    The schema may be an older one. `prove` proves more of it, before it has its name; it raises a BackupError where that fails.

    Raises:
        BackupError: the file is there, cannot be written, or does not hold what it should.
    """
    if file.exists():
        raise BackupError(f"{file}: is there already. Name a new file.")
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
        raise BackupError(
            f"{file}: cannot be written ({exc.strerror}). Make room there, or name another place."
        ) from exc
    finally:
        part.unlink(missing_ok=True)
    return reader.manifest


def _write_archive(
    database: Database, part: Path, passphrase: str | None, now: datetime, progress: RowProgress
) -> None:
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as out, database.snapshot() as session:
        sealed = EncryptedWriter(out, passphrase) if passphrase else None
        with ArchiveWriter(cast_type("IO[bytes]", sealed or out)) as writer:
            revision = str(session.scalar(text("SELECT version_num FROM alembic_version")))
            is_newest = revision == newest_schema_revision()
            tables = tables_by_dependency() if is_newest else list_stored_tables(session.connection())
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


def _write_tables(session: Session, tables: Sequence[Table], writer: ArchiveWriter, progress: RowProgress) -> None:
    counts = [select(func.count()).select_from(table) for table in tables]
    total = sum(session.scalar(count) or 0 for count in counts)
    rows_done = 0
    for table in tables:
        for written in writer.write_table(table, _select_rows(session, table)):
            progress(rows_done + written, total)
        rows_done += writer.archived_tables[table.name].rows


def _select_rows(session: Session, table: Table) -> Iterator[Sequence[Any]]:
    query = select(*(select_expression(column) for column in table.c)).order_by(*table.primary_key.columns)
    excluded = excluded_rows(table)
    if excluded is not None:
        query = query.where(not_(excluded))
    yield from session.execute(query, execution_options={"yield_per": READ_BATCH_SIZE})


def _used_key_ids(session: Session, tables: Sequence[Table]) -> dict[str, list[str]]:
    """Name the keys that rows were made with: without them the copy cannot be read."""
    stored = {table.name: table for table in tables}
    ids_by_kind: dict[str, set[str]] = {}
    for kind, table, column in key_columns():
        if table.name in stored and column.name in stored[table.name].c:
            ids = session.scalars(select(column).where(column.is_not(None)).distinct())
            ids_by_kind.setdefault(kind, set()).update(ids)
    return {kind: sorted(ids) for kind, ids in ids_by_kind.items() if ids}
