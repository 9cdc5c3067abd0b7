"""What more workers bring: `digest work` processes that send one edition from PostgreSQL to a receiver that takes its time.

Each process has so few connections that it waits for answers, and not for the CPU: what is measured is whether the
processes hinder each other in the database. They begin together and are stopped one after the other while the edition
goes out; the receiver is watched for some seconds at each number of them: `python -m benchmarks.workers`.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import SecretStr
from sqlalchemy import func, select

from benchmarks.databases import fresh_database
from benchmarks.page_server import command_environment
from benchmarks.receiver_process import run_receiver
from benchmarks.results import ResultSheet
from benchmarks.sample_installation import benchmark_settings, create_populated_database, store_approved_edition
from benchmarks.sizes import FULL, BenchmarkSize
from digest.settings import Settings
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.engine import Database

MIN_DOUBLING = 1.8  # times the rate with half as many workers
START_TIMEOUT = 120.0  # seconds
FIRST_MESSAGES = 50  # of a worker, before it is measured
SPARE_SECONDS = 8.0  # for which there are readers beside those of each measurement


@dataclass(frozen=True, slots=True)
class WorkerRoute:
    """One way that the messages go: to which receiver, which answers after so many seconds, over how many connections."""

    name: str
    receiver: str
    answer_seconds: float
    mail_url: str  # with `{port}`
    in_flight: int  # messages that one worker has on the way at a time

    @property
    def max_rate(self) -> float:
        """The messages a second that one worker could send if nothing but the answers took time."""
        return self.in_flight / self.answer_seconds


ROUTES = (
    WorkerRoute(
        "SMTP, 4 connections each",
        "smtp_sink",
        0.02,
        "smtp://127.0.0.1:{port}?starttls=off&connections=4&messages=10000",
        4,
    ),
    WorkerRoute(
        "SendGrid, 2 requests of 50 at a time each", "fake_provider", 0.2, "sendgrid:?batch=50&connections=2", 100
    ),
)


@contextmanager
def _run_worker(settings: Settings, environment: Mapping[str, str], number: int) -> Iterator[None]:
    """Run `digest work`; at the end of the block it is told to stop, and has put down what it carried."""
    log = settings.home / f"work-{number}.log"
    command = [sys.executable, "-m", "digest", "work", "--only", "send"]
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output, env=environment) as process:
        try:
            _wait_until(lambda: "Working" in log.read_text(), "a worker does not start")
            yield
            if process.poll() is not None:
                raise SystemExit(f"'digest work' ended: {log.read_text()}")
        finally:
            process.terminate()
            process.wait()


def _wait_until(condition: Callable[[], bool], trouble: str) -> None:
    end = time.monotonic() + START_TIMEOUT
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(trouble)
        time.sleep(0.05)


def _count_senders(database: Database) -> int:
    """Count the workers that are handing messages over."""
    query = select(func.count(Delivery.owner.distinct())).where(Delivery.state == DeliveryState.HANDING_OVER)
    with database.read() as session:
        return session.scalar(query) or 0


def measure_worker_rates(route: WorkerRoute, size: BenchmarkSize) -> list[float]:
    """Give the messages a second with each number of workers of the size, while one edition goes out."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory(prefix="digest-bench-")))
        receiver = stack.enter_context(run_receiver(route.receiver, route.answer_seconds))
        changes: dict[str, object] = {
            "database_url": stack.enter_context(fresh_database("postgresql", home)),
            "mail_url": SecretStr(route.mail_url.format(port=receiver.port)),
            "sendgrid_host": receiver.url,
            "sendgrid_api_key": SecretStr("SG.bench"),
        }
        settings = benchmark_settings(home).model_copy(update=changes)
        seconds = size.worker_seconds + SPARE_SECONDS
        subscribers = int(route.max_rate * sum(size.worker_counts) * seconds)
        database = create_populated_database(settings, subscribers)
        stack.callback(database.close)
        environment, most = command_environment(settings), max(size.worker_counts)
        workers = [ExitStack() for _ in range(most)]
        for number, worker in enumerate(workers):
            stack.push(worker)
            worker.enter_context(_run_worker(settings, environment, number))
        store_approved_edition(database, settings, kilobytes=4, now=datetime.now(UTC))
        _wait_until(lambda: _count_senders(database) == most, f"{most} workers do not send all at once")
        _wait_until(lambda: receiver.count_taken() > FIRST_MESSAGES * most, "nothing is sent")
        rates = {}
        for count in sorted(size.worker_counts, reverse=True):
            while len(workers) > count:
                workers.pop().close()
            rates[count] = receiver.measure_rate(size.worker_seconds)
        assert receiver.count_taken() < subscribers, "the edition was sent before all were measured"
    return [rates[count] for count in size.worker_counts]


def main(sheet: ResultSheet, size: BenchmarkSize) -> None:
    """Measure each route, and put each doubling beside its bar."""
    for route in ROUTES[: size.worker_routes]:
        rates = measure_worker_rates(route, size)
        for (few, slow), (many, fast) in pairwise(zip(size.worker_counts, rates, strict=True)):
            sheet.add_result(
                f"{many} workers against {few}, PostgreSQL; {route.name}, answers after {route.answer_seconds * 1000:.0f} ms",
                f"{fast / slow:.2f} times {slow:,.0f}/s",
                f">= {MIN_DOUBLING} times",
                bar_met=fast >= MIN_DOUBLING * slow,
            )
        sheet.print_note(f"answers alone would let a worker send {route.max_rate:,.0f}/s")


if __name__ == "__main__":
    main(ResultSheet(), FULL)
