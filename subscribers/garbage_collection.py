"""Python's garbage collection, kept from what it would search for cycles in vain."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_USUAL_THRESHOLDS = gc.get_threshold()
_RARE_THRESHOLD = 100_000  # new objects between two collections


@contextmanager
def rare_garbage_collection() -> Iterator[None]:
    """Look for cycles of objects less often, in this whole process.

    Rows of a list and articles of a week are in none. Searching them took an eighth of an import's time and a sixth of a draft's.
    """
    gc.set_threshold(_RARE_THRESHOLD, *_USUAL_THRESHOLDS[1:])
    try:
        yield
    finally:
        gc.set_threshold(
            *_USUAL_THRESHOLDS
        )  # not what was found: another thread may have changed that for its own work


def freeze_long_lived_objects() -> None:
    """Take all that this process holds now out of later collections, after one that clears it.

    A full collection walks every object that may stand in a cycle: some 300,000 of the libraries, and as many of a large week's
    proposal, for a fifth of a second in the midst of a page. What is set aside goes as ever when nobody refers to it any more,
    unless it stands in a cycle.
    """
    gc.collect()
    gc.freeze()
