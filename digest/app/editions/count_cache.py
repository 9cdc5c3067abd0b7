"""Cached counts over large editions, refreshed every few seconds and after every action."""

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from digest.deliver.control import installation_hold
from digest.deliver.plan.delivery_plan import (
    DeliveryCounts,
    count_deliveries,
    has_at_most_deliveries,
    make_edition_delivery_purpose,
)
from digest.edition.edition_queries import find_edition
from digest.installation import sending_pause
from digest.installation.opened_installation import Installation
from digest.store.models import AuditEntry, Edition, EditionState
from subscribers.loggers import get_logger

RECOUNT_AFTER = timedelta(seconds=4)  # reading an older count starts a recount in the background
MAX_AGE_UNDER_WAY = timedelta(seconds=10)  # a reader waits rather than get an older count
MAX_AGE_OVER = timedelta(minutes=1)  # the same once sending is over, when only late bounces change the count

Counted = TypeVar("Counted")

log = get_logger("sending")


@dataclass(slots=True)
class _KeptCount:
    """A count, the version of the edition that it's for, and when it was made."""

    result: object
    version: Hashable
    counted_at: datetime
    is_recounting: bool = False


def _start_thread(task: Callable[[], object]) -> None:
    threading.Thread(target=task, name="recount", daemon=True).start()


@dataclass(slots=True)
class CountCache:
    """The latest counts over large editions in one process, by what was counted. It lives as long as the application.

    An edition of at most `max_at_once` messages is always counted. `start_aside` runs work in the background.
    """

    max_at_once: int = 2_000
    start_aside: Callable[[Callable[[], object]], None] = _start_thread
    _kept: dict[Hashable, _KeptCount] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _turns: dict[Hashable, threading.Lock] = field(default_factory=dict)

    def count_or_recall(
        self,
        installation: Installation,
        counted_name: str,
        edition: str,
        count: Callable[[Session, Edition], Counted],
        *,
        now: datetime,
    ) -> Counted:
        """Return the result of `count` for an edition, from one snapshot that may be a few seconds old.

        A count of a large edition is reused for 10 seconds, or a minute once sending is over, unless an action or a
        step of the send has changed the edition. Reading one older than 4 seconds starts a recount in a thread, one at
        a time.

        Raises:
            UnknownEditionError: there's no edition of that name.
        """
        with installation.database.snapshot() as session:
            row = find_edition(session, edition)
            if has_at_most_deliveries(session, make_edition_delivery_purpose(row.name), self.max_at_once):
                return count(session, row)
            version = _read_version(session, row)
            is_over = row.state not in (EditionState.APPROVED, EditionState.SENDING)
        key, max_age = (counted_name, row.name), MAX_AGE_OVER if is_over else MAX_AGE_UNDER_WAY

        def count_anew() -> Counted:
            return self._count(installation, key, count, now)

        with self._turn_of(key):  # callers that arrive during a count wait for it
            cached = self._kept.get(key)
            if (
                cached is None
                or cached.version != version
                or not cached.counted_at <= now < cached.counted_at + max_age
            ):
                return count_anew()
            if cached.counted_at + RECOUNT_AFTER <= now and not cached.is_recounting:
                cached.is_recounting = True
                self.start_aside(partial(_log_failure, count_anew, cached))
        result: Counted = cached.result  # type: ignore[assignment]  # a key has one kind of count
        return result

    def _turn_of(self, key: Hashable) -> threading.Lock:
        with self._lock:
            return self._turns.setdefault(key, threading.Lock())

    def _count(
        self,
        installation: Installation,
        key: tuple[str, str],
        count: Callable[[Session, Edition], Counted],
        now: datetime,
    ) -> Counted:
        with installation.database.snapshot() as session:
            edition = find_edition(session, key[1])
            version, result = _read_version(session, edition), count(session, edition)
        with self._lock:
            cached = self._kept.get(key)
            if cached is None or cached.counted_at <= now:  # a thread that began earlier may end later
                self._kept[key] = _KeptCount(result, version, now)
        return result


def _log_failure(count_anew: Callable[[], object], cached: _KeptCount) -> None:
    """Recount in the background; after a failure, the next read starts another."""
    try:
        count_anew()
    except Exception as exc:  # noqa: BLE001 - only its type is logged, because a trace may quote rows
        log.warning("a background count failed", error=type(exc).__name__)
        cached.is_recounting = False


def _read_version(session: Session, edition: Edition) -> Hashable:
    """Return a value that changes with every action on the edition or on all sending, and every step of the send."""
    # Audit rows are only ever appended, so their number identifies the log's state.
    subjects = [edition.name, sending_pause.INSTALLATION]
    acts = select(func.count()).where(AuditEntry.subject.in_(subjects))
    return (
        edition.state,
        edition.planned_at,
        edition.planned,
        edition.sent_at,
        edition.paused_at,
        edition.resumed_at,
        edition.canary,
        edition.canary_until,
        installation_hold.read_current_hold(session),
        session.scalar(acts),
    )


def count_edition_deliveries(
    installation: Installation, edition: str, recent: CountCache | None, *, now: datetime
) -> DeliveryCounts:
    """Count an edition's deliveries, or return a count from `recent` that may be a few seconds old.

    Raises:
        UnknownEditionError: there's no edition of that name.
    """
    if recent is not None:
        return recent.count_or_recall(installation, "deliveries", edition, _count_states, now=now)
    with installation.database.snapshot() as session:
        return _count_states(session, find_edition(session, edition))


def _count_states(session: Session, edition: Edition) -> DeliveryCounts:
    return count_deliveries(session, make_edition_delivery_purpose(edition.name))
