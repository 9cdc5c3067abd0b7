"""The lease of a run: a row that its process renews, and a time limit that it checks against its own clock.

If a run doesn't renew its lease, its machine or process may have died or been suspended. Other
processes then take over its claims and increment the row's epoch (`dead_runs`), so that it can't
hand anything over if it continues. It won't try to, because its own time limit is shorter and
measured by CLOCK_BOOTTIME (clock_gettime(2)), which keeps running while the machine is suspended
and can't be set. Other processes use the database's clock, which they share.
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
_UNIX_EPOCH_JULIAN = 2440587.5  # in days: 1970-01-01

log = get_logger("sending")


class LeaseKeeper:
    """A keeper of one run's lease, which is valid for a number of seconds after each renewal."""

    epoch = 1

    def __init__(self, database: Database, owner: str, home: str, seconds: float) -> None:
        self.owner = owner
        self._database = database
        self._home = home
        self._seconds = seconds
        self._valid_until = 0.0  # by CLOCK_BOOTTIME
        self.is_lost = False  # another process has taken over the claims

    @property
    def is_valid(self) -> bool:
        """True if the run may hand over anything.

        It's checked before each batch and before each message is completed.
        """
        return time.clock_gettime(time.CLOCK_BOOTTIME) < self._valid_until and not self.is_lost

    def ensure_valid(self) -> None:
        """Renew the lease if it isn't valid.

        The renewing thread may be late after an outage.
        """
        if not self.is_valid:
            self.renew()

    def begin(self) -> None:
        """Store the lease for the first time. Idempotent."""
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
        """Delete the lease, unless claims are left.

        In that case, other processes take them over when the lease ends.
        """
        claims = select(Delivery.id).where(IS_CLAIMED, Delivery.owner == self.owner)
        with self._database.write() as session:
            session.execute(delete(RunLease).where(RunLease.owner == self.owner, ~claims.exists()))

    def renew_until(self, is_over: threading.Event) -> None:
        """Renew the lease at intervals until `is_over` is set. Run this method in a separate thread."""
        while not is_over.wait(self._seconds / BEATS_PER_LEASE):
            # The run itself waits if the database is unavailable.
            with suppress(DBAPIError, OSError):
                self.renew()


@contextmanager
def keep_lease(
    database: Database,
    owner: str,
    settings: Settings,
    retry: Callable[[Callable[[], Any]], Any] = lambda step: step(),
) -> Iterator[LeaseKeeper]:
    """Keep a run's lease for the duration of the block.

    `retry` runs the steps that need the database.
    """
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
    """Return a string that uniquely identifies this installation's folder of run files, even across machines."""
    return f"{socket.gethostname()}:{settings.runs_folder.absolute()}"


def select_database_time(session: Session) -> ColumnElement[float]:
    """Return an SQL expression for the database's time, in seconds since 1970."""
    if is_postgresql(session):
        return cast(extract("epoch", func.clock_timestamp()), Double)
    return (func.julianday("now") - _UNIX_EPOCH_JULIAN) * 86400.0
