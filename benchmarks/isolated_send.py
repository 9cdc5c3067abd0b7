"""One whole send in a process of its own, so that its time and its peak of memory are its own.

The list is planned first, within the process and outside the time.
"""

import json
import logging
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import SecretStr

from benchmarks.peak_memory import peak_memory_mb
from benchmarks.sample_installation import EDITION_NAME, KEYS, RELEASE, benchmark_settings, copied_installation
from digest import logs
from digest.deliver.plan.planning import plan_deliveries
from digest.deliver.providers.base import (
    BatchOutcome,
    HandoverRecorder,
    HandoverStatus,
    MessageOutcome,
    OutgoingMessage,
    ParallelProvider,
    Provider,
)
from digest.deliver.providers.registry import open_provider
from digest.deliver.send.run.edition_sending import run_edition
from digest.settings import Settings
from digest.store.engine import open_database

BATCH_SIZE = 1_000  # readers a request


@dataclass(frozen=True, slots=True)
class SendResult:
    """What a send took: seconds on the clock and of CPU, and the most memory that its process held, in MB."""

    subscribers: int
    seconds: float
    cpu: float
    peak: float


class DiscardingProvider:
    """Makes every message of 40 KB and throws it away."""

    name = "nowhere"
    batch_size = 25
    batch_timeout = 60.0

    def send_batch(self, messages: Sequence[OutgoingMessage], recorder: HandoverRecorder) -> BatchOutcome:
        """Make them."""
        accepted = MessageOutcome(HandoverStatus.ACCEPTED, "250 ok")
        for message in messages:
            message.to_bytes()
            recorder.mark_sending(message)
            recorder.mark_outcome(message, accepted)
        return BatchOutcome((accepted,) * len(messages))

    def close(self) -> None:
        """Nothing is held open."""


def send_in_subprocess(
    subscribers: int, provider_url: str = "", *, batch_size: int = BATCH_SIZE, connections: int = 1
) -> SendResult:
    """Send an edition to so many readers: to the provider at an address, so many a request and requests at a time; or nowhere."""
    with copied_installation(subscribers) as home:
        command = [sys.executable, "-m", "benchmarks.isolated_send", str(home), provider_url]
        command += [str(connections), str(batch_size)]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    sent = SendResult(**json.loads(told))
    assert sent.subscribers == subscribers, f"{sent}"
    return sent


def _open_provider(settings: Settings, provider_url: str, connections: int, batch_size: int) -> Provider:
    if not provider_url:
        return ParallelProvider([DiscardingProvider(), DiscardingProvider()])
    way = {
        "mail_url": SecretStr(f"sendgrid:?batch={batch_size}&connections={connections}"),
        "sendgrid_host": provider_url,
        "sendgrid_api_key": SecretStr("SG.bench"),
    }
    return open_provider(settings.model_copy(update=way))


def measure_send(home: Path, provider_url: str, connections: int = 1, batch_size: int = BATCH_SIZE) -> SendResult:
    """Plan and send in this process, with so many requests at a time, of so many readers each."""
    settings = benchmark_settings(home)
    database = open_database(settings.effective_database_url)
    plan_deliveries(database, EDITION_NAME, KEYS, settings, now=RELEASE)
    with closing(_open_provider(settings, provider_url, connections, batch_size)) as provider:
        began, cpu = time.perf_counter(), time.process_time()
        report = run_edition(database, EDITION_NAME, provider, KEYS, settings, clock=lambda: datetime.now(UTC))
        took, worked = time.perf_counter() - began, time.process_time() - cpu
    assert report.delivery_counts.is_balanced
    database.close()
    return SendResult(report.results[HandoverStatus.ACCEPTED], took, worked, peak_memory_mb())


if __name__ == "__main__":
    logs.configure_logging(logging.WARNING)
    print(json.dumps(asdict(measure_send(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))))
