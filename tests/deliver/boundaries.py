"""Acting at a write boundary: right before a commit, or right after it is durable. For a child process alone.

What a transaction writes is its kind: the tables and columns of its statements, as the driver gets them. So the
kinds are not listed anywhere: a send that learns to write something new has a new boundary, and dies there too.
"""

import os
import re
import signal
import sqlite3
import time
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
class Watch:
    """Sees the commits of this process come and go."""

    written: list[str] = field(default_factory=list)  # the statements of the transaction that is open

    @contextmanager
    def commit(self) -> Iterator[None]:
        """Wrap a commit of the driver."""
        kind = kind_of(self.written)
        self.written.clear()
        if kind:
            self.before(kind)
        yield
        if kind:
            self.after(kind)

    def before(self, kind: str) -> None:
        """Act when everything is written and nothing is durable."""

    def after(self, kind: str) -> None:
        """Act when it is durable, and the process does not know yet."""


@dataclass
class _Each(Watch):
    """Acts once at each boundary that is not in `ledger` yet, having written it there."""

    ledger: Path = Path("boundaries")
    met: Counter[str] = field(default_factory=Counter)

    def before(self, kind: str) -> None:
        self.met[kind] += 1
        self._perhaps(kind, "before")

    def after(self, kind: str) -> None:
        self._perhaps(kind, "after")

    def _perhaps(self, kind: str, when: str) -> None:
        boundary = f"{kind}; {min(self.met[kind], TIMES)}; {when}"
        if boundary not in told(self.ledger):
            with self.ledger.open("a") as file:
                file.write(boundary + "\n")
            self.act()

    def act(self) -> None:
        """Do it."""


class Dying(_Each):
    """Kills this process."""

    def act(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Failing(_Each):
    """Fails as a database does whose connection breaks."""

    def act(self) -> None:
        raise sqlite3.OperationalError("disk I/O error")


def told(ledger: Path) -> list[str]:
    """Give the boundaries at which something was done."""
    return ledger.read_text().splitlines() if ledger.exists() else []


@dataclass
class Dawdling(Watch):
    """Rests for so many seconds after every claim: whoever leaves meanwhile must be noticed."""

    seconds: float = 0.0

    def after(self, kind: str) -> None:
        if "handed_at" in kind:
            time.sleep(self.seconds)


def watch(engine: Engine, by: Watch) -> None:
    """Have the commits of an engine watched whose connections are yet to be made."""
    connect = _postgresql(by) if engine.dialect.name == "postgresql" else _sqlite(by)
    event.listen(engine, "do_connect", lambda _dialect, _record, given, named: connect(*given, **named))


def _sqlite(by: Watch) -> Any:
    class Cursor(sqlite3.Cursor):
        def execute(self, sql: str, *given: Any) -> Any:
            by.written.append(sql)
            return super().execute(sql, *given)

        def executemany(self, sql: str, *given: Any) -> Any:
            by.written.append(sql)
            return super().executemany(sql, *given)

    class Connection(sqlite3.Connection):
        def cursor(self, _kind: Any = None) -> Any:
            return super().cursor(Cursor)

        def commit(self) -> None:
            with by.commit():
                super().commit()

    def connect(*given: Any, **named: Any) -> sqlite3.Connection:
        return sqlite3.connect(*given, **named, factory=Connection)

    return connect


def _postgresql(by: Watch) -> Any:
    class Cursor(psycopg.Cursor[Any]):
        def execute(self, query: Any, *given: Any, **named: Any) -> Any:
            by.written.append(str(query))
            return super().execute(query, *given, **named)

        def executemany(self, query: Any, *given: Any, **named: Any) -> None:
            by.written.append(str(query))
            super().executemany(query, *given, **named)

    class Connection(psycopg.Connection[Any]):
        def commit(self) -> None:
            try:
                with by.commit():
                    super().commit()
            except sqlite3.OperationalError:
                self.close()
                raise psycopg.OperationalError("server closed the connection unexpectedly") from None

    def connect(*given: Any, **named: Any) -> Any:
        return Connection.connect(*given, **named, cursor_factory=Cursor)

    return connect
