"""Downgrades that drop a column of editions leave the rows that refer to them: a table made anew would take these along."""

from importlib import import_module
from pathlib import Path

import pytest
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext

from digest.store.engine import open_database


@pytest.mark.parametrize(
    ("migration", "column"), [("0077_breaking_news", "send_requested_at"), ("0081_merged_variants", "merged")]
)
def test_dropping_a_column_of_editions_leaves_what_refers_to_them(tmp_path: Path, migration: str, column: str) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'old.db'}")
    with database.engine.execution_options(immediate=True).begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE edition (id INTEGER PRIMARY KEY, {column} INTEGER)")
        connection.exec_driver_sql("CREATE TABLE story (edition_id INTEGER REFERENCES edition ON DELETE CASCADE)")
        connection.exec_driver_sql("INSERT INTO edition VALUES (1, NULL)")
        connection.exec_driver_sql("INSERT INTO story VALUES (1)")
        with Operations.context(MigrationContext.configure(connection)):
            import_module(f"digest.migrations.versions.{migration}").downgrade()
        assert connection.exec_driver_sql("SELECT * FROM edition").all() == [(1,)]
        assert connection.exec_driver_sql("SELECT * FROM story").all() == [(1,)]
    database.close()
