"""URL routing: routes that can be added quickly, and row numbers limited to what the database can store."""

from collections.abc import Callable
from threading import Lock
from typing import Any

from werkzeug.datastructures import ImmutableDict
from werkzeug.routing import IntegerConverter, Map, Rule

AddressBuilder = Callable[..., tuple[str, str]]
MAX_ROW_NUMBER = 2**31 - 1  # the maximum of a key column on PostgreSQL
# Python 3.11 fails if two threads create syntax trees at the same time, which happens when compiling.
_compiling = Lock()


class LazyRule(Rule):
    """A route that compiles its URL builder when its first URL is built.

    Werkzeug compiles two functions per route when it's added, which takes four fifths of the time
    of `create_app()`, although a process only builds URLs of a few dozen routes.
    """

    def _compile_builder(self, append_unknown: bool = True) -> AddressBuilder:  # noqa: FBT001, FBT002 - as Werkzeug has it
        compile_now = super()._compile_builder
        compiled: AddressBuilder | None = None

        def build(rule: Rule, /, **values: Any) -> tuple[str, str]:
            nonlocal compiled
            if compiled is None:
                with _compiling:
                    compiled = compile_now(append_unknown)
            return compiled(rule, **values)

        return build


class RowNumberConverter(IntegerConverter):
    """A URL converter for row numbers that fit into the database.

    A number that's too large matches no page.
    """

    def __init__(
        self,
        map: Map,  # noqa: A002 - as Werkzeug has it
        fixed_digits: int = 0,
        min: int | None = None,  # noqa: A002
        max: int | None = MAX_ROW_NUMBER,  # noqa: A002
        signed: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        super().__init__(map, fixed_digits, min, max, signed)


class RowNumberUrlMap(Map):
    """A URL map whose integers are row numbers.

    Databases reject queries with values that are too large for a column.
    """

    default_converters = ImmutableDict({**Map.default_converters, "int": RowNumberConverter})
