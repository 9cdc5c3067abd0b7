"""A whole send over SMTP to Postfix's `smtp-sink`, against `smtp-source -d` with as many sessions.

Both tools come with Postfix; nothing has to be installed for them:
    apt-get download postfix && dpkg -x postfix_*.deb FOLDER && POSTFIX_TOOLS=FOLDER make bench
The machine's noise meets both: 20,000 messages go out in slices, and after each the others send as many.
"""

import logging
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr

from benchmarks.people import KEYS, NAME, RELEASE, prepare, settings_in
from digest import logs
from digest.deliver.handing import Result, Transport
from digest.deliver.planning import plan
from digest.deliver.sending import send
from digest.deliver.transports import open_transport

MESSAGES = 20_000
SLICE = 2_000
SIZE = 41_000  # bytes of a message, as `people.prepare` writes it
SESSIONS = 50
UNSIGNED, SIGNED = 0.6, 0.3  # the bars: of the peer's rate
HOW = __doc__.split("\n")[3].strip()


@dataclass(frozen=True, slots=True)
class Spent:
    """What one slice took: seconds on the wall, and of our own CPU."""

    wall: float
    cpu: float = 0.0


class Tools:
    """Postfix's two test programs, wherever they are."""

    def __init__(self) -> None:
        folder = Path(os.environ.get("POSTFIX_TOOLS", "/"))
        places = os.pathsep.join(
            [*(str(folder / p) for p in ("usr/sbin", "sbin")), os.environ.get("PATH", "")]
        )
        self.sink, self.source = (shutil.which(name, path=places) for name in ("smtp-sink", "smtp-source"))
        self._env = os.environ | {"LD_LIBRARY_PATH": str(folder / "usr/lib/postfix")}

    @contextmanager
    def sinking(self) -> Iterator[int]:
        """Run a sink; lend its port."""
        assert self.sink is not None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        other = ["-u", "nobody"] if os.geteuid() == 0 else []  # it refuses to run as root
        process = subprocess.Popen([self.sink, *other, f"127.0.0.1:{port}", "100"], env=self._env)
        try:
            _await(port)
            yield port
        finally:
            process.terminate()
            process.wait()

    def offer(self, port: int, messages: int, size: int) -> Spent:
        """Let the peer send so many messages of so many bytes."""
        assert self.source is not None
        command = [self.source, "-d", "-s", str(SESSIONS), "-m", str(messages), "-l", str(size)]
        began = time.perf_counter()
        subprocess.run(
            [*command, "-f", "a@x.test", "-t", "b@x.test", f"127.0.0.1:{port}"], env=self._env, check=True
        )
        return Spent(time.perf_counter() - began)


def _await(port: int) -> None:
    for _ in range(100):
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit("smtp-sink does not start")


def _signing(folder: Path) -> dict[str, object]:
    key = rsa.generate_private_key(65537, 2048)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder / "dkim.pem"
    file.touch(mode=0o600)
    file.write_bytes(key.private_bytes(*form))
    return {"dkim_domain": "news.example.org", "dkim_selector": "bench", "dkim_key_file": file}


def sender(stack: ExitStack, port: int, *, signed: bool) -> Callable[[int], Spent]:
    """Prepare a list of its own; give what sends the next slice of it."""
    home = Path(stack.enter_context(TemporaryDirectory(prefix="digest-bench-")))
    url = SecretStr(f"smtp://127.0.0.1:{port}?starttls=off&connections={SESSIONS}&messages=10000")
    more: dict[str, object] = {"mail_url": url} | (_signing(home) if signed else {})
    settings = settings_in(home).model_copy(update=more)
    database = prepare(settings, MESSAGES)
    stack.callback(database.close)
    plan(database, NAME, KEYS, settings, now=RELEASE)
    transport: Transport = stack.enter_context(closing(open_transport(settings)))

    def slice_(messages: int) -> Spent:
        began, cpu = time.perf_counter(), time.process_time()
        report = send(
            database, NAME, transport, KEYS, settings, now_fn=lambda: datetime.now(UTC), limit=messages
        )
        assert report.results == {Result.ACCEPTED: messages}, f"{report.results} {report.stopped}"
        assert report.books.balanced
        return Spent(time.perf_counter() - began, time.process_time() - cpu)

    return slice_


def measure(size: int) -> tuple[list[Spent], list[Spent], list[Spent]]:
    """Send all, slice by slice; give what the peer, ours, and ours signed took for each."""
    tools, peer, ours, signed = Tools(), [], [], []
    with ExitStack() as stack:
        port = stack.enter_context(tools.sinking())
        plainly, signing = (sender(stack, port, signed=s) for s in (False, True))
        for _ in range(MESSAGES // SLICE):
            peer.append(tools.offer(port, SLICE, size))
            ours.append(plainly(SLICE))
            signed.append(signing(SLICE))
    return peer, ours, signed


def main(line: Callable[..., None]) -> None:
    """Measure, and print each ratio beside its bar with `line`."""
    tools = Tools()
    missing = [n for n, found in (("smtp-sink", tools.sink), ("smtp-source", tools.source)) if not found]
    if missing:
        print(f"left out: SMTP, for {' and '.join(missing)} of Postfix is not here. {HOW}")
        return
    logs.configure(logging.WARNING)  # a line a slice would hide the results
    peer, *both = measure(SIZE)
    rate = SLICE / median(p.wall for p in peer)
    for what, spents, bar in zip(("unsigned", "signed with RSA-2048"), both, (UNSIGNED, SIGNED), strict=True):
        ratio = median(p.wall / s.wall for p, s in zip(peer, spents, strict=True))
        line(
            f"SMTP, {what}: of smtp-source's {rate:.0f} a second",
            f"{ratio:.2f}",
            f">= {bar}",
            held=ratio >= bar,
        )
        cpu = sum(s.cpu for s in spents) / MESSAGES * 1e6
        print(
            f"        {SESSIONS} sessions, {MESSAGES:,} messages of 40 KB, {cpu:.0f} µs of our CPU a message"
        )


if __name__ == "__main__":
    from benchmarks.bench import line as _line

    main(_line)
