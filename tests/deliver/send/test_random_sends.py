"""Random sends (`simulated_send`): the counts balance and no one gets an edition twice, despite any reply or crash.

`make soak` lives through 10,000 of them. `DIGEST_TEST_SEED=7` takes 20 others.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deliver.faulty_relay import RelayServer
from tests.deliver.send_scenario import draw_scenario
from tests.deliver.simulated_send import run_random_send
from tests.run_database import HomeDatabases
from tests.seeded_randomness import TEST_SEED

RUNS, RUNS_PER_TEST, RUNS_ON_BOTH = 10, 5, 2
FIRST_SEED = RUNS * int(TEST_SEED) if TEST_SEED.isdigit() else 0


@pytest.fixture(scope="module")
def server() -> Iterator[RelayServer]:
    with RelayServer() as server:
        yield server


def run_seeds(seeds: range, databases: HomeDatabases, folder: Path, server: RelayServer) -> Counter[str]:
    events = Counter[str]()
    for seed in seeds:
        home = folder / str(seed)
        home.mkdir()
        events += run_random_send(FIRST_SEED + seed, home, databases.create(home), server)
        databases.drop(home)
        shutil.rmtree(home)
    return events


@pytest.mark.parametrize("first", range(0, RUNS, RUNS_PER_TEST))
def test_the_books_balance_and_no_one_gets_anything_twice(
    first: int, server: RelayServer, home_databases: HomeDatabases, tmp_path: Path
) -> None:
    events = run_seeds(range(first, first + RUNS_PER_TEST), home_databases, tmp_path, server)
    assert events["accepted"]


def test_on_postgresql(server: RelayServer, postgresql_url: str, postgresql_template: str, tmp_path: Path) -> None:
    run_seeds(range(RUNS_ON_BOTH), HomeDatabases(postgresql_url, postgresql_template), tmp_path, server)


def test_a_seed_draws_the_same_each_time_and_another_one_something_else() -> None:
    assert draw_scenario(5) == draw_scenario(5) != draw_scenario(6)
