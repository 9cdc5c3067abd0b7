"""The database interface that this package needs, and the differences between the two SQL dialects."""

from contextlib import AbstractContextManager
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Connection, FromClause, Table, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Session

# The maximum number of rows written per transaction, so that SQLite's lock is never held for long.
MAX_TRANSACTION_ROWS = 1000


class PeopleDatabase(Protocol):
    """A database of people, with sessions for reading and sessions that commit at the end of their block."""

    def read(self) -> AbstractContextManager[Session]:
        """Open a read-only session."""

    def write(self) -> AbstractContextManager[Session]:
        """Open a session that commits at the end of its block."""


def is_postgresql(connection: Session | Connection) -> bool:
    """Return True if the database is PostgreSQL rather than SQLite."""
    bind = connection.get_bind() if isinstance(connection, Session) else connection
    return bind.dialect.name == "postgresql"


def upsert(session: Session, table: Table | type[DeclarativeBase]) -> sqlite.Insert | postgresql.Insert:
    """Return an INSERT statement in the session's dialect.

    It has the methods `on_conflict_do_nothing` and `on_conflict_do_update`.
    """
    dialect: Any = postgresql if is_postgresql(session) else sqlite
    statement: sqlite.Insert | postgresql.Insert = dialect.insert(table)
    return statement


def count_rows(
    session: Session,
    rows: FromClause | type[DeclarativeBase],
    *conditions: ColumnElement[bool],
) -> int:
    """Return the number of rows in a table or subquery that match all conditions."""
    return session.scalar(select(func.count()).select_from(rows).where(*conditions)) or 0
