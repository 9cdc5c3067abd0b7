"""Pure functions that decide how fast messages may be sent, from counts per minute, the time, and servers' replies.

Limits apply to the whole installation and to sliding windows, so an hour is any 60 minutes, and a
day is any 24 hours. A minute's count stays in the window until the whole minute has left it. A
limit is therefore never exceeded, but it's used up to a minute late. A domain's messages are spaced
(`SpacedRate`), and messages under a limit per second are spread and counted (`RollingWindowRate`).
Neither exceeds its limit in any window.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from digest.settings import UsageLimitSettings

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
# The time without a refusal after which a domain's allowance is doubled.
RECOVERY_INTERVAL = timedelta(minutes=5)
MAX_DOUBLINGS = 6  # after which a domain without a cap is no longer limited
# The largest difference between machines' clocks. If a clock was set back further, sending isn't stopped.
MAX_CLOCK_SKEW = timedelta(minutes=1)
# The longest time between claiming and sending a message.
HANDOVER_JITTER = timedelta(milliseconds=100)
# The same for rates where a hundredth matters.
METERED_JITTER = timedelta(milliseconds=10)
# A twentieth of a span's messages, but at least one, may be sent at once.
_MAX_BURST_SHARE = 20
# A hundredth of a domain's messages, but at least one, may be sent at once. Delays of up to the
# same share are made up for.
_SPACED_SHARE = 100
# Delays of up to half of a span are made up for.
_MAX_CATCH_UP_SHARE = 2
# The claims in one slot are counted together.
_SLOTS_PER_SPAN = 100
_NEVER = datetime(1, 1, 2, tzinfo=UTC)
# The number of domains whose messages are counted this minute.
_MAX_COUNTED_DOMAINS = 10_000


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A limit of `max_messages` in any window of length `span`, with a `description` in words."""

    max_messages: int
    span: timedelta
    description: str


@dataclass(frozen=True, slots=True)
class SendAllowance:
    """The number of messages that may be sent now.

    If it's 0, `available_at` is when more may be sent, and `reason` explains why.
    """

    messages: int
    available_at: datetime | None = None
    reason: str = ""


def list_current_rate_limits(
    limits: UsageLimitSettings, first_handover_at: datetime | None, now: datetime
) -> tuple[RateLimit, ...]:
    """Return the current limits of an installation that first handed over a message at `first_handover_at`.

    A new sender warms up: `limits.warm_up` lists how many messages may be sent on each of its first days.
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
    """Return how many days it takes to send `messages`, starting now, given the warm-up and the hourly limit.

    One means within a day. Other messages, including those sent in the last 24 hours, aren't counted.
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
    """Return how many messages the limits still allow.

    `minute_counts` contains pairs of a minute and the number of messages handed over in it.
    """
    counts = sorted(minute_counts)
    allowances = [_allowance_under_limit(limit, counts, now) for limit in rate_limits]
    exhausted = [allowance for allowance in allowances if not allowance.messages]
    if exhausted:
        return max(exhausted, key=lambda allowance: allowance.available_at or now)
    return min(allowances, key=lambda allowance: allowance.messages)


