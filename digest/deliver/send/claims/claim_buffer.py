"""The claim buffer of a run: deliveries that it has claimed but not yet given to a worker.

One durable commit reserves the next deliveries and marks those that will be sent before the next commit as being handed
over. Even with few connections, a commit thus covers many messages. The buffer is only as large as what the workers
take in a moment, so that nothing is claimed ahead for a slow server.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from digest.deliver.send.claims.delivery_claims import ClaimedEditionDelivery

MAX_CLAIM_BUFFER = 64  # messages
CLAIM_BUFFER_SECONDS = 0.25  # the buffer contains what the workers take in this time
MAX_CLAIM_BUFFER_SECONDS = 5.0  # after which untaken deliveries wait again: a lease must cover a batch


@dataclass(slots=True)
class ClaimBuffer:
    """The claims of a run that no worker has yet, earliest first; consent is checked before one goes to a worker."""

    deliveries: deque[ClaimedEditionDelivery] = field(default_factory=deque)
    filled_at: datetime | None = None
    attempted_then: int = 0  # messages that the run had processed at that time
    begun: int = 0  # how many, from the first on, are marked as being handed over

    def __len__(self) -> int:
        return len(self.deliveries)

    @property
    def ids(self) -> list[str]:
        """The IDs of its deliveries."""
        return [delivery.delivery_id for delivery in self.deliveries]

    def choose_deliveries_to_begin(
        self, claimed: Sequence[ClaimedEditionDelivery], count: int
    ) -> Sequence[ClaimedEditionDelivery]:
        """Return the deliveries to mark as being handed over with this claim.

        Afterward, all buffered deliveries are marked, and at least `count` if there are as many.
        """
        return [*self.deliveries, *claimed][self.begun : max(len(self.deliveries), count)]

    def fill(self, claimed: Iterable[ClaimedEditionDelivery], attempted: int, now: datetime) -> None:
        """Add the deliveries that a commit claimed; `attempted` is how many messages the run has processed."""
        self.deliveries.extend(claimed)
        self.filled_at, self.attempted_then = now, attempted

    def put_back(self, deliveries: Iterable[ClaimedEditionDelivery]) -> None:
        """Put back untried deliveries, which are marked as being handed over, at the front."""
        returned = list(deliveries)
        self.deliveries.extendleft(reversed(returned))
        self.begun += len(returned)

    def peek_deliveries(self, count: int) -> Sequence[ClaimedEditionDelivery]:
        """Return up to `count` of the next deliveries without removing them."""
        return tuple(islice(self.deliveries, count))

    def remove(self, count: int) -> None:
        """Remove the next deliveries, which are with a worker or may no longer be sent."""
        for _ in range(count):
            self.deliveries.popleft()
        self.begun = max(0, self.begun - count)

    def size_for_rate(self, attempted: int, now: datetime) -> int:
        """Return how many deliveries to claim ahead, by the rate since the last commit, or 0 if that's unknown."""
        seconds = (now - self.filled_at).total_seconds() if self.filled_at else 0.0
        if seconds <= 0:
            return 0
        return min(MAX_CLAIM_BUFFER, int((attempted - self.attempted_then) / seconds * CLAIM_BUFFER_SECONDS))

    def is_stale(self, now: datetime) -> bool:
        """Return whether its deliveries have waited too long, or the clock was set back since."""
        if not self.deliveries or self.filled_at is None:
            return False
        return not 0 <= (now - self.filled_at).total_seconds() < MAX_CLAIM_BUFFER_SECONDS
