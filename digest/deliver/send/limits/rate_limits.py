"""How fast messages may leave: pure decisions over counts by minute, the time, and what servers answer.

Limits hold for the whole installation over sliding windows: an hour is any 60 minutes, a day any 24 hours. A minute's
count stays in the window until all of that minute has left it, so a limit is never exceeded, and used up a minute late.
A domain's share is spaced (`SpacedRate`), what is limited by the second is spread and counted (`RollingWindowRate`): of both a window
holds no more anywhere.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from digest.settings import UsageLimitSettings

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
RECOVERY_INTERVAL = timedelta(minutes=5)  # without a refusal; then a domain gets twice as many
MAX_DOUBLINGS = 6  # after so many, a domain that nobody capped is free again
MAX_CLOCK_SKEW = timedelta(minutes=1)  # between machines; a clock that was set back by more stops nothing
HANDOVER_JITTER = timedelta(milliseconds=100)  # by which messages may leave later than they were claimed
METERED_JITTER = timedelta(milliseconds=10)  # the same where a hundredth of the rate matters
_MAX_BURST_SHARE = 20  # a twentieth of a span's messages leaves at once, at least one
_SPACED_SHARE = 100  # a hundredth of a spaced rate leaves at once, at least one, and as much time is made up for
_MAX_CATCH_UP_SHARE = 2  # a half of a span may be made up for
_SLOTS_PER_SPAN = 100  # in which claims are counted together
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
    limits: UsageLimitSettings, first_handover_at: datetime | None, now: datetime
) -> tuple[RateLimit, ...]:
    """Return the limits that hold now; `first_handover_at` is when this installation first handed something over.

    A new sender warms up: `limits.warm_up` names how many messages each of its first days may see.
    """
    rate_limits = []
    if limits.send_per_hour:
        rate_limits.append(RateLimit(limits.send_per_hour, HOUR, f"{limits.send_per_hour:,} messages per hour"))
    day = max(0, (now - first_handover_at) // DAY) if first_handover_at else 0
    if day < len(limits.warm_up):
        most = limits.warm_up[day]
        rate_limits.append(RateLimit(most, DAY, f"{most:,} messages on day {day + 1} of the warm-up"))
    return tuple(rate_limits)


def count_sending_days(
    limits: UsageLimitSettings, messages: int, first_handover_at: datetime | None, now: datetime
) -> int:
    """Return over how many days so many messages go out from now on, by the warm-up and the limit of an hour; 1: within a day.

    What else leaves meanwhile, and what left in the day before, is not counted.
    """
    day = max(0, (now - first_handover_at) // DAY) if first_handover_at else 0
    per_day = limits.send_per_hour * (DAY // HOUR)
    caps = [min(cap, per_day or cap) for cap in limits.warm_up[day:]]
    for days, cap in enumerate(caps, 1):
        if messages <= cap:
            return days
        messages -= cap
    return len(caps) + (max(1, math.ceil(messages / per_day)) if per_day else 1)


def compute_send_allowance(
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
    # Minutes that lie further ahead are from before a clock was set back.
    span = rate_limit.span
    past = [(minute, count) for minute, count in counts if minute <= now + span]
    inside = [(minute + MINUTE + span, count) for minute, count in past if minute + MINUTE + span > now]
    used = sum(count for _, count in inside)
    if used < rate_limit.max_messages:
        return SendAllowance(rate_limit.max_messages - used)
    free_at = now
    for leaves, count in inside:
        if used >= rate_limit.max_messages:
            used, free_at = used - count, leaves
    return SendAllowance(0, free_at, f"the limit of {rate_limit.description} was reached")


@dataclass(frozen=True, slots=True)
class SpacedRate:
    """At most `max_burst` messages at once, and before any other leaves `interval` passes for each of them.

    What a process comes late is made up for, up to `tolerance`. Whatever lies in a window, all but the last burst has been paid for within it
    and the tolerance before it (GCRA, ITU-T I.371).
    """

    max_burst: int
    interval: timedelta
    tolerance: timedelta

    @classmethod
    def from_limit(cls, max_messages: float, span: timedelta) -> "SpacedRate":
        """Return the rate at which no window of `span`, wherever it begins, holds more than `max_messages`, rounded up."""
        burst = max(1, int(max_messages / _SPACED_SHARE))
        # A slow rate loses little by coming late.
        tolerance = span / _SPACED_SHARE * min(1, max_messages / _SPACED_SHARE)
        paid_span = span + HANDOVER_JITTER + tolerance
        return cls(burst, paid_span / (max_messages - burst + 1), tolerance)

    def paid_until(self, ready_at: datetime, now: datetime) -> datetime:
        """Return until when what left before is paid for: not before what may be made up for, and not as a clock says that was set back."""
        latest = now + self.interval * self.max_burst + MAX_CLOCK_SKEW
        return max(ready_at, now - self.tolerance) if ready_at <= latest else now

    def available_messages(self, paid_until: datetime, now: datetime) -> int:
        """Return how many may leave now."""
        return 0 if now < paid_until else self.max_burst + (now - paid_until) // self.interval


@dataclass(frozen=True, slots=True)
class RateUsage:
    """What left under a metered rate: until when that is paid for, and how many messages left at which moments."""

    paid_until: datetime = _NEVER
    recent: tuple[tuple[datetime, int], ...] = ()


@dataclass(frozen=True, slots=True)
class RollingWindowRate:
    """At most `max_messages` in any window of `span`, spread over it, and nearly as many on average.

    They are spaced with a tolerance (GCRA, ITU-T I.371), so that what a process comes late is made up for; alone that would let
    half as many again into a window, so what is in the window is counted as well. Where each claim comes late by a hundredth of a
    span, a hundredth is lost.
    """

    max_messages: int
    span: timedelta

    @classmethod
    def from_limit(cls, per_second: float) -> "RollingWindowRate":
        """Return the rate at which no second, wherever it begins, holds more than `per_second`, rounded up."""
        most = max(1, math.ceil(per_second))
        return cls(most, SECOND * (most / per_second))

    @property
    def interval(self) -> timedelta:
        """What a message is paid for with."""
        return self.span / self.max_messages

    @property
    def max_burst(self) -> int:
        """How many may leave at once, where nobody came late."""
        return max(1, self.max_messages // _MAX_BURST_SHARE)

    def allowance(self, usage: RateUsage, now: datetime) -> tuple[int, datetime]:
        """Return how many may leave now, and from when more may where none may."""
        paid_until = self._paid_until(usage, now)
        inside = self._count_inside(usage, now)
        used = sum(count for _, count in inside)
        ready_at, leaving = max(now, paid_until), iter(inside)
        free = self.max_messages - used
        while used >= self.max_messages:
            moment, count = next(leaving)
            used, ready_at = used - count, max(ready_at, moment + self._window)
        if now < ready_at:
            return 0, ready_at
        return min(free, max(self.max_burst, (now - paid_until) // self.interval + 1)), now

    def add_messages(self, usage: RateUsage, messages: int, now: datetime) -> RateUsage:
        """Return the usage after so many messages more."""
        paid_until = self._paid_until(usage, now) + self.interval * messages
        recent, slot = self._count_inside(usage, now), self.span / _SLOTS_PER_SPAN
        if recent and (recent[-1][0] - _NEVER) // slot == (now - _NEVER) // slot:
            latest, count = recent.pop()
            now, messages = max(now, latest), messages + count
        return RateUsage(paid_until, (*recent, (now, messages)))

    @property
    def _window(self) -> timedelta:
        return self.span + METERED_JITTER

    def _paid_until(self, usage: RateUsage, now: datetime) -> datetime:
        """Return until when all is paid for: not before what may be made up for, and not as a clock says that was set back."""
        latest = now + self.interval * self.max_burst + MAX_CLOCK_SKEW
        return max(usage.paid_until if usage.paid_until <= latest else _NEVER, now - self.span / _MAX_CATCH_UP_SHARE)

    def _count_inside(self, usage: RateUsage, now: datetime) -> list[tuple[datetime, int]]:
        return sorted(each for each in usage.recent if now - self._window < each[0] <= now + MAX_CLOCK_SKEW)


@dataclass(slots=True)
class _DomainLimit:
    """How many messages of one domain may leave in a minute, how many may in this claim, and where its queue ends."""

    allowed_per_minute: float
    cap_per_minute: float | None  # by the settings; None: they say nothing
    slowed_at: datetime | None = None
    doublings: int = 0
    queue_ends_at: datetime = _NEVER
    paid_until: datetime = _NEVER  # by the row that all processes share, as this claim found it
    ready_at: datetime = _NEVER  # from when the next one may leave
    messages_left: int = 0  # that may leave in this claim
    messages_taken: int = 0
    postponed_again: int = 0

    @property
    def rate(self) -> SpacedRate:
        """The rate that holds now."""
        return SpacedRate.from_limit(self.allowed_per_minute, MINUTE)

    def begin_claim(self, ready_at: datetime, now: datetime) -> None:
        """Begin a claim with what the shared row says."""
        self.paid_until = self.rate.paid_until(ready_at, now)
        self.messages_left = self.rate.available_messages(self.paid_until, now)
        self.ready_at = max(now, self.paid_until)
        self.messages_taken = self.postponed_again = 0

    def postponed_until(self, now: datetime, *, fresh: bool) -> datetime | None:
        """Return None for a message that may leave now, else when it is its turn; a fresh one does not overtake."""
        interval = self.rate.interval
        if self.messages_left and not (fresh and self.queue_ends_at > now):
            self.messages_left -= 1
            self.messages_taken += 1
            self.ready_at = self.paid_until + interval * self.messages_taken
            return None
        if not fresh:  # it came too early, or others came late: it keeps its place as well as it can
            self.postponed_again += 1
            return self.ready_at + interval * (self.postponed_again - 1)
        place = max(self.queue_ends_at, self.ready_at)
        self.queue_ends_at = place + interval
        return place

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
    """The domains that are limited: those with a cap, and those whose servers asked for less. Tags name them.

    It lives as long as one run, and holds rates and queues. Until when what left is paid for, all processes share.
    """

    caps_per_hour: Mapping[str, int] = field(default_factory=dict)  # messages an hour
    by_domain: dict[str, _DomainLimit] = field(init=False)
    current_minute: datetime = _NEVER
    seen_this_minute: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.by_domain = {tag: _DomainLimit(cap / 60, cap / 60) for tag, cap in self.caps_per_hour.items()}

    def begin_claim(self, ready_times: Mapping[str, datetime], now: datetime) -> None:
        """Begin a claim, given from when each limited domain may get more; one that recovered is free again."""
        for tag, limit in list(self.by_domain.items()):
            if limit.recover_allowance(now):
                del self.by_domain[tag]
            else:
                limit.begin_claim(ready_times[tag], now)

    def ready_times(self) -> dict[str, datetime]:
        """Return from when each domain that got something in this claim may get more."""
        return {tag: limit.ready_at for tag, limit in self.by_domain.items() if limit.messages_taken}

    def postponed_until(self, domain_tag: str | None, now: datetime, *, fresh: bool) -> datetime | None:
        """Return None for a message that may leave now, else the moment until which it is postponed.

        `fresh` tells that it was never postponed.
        """
        if domain_tag is None:
            return None
        limit = self.by_domain.get(domain_tag)
        if limit is not None:
            return limit.postponed_until(now, fresh=fresh)
        minute = now.replace(second=0, microsecond=0)
        if self.current_minute != minute:
            self.current_minute = minute
            self.seen_this_minute.clear()
        if len(self.seen_this_minute) < _MAX_COUNTED_DOMAINS or domain_tag in self.seen_this_minute:
            self.seen_this_minute[domain_tag] += 1
        return None

    def slow_down_domain(self, domain_tag: str | None, now: datetime) -> bool:
        """Halve a domain's allowance, as its servers ask for, at most once a minute; return whether it was halved."""
        if domain_tag is None:
            return False
        limit = self.by_domain.get(domain_tag)
        if limit is None:
            limit = self.by_domain[domain_tag] = _DomainLimit(max(2, self.seen_this_minute[domain_tag]), None)
        elif limit.slowed_at is not None and now - limit.slowed_at < MINUTE:
            return False
        least = min(1, limit.allowed_per_minute)
        limit.allowed_per_minute, limit.slowed_at, limit.doublings = max(least, limit.allowed_per_minute / 2), now, 0
        return True
