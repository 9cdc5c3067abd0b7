"""How a database is opened and its schema brought up to date."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
MIN_POSTGRESQL_VERSION = 15  # the oldest that the tests run on
WRITER_TIMEOUT = 30  # seconds that a writer waits for its turn in SQLite
PING_AFTER_IDLE = 1.0  # seconds that a connection to PostgreSQL may idle before it is checked
_IDLE_SINCE = "idle since"
WRITER_POLL_INTERVAL = 0.002  # seconds between two attempts
# After so long a silence either side of a connection to PostgreSQL asks the other whether it is there, and gives it up after
# a minute without an answer. By default Linux asks after two hours: so long would a claim wait for an answer, and so long
# would the locks of a machine that is gone hold up the others (postgresql.org/docs/current/libpq-connect.html).
_KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}  # seconds, seconds, questions
_TCP_USER_TIMEOUT = 60_000  # milliseconds that what was written may stay unacknowledged


def _note_idle_start(_connection: Any, record: ConnectionPoolEntry) -> None:
    record.info[_IDLE_SINCE] = time.monotonic()


def _ping_after_idle(dialect: Dialect, connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
    """Ping a connection before it is used again, unless it was in use a moment ago.

    SQLAlchemy's `pool_pre_ping` pings each time, a tenth of the work of a send over many short transactions.
    """
    since = record.info.get(_IDLE_SINCE)
    if since is None or time.monotonic() - since < PING_AFTER_IDLE:
        return
    try:
        dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as exc:
        raise InvalidatePoolError("the connection was lost") from exc  # the pool opens another


def _give_up_silent_client(connection: Any, _record: ConnectionPoolEntry) -> None:
    """Let the server give up a client that is gone; over a socket file the settings have no effect."""
    limits = {f"tcp_{name}": str(value) for name, value in _KEEPALIVES.items()} | {
        "tcp_user_timeout": str(_TCP_USER_TIMEOUT)
    }
    with connection.cursor() as cursor:
        cursor.execute("SELECT " + ", ".join(["set_config(%s, %s, false)"] * len(limits)), [*chain(*limits.items())])
    connection.commit()


def _set_pragmas(connection: Any, _record: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # the driver must not begin transactions behind our back
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
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # whose error is SQLAlchemy's
    finally:
        driver.execute(f"PRAGMA busy_timeout = {writer_timeout * 1000:.0f}")


def _await_writer_turn(driver: sqlite3.Connection, deadline: float) -> None:
    """Begin a write transaction as soon as no other is open.

    SQLite's own busy handler backs off to one attempt every 100 ms. A process that writes often then always comes
    first, and a reader who unsubscribes during an import waits for seconds.
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
    """An open database. It lives as long as the process; sessions are short."""

    engine: Engine
    row_keys: RowSealKeys = field(default_factory=RowSealKeys, compare=False, kw_only=True)
    kept_leases: set[str] = field(default_factory=set, compare=False, kw_only=True)  # of this process's runs

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session for reading: whatever it holds is rolled back."""
        with self._open_session(self.engine) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a session that commits at the end of the block, or rolls back when the block raises.

        On SQLite the transaction begins IMMEDIATE, so that two writers queue instead of one failing with
        "database is locked" in the middle (https://www.sqlite.org/lang_transaction.html).
        """
        with self._open_session(self.engine.execution_options(immediate=True)) as session, session.begin():
            yield session

    def _open_session(self, engine: Engine) -> Session:
        return Session(engine, expire_on_commit=False, info={ROW_KEYS: self.row_keys})

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """Open a session for reading in which all is seen as it was at one moment."""
        with self.read() as session:
            if self.engine.dialect.name == "postgresql":
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session

    def delete_in_batches(self, model: type[Base], condition: ColumnElement[bool], *, size: int) -> int:
        """Delete the rows that match, so many a transaction; return how many they were."""
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


