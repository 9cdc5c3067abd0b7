"""The claim buffer of a run: deliveries that it has claimed but not yet given to a worker.

A single durable commit reserves the next deliveries and marks those that will be sent before the
next commit as being handed over. Therefore, a commit covers many messages even if there are few
connections. The buffer is only as large as what the workers take in a moment, so that nothing is
claimed in advance for a slow server.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from digest.deliver.send.claims.delivery_claims import ClaimedEditionDelivery

MAX_CLAIM_BUFFER = 64  # maximum number of messages
CLAIM_BUFFER_SECONDS = 0.25  # the buffer contains what the workers take in this time
# When untaken deliveries go back to waiting, because a lease must cover a batch.
MAX_CLAIM_BUFFER_SECONDS = 5.0


@dataclass(slots=True)
class ClaimBuffer:
    """The claims of a run that no worker has yet, earliest first.

    Consent is checked before a delivery goes to a worker.
    """

    deliveries: deque[ClaimedEditionDelivery] = field(default_factory=deque)
    filled_at: datetime | None = None
    attempted_then: int = 0  # number of messages that the run had processed at that time
    begun: int = 0  # number of deliveries, from the first one on, that are marked as being handed over

    def __len__(self) -> int:
        return len(self.deliveries)

    @property
    def ids(self) -> list[str]:
        """The IDs of the deliveries in the buffer."""
        return [delivery.delivery_id for delivery in self.deliveries]

    def choose_deliveries_to_begin(
        self, claimed: Sequence[ClaimedEditionDelivery], count: int
    ) -> Sequence[ClaimedEditionDelivery]:
        """Return the deliveries to mark as being handed over with this claim.

        After it, all deliveries that were in the buffer are marked, and at least `count` if there
        are that many.
        """
        return [*self.deliveries, *claimed][self.begun : max(len(self.deliveries), count)]

    def fill(self, claimed: Iterable[ClaimedEditionDelivery], attempted: int, now: datetime) -> None:
        """Add the deliveries that a commit claimed.

        `attempted` is the number of messages that the run has processed.
        """
        self.deliveries.extend(claimed)
        self.filled_at, self.attempted_then = now, attempted

    def put_back(self, deliveries: Iterable[ClaimedEditionDelivery]) -> None:
        """Put untried deliveries, which are marked as being handed over, back at the front of the buffer."""
        returned = list(deliveries)
        self.deliveries.extendleft(reversed(returned))
        self.begun += len(returned)

    def peek_deliveries(self, count: int) -> Sequence[ClaimedEditionDelivery]:
        """Return up to `count` of the next deliveries without removing them."""
        return tuple(islice(self.deliveries, count))

    def remove(self, count: int) -> None:
        """Remove the next deliveries, which a worker has taken or which may no longer be sent."""
        for _ in range(count):
            self.deliveries.popleft()
        self.begun = max(0, self.begun - count)

    def size_for_rate(self, attempted: int, now: datetime) -> int:
        """Return how many deliveries to claim in advance, judging by the rate since the last commit.

        Return 0 if the rate is unknown.
        """
        seconds = (now - self.filled_at).total_seconds() if self.filled_at else 0.0
        if seconds <= 0:
            return 0
        return min(MAX_CLAIM_BUFFER, int((attempted - self.attempted_then) / seconds * CLAIM_BUFFER_SECONDS))

    def is_stale(self, now: datetime) -> bool:
        """Return True if the deliveries have waited too long, or if the clock was set back."""
        if not self.deliveries or self.filled_at is None:
            return False
        return not 0 <= (now - self.filled_at).total_seconds() < MAX_CLAIM_BUFFER_SECONDS
