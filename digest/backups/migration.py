"""Moving everything to another database: every row is copied and verified in one transaction.

The old database is paused before the copy is committed. If the move fails, nothing has changed: the new database stays
empty, and the move can be restarted. Only a few thousand rows are in memory at a time.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Table, func, inspect, make_url, select, text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.orm import Session

from digest.backups import loader, table_rows
from digest.backups.archive import BackupError
from digest.backups.restore import require_exclusive_use, wait_for_other_connections
from digest.deliver.control import installation_hold
from digest.deliver.retention.delivery_seals import SEALED_TABLES
from digest.settings import explain_insecure_database
from digest.store.audit import chain_audit_entries, record_audit
from digest.store.audit_chain import add_audit_fault_to_proof
from digest.store.delivery_models import CLAIMED_STATES, Delivery
from digest.store.engine import Database, describe_driver_error, open_database, run_migrations_to_revision
from subscribers.callback_types import Progress
from subscribers.consent import seals
from subscribers.crypto.keys import KeyRing
from subscribers.english_text import count_with_noun
from subscribers.store.keyed_row_seals import attach_keys_to_session

HOLD_REASON = "everything was moved to another database, which now does the sending"
_HASH_SPACE = 2**256
_PASSES = 2  # each row is written and read back


@dataclass(frozen=True, slots=True)
class MigrationResult:
    """The result of a move: the number of verified rows by table, and the proof for the copied consent ledger."""

    rows_by_table: dict[str, int]
    proof: seals.LedgerProof

    @property
    def rows(self) -> int:
        """The total number of rows."""
        return sum(self.rows_by_table.values())


@dataclass(slots=True)
class _TableHash:
    """A row count and a sum of the rows' SHA-256 hashes, which doesn't depend on how the database sorts rows."""

    rows: int = 0
    total: int = 0

    def add_line(self, line: bytes) -> None:
        self.rows += 1
        self.total = (self.total + int.from_bytes(hashlib.sha256(line).digest())) % _HASH_SPACE


def parse_target_url(text_: str) -> URL:
    """Parse the URL of the database to move to.

    Raises:
        BackupError: the URL isn't supported; the message contains no password.
    """
    try:
        url = make_url(text_)
        backend = url.get_backend_name()
    except ArgumentError:
        backend = ""
    if backend not in {"sqlite", "postgresql"} or not url.database:
        raise BackupError(
            "The database URL isn't valid. For --to, use postgresql+psycopg://user:password@host/name or "
            "sqlite:////folder/digest.db."
        )
    if problem := explain_insecure_database(text_):
        raise BackupError(f"--to: {problem}")
    return url.set(drivername="postgresql+psycopg") if backend == "postgresql" else url


def move_database(
    source_url: str, target_url: URL, keys: KeyRing, *, actor: str, now: datetime, progress: Progress = lambda *_: None
) -> MigrationResult:
    """Copy all rows of a database at the newest schema to an empty one, verify the copy, and pause the old one.

    `progress` is called with (completed, total) steps, as each row is copied and read back.

    Raises:
        BackupError: the database can't be moved; nothing has changed.
    """
    if make_url(source_url) == target_url:
        raise BackupError("The URL in --to is for the database in use. Choose a different, empty database.")
    with _open_target(target_url) as target, _open_source(source_url) as (source, session):
        attach_keys_to_session(session, keys)
        _refuse_handovers(session)
        was_held = installation_hold.read_current_hold(session) is not None
        is_old_one_held = False
        try:
            with target.engine.execution_options(immediate=True).begin() as connection:
                _refuse_content(connection)
                run_migrations_to_revision(connection, "head")
                hashes = _copy_rows(session, connection, progress)
                _verify_rows(connection, hashes, progress)
                proof = _finish_target(connection, keys, actor=actor, now=now)
                # Pause the old one first, as both could send if neither were paused.
                installation_hold.pause_possible_copy(session, HOLD_REASON, actor=actor, now=now)
                session.commit()
                is_old_one_held = not was_held
        except Exception as exc:
            if is_old_one_held:
                with source.write() as undoing:
                    installation_hold.resume_all_sending(undoing)
            if isinstance(exc, DBAPIError):
                raise BackupError(f"The new database rejected the data: {describe_driver_error(exc)}") from exc
            raise
    return MigrationResult({name: hash_.rows for name, hash_ in hashes.items()}, proof)


@contextmanager
def _open_source(url: str) -> Iterator[tuple[Database, Session]]:
    """Yield the old database, which nothing else may be using, and a session that blocks writes to it."""
    file = make_url(url).database if make_url(url).get_backend_name() == "sqlite" else None
    if file:
        require_exclusive_use(Path(file))
    with (
        closing(open_database(url)) as database,
        Session(database.engine.execution_options(immediate=True), expire_on_commit=False) as session,
    ):
        if not file:
            wait_for_other_connections(session.connection())
            names = ", ".join(f'"{table.name}"' for table in table_rows.list_tables_by_dependency())
            session.execute(text(f"LOCK TABLE {names} IN EXCLUSIVE MODE"))
        yield database, session


@contextmanager
def _open_target(url: URL) -> Iterator[Database]:
    """Yield the new database. A file created for it is deleted if the move fails."""
    file = Path(url.database or "") if url.get_backend_name() == "sqlite" else None
    if file is not None and file.exists():
        raise BackupError(f"{file} already exists. Choose another name.")
    try:
        with closing(open_database(url.render_as_string(hide_password=False))) as database:
            with database.engine.connect():
                pass
            yield database
    except BaseException as exc:
        for path in file.parent.glob(f"{file.name}*") if file is not None else ():
            path.unlink()
        if isinstance(exc, DBAPIError):
            reason = describe_driver_error(exc)
            raise BackupError(f"Can't open the new database: {reason}") from exc
        raise


def _refuse_handovers(session: Session) -> None:
    count = session.scalar(select(func.count()).select_from(Delivery).where(Delivery.state.in_(CLAIMED_STATES)))
    if count:
        raise BackupError(
            f"Sending isn't finished, or it was interrupted ({count_with_noun(count, 'message')}). Wait until it's finished, or "
            "resolve the messages with 'digest status' and 'digest uncertain EDITION'. Then try again."
        )


def _refuse_content(connection: Connection) -> None:
    if inspect(connection).get_table_names():
        raise BackupError("The new database isn't empty. Choose an empty one (you can create one with createdb).")
    if connection.dialect.name == "postgresql":
        encoding = connection.scalar(text("SHOW server_encoding"))
        if encoding != "UTF8":
            raise BackupError(f"The new database uses the encoding {encoding}. Create one that uses UTF8.")


def _copy_rows(session: Session, connection: Connection, progress: Progress) -> dict[str, _TableHash]:
    """Copy all tables, and return the hash of each as it was read."""
    tables = table_rows.list_tables_by_dependency()
    counts = (session.scalar(select(func.count()).select_from(table)) or 0 for table in tables)
    total = _PASSES * sum(counts)
    hashes: dict[str, _TableHash] = {}
    row_count = 0
    for table in tables:
        hashes[table.name] = _TableHash()
        rows = _hash_rows(session.connection(), table, hashes[table.name])
        for written in _write_rows(connection, table, rows):
            progress(row_count + written, total)
        row_count += hashes[table.name].rows
        loader.advance_sequence(connection, table)
    return hashes


def _hash_rows(connection: Connection, table: Table, hash_: _TableHash) -> Iterator[Sequence[Any]]:
    """Yield all rows of a table, adding each one to the table's hash."""
    query = table_rows.select_columns(table)
    encode_row = table_rows.make_row_encoder(table)
    for row in connection.execute(query, execution_options={"yield_per": table_rows.READ_BATCH_SIZE}):
        hash_.add_line(encode_row(row))
        yield row