def _allowance_under_limit(
    rate_limit: RateLimit,
    counts: list[tuple[datetime, int]],
    now: datetime,
) -> SendAllowance:
    # Minutes further in the future were counted before the clock was set back.
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
    """A rate of up to `max_burst` messages at once, in which each message delays the following ones by an `interval`.

    Delays of a process are made up for, up to `tolerance`. In any window, all messages but the last
    burst have been paid for within the window and the tolerance before it (GCRA, ITU-T I.371).
    """

    max_burst: int
    interval: timedelta
    tolerance: timedelta

    @classmethod
    def from_limit(cls, max_messages: float, span: timedelta) -> "SpacedRate":
        """Return the rate that allows at most `max_messages`, rounded up, in any window of length `span`."""
        burst = max(1, int(max_messages / _SPACED_SHARE))
        # A slow rate loses little because of delays.
        tolerance = span / _SPACED_SHARE * min(1, max_messages / _SPACED_SHARE)
        paid_span = span + HANDOVER_JITTER + tolerance
        return cls(burst, paid_span / (max_messages - burst + 1), tolerance)

    def paid_until(self, ready_at: datetime, now: datetime) -> datetime:
        """Return when the intervals of all sent messages end.

        That's `ready_at`, but no earlier than `now` minus the tolerance. Return `now` if `ready_at`
        is later than a correct clock would allow.
        """
        latest = now + self.interval * self.max_burst + MAX_CLOCK_SKEW
        return max(ready_at, now - self.tolerance) if ready_at <= latest else now

    def available_messages(self, paid_until: datetime, now: datetime) -> int:
        """Return how many messages may be sent now."""
        return 0 if now < paid_until else self.max_burst + (now - paid_until) // self.interval


@dataclass(frozen=True, slots=True)
class RateUsage:
    """The messages sent under a rolling rate: when their intervals end (`paid_until`), and their counts by time."""

    paid_until: datetime = _NEVER
    recent: tuple[tuple[datetime, int], ...] = ()


