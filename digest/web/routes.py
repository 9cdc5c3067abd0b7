"""Routes that are quick to add: an application of two hundred is put together in a fraction of the time."""

from collections.abc import Callable
from threading import Lock
from typing import Any

from werkzeug.routing import Rule

AddressBuilder = Callable[..., tuple[str, str]]
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
