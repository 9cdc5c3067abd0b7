"""The archive: a ZIP file with a JSON Lines file for each table, and a manifest with their row counts and hashes.

It's the same for SQLite and PostgreSQL. Addresses are encrypted as they are in the database. The archive contains no
keys, no outbox files, and no provider events that were already applied.
"""

import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Self

from sqlalchemy import Table

from digest.backups.encrypted_file import CHUNK_BYTES, EncryptedReader, WrongPassphraseError, is_encrypted
from digest.backups.table_rows import ValueFormat, choose_value_format, find_value_decoder
from subscribers.errors import RefusalError

ARCHIVE_FORMAT = 1
MANIFEST_NAME = "manifest.json"


# The errors that Python's readers raise for invalid data.
_DAMAGE_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError),
    *(LookupError, ValueError, TypeError, AttributeError, OverflowError),
)


class BackupError(RefusalError):
    """Raised when a backup can't be made, read, or restored. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class ArchivedTable:
    """A table in an archive: its columns in order with their formats, its row count, and the SHA-256 of its lines."""

    columns: dict[str, ValueFormat]
    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ArchiveManifest:
    """The content of an archive.

    `revision` is the schema's, and `keys` are the IDs of the keys used by its rows, by kind.
    """

    format: int
    version: str
    revision: str
    made_at: str
    origin: str
    keys: dict[str, list[str]]
    tables: dict[str, ArchivedTable]

    @property
    def people(self) -> int:
        """The number of rows in the table of people."""
        return self.tables["person"].rows


class ArchiveWriter:
    """A writer of an archive to an open file. The archive isn't valid until `close` writes the manifest."""

    def __init__(self, file: IO[bytes]) -> None:
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=6)
        self.archived_tables: dict[str, ArchivedTable] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # After a failed write, the ZIP file would otherwise be finalized once its file is closed.
        with suppress(OSError, ValueError):
            self._zip.close()

    def write_table(self, table: Table, lines: Iterable[bytes]) -> None:
        """Write a table's rows, which must be encoded by `make_row_encoder`."""
        digest, count = hashlib.sha256(), 0
        with self._zip.open(_member_name(table.name), "w", force_zip64=True) as member:
            for line in lines:
                digest.update(line)
                member.write(line)
                count += 1
        columns = {column.name: choose_value_format(column) for column in table.c}
        self.archived_tables[table.name] = ArchivedTable(columns, count, digest.hexdigest())

    def close(self, manifest: ArchiveManifest) -> None:
        """Write the manifest and finish the archive."""
        self._zip.writestr(MANIFEST_NAME, json.dumps(asdict(manifest), indent=1))
        self._zip.close()


def _member_name(table: str) -> str:
    return f"rows/{table}.jsonl"


def _open_to_read(path: Path, passphrase: str | None) -> IO[bytes]:
    """Open an archive for reading, decrypting it if necessary.

    Raises:
        BackupError: the archive is encrypted, and the passphrase is missing or wrong.
        DamagedFileError: the archive is encrypted and damaged.
    """
    with ExitStack() as on_failure:
        file = on_failure.enter_context(path.open("rb"))
        opened: IO[bytes] = file
        if is_encrypted(file):
            if passphrase is None:
                raise BackupError(
                    f"{path} is encrypted. Set DIGEST_BACKUP_PASSPHRASE to its passphrase, or run the command in a terminal and enter the passphrase when asked."
                )
            try:
                decrypted = EncryptedReader(file, passphrase)
            except WrongPassphraseError:
                raise BackupError(
                    f"The passphrase doesn't decrypt {path}. Set DIGEST_BACKUP_PASSPHRASE to the one this backup was made "
                    "with."
                ) from None
            opened = io.BufferedReader(decrypted, CHUNK_BYTES)
        on_failure.pop_all()
    return opened


class ArchiveReader:
    """A reader of an archive. A table's rows have been verified once the last one has been read."""

    def __init__(self, path: Path, passphrase: str | None = None) -> None:
        """Open an archive, using its passphrase if it's encrypted.

        Raises:
            BackupError: the file isn't an archive, or this version can't read it.
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
            raise BackupError(f"Can't read {path}: {exc.strerror}.") from exc
        except _DAMAGE_ERRORS as exc:
            raise BackupError(
                f"{path} is damaged or isn't a backup made by this program. Restore from a different backup."
            ) from exc
        if self.manifest.format != ARCHIVE_FORMAT:
            self.close()
            raise BackupError(
                f"{path} has backup format {self.manifest.format}, but this version reads {ARCHIVE_FORMAT}. Restore it "
                "with the version that made it."
            )

    def close(self) -> None:
        """Close the file."""
        self._opened.close()

    def read_rows(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield a table's rows as dicts keyed by column.

        Raises:
            BackupError: the rows don't match the manifest.
        """
        part = self.manifest.tables[name]
        digest, count = hashlib.sha256(), 0
        try:
            forms = {column: find_value_decoder(form) for column, form in part.columns.items()}
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
            raise BackupError(f"The {name} rows in {self.path} are damaged. Restore from a different backup.") from exc
        if (count, digest.hexdigest()) != (part.rows, part.sha256):
            raise BackupError(f"The {name} rows in {self.path} failed verification. Restore from a different backup.")

    def verify(self) -> Mapping[str, int]:
        """Read and verify everything once, and return the number of rows by table.

        Raises:
            BackupError: something is damaged or missing.
        """
        return {name: sum(1 for _ in self.read_rows(name)) for name in self.manifest.tables}
