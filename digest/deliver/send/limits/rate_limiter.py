"""The rate limiter of a run, which checks what the whole installation has sent against the limits in the settings.

If the settings contain no limits, nothing is counted, and no database queries are needed.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from digest.deliver.control import installation_hold
from digest.deliver.plan.domain_groups import load_domain_group_tags
from digest.deliver.send.limits.rate_limits import (
    DAY,
    MINUTE,
    DomainLimits,
    RateUsage,
    RollingWindowRate,
    SendAllowance,
    compute_send_allowance,
    list_current_rate_limits,
)
from digest.settings import UsageLimitSettings
from digest.store.delivery_models import ProviderHandoverCount, SendSpacingState
from digest.store.engine import Database
from subscribers.address import Address
from subscribers.crypto.keys import KeyRing
from subscribers.crypto.stored_addresses import make_domain_tag
from subscribers.store.database import upsert

# The key of the time when a new sender started to warm up.
FIRST_HANDOVER_KEY = "first handed over"
COUNTS_KEPT_FOR = 2 * DAY
# The name of the installation's row. Other rows are named by a domain's tag.
_WHOLE_INSTALLATION = "all"
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
_TICK = timedelta(milliseconds=1)  # the unit of stored times, which are counted from _LONG_AGO


@dataclass(slots=True)
class RateLimiter:
    """A limiter of the number of messages that a run may hand over now. Not thread-safe."""

    limits: UsageLimitSettings
    domain_limits: DomainLimits
    first_handover_at: datetime | None = None
    _usage: RateUsage | None = None  # for the limit per second, as read by this transaction

    @classmethod
    def from_settings(cls, database: Database, limits: UsageLimitSettings, keys: KeyRing) -> "RateLimiter":
        """Return a rate limiter that enforces the limits in the settings.

        Domains that share mail servers share the sum of their limits.
        """
        caps = {
            make_domain_tag(keys, Address("x", domain.lower())): most
            for domain, most in limits.domains_per_hour.items()
        }
        shared_caps: Counter[str] = Counter()
        if caps:
            with database.read() as session:
                groups = load_domain_group_tags(session, caps)
            for tag, most in caps.items():
                shared_caps[groups[tag]] += most
        return cls(limits, DomainLimits(shared_caps))

    @property
    def has_limits(self) -> bool:
        """True if there are any limits, so that messages have to be counted."""
        return bool(self.limits.send_per_second or self._is_counted_by_minute)

    @property
    def _is_counted_by_minute(self) -> bool:
        return bool(self.limits.send_per_hour or self.limits.warm_up)

    @property
    def _rate(self) -> RollingWindowRate:
        return RollingWindowRate.from_limit(self.limits.send_per_second)

    def find_allowance(
        self,
        session: Session,
        requested: int,
        clock: Callable[[], datetime],
    ) -> SendAllowance:
        """Return how many of `requested` messages may be sent.

        If there's a limit, other processes wait for the end of this transaction. The clock is read
        after waiting for them.
        """
        if self.limits.send_per_second:
            # Several processes wake up at the same moment, so only lock the row if something is available.
            available, ready_at = self._rate.compute_allowance(_read_usage(session), clock())
            if available:
                self._usage = _lock_usage(session)
                available, ready_at = self._rate.compute_allowance(self._usage, clock())
            requested = min(requested, available)
            if not available:
                reason = f"the limit of {self.limits.send_per_second:g} messages per second was reached"
                return SendAllowance(0, ready_at, reason)
        if not self._is_counted_by_minute:
            return SendAllowance(requested)
        _add_to_minute(session, 0, clock())  # locks the row
        now = clock()
        rate_limits = list_current_rate_limits(self.limits, self._first_handover(session, now), now)
        if not rate_limits:
            return SendAllowance(requested)
        longest = max(limit.span for limit in rate_limits)
        query = select(ProviderHandoverCount.minute, ProviderHandoverCount.messages).where(
            ProviderHandoverCount.minute > now - longest - MINUTE
        )
        counts = [(row.minute, row.messages) for row in session.execute(query)]
        allowance = compute_send_allowance(rate_limits, counts, now)
        return SendAllowance(min(requested, allowance.messages), allowance.available_at, allowance.reason)

    def count_messages(self, session: Session, messages: int, now: datetime) -> datetime | None:
        """Count messages within the transaction that claims them, and return when more may be sent.

        Return None if more may be sent now.
        """
        usage, self._usage = self._usage, None
        if not messages or not self.has_limits:
            return None
        if self._first_handover(session, now) is None:
            installation_hold.write_installation_value(session, FIRST_HANDOVER_KEY, {"at": now.isoformat()}, now=now)
        if self._is_counted_by_minute:
            _add_to_minute(session, messages, now)
        if not self.limits.send_per_second:
            return None
        usage = self._rate.add_messages(usage or _lock_usage(session), messages, now)
        _save_usage(session, usage)
        available, ready_at = self._rate.compute_allowance(usage, now)
        return None if available else ready_at

    def count_urgent_messages(self, session: Session, messages: int, now: datetime) -> None:
        """Count messages that are exempt from the limits, within the transaction that claims them.

        They make other messages wait longer.
        """
        self._usage = None
        self.count_messages(session, messages, now)

    def _first_handover(self, session: Session, now: datetime) -> datetime | None:
        """Return when this installation first handed over a message.

        Return None if it never has, or if the stored time is in the future.
        """
        if self.first_handover_at is None:
            self.first_handover_at = read_first_handover(session, now)
        return self.first_handover_at


def read_first_handover(session: Session, now: datetime) -> datetime | None:
    """Return when this installation first handed over a message under a limit.

    Return None if it never has, or if the stored time is in the future.
    """
    stored = installation_hold.read_installation_value(session, FIRST_HANDOVER_KEY)
    first = datetime.fromisoformat(stored["at"]) if stored else None
    return first if first and first <= now else None


@dataclass(slots=True)
class DomainLimitClaim:
    """The domain limits as applied to the messages of one claim.

    The first message to a limited domain locks the rows of all limits.
    """

    session: Session
    limits: DomainLimits
    now: datetime
    _is_begun: bool = False

    def take_turn(self, domain_tag: str | None, *, fresh: bool) -> datetime | None:
        """Count a message that may be sent now and return None, or return when the postponed message may be sent."""
        if not self._is_begun and domain_tag in self.limits.by_domain:
            self.limits.begin_claim(_lock_ready_times(self.session, self.limits.by_domain), self.now)
            self._is_begun = True
        return self.limits.take_turn(domain_tag, self.now, fresh=fresh)

    def save(self) -> None:
        """Store when more messages may be sent to each domain that was used."""
        if self._is_begun:
            _save_ready_times(self.session, self.limits.ready_times())


def _read_usage(session: Session, *, lock: bool = False) -> RateUsage:
    """Return the messages counted against the limit per second."""
    query = select(SendSpacingState.ready_at, SendSpacingState.recent).where(
        SendSpacingState.name == _WHOLE_INSTALLATION
    )
    row = session.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        return RateUsage()
    return RateUsage(row.ready_at, tuple((_LONG_AGO + _TICK * ticks, count) for ticks, count in row.recent or ()))


def _lock_usage(session: Session) -> RateUsage:
    """Lock and return the messages counted against the limit per second.

    Other processes wait until this transaction ends.
    """
    usage = _read_usage(session, lock=True)
    if usage != RateUsage():
        return usage
    _lock_ready_times(session, [_WHOLE_INSTALLATION])  # for the first message ever
    return _read_usage(session)


def _save_usage(session: Session, usage: RateUsage) -> None:
    recent = [(-((_LONG_AGO - moment) // _TICK), count) for moment, count in usage.recent]  # rounded up
    row = {"name": _WHOLE_INSTALLATION, "ready_at": usage.paid_until, "recent": recent}
    session.execute(update(SendSpacingState), [row])


def _lock_ready_times(session: Session, names: Collection[str]) -> dict[str, datetime]:
    """Lock the given limits, and return when each allows more messages.

    Other processes wait until this transaction ends.
    """
    query = select(SendSpacingState.name, SendSpacingState.ready_at).where(SendSpacingState.name.in_(names))
    query = query.order_by(SendSpacingState.name).with_for_update()
    ready_times = {row.name: row.ready_at for row in session.execute(query)}
    if missing := sorted(set(names) - ready_times.keys()):
        rows = [{"name": name, "ready_at": _LONG_AGO} for name in missing]
        session.execute(upsert(session, SendSpacingState).on_conflict_do_nothing(), rows)
        ready_times = {row.name: row.ready_at for row in session.execute(query)}
    return ready_times


def _save_ready_times(session: Session, ready_times: Mapping[str, datetime]) -> None:
    if ready_times:
        session.execute(update(SendSpacingState), [{"name": n, "ready_at": at} for n, at in ready_times.items()])


def _add_to_minute(session: Session, messages: int, now: datetime) -> None:
    row = {"minute": now.replace(second=0, microsecond=0), "messages": messages}
    insert = upsert(session, ProviderHandoverCount).values(**row)
    change = {"messages": ProviderHandoverCount.messages + messages}
    session.execute(insert.on_conflict_do_update(index_elements=["minute"], set_=change))


def delete_old_counts(database: Database, *, now: datetime) -> int:
    """Delete rows that limits no longer need, and return the number of deleted minutes."""
    long_ago = now - COUNTS_KEPT_FOR
    with database.write() as session:
        session.execute(delete(SendSpacingState).where(SendSpacingState.ready_at < long_ago))
        return (
            session.connection()
            .execute(delete(ProviderHandoverCount).where(ProviderHandoverCount.minute < long_ago))
            .rowcount
        )
