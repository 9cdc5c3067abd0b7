"""Statements run directly by the driver, used for frequent statements during a send and for bulk inserts.

They're compiled once, because SQLAlchemy takes about 100 µs to run a statement that SQLite runs in
10. The statement is still the same for both databases, and the types of columns and the session's
transaction still apply.
"""

import json
from collections import namedtuple
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Dialect,
    Executable,
    LargeBinary,
    String,
    Table,
    any_,
    func,
    select,
)
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import InstrumentedAttribute, Session

from subscribers.store.database import is_postgresql

# The values of rows by column.
Columns = Mapping[str, Sequence[Any]]
StatementRow = Any  # a named tuple of the selected columns
_Conversion = Callable[[Any], Any] | None


@dataclass(frozen=True, slots=True)
class _DialectStatement:
    """A statement compiled for one dialect."""

    sql: str
    parameters: tuple[tuple[str, _Conversion], ...]  # the parameters in order, with their conversions
    # The statement's own parameters, already converted.
    constants: Mapping[str, Any]
    positional: bool
    row_type: Callable[..., StatementRow]
    result_conversions: tuple[_Conversion, ...]

    def bind_rows(self, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Return each row's parameters in the form that the driver requires."""
        columns = [
            [self.constants[name]] * len(rows)
            if name in self.constants
            else convert_column([values[name] for values in rows], change)
            for name, change in self.parameters
        ]
        if self.positional:
            return list(zip(*columns, strict=True)) if columns else [()] * len(rows)
        names = [name for name, _ in self.parameters]
        pairs = zip(*columns, strict=True)
        return [dict(zip(names, fit, strict=True)) for fit in pairs]

    def convert_rows(self, rows: Sequence[Sequence[Any]]) -> list[StatementRow]:
        """Return rows with their values converted according to the column types."""
        if not rows:
            return []
        pairs = zip(zip(*rows, strict=True), self.result_conversions, strict=True)
        return [self.row_type(*fit) for fit in zip(*(convert_column(v, change) for v, change in pairs), strict=True)]


def convert_column(
    values: Sequence[Any],
    conversion: Callable[[Any], Any] | None,
) -> Sequence[Any]:
    """Convert each value of a column.

    Many rows share a value, such as the time or the default preferences. In a run of values that
    are the same object, or equal texts, only the first one is converted, and the result is shared.
    """
    if conversion is None:
        return values
    if len(values) > 1 and type(values[0]) is str and values.count(values[0]) == len(values):
        return [conversion(values[0])] * len(values)
    last, converted_value, converted = object(), None, []
    for value in values:
        if value is not last and not (type(value) is str and value == last):
            last, converted_value = value, conversion(value)
        converted.append(converted_value)
    return converted


class CompiledStatement:
    """A statement for frequent use in any session of any database."""

    def __init__(self, statement: Executable) -> None:
        self._statement = statement
        self._by_dialect: dict[str, _DialectStatement] = {}

    def fetch_rows(
        self,
        session: Session | Connection,
        parameters: Mapping[str, Any],
    ) -> list[StatementRow]:
        """Run a SELECT statement with parameters, and return its rows.

        Raises:
            sqlalchemy.exc.DBAPIError: the database rejected the statement or is unavailable.
        """
        with self._open_cursor(session) as (ready, cursor):
            cursor.execute(ready.sql, ready.bind_rows([parameters])[0])
            return ready.convert_rows(cursor.fetchall())

    def execute_many(self, session: Session, parameter_rows: Iterable[Mapping[str, Any]]) -> int:
        """Run an UPDATE statement once per set of parameters, and return the number of changed rows.

        Raises:
            sqlalchemy.exc.DBAPIError: the database rejected the statement or is unavailable.
        """
        with self._open_cursor(session) as (ready, cursor):
            cursor.executemany(ready.sql, ready.bind_rows(list(parameter_rows)))
            return int(cursor.rowcount)

    @contextmanager
    def _open_cursor(self, session: Session | Connection) -> Iterator[tuple[_DialectStatement, DBAPICursor]]:
        """Yield a cursor from the driver.

        Its errors are raised as SQLAlchemy's, without the parameters.
        """
        connection = session.connection() if isinstance(session, Session) else session
        dialect, cursor = connection.dialect, connection.connection.cursor()
        try:
            if dialect.name not in self._by_dialect:
                self._by_dialect[dialect.name] = _compile_for_dialect(self._statement, dialect)
            yield self._by_dialect[dialect.name], cursor
        except dialect.loaded_dbapi.Error as exc:
            error = dialect.loaded_dbapi.Error
            raise DBAPIError.instance(str(self._statement), None, exc, error, hide_parameters=True) from exc
        finally:
            cursor.close()


def _compile_for_dialect(statement: Executable, dialect: Dialect) -> _DialectStatement:
    compiled: Any = statement.compile(dialect=dialect)  # type: ignore[attr-defined]  # every statement can
    changes = {name: bind.type.dialect_impl(dialect).bind_processor(dialect) for name, bind in compiled.binds.items()}
    own = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
    fixed = {name: changes[name](value) if changes[name] else value for name, value in own.items()}
    names = compiled.positiontup if compiled.positional else list(compiled.binds)
    columns = list(getattr(statement, "selected_columns", ()))
    return _DialectStatement(
        sql=str(compiled),
        parameters=tuple((name, changes[name]) for name in names),
        constants=fixed,
        positional=compiled.positional,
        row_type=namedtuple("Row", [c.key for c in columns]),  # noqa: PYI024 - its fields are known when the program runs
        result_conversions=tuple(c.type.dialect_impl(dialect).result_processor(dialect, None) for c in columns),
    )


Column = InstrumentedAttribute[Any]


def build_any_hash_condition(session: Session, column: Column, hashes: Sequence[str]) -> ColumnElement[bool]:
    """Return the condition that a text column equals one of many hexadecimal hashes.

    They're sent as one parameter.
    """
    if is_postgresql(session):
        # They're sent as one text, because the driver inspects each value of an array. Such a query
        # has to be planned again each time (`force_custom_plans`). Otherwise, the text would be
        # split for every row if there's no index.
        return column == any_(func.string_to_array(",".join(hashes), ",", type_=ARRAY(String)))
    return column.in_(select(func.json_each(json.dumps(hashes)).table_valued("value").c.value))


def transpose_rows(rows: Sequence[Mapping[str, Any]]) -> Columns:
    """Return the values in rows, grouped by column.

    All rows must have the same columns.
    """
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def bind_columns(dialect: Dialect, table: Table, columns: Columns) -> Columns:
    """Convert values to the driver's types, as SQLAlchemy does according to the column types."""
    return {name: _bind_values(table, name, dialect, values) for name, values in columns.items()}


def insert_many(
    session: Session,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
) -> None:
    """Insert rows that have the same columns.

    There may be none.
    """
    insert_bound(session, table, bind_columns(session.get_bind().dialect, table, transpose_rows(rows)))


def insert_bound(session: Session, table: Table, columns: Columns) -> None:
    """Insert rows from `bind_columns`, using a repeated statement or, on PostgreSQL, COPY."""
    if not any(columns.values()):
        return
    if is_postgresql(session):
        _copy_rows(session, table, columns)
    else:
        _execute_for_rows(session, _insert_statement(table, columns), columns)


def insert_missing(
    session: Session,
    table: Table,
    rows: Sequence[dict[str, Any]],
) -> None:
    """Insert rows that have the same columns, skipping those that violate a unique constraint.

    On SQLite, a statement is repeated. On PostgreSQL, there's one statement with an array for each
    column with different values.
    """
    columns = bind_columns(session.get_bind().dialect, table, transpose_rows(rows))
    if not is_postgresql(session):
        _execute_for_rows(session, f"{_insert_statement(table, columns)} ON CONFLICT DO NOTHING", columns)
        return
    # The driver inspects each value of an array, so a value shared by all rows is sent once.
    shared = [name for name, values in columns.items() if _is_shared(table, name, values)]
    arrays = [name for name in columns if name not in shared]
    types = {name: table.c[name].type.compile(session.get_bind().dialect) for name in columns}
    names = ", ".join([*shared, *arrays])
    selected = ", ".join([*(f"%s::{types[name]}" for name in shared), "*"])
    unnested = ", ".join(f"%s::{types[name]}[]" for name in arrays)
    statement = f"INSERT INTO {table.name} ({names}) SELECT {selected} FROM unnest({unnested}) ON CONFLICT DO NOTHING"  # noqa: S608 (names of ours)
    shared_values = [columns[name][0] for name in shared]
    array_values = [list(columns[name]) for name in arrays]
    session.connection().exec_driver_sql(statement, (*shared_values, *array_values))


def _is_shared(table: Table, name: str, values: Sequence[Any]) -> bool:
    # At least one array is needed, however few rows there are.
    is_key = table.c[name].primary_key
    return not is_key and values.count(values[0]) == len(values)


def _insert_statement(table: Table, names: Collection[str]) -> str:
    places = ", ".join("?" * len(names))
    return f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({places})"  # noqa: S608 (names of ours)


def _execute_for_rows(session: Session, statement: str, columns: Columns) -> None:
    session.connection().exec_driver_sql(statement, list(zip(*columns.values(), strict=True)))


def _copy_rows(session: Session, table: Table, columns: Columns) -> None:
    """Insert rows with COPY, which SQLAlchemy doesn't support.

    Errors are raised as SQLAlchemy's.
    """
    dialect = session.get_bind().dialect
    driver = session.connection().connection.driver_connection
    assert driver is not None
    assert dialect.dbapi is not None
    statement = f"COPY {table.name} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
    # With these, neither side converts values to or from text. VARCHAR(64) is sent like any other VARCHAR.
    types = [table.c[name].type.compile(dialect).partition("(")[0].lower() for name in columns]
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types(types)
            for row in zip(*columns.values(), strict=True):
                copy.write_row(row)
    except dialect.dbapi.Error as exc:
        raise DBAPIError.instance(statement, None, exc, dialect.dbapi.Error, dialect=dialect) from exc


def _bind_values(
    table: Table,
    name: str,
    dialect: Dialect,
    values: Sequence[Any],
) -> Sequence[Any]:
    """Convert a column's values to the driver's type, as SQLAlchemy does.

    Bytes don't have to be converted.
    """
    if isinstance(table.c[name].type, LargeBinary):
        return values
    return convert_column(values, table.c[name].type.dialect_impl(dialect).bind_processor(dialect))
