"""Records of which imports are currently running.

Each is renewed by its process until the import ends or the process is gone.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from digest.deliver.control.installation_hold import (
    delete_installation_value,
    read_installation_value,
    write_installation_value,
)
from digest.store.engine import Database
from digest.store.process_identity import identify_current_process
from subscribers.transfer.import_batches import UnfinishedImport, list_unfinished_imports

RENEWAL_SECONDS = 60.0
# A process on another machine can't be checked, so its record is trusted for this long.
TRUSTED_FOR = timedelta(minutes=5)


@contextmanager
def mark_import_running(database: Database, file_hash: str, *, now: datetime) -> Iterator[Callable[[], None]]:
    """Record that this process is importing a file while the block runs.

    Yield the function that renews the record.
    """
    begun = renewed = time.monotonic()

    def write() -> None:
        at = now + timedelta(seconds=time.monotonic() - begun)
        with database.write() as session:
            state = {"owner": str(identify_current_process()), "at": at.isoformat()}
            write_installation_value(session, _state_key(file_hash), state, now=at)

    def renew() -> None:
        nonlocal renewed
        if time.monotonic() - renewed >= RENEWAL_SECONDS:
            renewed = time.monotonic()
            write()

    write()
    try:
        yield renew
    finally:
        # A database failure must not hide the reason that the import ended. The record expires
        # anyway.
        with suppress(SQLAlchemyError), database.write() as session:
            delete_installation_value(session, _state_key(file_hash))


def list_idle_imports(session: Session, now: datetime) -> list[UnfinishedImport]:
    """Return the unfinished imports that no process is working on."""
    return [
        unfinished for unfinished in list_unfinished_imports(session) if not is_import_running(session, unfinished, now)
    ]


def is_import_running(session: Session, unfinished: UnfinishedImport, now: datetime) -> bool:
    """Return True if a process is working on an import."""
    state = read_installation_value(session, _state_key(unfinished.file_hash))
    if state is None or identify_current_process().knows_dead(state["owner"]):
        return False
    return now - datetime.fromisoformat(state["at"]) < TRUSTED_FOR


def _state_key(file_hash: str) -> str:
    return f"import at work {file_hash[:40]}"
