"""The keys that tests' own sessions seal rows with (`subscribers.store.row_seals`), and changes of such rows that are sealed too."""

from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from digest.store.engine import Database
from subscribers.crypto.keys import KeyRing
from subscribers.store.row_seals import Sealed


def lend_row_keys(database: Database, home: Path) -> Database:
    """Give a database the keys of the key file in a folder, as soon as there is one, and made-up keys until then."""
    file = home / "keys.json"
    database.row_keys.find = lambda: KeyRing.load(file) if file.exists() else _made_up_keys()
    return database


@cache
def _made_up_keys() -> KeyRing:
    return KeyRing.from_seed(b"rows that tests write")


def change_rows(session: Session, model: type[Sealed], *conditions: ColumnElement[bool], **values: Any) -> None:
    """Change the rows that match as the product does, with their seals: after an UPDATE of our own they would count for nothing."""
    for row in session.scalars(select(model).where(*conditions)):
        for name, value in values.items():
            setattr(row, name, value)
    session.flush()
