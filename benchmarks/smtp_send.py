"""A send over SMTP to Postfix's `smtp-sink`, against `smtp-source -d` with as many sessions and messages as long.

Each round sends as many messages as the one before, first theirs, then ours: the machine's noise meets both. What is
judged is the time from the first message to the last answer; once also a whole `digest send`, from its start to its end.
Another send goes to a sink of our own that answers one message in twenty late, against the arithmetic of connections that wait
for nobody else.
"""

import logging
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from benchmarks import peers
from benchmarks.databases import DATABASE_KINDS, DATABASE_NAMES, fresh_database
from benchmarks.page_server import command_environment
from benchmarks.postfix_tools import PostfixTools
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
from digest.deliver.compose.variants import compose_sample_message
from digest.deliver.plan.planning import plan_deliveries
from digest.deliver.providers.base import (
    BatchOutcome,
    FinishedMessages,
    HandoverRecorder,
    HandoverStatus,
    OutgoingMessage,
    StreamingProvider,
)
from digest.deliver.providers.registry import open_provider
from digest.deliver.send.run.edition_sending import run_edition
from digest.edition.approval.approved_versions import read_mailable_edition
from digest.edition.edition_queries import find_edition
from digest.settings import Settings

MESSAGE_KILOBYTES = 62
MESSAGE_BYTES = 62_000  # of one of ours with its headers, unsigned
UNSIGNED, SIGNED = "unsigned", "signed with RSA-2048"
MIN_RATIOS = {  # of the rate of smtp-source, by database, sessions and signature
    ("sqlite", 50, UNSIGNED): 0.85,
    ("sqlite", 8, UNSIGNED): 0.65,
    ("postgresql", 50, UNSIGNED): 0.75,
    ("postgresql", 8, UNSIGNED): 0.5,
    ("sqlite", 50, SIGNED): 0.45,
}
# Of listmonk 6.2 on PostgreSQL 15 by sessions, in rounds with smtp-source of their own: benchmarks/README.md, Peers.
LISTMONK_RATIOS = {8: 0.45, 50: 0.52}
MIN_COMMAND_RATIO = 0.7  # of a whole `digest send`
SLOW_EVERY, SLOW_SECONDS = 20, 0.5  # one message in so many is answered after so many seconds
SLOW_MESSAGES = 4_000  # at most
MIN_SLOW_RATIO = 0.9  # of what connections that wait for nobody else would reach


@dataclass(frozen=True, slots=True)
class SmtpCase:
    """One way to send: into which database, over how many sessions, signed or not."""

    kind: str
    sessions: int
    signature: str


@dataclass(frozen=True, slots=True)
class RoundTime:
    """What one round took: theirs, and ours from the first message to the last answer, in seconds; our CPU in all."""

    peer_seconds: float
    seconds: float
    cpu_seconds: float

    @property
    def ratio(self) -> float:
        """Our rate as a share of theirs."""
        return self.peer_seconds / self.seconds


class TimedProvider:
    """A provider, and when it took its first messages and had its last answers."""

    def __init__(self, provider: StreamingProvider) -> None:
        self._provider = provider
        self.name, self.batch_timeout = provider.name, provider.batch_timeout
        self.first_at = self.last_at = 0.0

    @property
    def batch_size(self) -> int:
        """How many messages to give it at once."""
        return self._provider.batch_size

    def start_round(self) -> None:
        """Forget the round before."""
        self.first_at = self.last_at = 0.0

    def send_batch(self, messages: Sequence[OutgoingMessage], recorder: HandoverRecorder) -> BatchOutcome:
        """Hand a batch over."""
        return self._provider.send_batch(messages, recorder)

    def offer(self, messages: Sequence[OutgoingMessage], recorder: HandoverRecorder) -> None:
        """Take messages."""
        self.first_at = self.first_at or time.perf_counter()
        self._provider.offer(messages, recorder)

    def await_outcomes(self, wake_fd: int) -> FinishedMessages:
        """Hand them over."""
        finished = self._provider.await_outcomes(wake_fd)
        if finished.messages:
            self.last_at = time.perf_counter()
        return finished

    def close(self) -> None:
        """Close the provider."""
        self._provider.close()


