"""The lease of a run: a row that its process renews, and a limit that it checks against its own clock.

A run that doesn't renew its lease is silent: its machine or process died, or is frozen. Others then take away its
claims and increment the row's epoch (`dead_runs`), so that it can't hand anything over if it wakes up. It won't try,
since its own limit is shorter and measured by CLOCK_BOOTTIME (clock_gettime(2)), which runs while the machine sleeps
and can't be set. Others measure by the database's clock, which they share.
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
    """Keeps the lease of one run, for a number of seconds after each renewal."""

    epoch = 1

    def __init__(self, database: Database, owner: str, home: str, seconds: float) -> None:
        self.owner = owner
        self._database = database
        self._home = home
        self._seconds = seconds
        self._valid_until = 0.0  # by CLOCK_BOOTTIME
        self.is_lost = False  # another process took away the claims

    @property
    def is_valid(self) -> bool:
        """Whether the run may hand anything over, checked before each batch and before completing each message."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) < self._valid_until and not self.is_lost

    def ensure_valid(self) -> None:
        """Renew the lease now if it isn't valid, since the renewing thread is late after an outage."""
        if not self.is_valid:
            self.renew()

    def begin(self) -> None:
        """Store the lease. Idempotent."""
        began = time.clock_gettime(time.CLOCK_BOOTTIME)
        with self._database.write() as session:
            row = {
                "owner": self.owner,
                "epoch": self.epoch,
                "home": self._home,
                "beat_at": select_database_time(session),
            }
            session.execute(upsert(session, RunLease).values(row).on_conflict_do_nothing())
        self._valid_until = began + self._seconds * OWN_SHARE

    def renew(self) -> None:
        """Renew the lease, unless it was lost."""
        began = time.clock_gettime(time.CLOCK_BOOTTIME)
        own = (RunLease.owner == self.owner, RunLease.epoch == self.epoch)
        with self._database.write() as session:
            renewed = update(RunLease).where(*own).values(beat_at=select_database_time(session))
            changed = session.connection().execute(renewed).rowcount
        if changed:
            self._valid_until = began + self._seconds * OWN_SHARE
        else:
            self.is_lost = True

    def end(self) -> None:
        """Delete the lease, unless claims are left, in which case others will find it silent."""
        claims = select(Delivery.id).where(IS_CLAIMED, Delivery.owner == self.owner)
        with self._database.write() as session:
            session.execute(delete(RunLease).where(RunLease.owner == self.owner, ~claims.exists()))

    def renew_until(self, is_over: threading.Event) -> None:
        """Renew the lease at intervals, in a separate thread."""
        while not is_over.wait(self._seconds / BEATS_PER_LEASE):
            # The run itself waits for an unavailable database.
            with suppress(DBAPIError, OSError):
                self.renew()


@contextmanager
def keep_lease(
    database: Database,
    owner: str,
    settings: Settings,
    retry: Callable[[Callable[[], Any]], Any] = lambda step: step(),
) -> Iterator[LeaseKeeper]:
    """Keep a run's lease for the duration of the block. `retry` runs the steps that need the database."""
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
    """Return a text that identifies the folder of this installation's run files across machines."""
    return f"{socket.gethostname()}:{settings.runs_folder.absolute()}"


def select_database_time(session: Session) -> ColumnElement[float]:
    """Return an SQL expression for the database's time, in seconds since 1970."""
    if is_postgresql(session):
        return cast(extract("epoch", func.clock_timestamp()), Double)
    return (func.julianday("now") - _UNIX_EPOCH_JULIAN) * 86400.0