@dataclass(frozen=True, slots=True)
class RollingWindowRate:
    """A rate of at most `max_messages` in any window of length `span`, spread over it, and nearly as high on average.

    Messages are spaced with a tolerance (GCRA, ITU-T I.371), so that a process's delays are made up
    for. By itself, that would allow 50% more messages in a window, so the messages in the window are
    counted as well. If each claim is late by a hundredth of a span, a hundredth of the rate is lost.
    """

    max_messages: int
    span: timedelta

    @classmethod
    def from_limit(cls, per_second: float) -> "RollingWindowRate":
        """Return the rate that allows at most `per_second` messages, rounded up, in any second."""
        most = max(1, math.ceil(per_second))
        return cls(most, SECOND * (most / per_second))

    @property
    def interval(self) -> timedelta:
        """The average time between two messages."""
        return self.span / self.max_messages

    @property
    def max_burst(self) -> int:
        """The number of messages that may be sent at once when there's no delay to catch up on."""
        return max(1, self.max_messages // _MAX_BURST_SHARE)

    def compute_allowance(self, usage: RateUsage, now: datetime) -> tuple[int, datetime]:
        """Return how many messages may be sent now, and when.

        The time is `now`, or if none may be sent, the time from which more may be.
        """
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
        """Return the usage after `messages` more messages have been sent."""
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
        """Return when all sent messages' intervals end, within the bounds of the catch-up and of a correct clock."""
        latest = now + self.interval * self.max_burst + MAX_CLOCK_SKEW
        return max(usage.paid_until if usage.paid_until <= latest else _NEVER, now - self.span / _MAX_CATCH_UP_SHARE)

    def _count_inside(self, usage: RateUsage, now: datetime) -> list[tuple[datetime, int]]:
        return sorted(each for each in usage.recent if now - self._window < each[0] <= now + MAX_CLOCK_SKEW)


@dataclass(slots=True)
class _DomainLimit:
    """A domain's limit: how many messages it may receive per minute and in this claim, and when its queue ends."""

    allowed_per_minute: float
    cap_per_minute: float | None  # from the settings, or None
    slowed_at: datetime | None = None
    doublings: int = 0
    queue_ends_at: datetime = _NEVER
    paid_until: datetime = _NEVER  # from the row that all processes share, at the time of this claim
    ready_at: datetime = _NEVER  # when the next message may be sent
    messages_left: int = 0  # in this claim
    messages_taken: int = 0
    postponed_again: int = 0

    @property
    def rate(self) -> SpacedRate:
        """The domain's current rate."""
        return SpacedRate.from_limit(self.allowed_per_minute, MINUTE)

    def begin_claim(self, ready_at: datetime, now: datetime) -> None:
        """Begin a claim with the time stored in the shared row."""
        self.paid_until = self.rate.paid_until(ready_at, now)
        self.messages_left = self.rate.available_messages(self.paid_until, now)
        self.ready_at = max(now, self.paid_until)
        self.messages_taken = self.postponed_again = 0

    def take_turn(self, now: datetime, *, fresh: bool) -> datetime | None:
        """Return None if a message may be sent now, or else the time of its turn.

        A fresh message doesn't overtake others.
        """
        interval = self.rate.interval
        if self.messages_left and not (fresh and self.queue_ends_at > now):
            self.messages_left -= 1
            self.messages_taken += 1
            self.ready_at = self.paid_until + interval * self.messages_taken
            return None
        # The message came too early or others came late. It keeps its place as far as possible.
        if not fresh:
            self.postponed_again += 1
            return self.ready_at + interval * (self.postponed_again - 1)
        place = max(self.queue_ends_at, self.ready_at)
        self.queue_ends_at = place + interval
        return place

    def recover_allowance(self, now: datetime) -> bool:
        """Double the allowance for each interval that passed without a refusal.

        Return True if the domain is no longer limited.
        """
        while self.slowed_at is not None and now - self.slowed_at >= RECOVERY_INTERVAL:
            self.slowed_at += RECOVERY_INTERVAL
            self.allowed_per_minute *= 2
            self.doublings += 1
            if self.cap_per_minute is not None and self.allowed_per_minute >= self.cap_per_minute:
                self.allowed_per_minute, self.slowed_at = self.cap_per_minute, None
        return self.cap_per_minute is None and self.doublings >= MAX_DOUBLINGS


@dataclass(slots=True)
class DomainLimits:
    """The limited domains, by tag: those that have a cap, and those whose servers asked for fewer messages.

    An object contains the rates and queues of one run. The times until which messages are paid for
    are shared by all processes.
    """

    caps_per_hour: Mapping[str, int] = field(default_factory=dict)  # messages per hour
    by_domain: dict[str, _DomainLimit] = field(init=False)
    current_minute: datetime = _NEVER
    seen_this_minute: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.by_domain = {tag: _DomainLimit(cap / 60, cap / 60) for tag, cap in self.caps_per_hour.items()}

    def begin_claim(self, ready_times: Mapping[str, datetime], now: datetime) -> None:
        """Begin a claim, and remove the domains that have recovered.

        `ready_times` are the times when each limited domain may receive more.
        """
        for tag, limit in list(self.by_domain.items()):
            if limit.recover_allowance(now):
                del self.by_domain[tag]
            else:
                limit.begin_claim(ready_times[tag], now)

    def ready_times(self) -> dict[str, datetime]:
        """Return when each domain used in this claim may receive more messages."""
        return {tag: limit.ready_at for tag, limit in self.by_domain.items() if limit.messages_taken}

    def take_turn(
        self,
        domain_tag: str | None,
        now: datetime,
        *,
        fresh: bool,
    ) -> datetime | None:
        """Count a message that may be sent now and return None, or return when the postponed message may be sent.

        `fresh` means that the message has never been postponed.
        """
        if domain_tag is None:
            return None
        limit = self.by_domain.get(domain_tag)
        if limit is not None:
            return limit.take_turn(now, fresh=fresh)
        minute = now.replace(second=0, microsecond=0)
        if self.current_minute != minute:
            self.current_minute = minute
            self.seen_this_minute.clear()
        if len(self.seen_this_minute) < _MAX_COUNTED_DOMAINS or domain_tag in self.seen_this_minute:
            self.seen_this_minute[domain_tag] += 1
        return None

    def slow_down_domain(self, domain_tag: str | None, now: datetime) -> bool:
        """Halve a domain's allowance at the request of its servers, and return True if it was halved.

        That's done at most once a minute.
        """
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
