import importlib
import pkgutil
import re
import subprocess
import sys
import traceback
from contextlib import closing
from datetime import UTC, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError, StatementError

import digest.store
import subscribers.store
from digest.store.engine import Database, open_database
from digest.store.models import ScheduleSlot
from subscribers.store.models import Base
from tests.moments import AFTER_RELEASE as NOON
from tests.run_database import run_on_server, sibling_database_url

# What a migration creates beyond the models: Alembic's own table, and the full-text index.
WITHOUT_MODEL = ("alembic_version", "archived_story_fts", "ix_archived_story_fts")
BRACKETED_CONDITION = re.compile(r" WHERE [(]")  # a condition may stand in parentheses, or not
# Columns, with types and defaults; constraints, with names; and indexes, with conditions.
POSTGRESQL_COLUMNS = """
    SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default
    FROM information_schema.columns WHERE table_schema = 'public'
"""
POSTGRESQL_CONSTRAINTS = """
    SELECT CAST(conrelid AS regclass)::text, conname, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = CAST('public' AS regnamespace)
"""
POSTGRESQL_INDEXES = "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"


def create_tables_of_models(database: Database) -> None:
    for package in (digest.store, subscribers.store):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)  # its tables join the metadata
    Base.metadata.create_all(database.engine)


def describe_sqlite_schema(database: Database) -> set[str]:
    """Return each line of the statements that created the tables and indexes."""
    statement = "SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'index') AND sql IS NOT NULL"
    with database.read() as session:
        created = session.execute(text(statement)).all()
    return {
        f"{name}: {BRACKETED_CONDITION.sub(' WHERE ', line.strip()).rstrip('),')}"
        for name, sql in created
        if not name.startswith(WITHOUT_MODEL)
        for line in sql.splitlines()
    }


def describe_postgresql_schema(database: Database) -> set[str]:
    with database.read() as session:
        rows = [
            tuple(row)
            for statement in (POSTGRESQL_COLUMNS, POSTGRESQL_CONSTRAINTS, POSTGRESQL_INDEXES)
            for row in session.execute(text(statement))
        ]
    return {str(row) for row in rows if not any(str(name).startswith(WITHOUT_MODEL) for name in row[:2])}


def test_migrations_give_the_schema_that_the_models_describe_on_sqlite(sqlite: Database, tmp_path: Path) -> None:
    with closing(open_database(f"sqlite:///{tmp_path / 'models.db'}")) as of_models:
        create_tables_of_models(of_models)
        assert sorted(describe_sqlite_schema(sqlite) ^ describe_sqlite_schema(of_models)) == []


def test_migrations_give_the_schema_that_the_models_describe_on_postgresql(
    postgresql: Database, postgresql_url: str
) -> None:
    run_on_server(postgresql_url, "CREATE DATABASE of_models TEMPLATE template0")
    with closing(open_database(sibling_database_url(postgresql_url, "of_models"))) as of_models:
        create_tables_of_models(of_models)
        assert sorted(describe_postgresql_schema(postgresql) ^ describe_postgresql_schema(of_models)) == []
    run_on_server(postgresql_url, "DROP DATABASE of_models")


def test_sqlite_runs_with_the_pragmas_that_durability_needs(sqlite: Database) -> None:
    with sqlite.read() as session:
        values = {
            p: session.execute(text(f"PRAGMA {p}")).scalar()
            for p in ("journal_mode", "synchronous", "secure_delete", "foreign_keys")
        }
    assert values == {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1, "foreign_keys": 1}


def test_times_come_back_in_utc_and_a_time_without_zone_is_refused(database: Database) -> None:
    east = NOON.astimezone(timezone(timedelta(hours=9)))
    with database.write() as session:
        session.add(ScheduleSlot(job="draft", at=east, owner="a", lease_until=NOON))
    with database.read() as session:
        slot = session.query(ScheduleSlot).one()
    assert (slot.at, slot.at.tzinfo) == (NOON, UTC)
    with pytest.raises(StatementError, match="without a time zone"), database.write() as session:
        session.add(ScheduleSlot(job="draft", at=NOON.replace(tzinfo=None), owner="a", lease_until=NOON))


def test_a_slot_is_taken_once(database: Database) -> None:
    with database.write() as session:
        session.add(ScheduleSlot(job="draft", at=NOON, owner="a", lease_until=NOON))
    with pytest.raises(IntegrityError), database.write() as session:
        session.add(ScheduleSlot(job="draft", at=NOON, owner="b", lease_until=NOON))


def test_reading_commits_nothing(database: Database) -> None:
    with database.read() as session:
        session.add(ScheduleSlot(job="draft", at=NOON, owner="a", lease_until=NOON))
        session.flush()
    with database.read() as session:
        assert session.query(ScheduleSlot).count() == 0


def test_an_error_of_the_database_quotes_no_value_of_a_row(database: Database) -> None:
    def twice() -> None:
        with database.write() as session:
            session.add_all(ScheduleSlot(job="draft", at=NOON, owner="zebra", lease_until=NOON) for _ in range(2))

    with pytest.raises(IntegrityError) as caught:
        twice()
    assert "zebra" not in "".join(traceback.format_exception(caught.value))
    assert "hide_parameters" in str(caught.value)


def test_opening_a_database_again_leaves_the_locks_of_its_connections(sqlite: Database) -> None:
    """Without them another process that closes it last would take the write-ahead log away beneath this one."""
    file = str(sqlite.engine.url.database)
    with sqlite.write() as session:
        session.add(ScheduleSlot(job="draft", at=NOON, owner="a", lease_until=NOON))
    with sqlite.read() as session:
        session.scalars(select(ScheduleSlot)).one()
        open_database(f"sqlite:///{file}").close()
        visit = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM slot').fetchall(); c.close()"
        subprocess.run([sys.executable, "-c", visit, file], check=True)
        assert Path(f"{file}-wal").exists()
