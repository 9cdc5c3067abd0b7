"""One run of an edition, from its first claim to its last result."""
