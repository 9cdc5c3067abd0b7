"""Rows a second, memory and the longest transaction of an import with evidence: `python -m benchmarks.list_import`.

Meanwhile `digest serve` answers readers who leave by one click, in a process of its own. Afterwards the audience is
streamed. Each size runs in a process of its own, so that its peak of memory is its own. The larger list is also brought in
by an admin through the page. `--rows` names other sizes, `--database sqlite` or `postgresql` one of the two.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.databases import DATABASE_KINDS, DATABASE_NAMES, fresh_database
from benchmarks.page_server import CLICKS_BAR, ClickResults, run_digest_serve, unsubscribe_meanwhile
from benchmarks.peak_memory import peak_memory_mb
from benchmarks.results import ResultSheet
from benchmarks.sample_installation import KEYS, benchmark_settings, create_populated_database
from benchmarks.sizes import FULL, BenchmarkSize, measure_sizes
from digest.store.engine import open_database
from subscribers.consent import audience
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.transfer.import_run import ImportContext
from subscribers.transfer.imports import run_import
from subscribers.transfer.list_file import survey_file
from subscribers.transfer.options import ImportOptions

if TYPE_CHECKING:
    from benchmarks.page_import import PageImportResult

MIN_ROWS_PER_SECOND = 12_000  # rows a second
MAX_TRANSACTION_SECONDS = 0.25  # seconds of a transaction
MAX_MEMORY_GROWTH = (
    1.1  # times the peak at a tenth of the rows; what SQLite keeps grows to a limit, and reaches it later
)
CACHE_ALLOWANCE_MB = 30  # MB that the caches may add until they are full
LEAVING_PEOPLE = range(1, 2001)  # people who were there before, and leave
CSV_HEADINGS = (
    "Email Address,First Name,Last Name,MEMBER_RATING,OPTIN_TIME,OPTIN_IP,CONFIRM_TIME,CONFIRM_IP,LATITUDE,"
    "LONGITUDE,GMTOFF,DSTOFF,TIMEZONE,CC,REGION,LAST_CHANGED,LEID,EUID,NOTES"
)


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What one import took: seconds on the clock and of CPU, the longest transaction, the peak of memory in MB."""

    rows: int
    seconds: float
    cpu: float
    longest: float
    peak: float


@dataclass(frozen=True, slots=True)
class StreamResult:
    """How many were streamed, in how many seconds, at which peak of memory in MB."""

    subscribers: int
    seconds: float
    peak: float


@dataclass(frozen=True, slots=True)
class ImportMeasurement:
    """What was measured with one size on one database."""

    imported: ImportResult
    clicks: ClickResults
    streamed: StreamResult


def write_list(path: Path, rows: int, seed: int = 1) -> None:
    """Write a list as Mailchimp exports it: made-up people at 5,000 domains, most at a few, all confirmed."""
    chance = random.Random(seed)
    domains = [f"county{n}.example.org" for n in range(5_000)]
    start = datetime(2015, 1, 1, tzinfo=UTC)
    with path.open("w") as file:
        file.write(CSV_HEADINGS + "\r\n")
        for n in range(rows):
            domain = domains[int(chance.paretovariate(0.5)) % 5_000]
            signed_up = start + timedelta(seconds=chance.randrange(340_000_000))
            confirmed = signed_up + timedelta(seconds=chance.randrange(80_000))
            network = f"198.51.{chance.randrange(256)}.{chance.randrange(256)}"
            file.write(
                f"Reader.{n:x}.{chance.randrange(16**4):x}@{domain},Ada,Example,2,{signed_up:%Y-%m-%d %H:%M:%S},"
                f"{network},{confirmed:%Y-%m-%d %H:%M:%S},{network},34.9,-92.1,-6,-5,America/Chicago,us,ar,"
                f"{confirmed:%Y-%m-%d %H:%M:%S},{n},{n:x},\r\n"
            )


def import_in_subprocess(url: str, home: Path) -> ImportResult:
    """Import `list.csv` of a home folder in a process of its own."""
    return ImportResult(**_run_subprocess("--import", url, home))


