"""A check that a key file belongs to a database.

With other keys, people wouldn't be recognized. Imports would add people who left, and a sign-up
would create a second row for someone. Key IDs contain a hash of the secret, so the IDs in rows show
whether the file is the right one.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, inspect, select
from sqlalchemy.orm import Session

from subscribers.crypto.keys import RESTORE_RECOVERY_COPY, KeyFileError, KeyKind, KeyRing
from subscribers.crypto.stored_addresses import is_adopted_key_id
from subscribers.store.models import Base, Person, Suppression


class KeyMismatchError(KeyFileError):
    """Raised when the database wasn't written with the keys in the key file."""


def check_key_match(session: Session, keys: KeyRing, *, every_row: bool = False) -> None:
    """Check the key file against the first and last rows of every table that has key IDs, or against every row.

    Raises:
        KeyMismatchError: a row has the ID of a key that isn't in the file.
    """
    for kind, table, key_id in (_list_all_keys if every_row else _list_keys_at_ends)(session):
        if key_id not in {key.id for key in keys.of_kind(kind)}:
            raise KeyMismatchError(
                (
                    f"The key file doesn't belong to this database. {table.name} was written with the {kind} key {key_id}, "
                    "which the key file doesn't contain."
                ),
                remedy=RESTORE_RECOVERY_COPY,
            )


def has_encrypted_data(session: Session) -> bool:
    """Return True if the database contains anything that requires the keys it was written with."""
    return bool(_list_keys_at_ends(session))


def list_key_id_columns() -> Iterator[tuple[KeyKind, Table, ColumnElement[Any]]]:
    """Yield the key kind, table, and column for each column that contains key IDs."""
    for table in Base.metadata.sorted_tables:
        if {"ciphertext", "key_id"} <= set(table.c.keys()):
            yield "vault", table, table.c.key_id
        if table.name == Person.__tablename__:
            yield "lookup", table, table.c.lookup_key
        if table.name == Suppression.__tablename__:
            yield "suppression", table, table.c.key_id


def _present_key_id_columns(session: Session) -> list[tuple[KeyKind, Table, ColumnElement[Any]]]:
    """Return those columns from `list_key_id_columns` that exist in the database.

    Some are missing in older schemas, and all in empty databases.
    """
    names = set(inspect(session.connection()).get_table_names())
    return [(kind, table, column) for kind, table, column in list_key_id_columns() if table.name in names]


def _list_all_keys(session: Session) -> list[tuple[KeyKind, Table, str]]:
    """Return the ID of every key that a row uses, with the key's kind and the row's table."""
    return [
        (kind, table, key_id)
        for kind, table, column in _present_key_id_columns(session)
        for key_id in list_stored_key_ids(session, column)
    ]


def list_stored_key_ids(session: Session, column: ColumnElement[Any]) -> list[str]:
    """Return the IDs of our own keys that are in a column.

    Adopted keys are in the database itself.
    """
    key_ids = session.scalars(select(column).where(column.is_not(None)).distinct())
    return [key_id for key_id in key_ids if not is_adopted_key_id(key_id)]


def _list_keys_at_ends(session: Session) -> list[tuple[KeyKind, Table, str]]:
    """Return the key IDs in the first and last rows of each table, as `_list_all_keys` does, but with one query."""
    columns = _present_key_id_columns(session)
    ends = [end.scalar_subquery() for _, table, column in columns for end in _select_ends(table, column)]
    key_ids = session.execute(select(*ends)).one() if ends else ()
    origins = [(kind, table) for kind, table, _ in columns for _ in range(2)]
    pairs = zip(origins, key_ids, strict=True)
    named = [(kind, table, key_id) for (kind, table), key_id in pairs if key_id is not None]
    return [each for each in named if not is_adopted_key_id(each[2])]


def _select_ends(
    table: Table,
    key_column: ColumnElement[Any],
) -> tuple[Select[Any], Select[Any]]:
    row_order = list(table.primary_key.columns)
    key_values = select(key_column).where(key_column.is_not(None)).limit(1)
    return key_values.order_by(*row_order), key_values.order_by(*(column.desc() for column in row_order))
