"""Values of a person's stored preferences in SQL, expressed as they are in the partial indexes of `Person`."""

from typing import Any

from sqlalchemy import ColumnElement, String, literal_column
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from subscribers.store.models import Person


class _StoredPreference(FunctionElement[str]):
    name = "stored_preference"
    type = String()
    inherit_cache = True


def build_preference_column(name: str) -> ColumnElement[str]:
    """Return a preference as text (lists as JSON), or NULL if it isn't stored.

    In SQLite, the JSON may be damaged.
    """
    return _StoredPreference(Person.choices, literal_column(f"'{name}'"))


@compiles(_StoredPreference, "sqlite")
def _compile_for_sqlite(element: _StoredPreference, compiler: SQLCompiler, **options: Any) -> str:
    choices, name = (compiler.process(clause, **options) for clause in element.clauses)
    return f"CASE WHEN json_valid({choices}) THEN json_extract({choices}, '$.' || {name}) END"


@compiles(_StoredPreference, "postgresql")
def _compile_for_postgresql(element: _StoredPreference, compiler: SQLCompiler, **options: Any) -> str:
    choices, name = (compiler.process(clause, **options) for clause in element.clauses)
    return f"({choices} ->> {name})"
