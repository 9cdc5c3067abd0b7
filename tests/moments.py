"""Times in the demo's week of November 16, 2026, in UTC, five hours ahead of its New York, and a clock that stops at one."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

MONDAY_NOON = datetime(2026, 11, 16, 12, tzinfo=UTC)
MONDAY_MORNING = datetime(2026, 11, 16, 15, tzinfo=UTC)  # in New York
THURSDAY_NOON = datetime(2026, 11, 19, 12, tzinfo=UTC)
DRAFTING = datetime(2026, 11, 19, 22, 30, tzinfo=UTC)  # Thursday: the edition of the week is drafted
RELEASE = datetime(2026, 11, 20, 11, tzinfo=UTC)  # Friday: it's sent
AFTER_RELEASE = datetime(2026, 11, 20, 12, tzinfo=UTC)
BETWEEN_SECONDS = AFTER_RELEASE.replace(microsecond=123456)  # for what must keep a moment to the microsecond


@dataclass
class Clock:
    """A clock that a test moves on."""

    now: datetime = DRAFTING

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now

    def advance(self, **by: int) -> None:
        """Let so many hours, minutes, or seconds pass."""
        self.now += timedelta(**by)

    def sleep(self, seconds: float) -> None:
        """Stand in for `time.sleep`."""
        self.now += timedelta(seconds=seconds)
