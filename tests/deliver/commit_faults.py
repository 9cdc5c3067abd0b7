"""Act at a write boundary, right before a commit or right after it's durable. Only for child processes.

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

TIMES_PER_BOUNDARY = (
    2  # each boundary is a place to die when it is met first, and when it is met again by the same process
)
_WRITE_STATEMENT = re.compile(r"\s*(INSERT INTO|UPDATE|DELETE FROM)\s+(\w+)\s*(.*)", re.DOTALL | re.IGNORECASE)
_ASSIGNED_COLUMN = re.compile(r"(\w+)\s*=")


def transaction_kind(statements: Iterable[str]) -> str:
    """Return what a transaction writes, "" where it writes nothing."""
    changes = set()
    for statement in statements:
        if match := _WRITE_STATEMENT.match(statement):
            verb, table, clauses = match.groups()
            columns = (
                sorted(_ASSIGNED_COLUMN.findall(clauses.partition("WHERE")[0])) if verb.upper() == "UPDATE" else []
            )
            changes.add(f"{verb.split()[0].lower()} {table}" + (f"({', '.join(columns)})" if columns else ""))
    return " + ".join(sorted(changes))


@dataclass
class CommitWatcher:
    """Sees the commits of this process come and go."""

    statements: list[str] = field(default_factory=list)  # the statements of the transaction that is open

    @contextmanager
    def around_commit(self) -> Iterator[None]:
        """Wrap a commit of the driver."""
        kind = transaction_kind(self.statements)
        self.statements.clear()
        if kind:
            self.before_commit(kind)
        yield
        if kind:
            self.after_commit(kind)

    def before_commit(self, kind: str) -> None:
        """Act when everything is written and nothing is durable yet."""

    def after_commit(self, kind: str) -> None:
        """Act when it is durable and the process does not know yet."""


@dataclass
class _OncePerBoundary(CommitWatcher):
    """Acts once at each boundary that is not in `boundary_file` yet, having written it there."""

    boundary_file: Path = Path("boundaries")
    times_met: Counter[str] = field(default_factory=Counter)

    def before_commit(self, kind: str) -> None:
        self.times_met[kind] += 1
        self._act_once(kind, "before")

    def after_commit(self, kind: str) -> None:
        self._act_once(kind, "after")

    def _act_once(self, kind: str, when: str) -> None:
        boundary = f"{kind}; {min(self.times_met[kind], TIMES_PER_BOUNDARY)}; {when}"
        if boundary not in read_boundaries(self.boundary_file):
            with self.boundary_file.open("a") as file:
                file.write(boundary + "\n")
            self.act()

    def act(self) -> None:
        """Act."""


class ProcessKiller(_OncePerBoundary):
    """Kills this process."""

    def act(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class ConnectionBreaker(_OncePerBoundary):
    """Fails as a database does whose connection breaks."""

    def act(self) -> None:
        raise sqlite3.OperationalError("disk I/O error")


def read_boundaries(boundary_file: Path) -> list[str]:
    """Return the boundaries at which a watcher acted."""
    return boundary_file.read_text().splitlines() if boundary_file.exists() else []


@dataclass
class ClaimDelayer(CommitWatcher):
    """Waits for so many seconds after every claim: whoever unsubscribes meanwhile must be noticed."""

    seconds: float = 0.0

    def after_commit(self, kind: str) -> None:
        if "variant" in kind:
            time.sleep(self.seconds)


@dataclass
class ProcessStopper(CommitWatcher):
    """Stops this process (SIGSTOP) once, right after the first commit that writes something."""

    written: str = ""
    stopped: bool = False

    def after_commit(self, kind: str) -> None:
        if self.written in kind and not self.stopped:
            self.stopped = True
            os.kill(os.getpid(), signal.SIGSTOP)


def watch_commits(engine: Engine, watcher: CommitWatcher) -> None:
    """Watch the commits of an engine that has no connection yet."""
    connect = (
        _watched_postgresql_connect(watcher)
        if engine.dialect.name == "postgresql"
        else _watched_sqlite_connect(watcher)
    )
    event.listen(engine, "do_connect", lambda _dialect, _record, given, named: connect(*given, **named))


def _watched_sqlite_connect(watcher: CommitWatcher) -> Any:
    class Cursor(sqlite3.Cursor):
        def execute(self, sql: str, *given: Any) -> Any:
            watcher.statements.append(sql)
            return super().execute(sql, *given)

        def executemany(self, sql: str, *given: Any) -> Any:
            watcher.statements.append(sql)
            return super().executemany(sql, *given)

    class Connection(sqlite3.Connection):
        def cursor(self, _kind: Any = None) -> Any:
            return super().cursor(Cursor)

        def commit(self) -> None:
            with watcher.around_commit():
                super().commit()

    def connect(*given: Any, **named: Any) -> sqlite3.Connection:
        return sqlite3.connect(*given, **named, factory=Connection)

    return connect


def _watched_postgresql_connect(watcher: CommitWatcher) -> Any:
    class Cursor(psycopg.Cursor[Any]):
        def execute(self, query: Any, *given: Any, **named: Any) -> Any:
            watcher.statements.append(str(query))
            return super().execute(query, *given, **named)

        def executemany(self, query: Any, *given: Any, **named: Any) -> None:
            watcher.statements.append(str(query))
            super().executemany(query, *given, **named)

    class Connection(psycopg.Connection[Any]):
        def commit(self) -> None:
            try:
                with watcher.around_commit():
                    super().commit()
            except sqlite3.OperationalError:
                self.close()
                raise psycopg.OperationalError("server closed the connection unexpectedly") from None

    def connect(*given: Any, **named: Any) -> Any:
        return Connection.connect(*given, **named, cursor_factory=Cursor)

    return connect
