"""The progress of a send, shown to other processes.

It's stored every few seconds with a claim's commit.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from digest.deliver.control import installation_hold
from subscribers.english_text import clock_time

WRITE_INTERVAL = timedelta(seconds=5)
STALE_AFTER = timedelta(minutes=2)  # a run that hasn't reported for this long isn't running
KEPT_MINUTES = 60  # number of minutes with handovers whose counts are kept


@dataclass(frozen=True, slots=True)
class MinuteCount:
    """The number of an edition's messages processed in the minute starting at `at` (UTC)."""

    at: datetime
    messages: int


@dataclass(frozen=True, slots=True)
class SendProgress:
    """The latest progress report from a send run.

    `wait_reason` and `resumes_at` say what it's waiting for and until when.

    If the latest runs all failed without handing anything over, `failing_since` is when the first of
    them ended. `minutes` are the last minutes with handovers, by this run or earlier ones, in order.
    """

    started_at: datetime
    reported_at: datetime
    attempted: int
    running: bool
    wait_reason: str = ""
    resumes_at: datetime | None = None
    failing_since: datetime | None = None
    minutes: tuple[MinuteCount, ...] = ()

    def starts_soon(self, now: datetime) -> bool:
        """Return True if the next run is due.

        None must be running, and there must be nothing to wait for.
        """
        return not (self.running or self.wait_reason or (self.resumes_at and self.resumes_at > now))

    def is_overdue(self, now: datetime) -> bool:
        """Return True if the next run is so long overdue that nothing seems to be starting it."""
        return self.starts_soon(now) and now - self.reported_at > STALE_AFTER

    @property
    def per_second(self) -> float:
        """The average number of messages processed per second."""
        seconds = (self.reported_at - self.started_at).total_seconds()
        return self.attempted / seconds if seconds > 0 else 0.0

    def is_running(self, now: datetime) -> bool:
        """Return True if the run is still running, as far as we know."""
        return self.running and now - self.reported_at <= STALE_AFTER

    def time_left(self, waiting: int) -> timedelta | None:
        """Return how long sending `waiting` messages takes at the average rate, or None if the rate is unknown or 0."""
        return timedelta(seconds=waiting / self.per_second) if self.per_second else None


def describe_progress(progress: SendProgress | None, waiting: int, now: datetime, zone: ZoneInfo) -> str:
    """Return a phrase about a send's progress.

    Return "" if nothing is waiting or there's nothing to say.
    """
    if progress is None or not waiting:
        return ""
    if progress.is_running(now):
        time_left = progress.time_left(waiting)
        estimate = f", about {_format_duration(time_left)} left" if time_left is not None else ""
        return f"{progress.attempted:,} sent, {progress.per_second:,.1f} per second{estimate}"
    reason = progress.wait_reason or ("sending stopped unexpectedly" if progress.running else "")
    resumption = ""
    if progress.resumes_at and progress.resumes_at > now:
        local = progress.resumes_at.astimezone(zone)
        resumption = f"resumes {local:%a}, {clock_time(local)} {local:%Z}"
    return "; ".join(filter(None, (reason, resumption)))


def _format_duration(span: timedelta) -> str:
    minutes = round(span.total_seconds() / 60)
    if minutes < 1:
        return "a minute"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


@dataclass(slots=True)
class ProgressWriter:
    """A writer of one run's progress reports."""

    edition: str
    started_at: datetime
    last_written_at: datetime | None = field(default=None)
    counted: int = 0  # number of this run's messages that are counted in a minute

    def is_due(self, now: datetime) -> bool:
        """Return True if it's time to store the progress or the clock was set back."""
        return self.last_written_at is None or not self.last_written_at <= now < self.last_written_at + WRITE_INTERVAL

    def write_progress(
        self,
        session: Session,
        attempted: int,
        now: datetime,
        *,
        in_flight: int = 0,
        running: bool = True,
        failed: bool = False,
        wait_reason: str = "",
        resumes_at: datetime | None = None,
    ) -> None:
        """Store the progress within the caller's transaction.

        If the commit fails, some messages are missing from the minutes. `failed` is whether the run
        ended because something is wrong.
        """
        before = read_progress(session, self.edition)
        failing_since = before.failing_since if before and not attempted and (running or failed) else None
        if failed and not attempted:
            failing_since = failing_since or now
        attempted += in_flight
        # Messages being handed over may come back and be retried, but they count once.
        minutes = add_to_minute_counts(before.minutes if before else (), max(0, attempted - self.counted), now)
        self.last_written_at, self.counted = now, max(self.counted, attempted)
        stored = {
            "since": self.started_at.isoformat(),
            "at": now.isoformat(),
            "tried": attempted,
            "running": running,
            "waits": wait_reason,
            "until": resumes_at.isoformat() if resumes_at else "",
            "failing": failing_since.isoformat() if failing_since else "",
            "minutes": [[minute.at.isoformat(), minute.messages] for minute in minutes],
        }
        installation_hold.write_installation_value(session, _progress_key(self.edition), stored, now=now)


def read_progress(session: Session, edition: str) -> SendProgress | None:
    """Return the progress of an edition's last run, or None if there was none."""
    stored = installation_hold.read_installation_value(session, _progress_key(edition))
    if stored is None:
        return None
    return SendProgress(
        started_at=datetime.fromisoformat(stored["since"]),
        reported_at=datetime.fromisoformat(stored["at"]),
        attempted=stored["tried"],
        running=stored["running"],
        wait_reason=stored["waits"],
        resumes_at=datetime.fromisoformat(stored["until"]) if stored["until"] else None,
        failing_since=datetime.fromisoformat(stored["failing"]) if stored.get("failing") else None,
        minutes=tuple(MinuteCount(datetime.fromisoformat(at), many) for at, many in stored.get("minutes", ())),
    )


def forget_wait_reason(session: Session, edition: str, *, now: datetime) -> None:
    """Delete the reason that an edition's last run ended.

    Sending was resumed, and the next run starts soon.
    """
    key = _progress_key(edition)
    stored = installation_hold.read_installation_value(session, key)
    if stored is not None and not stored["running"]:
        resumed = {**stored, "waits": "", "until": "", "failing": "", "at": now.isoformat()}
        installation_hold.write_installation_value(session, key, resumed, now=now)


def add_to_minute_counts(
    minutes: tuple[MinuteCount, ...],
    messages: int,
    now: datetime,
) -> tuple[MinuteCount, ...]:
    """Add messages to the count for the minute of `now`, keeping the last KEPT_MINUTES minutes that have messages."""
    counts = {minute.at: minute.messages for minute in minutes}
    if messages:
        at = now.replace(second=0, microsecond=0)
        counts[at] = counts.get(at, 0) + messages
    return tuple(MinuteCount(at, counts[at]) for at in sorted(counts))[-KEPT_MINUTES:]


def _progress_key(edition: str) -> str:
    return f"sending {edition}"
