"""Commands that send, stop, and monitor an edition."""
