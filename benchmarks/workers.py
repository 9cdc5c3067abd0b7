"""What more workers bring: `digest work` processes that send one edition from PostgreSQL to a receiver that takes its time.

Each process has so few connections that it waits for answers, and not for the CPU: what is measured is whether the
processes hinder each other in the database. They begin together and are stopped one after the other while the edition
goes out; the receiver is watched for some seconds at each number of them. Then three workers send under a limit, one of which is killed
every few seconds, and another started: `python -m benchmarks.workers`.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import SecretStr
from sqlalchemy import func, select

from benchmarks.databases import fresh_database
from benchmarks.page_server import command_environment
from benchmarks.receiver_process import ReceiverProcess, run_receiver
from benchmarks.results import ResultSheet
from benchmarks.sample_installation import benchmark_settings, create_populated_database, store_approved_edition
from benchmarks.sizes import FULL, BenchmarkSize
from digest.settings import Settings, UsageLimitSettings
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

    @property
    def description(self) -> str:
        """Its name, and when it answers."""
        return f"{self.name}, answers after {self.answer_seconds * 1000:.0f} ms"


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


# Nobody waits for the CPU even with sixteen workers on two cores.
CURVE_ROUTE = WorkerRoute(
    "SMTP, 4 connections each",
    "smtp_sink",
    0.1,
    "smtp://127.0.0.1:{port}?starttls=off&connections=4&messages=10000",
    4,
)


@dataclass(frozen=True, slots=True)
class LimitedSend:
    """A send under limits of the settings to so many domains, and what each watched domain may get a second; an empty name is all of them."""

    name: str
    limits: UsageLimitSettings
    domains: int
    rates: Mapping[str, float]

    def count_needed(self, seconds: float) -> int:
        """Return how many readers last for so many seconds."""
        shares = (rate * (self.domains if domain else 1) for domain, rate in self.rates.items())
        return int(max(shares) * seconds)


_FAST, _SLOW = "domain0.example.org", "domain1.example.org"
LIMITED_SENDS = (
    LimitedSend("300 messages per second", UsageLimitSettings(send_per_second=300), 97, {"": 300.0}),
    LimitedSend(
        "72,000 and 36,000 messages per hour to two domains",
        UsageLimitSettings(domains_per_hour={_FAST: 72_000, _SLOW: 36_000}),
        2,
        {_FAST: 20.0, _SLOW: 10.0},
    ),
)
KILLED_WORKERS = 3
LIMITED_MAIL_URL = "smtp://127.0.0.1:{port}?starttls=off&connections=8&messages=10000"
SETTLE_SECONDS = 6.0  # after the first messages
MIN_RATE_SHARE, MAX_RATE_SHARE = 0.95, 1.02  # of a limit, in every window


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """A process of `digest work` that sends, and its log."""

    process: subprocess.Popen[str]
    log: Path

    @classmethod
    def start(cls, settings: Settings, environment: Mapping[str, str], number: int) -> "WorkerProcess":
        """Start one; it isn't waited for."""
        log = settings.home / f"work-{number}.log"
        command = [sys.executable, "-m", "digest", "work", "--only", "send"]
        with log.open("w") as output:
            return cls(subprocess.Popen(command, stdout=output, stderr=output, env=environment, text=True), log)

    def wait_until_working(self) -> None:
        """Wait until it sends, or would."""
        _wait_until(lambda: "Working" in self.log.read_text(), "a worker does not start")

    def stop(self) -> None:
        """Tell it to stop, and wait until it has put down what it carried."""
        ended = self.process.poll() is not None
        self.process.terminate()
        self.process.wait()
        if ended:
            raise SystemExit(f"'digest work' ended: {self.log.read_text()}")

    def kill(self) -> None:
        """Kill it at once."""
        self.process.kill()
        self.process.wait()


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


