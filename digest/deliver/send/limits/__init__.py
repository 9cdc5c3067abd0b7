"""Rate limits: how fast messages may leave."""