def _write_rows(connection: Connection, table: Table, rows: Iterator[Sequence[Any]]) -> Iterator[int]:
    """Write rows, periodically yielding the number written."""
    written = 0
    if connection.dialect.name == "postgresql":
        columns = ", ".join(f'"{column.name}"' for column in table.c)
        driver: Any = connection.connection.driver_connection
        try:
            with driver.cursor().copy(f'COPY "{table.name}" ({columns}) FROM STDIN') as copy:
                for written, row in enumerate(rows, 1):
                    copy.write_row(row)
                    if written % table_rows.READ_BATCH_SIZE == 0:
                        yield written
        except connection.dialect.loaded_dbapi.Error as exc:
            # The rest of the driver's message quotes the row.
            raise BackupError(
                f"The new database can't store a row of {table.name}: {exc.diag.message_primary}"
            ) from None
        return
    formats = {column.name: table_rows.choose_value_format(column) for column in table.c}
    insert = loader.build_insert_statement(connection, table.name, formats)
    names = [column.name for column in table.c]
    while batch := list(islice(rows, loader.INSERT_BATCH_SIZE)):
        connection.execute(insert, [dict(zip(names, row, strict=True)) for row in batch])
        written += len(batch)
        yield written


def _verify_rows(connection: Connection, hashes: dict[str, _TableHash], progress: Progress) -> None:
    """Read all copied rows back, and compare their hashes.

    Raises:
        BackupError: the rows of a table don't match.
    """
    total_rows = sum(hash_.rows for hash_ in hashes.values())
    total = _PASSES * total_rows
    for table in table_rows.list_tables_by_dependency():
        copied_hash = _TableHash()
        for number, _ in enumerate(_hash_rows(connection, table, copied_hash), 1):
            if number % table_rows.READ_BATCH_SIZE == 0:
                progress(total_rows + number, total)
        total_rows += copied_hash.rows
        if copied_hash != hashes[table.name]:
            raise BackupError(f"The copied rows of {table.name} don't match, so the database wasn't moved. Try again.")


def _finish_target(connection: Connection, keys: KeyRing, *, actor: str, now: datetime) -> seals.LedgerProof:
    """Verify the copied ledger, and make the database record its location when it's next opened."""
    if connection.dialect.name == "sqlite":
        loader.check_sqlite_integrity(connection)
    else:
        connection.execute(text("ANALYZE"))
    session = Session(connection, expire_on_commit=False)
    attach_keys_to_session(session, keys)
    # From here on, the session uses the connection's transaction, so the verification starts none.
    installation_hold.delete_installation_value(session, installation_hold.IDENTITY_STATE_KEY)
    proof = add_audit_fault_to_proof(session, seals.verify_ledger(session, keys, tables=SEALED_TABLES))
    detail = {"to": session.get_bind().dialect.name, "people": proof.people}
    record_audit(session, "moved to another database", "installation", detail, actor=actor, now=now)
    # This session never commits; the connection does.
    chain_audit_entries(session)
    return proof
