"""Compiled statements shared by databases of one kind, in tests that open many of them.

To compile its statements takes a quarter of a command's time, and each command opens its database anew.
"""

from typing import Any

import sqlalchemy
from sqlalchemy import Engine
from sqlalchemy.util import LRUCache

from digest.store import engine as store_engine
from digest.store.engine import Database

_MOST_STATEMENTS = 5000  # the tests of a process have some thousands
_first_engines: dict[str, Engine] = {}


class _SharedStatements(LRUCache[Any, Any]):
    """Statements by all that they are kept by but their dialect: a database has one of its own, which differs in nothing."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(key[1:], default)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key[1:], value)


_statements: dict[str, _SharedStatements] = {}


def _create_sharing_engine(*arguments: Any, **options: Any) -> Engine:
    """Stand in for `sqlalchemy.create_engine` where the product opens a database."""
    engine = sqlalchemy.create_engine(*arguments, **options)
    engine._compiled_cache = _statements.setdefault(engine.dialect.name, _SharedStatements(_MOST_STATEMENTS))
    return engine


def share_statements() -> None:
    """Have this process compile each statement once for all databases of a kind that it opens."""
    vars(store_engine)["create_engine"] = _create_sharing_engine


def share_compiled_statements(database: Database) -> Database:
    """Give a database the dialect of the first of its kind, by which SQLAlchemy keeps the statements it has compiled."""
    engine = database.engine
    if engine.dialect.name not in _first_engines:
        engine.connect().close()  # a dialect gets to know its server with the first connection
        _first_engines[engine.dialect.name] = engine
    first = _first_engines[engine.dialect.name]
    engine.dialect, engine._compiled_cache = first.dialect, first._compiled_cache
    return database
