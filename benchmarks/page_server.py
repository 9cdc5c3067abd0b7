"""The pages as `digest serve` gives them, in a process of their own, and readers who leave meanwhile.

Each reader leaves as a mail program does it for them (RFC 8058): a POST over a connection of its own. They come at a
steady pace whether or not the ones before have been answered, and the wait counts from the moment when one
wanted to leave, so that a stall is not counted once only. `python -m benchmarks.page_server` is the readers' process.
"""

import argparse
import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from subscribers.crypto import link_tokens
from subscribers.crypto.keys import KeyRing

if TYPE_CHECKING:  # the readers' process, which knows no settings, starts in a fifth of the time
    from digest.settings import Settings

MAX_P99_MS = 250.0  # ms, of 99 in 100
CLICKS_BAR = f"p99 < {MAX_P99_MS:.0f} ms, none fails"
CLICKS_PER_SECOND = 20  # as when some hundred thousand have just got their mail


@dataclass(slots=True)
class ClickResults:
    """How long readers waited who left by one click, in ms, and what went wrong; empty until they are through."""

    waits_ms: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def quantile(self, percent: int) -> float:
        """Give the wait that so many of a hundred do not exceed."""
        ordered = sorted(self.waits_ms)
        return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]

    @property
    def bar_met(self) -> bool:
        """Whether the bar is."""
        return not self.failures and self.quantile(99) < MAX_P99_MS

    def __str__(self) -> str:
        shown = f"p50 {self.quantile(50):.0f}, p99 {self.quantile(99):.0f}, longest {max(self.waits_ms):.0f} ms"
        return f"{shown}; {len(self.failures)} of {len(self.waits_ms):,} failed {sorted(set(self.failures)) or ''}".rstrip()


def command_environment(settings: "Settings") -> Mapping[str, str]:
    """Give the environment in which a `digest` command runs under these settings, and the file that they need.

    Python may keep the modules that it compiles: an installed package has them compiled.
    """
    file = settings.home / "digest.toml"
    sender, alerts, limits = settings.file.sender, settings.file.alerts, settings.file.limits
    domains = ", ".join(f'"{domain}" = {most}' for domain, most in limits.domains_per_hour.items())
    file.write_text(
        f'[sender]\npostal_address = "{sender.postal_address}"\nbounce_domain = "{sender.bounce_domain}"\n'
        f"[alerts]\ncanary_minutes = {alerts.canary_minutes}\n"
        f"[schedule]\nfinal_check_minutes = {settings.file.schedule.final_check_minutes}\n"
        f"[limits]\nsend_per_second = {limits.send_per_second}\ndomains_per_hour = {{ {domains} }}\n"
    )
    variables = {
        "DIGEST_SETTINGS": str(file),
        "DIGEST_HOME": str(settings.home),
        "DIGEST_DATABASE_URL": settings.database_url,
        "DIGEST_MAIL_URL": settings.mail_url.get_secret_value(),
        "DIGEST_BASE_URL": settings.base_url,
    }
    for name in ("sendgrid_host", "sendgrid_api_key", "sendgrid_webhook_key"):
        variables[f"DIGEST_{name.upper()}"] = settings.provider_variable(name)
    left_out = ("DIGEST_", "PYTHONDONTWRITEBYTECODE")
    ours = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    return ours | {name: value for name, value in variables.items() if value}


@contextmanager
def run_digest_serve(settings: "Settings", *, timetable: bool = False) -> Iterator[str]:
    """Run `digest serve`; lend the address of its pages. With the `timetable` it also sends, and applies events."""
    command = [sys.executable, "-m", "digest", "serve", "--port", "0"]
    command += [] if timetable else ["--no-schedule"]
    with (
        (settings.home / "serve.log").open("w") as log,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=command_environment(settings)
        ) as process,
    ):
        assert process.stdout is not None
        try:
            address = re.search(r"http://\S+:\d+", process.stdout.readline())
            if address is None:
                raise SystemExit(f"'digest serve' does not start: {Path(log.name).read_text()}")
            yield address[0]
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()  # it would end the send first


@contextmanager
def unsubscribe_meanwhile(
    url: str, settings: "Settings", people: range, *, per_second: int = CLICKS_PER_SECOND
) -> Iterator[ClickResults]:
    """Let people leave, in turn, as long as the block runs; who comes again had left already.

    The block begins once the first of them is on the way, however long their process took to start.
    """
    clicks = ClickResults()
    command = [sys.executable, "-m", "benchmarks.page_server", url, str(settings.key_file)]
    command += [str(number) for number in (people.start, people.stop, per_second)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield clicks
        finally:
            output = process.communicate()[0]
    clicks.waits_ms, clicks.failures = json.loads(output)


def _unsubscribe(server: tuple[str, int], token: str, wanted_at: float, clicks: ClickResults) -> None:
    connection = http.client.HTTPConnection(*server, timeout=60)
    try:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", f"/u/{token}", body=b"List-Unsubscribe=One-Click", headers=headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            clicks.failures.append(str(answer.status))
    except (OSError, http.client.HTTPException) as exc:
        clicks.failures.append(type(exc).__name__)
    finally:
        connection.close()
    clicks.waits_ms.append((time.perf_counter() - wanted_at) * 1000)


def _wait_for_stdin_end(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


def _unsubscribe_in_turn(url: str, keys: KeyRing, people: range, per_second: int) -> ClickResults:
    parts = urlsplit(url)
    place = (parts.hostname or "", parts.port or 80)
    ended, clicks = threading.Event(), ClickResults()
    threading.Thread(target=_wait_for_stdin_end, args=[ended], daemon=True).start()
    start = time.perf_counter()
    with ThreadPoolExecutor(64) as pool:
        for count, number in enumerate(cycle(people)):
            due = start + count / per_second
            if count and ended.wait(max(0.0, due - time.perf_counter())):
                break
            pool.submit(
                _unsubscribe, place, link_tokens.make_link_token(keys, number, "leave", address=""), due, clicks
            )
            if not count:
                print(flush=True)
    return clicks


def main() -> None:
    """Let people leave until standard input ends; print a line at the first, and the waits and failures at the end."""
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("url")
    reader.add_argument("keys", type=Path)
    reader.add_argument("numbers", type=int, nargs=3, help="the first person, the one after the last, a second")
    arguments = reader.parse_args()
    first, last, a_second = arguments.numbers
    clicks = _unsubscribe_in_turn(arguments.url, KeyRing.load(arguments.keys), range(first, last), a_second)
    print(json.dumps([clicks.waits_ms, clicks.failures]))


if __name__ == "__main__":
    main()