class AutocommitConnection:
    """One connection for many queries, each of which sees what is committed at its moment.

    A session begins a transaction and ends it: on PostgreSQL three journeys to the server for one query. Here a query is one.
    It is for `CompiledStatement.fetch_rows`. Opened when it is first used, and anew after an error.
    """

    def __init__(self, database: Database) -> None:
        # SQLite's driver begins no transaction by itself (`_set_pragmas`).
        autocommit = {"isolation_level": "AUTOCOMMIT"} if database.engine.dialect.name == "postgresql" else {}
        self._engine = database.engine.execution_options(**autocommit)
        self._connection: Connection | None = None

    @contextmanager
    def lend(self) -> Iterator[Connection]:
        """Lend the connection for a query."""
        if self._connection is None:
            self._connection = self._engine.connect()
        try:
            yield self._connection
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Give it up as it is, since it may be dead; the next query opens another."""
        if self._connection is not None:
            self._connection.invalidate()
            self.close()

    def close(self) -> None:
        """Close it until it is used again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


# What changes with every transaction that writes, also one of another process. On PostgreSQL it's the whole server's.
_CHANGE_MARKS = {"sqlite": "PRAGMA data_version", "postgresql": "SELECT CAST(txid_current_snapshot() AS text)"}


class DatabaseChangeDetector:
    """Finds out by one small query whether anything was written to a database. For one thread at a time."""

    def __init__(self, database: Database) -> None:
        self._query = _CHANGE_MARKS[database.engine.dialect.name]
        self._connection = AutocommitConnection(database)
        self._mark: object = None

    def has_changed(self) -> bool:
        """Return whether anything was written since the last call; the first returns True.

        Raises:
            DBAPIError: the database doesn't answer.
        """
        with self._connection.lend() as connection:
            mark = connection.exec_driver_sql(self._query).scalar()
            connection.rollback()  # in a transaction, SQLite would see the same for good
        before, self._mark = self._mark, mark
        return mark != before

    def close(self) -> None:
        """Close the connection until the next call."""
        self._connection.close()


