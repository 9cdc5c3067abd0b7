"""A cache for counts that take long to compute.

Only one caller counts at a time. While a thread counts again, the outdated count is still shown.
"""

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import partial

from subscribers.loggers import get_logger

MAX_COUNTS = 200  # cached at the same time, such as those for all filters of a list

log = get_logger("counts")


@dataclass(slots=True)
class CachedCount:
    """A count that's outdated after `good_until` and may not be shown after `shown_until`.

    `version` identifies the state that was counted.
    """

    result: object
    good_until: float
    shown_until: float
    version: Hashable = None
    is_recounting: bool = False


@dataclass(slots=True)
class _KeptTurn:
    """The latest count under a key, and the lock that callers wait for while one of them counts."""

    count: CachedCount | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


def start_thread(task: Callable[[], object]) -> None:
    """Run a task in its own thread."""
    threading.Thread(target=task, name="recount", daemon=True).start()


@dataclass(slots=True)
class CachedCounts:
    """The latest counts, by key.

    `start_aside` runs work in the background.
    """

    start_aside: Callable[[Callable[[], object]], None] = start_thread
    _turns: dict[Hashable, _KeptTurn] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(
        self, key: Hashable, count: Callable[[], CachedCount], *, now: float, version: Hashable = None
    ) -> CachedCount:
        """Return the latest count under a key, or a new one if that can't be shown.

        The latest count can't be shown if it has another version or is too old. If it's only
        outdated, it's returned while a thread counts again, one at a time. If the thread fails, the
        next caller starts another one.
        """
        with self._lock:
            if len(self._turns) >= MAX_COUNTS and key not in self._turns:
                self._turns.clear()
            turn = self._turns.setdefault(key, _KeptTurn())
        with turn.lock:
            kept = turn.count
            if kept is None or kept.version != version or now >= kept.shown_until:
                kept = turn.count = count()
            elif now >= kept.good_until and not kept.is_recounting:
                kept.is_recounting = True
                self.start_aside(partial(_recount, turn, kept, count))
        return kept


def _recount(turn: _KeptTurn, kept: CachedCount, count: Callable[[], CachedCount]) -> None:
    """Replace a count, unless another caller has already replaced it."""
    try:
        newer = count()
    except Exception as exc:  # noqa: BLE001 - only its type is logged, because a trace may quote rows
        log.warning("a background count failed", error=type(exc).__name__)
        kept.is_recounting = False
        return
    with turn.lock:
        if turn.count is kept:
            turn.count = newer