def _run_subprocess(option: str, url: str, home: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.list_import", option, url, str(home)]
    process = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(process.stdout)
    return result


def _measure_import(url: str, home: Path) -> ImportResult:
    database = open_database(url)
    desk = ImportContext(
        database, KEYS, UnsubscribeLog(home / "left.log", KEYS), "terminal:bench", partial(open_database, url)
    )
    start = time.perf_counter()
    report = run_import(
        desk, survey_file(home / "list.csv"), ImportOptions(), now=datetime.now(UTC), on_reject=lambda *_: None
    )
    took = time.perf_counter() - start
    database.close()
    # The process that writes has ended; its memory is named in KiB.
    writer, own = resource.getrusage(resource.RUSAGE_CHILDREN), resource.getrusage(resource.RUSAGE_SELF)
    cpu = sum(usage.ru_utime + usage.ru_stime for usage in (writer, own))
    peak = peak_memory_mb() + writer.ru_maxrss / 1024
    return ImportResult(int(report.as_json()["subscribed"]), took, cpu, report.longest_write, peak)


def _measure_stream(url: str) -> StreamResult:
    database = open_database(url)
    start = time.perf_counter()
    with database.read() as session:
        streamed = after = 0
        while page := audience.load_audience_page(session, after_number=after):
            streamed, after = streamed + len(page), page[-1].number
    took = time.perf_counter() - start
    database.close()
    return StreamResult(streamed, took, peak_memory_mb())


def measure_list_import(kind: str, rows: int) -> ImportMeasurement:
    """Import so many rows into a database of some people, who leave meanwhile; then stream the audience."""
    with tempfile.TemporaryDirectory(prefix="digest-bench-") as name, fresh_database(kind, Path(name)) as url:
        home = Path(name)
        settings = benchmark_settings(home).model_copy(update={"database_url": url})
        create_populated_database(settings, len(LEAVING_PEOPLE)).close()
        write_list(home / "list.csv", rows)
        with run_digest_serve(settings) as pages, unsubscribe_meanwhile(pages, settings, LEAVING_PEOPLE) as clicks:
            imported = import_in_subprocess(url, home)
        assert imported.rows == rows, f"{imported}"
        streamed = StreamResult(**_run_subprocess("--audience", url, home))
        assert rows <= streamed.subscribers <= rows + len(LEAVING_PEOPLE), f"{streamed}"
    return ImportMeasurement(imported, clicks, streamed)


def measure_page_import(kind: str, rows: int) -> "tuple[PageImportResult, ClickResults]":
    """Have an admin bring so many rows in through the page, while people leave."""
    # Late: the processes whose memory is measured do without its libraries.
    from benchmarks.page_import import import_through_page, sign_admin_in

    with tempfile.TemporaryDirectory(prefix="digest-bench-") as name, fresh_database(kind, Path(name)) as url:
        home = Path(name)
        # Over plain HTTP a browser sends no cookie that is for HTTPS alone.
        changes = {"database_url": url, "base_url": "http://127.0.0.1"}
        settings = benchmark_settings(home).model_copy(update=changes)
        create_populated_database(settings, len(LEAVING_PEOPLE)).close()
        write_list(home / "list.csv", rows)
        with (
            run_digest_serve(settings) as pages,
            sign_admin_in(settings, pages) as browser,
            unsubscribe_meanwhile(pages, settings, LEAVING_PEOPLE) as clicks,
        ):
            result = import_through_page(browser, home / "list.csv")
    assert result.rows == rows, f"{result}"
    return result, clicks


def main(sheet: ResultSheet, size: BenchmarkSize, kinds: tuple[str, ...] = DATABASE_KINDS) -> None:
    """Measure both sizes on each database, and put the results beside their bars."""
    usual = _peer_result(size.peer_items)
    for kind in kinds:
        few, many = measure_sizes(size.import_rows, partial(measure_list_import, kind))
        _add_results(sheet, kind, few, many, usual)
        if kind in size.page_databases:
            _add_page_results(sheet, kind, *measure_page_import(kind, size.import_rows[1]))


def _peer_result(rows: int) -> str:
    from benchmarks import peers  # late: the processes whose memory is measured do without its libraries

    with tempfile.TemporaryDirectory(prefix="digest-bench-") as folder:
        path = Path(folder) / "list.csv"
        write_list(path, rows)
        return f"csv, email-validator and an ORM object a row {peers.import_with_orm(path, rows):,.0f} rows/s, in clear and without a chain"


def _add_results(sheet: ResultSheet, kind: str, small: ImportMeasurement, large: ImportMeasurement, peer: str) -> None:
    rows, before = large.imported, small.imported
    rate, growth = rows.rows / rows.seconds, rows.peak / before.peak
    what = f"import of {rows.rows:,} rows, {DATABASE_NAMES[kind]}"
    sheet.add_result(
        what, f"{rate:,.0f} rows/s", f">= {MIN_ROWS_PER_SECOND:,}", bar_met=rate >= MIN_ROWS_PER_SECOND, peer=peer
    )
    sheet.print_note(
        f"{rows.rows / rows.cpu:,.0f} rows a CPU second; {before.rows:,} rows: {before.rows / before.seconds:,.0f} rows/s"
    )
    sheet.add_result(
        f"{what}: longest transaction",
        f"{rows.longest * 1000:.0f} ms",
        f"< {MAX_TRANSACTION_SECONDS * 1000:.0f} ms",
        bar_met=rows.longest < MAX_TRANSACTION_SECONDS,
    )
    flat = rows.peak <= before.peak * MAX_MEMORY_GROWTH or rows.peak <= before.peak + CACHE_ALLOWANCE_MB
    sheet.add_result(
        f"{what}: memory, against {before.rows:,}", f"{rows.peak:.0f} / {before.peak:.0f} MB", "flat", bar_met=flat
    )
    sheet.add_result(f"{what}: one-click POST meanwhile", str(large.clicks), CLICKS_BAR, bar_met=large.clicks.bar_met)
    streamed, less = large.streamed, small.streamed
    flat = streamed.peak <= less.peak * MAX_MEMORY_GROWTH
    what = f"the audience of {streamed.subscribers:,} streamed, {DATABASE_NAMES[kind]}: memory, against {less.subscribers:,}"
    sheet.add_result(what, f"{streamed.peak:.0f} / {less.peak:.0f} MB", f"<= {MAX_MEMORY_GROWTH} times", bar_met=flat)
    sheet.print_note(
        f"{streamed.subscribers / streamed.seconds:,.0f} readers a second; growth of the import's memory {growth:.2f}"
    )


def _add_page_results(sheet: ResultSheet, kind: str, result: "PageImportResult", clicks: ClickResults) -> None:
    what = f"import of {result.rows:,} rows through the page, {DATABASE_NAMES[kind]}"
    rate = result.rows / result.import_seconds
    sheet.add_result(what, f"{rate:,.0f} rows/s", f">= {MIN_ROWS_PER_SECOND:,}", bar_met=rate >= MIN_ROWS_PER_SECOND)
    sheet.print_note(
        f"uploaded in {result.upload_seconds:.1f} s, tried at {result.rows / result.trial_seconds:,.0f} rows/s"
    )
    sheet.add_result(f"{what}: one-click POST meanwhile", str(clicks), CLICKS_BAR, bar_met=clicks.bar_met)


def _run_command_line() -> None:
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--rows", type=int, nargs=2, default=FULL.import_rows)
    reader.add_argument("--database", choices=DATABASE_KINDS, nargs="+", default=DATABASE_KINDS)
    reader.add_argument("--import", dest="one", nargs=2, help=argparse.SUPPRESS)
    reader.add_argument("--audience", nargs=2, help=argparse.SUPPRESS)
    arguments = reader.parse_args()
    if arguments.one:
        print(json.dumps(asdict(_measure_import(arguments.one[0], Path(arguments.one[1])))))
    elif arguments.audience:
        print(json.dumps(asdict(_measure_stream(arguments.audience[0]))))
    else:
        main(ResultSheet(), replace(FULL, import_rows=tuple(arguments.rows)), tuple(arguments.database))


if __name__ == "__main__":
    _run_command_line()
