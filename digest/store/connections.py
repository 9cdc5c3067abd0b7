"""How connections behave: on SQLite writers wait for their turn, on PostgreSQL a dead connection is replaced."""

import sqlite3
import time
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry

WRITER_TIMEOUT = 30  # seconds that a writer waits for its turn in SQLite
PING_AFTER_IDLE = 1.0  # seconds that a connection to PostgreSQL may idle before it is checked
_IDLE_SINCE = "idle since"
WRITER_POLL_INTERVAL = 0.002  # seconds between two attempts


def queue_writers(engine: Engine, writer_timeout: float) -> Engine:
    """Make an engine of SQLite use the product's pragmas, and wait up to `writer_timeout` seconds for a writer's turn.

    A transaction of an engine with the option `immediate` takes the write lock at its beginning, so that two writers
    queue instead of one failing in the middle (https://www.sqlite.org/lang_transaction.html).
    """
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", partial(_begin_transaction, writer_timeout))
    return engine


def replace_dead_connections(engine: Engine) -> Engine:
    """Make an engine replace connections that died while they were idle."""
    event.listen(engine, "checkin", _note_idle_start)
    event.listen(engine, "checkout", partial(_ping_after_idle, engine.dialect))
    return engine


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
        raise InvalidatePoolError("the connection is gone") from exc  # the pool opens another


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
