"""A cache of counts for large editions, refreshed every few seconds and after every action."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
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
from digest.installation.cached_counts import CachedCount, CachedCounts, start_thread
from digest.installation.opened_installation import Installation
from digest.store.models import AuditEntry, Edition, EditionState

RECOUNT_AFTER = timedelta(seconds=4)  # when an older count is read, a recount starts in the background
MAX_AGE_UNDER_WAY = timedelta(seconds=10)  # instead of an older count, the caller waits for a new one
MAX_AGE_OVER = timedelta(minutes=1)  # the same once sending is over and only late bounces change the count

Counted = TypeVar("Counted")


@dataclass(slots=True)
class CountCache:
    """A process's latest counts for large editions, keyed by what was counted.

    Counts of an edition with at most `max_at_once` messages aren't cached. `start_aside` runs work
    in the background.
    """

    max_at_once: int = 2_000
    start_aside: Callable[[Callable[[], object]], None] = start_thread
    _kept: CachedCounts = field(init=False)

    def __post_init__(self) -> None:
        """Create the cache. Its recounts are run by `start_aside`."""
        self._kept = CachedCounts(self.start_aside)

    def get_or_count(
        self,
        installation: Installation,
        counted_name: str,
        edition: str,
        count: Callable[[Session, Edition], Counted],
        *,
        now: datetime,
    ) -> Counted:
        """Return the result of `count` for an edition, from a snapshot that may be a few seconds old.

        The count of a large edition is used again for 10 seconds, or for a minute once sending is
        over, unless an action or a step of the send has changed the edition. When a count older
        than 4 seconds is read, a recount starts in a thread, one at a time.

        Raises:
            UnknownEditionError: there's no edition of that name.
        """
        with installation.database.snapshot() as session:
            row = find_edition(session, edition)
            if has_at_most_deliveries(session, make_edition_delivery_purpose(row.name), self.max_at_once):
                return count(session, row)
            version = _read_version(session, row)
        is_over = row.state not in (EditionState.APPROVED, EditionState.SENDING)
        max_age = MAX_AGE_OVER if is_over else MAX_AGE_UNDER_WAY

        def count_anew() -> CachedCount:
            with installation.database.snapshot() as session:
                counted = find_edition(session, edition)
                result, read_version = count(session, counted), _read_version(session, counted)
            good_until, shown_until = (now + age for age in (RECOUNT_AFTER, max_age))
            return CachedCount(result, good_until.timestamp(), shown_until.timestamp(), read_version)

        kept = self._kept.get((counted_name, edition), count_anew, now=now.timestamp(), version=version)
        result: Counted = kept.result  # type: ignore[assignment]  # a key has one kind of count
        return result


def _read_version(session: Session, edition: Edition) -> Hashable:
    """Return a value that identifies the current state of an edition and its sending.

    It changes with every action on the edition or on all sending, and with every step of the send.
    """
    # Audit rows are only ever added, so their number identifies the state of the log.
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
    """Return the delivery counts of an edition.

    A count from the cache `recent` may be a few seconds old.

    Raises:
        UnknownEditionError: there's no edition of that name.
    """
    if recent is not None:
        return recent.get_or_count(installation, "deliveries", edition, _count_states, now=now)
    with installation.database.snapshot() as session:
        return _count_states(session, find_edition(session, edition))


def _count_states(session: Session, edition: Edition) -> DeliveryCounts:
    return count_deliveries(session, make_edition_delivery_purpose(edition.name))
