"""Send the benchmarks' edition in a process that a test can kill, or that kills itself."""

import os
import sys
import time
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import SecretStr

from benchmarks.sample_installation import EDITION_NAME, KEYS, benchmark_settings
from digest.deliver.providers.registry import open_provider
from digest.deliver.send.run.edition_sending import run_edition
from digest.settings import Settings, UsageLimitSettings
from digest.store.engine import WRITER_TIMEOUT, open_database
from tests.deliver.commit_faults import ClaimDelayer, ConnectionBreaker, ProcessKiller, ProcessStopper, watch_commits
from tests.shared_statements import share_compiled_statements

CANARY_MINUTES = 15
SENDGRID_API_KEY = "SG.kept.secret"


@dataclass(frozen=True)
class SendOptions:
    """What a sending process needs to know.

    With a `kill_boundary_file` it dies at the first write boundary that is not in there; with `failure_boundary_file`
    the database fails there, and nobody sleeps. It waits for `delay_after_claim` seconds between claiming and asking
    for consent again, and for SQLite's lock for `lock_timeout` seconds. It stops (SIGSTOP) right after the first commit
    that writes `stop_after_commit`. Others may take over after `send_lease` seconds of silence. Its clock is `hours_later`, `limits` bound what it sends, and the rest of a large list waits
    `canary_minutes` for the first few hundred.
    """

    home: Path
    database_url: str
    mail_url: str
    sendgrid_host: str = ""
    kill_boundary_file: Path | None = None
    failure_boundary_file: Path | None = None
    delay_after_claim: float = 0.0
    lock_timeout: float = 0.0
    stop_after_commit: str = ""
    hours_later: int = 0
    limits: UsageLimitSettings = field(default_factory=UsageLimitSettings)
    canary_minutes: int = CANARY_MINUTES
    send_lease: float = 30.0

    @property
    def settings(self) -> Settings:
        """The settings of this installation."""
        settings = benchmark_settings(self.home)
        alerts = settings.file.alerts.model_copy(update={"canary_minutes": self.canary_minutes})
        changes = {
            "file": settings.file.model_copy(update={"alerts": alerts, "limits": self.limits}),
            "database_url": self.database_url,
            "send_lease": self.send_lease,
            "mail_url": SecretStr(self.mail_url),
            "sendgrid_api_key": SecretStr(SENDGRID_API_KEY),
            "sendgrid_host": self.sendgrid_host,
        }
        return settings.model_copy(update=changes)


class SkippingClock:
    """The time plus what was skipped: no test waits for fifteen minutes."""

    def __init__(self, skipped: timedelta) -> None:
        self._skipped = skipped

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self._skipped

    def skip_to(self, moment: datetime) -> None:
        """Go on from that moment."""
        self._skipped = moment - datetime.now(UTC)


def run_send(options: SendOptions) -> None:
    """Send until nothing is due; the exit code is 0 when nothing waits any more."""
    with (options.home / "said").open("a") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    sys.exit(int(send_what_is_due(options) > 0))


def send_what_is_due(options: SendOptions) -> int:
    """Send until nothing is due; return how many deliveries are open then."""
    settings = options.settings
    database = open_database(settings.effective_database_url, writer_timeout=options.lock_timeout or WRITER_TIMEOUT)
    if options.kill_boundary_file:
        watch_commits(database.engine, ProcessKiller(boundary_file=options.kill_boundary_file))
    elif options.failure_boundary_file:
        watch_commits(database.engine, ConnectionBreaker(boundary_file=options.failure_boundary_file))
    elif options.delay_after_claim:
        watch_commits(database.engine, ClaimDelayer(seconds=options.delay_after_claim))
    elif options.stop_after_commit:
        watch_commits(database.engine, ProcessStopper(written=options.stop_after_commit))
    database.row_keys.find = lambda: KEYS
    share_compiled_statements(database)  # after the watcher, which listens to the engine's first dialect
    clock, sleep = (
        SkippingClock(timedelta(hours=options.hours_later)),
        (lambda _: None) if options.failure_boundary_file else time.sleep,
    )
    while True:
        with closing(open_provider(settings)) as provider:
            report = run_edition(database, EDITION_NAME, provider, KEYS, settings, clock=clock, sleep=sleep)
        if not (report.wait_reason and report.next_due_at):
            break
        clock.skip_to(report.next_due_at)
    database.close()
    return report.delivery_counts.open
