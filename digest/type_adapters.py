"""Validators of types, made when they're first used: to make one takes longer than most of what a command imports."""

from typing import Any, TypeVar

from pydantic import TypeAdapter

Value = TypeVar("Value")
_MADE: dict[Any, TypeAdapter[Any]] = {}


def type_adapter(kind: type[Value]) -> TypeAdapter[Value]:
    """Return what reads and writes values of a type."""
    if kind not in _MADE:
        _MADE[kind] = TypeAdapter(kind)
    return _MADE[kind]