@contextmanager
def _prepare_send(
    receiver: ReceiverProcess, mail_url: str, limits: UsageLimitSettings, subscribers: int, domains: int = 97
) -> Iterator[tuple[Settings, Database]]:
    """Lend an installation on PostgreSQL with so many readers, whose mail goes to a receiver."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory(prefix="digest-bench-")))
        basic = benchmark_settings(home)
        changes: dict[str, object] = {
            "file": basic.file.model_copy(update={"limits": limits}),
            "database_url": stack.enter_context(fresh_database("postgresql", home)),
            "mail_url": SecretStr(mail_url.format(port=receiver.port)),
            "sendgrid_host": receiver.url,
            "sendgrid_api_key": SecretStr("SG.bench"),
        }
        settings = basic.model_copy(update=changes)
        database = create_populated_database(settings, subscribers, domains=domains)
        stack.callback(database.close)
        yield settings, database


@contextmanager
def _run_workers(settings: Settings, database: Database, count: int) -> Iterator[list[WorkerProcess]]:
    """Have so many workers send an edition; at the end of the block, those that are still in the list are told to stop."""
    environment, workers = command_environment(settings), list[WorkerProcess]()
    try:
        for number in range(count):
            workers.append(WorkerProcess.start(settings, environment, number))
            workers[-1].wait_until_working()
        store_approved_edition(database, settings, kilobytes=4, now=datetime.now(UTC))
        yield workers
    finally:
        for worker in workers:
            worker.stop()


def measure_worker_rates(route: WorkerRoute, counts: Sequence[int], seconds: float) -> list[float]:
    """Give the messages a second with each number of workers, while one edition goes out."""
    most, subscribers = max(counts), int(route.max_rate * sum(counts) * (seconds + SPARE_SECONDS))
    rates = {}
    with (
        run_receiver(route.receiver, route.answer_seconds) as receiver,
        _prepare_send(receiver, route.mail_url, UsageLimitSettings(), subscribers) as (settings, database),
        _run_workers(settings, database, most) as workers,
    ):
        _wait_until(lambda: _count_senders(database) == most, f"{most} workers do not send all at once")
        _wait_until(lambda: receiver.count_taken() > FIRST_MESSAGES * most, "nothing is sent")
        for count in sorted(counts, reverse=True):
            while len(workers) > count:
                workers.pop().stop()
            rates[count] = receiver.measure_rate(seconds)
        assert receiver.count_taken() < subscribers, "the edition was sent before all were measured"
    return [rates[count] for count in counts]


def measure_limited_send(send: LimitedSend, size: BenchmarkSize) -> dict[str, list[float]]:
    """Give the share of its limit that each watched domain got, in each window of the time, while workers are killed and replaced."""
    watched, window = size.limited_seconds
    subscribers = send.count_needed(watched + 2 * SPARE_SECONDS)
    with (
        run_receiver("smtp_sink") as receiver,
        _prepare_send(receiver, LIMITED_MAIL_URL, send.limits, subscribers, send.domains) as (settings, database),
        _run_workers(settings, database, KILLED_WORKERS) as workers,
    ):
        _wait_until(lambda: receiver.count_taken() > FIRST_MESSAGES, "nothing is sent")
        time.sleep(SETTLE_SECONDS)
        samples = [_take_sample(receiver, send)]
        began = samples[0][0]
        kills = 0
        while len(samples) <= watched:
            time.sleep(max(0.0, began + len(samples) - time.perf_counter()))
            samples.append(_take_sample(receiver, send))
            if samples[-1][0] - began >= (kills + 1) * size.kill_interval:
                kills += 1
                workers.pop(0).kill()
                environment = command_environment(settings)
                workers.append(WorkerProcess.start(settings, environment, KILLED_WORKERS + kills))
        assert receiver.count_taken() < subscribers, "the edition was sent before all was measured"
        for worker in workers:
            worker.wait_until_working()
    pairs = [*zip(samples, samples[window:], strict=False)]
    return {
        domain: [(after[domain] - before[domain]) / (end - start) / rate for (start, before), (end, after) in pairs]
        for domain, rate in send.rates.items()
    }


def _take_sample(receiver: ReceiverProcess, send: LimitedSend) -> tuple[float, dict[str, int]]:
    counts = {domain: receiver.count_taken(domain) for domain in send.rates}
    return time.perf_counter(), counts


def main(sheet: ResultSheet, size: BenchmarkSize) -> None:
    """Measure each route, and put each doubling beside its bar; then each send under limits; then the curve."""
    for route in ROUTES[: size.worker_routes]:
        rates = measure_worker_rates(route, size.worker_counts, size.worker_seconds)
        for (few, slow), (many, fast) in pairwise(zip(size.worker_counts, rates, strict=True)):
            sheet.add_result(
                f"{many} workers against {few}, PostgreSQL; {route.description}",
                f"{fast / slow:.2f} times {slow:,.0f}/s",
                f">= {MIN_DOUBLING} times",
                bar_met=fast >= MIN_DOUBLING * slow,
            )
        sheet.print_note(f"answers alone would let a worker send {route.max_rate:,.0f}/s")
    for send in LIMITED_SENDS:
        shares = [*chain.from_iterable(measure_limited_send(send, size).values())]
        words = f"{KILLED_WORKERS} workers, PostgreSQL, one killed every {size.kill_interval:.0f} s, {send.name}"
        window = f"{size.limited_seconds[1]} s"
        slowest, fastest = min(shares), max(shares)
        sheet.add_result(
            f"{words}: the slowest {window}",
            f"{slowest:.3f} of the limit",
            f">= {MIN_RATE_SHARE}",
            bar_met=slowest >= MIN_RATE_SHARE,
        )
        sheet.add_result(
            f"{words}: the fastest {window}",
            f"{fastest:.3f} of the limit",
            f"<= {MAX_RATE_SHARE}",
            bar_met=fastest <= MAX_RATE_SHARE,
        )
    rates = measure_worker_rates(CURVE_ROUTE, size.worker_curve, size.worker_seconds)
    for (few, slow), (many, fast) in pairwise(zip(size.worker_curve, rates, strict=True)):
        words = f"from {few} to {many} workers, PostgreSQL; {CURVE_ROUTE.description}"
        sheet.add_result(words, f"{fast / slow:.2f} times {slow:,.0f}/s")


if __name__ == "__main__":
    main(ResultSheet(), FULL)
