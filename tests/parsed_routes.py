"""Routes that are parsed once per process, because each test has its own application with the same two hundred routes.

Parsing them is half of what a small installation with its pages costs a test.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from werkzeug.routing import BaseConverter, Map, Rule
from werkzeug.routing.rules import RulePart

_parse_route = Rule._parse_rule


@dataclass(frozen=True, slots=True)
class ParsedRoute:
    """What parsing a route's text returns, and what it adds to the route."""

    parts: tuple[RulePart, ...]
    trace: tuple[tuple[bool, str], ...]
    converters: dict[str, BaseConverter]


_parsed_routes: dict[tuple[type[Map], str], ParsedRoute] = {}


def _parse_once(self: Rule, rule: str) -> Iterable[RulePart]:
    """Stand in for `Rule._parse_rule`."""
    route: Any = self
    if route.map.converters != route.map.default_converters:
        return _parse_route(self, rule)
    key = type(route.map), rule
    known = _parsed_routes.get(key)
    if known is None:
        start = len(route._trace)
        parts = tuple(_parse_route(self, rule))
        known = ParsedRoute(parts, tuple(route._trace[start:]), dict(route._converters))
        _parsed_routes[key] = known
        return parts
    route._trace += known.trace
    route._converters |= known.converters
    route.arguments |= known.converters.keys()
    return known.parts


def keep_parsed_routes() -> None:
    """Have this process parse each route's text once."""
    Rule._parse_rule = _parse_once  # type: ignore[method-assign]
