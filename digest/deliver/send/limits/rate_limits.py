"""Pure decisions on how fast messages may be sent, from counts per minute, the time, and servers' replies.

Limits apply to the whole installation over sliding windows: an hour is any 60 minutes, and a day any 24 hours. A
minute's count stays in the window until all of that minute has left it, so a limit is never exceeded, but is used up to
a minute late. A domain's messages are spaced (`SpacedRate`), and limits per second are spread and counted
(`RollingWindowRate`); neither exceeds its limit in any window.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from digest.settings import UsageLimitSettings

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
RECOVERY_INTERVAL = timedelta(minutes=5)  # without a refusal, after which a domain's allowance doubles
MAX_DOUBLINGS = 6  # after which a domain without a cap is unlimited again
MAX_CLOCK_SKEW = timedelta(minutes=1)  # between machines; a clock that was set back further doesn't stop sending
HANDOVER_JITTER = timedelta(milliseconds=100)  # how much later than claimed messages may be sent
METERED_JITTER = timedelta(milliseconds=10)  # the same for rates where a hundredth matters
_MAX_BURST_SHARE = 20  # 1/20 of a span's messages, but at least one, may be sent at once
_SPACED_SHARE = 100  # 1/100 of a spaced rate, at least one, may be sent at once; as much delay is made up for
_MAX_CATCH_UP_SHARE = 2  # half of a span may be made up for
_SLOTS_PER_SPAN = 100  # in each of which claims are counted together
_NEVER = datetime(1, 1, 2, tzinfo=UTC)
_MAX_COUNTED_DOMAINS = 10_000  # domains whose messages are counted this minute, largest first


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A limit of `max_messages` in any window of `span`, described in words by `description`."""

    max_messages: int
    span: timedelta
    description: str


@dataclass(frozen=True, slots=True)
class SendAllowance:
    """The number of messages that may be sent now; if none, when more may be (`available_at`) and the `reason`."""

    messages: int
    available_at: datetime | None = None
    reason: str = ""


def list_current_rate_limits(
    limits: UsageLimitSettings, first_handover_at: datetime | None, now: datetime
) -> tuple[RateLimit, ...]:
    """Return the current limits; `first_handover_at` is when this installation first handed something over.

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
    """Return how many days sending `messages` takes from now, by the warm-up and the hourly limit; 1 is within a day.

    Other messages, and those sent in the day before, aren't counted.
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
    """Return how many messages the limits still allow, given (minute, messages handed over in it)."""
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
    # Minutes further in the future are from before the clock was set back.
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
    """A rate of up to `max_burst` messages at once, each followed by an `interval` before others may be sent.

    Delays of a process are made up for, up to `tolerance`. In any window, all but the last burst have been paid for
    within the window and the tolerance before it (GCRA, ITU-T I.371).
    """

    max_burst: int
    interval: timedelta
    tolerance: timedelta

    @classmethod
    def from_limit(cls, max_messages: float, span: timedelta) -> "SpacedRate":
        """Return the rate with at most `max_messages`, rounded up, in any window of `span`."""
        burst = max(1, int(max_messages / _SPACED_SHARE))
        # A slow rate loses little to delays.
        tolerance = span / _SPACED_SHARE * min(1, max_messages / _SPACED_SHARE)
        paid_span = span + HANDOVER_JITTER + tolerance
        return cls(burst, paid_span / (max_messages - burst + 1), tolerance)

    def paid_until(self, ready_at: datetime, now: datetime) -> datetime:
        """Return when the intervals of all sent messages end: `ready_at`, but at least `now` less the tolerance.

        Return `now` if `ready_at` is later than a correct clock allows.
        """
        latest = now + self.interval * self.max_burst + MAX_CLOCK_SKEW
        return max(ready_at, now - self.tolerance) if ready_at <= latest else now

    def available_messages(self, paid_until: datetime, now: datetime) -> int:
        """Return how many messages may be sent now."""
        return 0 if now < paid_until else self.max_burst + (now - paid_until) // self.interval


@dataclass(frozen=True, slots=True)
class RateUsage:
    """The messages sent under a rolling rate: when their intervals end (`paid_until`), and their numbers by time."""

    paid_until: datetime = _NEVER
    recent: tuple[tuple[datetime, int], ...] = ()


