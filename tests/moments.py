"""Moments of the demo's week, of 16 November 2026, that many tests share: in UTC, five hours before its New York."""

from datetime import UTC, datetime

MONDAY_NOON = datetime(2026, 11, 16, 12, tzinfo=UTC)
DRAFTING = datetime(2026, 11, 19, 22, 30, tzinfo=UTC)  # Thursday: the edition of the week is drafted
RELEASE = datetime(2026, 11, 20, 11, tzinfo=UTC)  # Friday: it's sent
AFTER_RELEASE = datetime(2026, 11, 20, 12, tzinfo=UTC)
