"""Connections: SQLite has one writer at a time, and a PostgreSQL connection may have died while idle."""

import threading
import time
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError, OperationalError

from digest.store.engine import PING_AFTER_IDLE, Database, open_database

COUNT = text("SELECT count(*) FROM note")


@pytest.mark.sqlite
def test_a_writer_waits_until_another_has_committed(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'a.db'}")
    with database.write() as session:
        session.execute(text("CREATE TABLE note (said TEXT)"))
    begun, seen = threading.Event(), []

    def write_second() -> None:
        begun.set()
        with database.write() as session:
            seen.append(session.scalar(COUNT))

    with database.write() as session:
        session.execute(text("INSERT INTO note VALUES ('first')"))
        second = threading.Thread(target=write_second)
        second.start()
        begun.wait()
        assert not seen
    second.join()
    assert seen == [1]
    database.close()


@pytest.mark.sqlite
def test_out_of_patience_a_writer_fails_and_its_connection_is_as_it_was(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    patient, hasty = open_database(url), open_database(url, writer_timeout=0.05)
    with patient.write() as first:
        first.connection()
        with pytest.raises(OperationalError, match="database is locked"), hasty.write() as second:
            second.connection()
    for database, kept in ((hasty, 50), (patient, 30_000)):
        with database.write() as session:
            assert session.scalar(text("PRAGMA busy_timeout")) == kept
        database.close()


@pytest.mark.sqlite
def test_what_is_no_database_is_said_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"no database" * 1000)
    database = open_database(f"sqlite:///{path}")
    with pytest.raises(DatabaseError, match="not a database"), database.write() as session:
        session.connection()
    database.close()


def test_a_machine_or_a_network_that_falls_silent_is_given_up_within_minutes_on_both_sides(
    postgresql: Database,
) -> None:
    """The server's default are two hours, during which what a vanished process has locked stays locked."""
    with postgresql.read() as session:
        connection = session.connection().connection.driver_connection
        assert isinstance(connection, psycopg.Connection)
        ours = connection.info.get_parameters()
        query = text("SELECT name, source FROM pg_settings WHERE name LIKE 'tcp_%'")
        theirs = {row.name: row.source for row in session.execute(query)}
    names = {"idle", "interval", "count"}
    assert {name for name in names if f"keepalives_{name}" in ours} == names
    assert "tcp_user_timeout" in ours
    assert theirs == {f"tcp_keepalives_{name}": "session" for name in names} | {"tcp_user_timeout": "session"}


def test_what_the_url_says_of_a_silent_network_counts(postgresql: Database) -> None:
    url = postgresql.engine.url.update_query_dict({"keepalives_idle": "300"})
    database = open_database(url.render_as_string(hide_password=False))
    with database.read() as session:
        connection = session.connection().connection.driver_connection
        assert isinstance(connection, psycopg.Connection)
        assert connection.info.get_parameters()["keepalives_idle"] == "300"
    database.close()


def test_a_connection_that_died_while_it_rested_is_replaced_unnoticed(postgresql: Database) -> None:
    with postgresql.read() as session:
        mine = session.scalar(text("SELECT pg_backend_pid()"))
    other = open_database(postgresql.engine.url.render_as_string(hide_password=False))
    with other.read() as session:
        # The server waits for the end itself: a transaction goes on seeing the activity that it saw first.
        assert session.scalar(text("SELECT pg_terminate_backend(:mine, 60000)"), {"mine": mine})
    other.close()
    time.sleep(PING_AFTER_IDLE)
    with postgresql.read() as session:
        assert session.scalar(text("SELECT pg_backend_pid()")) != mine
