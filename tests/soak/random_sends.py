"""Thousands of random sends (`tests/deliver/simulated_send.py`), distributed over the machine's cores.

python -m tests.soak.random_sends [--runs 10000] [--seed N]    writes its section of benchmarks/soak.md
python -m tests.soak.random_sends --runs 1 --seed N            one of them again
"""

import argparse
import logging
import multiprocessing
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from digest import logs
from tests.deliver.faulty_relay import RelayServer
from tests.deliver.simulated_send import run_random_send
from tests.migrated_databases import migrated_template, write_migrated_file
from tests.own_postgresql import run_own_postgresql
from tests.run_database import HomeDatabases
from tests.soak.result_page import describe_origin, write_section

RUNS, CHUNK = 10_000, 50
POSTGRESQL_EVERY = 10  # one run in so many
SECTION = """\
{runs:,} sends, each drawn from a seed (the first one was {seed}): a list, its settings, a relay that refuses, defers, and hangs up, and
processes that are killed, interrupted, and stopped while disks fill up, clocks jump, and backups are restored. After every step,
the delivery counts are compared with the relay's record. They balance, no one got anything twice without an admin's decision, no one was
suppressed unless a reply named their address, every delivery had a final state, and no edition with 5 refusals and 2% was just
"sent." Every tenth ran on PostgreSQL. To repeat one, run `python -m tests.soak.random_sends --runs 1 --seed N`.

| event | times |
|---|---|
{rows}

It took {minutes:.0f} minutes.
"""


@dataclass
class RandomSendTally:
    """What came of random sends: events by name, and the errors of those that failed, by seed."""

    events: Counter[str] = field(default_factory=Counter)
    failures: dict[int, str] = field(default_factory=dict)


def run_random_sends(runs: int, seed: int) -> tuple[RandomSendTally, float]:
    """Live through so many, from a seed on; return what came of them and the seconds it took."""
    began, tally = time.monotonic(), RandomSendTally()
    with run_own_postgresql() as server, multiprocessing.get_context("forkserver").Pool(os.cpu_count()) as pool:
        migrated_template(server.url)
        chunks = [(first, min(first + CHUNK, seed + runs), server.url) for first in range(seed, seed + runs, CHUNK)]
        for done, part in enumerate(pool.imap_unordered(_run_chunk, chunks), 1):
            tally.events += part.events
            tally.failures |= part.failures
            print(f"{min(done * CHUNK, runs):,} random sends, {len(tally.failures)} failed", flush=True)
    return tally, time.monotonic() - began


def _run_chunk(chunk: tuple[int, int, str]) -> RandomSendTally:
    logs.configure_logging(logging.CRITICAL)
    first, end, postgresql_url = chunk
    tally = RandomSendTally()
    with TemporaryDirectory(prefix="digest-soak-") as folder, RelayServer() as server:
        template = Path(folder) / "template.db"
        write_migrated_file(template)
        kinds = HomeDatabases("", str(template)), HomeDatabases(postgresql_url, "template_of_tests")
        for seed, home in _list_homes(range(first, end), Path(folder)):
            databases = kinds[seed % POSTGRESQL_EVERY == 0]
            try:
                tally.events += run_random_send(seed, home, databases.create(home), server)
            except Exception as exc:  # noqa: BLE001 - each failure is reported with its seed
                tally.failures[seed] = "\n".join([f"{type(exc).__name__}: {exc}", *getattr(exc, "__notes__", [])])
            databases.drop(home)
    return tally


def _list_homes(seeds: range, folder: Path) -> Iterator[tuple[int, Path]]:
    for seed in seeds:
        home = folder / str(seed)
        home.mkdir()
        yield seed, home


def record_random_sends(runs: int, seed: int, origin: str) -> None:
    """Run so many, and write the section of benchmarks/soak.md.

    Raises:
        AssertionError: some failed; it names their seeds.
    """
    tally, seconds = run_random_sends(runs, seed)
    assert not tally.failures, "\n\n".join(f"seed {seed}: {why}" for seed, why in sorted(tally.failures.items()))
    rows = "\n".join(f"| {name} | {many:,} |" for name, many in tally.events.most_common())
    write_section("Random sends", SECTION.format(runs=runs, seed=seed, rows=rows, minutes=seconds / 60), origin)


def main() -> None:
    """Run them; the page is written only for more than one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    arguments = parser.parse_args()
    if arguments.runs > 1:
        record_random_sends(arguments.runs, arguments.seed, describe_origin())
        return
    with run_own_postgresql() as server:
        migrated_template(server.url)
        tally = _run_chunk((arguments.seed, arguments.seed + 1, server.url))
    print(*(tally.failures.values() or [f"It passes: {dict(tally.events)}"]))


if __name__ == "__main__":
    main()
