"""Routes that are quick to add, and take no number that a row cannot have."""

from collections.abc import Callable
from threading import Lock
from typing import Any

from werkzeug.datastructures import ImmutableDict
from werkzeug.routing import IntegerConverter, Map, Rule

AddressBuilder = Callable[..., tuple[str, str]]
MAX_ROW_NUMBER = 2**31 - 1  # what a key's column holds on PostgreSQL
# Python 3.11 fails where two threads make syntax trees at the same time, as the compiling does.
_compiling = Lock()


class LazyRule(Rule):
    """A route that compiles what writes its addresses when the first of them is written.

    Werkzeug compiles two functions a route as the route is added: four fifths of the time that `create_app()` takes,
    for the few dozen routes that a process ever links to.
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
    """Reads the number of a row out of an address; one that is larger than any has no page."""

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
    """Routes whose whole numbers are those of rows: a database refuses to look for what its columns cannot hold."""

    default_converters = ImmutableDict({**Map.default_converters, "int": RowNumberConverter})
