"""The lease of a run: a row that its process renews while it lives, and a limit that it checks by its own clock.

A run that doesn't renew its lease is silent: its machine died, or its process is frozen. Others then take its claims away and
raise the row's epoch (`dead_runs`), so that it can hand nothing over if it wakes up. It doesn't try: its own limit comes before
theirs, and is measured by CLOCK_BOOTTIME (clock_gettime(2)), which goes on while a machine sleeps and which no one sets.
Others measure by the database's clock, which all of them share.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import ColumnElement, Double, cast, delete, extract, func, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from digest.deliver.plan.delivery_plan import IS_CLAIMED
from digest.settings import Settings
from digest.store.delivery_models import Delivery, RunLease
from digest.store.engine import Database
from subscribers.loggers import get_logger
from subscribers.store.database import is_postgresql, upsert

BEATS_PER_LEASE = 6
OWN_SHARE = 2 / 3  # of its lease, after which a run hands nothing over
_UNIX_EPOCH_JULIAN = 2440587.5  # days: 1970-01-01

log = get_logger("sending")


class LeaseKeeper:
    """Keeps the lease of one run, for so many seconds after each renewal."""

    epoch = 1

    def __init__(self, database: Database, owner: str, home: str, seconds: float) -> None:
        self.owner = owner
        self._database = database
        self._home = home
        self._seconds = seconds
        self._valid_until = 0.0  # by CLOCK_BOOTTIME
        self.is_lost = False  # another process took the claims away

    @property
    def is_valid(self) -> bool:
        """Whether the run may hand anything over: asked before each batch and right before each message is complete."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) < self._valid_until and not self.is_lost

    def ensure_valid(self) -> None:
        """Renew the lease at once where it isn't valid: the thread that does it comes late after an outage."""
        if not self.is_valid:
            self.renew()

    def begin(self) -> None:
        """Store the lease. It may be repeated."""
        began = time.clock_gettime(time.CLOCK_BOOTTIME)
        with self._database.write() as session:
            row = {"owner": self.owner, "epoch": self.epoch, "home": self._home, "beat_at": database_clock(session)}
            session.execute(upsert(session, RunLease).values(row).on_conflict_do_nothing())
        self._valid_until = began + self._seconds * OWN_SHARE

    def renew(self) -> None:
        """Renew the lease, unless it was lost."""
        began = time.clock_gettime(time.CLOCK_BOOTTIME)
        own = (RunLease.owner == self.owner, RunLease.epoch == self.epoch)
        with self._database.write() as session:
            renewed = update(RunLease).where(*own).values(beat_at=database_clock(session))
            changed = session.connection().execute(renewed).rowcount
        if changed:
            self._valid_until = began + self._seconds * OWN_SHARE
        else:
            self.is_lost = True

    def end(self) -> None:
        """Delete the lease, unless claims are left: then others find it silent."""
        claims = select(Delivery.id).where(IS_CLAIMED, Delivery.owner == self.owner)
        with self._database.write() as session:
            session.execute(delete(RunLease).where(RunLease.owner == self.owner, ~claims.exists()))

    def renew_until(self, is_over: threading.Event) -> None:
        """Renew the lease at intervals, in a thread of its own."""
        while not is_over.wait(self._seconds / BEATS_PER_LEASE):
            # A database that is away is waited for by the run itself.
            with suppress(DBAPIError, OSError):
                self.renew()


@contextmanager
def keep_lease(
    database: Database, owner: str, settings: Settings, retry: Callable[[Callable[[], Any]], Any] = lambda step: step()
) -> Iterator[LeaseKeeper]:
    """Keep the lease of a run within the block. `retry` runs the steps that need the database."""
    keeper = LeaseKeeper(database, owner, make_run_folder_id(settings), settings.send_lease)
    retry(keeper.begin)
    is_over = threading.Event()
    thread = threading.Thread(target=keeper.renew_until, args=(is_over,), name="lease", daemon=True)
    database.kept_leases.add(owner)
    thread.start()
    try:
        yield keeper
        retry(keeper.end)
    finally:
        database.kept_leases.discard(owner)
        is_over.set()
        thread.join()


def make_run_folder_id(settings: Settings) -> str:
    """Return what tells the folder of this installation's run files from those of other machines and folders."""
    return f"{socket.gethostname()}:{settings.runs_folder.absolute()}"


def database_clock(session: Session) -> ColumnElement[float]:
    """Return the database's time, in seconds since 1970."""
    if is_postgresql(session):
        return cast(extract("epoch", func.clock_timestamp()), Double)
    return (func.julianday("now") - _UNIX_EPOCH_JULIAN) * 86400.0
