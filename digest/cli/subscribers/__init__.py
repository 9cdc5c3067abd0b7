"""`digest subscribers`: the list and the people on it."""
