"""A whole send over SMTP to Postfix's `smtp-sink`, against `smtp-source -d` with as many sessions.

The machine's noise meets both: the messages go out in turns, and after each the others send as many.
"""

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr

from benchmarks import peers
from benchmarks.bars import Sheet
from benchmarks.databases import KINDS, NAMES, fresh_database
from benchmarks.people import KEYS, NAME, RELEASE, prepare, settings_in
from benchmarks.postfix import Postfix
from benchmarks.sizes import FULL, Size
from digest import logs
from digest.deliver.handing import Result, Transport
from digest.deliver.planning import plan
from digest.deliver.sending import send
from digest.deliver.transports import open_transport

SIZE = 41_000  # bytes of a message, as `people.prepare` writes it
BARS = {"unsigned": 0.6, "signed with RSA-2048": 0.3}  # of the rate of smtp-source


@dataclass(frozen=True, slots=True)
class Spent:
    """What one turn took: seconds on the clock, and of our own CPU."""

    wall: float
    cpu: float


def _signing(folder: Path) -> dict[str, object]:
    key = rsa.generate_private_key(65537, 2048)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder / "dkim.pem"
    file.touch(mode=0o600)
    file.write_bytes(key.private_bytes(*form))
    return {"dkim_domain": "news.example.org", "dkim_selector": "bench", "dkim_key_file": file}


@dataclass(frozen=True, slots=True)
class Way:
    """One way to send: into which database, over how many sessions, signed or not."""

    kind: str
    sessions: int
    signed: bool


def sender(stack: ExitStack, port: int, way: Way, messages: int) -> Callable[[int], Spent]:
    """Prepare a list of its own; give what sends the next so many of it."""
    home = Path(stack.enter_context(TemporaryDirectory(prefix="digest-bench-")))
    url = SecretStr(f"smtp://127.0.0.1:{port}?starttls=off&connections={way.sessions}&messages=10000")
    more: dict[str, object] = {"mail_url": url} | (_signing(home) if way.signed else {})
    more["database_url"] = stack.enter_context(fresh_database(way.kind, home))
    settings = settings_in(home).model_copy(update=more)
    database = prepare(settings, messages)
    stack.callback(database.close)
    plan(database, NAME, KEYS, settings, now=RELEASE)
    transport: Transport = stack.enter_context(closing(open_transport(settings)))

    def turn(several: int) -> Spent:
        began, cpu = time.perf_counter(), time.process_time()
        report = send(
            database, NAME, transport, KEYS, settings, now_fn=lambda: datetime.now(UTC), limit=several
        )
        spent = Spent(time.perf_counter() - began, time.process_time() - cpu)
        assert report.results == {Result.ACCEPTED: several}, f"{report.results} {report.stopped}"
        assert report.books.balanced
        return spent

    return turn


def measure(postfix: Postfix, kind: str, sessions: int, size: Size) -> tuple[list[float], list[list[Spent]]]:
    """Send all, turn by turn; give what the peer took for each, and what ours took, unsigned and signed."""
    peer: list[float] = []
    ours: list[list[Spent]] = [[], []]
    with ExitStack() as stack:
        port = stack.enter_context(postfix.sinking())
        both = [sender(stack, port, Way(kind, sessions, signed), size.messages) for signed in (False, True)]
        for _ in range(size.messages // size.turn):
            peer.append(postfix.offer(port, size.turn, SIZE, sessions))
            for spents, turn in zip(ours, both, strict=True):
                spents.append(turn(size.turn))
    return peer, ours


def main(sheet: Sheet, size: Size) -> None:
    """Measure each way, and put each ratio beside its bar."""
    postfix = Postfix()
    if postfix.missing:
        sheet.left_out("SMTP", postfix.missing)
        return
    logs.configure(logging.WARNING)  # a line a turn would hide the results
    with postfix.sinking() as port:
        usual = peers.mailer(port, size.peers)
    for kind in KINDS:
        for sessions in size.sessions:
            peer, ours = measure(postfix, kind, sessions, size)
            rate = size.turn / median(peer)
            for (what, bar), spents in zip(BARS.items(), ours, strict=True):
                ratio = median(p / s.wall for p, s in zip(peer, spents, strict=True))
                named = f"SMTP, {what}, {sessions} sessions, {NAMES[kind]}"
                said = f"smtp-source -d {rate:,.0f}/s; smtplib with a message built per reader {usual:,.0f}/s"
                # With fewer sessions the disk's commits set the pace. The bar is one of synchronous=FULL, SQLite's:
                # PostgreSQL shares the two cores with all that is measured.
                judged = sessions == max(size.sessions) and kind == "sqlite"
                held = ratio >= bar if judged else None
                sheet.line(
                    named,
                    f"{ratio:.2f} of smtp-source",
                    f">= {bar}" if judged else "",
                    held=held,
                    peer=said,
                )
                cpu = sum(s.cpu for s in spents) / size.messages * 1e6
                mine = size.turn / median(s.wall for s in spents)
                sheet.note(f"{mine:,.0f} messages of 40 KB a second, {cpu:.0f} µs of our CPU each")


if __name__ == "__main__":
    main(Sheet(), FULL)
