"""How fast messages may leave: pure decisions over counts by minute, a clock, and what servers answer.

Bounds hold for the whole installation and slide: an hour is any 60 minutes, a day any 24 hours. A minute's count
stays in the window until all of that minute has left it, so a bound is never passed, and reached a minute late.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from digest.deliver.causes import codes
from digest.settings import Limits

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
QUIET = timedelta(minutes=5)  # without a refusal: then a domain gets twice as many
DOUBLINGS = 6  # after so many, a domain that nobody capped is free again
_NEVER = datetime(1, 1, 2, tzinfo=UTC)
_MOST_DOMAINS = 10_000  # whose messages of this minute are counted; the large ones come first


@dataclass(frozen=True, slots=True)
class Bound:
    """At most `most` messages in any `span`; `words` say so in a sentence."""

    most: int
    span: timedelta
    words: str


@dataclass(frozen=True, slots=True)
class Room:
    """How many messages may leave now. Where it is none, `free_at` says from when, and `why`."""

    messages: int
    free_at: datetime | None = None
    why: str = ""


def bounds_of(limits: Limits, began: datetime | None, now: datetime) -> tuple[Bound, ...]:
    """Give the bounds that hold now; `began` is when this installation first handed something over.

    A new sender warms up: `limits.warm_up` names how many messages each of its first days may see.
    """
    found = []
    if limits.send_per_second:
        most = max(1, round(limits.send_per_second * 60))
        found.append(Bound(most, MINUTE, f"{limits.send_per_second:g} messages a second"))
    if limits.send_per_hour:
        found.append(Bound(limits.send_per_hour, HOUR, f"{limits.send_per_hour:,} messages an hour"))
    day = max(0, (now - began) // DAY) if began else 0
    if day < len(limits.warm_up):
        most = limits.warm_up[day]
        found.append(Bound(most, DAY, f"{most:,} messages on day {day + 1} of the warm-up"))
    return tuple(found)


def room(bounds: Iterable[Bound], handed: Iterable[tuple[datetime, int]], now: datetime) -> Room:
    """Say how many messages the bounds leave, given (minute, messages handed over in it)."""
    counts = sorted(handed)
    rooms = [_room(bound, counts, now) for bound in bounds]
    full = [r for r in rooms if not r.messages]
    if full:
        return max(full, key=lambda r: r.free_at or now)
    return min(rooms, key=lambda r: r.messages)


def _room(bound: Bound, counts: list[tuple[datetime, int]], now: datetime) -> Room:
    inside = [(minute + MINUTE + bound.span, count) for minute, count in counts]
    inside = [(leaves, count) for leaves, count in inside if leaves > now]
    used = sum(count for _, count in inside)
    if used < bound.most:
        return Room(bound.most - used)
    free_at = now
    for leaves, count in inside:
        if used >= bound.most:
            used, free_at = used - count, leaves
    return Room(0, free_at, f"the bound of {bound.words} is reached")


@dataclass(slots=True)
class Bucket:
    """Spreads what a minute may hold over its seconds: at most a second's worth at once."""

    per_second: float
    tokens: float = 1.0
    at: datetime | None = None

    def room(self, now: datetime) -> Room:
        """Say how many may leave now."""
        if not self.per_second:
            return Room(1_000_000)
        passed = (now - self.at).total_seconds() if self.at else 0.0
        self.tokens = min(max(1.0, self.per_second), self.tokens + max(0.0, passed) * self.per_second)
        self.at = now
        if self.tokens >= 1.0:
            return Room(int(self.tokens))
        return Room(0, now + timedelta(seconds=(1.0 - self.tokens) / self.per_second), "the pace is set")

    def take(self, messages: int) -> None:
        """Count messages that leave."""
        self.tokens -= messages


def slows(reply: str) -> bool:
    """Say whether a server that said "later" means "not so fast" (the table in RFC 3463's classes 4.3, 4.4 and 4.7).

    Greylisting (4.7.1) and a full mailbox (4.2.2) are about one message.
    """
    code, statuses = codes("", reply)
    return code == "421" or any(s in {"4.3.2", "4.7.0", "4.7.28"} or s.startswith("4.4.") for s in statuses)


@dataclass(slots=True)
class _Line:
    """The messages of one domain that may leave by the minute, and those that stand in line."""

    allowed: int  # a minute
    cap: int | None  # what the settings allow a minute; None: they say nothing
    slowed_at: datetime | None = None
    doublings: int = 0
    minute: datetime = _NEVER
    gone: int = 0  # messages of this minute
    place: datetime = _NEVER  # the minute in which the next one in line leaves
    in_place: int = 0

    def postponed(self, this: datetime, *, fresh: bool) -> datetime | None:
        """Give None for a message that may leave now, else its place in line; who is fresh does not overtake."""
        if self.minute != this:
            self.minute, self.gone = this, 0
        if self.gone < self.allowed and not (fresh and self.place > this):
            self.gone += 1
            return None
        if self.place <= this:
            self.place, self.in_place = this + MINUTE, 0
        elif self.in_place >= self.allowed:
            self.place, self.in_place = self.place + MINUTE, 0
        self.in_place += 1
        return self.place + MINUTE * (self.in_place - 1) / self.allowed

    def recover(self, now: datetime) -> bool:
        """Double what is allowed for every quiet while; True once nothing holds the domain back any more."""
        while self.slowed_at is not None and now - self.slowed_at >= QUIET:
            self.slowed_at += QUIET
            self.allowed *= 2
            self.doublings += 1
            if self.cap is not None and self.allowed >= self.cap:
                self.allowed, self.slowed_at = self.cap, None
        return self.cap is None and self.doublings >= DOUBLINGS


@dataclass(slots=True)
class Lines:
    """Which domains get their messages by the minute: those with a cap, and those whose servers asked for less.

    It lives as long as one run. Domains are known by their tags.
    """

    caps: Mapping[str, int] = field(default_factory=dict)  # messages an hour
    lines: dict[str, _Line] = field(default_factory=dict)
    minute: datetime = _NEVER
    seen: Counter[str] = field(default_factory=Counter)

    def postponed(self, tag: str | None, now: datetime, *, fresh: bool) -> datetime | None:
        """Give None for a message that may leave now, else the moment for which it should wait.

        Args:
            tag: its domain.
            now: the moment.
            fresh: whether it has never waited in line.
        """
        if tag is None:
            return None
        this = now.replace(second=0, microsecond=0)
        if self.minute != this:
            self.minute = this
            self.seen.clear()
        line = self.lines.get(tag)
        if line is None and tag in self.caps:
            line = self.lines[tag] = _Line(_a_minute(self.caps[tag]), _a_minute(self.caps[tag]))
        if line is None:
            if len(self.seen) < _MOST_DOMAINS or tag in self.seen:
                self.seen[tag] += 1
            return None
        if line.recover(now):
            del self.lines[tag]
            return None
        return line.postponed(this, fresh=fresh)

    def slow(self, tag: str | None, now: datetime) -> bool:
        """Halve what a domain gets, at most once a minute: its servers asked for it. False: that was done already."""
        if tag is None:
            return False
        line = self.lines.get(tag)
        if line is not None and line.slowed_at is not None and now - line.slowed_at < MINUTE:
            return False
        if line is None:
            cap = _a_minute(self.caps[tag]) if tag in self.caps else None
            line = self.lines[tag] = _Line(cap or max(2, self.seen[tag]), cap)
        line.allowed, line.slowed_at, line.doublings = max(1, line.allowed // 2), now, 0
        return True


def _a_minute(an_hour: int) -> int:
    return max(1, an_hour // 60)
