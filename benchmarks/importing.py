"""Rows a second, memory and the longest transaction of an import with evidence: `python -m benchmarks.importing`.

Meanwhile `digest serve` answers readers who leave by one click, in a process of its own. Afterwards the roll is
streamed. Each size runs in a process of its own, so that its peak of memory is its own. `--rows` names other
sizes, `--database sqlite` or `postgresql` one of the two.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.bars import Sheet
from benchmarks.databases import KINDS, NAMES, fresh_database
from benchmarks.peak import peak
from benchmarks.people import KEYS, populated, settings_in
from benchmarks.serving import Clicks, clicking, served
from benchmarks.sizes import FULL, Size
from digest.db import open_database
from subscribers import roll
from subscribers.journal import Journal
from subscribers.transfer.deciding import Options
from subscribers.transfer.importing import bring_in
from subscribers.transfer.reading import survey
from subscribers.transfer.stepping import Desk

BAR = 8_000  # rows a second
LONGEST = 0.25  # seconds of a transaction
FLAT = 1.1  # times the peak at a tenth of the rows; what SQLite keeps grows to a limit, and reaches it later
WAITING = 30  # MB that the caches may add until they are full
LEAVING = range(1, 2001)  # people who were there before, and leave
HEADINGS = (
    "Email Address,First Name,Last Name,MEMBER_RATING,OPTIN_TIME,OPTIN_IP,CONFIRM_TIME,CONFIRM_IP,LATITUDE,"
    "LONGITUDE,GMTOFF,DSTOFF,TIMEZONE,CC,REGION,LAST_CHANGED,LEID,EUID,NOTES"
)


@dataclass(frozen=True, slots=True)
class Import:
    """What one import took: seconds on the clock and of CPU, the longest transaction, the peak of memory in MB."""

    rows: int
    seconds: float
    cpu: float
    longest: float
    peak: float


@dataclass(frozen=True, slots=True)
class Roll:
    """How many were streamed, in how many seconds, at which peak of memory in MB."""

    readers: int
    seconds: float
    peak: float


@dataclass(frozen=True, slots=True)
class Found:
    """What was measured with one size on one database."""

    imported: Import
    clicks: Clicks
    roll: Roll


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


def import_apart(url: str, home: Path) -> Import:
    """Import `list.csv` of a home folder in a process of its own."""
    return Import(**_apart("--import", url, home))


def _apart(what: str, url: str, home: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.importing", what, url, str(home)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _import(url: str, home: Path) -> Import:
    database = open_database(url)
    desk = Desk(database, KEYS, Journal(home / "left.log", KEYS), "terminal:bench")
    start, cpu = time.perf_counter(), time.process_time()
    report = bring_in(
        desk, survey(home / "list.csv"), Options(), now=datetime.now(UTC), reject=lambda *_: None
    )
    took, worked = time.perf_counter() - start, time.process_time() - cpu
    database.close()
    return Import(int(report.as_json()["subscribed"]), took, worked, report.longest, peak())


def _stream(url: str) -> Roll:
    database = open_database(url)
    start = time.perf_counter()
    with database.read() as session:
        streamed = sum(1 for _ in roll.stream(session))
    took = time.perf_counter() - start
    database.close()
    return Roll(streamed, took, peak())


def measure(kind: str, rows: int) -> Found:
    """Import so many rows into a database of some people, who leave meanwhile; then stream the roll."""
    with tempfile.TemporaryDirectory(prefix="digest-bench-") as name, fresh_database(kind, Path(name)) as url:
        home = Path(name)
        settings = settings_in(home).model_copy(update={"database_url": url})
        populated(settings, len(LEAVING)).close()
        write_list(home / "list.csv", rows)
        with served(settings) as pages, clicking(pages, settings, LEAVING) as clicks:
            imported = import_apart(url, home)
        assert imported.rows == rows, f"{imported}"
        streamed = Roll(**_apart("--roll", url, home))
        assert rows <= streamed.readers <= rows + len(LEAVING), f"{streamed}"
    return Found(imported, clicks, streamed)


def main(sheet: Sheet, size: Size, kinds: tuple[str, ...] = KINDS) -> None:
    """Measure both sizes on each database, and put the results beside their bars."""
    usual = _peer(size.peers)
    for kind in kinds:
        few, many = (measure(kind, rows) for rows in size.rows)
        _lines(sheet, kind, few, many, usual)


def _peer(rows: int) -> str:
    from benchmarks import peers  # late: the processes whose memory is measured do without its libraries

    with tempfile.TemporaryDirectory(prefix="digest-bench-") as folder:
        path = Path(folder) / "list.csv"
        write_list(path, rows)
        return f"csv, email-validator and an ORM object a row {peers.importing(path, rows):,.0f} rows/s, in clear and without a chain"


def _lines(sheet: Sheet, kind: str, few: Found, many: Found, usual: str) -> None:
    rows, before = many.imported, few.imported
    rate, growth = rows.rows / rows.seconds, rows.peak / before.peak
    what = f"import of {rows.rows:,} rows, {NAMES[kind]}"
    sheet.line(what, f"{rate:,.0f} rows/s", f">= {BAR:,}", held=rate >= BAR, peer=usual)
    sheet.note(
        f"{rows.rows / rows.cpu:,.0f} rows a CPU second; {before.rows:,} rows: {before.rows / before.seconds:,.0f} rows/s"
    )
    sheet.line(
        f"{what}: longest transaction",
        f"{rows.longest * 1000:.0f} ms",
        f"< {LONGEST * 1000:.0f} ms",
        held=rows.longest < LONGEST,
    )
    flat = rows.peak <= before.peak * FLAT or rows.peak <= before.peak + WAITING
    sheet.line(
        f"{what}: memory, against {before.rows:,}",
        f"{rows.peak:.0f} / {before.peak:.0f} MB",
        "flat",
        held=flat,
    )
    sheet.line(
        f"{what}: one-click POST meanwhile",
        str(many.clicks),
        "p99 < 500 ms, none fails",
        held=many.clicks.held,
    )
    streamed, less = many.roll, few.roll
    flat = streamed.peak <= less.peak * FLAT
    what = f"the roll of {streamed.readers:,} streamed, {NAMES[kind]}: memory, against {less.readers:,}"
    sheet.line(what, f"{streamed.peak:.0f} / {less.peak:.0f} MB", f"<= {FLAT} times", held=flat)
    sheet.note(
        f"{streamed.readers / streamed.seconds:,.0f} readers a second; growth of the import's memory {growth:.2f}"
    )


def _command() -> None:
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--rows", type=int, nargs=2, default=FULL.rows)
    reader.add_argument("--database", choices=KINDS, nargs="+", default=KINDS)
    reader.add_argument("--import", dest="one", nargs=2, help=argparse.SUPPRESS)
    reader.add_argument("--roll", nargs=2, help=argparse.SUPPRESS)
    asked = reader.parse_args()
    if asked.one:
        print(json.dumps(asdict(_import(asked.one[0], Path(asked.one[1])))))
    elif asked.roll:
        print(json.dumps(asdict(_stream(asked.roll[0]))))
    else:
        main(Sheet(), replace(FULL, rows=tuple(asked.rows)), tuple(asked.database))


if __name__ == "__main__":
    _command()
