"""Dying at a write boundary: right before a commit, or right after it is durable. For a child process alone.

What a transaction writes is its kind: the tables and columns of its statements, as the driver gets them. So the
kinds are not listed anywhere: a send that learns to write something new has a new boundary, and dies there too.
"""

import os
import re
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Engine, event

TIMES = (
    2  # each boundary is a place to die when it is met first, and when it is met again by the same process
)
_WRITES = re.compile(r"\s*(INSERT INTO|UPDATE|DELETE FROM)\s+(\w+)\s*(.*)", re.DOTALL | re.IGNORECASE)
_COLUMN = re.compile(r"(\w+)\s*=")


def kind_of(statements: Iterable[str]) -> str:
    """Name what a transaction writes, or give "" where it writes nothing."""
    found = set()
    for statement in statements:
        if match := _WRITES.match(statement):
            verb, table, rest = match.groups()
            columns = sorted(_COLUMN.findall(rest.partition("WHERE")[0])) if verb.upper() == "UPDATE" else []
            found.add(f"{verb.split()[0].lower()} {table}" + (f"({', '.join(columns)})" if columns else ""))
    return " + ".join(sorted(found))


@dataclass
class Dying:
    """Kills this process at the first boundary that is not in `ledger` yet, having written it there."""

    ledger: Path
    written: list[str] = field(default_factory=list)  # the statements of the transaction that is open
    met: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def commit(self) -> Iterator[None]:
        """Wrap a commit of the driver."""
        kind = kind_of(self.written)
        self.written.clear()
        if not kind:
            yield
            return
        self.met[kind] += 1
        turn = min(self.met[kind], TIMES)
        self._perhaps(f"{kind}; {turn}; before")
        yield
        self._perhaps(f"{kind}; {turn}; after")

    def _perhaps(self, boundary: str) -> None:
        if boundary not in told(self.ledger):
            with self.ledger.open("a") as file:
                file.write(boundary + "\n")
            os.kill(os.getpid(), signal.SIGKILL)


def told(ledger: Path) -> list[str]:
    """Give the boundaries at which a process has died."""
    return ledger.read_text().splitlines() if ledger.exists() else []


def die_at_boundaries(engine: Engine, ledger: Path) -> None:
    """Have this process die at the next new boundary of an engine whose connections are yet to be made."""
    dying = Dying(ledger)
    connect = _postgresql(dying) if engine.dialect.name == "postgresql" else _sqlite(dying)
    event.listen(engine, "do_connect", lambda _dialect, _record, given, named: connect(*given, **named))


def _sqlite(dying: Dying) -> Any:
    class Cursor(sqlite3.Cursor):
        def execute(self, sql: str, *given: Any) -> Any:
            dying.written.append(sql)
            return super().execute(sql, *given)

        def executemany(self, sql: str, *given: Any) -> Any:
            dying.written.append(sql)
            return super().executemany(sql, *given)

    class Connection(sqlite3.Connection):
        def cursor(self, _kind: Any = None) -> Any:
            return super().cursor(Cursor)

        def commit(self) -> None:
            with dying.commit():
                super().commit()

    def connect(*given: Any, **named: Any) -> sqlite3.Connection:
        return sqlite3.connect(*given, **named, factory=Connection)

    return connect


def _postgresql(dying: Dying) -> Any:
    class Cursor(psycopg.Cursor[Any]):
        def execute(self, query: Any, *given: Any, **named: Any) -> Any:
            dying.written.append(str(query))
            return super().execute(query, *given, **named)

        def executemany(self, query: Any, *given: Any, **named: Any) -> None:
            dying.written.append(str(query))
            super().executemany(query, *given, **named)

    class Connection(psycopg.Connection[Any]):
        def commit(self) -> None:
            with dying.commit():
                super().commit()

    def connect(*given: Any, **named: Any) -> Any:
        return Connection.connect(*given, **named, cursor_factory=Cursor)

    return connect
