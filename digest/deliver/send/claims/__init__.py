"""Claims: the deliveries that a run has claimed, and its progress with them."""
