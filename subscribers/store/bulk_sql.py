"""Many rows at once, on either database: SQLAlchemy's own way costs more than all else in an import together."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, LargeBinary, String, Table, any_, cast, func, literal, select
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import InstrumentedAttribute, Session

from subscribers.store.compiled_statements import convert_column
from subscribers.store.database import is_postgresql

Column = InstrumentedAttribute[Any]


def matches_any(session: Session, column: Column, hashes: Sequence[str]) -> ColumnElement[bool]:
    """Ask whether a text column is one of many hashes, written in hex, which travel as one parameter."""
    if is_postgresql(session):
        # Hex needs no quotes inside an array. A join with the hashes instead would read the whole table.
        return column == any_(cast(literal(f"{{{','.join(hashes)}}}", String), ARRAY(String)))
    return column.in_(select(func.json_each(json.dumps(hashes)).table_valued("value").c.value))


def insert_many(session: Session, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows that all have the same columns: by a repeated statement, or by COPY on PostgreSQL."""
    dialect = session.get_bind().dialect
    names = list(rows[0])
    columns = [_bind_values(table, name, dialect, [row[name] for row in rows]) for name in names]
    prepared = zip(*columns, strict=True)
    listed = ", ".join(names)
    if is_postgresql(session):
        _copy_rows(session, f"COPY {table.name} ({listed}) FROM STDIN", prepared)
        return
    places = ", ".join("?" * len(names))
    statement = f"INSERT INTO {table.name} ({listed}) VALUES ({places})"  # noqa: S608 (names of ours)
    session.connection().exec_driver_sql(statement, list(prepared))


def _copy_rows(session: Session, statement: str, rows: Iterable[Sequence[Any]]) -> None:
    """Send rows by COPY, which SQLAlchemy does not know; its errors become the ones that SQLAlchemy would raise."""
    dialect = session.get_bind().dialect
    driver = session.connection().connection.driver_connection
    assert driver is not None
    assert dialect.dbapi is not None
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
    except dialect.dbapi.Error as exc:
        raise DBAPIError.instance(statement, None, exc, dialect.dbapi.Error, dialect=dialect) from exc


def _bind_values(table: Table, name: str, dialect: Dialect, values: list[Any]) -> Sequence[Any]:
    """Bring a column's values to what the driver takes, as the column's type does for SQLAlchemy; bytes both take as they are."""
    if isinstance(table.c[name].type, LargeBinary):
        return values
    return convert_column(values, table.c[name].type.dialect_impl(dialect).bind_processor(dialect))
