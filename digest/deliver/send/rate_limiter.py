"""The rate limiter of one run: the limits of the settings against what the whole installation handed over.

Where the settings limit nothing, nothing is counted, and a send runs no statement for this.
"""

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from digest.deliver.control import installation_hold
from digest.deliver.send.rate_limits import (
    DAY,
    MINUTE,
    DomainLimits,
    SendAllowance,
    TokenBucket,
    allowance_under_limits,
    current_rate_limits,
)
from digest.settings import LimitSettings
from digest.store.delivery_models import HandoverCount
from digest.store.engine import Database
from subscribers.address import Address
from subscribers.crypto.keys import KeyRing
from subscribers.crypto.stored_addresses import domain_tag
from subscribers.store.database import upsert

FIRST_HANDOVER_KEY = "first handed over"  # the installation state that says since when a new sender warms up
COUNTS_KEPT_FOR = 2 * DAY


@dataclass(slots=True)
class RateLimiter:
    """Decides how many messages one run may hand over now; it serves one thread."""

    limits: LimitSettings
    domain_limits: DomainLimits
    token_bucket: TokenBucket
    first_handover_at: datetime | None = None
    _first_handover_read: bool = field(default=False)

    @classmethod
    def from_settings(cls, limits: LimitSettings, keys: KeyRing) -> "RateLimiter":
        """Make the rate limiter of a run from the settings."""
        caps = {
            domain_tag(keys, Address("x", domain.lower())): most for domain, most in limits.domains_per_hour.items()
        }
        return cls(limits, DomainLimits(caps), TokenBucket(limits.send_per_second))

    @property
    def has_limits(self) -> bool:
        """Whether what is handed over has to be counted."""
        return bool(self.limits.send_per_second or self.limits.send_per_hour or self.limits.warm_up)

    def current_allowance(self, session: Session, requested: int, now: datetime) -> SendAllowance:
        """Return how many of `requested` messages may leave now; other processes wait until this transaction ends."""
        if not self.has_limits:
            return SendAllowance(requested)
        from_bucket = self.token_bucket.current_allowance(now)
        if not from_bucket.messages:
            return from_bucket
        _add_to_minute(session, 0, now)  # takes the row's lock
        rate_limits = current_rate_limits(self.limits, self._first_handover(session), now)
        if not rate_limits:
            return SendAllowance(requested)
        longest = max(limit.span for limit in rate_limits)
        query = select(HandoverCount.minute, HandoverCount.messages).where(
            HandoverCount.minute > now - longest - MINUTE
        )
        counts = [(row.minute, row.messages) for row in session.execute(query)]
        allowance = allowance_under_limits(rate_limits, counts, now)
        messages = min(requested, from_bucket.messages, allowance.messages)
        return SendAllowance(messages, allowance.available_at, allowance.reason)

    def count_messages(self, session: Session, messages: int, now: datetime) -> None:
        """Count messages in the transaction that claims them."""
        if messages and self.has_limits:
            self.token_bucket.take(messages)
            if self._first_handover(session) is None:
                installation_hold.write_installation_state(
                    session, FIRST_HANDOVER_KEY, {"at": now.isoformat()}, now=now
                )
                self.first_handover_at = now
            _add_to_minute(session, messages, now)

    def _first_handover(self, session: Session) -> datetime | None:
        if self.first_handover_at is None and not self._first_handover_read:
            stored = installation_hold.read_installation_state(session, FIRST_HANDOVER_KEY)
            self.first_handover_at = datetime.fromisoformat(stored["at"]) if stored else None
            self._first_handover_read = True
        return self.first_handover_at


def _add_to_minute(session: Session, messages: int, now: datetime) -> None:
    row = {"minute": now.replace(second=0, microsecond=0), "messages": messages}
    insert = upsert(session, HandoverCount).values(**row)
    change = {"messages": HandoverCount.messages + messages}
    session.execute(insert.on_conflict_do_update(index_elements=["minute"], set_=change))


def delete_old_counts(database: Database, *, now: datetime) -> int:
    """Delete counts that no limit reads any more; return how many."""
    with database.write() as session:
        statement = delete(HandoverCount).where(HandoverCount.minute < now - COUNTS_KEPT_FOR)
        return session.connection().execute(statement).rowcount
