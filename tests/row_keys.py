"""The keys with which tests seal rows (`subscribers.store.keyed_row_seals`), and changes to such rows that are sealed, too."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from digest.installation.opened_installation import InstallationError
from digest.store.engine import Database
from subscribers.crypto.keys import KeyRing
from subscribers.store.keyed_row_seals import KeyedSealModel, RowSealKeys


def lend_row_keys(database: Database, home: Path) -> Database:
    """Give a database the keys of the key file in a folder, as soon as there is one, and made-up keys until then.

    An installation over it that has no key file seals with those, too.
    """
    file = home / "keys.json"

    def find_keys() -> KeyRing:
        return KeyRing.load(file) if file.exists() else _made_up_keys()

    return Database(database.engine, row_keys=_LentKeys(find_keys))


class _LentKeys(RowSealKeys):
    """Keys that are another's as soon as that has some."""

    def __init__(self, find: Callable[[], KeyRing]) -> None:
        self._own = self._given = find

    @property
    def find(self) -> Callable[[], KeyRing] | None:
        return self._find_either

    @find.setter
    def find(self, given: Callable[[], KeyRing] | None) -> None:
        self._given = given or self._own

    def _find_either(self) -> KeyRing:
        try:
            return self._given()
        except InstallationError:
            return self._own()


@cache
def _made_up_keys() -> KeyRing:
    return KeyRing.from_seed(b"rows that tests write")


def change_rows(session: Session, model: type[KeyedSealModel], *conditions: ColumnElement[bool], **values: Any) -> None:
    """Change the rows that match as the product does, with their seals: after an UPDATE of our own they would count for nothing."""
    for row in session.scalars(select(model).where(*conditions)):
        for name, value in values.items():
            setattr(row, name, value)
    session.flush()
