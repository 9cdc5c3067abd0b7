"""How fast messages may leave: pure decisions over counts by minute, the time, and what servers answer.

Limits hold for the whole installation over sliding windows: an hour is any 60 minutes, a day any 24 hours. A minute's
count stays in the window until all of that minute has left it, so a limit is never exceeded, and used up a minute late.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from digest.deliver.events.failure_causes import parse_reply_codes
from digest.settings import LimitSettings

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
RECOVERY_INTERVAL = timedelta(minutes=5)  # without a refusal; then a domain gets twice as many
MAX_DOUBLINGS = 6  # after so many, a domain that nobody capped is free again
_NEVER = datetime(1, 1, 2, tzinfo=UTC)
_MAX_COUNTED_DOMAINS = 10_000  # whose messages of this minute are counted; the large ones come first


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `max_messages` in any window of `span`; `description` says so in words."""

    max_messages: int
    span: timedelta
    description: str


@dataclass(frozen=True, slots=True)
class SendAllowance:
    """How many messages may leave now; if none, `available_at` says from when some may, and `reason` why."""

    messages: int
    available_at: datetime | None = None
    reason: str = ""


def current_rate_limits(
    limits: LimitSettings, first_handover_at: datetime | None, now: datetime
) -> tuple[RateLimit, ...]:
    """Return the limits that hold now; `first_handover_at` is when this installation first handed something over.

    A new sender warms up: `limits.warm_up` names how many messages each of its first days may see.
    """
    rate_limits = []
    if limits.send_per_second:
        most = max(1, round(limits.send_per_second * 60))
        rate_limits.append(RateLimit(most, MINUTE, f"{limits.send_per_second:g} messages a second"))
    if limits.send_per_hour:
        rate_limits.append(RateLimit(limits.send_per_hour, HOUR, f"{limits.send_per_hour:,} messages an hour"))
    day = max(0, (now - first_handover_at) // DAY) if first_handover_at else 0
    if day < len(limits.warm_up):
        most = limits.warm_up[day]
        rate_limits.append(RateLimit(most, DAY, f"{most:,} messages on day {day + 1} of the warm-up"))
    return tuple(rate_limits)


def allowance_under_limits(
    rate_limits: Iterable[RateLimit], minute_counts: Iterable[tuple[datetime, int]], now: datetime
) -> SendAllowance:
    """Return how many messages the limits leave, given (minute, messages handed over in it)."""
    counts = sorted(minute_counts)
    allowances = [_allowance_under_limit(limit, counts, now) for limit in rate_limits]
    exhausted = [allowance for allowance in allowances if not allowance.messages]
    if exhausted:
        return max(exhausted, key=lambda allowance: allowance.available_at or now)
    return min(allowances, key=lambda allowance: allowance.messages)


def _allowance_under_limit(rate_limit: RateLimit, counts: list[tuple[datetime, int]], now: datetime) -> SendAllowance:
    inside = [(minute + MINUTE + rate_limit.span, count) for minute, count in counts]
    inside = [(leaves, count) for leaves, count in inside if leaves > now]
    used = sum(count for _, count in inside)
    if used < rate_limit.max_messages:
        return SendAllowance(rate_limit.max_messages - used)
    free_at = now
    for leaves, count in inside:
        if used >= rate_limit.max_messages:
            used, free_at = used - count, leaves
    return SendAllowance(0, free_at, f"the bound of {rate_limit.description} is reached")


@dataclass(slots=True)
class TokenBucket:
    """Spreads a minute's messages over its seconds: at most a second's worth at once."""

    per_second: float
    tokens: float = 1.0
    updated_at: datetime | None = None

    def current_allowance(self, now: datetime) -> SendAllowance:
        """Return how many may leave now."""
        if not self.per_second:
            return SendAllowance(1_000_000)
        elapsed = (now - self.updated_at).total_seconds() if self.updated_at else 0.0
        self.tokens = min(max(1.0, self.per_second), self.tokens + max(0.0, elapsed) * self.per_second)
        self.updated_at = now
        if self.tokens >= 1.0:
            return SendAllowance(int(self.tokens))
        return SendAllowance(0, now + timedelta(seconds=(1.0 - self.tokens) / self.per_second), "the pace is set")

    def take(self, messages: int) -> None:
        """Count messages that leave."""
        self.tokens -= messages


def asks_to_slow_down(reply: str) -> bool:
    """Return whether a deferral asks for fewer messages (RFC 3463, classes 4.3, 4.4 and 4.7).

    Greylisting (4.7.1) and a full mailbox (4.2.2) are about one message.
    """
    code, statuses = parse_reply_codes("", reply)
    return code == "421" or any(s in {"4.3.2", "4.7.0", "4.7.28"} or s.startswith("4.4.") for s in statuses)


@dataclass(slots=True)
class _DomainLimit:
    """The messages of one domain that may leave in a minute, and those that are queued."""

    allowed_per_minute: int
    cap_per_minute: int | None  # by the settings; None: they say nothing
    slowed_at: datetime | None = None
    doublings: int = 0
    current_minute: datetime = _NEVER
    sent_this_minute: int = 0
    queue_minute: datetime = _NEVER  # the minute in which the next one to be queued leaves
    queued_in_minute: int = 0

    def postponed_until(self, minute: datetime, *, fresh: bool) -> datetime | None:
        """Return None for a message that may leave now, else when it leaves; a fresh one does not overtake."""
        if self.current_minute != minute:
            self.current_minute, self.sent_this_minute = minute, 0
        if self.sent_this_minute < self.allowed_per_minute and not (fresh and self.queue_minute > minute):
            self.sent_this_minute += 1
            return None
        if self.queue_minute <= minute:
            self.queue_minute, self.queued_in_minute = minute + MINUTE, 0
        elif self.queued_in_minute >= self.allowed_per_minute:
            self.queue_minute, self.queued_in_minute = self.queue_minute + MINUTE, 0
        self.queued_in_minute += 1
        return self.queue_minute + MINUTE * (self.queued_in_minute - 1) / self.allowed_per_minute

    def recover_allowance(self, now: datetime) -> bool:
        """Double the allowance for every interval without a refusal; return whether the domain is free again."""
        while self.slowed_at is not None and now - self.slowed_at >= RECOVERY_INTERVAL:
            self.slowed_at += RECOVERY_INTERVAL
            self.allowed_per_minute *= 2
            self.doublings += 1
            if self.cap_per_minute is not None and self.allowed_per_minute >= self.cap_per_minute:
                self.allowed_per_minute, self.slowed_at = self.cap_per_minute, None
        return self.cap_per_minute is None and self.doublings >= MAX_DOUBLINGS


@dataclass(slots=True)
class DomainLimits:
    """The domains that are limited by the minute: those with a cap, and those whose servers asked for less.

    It lives as long as one run. Domains are named by their tags.
    """

    caps_per_hour: Mapping[str, int] = field(default_factory=dict)  # messages an hour
    by_domain: dict[str, _DomainLimit] = field(default_factory=dict)
    current_minute: datetime = _NEVER
    seen_this_minute: Counter[str] = field(default_factory=Counter)

    def postponed_until(self, domain_tag: str | None, now: datetime, *, fresh: bool) -> datetime | None:
        """Return None for a message that may leave now, else the moment until which it is postponed.

        `fresh` tells that it was never postponed.
        """
        if domain_tag is None:
            return None
        minute = now.replace(second=0, microsecond=0)
        if self.current_minute != minute:
            self.current_minute = minute
            self.seen_this_minute.clear()
        limit = self.by_domain.get(domain_tag)
        if limit is None and (cap := self._cap_per_minute(domain_tag)):
            limit = self.by_domain[domain_tag] = _DomainLimit(cap, cap)
        if limit is None:
            if len(self.seen_this_minute) < _MAX_COUNTED_DOMAINS or domain_tag in self.seen_this_minute:
                self.seen_this_minute[domain_tag] += 1
            return None
        if limit.recover_allowance(now):
            del self.by_domain[domain_tag]
            return None
        return limit.postponed_until(minute, fresh=fresh)

    def slow_down_domain(self, domain_tag: str | None, now: datetime) -> bool:
        """Halve a domain's allowance, as its servers ask for, at most once a minute; return whether it was halved."""
        if domain_tag is None:
            return False
        limit = self.by_domain.get(domain_tag)
        if limit is not None and limit.slowed_at is not None and now - limit.slowed_at < MINUTE:
            return False
        if limit is None:
            cap = self._cap_per_minute(domain_tag)
            limit = self.by_domain[domain_tag] = _DomainLimit(cap or max(2, self.seen_this_minute[domain_tag]), cap)
        limit.allowed_per_minute, limit.slowed_at, limit.doublings = max(1, limit.allowed_per_minute // 2), now, 0
        return True

    def _cap_per_minute(self, domain_tag: str) -> int | None:
        per_hour = self.caps_per_hour.get(domain_tag)
        return None if per_hour is None else max(1, per_hour // 60)
