"""docs/assurance/asvs.md against OWASP ASVS 5.0: no requirement is left out, and each claim names the tests that prove it."""

import ast
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import pytest

from tests.conftest import ROOT

# The level of each requirement, by section: 122 are x.y.1 of level 1, x.y.2 and x.y.3 of level 2.
LEVELS = """
1.1 22, 1.2 1111122223, 1.3 112222222223, 1.4 222, 1.5 123, 2.1 122, 2.2 112, 2.3 12223, 2.4 23, 3.1 3, 3.2
113, 3.3 12223, 3.4 11222233, 3.5 11122333, 3.6 3, 3.7 22333, 4.1 12233, 4.2 23333, 4.3 22, 4.4 1222, 5.1 2,
5.2 112333, 5.3 113, 5.4 222, 6.1 122, 6.2 111111112222, 6.3 11223333, 6.4 112233, 6.5 22222333, 6.6 2223, 6.7
33, 6.8 2222, 7.1 222, 7.2 1111, 7.3 22, 7.4 11222, 7.5 223, 7.6 22, 8.1 1233, 8.2 1123, 8.3 133, 8.4 23, 9.1
111, 9.2 1222, 10.1 22, 10.2 223, 10.3 22223, 10.4 1111122222233333, 10.5 22222, 10.6 22, 10.7 222, 11.1 2233,
11.2 22233, 11.3 11233, 11.4 1222, 11.5 23, 11.6 23, 11.7 33, 12.1 12233, 12.2 11, 12.3 22223, 13.1 2333, 13.2
222223, 13.3 2233, 13.4 1222233, 14.1 22, 14.2 12223333, 14.3 122, 15.1 12233, 15.2 12233, 15.3 1222222, 15.4
3333, 16.1 2, 16.2 22222, 16.3 2222, 16.4 222, 16.5 2223, 17.1 23, 17.2 22223333, 17.3 22
"""
REQUIREMENTS = {
    f"{section}.{number}": int(level)
    for section, levels in (pair.split() for pair in LEVELS.split(","))
    for number, level in enumerate(levels, 1)
    if level != "3"
}
MOST_IN_PART = 8


@dataclass(frozen=True)
class Claim:
    """A row of the page: its requirements, by number, and the tests that it names."""

    requirements: tuple[str, ...]
    state: str
    reason: str
    tests: tuple[str, ...]


def expand(numbers: str) -> tuple[str, ...]:
    """Return every requirement of levels 1 and 2 that a text names: its ranges have an en dash."""
    known, named = list(REQUIREMENTS), []
    for part in numbers.split(", "):
        first, _, last = part.partition(" \u2013 ")
        named += known[known.index(first) : known.index(last or first) + 1]
    return tuple(named)


@cache
def read_claims() -> tuple[Claim, ...]:
    page = (ROOT / "docs" / "assurance" / "asvs.md").read_text("utf-8").partition("### V1 ")[2]
    rows = re.findall(r"(?m)^\| (\d[^|]*) \| ([^|]*) \| (.*) \| ([^|]*) \|$", page)
    assert len(rows) == len(re.findall(r"(?m)^\| \d", page)), "a row isn't read"
    return tuple(
        Claim(expand(numbers), state, why, tuple(re.findall(r"`([^`]*)`", tests)))
        for numbers, state, why, tests in rows
    )


def check_tests_exist(named_tests: Iterable[str]) -> None:
    """Raise `AssertionError` if one isn't there. They're named as for pytest: a file, or a function in it."""
    for named in named_tests:
        file, _, function = named.partition("::")
        assert re.fullmatch(r"tests/(?:\w+/)*test_\w+\.py|tests/soak/\w+\.py", file), named
        assert (ROOT / file).is_file(), named
        tree = ast.parse((ROOT / file).read_text("utf-8"))
        names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert not function or (function.startswith("test_") and function in names), named


def test_each_requirement_of_levels_1_and_2_stands_in_one_row() -> None:
    named = Counter(number for claim in read_claims() for number in claim.requirements)
    assert named == dict.fromkeys(REQUIREMENTS, 1)
    assert Counter(REQUIREMENTS.values()) == {1: 70, 2: 183}


def test_the_page_says_which_requirements_are_of_level_1() -> None:
    page = (ROOT / "docs" / "assurance" / "asvs.md").read_text("utf-8")
    listed = re.search(r"all others are level 2: ([^|#]+)\.\n", page)
    assert listed is not None
    assert set(expand(" ".join(listed[1].split()))) == {n for n, level in REQUIREMENTS.items() if level == 1}


def test_no_requirement_is_not_met_and_few_are_met_in_part() -> None:
    states = Counter[str]()
    for claim in read_claims():
        assert len(claim.reason) > 5, claim.requirements
        states[claim.state] += len(claim.requirements)
    assert set(states) == {"met", "in part", "n/a"}
    assert states["in part"] <= MOST_IN_PART


@pytest.mark.parametrize("claim", read_claims(), ids=lambda claim: claim.requirements[0])
def test_the_tests_that_a_claim_names_exist(claim: Claim) -> None:
    if claim.state == "n/a":
        return
    assert claim.tests, "a claim names at least one test"
    check_tests_exist(claim.tests)
