"""Tests that need only one database take turns on SQLite and PostgreSQL, and each room has a browser walk on both."""

from collections import Counter, defaultdict
from itertools import product

import pytest

from tests.conftest import ROOT, TAKEN, TURNS
from tests.databases_in_turn import FOLDERS, Turn, find_turns
from tests.run_database import RUN_KIND, RUN_KINDS, TAKES_TURNS


@pytest.fixture
def turns(request: pytest.FixtureRequest) -> list[Turn]:
    """Give the turns of the run: all of them where it's the whole suite."""
    return request.config.stash[TURNS]


def test_three_parameters_of_two_meet_in_pairs_not_in_products() -> None:
    chosen = [
        (kind, width, hand)
        for kind, width, hand in product(RUN_KINDS, (0, 1), (0, 1))
        if Turn("tests/web/test_pages.py::test_width", (width, hand), width + hand, kind).is_chosen
    ]
    assert len(chosen) == 4
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert len({(turn[first], turn[second]) for turn in chosen}) == 4


def test_functions_begin_on_either_database() -> None:
    begun = Counter(
        kind
        for kind in RUN_KINDS
        for number in range(1000)
        if Turn(f"tests/web/test_pages.py::test_{number}", (), 0, kind).is_chosen
    )
    assert begun.total() == 1000
    assert min(begun.values()) > 400


def test_each_variant_of_this_run_has_one_turn_and_each_database_about_half_of_them(turns: list[Turn]) -> None:
    assert {Counter(turns)[turn] for turn in turns} <= {1}
    chosen = Counter(turn.kind for turn in turns if turn.is_chosen)
    assert 2 * chosen.total() == len(turns)
    assert all(abs(2 * chosen[kind] - chosen.total()) <= max(10, chosen.total() / 5) for kind in RUN_KINDS)


def test_a_test_whose_turn_is_on_the_other_database_is_left_out_unless_both_are_wanted(
    request: pytest.FixtureRequest, turns: list[Turn]
) -> None:
    taken = request.config.stash[TAKEN]
    left = list(find_turns(taken).values())
    if RUN_KIND == "postgresql":
        assert turns == [], "there is but one database"
    else:
        assert left == ([] if TAKES_TURNS else turns)


def test_the_walks_of_every_room_in_a_browser_are_on_both_databases(
    request: pytest.FixtureRequest, turns: list[Turn]
) -> None:
    kinds = defaultdict(set)
    for item in request.config.stash[TAKEN]:
        if item.path.name.endswith("_in_browser.py"):
            parameters = getattr(item, "callspec", None)
            is_on_server = "postgresql" in map(str, parameters.params.values() if parameters else ())
            kinds[item.path.parent].add(RUN_KINDS[is_on_server])
    rooms = {(ROOT / turn.function.partition("::")[0]).parent for turn in turns if "_in_browser.py" in turn.function}
    assert [room for room in rooms if kinds[room] != set(RUN_KINDS)] == []


@pytest.mark.both_databases
@pytest.mark.parametrize("database", RUN_KINDS)
@pytest.mark.parametrize(("width", "hand"), [(390, "pointer"), (1440, "keyboard")])
def test_what_databases_answer_differently_takes_no_turns(
    request: pytest.FixtureRequest, turns: list[Turn], width: int, hand: str, database: str
) -> None:
    assert [turn for turn in turns if turn.function == request.node.nodeid.partition("[")[0]] == []


@pytest.mark.parametrize("database", RUN_KINDS)
def test_what_has_no_other_parameter_takes_no_turns(
    request: pytest.FixtureRequest, turns: list[Turn], database: str
) -> None:
    assert [turn for turn in turns if turn.function == request.node.nodeid.partition("[")[0]] == []


def test_each_function_outside_the_folders_is_on_both_databases_unless_it_says_otherwise(
    request: pytest.FixtureRequest, turns: list[Turn]
) -> None:
    chosen = defaultdict(set)
    for turn in turns:
        if turn.is_chosen and not turn.function.startswith(FOLDERS):
            chosen[turn.function].add(turn.kind)
    marked = {item.nodeid.partition("[")[0] for item in request.session.items if item.get_closest_marker("takes_turns")}
    assert {function for function, kinds in chosen.items() if len(kinds) < len(RUN_KINDS)} <= marked