def open_database(url: str, *, writer_timeout: float = WRITER_TIMEOUT) -> Database:
    """Open `url` with the pragmas of the product; the schema is left as it is (see `migrate_schema`).

    PostgreSQL and we give one another up after about a minute of silence, unless the URL says otherwise for our side
    (`keepalives_idle` and the like). With SQLite a writer waits `writer_timeout` seconds for its turn, and then fails with "database is locked".

    Raises:
        sqlalchemy.exc.ArgumentError: the URL cannot be read.
    """
    address = make_url(url)
    if address.get_backend_name() != "sqlite":
        limits = _KEEPALIVES | {"tcp_user_timeout": _TCP_USER_TIMEOUT}
        own = {name: value for name, value in limits.items() if name not in address.query}
        engine = create_engine(address, connect_args=own, hide_parameters=True)
        event.listen(engine, "connect", _give_up_silent_client)
        # A connection that died while it was idle is replaced.
        event.listen(engine, "checkin", _note_idle_start)
        event.listen(engine, "checkout", partial(_ping_after_idle, engine.dialect))
        return Database(engine)
    if address.database:
        Path(address.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Created before SQLite does it, so that no umask can leave people's rows readable to others. One that is there is left
        # alone: to close it would drop the locks of every connection of this process (sqlite.org/howtocorrupt.html, 2.2).
        if not Path(address.database).exists():
            os.close(os.open(address.database, os.O_CREAT | os.O_RDWR, 0o600))
    # hide_parameters: an error's text must not quote the values of a row.
    engine = create_engine(address, connect_args={"timeout": writer_timeout}, hide_parameters=True)
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", partial(_begin_transaction, writer_timeout))
    return Database(engine)


def describe_driver_error(error: DBAPIError) -> str:
    """Return in one line what a database's driver said first, without a period: it goes on with questions and other addresses tried."""
    lines = str(error.orig).strip().splitlines() or [type(error).__name__]
    printable = (letter if letter.isprintable() else " " for letter in lines[0])
    return " ".join("".join(printable).split()).rstrip(".:")


# Released at the end of the transaction. The number is ours alone in this database, and arbitrary.
_AWAIT_MIGRATION_TURN = text("SELECT pg_advisory_xact_lock(6839104325)")


class SchemaTooNewError(ApplicationError):
    """The database belongs to a newer version of this program, or to another program."""


def migrate_schema(database: Database, revision: str = "head") -> None:
    """Bring the schema to `revision` in one transaction; a no-op if it's there already, and then without importing Alembic.

    Processes take turns: SQLite has one writer, and PostgreSQL has a lock for it.

    Raises:
        SchemaTooNewError: a newer version brought it further than this one knows.
        Exception: a migration failed or the database doesn't respond, and the schema is as it was.
    """
    is_head = revision == "head"
    if is_head and read_schema_revision(database) == newest_schema_revision():
        return
    with database.engine.execution_options(immediate=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(_AWAIT_MIGRATION_TURN)
        current = read_schema_revision(database)
        refuse_newer_schema(current)
        if is_head and current == newest_schema_revision():
            return  # another process migrated it meanwhile
        run_migrations_to_revision(connection, revision)
        if is_head:
            # Runs of the version before hand over nothing more.
            connection.execute(text("UPDATE run_lease SET epoch = epoch + 1"))


def refuse_newer_schema(revision: str | None) -> None:
    """Refuse a schema that this version does not know.

    Raises:
        SchemaTooNewError: a newer version or another program made it.
    """
    newest = newest_schema_revision()
    if revision is None or revision in _schema_revisions():
        return
    if revision > newest and revision.isdigit():
        raise SchemaTooNewError(
            f"The database belongs to a newer version of this program (schema {revision}; this version supports "
            f"{newest}) and wasn't changed.",
            remedy="Install that version (pip install --upgrade hls_digest-….whl), or restore a backup made before the "
            "upgrade with 'digest restore FILE --replace'.",
        )
    raise SchemaTooNewError(
        f"The database has the schema {revision}, which isn't this program's, and wasn't changed.",
        remedy="Check DIGEST_DATABASE_URL.",
    )


def run_migrations_to_revision(connection: Connection, revision: str) -> None:
    """Bring the schema to `revision` within the transaction of a connection.

    Raises:
        alembic.util.CommandError: there is no such revision.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def read_schema_revision(database: Database) -> str | None:
    """Read the revision of a schema; None where there is none yet, or the database does not answer."""
    try:
        with database.read() as session:
            revision: str | None = session.scalar(text("SELECT version_num FROM alembic_version"))
            return revision
    except DBAPIError:
        return None


def has_schema(database: Database) -> bool:
    """Whether the database was ever given a schema.

    Raises:
        sqlalchemy.exc.DBAPIError: it does not answer.
    """
    return read_schema_revision(database) is not None or inspect(database.engine).has_table("alembic_version")


@cache
def newest_schema_revision() -> str:
    """Name the schema's revision that this version works with."""
    return max(_schema_revisions())


def _schema_revisions() -> frozenset[str]:
    """Name every revision, by the names of the migrations' files."""
    files = (MIGRATIONS / "versions").iterdir()
    return frozenset(file.name.partition("_")[0] for file in files if file.name[0].isdigit())


def find_old_server_version(database: Database) -> str:
    """Return the version of a PostgreSQL server that's too old for this program; empty for any other database.

    Raises:
        sqlalchemy.exc.DBAPIError: it doesn't answer.
    """
    if database.engine.dialect.name != "postgresql":
        return ""
    with database.engine.connect() as connection:
        version = connection.dialect.server_version_info or ()
    return ".".join(map(str, version)) if int(version[0]) < MIN_POSTGRESQL_VERSION else ""
