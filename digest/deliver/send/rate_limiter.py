"""The pace of one run: the bounds of the settings against what the whole installation handed over.

Where nothing is bounded nothing is counted, and a send costs what it costs without this.
"""

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from digest.deliver.control import installation_state
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

FIRST_HANDOVER_KEY = "first handed over"  # the memo that says since when a new sender warms up
COUNTS_KEPT_FOR = 2 * DAY


@dataclass(slots=True)
class RateLimiter:
    """What one run knows of its pace; it serves one thread."""

    limits: LimitSettings
    domain_limits: DomainLimits
    token_bucket: TokenBucket
    first_handover_at: datetime | None = None
    _first_handover_read: bool = field(default=False)

    @classmethod
    def from_settings(cls, limits: LimitSettings, keys: KeyRing) -> "RateLimiter":
        """Make the pace of a run out of the settings."""
        caps = {
            domain_tag(keys, Address("x", domain.lower())): most for domain, most in limits.domains_per_hour.items()
        }
        return cls(limits, DomainLimits(caps), TokenBucket(limits.send_per_second))

    @property
    def has_limits(self) -> bool:
        """Whether what is handed over has to be counted."""
        return bool(self.limits.send_per_second or self.limits.send_per_hour or self.limits.warm_up)

    def current_allowance(self, session: Session, wanted: int, now: datetime) -> SendAllowance:
        """Say how many of `wanted` messages may leave now; other processes wait until this transaction ends."""
        if not self.has_limits:
            return SendAllowance(wanted)
        smooth = self.token_bucket.current_allowance(now)
        if not smooth.messages:
            return smooth
        _add_to_minute(session, 0, now)  # takes the row's lock
        bounds = current_rate_limits(self.limits, self._first_handover(session), now)
        if not bounds:
            return SendAllowance(wanted)
        longest = max(bound.span for bound in bounds)
        query = select(HandoverCount.minute, HandoverCount.messages).where(
            HandoverCount.minute > now - longest - MINUTE
        )
        found = allowance_under_limits(bounds, [(row.minute, row.messages) for row in session.execute(query)], now)
        return SendAllowance(min(wanted, smooth.messages, found.messages), found.available_at, found.reason)

    def count_messages(self, session: Session, messages: int, now: datetime) -> None:
        """Count messages in the transaction that claims them."""
        if messages and self.has_limits:
            self.token_bucket.take(messages)
            if self._first_handover(session) is None:
                installation_state.write_installation_state(
                    session, FIRST_HANDOVER_KEY, {"at": now.isoformat()}, now=now
                )
                self.first_handover_at = now
            _add_to_minute(session, messages, now)

    def _first_handover(self, session: Session) -> datetime | None:
        if self.first_handover_at is None and not self._first_handover_read:
            found = installation_state.read_installation_state(session, FIRST_HANDOVER_KEY)
            self.first_handover_at, self._first_handover_read = (
                datetime.fromisoformat(found["at"]) if found else None,
                True,
            )
        return self.first_handover_at


def _add_to_minute(session: Session, messages: int, now: datetime) -> None:
    row = {"minute": now.replace(second=0, microsecond=0), "messages": messages}
    put = upsert(session, HandoverCount).values(**row)
    more = {"messages": HandoverCount.messages + messages}
    session.execute(put.on_conflict_do_update(index_elements=["minute"], set_=more))


def delete_old_counts(database: Database, *, now: datetime) -> int:
    """Delete counts that no bound looks at any more; give how many."""
    with database.write() as session:
        old = delete(HandoverCount).where(HandoverCount.minute < now - COUNTS_KEPT_FOR)
        return session.connection().execute(old).rowcount
