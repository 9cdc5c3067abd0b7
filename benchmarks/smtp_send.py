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
from benchmarks.databases import DATABASE_KINDS, DATABASE_NAMES, fresh_database
from benchmarks.postfix_tools import PostfixTools
from benchmarks.results import ResultSheet
from benchmarks.sample_installation import EDITION_NAME, KEYS, RELEASE, benchmark_settings, create_ready_database
from benchmarks.sizes import FULL, BenchmarkSize
from digest import logs
from digest.deliver.plan.delivery_plan import plan_deliveries
from digest.deliver.providers.base import HandoverResult, Provider
from digest.deliver.providers.registry import open_provider
from digest.deliver.send.edition_run import run_edition

MESSAGE_BYTES = 41_000  # bytes of a message, as `people.prepare` writes it
MIN_RATIOS = {"unsigned": 0.6, "signed with RSA-2048": 0.3}  # of the rate of smtp-source


@dataclass(frozen=True, slots=True)
class TurnTime:
    """What one turn took: seconds on the clock, and of our own CPU."""

    wall_seconds: float
    cpu_seconds: float


def _signing_settings(folder: Path) -> dict[str, object]:
    key = rsa.generate_private_key(65537, 2048)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder / "dkim.pem"
    file.touch(mode=0o600)
    file.write_bytes(key.private_bytes(*form))
    return {"dkim_domain": "news.example.org", "dkim_selector": "bench", "dkim_key_file": file}


@dataclass(frozen=True, slots=True)
class SmtpCase:
    """One way to send: into which database, over how many sessions, signed or not."""

    kind: str
    sessions: int
    signed: bool


def prepare_sender(stack: ExitStack, port: int, case: SmtpCase, messages: int) -> Callable[[int], TurnTime]:
    """Prepare a list of its own; give what sends the next so many of it."""
    home = Path(stack.enter_context(TemporaryDirectory(prefix="digest-bench-")))
    url = SecretStr(f"smtp://127.0.0.1:{port}?starttls=off&connections={case.sessions}&messages=10000")
    more: dict[str, object] = {"mail_url": url} | (_signing_settings(home) if case.signed else {})
    more["database_url"] = stack.enter_context(fresh_database(case.kind, home))
    settings = benchmark_settings(home).model_copy(update=more)
    database = create_ready_database(settings, messages)
    stack.callback(database.close)
    plan_deliveries(database, EDITION_NAME, KEYS, settings, now=RELEASE)
    provider: Provider = stack.enter_context(closing(open_provider(settings)))

    def turn(several: int) -> TurnTime:
        began, cpu = time.perf_counter(), time.process_time()
        report = run_edition(
            database, EDITION_NAME, provider, KEYS, settings, clock=lambda: datetime.now(UTC), limit=several
        )
        spent = TurnTime(time.perf_counter() - began, time.process_time() - cpu)
        assert report.results == {HandoverResult.ACCEPTED: several}, f"{report.results} {report.stop_reason}"
        assert report.delivery_counts.is_balanced
        return spent

    return turn


def measure_turns(
    postfix: PostfixTools, kind: str, sessions: int, size: BenchmarkSize
) -> tuple[list[float], list[list[TurnTime]]]:
    """Send all, turn by turn; give what the peer took for each, and what ours took, unsigned and signed."""
    peer: list[float] = []
    ours: list[list[TurnTime]] = [[], []]
    with ExitStack() as stack:
        port = stack.enter_context(postfix.run_sink())
        both = [
            prepare_sender(stack, port, SmtpCase(kind, sessions, signed), size.messages) for signed in (False, True)
        ]
        for _ in range(size.messages // size.messages_per_turn):
            peer.append(postfix.run_source(port, size.messages_per_turn, MESSAGE_BYTES, sessions))
            for spents, turn in zip(ours, both, strict=True):
                spents.append(turn(size.messages_per_turn))
    return peer, ours


def main(sheet: ResultSheet, size: BenchmarkSize) -> None:
    """Measure each way, and put each ratio beside its bar."""
    postfix = PostfixTools()
    if postfix.missing_tools:
        sheet.add_left_out("SMTP", postfix.missing_tools)
        return
    logs.configure_logging(logging.WARNING)  # a line a turn would hide the results
    with postfix.run_sink() as port:
        usual = peers.send_with_smtplib(port, size.peer_items)
    for kind in DATABASE_KINDS:
        for sessions in size.sessions:
            peer, ours = measure_turns(postfix, kind, sessions, size)
            rate = size.messages_per_turn / median(peer)
            for (what, bar), spents in zip(MIN_RATIOS.items(), ours, strict=True):
                ratio = median(p / s.wall_seconds for p, s in zip(peer, spents, strict=True))
                named = f"SMTP, {what}, {sessions} sessions, {DATABASE_NAMES[kind]}"
                said = f"smtp-source -d {rate:,.0f}/s; smtplib with a message built per reader {usual:,.0f}/s"
                # With fewer sessions the disk's commits set the pace. The bar is one of synchronous=FULL, SQLite's:
                # PostgreSQL shares the two cores with all that is measured.
                judged = sessions == max(size.sessions) and kind == "sqlite"
                held = ratio >= bar if judged else None
                sheet.add_result(
                    named, f"{ratio:.2f} of smtp-source", f">= {bar}" if judged else "", bar_met=held, peer=said
                )
                cpu = sum(s.cpu_seconds for s in spents) / size.messages * 1e6
                mine = size.messages_per_turn / median(s.wall_seconds for s in spents)
                sheet.print_note(f"{mine:,.0f} messages of 40 KB a second, {cpu:.0f} µs of our CPU each")


if __name__ == "__main__":
    main(ResultSheet(), FULL)