class SmtpSender:
    """An installation with a list that is planned, of which each round sends the next part."""

    def __init__(self, stack: ExitStack, port: int, case: SmtpCase, size: BenchmarkSize) -> None:
        """Make the list, long enough for all rounds."""
        settings = _case_settings(stack, port, case)
        self._settings, self._messages = settings, size.messages
        subscribers = size.messages * size.smtp_rounds
        self._database = create_ready_database(settings, subscribers, kilobytes=MESSAGE_KILOBYTES)
        stack.callback(self._database.close)
        plan_deliveries(self._database, EDITION_NAME, KEYS, settings, now=RELEASE)
        opened = stack.enter_context(closing(open_provider(settings)))
        assert isinstance(opened, StreamingProvider)
        self._provider = TimedProvider(opened)
        with self._database.read() as session:
            edition = find_edition(session, EDITION_NAME)
            length = len(compose_sample_message(read_mailable_edition(session, edition, settings), edition, settings))
        assert abs(length - MESSAGE_BYTES) < 0.01 * MESSAGE_BYTES, f"a message of {length:,} bytes"

    def send_round(self, peer_seconds: float) -> RoundTime:
        """Send the next messages, whose peers took so long."""
        self._provider.start_round()
        cpu = time.process_time()
        report = run_edition(
            self._database,
            EDITION_NAME,
            self._provider,
            KEYS,
            self._settings,
            clock=lambda: datetime.now(UTC),
            limit=self._messages,
        )
        cpu_seconds = time.process_time() - cpu
        tried = report.results - Counter({HandoverStatus.NOT_TRIED: report.results.total()})
        assert tried == {HandoverStatus.ACCEPTED: self._messages}, f"{report.results} {report.stop_reason}"
        assert report.delivery_counts.is_balanced
        return RoundTime(peer_seconds, self._provider.last_at - self._provider.first_at, cpu_seconds)


def _case_settings(stack: ExitStack, port: int, case: SmtpCase) -> Settings:
    home = Path(stack.enter_context(TemporaryDirectory(prefix="digest-bench-")))
    changes: dict[str, object] = {"mail_url": loopback_mail_url(port, case.sessions)}
    if case.signature == SIGNED:
        changes |= _signing_settings(home)
    changes["database_url"] = stack.enter_context(fresh_database(case.kind, home))
    return benchmark_settings(home).model_copy(update=changes)


def _signing_settings(folder: Path) -> dict[str, object]:
    key = rsa.generate_private_key(65537, 2048)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder / "dkim.pem"
    file.touch(mode=0o600)
    file.write_bytes(key.private_bytes(*form))
    return {"dkim_domain": "news.example.org", "dkim_selector": "bench", "dkim_key_file": file}


def measure_rounds(
    postfix: PostfixTools, kind: str, sessions: int, size: BenchmarkSize
) -> dict[SmtpCase, list[RoundTime]]:
    """Send in rounds: the peer, then ours, unsigned and signed."""
    with ExitStack() as stack:
        port = stack.enter_context(postfix.run_sink())
        cases = [SmtpCase(kind, sessions, signature) for signature in (UNSIGNED, SIGNED)]
        senders = {case: SmtpSender(stack, port, case, size) for case in cases}
        times: dict[SmtpCase, list[RoundTime]] = {case: [] for case in cases}
        for _ in range(size.smtp_rounds):
            peer = _run_source(postfix, port, size.messages, sessions)
            for case, sender in senders.items():
                times[case].append(sender.send_round(peer))
    return times


def _run_source(postfix: PostfixTools, port: int, messages: int, sessions: int) -> float:
    return postfix.run_source(port, messages, MESSAGE_BYTES, sessions)


def measure_commands(postfix: PostfixTools, sessions: int, size: BenchmarkSize) -> list[float]:
    """Run `digest send` on SQLite, from the start of the command to its end; give its ratio of each round."""
    ratios = []
    with postfix.run_sink() as port:
        for _ in range(size.smtp_rounds):
            with ExitStack() as stack:
                settings = _case_settings(stack, port, SmtpCase("sqlite", sessions, UNSIGNED))
                create_ready_database(settings, size.messages, kilobytes=MESSAGE_KILOBYTES).close()
                peer = _run_source(postfix, port, size.messages, sessions)
                ratios.append(peer / _run_command(settings))
    return ratios


