"""A database that is away for a while pauses a send, and does not end it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import structlog
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

MAX_TOTAL_WAIT = timedelta(minutes=15)  # then the run ends, and the timetable tries again by itself
FIRST_PAUSE, MAX_PAUSE = 1.0, 30.0  # seconds between two tries

T = TypeVar("T")

log = structlog.get_logger("sending")


@dataclass(slots=True)
class DatabaseRetry:
    """Takes steps that touch the database, again and again while it is out of reach.

    `sleep` waits for so many seconds, `stopping` says whether nobody wants to wait any more. `commit_in_doubt` is set by a
    failure, until somebody takes care of it: a commit may have come through that seemed lost.
    """

    sleep: Callable[[float], object]
    stopping: Callable[[], bool]
    commit_in_doubt: bool = False

    def __call__(self, step: Callable[[], T]) -> T:
        """Take a step; it must do no harm when it is taken twice.

        Raises:
            DBAPIError, OSError: the last failure, after 15 minutes or once `stopping`; other errors at once.
        """
        waited, rest = 0.0, FIRST_PAUSE
        while True:
            try:
                return step()
            except (DBAPIError, OSError) as exc:
                self.commit_in_doubt = True
                if not _is_unavailable(exc) or self.stopping() or waited >= MAX_TOTAL_WAIT.total_seconds():
                    raise
                log.warning(
                    "the database is out of reach; sending waits for it", why=_failure_summary(exc), seconds=rest
                )
            self.sleep(rest)
            waited, rest = waited + rest, min(rest * 2, MAX_PAUSE)


def _is_unavailable(exc: DBAPIError | OSError) -> bool:
    """Whether waiting may help: no connection, a lock held for long, a full disk, the journal's too."""
    return isinstance(exc, OSError | OperationalError | InterfaceError) or exc.connection_invalidated


def _failure_summary(exc: DBAPIError | OSError) -> str:
    """Name what is wrong by its kind and first line: no values stand in it (`hide_parameters`)."""
    said = str(exc.orig) if isinstance(exc, DBAPIError) else exc.strerror
    return f"{type(exc).__name__}: {(said or '').strip().partition(chr(10))[0][:100]}"
