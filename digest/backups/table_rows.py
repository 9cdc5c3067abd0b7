"""The rows of all tables, the same for SQLite and PostgreSQL: which there are, how a value is selected, written and read again."""

import base64
import json
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any, Literal

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    Date,
    DateTime,
    Enum,
    LargeBinary,
    MetaData,
    Select,
    String,
    Table,
    Text,
    cast,
    select,
    text,
    true,
    type_coerce,
)

from digest.store.delivery_models import ChangedRow, ReceivedEventPayload, RunningBackup
from subscribers.store.models import Base, DamageTolerantJson, UtcDateTime

READ_BATCH_SIZE = 2000  # rows that are read at a time
ValueFormat = Literal["plain", "bytes", "moment", "day", "json"]


def tables_by_dependency() -> list[Table]:
    """Give every table, each after those that it refers to."""
    return list(Base.metadata.sorted_tables)


def reflect_tables(connection: Connection) -> list[Table]:
    """Return the tables that a database of an older schema has, each after those that it refers to, with the columns that are there.

    A column is typed as it is today; one that is gone since then as the database says. What an index keeps for itself is no table.
    """
    stored = MetaData()
    not_ours = ("alembic_version", *_list_virtual_tables(connection))
    stored.reflect(connection, only=lambda name, _: not name.startswith(not_ours))
    for table in stored.sorted_tables:
        today = Base.metadata.tables.get(table.name)
        for column in table.c:
            if today is not None and column.name in today.c:
                column.type = today.c[column.name].type
            elif isinstance(column.type, DateTime):
                column.type = UtcDateTime()
    return stored.sorted_tables


def _list_virtual_tables(connection: Connection) -> Sequence[str]:
    """List the indexes of texts, which keep their rows in tables whose names begin with theirs."""
    if connection.dialect.name != "sqlite":
        return ()
    query = text("SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL TABLE%'")
    return connection.scalars(query).all()


def build_exclusion_condition(table: Table) -> ColumnElement[bool] | None:
    """Say which rows of a table are not for an archive."""
    if table.name in (RunningBackup.__tablename__, ChangedRow.__tablename__):
        return true()
    return table.c.applied_at.is_not(None) if table.name == ReceivedEventPayload.__tablename__ else None


def choose_value_format(column: Column[Any]) -> ValueFormat:
    """Say how a column's values are written."""
    kind = column.type
    if isinstance(kind, LargeBinary):
        return "bytes"
    if isinstance(kind, UtcDateTime):
        return "moment"
    if isinstance(kind, Date):
        return "day"
    return "json" if isinstance(kind, JSON | DamageTolerantJson) else "plain"


def select_expression(column: Column[Any]) -> ColumnElement[Any]:
    """Give what is selected for a column: JSON as the text that is stored, an enum as its value."""
    if choose_value_format(column) == "json":
        return cast(column, Text).label(column.name)
    return type_coerce(column, String).label(column.name) if isinstance(column.type, Enum) else column


def select_columns(table: Table) -> Select[Any]:
    """Select all columns of a table, in their order."""
    return select(*map(select_expression, table.c))


# Of the formats that are not written as they are.
_ENCODERS: dict[ValueFormat, Callable[[Any], Any]] = {
    "bytes": lambda value: base64.b64encode(value).decode(),
    "moment": datetime.isoformat,
    "day": date.isoformat,
}
_DECODERS: dict[ValueFormat, Callable[[Any], Any]] = {
    "bytes": lambda value: base64.b64decode(value, validate=True),
    "moment": datetime.fromisoformat,
    "day": date.fromisoformat,
}


def _unchanged(value: Any) -> Any:
    return value


def make_row_encoder(table: Table) -> Callable[[Sequence[Any]], bytes]:
    """Return what writes a row of a table, in the order of its columns, as a line: the same whatever the database."""
    encoders = [_ENCODERS.get(choose_value_format(column), _unchanged) for column in table.c]

    def encode_row(row: Sequence[Any]) -> bytes:
        values = [None if v is None else write(v) for write, v in zip(encoders, row, strict=True)]
        return json.dumps(values, separators=(",", ":")).encode() + b"\n"

    return encode_row


def find_value_decoder(form: ValueFormat) -> Callable[[Any], Any]:
    """Return what reads a value again that was written in a form; it raises a `ValueError` or `TypeError` where it is none."""
    return _DECODERS.get(form, _unchanged)
