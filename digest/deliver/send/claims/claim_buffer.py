"""The reserve of a run: deliveries that it has claimed and that no worker has yet.

One durable commit reserves the next deliveries, and marks as being handed over what leaves until the next commit: for the workers
that are idle, and what was reserved before. With few connections, too, a commit carries many messages. The reserve is no larger
than what the workers take in a moment, so that over a slow server nothing is claimed ahead.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from digest.deliver.send.claims.delivery_claims import ClaimedEditionDelivery

MAX_CLAIM_BUFFER = 64  # messages
CLAIM_BUFFER_SECONDS = 0.25  # the reserve is what the workers take in so long
MAX_CLAIM_BUFFER_SECONDS = 5.0  # what nobody took after so long waits again: its lease must cover a batch


@dataclass(slots=True)
class ClaimBuffer:
    """The claims of one run that no worker has yet, the earliest first. Each goes to a worker after a question for consent."""

    deliveries: deque[ClaimedEditionDelivery] = field(default_factory=deque)
    filled_at: datetime | None = None
    attempted_then: int = 0  # messages that the run had dealt with at that moment
    begun: int = 0  # how many of them, from the first on, are marked as being handed over

    def __len__(self) -> int:
        return len(self.deliveries)

    @property
    def ids(self) -> list[str]:
        """The ids of its deliveries."""
        return [delivery.delivery_id for delivery in self.deliveries]

    def next_to_begin(self, claimed: Sequence[ClaimedEditionDelivery], count: int) -> Sequence[ClaimedEditionDelivery]:
        """Return what to mark as being handed over in the commit that claims these: so many at least, or all that is there."""
        return [*self.deliveries, *claimed][self.begun : max(len(self.deliveries), count)]

    def fill(self, claimed: Iterable[ClaimedEditionDelivery], attempted: int, now: datetime) -> None:
        """Add what a commit claimed; `attempted` is how many messages the run has dealt with."""
        self.deliveries.extend(claimed)
        self.filled_at, self.attempted_then = now, attempted

    def put_back(self, deliveries: Iterable[ClaimedEditionDelivery]) -> None:
        """Put deliveries in front that are marked as being handed over, and were not tried."""
        returned = list(deliveries)
        self.deliveries.extendleft(reversed(returned))
        self.begun += len(returned)

    def next_deliveries(self, count: int) -> Sequence[ClaimedEditionDelivery]:
        """Return the next deliveries, at most so many, and keep them."""
        return tuple(islice(self.deliveries, count))

    def remove(self, count: int) -> None:
        """Remove the next deliveries: they are with a worker, or their readers are gone."""
        for _ in range(count):
            self.deliveries.popleft()
        self.begun = max(0, self.begun - count)

    def size_for_rate(self, attempted: int, now: datetime) -> int:
        """Return how many deliveries to claim ahead, by the rate since the last commit; 0 where that is unknown."""
        seconds = (now - self.filled_at).total_seconds() if self.filled_at else 0.0
        if seconds <= 0:
            return 0
        return min(MAX_CLAIM_BUFFER, int((attempted - self.attempted_then) / seconds * CLAIM_BUFFER_SECONDS))

    def is_stale(self, now: datetime) -> bool:
        """Return whether its deliveries have waited too long, or the clock was set back meanwhile."""
        if not self.deliveries or self.filled_at is None:
            return False
        return not 0 <= (now - self.filled_at).total_seconds() < MAX_CLAIM_BUFFER_SECONDS
