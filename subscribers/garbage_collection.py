"""Tuning Python's garbage collection and the C library's memory pools for processes that run for weeks."""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_USUAL_THRESHOLDS = gc.get_threshold()
_RARE_THRESHOLD = 100_000  # new objects between two collections
_M_ARENA_MAX = -8  # from malloc.h of the GNU C library; see mallopt(3)
_MAX_ARENAS = 2


@contextmanager
def reduce_garbage_collection() -> Iterator[None]:
    """Make the whole process collect garbage less often during the block.

    The rows of a list and the articles of a week aren't in cycles. Searching them took an eighth of
    the time of an import and a sixth of that of a draft.
    """
    gc.set_threshold(_RARE_THRESHOLD, *_USUAL_THRESHOLDS[1:])
    try:
        yield
    finally:
        # Don't restore the previous values, because another thread may have changed them for its own work.
        gc.set_threshold(*_USUAL_THRESHOLDS)


def freeze_long_lived_objects() -> None:
    """Collect garbage, and exclude all of this process's remaining objects from later collections.

    A full collection visits every object that could be in a cycle. There are about 300,000 of the
    libraries, and as many of a large week's proposal, which delays a page by a fifth of a second.
    Excluded objects are still freed when there are no references to them, unless they're in a cycle.
    """
    gc.collect()
    gc.freeze()


def limit_memory_arenas() -> None:
    """Limit the GNU C library to two pools of memory. Other C libraries are left alone.

    By default, threads get up to eight pools per processor, and what one of them frees isn't
    available to the others. Serving pages while sending took 185 MB instead of 160. Python's lock
    lets one thread run at a time, so threads rarely wait for a pool.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _MAX_ARENAS)
