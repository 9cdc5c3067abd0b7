"""SendGrid: its API, events, suppression lists and erasure."""
