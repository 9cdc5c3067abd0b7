"""How many connections a server takes: fewer than we would like, perhaps, and not always as many."""

from collections.abc import Callable

FIRST_REST, MAX_REST = 1.0, 60.0  # seconds until a connection more than the server took is tried


class ConnectionLimit:
    """Learns from refusals, and tries one connection more after a rest, which doubles each time."""

    def __init__(self, connections: int, clock: Callable[[], float]) -> None:
        self._connections = connections  # that we would like
        self._clock = clock
        self.taken = connections  # as far as is known
        self._rest_seconds = 0.0
        self._rests_until = 0.0

    @property
    def allowed(self) -> int:
        """How many may be open."""
        is_rested = self.taken < self._connections and self._clock() >= self._rests_until
        return max(1, self.taken + is_rested)

    @property
    def is_exhausted(self) -> bool:
        """Whether the server takes none at all."""
        return not self.taken

    def note_refusal(self, others: int) -> float:
        """Note that the server refused a connection beside so many others; return the seconds of the rest that follows."""
        self.taken = min(self.taken, others)
        now = self._clock()
        if now >= self._rests_until:
            self._rest_seconds = min(MAX_REST, max(FIRST_REST, 2 * self._rest_seconds))
            self._rests_until = now + self._rest_seconds
        return self._rest_seconds

    def note_open(self, count: int) -> None:
        """Note that so many are open. Where that is more than before, the next one needs no rest."""
        self.taken = max(self.taken, count)
        if self.taken >= self._connections:
            self._rest_seconds = 0.0
