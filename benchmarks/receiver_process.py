"""A receiver of mail in a process of its own, which counts what it takes and says how much that is whenever it is asked.

It prints its port, answers each line of its standard input with its count, and ends when that ends. A line may name a domain, whose messages
alone are counted then.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

MAX_WATCH_SECONDS = 60.0  # seconds after which a receiver that takes nothing is not watched any more


@dataclass(frozen=True, slots=True)
class ReceiverProcess:
    """One that runs, as seen from outside."""

    port: int
    orders: IO[str]
    answers: IO[str]

    @property
    def url(self) -> str:
        """Its address for HTTP."""
        return f"http://127.0.0.1:{self.port}"

    def count_taken(self, domain: str = "") -> int:
        """Ask how many messages it has taken so far, to a domain or to all."""
        print(domain, file=self.orders, flush=True)
        return int(self.answers.readline())

    def measure_rate(self, seconds: float) -> float:
        """Watch it for so many seconds, and until it takes something; give how many messages a second it took."""
        before, began, taken, took = self.count_taken(), time.perf_counter(), 0, 0.0
        while took < MAX_WATCH_SECONDS and (took < seconds or not taken):
            time.sleep(seconds / 8)
            taken, took = self.count_taken() - before, time.perf_counter() - began
        return taken / took


@contextmanager
def run_receiver(module: str, answer_seconds: float = 0.0, *more: int) -> Iterator[ReceiverProcess]:
    """Run a receiver of this folder, which answers each message or request after so many seconds; `more` are its own arguments."""
    command = [sys.executable, "-m", f"benchmarks.{module}", str(answer_seconds), *map(str, more)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield ReceiverProcess(int(process.stdout.readline()), process.stdin, process.stdout)
        process.stdin.close()


def answer_counts(port: int, count_taken: Callable[[str], int]) -> None:
    """Serve the process that runs this one, until it is done. `count_taken` gets a domain; empty for all messages."""
    print(port, flush=True)
    for line in sys.stdin:
        print(count_taken(line.strip()), flush=True)
