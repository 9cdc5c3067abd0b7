"""Functions for opening a database and migrating its schema."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, create_engine, delete, event, inspect, select, text, tuple_
from sqlalchemy.engine import Dialect, make_url
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from subscribers.errors import ApplicationError
from subscribers.store.keyed_row_seals import ROW_KEYS, RowSealKeys
from subscribers.store.models import Base, table_of

MIGRATIONS = Path(__file__).parents[1] / "migrations"
FIRST_REVISION = "1001"  # the first release; see docs/decisions/0085-one-schema.md
REPLACE_DEVELOPMENT_BUILD = (
    "Set up a new installation with 'digest init', because no release can read a development build's data. To keep the "
    "subscribers, run 'digest subscribers export' and 'digest subscribers export-suppressions' with the last development "
    "build (0.1.0.dev2321, of December 1, 2026), then 'digest subscribers adopt-suppressions --commit' and 'digest "
    "subscribers import --commit' in the new installation."
)
MIN_POSTGRESQL_VERSION = 15  # the oldest version tested
WRITER_TIMEOUT = 30  # seconds that a writer waits for its turn on SQLite
PING_AFTER_IDLE = 1.0  # seconds that a PostgreSQL connection may be idle before it's checked
_IDLE_SINCE = "idle since"
WRITER_POLL_INTERVAL = 0.002  # seconds between attempts
# After this much silence, either side of a PostgreSQL connection probes the other, and gives up
# after about a minute without an answer. By default, Linux waits for two hours. During that time, a
# claim would hang, and the locks of a dead machine would block the others
# (postgresql.org/docs/current/libpq-connect.html).
_KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}  # seconds, seconds, and probes
_TCP_USER_TIMEOUT = 60_000  # milliseconds for which sent data may stay unacknowledged
# Number of prepared statements to keep for each SQLite connection, at 7 KB each. With the default of
# twice as many, memory would grow over some 60 sends, while the hit rate would rise only from 87% to 89%.
_CACHED_STATEMENTS = 64


def _note_idle_start(_connection: Any, record: ConnectionPoolEntry) -> None:
    record.info[_IDLE_SINCE] = time.monotonic()


def _ping_after_idle(dialect: Dialect, connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
    """Ping a connection before reuse if it's been idle for longer than `PING_AFTER_IDLE`.

    SQLAlchemy's `pool_pre_ping` pings every time. With the many short transactions of a send, this
    takes a tenth of its time.
    """
    since = record.info.get(_IDLE_SINCE)
    if since is None or time.monotonic() - since < PING_AFTER_IDLE:
        return
    try:
        dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as exc:
        raise InvalidatePoolError("the connection was lost") from exc  # the pool opens another one


def _give_up_silent_client(connection: Any, _record: ConnectionPoolEntry) -> None:
    """Configure the server to drop a client that has disappeared.

    The settings have no effect on Unix sockets.
    """
    limits = {f"tcp_{name}": str(value) for name, value in _KEEPALIVES.items()} | {
        "tcp_user_timeout": str(_TCP_USER_TIMEOUT)
    }
    with connection.cursor() as cursor:
        cursor.execute("SELECT " + ", ".join(["set_config(%s, %s, false)"] * len(limits)), [*chain(*limits.items())])
    connection.commit()


def _set_pragmas(connection: Any, _record: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # keeps the driver from starting transactions implicitly
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_transaction(writer_timeout: float, connection: Connection) -> None:
    if not connection.get_execution_options().get("immediate", False):
        connection.exec_driver_sql("BEGIN")
        return
    driver: Any = connection.connection.driver_connection
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        _await_writer_turn(driver, time.monotonic() + writer_timeout)
        if not driver.in_transaction:
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # raises the error as an SQLAlchemy exception
    finally:
        driver.execute(f"PRAGMA busy_timeout = {writer_timeout * 1000:.0f}")


def _await_writer_turn(driver: sqlite3.Connection, deadline: float) -> None:
    """Begin a write transaction as soon as no other write transaction is open.

    SQLite's busy handler backs off to one attempt every 100 ms. A process that writes often would
    then always win, and someone who unsubscribes during an import would wait for seconds.
    """
    while time.monotonic() < deadline:
        try:
            driver.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                return
            time.sleep(WRITER_POLL_INTERVAL)
        else:
            return


@dataclass(frozen=True, slots=True)
class Database:
    """An open database. It lives as long as the process, but its sessions are short."""

    engine: Engine
    row_keys: RowSealKeys = field(default_factory=RowSealKeys, compare=False, kw_only=True)
    kept_leases: set[str] = field(default_factory=set, compare=False, kw_only=True)  # leases of this process's runs

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session for reading, and roll it back at the end of the block.

        Within `share_read_session`, yield the shared session instead.
        """
        database, shared = _shared_session.get()
        if shared is not None and database is self:
            yield shared
            return
        with self._open_session(self.engine) as session:
            yield session

    @contextmanager
    def share_read_session(self) -> Iterator[None]:
        """Make all `read` calls of this thread share one session until the end of the block.

        The block must not write.
        """
        with self._open_session(self.engine) as session:
            token = _shared_session.set((self, session))
            try:
                yield
            finally:
                _shared_session.reset(token)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a session that commits at the end of the block, or rolls back if the block raises.

        On SQLite, the transaction begins IMMEDIATE, so that a second writer waits for its turn
        instead of failing halfway with "database is locked"
        (https://www.sqlite.org/lang_transaction.html).
        """
        with self._open_session(self.engine.execution_options(immediate=True)) as session, session.begin():
            yield session

    def _open_session(self, engine: Engine) -> Session:
        return Session(engine, expire_on_commit=False, info={ROW_KEYS: self.row_keys})

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """Open a session for reading that sees the database as it was at a single moment."""
        with self._open_session(self.engine) as session:
            if self.engine.dialect.name == "postgresql":
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session

    def delete_in_batches(self, model: type[Base], condition: ColumnElement[bool], *, size: int) -> int:
        """Delete the matching rows, `size` per transaction, and return the number of rows deleted."""
        table, deleted = table_of(model), 0
        keys = tuple(table.primary_key.columns)
        page = select(*keys).where(condition).limit(size)
        while True:
            with self.write() as session:
                of_page = delete(table).where(tuple_(*keys).in_(page))
                count = session.connection().execute(of_page).rowcount
            deleted += count
            if count < size:
                return deleted

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


_shared_session: ContextVar[tuple[Database | None, Session | None]] = ContextVar("shared", default=(None, None))


class AutocommitConnection:
    """A connection for many queries, each of which sees everything that was committed before it.

    A session begins and ends a transaction, which takes three round trips to PostgreSQL for one
    query. Here, a query takes one. Use it with `CompiledStatement.fetch_rows`. The connection is
    opened on first use, and again after an error.
    """

    def __init__(self, database: Database) -> None:
        # SQLite's driver doesn't begin transactions (see `_set_pragmas`).
        autocommit = {"isolation_level": "AUTOCOMMIT"} if database.engine.dialect.name == "postgresql" else {}
        self._engine = database.engine.execution_options(**autocommit)
        self._connection: Connection | None = None

    @contextmanager
    def lend(self) -> Iterator[Connection]:
        """Yield the connection for use by a query."""
        if self._connection is None:
            self._connection = self._engine.connect()
        try:
            yield self._connection
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Discard the connection, because it may be dead. The next query opens another."""
        if self._connection is not None:
            self._connection.invalidate()
            self.close()

    def close(self) -> None:
        """Close the connection until it's next needed."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


# Values that change with every committed write by any process. On PostgreSQL, writes to other
# databases on the server change them, too.
_CHANGE_MARKS = {"sqlite": "PRAGMA data_version", "postgresql": "SELECT CAST(txid_current_snapshot() AS text)"}


class DatabaseChangeDetector:
    """A detector of writes to a database, which needs only one small query. Not thread-safe."""

    def __init__(self, database: Database) -> None:
        self._query = _CHANGE_MARKS[database.engine.dialect.name]
        self._connection = AutocommitConnection(database)
        self._mark: object = None

    def has_changed(self) -> bool:
        """Return True if anything was written since the last call, or if this is the first call.

        On PostgreSQL, writes to other databases on the server count, too.

        Raises:
            DBAPIError: the database didn't respond.
        """
        with self._connection.lend() as connection:
            mark = connection.exec_driver_sql(self._query).scalar()
            connection.rollback()  # within a transaction, SQLite's value never changes
        before, self._mark = self._mark, mark
        return mark != before

    def close(self) -> None:
        """Close the connection until the next call."""
        self._connection.close()


def open_database(url: str, *, writer_timeout: float = WRITER_TIMEOUT) -> Database:
    """Open the database at `url` with our connection settings, without migrating its schema.

    Use `migrate_schema` for that. Both sides of a PostgreSQL connection give up after about a
    minute of silence, unless the URL sets other values for our side (such as `keepalives_idle`). On
    SQLite, a writer waits up to `writer_timeout` seconds for its turn, and then fails with
    "database is locked".

    Raises:
        sqlalchemy.exc.ArgumentError: the URL couldn't be parsed.
    """
    address = make_url(url)
    if address.get_backend_name() != "sqlite":
        limits = _KEEPALIVES | {"tcp_user_timeout": _TCP_USER_TIMEOUT}
        own = {name: value for name, value in limits.items() if name not in address.query}
        engine = create_engine(address, connect_args=own, hide_parameters=True)
        event.listen(engine, "connect", _give_up_silent_client)
        # Replace connections that died while idle.
        event.listen(engine, "checkin", _note_idle_start)
        event.listen(engine, "checkout", partial(_ping_after_idle, engine.dialect))
        return Database(engine)
    if address.database:
        Path(address.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Create the file before SQLite does, so that no umask can make it readable by others. Don't
        # open an existing file: closing it would drop the locks of every connection of this process
        # (sqlite.org/howtocorrupt.html, 2.2).
        if not Path(address.database).exists():
            os.close(os.open(address.database, os.O_CREAT | os.O_RDWR, 0o600))
    # hide_parameters keeps row values out of error messages.
    arguments = {"timeout": writer_timeout, "cached_statements": _CACHED_STATEMENTS}
    engine = create_engine(address, connect_args=arguments, hide_parameters=True)
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", partial(_begin_transaction, writer_timeout))
    return Database(engine)


def describe_driver_error(error: DBAPIError) -> str:
    """Return the first line of a database driver's error, without its period.

    The lines after it are hints and other addresses that were tried.
    """
    lines = str(error.orig).strip().splitlines() or [type(error).__name__]
    printable = (letter if letter.isprintable() else " " for letter in lines[0])
    return " ".join("".join(printable).split()).rstrip(".:")


# The number is arbitrary and isn't used elsewhere. The lock is released at the end of the transaction.
_AWAIT_MIGRATION_TURN = text("SELECT pg_advisory_xact_lock(6839104325)")


class UnsupportedSchemaError(ApplicationError):
    """Raised when the schema was created by a newer version, a development build, or another program."""


def migrate_schema(database: Database) -> None:
    """Migrate the schema to the latest revision in one transaction.

    Alembic isn't imported if the schema is current. Processes take turns: SQLite has only one
    writer, and on PostgreSQL, an advisory lock is taken.

    Raises:
        UnsupportedSchemaError: this version can't upgrade the schema.
        Exception: a migration failed or the database didn't respond; the schema is unchanged.
    """
    if read_schema_revision(database) == newest_schema_revision():
        return
    with database.engine.execution_options(immediate=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(_AWAIT_MIGRATION_TURN)
        current = read_schema_revision(database)
        refuse_unsupported_schema(current)
        if current == newest_schema_revision():
            return  # another process just migrated it
        run_migrations_to_revision(connection, "head")
        # Keep running sends of the previous version from handing over more messages.
        connection.execute(text("UPDATE run_lease SET epoch = epoch + 1"))


def refuse_unsupported_schema(revision: str | None) -> None:
    """Raise an error unless this version supports a schema revision (None means no schema yet).

    Raises:
        UnsupportedSchemaError: a newer version, a development build, or another program created
            the schema.
    """
    newest = newest_schema_revision()
    if revision is None or revision in _schema_revisions():
        return
    if is_development_revision(revision):
        raise UnsupportedSchemaError(
            f"The database was written by a development build (schema {revision}) and wasn't changed.",
            remedy=REPLACE_DEVELOPMENT_BUILD,
        )
    if revision > newest and revision.isdigit():
        raise UnsupportedSchemaError(
            f"The database belongs to a newer version of this program (schema {revision}; this version supports "
            f"{newest}) and wasn't changed.",
            remedy="Install that version (see docs/maintenance.md), or restore a backup made before the "
            "upgrade with 'digest restore FILE --replace'.",
        )
    raise UnsupportedSchemaError(
        f"This program doesn't know the database's schema ({revision}), so the database wasn't changed.",
        remedy="Check DIGEST_DATABASE_URL.",
    )


def is_development_revision(revision: str) -> bool:
    """Return True if a schema revision existed only in development builds."""
    return revision.isdigit() and revision < FIRST_REVISION


def run_migrations_to_revision(connection: Connection, revision: str) -> None:
    """Migrate the schema to `revision` within the connection's transaction.

    Raises:
        alembic.util.CommandError: the revision doesn't exist.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def read_schema_revision(database: Database) -> str | None:
    """Return the schema's revision, or None if there's no schema or the database didn't respond."""
    try:
        with database.read() as session:
            revision: str | None = session.scalar(text("SELECT version_num FROM alembic_version"))
            return revision
    except DBAPIError:
        return None


def has_schema(database: Database) -> bool:
    """Return True if the database has ever had a schema.

    Raises:
        sqlalchemy.exc.DBAPIError: the database didn't respond.
    """
    return read_schema_revision(database) is not None or inspect(database.engine).has_table("alembic_version")


@cache
def newest_schema_revision() -> str:
    """Return the schema revision that this version uses."""
    return max(_schema_revisions())


def _schema_revisions() -> frozenset[str]:
    """Return all revisions, read from the migrations' file names."""
    files = (MIGRATIONS / "versions").iterdir()
    return frozenset(file.name.partition("_")[0] for file in files if file.name[0].isdigit())


def find_unsupported_server_version(database: Database) -> str:
    """Return the version of a PostgreSQL server if it's too old, or "" for any other database.

    Raises:
        sqlalchemy.exc.DBAPIError: the database didn't respond.
    """
    if database.engine.dialect.name != "postgresql":
        return ""
    with database.engine.connect() as connection:
        version = connection.dialect.server_version_info or ()
    return ".".join(map(str, version)) if int(version[0]) < MIN_POSTGRESQL_VERSION else ""
