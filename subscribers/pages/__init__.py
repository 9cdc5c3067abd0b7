"""Pages for subscribers."""
