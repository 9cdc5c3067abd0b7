"""The rows of an approved edition, which are read once where it was approved and written into further databases as they are.

To store one and to approve it takes a dozen statements, some hundred tests begin with it, and all get the same rows.
"""

from collections.abc import Callable
from typing import Any, cast

from sqlalchemy import Table, insert, select, text

from digest.store.approval_models import Approval, ApprovalSignature, ApprovedRenderedFragment
from digest.store.engine import Database
from digest.store.models import Edition, RenderedEditionFragment
from tests.seeded_randomness import other_randomness

TABLES = tuple(
    cast("Table", model.__table__)
    for model in (Edition, RenderedEditionFragment, Approval, ApprovalSignature, ApprovedRenderedFragment)
)
StoredRows = tuple[tuple[Table, list[dict[str, Any]]], ...]
_stored_rows: dict[str, StoredRows] = {}


def store_rows_once(database: Database, key: str, store_edition: Callable[[], None]) -> None:
    """Have the edition of a key stored, in a database without one: by `store_edition`, or once that was done as it did it."""
    if key in _stored_rows:
        write_edition_rows(database, _stored_rows[key])
        return
    with other_randomness(key):  # what the test draws does not hang on whether it is the first
        store_edition()
    _stored_rows[key] = read_edition_rows(database)


def read_edition_rows(database: Database) -> StoredRows:
    """Read all rows of editions and of what was approved of them, without the columns that are empty."""
    with database.engine.connect() as connection:
        return tuple(
            (
                table,
                [
                    {name: value for name, value in row.items() if value is not None}
                    for row in connection.execute(select(table).order_by(*table.primary_key)).mappings()
                ],
            )
            for table in TABLES
        )


def write_edition_rows(database: Database, rows: StoredRows) -> None:
    """Write them into a database that has none; who comes later gets a later number."""
    with database.engine.begin() as connection:
        for table, table_rows in rows:
            connection.execute(insert(table), table_rows)
        if connection.dialect.name == "postgresql":
            last = ", ".join(f"setval(pg_get_serial_sequence('{table.name}', 'id'), {len(r)})" for table, r in rows)
            connection.execute(text(f"SELECT {last}"))
