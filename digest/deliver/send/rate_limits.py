"""How fast messages may leave: pure decisions over counts by minute, a clock, and what servers answer.

Bounds hold for the whole installation and slide: an hour is any 60 minutes, a day any 24 hours. A minute's count
stays in the window until all of that minute has left it, so a bound is never passed, and reached a minute late.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from digest.deliver.events.failure_causes import parse_reply_codes
from digest.settings import LimitSettings

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
RECOVERY_INTERVAL = timedelta(minutes=5)  # without a refusal: then a domain gets twice as many
MAX_DOUBLINGS = 6  # after so many, a domain that nobody capped is free again
_NEVER = datetime(1, 1, 2, tzinfo=UTC)
_MAX_COUNTED_DOMAINS = 10_000  # whose messages of this minute are counted; the large ones come first


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `max_messages` messages in any `span`; `description` say so in a sentence."""

    max_messages: int
    span: timedelta
    description: str


@dataclass(frozen=True, slots=True)
class SendAllowance:
    """How many messages may leave now. Where it is none, `available_at` says from when, and `reason`."""

    messages: int
    available_at: datetime | None = None
    reason: str = ""


def current_rate_limits(
    limits: LimitSettings, first_handover_at: datetime | None, now: datetime
) -> tuple[RateLimit, ...]:
    """Give the bounds that hold now; `first_handover_at` is when this installation first handed something over.

    A new sender warms up: `limits.warm_up` names how many messages each of its first days may see.
    """
    found = []
    if limits.send_per_second:
        most = max(1, round(limits.send_per_second * 60))
        found.append(RateLimit(most, MINUTE, f"{limits.send_per_second:g} messages a second"))
    if limits.send_per_hour:
        found.append(RateLimit(limits.send_per_hour, HOUR, f"{limits.send_per_hour:,} messages an hour"))
    day = max(0, (now - first_handover_at) // DAY) if first_handover_at else 0
    if day < len(limits.warm_up):
        most = limits.warm_up[day]
        found.append(RateLimit(most, DAY, f"{most:,} messages on day {day + 1} of the warm-up"))
    return tuple(found)


def allowance_under_limits(
    rate_limits: Iterable[RateLimit], minute_counts: Iterable[tuple[datetime, int]], now: datetime
) -> SendAllowance:
    """Say how many messages the bounds leave, given (minute, messages handed over in it)."""
    counts = sorted(minute_counts)
    rooms = [_allowance_under_limit(bound, counts, now) for bound in rate_limits]
    full = [r for r in rooms if not r.messages]
    if full:
        return max(full, key=lambda r: r.available_at or now)
    return min(rooms, key=lambda r: r.messages)


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
    """Spreads what a minute may hold over its seconds: at most a second's worth at once."""

    per_second: float
    tokens: float = 1.0
    updated_at: datetime | None = None

    def current_allowance(self, now: datetime) -> SendAllowance:
        """Say how many may leave now."""
        if not self.per_second:
            return SendAllowance(1_000_000)
        passed = (now - self.updated_at).total_seconds() if self.updated_at else 0.0
        self.tokens = min(max(1.0, self.per_second), self.tokens + max(0.0, passed) * self.per_second)
        self.updated_at = now
        if self.tokens >= 1.0:
            return SendAllowance(int(self.tokens))
        return SendAllowance(0, now + timedelta(seconds=(1.0 - self.tokens) / self.per_second), "the pace is set")

    def take(self, messages: int) -> None:
        """Count messages that leave."""
        self.tokens -= messages


def asks_to_slow_down(reply: str) -> bool:
    """Say whether a server that said "later" means "not so fast" (the table in RFC 3463's classes 4.3, 4.4 and 4.7).

    Greylisting (4.7.1) and a full mailbox (4.2.2) are about one message.
    """
    code, statuses = parse_reply_codes("", reply)
    return code == "421" or any(s in {"4.3.2", "4.7.0", "4.7.28"} or s.startswith("4.4.") for s in statuses)


@dataclass(slots=True)
class _DomainLimit:
    """The messages of one domain that may leave by the minute, and those that stand in line."""

    allowed_per_minute: int  # a minute
    cap_per_minute: int | None  # what the settings allow a minute; None: they say nothing
    slowed_at: datetime | None = None
    doublings: int = 0
    current_minute: datetime = _NEVER
    sent_this_minute: int = 0  # messages of this minute
    queue_minute: datetime = _NEVER  # the minute in which the next one in line leaves
    queued_in_minute: int = 0

    def postponed_until(self, minute: datetime, *, fresh: bool) -> datetime | None:
        """Give None for a message that may leave now, else its place in line; who is fresh does not overtake."""
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
        """Double what is allowed for every quiet while; True once nothing holds the domain back any more."""
        while self.slowed_at is not None and now - self.slowed_at >= RECOVERY_INTERVAL:
            self.slowed_at += RECOVERY_INTERVAL
            self.allowed_per_minute *= 2
            self.doublings += 1
            if self.cap_per_minute is not None and self.allowed_per_minute >= self.cap_per_minute:
                self.allowed_per_minute, self.slowed_at = self.cap_per_minute, None
        return self.cap_per_minute is None and self.doublings >= MAX_DOUBLINGS


@dataclass(slots=True)
class DomainLimits:
    """Which domains get their messages by the minute: those with a cap, and those whose servers asked for less.

    It lives as long as one run. Domains are known by their tags.
    """

    caps_per_hour: Mapping[str, int] = field(default_factory=dict)  # messages an hour
    by_domain: dict[str, _DomainLimit] = field(default_factory=dict)
    current_minute: datetime = _NEVER
    seen_this_minute: Counter[str] = field(default_factory=Counter)

    def postponed_until(self, domain_tag: str | None, now: datetime, *, fresh: bool) -> datetime | None:
        """Give None for a message that may leave now, else the moment for which it should wait.

        Args:
            domain_tag: its domain.
            now: the moment.
            fresh: whether it has never waited in line.
        """
        if domain_tag is None:
            return None
        this = now.replace(second=0, microsecond=0)
        if self.current_minute != this:
            self.current_minute = this
            self.seen_this_minute.clear()
        line = self.by_domain.get(domain_tag)
        if line is None and domain_tag in self.caps_per_hour:
            line = self.by_domain[domain_tag] = _DomainLimit(
                _per_minute(self.caps_per_hour[domain_tag]), _per_minute(self.caps_per_hour[domain_tag])
            )
        if line is None:
            if len(self.seen_this_minute) < _MAX_COUNTED_DOMAINS or domain_tag in self.seen_this_minute:
                self.seen_this_minute[domain_tag] += 1
            return None
        if line.recover_allowance(now):
            del self.by_domain[domain_tag]
            return None
        return line.postponed_until(this, fresh=fresh)

    def slow_down_domain(self, domain_tag: str | None, now: datetime) -> bool:
        """Halve what a domain gets, at most once a minute: its servers asked for it. False: that was done already."""
        if domain_tag is None:
            return False
        line = self.by_domain.get(domain_tag)
        if line is not None and line.slowed_at is not None and now - line.slowed_at < MINUTE:
            return False
        if line is None:
            cap = _per_minute(self.caps_per_hour[domain_tag]) if domain_tag in self.caps_per_hour else None
            line = self.by_domain[domain_tag] = _DomainLimit(cap or max(2, self.seen_this_minute[domain_tag]), cap)
        line.allowed_per_minute, line.slowed_at, line.doublings = max(1, line.allowed_per_minute // 2), now, 0
        return True


def _per_minute(per_hour: int) -> int:
    return max(1, per_hour // 60)
