"""The database that a test runs on, if it could run on either (docs/decisions/0090-databases-in-turn.md)."""

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.run_database import RUN_KINDS

# Pages and commands: what they ask a database has tests of its own on both.
FOLDERS = ("tests/cli/", "tests/subscribers/pages/", "tests/web/")


@dataclass(frozen=True)
class Turn:
    """A test's turn on one database."""

    function: str  # its path and name
    variant: tuple[int, ...]  # the place of each of its other parameters among the function's values
    steps: int  # from the function's first variant: one for each place that an independent parameter goes on
    kind: str

    @property
    def is_chosen(self) -> bool:
        """Functions begin on either database; each step of a parameter leads to the other one."""
        return self.kind == RUN_KINDS[(zlib.crc32(self.function.encode()) + self.steps) % 2]


class _Places(defaultdict[Any, int]):
    """Numbers values in the order in which they come."""

    def __missing__(self, value: Any) -> int:
        self[value] = len(self)
        return self[value]


def find_turns(items: Iterable[pytest.Item]) -> dict[pytest.Item, Turn]:
    """Return the turns of the tests that are there for both databases and need only one of them.

    Outside `FOLDERS`, those have other parameters, so that their function runs on both databases, or the mark `takes_turns`.
    """
    places: defaultdict[tuple[str, str], _Places] = defaultdict(_Places)
    turns = {}
    for item in items:
        parameters = _parameters_in_turn(item)
        kinds = [name for name, value in parameters.items() if isinstance(value, str) and value in RUN_KINDS]
        if len(kinds) == 1:
            function, kind = item.nodeid.partition("[")[0], parameters.pop(kinds[0])
            # All tests of a function share the objects of its parameters.
            place = {name: places[function, name][id(parameters[name])] for name in sorted(parameters)}
            steps = sum(place[name] for name in place.keys() - _tied_parameters(item))
            turns[item] = Turn(function, tuple(place.values()), steps, kind)
    pairs = Counter((turn.function, turn.variant) for turn in turns.values())
    turns = {item: turn for item, turn in turns.items() if pairs[turn.function, turn.variant] == len(RUN_KINDS)}
    tests = Counter(turn.function for turn in turns.values())
    return {item: turn for item, turn in turns.items() if tests[turn.function] > len(RUN_KINDS) or _needs_one(item)}


def _needs_one(item: pytest.Item) -> bool:
    return item.nodeid.startswith(FOLDERS) or item.get_closest_marker("takes_turns") is not None


def _parameters_in_turn(item: pytest.Item) -> dict[str, Any]:
    callspec = getattr(item, "callspec", None)
    return {} if callspec is None or item.get_closest_marker("both_databases") else dict(callspec.params)


def _tied_parameters(item: pytest.Item) -> set[str]:
    """Name the parameters that a decorator gives together with another: they go on together."""
    names = [mark.args[0] for mark in item.iter_markers("parametrize")]
    lists = [name.split(",") if isinstance(name, str) else name for name in names]
    return {name.strip() for tied in lists for name in tied[1:]}
