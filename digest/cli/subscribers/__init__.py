"""`digest subscribers`: the list and its subscribers."""
