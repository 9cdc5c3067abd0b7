"""A send to 1,000,000 readers keeps its rate to the end, and its memory: `python -m benchmarks.long_send`.

Messages of 4 KB over SMTP and 50 connections to a sink on this machine that answers at once: what is long is the list, and
what could slow a send down is the database. Each send runs in a process of its own, which plans first. On PostgreSQL there's one more
beside a snapshot that's kept open, as a backup's is: no outdated row can be removed meanwhile.
"""

import json
import logging
import subprocess
import sys
import time
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import select

from benchmarks.databases import DATABASE_NAMES, fresh_database
from benchmarks.peak_memory import peak_memory_mb
from benchmarks.receiver_process import run_receiver
from benchmarks.results import ResultSheet
from benchmarks.sample_installation import (
    EDITION_NAME,
    KEYS,
    RELEASE,
    benchmark_settings,
    create_ready_database,
    loopback_mail_url,
)
from benchmarks.sizes import FULL, BenchmarkSize
from digest import logs
from digest.deliver.plan.planning import plan_deliveries
from digest.deliver.providers.base import HandoverStatus
from digest.deliver.providers.registry import open_provider
from digest.deliver.send.run.edition_sending import run_edition
from digest.store.engine import open_database
from digest.store.models import Edition

MIN_LAST_TENTH = 0.9  # of the rate of the first
MAX_MEMORY_MB = 150.0  # MB
CONNECTIONS = 50


@dataclass(slots=True)
class TenthClock:
    """When each tenth of a send was done, by a clock in seconds that ran from the beginning."""

    began: float
    ended_at: list[float] = field(default_factory=list)

    def note_progress(self, done: int, total: int, now: float) -> None:
        """Note that so many of all are done."""
        while len(self.ended_at) < 10 and done * 10 >= total * (len(self.ended_at) + 1):
            self.ended_at.append(now)

    def tenth_rate(self, total: int, tenth: int) -> float:
        """Return the messages a second of one tenth, counted from 0."""
        before = self.ended_at[tenth - 1] if tenth else self.began
        return total / 10 / max(self.ended_at[tenth] - before, 1e-6)


@dataclass(frozen=True, slots=True)
class LongSendResult:
    """What one send took: the rates of its tenths in messages a second and a CPU second, seconds to plan, the peak of memory in MB."""

    subscribers: int
    rates: list[float]
    cpu_rates: list[float]
    plan_seconds: float
    peak: float


def measure_long_send(kind: str, subscribers: int, *, beside_snapshot: bool = False) -> LongSendResult:
    """Send to so many readers from a database of a kind, of which a snapshot may be kept meanwhile."""
    with (
        TemporaryDirectory(prefix="digest-bench-") as name,
        fresh_database(kind, Path(name)) as url,
        run_receiver("smtp_sink") as sink,
    ):
        settings = benchmark_settings(Path(name)).model_copy(update={"database_url": url})
        command = [sys.executable, "-m", "benchmarks.long_send", url, name, str(sink.port)]
        with (
            closing(create_ready_database(settings, subscribers, kilobytes=4)) as database,
            database.snapshot() if beside_snapshot else nullcontext() as session,
        ):
            if session:
                session.execute(select(Edition.id))
            told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        assert sink.count_taken() == subscribers
    return LongSendResult(**json.loads(told))


def _send(url: str, home: Path, port: int) -> LongSendResult:
    mail_url = loopback_mail_url(port, CONNECTIONS)
    settings = benchmark_settings(home).model_copy(update={"database_url": url, "mail_url": mail_url})
    database = open_database(url)
    planning = time.perf_counter()
    plan_deliveries(database, EDITION_NAME, KEYS, settings, now=RELEASE)
    with closing(open_provider(settings)) as provider:
        clock, cpu_clock = TenthClock(time.perf_counter()), TenthClock(time.process_time())

        def note_progress(done: int, total: int) -> None:
            clock.note_progress(done, total, time.perf_counter())
            cpu_clock.note_progress(done, total, time.process_time())

        report = run_edition(
            database,
            EDITION_NAME,
            provider,
            KEYS,
            settings,
            clock=lambda: datetime.now(UTC),
            report_progress=note_progress,
        )
    subscribers = report.results[HandoverStatus.ACCEPTED]
    assert report.delivery_counts.is_balanced
    database.close()
    rates, cpu_rates = ([each.tenth_rate(subscribers, tenth) for tenth in range(10)] for each in (clock, cpu_clock))
    return LongSendResult(subscribers, rates, cpu_rates, clock.began - planning, peak_memory_mb())


def main(sheet: ResultSheet, size: BenchmarkSize) -> None:
    """Measure on each database, and put rate and memory beside their bars."""
    sends = [(kind, beside) for kind in size.long_send_databases for beside in (False, kind == "postgresql")]
    for kind, beside_snapshot in dict.fromkeys(sends):
        sent = measure_long_send(kind, size.subscribers[1], beside_snapshot=beside_snapshot)
        first, last = sent.rates[0], sent.rates[-1]
        what = f"SMTP, {CONNECTIONS} sessions, {sent.subscribers:,} readers, {DATABASE_NAMES[kind]}"
        what += " beside a snapshot" if beside_snapshot else ""
        sheet.add_result(
            f"{what}: the last tenth against the first",
            f"{last / first:.2f} of {first:,.0f}/s",
            f">= {MIN_LAST_TENTH}",
            bar_met=last >= first * MIN_LAST_TENTH,
        )
        sheet.print_note(f"tenths: {', '.join(f'{rate:,.0f}' for rate in sent.rates)} messages of 4 KB a second")
        sheet.print_note(
            f"planned at {sent.subscribers / sent.plan_seconds:,.0f} readers/s; our CPU a message in each tenth: "
            f"{', '.join(f'{1e6 / rate:.0f}' for rate in sent.cpu_rates)} µs"
        )
        sheet.add_result(
            f"{what}: memory of the process",
            f"{sent.peak:.0f} MB",
            f"< {MAX_MEMORY_MB:.0f} MB",
            bar_met=sent.peak < MAX_MEMORY_MB,
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        logs.configure_logging(logging.WARNING)
        print(json.dumps(asdict(_send(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))))
    else:
        main(ResultSheet(), FULL)
