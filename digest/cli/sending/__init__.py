"""Commands that send, stop, and follow an edition."""
