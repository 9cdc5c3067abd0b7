"""SendGrid: its API, events, suppression lists, and erasures."""