@dataclass(frozen=True, slots=True)
class RollingWindowRate:
    """A rate of at most `max_messages` in any window of `span`, spread over it, with nearly as many on average.

    Messages are spaced with a tolerance (GCRA, ITU-T I.371), so that a process's delays are made up for. By itself,
    that would allow half as many again in a window, so messages in the window are counted as well. If each claim is
    late by a hundredth of a span, a hundredth of the rate is lost.
    """

    max_messages: int
    span: timedelta

    @classmethod
    def from_limit(cls, per_second: float) -> "RollingWindowRate":
        """Return the rate with at most `per_second` messages, rounded up, in any second."""
        most = max(1, math.ceil(per_second))
        return cls(most, SECOND * (most / per_second))

    @property
    def interval(self) -> timedelta:
        """The average time between two messages."""
        return self.span / self.max_messages

    @property
    def max_burst(self) -> int:
        """The number of messages that may be sent at once if there are no delays to make up for."""
        return max(1, self.max_messages // _MAX_BURST_SHARE)

    def compute_allowance(self, usage: RateUsage, now: datetime) -> tuple[int, datetime]:
        """Return how many messages may be sent now, and when: `now`, or if none may, the time from which more may be."""
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
        """Return the usage after sending `messages` more."""
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
        """Return until when everything is paid for, bounded by the catch-up and by what a correct clock allows."""
        latest = now + self.interval * self.max_burst + MAX_CLOCK_SKEW
        return max(usage.paid_until if usage.paid_until <= latest else _NEVER, now - self.span / _MAX_CATCH_UP_SHARE)

    def _count_inside(self, usage: RateUsage, now: datetime) -> list[tuple[datetime, int]]:
        return sorted(each for each in usage.recent if now - self._window < each[0] <= now + MAX_CLOCK_SKEW)


@dataclass(slots=True)
class _DomainLimit:
    """The messages that a domain may get per minute and in this claim, and the end of its queue."""

    allowed_per_minute: float
    cap_per_minute: float | None  # by the settings; None if they don't set one
    slowed_at: datetime | None = None
    doublings: int = 0
    queue_ends_at: datetime = _NEVER
    paid_until: datetime = _NEVER  # from the row that all processes share, as of this claim
    ready_at: datetime = _NEVER  # when the next message may be sent
    messages_left: int = 0  # in this claim
    messages_taken: int = 0
    postponed_again: int = 0

    @property
    def rate(self) -> SpacedRate:
        """The current rate."""
        return SpacedRate.from_limit(self.allowed_per_minute, MINUTE)

    def begin_claim(self, ready_at: datetime, now: datetime) -> None:
        """Begin a claim with the time stored in the shared row."""
        self.paid_until = self.rate.paid_until(ready_at, now)
        self.messages_left = self.rate.available_messages(self.paid_until, now)
        self.ready_at = max(now, self.paid_until)
        self.messages_taken = self.postponed_again = 0

    def take_turn(self, now: datetime, *, fresh: bool) -> datetime | None:
        """Return None if a message may be sent now, or else its turn; a fresh one doesn't overtake others."""
        interval = self.rate.interval
        if self.messages_left and not (fresh and self.queue_ends_at > now):
            self.messages_left -= 1
            self.messages_taken += 1
            self.ready_at = self.paid_until + interval * self.messages_taken
            return None
        if not fresh:  # it came too early, or others came late; it keeps its place as well as possible
            self.postponed_again += 1
            return self.ready_at + interval * (self.postponed_again - 1)
        place = max(self.queue_ends_at, self.ready_at)
        self.queue_ends_at = place + interval
        return place

    def recover_allowance(self, now: datetime) -> bool:
        """Double the allowance for each interval without a refusal; return whether the domain is unlimited again."""
        while self.slowed_at is not None and now - self.slowed_at >= RECOVERY_INTERVAL:
            self.slowed_at += RECOVERY_INTERVAL
            self.allowed_per_minute *= 2
            self.doublings += 1
            if self.cap_per_minute is not None and self.allowed_per_minute >= self.cap_per_minute:
                self.allowed_per_minute, self.slowed_at = self.cap_per_minute, None
        return self.cap_per_minute is None and self.doublings >= MAX_DOUBLINGS


@dataclass(slots=True)
class DomainLimits:
    """The limited domains, by tag: those with a cap, and those whose servers asked for fewer messages.

    It lives as long as one run and contains rates and queues. The times until which messages are paid for are shared by
    all processes.
    """

    caps_per_hour: Mapping[str, int] = field(default_factory=dict)  # messages per hour
    by_domain: dict[str, _DomainLimit] = field(init=False)
    current_minute: datetime = _NEVER
    seen_this_minute: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.by_domain = {tag: _DomainLimit(cap / 60, cap / 60) for tag, cap in self.caps_per_hour.items()}

    def begin_claim(self, ready_times: Mapping[str, datetime], now: datetime) -> None:
        """Begin a claim, given when each limited domain may get more; recovered domains become unlimited."""
        for tag, limit in list(self.by_domain.items()):
            if limit.recover_allowance(now):
                del self.by_domain[tag]
            else:
                limit.begin_claim(ready_times[tag], now)

    def ready_times(self) -> dict[str, datetime]:
        """Return when each domain that got messages in this claim may get more."""
        return {tag: limit.ready_at for tag, limit in self.by_domain.items() if limit.messages_taken}

    def take_turn(
        self,
        domain_tag: str | None,
        now: datetime,
        *,
        fresh: bool,
    ) -> datetime | None:
        """Count a message that may be sent now, and return None, or else return the time until which it's postponed.

        `fresh` says that the message has never been postponed.
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
        """Halve a domain's allowance at its servers' request, at most once a minute; return whether it was halved."""
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
