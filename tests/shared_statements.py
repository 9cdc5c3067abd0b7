"""Compiled statements that databases of one kind share, in tests that open many of them."""

from sqlalchemy import Engine

from digest.store.engine import Database

_first_engines: dict[str, Engine] = {}


def share_compiled_statements(database: Database) -> Database:
    """Give a database the dialect of the first of its kind, by which SQLAlchemy keeps the statements it has compiled."""
    engine = database.engine
    if engine.dialect.name not in _first_engines:
        engine.connect().close()  # a dialect gets to know its server with the first connection
        _first_engines[engine.dialect.name] = engine
    first = _first_engines[engine.dialect.name]
    engine.dialect, engine._compiled_cache = first.dialect, first._compiled_cache
    return database
