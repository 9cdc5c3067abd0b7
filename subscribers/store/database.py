"""What this package asks of a database, and what the two dialects spell differently."""

from contextlib import AbstractContextManager
from typing import Any, Protocol

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Session

MAX_TRANSACTION_ROWS = 1000  # rows that one transaction writes at most, so that nobody waits long for SQLite's lock


class PeopleDatabase(Protocol):
    """A database of people: sessions for reading, and sessions that commit at the end of their block."""

    def read(self) -> AbstractContextManager[Session]:
        """Open a session for reading only."""

    def write(self) -> AbstractContextManager[Session]:
        """Open a session that commits."""


def is_postgresql(connection: Session | Connection) -> bool:
    """Return whether this is PostgreSQL; otherwise it is SQLite."""
    bind = connection.get_bind() if isinstance(connection, Session) else connection
    return bind.dialect.name == "postgresql"


def upsert(session: Session, table: Table | type[DeclarativeBase]) -> sqlite.Insert | postgresql.Insert:
    """Return an INSERT that has `on_conflict_do_nothing` and `on_conflict_do_update`, in the session's dialect."""
    dialect: Any = postgresql if is_postgresql(session) else sqlite
    statement: sqlite.Insert | postgresql.Insert = dialect.insert(table)
    return statement
