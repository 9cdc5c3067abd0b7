"""Retrying during a database outage, so that it pauses a send without ending it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from subscribers.loggers import get_logger

MAX_TOTAL_WAIT = timedelta(minutes=15)  # then the run ends, and the schedule tries again
FIRST_PAUSE, MAX_PAUSE = 1.0, 5.0  # seconds between attempts, which cost almost nothing

T = TypeVar("T")

log = get_logger("sending")


@dataclass(slots=True)
class DatabaseRetry:
    """A runner that repeats steps for as long as the database is unavailable.

    `sleep` waits for a number of seconds. `stopping` returns True if the process is about to end.
    `discard_connections` discards other connections to the database. `commit_in_doubt` is set by a failure,
    because the commit may have succeeded anyway. The code that checks whether it did must clear it.
    """

    sleep: Callable[[float], object]
    stopping: Callable[[], bool]
    discard_connections: Callable[[], object] = lambda: None
    commit_in_doubt: bool = False

    def __call__(self, step: Callable[[], T]) -> T:
        """Run a step, which must be idempotent, and return its result.

        Raises:
            DBAPIError, OSError: the last failure, after 15 minutes or once `stopping`
                returns True. Other errors are raised immediately.
        """
        waited, pause = 0.0, FIRST_PAUSE
        while True:
            try:
                result = step()
            except (DBAPIError, OSError) as exc:
                self.commit_in_doubt = True
                self.discard_connections()
                if not _is_unavailable(exc) or self.stopping() or waited >= MAX_TOTAL_WAIT.total_seconds():
                    raise
                if not waited:
                    log.warning("the database can't be reached, so sending waits", why=_failure_summary(exc))
            else:
                if waited:
                    log.info("the database can be reached again, so sending continues", seconds=waited)
                return result
            self.sleep(pause)
            waited, pause = waited + pause, min(pause * 2, MAX_PAUSE)


def _is_unavailable(exc: DBAPIError | OSError) -> bool:
    """Return True if waiting may make an error go away.

    It may if there's no connection, a long-held lock, or a full disk, including that of the
    unsubscribe log.
    """
    return isinstance(exc, OSError | OperationalError | InterfaceError) or exc.connection_invalidated


def _failure_summary(exc: DBAPIError | OSError) -> str:
    """Return the type and first line of an error. They contain no row values (`hide_parameters`)."""
    text = str(exc.orig) if isinstance(exc, DBAPIError) else exc.strerror
    return f"{type(exc).__name__}: {(text or '').strip().partition(chr(10))[0][:100]}"