def measure_slow_replies(sessions: int, size: BenchmarkSize) -> tuple[float, float]:
    """Send to a sink that answers all at once, then to one that answers some late; give the seconds of the second and its ratio."""
    messages = min(SLOW_MESSAGES, size.messages)
    seconds = []
    for delay in (0.0, SLOW_SECONDS):
        with ExitStack() as stack:
            sink = stack.enter_context(run_receiver("smtp_sink", delay, SLOW_EVERY))
            case = SmtpCase("sqlite", sessions, UNSIGNED)
            sender = SmtpSender(stack, sink.port, case, replace(size, messages=messages, smtp_rounds=1))
            seconds.append(sender.send_round(0.0).seconds)
    quick, took = seconds
    return took, (quick + messages // SLOW_EVERY * SLOW_SECONDS / sessions) / took


def _run_command(settings: Settings) -> float:
    """Send the whole edition by the command; give its seconds."""
    command = [sys.executable, "-m", "digest", "send", EDITION_NAME, "--yes"]
    environment = command_environment(settings)
    began = time.perf_counter()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return time.perf_counter() - began


def _add_case(
    sheet: ResultSheet, case: SmtpCase, times: Sequence[RoundTime], size: BenchmarkSize, usual: float
) -> None:
    ratio, bar = median(each.ratio for each in times), MIN_RATIOS.get((case.kind, case.sessions, case.signature))
    rate = size.messages / median(each.peer_seconds for each in times)
    peer = f"smtp-source -d {rate:,.0f}/s; smtplib with a message built per reader {usual:,.0f}/s"
    if case.signature == UNSIGNED and case.sessions in LISTMONK_RATIOS:
        peer += f"; listmonk {LISTMONK_RATIOS[case.sessions]} of smtp-source, measured apart"
    sheet.add_result(
        f"SMTP, {case.signature}, {case.sessions} sessions, {DATABASE_NAMES[case.kind]}",
        f"{ratio:.2f} of smtp-source",
        "" if bar is None else f">= {bar}",
        bar_met=None if bar is None else ratio >= bar,
        peer=peer,
    )
    mine = size.messages / median(each.seconds for each in times)
    cpu = median(each.cpu_seconds for each in times) / size.messages * 1e6
    each_round = ", ".join(f"{each.ratio:.2f}" for each in times)
    sheet.print_note(
        f"{mine:,.0f} messages of {MESSAGE_KILOBYTES} KB a second, {cpu:.0f} µs of our CPU each; rounds: {each_round}"
    )


def main(sheet: ResultSheet, size: BenchmarkSize) -> None:
    """Measure each way, and put each ratio beside its bar."""
    sessions = min(size.sessions)
    took, slow_ratio = measure_slow_replies(sessions, size)
    sheet.add_result(
        f"SMTP, {sessions} sessions, SQLite, one reply in {SLOW_EVERY} after {SLOW_SECONDS} s",
        f"{slow_ratio:.2f} of independent connections",
        f">= {MIN_SLOW_RATIO}",
        bar_met=slow_ratio >= MIN_SLOW_RATIO,
    )
    sheet.print_note(
        f"{took:.1f} s; by arithmetic, the same send without slow replies, and their wait shared by all sessions"
    )
    postfix = PostfixTools()
    if postfix.missing_tools:
        sheet.add_left_out("SMTP", postfix.missing_tools)
        return
    logs.configure_logging(logging.WARNING)  # a line a round would hide the results
    with postfix.run_sink() as port:
        usual = peers.send_with_smtplib(port, size.peer_items)
    for kind in DATABASE_KINDS:
        for sessions in size.sessions:
            for case, times in measure_rounds(postfix, kind, sessions, size).items():
                _add_case(sheet, case, times, size, usual)
    sessions = max(size.sessions)
    ratios = measure_commands(postfix, sessions, size)
    sheet.add_result(
        f"SMTP, the whole command `digest send`, unsigned, {sessions} sessions, SQLite",
        f"{median(ratios):.2f} of smtp-source",
        f">= {MIN_COMMAND_RATIO}",
        bar_met=median(ratios) >= MIN_COMMAND_RATIO,
    )
    sheet.print_note(f"rounds: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")


if __name__ == "__main__":
    main(ResultSheet(), FULL)
