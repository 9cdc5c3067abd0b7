"""Sends the benchmarks' edition, in a process that a test may kill, or that kills itself."""

import os
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import SecretStr

from benchmarks.people import KEYS, NAME, settings_in
from digest.connections import PATIENCE
from digest.db import open_database
from digest.deliver.sending import send
from digest.deliver.transports import open_transport
from digest.settings import Settings
from tests.deliver.boundaries import Dawdling, Dying, Failing, watch

FIRST_READERS_FOR = 15  # minutes that the rest of a large list waits for those who go ahead
SENDGRID_KEY = "SG.kept.secret"


@dataclass(frozen=True)
class Sending:
    """What a process needs to know.

    With a `ledger` it dies at the first write boundary that is not in there; with `failing` the database fails there,
    and nobody sleeps. It rests for `dawdle` seconds between claiming and asking for consent again. It waits for
    SQLite's lock for `busy` seconds.
    """

    home: Path
    database: str
    mail: str
    sendgrid_host: str = ""
    ledger: Path | None = None
    failing: Path | None = None
    dawdle: float = 0.0
    busy: float = 0.0

    @property
    def settings(self) -> Settings:
        """The settings of this installation."""
        told = settings_in(self.home)
        alerts = told.file.alerts.model_copy(update={"canary_minutes": FIRST_READERS_FOR})
        how = {
            "file": told.file.model_copy(update={"alerts": alerts}),
            "database_url": self.database,
            "mail_url": SecretStr(self.mail),
            "sendgrid_api_key": SecretStr(SENDGRID_KEY),
            "sendgrid_host": self.sendgrid_host,
        }
        return told.model_copy(update=how)


class Clock:
    """The time, but for what was skipped: nobody waits for fifteen minutes here."""

    def __init__(self) -> None:
        self._skipped = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self._skipped

    def skip_to(self, moment: datetime) -> None:
        """Go on from that moment."""
        self._skipped = moment - datetime.now(UTC)


def main(sending: Sending) -> None:
    """Send until nothing is due; the exit code is 0 when nothing waits any more."""
    with (sending.home / "said").open("a") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    settings = sending.settings
    database = open_database(settings.database, patience=sending.busy or PATIENCE)
    if sending.ledger:
        watch(database.engine, Dying(ledger=sending.ledger))
    elif sending.failing:
        watch(database.engine, Failing(ledger=sending.failing))
    elif sending.dawdle:
        watch(database.engine, Dawdling(seconds=sending.dawdle))
    clock, sleep = Clock(), (lambda _: None) if sending.failing else time.sleep
    while True:
        with closing(open_transport(settings)) as transport:
            report = send(database, NAME, transport, KEYS, settings, now_fn=clock, sleep=sleep)
        if not (report.waits and report.next_at):
            break
        clock.skip_to(report.next_at)
    sys.exit(int(report.books.open > 0))
