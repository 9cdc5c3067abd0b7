"""Rate limits for sending."""
