"""A cache of pydantic type adapters.

They're created when they're first used, because creating one takes longer than most imports.
"""

from typing import Any, TypeVar

from pydantic import TypeAdapter

Value = TypeVar("Value")
_MADE: dict[Any, TypeAdapter[Any]] = {}


def type_adapter(kind: type[Value]) -> TypeAdapter[Value]:
    """Return the adapter that validates and serializes the values of a type."""
    if kind not in _MADE:
        _MADE[kind] = TypeAdapter(kind)
    return _MADE[kind]
