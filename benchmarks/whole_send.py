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

from benchmarks.peak import peak
from benchmarks.people import KEYS, NAME, RELEASE, lent, settings_in
from digest import logs
from digest.db import open_database
from digest.deliver.handing import Handed, Outcome, Outgoing, Result, Transport
from digest.deliver.planning import plan
from digest.deliver.sending import send
from digest.deliver.transports import open_transport
from digest.deliver.transports.several import Several
from digest.settings import Settings

BATCH = 1_000  # readers a request


@dataclass(frozen=True, slots=True)
class Sent:
    """What a send took: seconds on the clock and of CPU, and the most memory that its process held, in MB."""

    readers: int
    seconds: float
    cpu: float
    peak: float


class Nowhere:
    """Makes every message of 40 KB and throws it away."""

    name = "nowhere"
    batch = 25
    patience = 60.0

    def hand_all(self, messages: Sequence[Outgoing]) -> Handed:
        """Make them."""
        for message in messages:
            message.message()
        return Handed(tuple(Outcome(Result.ACCEPTED, "250 ok") for _ in messages))

    def close(self) -> None:
        """Nothing is held open."""


def send_apart(readers: int, provider: str = "") -> Sent:
    """Send an edition to so many readers: to the provider at an address, or nowhere."""
    with lent(readers) as home:
        command = [sys.executable, "-m", "benchmarks.whole_send", str(home), provider]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    sent = Sent(**json.loads(told))
    assert sent.readers == readers, f"{sent}"
    return sent


def _transport(settings: Settings, provider: str) -> Transport:
    if not provider:
        return Several([Nowhere(), Nowhere()])
    way = {
        "mail_url": SecretStr(f"sendgrid:?batch={BATCH}"),
        "sendgrid_host": provider,
        "sendgrid_api_key": SecretStr("SG.bench"),
    }
    return open_transport(settings.model_copy(update=way))


def _send(home: Path, provider: str) -> Sent:
    settings = settings_in(home)
    database = open_database(settings.database)
    plan(database, NAME, KEYS, settings, now=RELEASE)
    with closing(_transport(settings, provider)) as transport:
        began, cpu = time.perf_counter(), time.process_time()
        report = send(database, NAME, transport, KEYS, settings, now_fn=lambda: datetime.now(UTC))
        took, worked = time.perf_counter() - began, time.process_time() - cpu
    assert report.books.balanced
    database.close()
    return Sent(report.results[Result.ACCEPTED], took, worked, peak())


if __name__ == "__main__":
    logs.configure(logging.WARNING)
    print(json.dumps(asdict(_send(Path(sys.argv[1]), sys.argv[2]))))
