import subprocess
import sys
import traceback
from datetime import UTC, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError, StatementError

from digest.store.engine import Database, open_database
from digest.store.models import ScheduleSlot
from subscribers.store.models import Base
from tests.moments import AFTER_RELEASE as NOON


def test_migrations_give_the_tables_that_the_models_describe(database: Database) -> None:
    # The full-text index is each database's own, and no model describes it.
    compared = {
        "include_name": lambda name, _kind, _parents: (
            not str(name).startswith(("archived_story_fts", "ix_archived_story_fts"))
        )
    }
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=compared), Base.metadata) == []


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
