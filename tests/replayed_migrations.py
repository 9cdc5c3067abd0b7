"""Migrations of an empty database, which a process of the tests computes once and then has each further one execute.

Alembic walks through every revision for a restored backup, as for a new installation, and asks the database what stands there
before it changes it: three quarters of the time, for the same statements each time. What has tables already is migrated as ever.
"""

from dataclasses import dataclass
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, event, inspect

migrate_by_alembic = command.upgrade


@dataclass(frozen=True, slots=True)
class MigrationStatement:
    """One statement as the driver was given it, with its parameters."""

    text: str
    parameters: Any


_statements: dict[tuple[str, str], tuple[MigrationStatement, ...]] = {}


def _migrate_once(config: Config, revision: str, sql: bool = False, tag: str | None = None) -> None:  # noqa: FBT001, FBT002 - as Alembic has it
    """Stand in for `alembic.command.upgrade`."""
    connection: Connection = config.attributes["connection"]
    if sql or tag or inspect(connection).get_table_names():
        migrate_by_alembic(config, revision, sql, tag)
        return
    key = connection.dialect.name, revision
    if key not in _statements:
        _statements[key] = _note_statements(connection, config, revision)
        return
    for statement in _statements[key]:
        connection.exec_driver_sql(statement.text, statement.parameters)


def _note_statements(connection: Connection, config: Config, revision: str) -> tuple[MigrationStatement, ...]:
    noted: list[MigrationStatement] = []

    def note_statement(_: Connection, __: object, statement: str, parameters: Any, *___: object) -> None:
        if not _is_question(statement):
            noted.append(MigrationStatement(statement, parameters))

    event.listen(connection, "before_cursor_execute", note_statement)
    try:
        migrate_by_alembic(config, revision)
    finally:
        event.remove(connection, "before_cursor_execute", note_statement)
    return tuple(noted)


def _is_question(statement: str) -> bool:
    """Say whether a statement only asks, and leaves nothing behind."""
    return statement.startswith("SELECT") or (statement.startswith("PRAGMA") and "=" not in statement)


def keep_migration_statements() -> None:
    """Have this process note what migrates an empty database, and execute just that from then on."""
    command.upgrade = _migrate_once
