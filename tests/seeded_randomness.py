"""Random bytes that are the same in each run of a test, so that a test that passed doesn't fail by chance.

Keys, tokens, nonces and the order of readers come from `os.urandom` and `secrets`: what a test meets of them differs from
run to run, and one in some hundred runs meets what its writer did not think of. Here they come from a seed and the name of
the test or of the fixture that is being set up. `DIGEST_TEST_SEED=…` takes another seed: what fails then fails again under
the same seed. Processes that a test starts draw their own.

Hypothesis also mixes in the constants that it reads in the source of whatever was imported by then. Which parts of the product that
is hangs on the tests that ran before in the same process: it does without them.
"""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis.internal.conjecture import providers

TEST_SEED = os.environ.get("DIGEST_TEST_SEED", "")
_generator = random.Random()


def seed_randomness(name: str) -> None:
    """Begin the random bytes and numbers that belong to the name of a test."""
    _generator.seed(f"{TEST_SEED} {name}")
    random.seed(f"{TEST_SEED} {name}")


@contextmanager
def other_randomness(name: str) -> Iterator[None]:
    """Draw within the block what belongs to another name, then go on where it was."""
    states = _generator.getstate(), random.getstate()
    seed_randomness(name)
    try:
        yield
    finally:
        _generator.setstate(states[0])
        random.setstate(states[1])


def replace_randomness() -> None:
    """Have this process draw its random bytes from the seed, also where `secrets` and `uuid` draw them."""
    seed_randomness("collection")
    os.urandom = random._urandom = _generator.randbytes  # type: ignore[attr-defined]
    providers._get_local_constants = lambda: providers._local_constants  # where nothing is put


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Give each test the random bytes of its name."""
    seed_randomness(item.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> Iterator[Any]:
    """Give what several tests share the random bytes of its own name: any of them may be the first to ask for it."""
    if fixturedef.scope == "function":
        return (yield)
    with other_randomness(f"{request.node.nodeid} {fixturedef.argname} {getattr(request, 'param', '')}"):
        return (yield)
