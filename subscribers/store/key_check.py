"""Whether a key file belongs to a database.

With other keys nobody is known: an import would bring back those who left, and a sign-up would make a second row for
somebody who is there. A key's id holds a hash of its secret, so the ids that rows name tell whether the file is theirs.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Table, inspect, select
from sqlalchemy.orm import Session

from subscribers.crypto.keys import PUT_COPY_BACK, KeyFileError, KeyKind, KeyRing
from subscribers.store.models import Base, Person, Suppression


class KeyMismatchError(KeyFileError):
    """The key file is not the one that the database was written with."""


def check_keys(session: Session, keys: KeyRing, *, every_row: bool = False) -> None:
    """Compare the key file with the first and the last row of every table that names keys, or with every row.

    Raises:
        KeyMismatchError: a row names a key that the file does not hold.
    """
    for kind, table, key_column in key_columns():
        held = {key.id for key in keys.of_kind(kind)}
        for key_id in (_every_key_id if every_row else _first_and_last)(session, table, key_column):
            if key_id not in held:
                raise KeyMismatchError(
                    f"The key file is not this database's: {table.name} was written with the {kind} key {key_id}, which it "
                    "lacks. Nothing is read or written about people.",
                    remedy=PUT_COPY_BACK,
                )


def holds_people(session: Session) -> bool:
    """Say whether the database holds anything that only its own keys can read or recognise."""
    return any(_first_and_last(session, table, key_column) for _, table, key_column in key_columns())


def key_columns() -> Iterator[tuple[KeyKind, Table, ColumnElement[Any]]]:
    """Return every column that names keys, with the kind of key and the table."""
    for table in Base.metadata.sorted_tables:
        if {"ciphertext", "key_id"} <= set(table.c.keys()):
            yield "vault", table, table.c.key_id
        if table.name == Person.__tablename__:
            yield "lookup", table, table.c.lookup_key
        if table.name == Suppression.__tablename__:
            yield "suppression", table, table.c.key_id


def _every_key_id(session: Session, table: Table, key_column: ColumnElement[Any]) -> list[str]:
    if not inspect(session.connection()).has_table(table.name):
        return []
    return list(session.scalars(select(key_column).where(key_column.is_not(None)).distinct()))


def _first_and_last(session: Session, table: Table, key_column: ColumnElement[Any]) -> list[str]:
    if not inspect(session.connection()).has_table(table.name):
        return []  # an older schema, or none yet
    row_order = list(table.primary_key.columns)
    named = select(key_column).where(key_column.is_not(None)).limit(1)
    ends = (named.order_by(*row_order), named.order_by(*(column.desc() for column in row_order)))
    return [key_id for end in ends if (key_id := session.scalar(end)) is not None]
