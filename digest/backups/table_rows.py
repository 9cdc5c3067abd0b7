"""The rows of all tables, independent of the database: how values are selected, encoded, and decoded."""

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

READ_BATCH_SIZE = 2000  # rows per read
ValueFormat = Literal["plain", "bytes", "moment", "day", "json"]


def list_tables_by_dependency() -> list[Table]:
    """Return all tables, each one after the tables that it references."""
    return list(Base.metadata.sorted_tables)


def reflect_tables(connection: Connection) -> list[Table]:
    """Return the tables and columns of a database with an older schema, each table after those that it references.

    Columns have today's types, or the database's if today's schema lacks them. Internal tables of indexes are left out.
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
    """Return the names of virtual full-text tables, which are prefixes of the names of their internal tables."""
    if connection.dialect.name != "sqlite":
        return ()
    query = text("SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL TABLE%'")
    return connection.scalars(query).all()


def build_exclusion_condition(table: Table) -> ColumnElement[bool] | None:
    """Return a condition for the rows of a table to leave out of archives, or None if there are none."""
    if table.name in (RunningBackup.__tablename__, ChangedRow.__tablename__):
        return true()
    return table.c.applied_at.is_not(None) if table.name == ReceivedEventPayload.__tablename__ else None


def choose_value_format(column: Column[Any]) -> ValueFormat:
    """Return the format in which a column's values are encoded."""
    kind = column.type
    if isinstance(kind, LargeBinary):
        return "bytes"
    if isinstance(kind, UtcDateTime):
        return "moment"
    if isinstance(kind, Date):
        return "day"
    return "json" if isinstance(kind, JSON | DamageTolerantJson) else "plain"


def build_select_expression(column: Column[Any]) -> ColumnElement[Any]:
    """Return the expression that selects a column: JSON as stored text, and an enum as its value."""
    if choose_value_format(column) == "json":
        return cast(column, Text).label(column.name)
    return type_coerce(column, String).label(column.name) if isinstance(column.type, Enum) else column


def select_columns(table: Table) -> Select[Any]:
    """Return a query for all columns of a table, in order."""
    return select(*map(build_select_expression, table.c))


# For the formats whose values need encoding.
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
    """Return a function that encodes a row, in column order, as a line that's the same for all databases."""
    encoders = [_ENCODERS.get(choose_value_format(column), _unchanged) for column in table.c]

    def encode_row(row: Sequence[Any]) -> bytes:
        values = [None if v is None else write(v) for write, v in zip(encoders, row, strict=True)]
        return json.dumps(values, separators=(",", ":")).encode() + b"\n"

    return encode_row


def find_value_decoder(form: ValueFormat) -> Callable[[Any], Any]:
    """Return the decoder for values in a format. It raises ValueError or TypeError for invalid values."""
    return _DECODERS.get(form, _unchanged)
