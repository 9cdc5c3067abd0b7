"""Claims: the deliveries that a run has claimed, and their progress."""
