"""The memory of `digest serve` while its pages are viewed and it sends: `python -m tests.soak.served_pages`.

    python -m tests.soak.served_pages [--views 50000] [--sends 100] [--no-page]

Editions are approved one after the other, as their send times come, and the same process sends them. It ends with exit code 1 if memory
at the end exceeds that after the warm-up by over 2%, if a page isn't shown, if an edition isn't sent to everyone, or if stopping takes 3 seconds.
"""

import argparse
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from sqlalchemy import select

from benchmarks.page_server import command_environment
from benchmarks.sample_installation import (
    benchmark_settings,
    create_populated_database,
    loopback_mail_url,
    store_approved_edition,
)
from digest.settings import Settings
from digest.store.engine import Database
from digest.store.models import Edition, EditionState
from tests.deliver.smtp_servers import RecordingHandler, run_smtp_server
from tests.row_keys import lend_row_keys
from tests.soak.result_page import describe_origin, write_section

VIEWS, SENDS, SUBSCRIBERS = 50_000, 100, 50
MAX_GROWTH, MAX_STOP_SECONDS, MAX_SEND_SECONDS = 1.02, 3.0, 300.0
STEPS = 100  # of the run; memory is read after each
WARM_UP, TENTH = 10, 10  # of the steps
VIEWERS = 4
PAGES = (
    "/",
    "/editions",
    "/topics",
    "/search?q=ports",
    "/sitemap.xml",
    "/calendar.ics",
    "/feed.atom",
    "/feed.json",
    "/healthz",
    "/contact",
    "/privacy",
    "/subscribe",
    "/preferences",
)
SECTION = """\
`digest serve` with its schedule on SQLite, viewed by {viewers} people at a time, while editions to {subscribers} subscribers each become due one after the
other and are sent over SMTP. To repeat it, run `python -m tests.soak.served_pages`.

| what | |
|---|---|
| page views | {views:,} |
| editions sent, to everyone | {sends} |
| memory after the warm-up (a tenth of the run), MB | {first:.1f} |
| memory in the last tenth, MB | {last:.1f} |
| ratio of the last tenth to the first after the warm-up (at most {most}) | {growth:.3f} |
| from SIGTERM to the end (under {stop:.0f} s) | {stopped:.1f} s |
| seconds | {seconds:.0f} |
"""


@dataclass
class ServedPagesResult:
    """What came of it. `memory` has the resident set after each step, in MB."""

    views: int
    sends: int
    memory: list[float] = field(default_factory=list)
    stop_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def first(self) -> float:
        return statistics.median(self.memory[WARM_UP : WARM_UP + TENTH])

    @property
    def last(self) -> float:
        return statistics.median(self.memory[-TENTH:])

    @property
    def problems(self) -> list[str]:
        """Which bars don't hold, in words."""
        said = {
            f"memory grew from {self.first:.1f} to {self.last:.1f} MB": self.last > MAX_GROWTH * self.first,
            f"stopping took {self.stop_seconds:.1f} s": self.stop_seconds >= MAX_STOP_SECONDS,
        }
        return [words for words, wrong in said.items() if wrong]

    def describe(self) -> str:
        return SECTION.format(
            viewers=VIEWERS,
            subscribers=SUBSCRIBERS,
            views=self.views,
            sends=self.sends,
            first=self.first,
            last=self.last,
            most=MAX_GROWTH,
            growth=self.last / self.first,
            stop=MAX_STOP_SECONDS,
            stopped=self.stop_seconds,
            seconds=self.seconds,
        )


def read_memory(process: int) -> float:
    """Return the resident set of a process in MB."""
    status = Path(f"/proc/{process}/status").read_text("ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


@contextmanager
def run_serve(settings: Settings) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `digest serve`, and lend it with its URL; it's killed if it still runs after the block."""
    command = [sys.executable, "-m", "digest", "serve", "--port", "0"]
    with (
        (settings.home / "serve.log").open("w") as log,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=command_environment(settings)
        ) as process,
    ):
        assert process.stdout is not None
        try:
            yield process, next(word for word in process.stdout.readline().split() if word.startswith("http://"))
        finally:
            process.kill()


def view_pages(url: str, count: int) -> None:
    """View pages in turn, several at a time.

    Raises:
        httpx.HTTPStatusError: one wasn't shown.
    """

    def view(shown: list[str]) -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            for page in shown:
                client.get(page).raise_for_status()

    pages = list(islice(cycle(PAGES), count))
    with ThreadPoolExecutor(VIEWERS) as pool:
        list(pool.map(view, (pages[number::VIEWERS] for number in range(VIEWERS))))


def send_edition(database: Database, settings: Settings, number: int, opens_at: datetime | None) -> datetime:
    """Approve an edition that is due now, and wait until the other process has sent it; return when the next one's window opens."""
    now = datetime.now(UTC) - timedelta(seconds=1)
    name = f"{2000 + number // 50}-W{number % 50 + 1:02}"
    store_approved_edition(database, settings, kilobytes=4, now=now, name=name, opens_at=opens_at)
    end = time.monotonic() + MAX_SEND_SECONDS
    state = EditionState.APPROVED
    while state is not EditionState.SENT:
        assert time.monotonic() < end, f"{name} is {state}"
        time.sleep(0.2)
        with database.read() as session:
            state = session.scalars(select(Edition.state).where(Edition.name == name)).one()
    return now


def measure_served_pages(views: int, sends: int) -> ServedPagesResult:
    """View pages and send editions, and measure the process that does both."""
    result, began, mailbox = ServedPagesResult(views, sends), time.monotonic(), RecordingHandler()
    with TemporaryDirectory(prefix="digest-soak-") as folder, run_smtp_server(mailbox) as port:
        mail_url = loopback_mail_url(port, 2)
        settings = benchmark_settings(Path(folder)).model_copy(update={"mail_url": mail_url})
        with (
            closing(lend_row_keys(create_populated_database(settings, SUBSCRIBERS), settings.home)) as database,
            run_serve(settings) as running,
        ):
            process, url = running
            sent, opens_at = 0, None
            for step in range(1, STEPS + 1):
                view_pages(url, views * step // STEPS - views * (step - 1) // STEPS)
                while sent < sends * step // STEPS:
                    opens_at = send_edition(database, settings, sent, opens_at)
                    sent += 1
                result.memory.append(read_memory(process.pid))
            stopping = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
            result.stop_seconds = time.monotonic() - stopping
    assert len(mailbox.messages) == sends * SUBSCRIBERS, f"{len(mailbox.messages)} messages arrived"
    result.seconds = time.monotonic() - began
    return result


def record_served_pages(origin: str, views: int = VIEWS, sends: int = SENDS) -> None:
    """Measure it and write its section; raise `SystemExit` if a bar doesn't hold."""
    result = measure_served_pages(views, sends)
    if result.problems:
        raise SystemExit("\n".join(result.problems))
    write_section("Served pages", result.describe(), origin)


def main() -> None:
    """Measure it by itself."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--views", type=int, default=VIEWS)
    parser.add_argument("--sends", type=int, default=SENDS)
    parser.add_argument(
        "--no-page", action="store_true", help="print the results instead of writing benchmarks/soak.md"
    )
    arguments = parser.parse_args()
    if arguments.no_page:
        result = measure_served_pages(arguments.views, arguments.sends)
        print(result.describe(), *result.problems, [round(megabytes, 1) for megabytes in result.memory], sep="\n")
        raise SystemExit(bool(result.problems))
    record_served_pages(describe_origin(), arguments.views, arguments.sends)


if __name__ == "__main__":
    main()
