"""The commands that send, stop, and monitor an edition."""
