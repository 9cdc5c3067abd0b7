"""An edition's rows, read once after it's drafted or approved, and copied into other databases.

To store one and to approve it takes a dozen statements, and to draft one ten times as long. Some hundred tests begin with each,
and all get the same rows.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, cast

from sqlalchemy import Integer, Table, insert, select, text

from digest.store.approval_models import Approval, ApprovalSignature, ApprovedRenderedFragment
from digest.store.engine import Database
from digest.store.models import Edition, RenderedEditionFragment
from tests.seeded_randomness import other_randomness

TABLES = tuple(
    cast("Table", model.__table__)
    for model in (Edition, RenderedEditionFragment, Approval, ApprovalSignature, ApprovedRenderedFragment)
)
ALL_TABLES = tuple(Edition.metadata.sorted_tables)
StoredRows = tuple[tuple[Table, list[dict[str, Any]]], ...]
_stored_rows: dict[str, StoredRows] = {}


def store_rows_once(
    database: Database, key: str, store_edition: Callable[[], object], tables: Sequence[Table] = TABLES
) -> None:
    """Have the edition of a key stored, in a database without one: by `store_edition`, or once that was done as it did it."""
    if key in _stored_rows:
        write_edition_rows(database, _stored_rows[key])
        return
    with other_randomness(key):  # what the test draws does not hang on whether it is the first
        store_edition()
    _stored_rows[key] = read_edition_rows(database, tables)


def read_edition_rows(database: Database, tables: Sequence[Table] = TABLES) -> StoredRows:
    """Read all rows of editions and of what was approved of them, or of other tables, without the columns that are empty."""
    with database.engine.connect() as connection:
        return tuple(
            (
                table,
                [
                    {name: value for name, value in row.items() if value is not None}
                    for row in connection.execute(select(table).order_by(*table.primary_key)).mappings()
                ],
            )
            for table in tables
        )


def write_edition_rows(database: Database, rows: StoredRows) -> None:
    """Write them into a database that has none; who comes later gets a later number."""
    with database.engine.begin() as connection:
        for table, table_rows in rows:
            for same_columns in _group_by_columns(table_rows):
                connection.execute(insert(table), same_columns)
        if connection.dialect.name == "postgresql":
            last = [
                f"setval(pg_get_serial_sequence('{table.name}', '{key.name}'), {max(row[key.name] for row in table_rows)})"
                for table, table_rows in rows
                for key in table.primary_key
                if table_rows and isinstance(key.type, Integer)
            ]
            connection.execute(text(f"SELECT {', '.join(last)}"))


def _group_by_columns(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Group rows that have the same columns, since one statement writes all its rows' columns, in the order that they're in."""
    return [list(group) for _, group in groupby(rows, key=lambda row: row.keys())]
