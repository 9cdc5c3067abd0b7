"""What stands as long as the process is kept out of Python's garbage collection."""

import gc


def freeze_long_lived_objects() -> None:
    """Take all that this process holds now out of later collections, after one that clears it.

    A full collection walks every object that may stand in a cycle: some 300,000 of the libraries, and as many of a large week's
    proposal, for a fifth of a second in the midst of a page. What is set aside goes as ever when nobody refers to it any more,
    unless it stands in a cycle.
    """
    gc.collect()
    gc.freeze()
