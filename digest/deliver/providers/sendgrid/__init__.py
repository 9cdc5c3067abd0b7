"""SendGrid: its API, its events, its suppression lists."""
