"""The PostgreSQL database that tests reuse is as it was before the first of them."""

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from digest.store.engine import Database
from tests.conftest import ReusedDatabase

SLOT = "INSERT INTO slot (job, at, owner, lease_until, outcome) VALUES ('draft', now(), 'a', now(), '') RETURNING id"
ALARM = "INSERT INTO alarm (kind) VALUES (NULL)"


def list_used(connection: Connection) -> list[str]:
    """Name the tables that have a row, and the sequences that gave a number away."""
    tables = connection.scalars(text("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 2200")).all()
    filled = [name for name in tables if connection.scalar(text(f'SELECT EXISTS (SELECT 1 FROM "{name}")'))]
    sequences = "SELECT sequencename FROM pg_sequences WHERE last_value IS NOT NULL ORDER BY 1"
    return sorted(filled) + list(connection.scalars(text(sequences)))


def test_rows_and_numbers_of_one_test_are_gone_for_the_next(
    postgresql: Database, reused_postgresql: ReusedDatabase
) -> None:
    with postgresql.engine.begin() as connection:
        connection.execute(text(SLOT))
    with pytest.raises(IntegrityError), postgresql.engine.begin() as connection:
        connection.execute(text(ALARM))  # gives a number away, and writes no row
    with postgresql.engine.connect() as connection:
        assert list_used(connection) == ["alembic_version", "slot", "alarm_id_seq", "slot_id_seq"]
    emptied = reused_postgresql.open_empty()
    with emptied.engine.connect() as connection:
        assert list_used(connection) == ["alembic_version"]
        assert connection.scalar(text(SLOT)) == 1
    emptied.close()
    assert emptied.engine.url == postgresql.engine.url, "it is not a new one"


def test_a_schema_that_a_test_changed_is_made_anew_for_the_next(
    postgresql: Database, reused_postgresql: ReusedDatabase
) -> None:
    with postgresql.engine.begin() as connection:
        connection.execute(text("ALTER SCHEMA public RENAME TO aside"))
        connection.execute(text("CREATE SCHEMA public"))
    fresh = reused_postgresql.open_empty()
    assert fresh.engine.url != postgresql.engine.url
    with fresh.engine.connect() as connection:
        assert list_used(connection) == ["alembic_version"]
    fresh.close()
