"""The databases' own plans for a session's statements, to see which indexes they choose."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session


@contextmanager
def record_plans(session: Session) -> Iterator[list[str]]:
    """Lend a list that holds, at the end, the plan of each statement that was executed within."""
    statements: list[tuple[str, Any]] = []
    plans: list[str] = []
    connection = session.connection()
    note = lambda *given: statements.append((given[2], given[3]))  # noqa: E731 - removed again by name
    event.listen(connection, "before_cursor_execute", note)
    yield plans
    event.remove(connection, "before_cursor_execute", note)
    explain = "EXPLAIN QUERY PLAN"
    if connection.dialect.name == "postgresql":
        explain = "EXPLAIN"
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")  # few rows are read faster without an index
    for statement, values in statements:
        plans.append("\n".join(str(row) for row in connection.exec_driver_sql(f"{explain} {statement}", values)))
