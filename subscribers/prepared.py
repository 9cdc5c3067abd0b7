"""Statements compiled once and then run by the driver itself, for the few that a send runs many thousand times.

SQLAlchemy takes some 100 µs to run a statement that SQLite runs in 10. What it does for us stays: the same
statement for both databases, the types of the columns, the transaction of the session.
"""

from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Dialect, Executable
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

Row = Any  # a named tuple of the columns that were asked for
_Change = Callable[[Any], Any] | None


@dataclass(frozen=True, slots=True)
class _Ready:
    """A statement as one dialect has it."""

    sql: str
    given: tuple[tuple[str, _Change], ...]  # parameters in the order of their places, and what makes them fit
    fixed: Mapping[str, Any]  # those that the statement holds itself, fit already
    positional: bool
    row: Callable[..., Row]
    columns: tuple[_Change, ...]

    def bound(self, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Give the parameters of each row as the driver wants them."""
        columns = [
            [self.fixed[name]] * len(rows)
            if name in self.fixed
            else changed([values[name] for values in rows], change)
            for name, change in self.given
        ]
        if self.positional:
            return list(zip(*columns, strict=True)) if columns else [()] * len(rows)
        names = [name for name, _ in self.given]
        return [dict(zip(names, fit, strict=True)) for fit in zip(*columns, strict=True)]

    def read(self, rows: Sequence[Sequence[Any]]) -> list[Row]:
        """Give rows with the values that the columns' types stand for."""
        if not rows:
            return []
        pairs = zip(zip(*rows, strict=True), self.columns, strict=True)
        return [self.row(*fit) for fit in zip(*(changed(v, change) for v, change in pairs), strict=True)]


def changed(values: Sequence[Any], change: Callable[[Any], Any] | None) -> Sequence[Any]:
    """Change each value of a column as its type asks for.

    Many rows share a value (the moment, the choices of those who made none): of those that follow one another and
    are one object, or equal texts, only the first is changed, and what it became is shared as well.
    """
    if change is None:
        return values
    last, became, found = object(), None, []
    for value in values:
        if value is not last and not (type(value) is str and value == last):
            last, became = value, change(value)
        found.append(became)
    return found


class Prepared:
    """One statement, ready to be run often. It may be used in any session of any database."""

    def __init__(self, statement: Executable) -> None:
        self._statement = statement
        self._by_dialect: dict[str, _Ready] = {}

    def rows(self, session: Session, values: Mapping[str, Any]) -> list[Row]:
        """Run a SELECT with these parameters; give its rows.

        Raises:
            sqlalchemy.exc.DBAPIError: the database refused, or is gone.
        """
        connection = session.connection()
        ready, cursor = self._ready(connection.dialect), connection.connection.cursor()
        try:
            cursor.execute(ready.sql, ready.bound([values])[0])
            return ready.read(cursor.fetchall())
        except connection.dialect.loaded_dbapi.Error as exc:
            raise self._told(connection, exc) from exc
        finally:
            cursor.close()

    def change(self, session: Session, rows: Iterable[Mapping[str, Any]]) -> int:
        """Run an UPDATE once for each of these parameters; give how many rows it changed.

        Raises:
            sqlalchemy.exc.DBAPIError: the database refused, or is gone.
        """
        connection = session.connection()
        ready, cursor = self._ready(connection.dialect), connection.connection.cursor()
        try:
            cursor.executemany(ready.sql, ready.bound(list(rows)))
            return int(cursor.rowcount)
        except connection.dialect.loaded_dbapi.Error as exc:
            raise self._told(connection, exc) from exc
        finally:
            cursor.close()

    def _ready(self, dialect: Dialect) -> _Ready:
        if dialect.name not in self._by_dialect:
            self._by_dialect[dialect.name] = _compile(self._statement, dialect)
        return self._by_dialect[dialect.name]

    def _told(self, connection: Connection, exc: Exception) -> BaseException:
        """Give a driver's error as SQLAlchemy gives it, without the parameters."""
        driver = connection.dialect.loaded_dbapi
        return DBAPIError.instance(str(self._statement), None, exc, driver.Error, hide_parameters=True)


def _compile(statement: Executable, dialect: Dialect) -> _Ready:
    compiled: Any = statement.compile(dialect=dialect)  # type: ignore[attr-defined]  # every statement can
    changes = {
        name: bind.type.dialect_impl(dialect).bind_processor(dialect) for name, bind in compiled.binds.items()
    }
    own = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
    fixed = {name: changes[name](value) if changes[name] else value for name, value in own.items()}
    names = compiled.positiontup if compiled.positional else list(compiled.binds)
    columns = list(getattr(statement, "selected_columns", ()))
    return _Ready(
        sql=str(compiled),
        given=tuple((name, changes[name]) for name in names),
        fixed=fixed,
        positional=compiled.positional,
        row=namedtuple("Row", [c.key for c in columns]),  # noqa: PYI024 - its fields are known when the program runs
        columns=tuple(c.type.dialect_impl(dialect).result_processor(dialect, None) for c in columns),
    )
