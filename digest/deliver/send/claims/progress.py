"""The progress of a send, for whoever asks from another terminal: written every few seconds in the claim's commit."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from digest.deliver.control import installation_hold
from subscribers.phrases import clock_time

WRITE_INTERVAL = timedelta(seconds=5)
STALE_AFTER = timedelta(minutes=2)  # a run that reported nothing for so long is not running
KEPT_MINUTES = 60  # minutes of handing over whose numbers are kept


@dataclass(frozen=True, slots=True)
class MinuteCount:
    """How many messages of an edition were dealt with in the minute that begins at `at` (UTC)."""

    at: datetime
    messages: int


@dataclass(frozen=True, slots=True)
class SendProgress:
    """What a run last reported. `wait_reason` says what it waits for, and `resumes_at` until when.

    `minutes` are the last minutes in which something was handed over, by this run or one before it, in order.
    """

    started_at: datetime
    reported_at: datetime
    attempted: int
    running: bool
    wait_reason: str = ""
    resumes_at: datetime | None = None
    minutes: tuple[MinuteCount, ...] = ()

    def starts_soon(self, now: datetime) -> bool:
        """Return whether the next run is due: none is running, and there's nothing to wait for."""
        return not (self.running or self.wait_reason or (self.resumes_at and self.resumes_at > now))

    def is_overdue(self, now: datetime) -> bool:
        """Return whether the next run has been due for so long that nothing seems to start it."""
        return self.starts_soon(now) and now - self.reported_at > STALE_AFTER

    @property
    def per_second(self) -> float:
        """The messages it dealt with per second, on average."""
        seconds = (self.reported_at - self.started_at).total_seconds()
        return self.attempted / seconds if seconds > 0 else 0.0

    def is_running(self, now: datetime) -> bool:
        """Return whether it is still running, as far as anybody can tell."""
        return self.running and now - self.reported_at <= STALE_AFTER

    def time_left(self, waiting: int) -> timedelta | None:
        """Return how long so many messages take at this rate; None where that is unknown."""
        return timedelta(seconds=waiting / self.per_second) if self.per_second else None


def describe_progress(progress: SendProgress | None, waiting: int, now: datetime, zone: ZoneInfo) -> str:
    """Describe in a sentence how far a send with so many waiting deliveries is; empty where nothing waits."""
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
    """Writes the progress of one run."""

    edition: str
    started_at: datetime
    last_written_at: datetime | None = field(default=None)
    counted: int = 0  # messages of this run that stand in a minute

    def is_due(self, now: datetime) -> bool:
        """Return whether it is time to write; a clock that was set back does not prevent it."""
        return self.last_written_at is None or not self.last_written_at <= now < self.last_written_at + WRITE_INTERVAL

    def write_progress(
        self,
        session: Session,
        attempted: int,
        now: datetime,
        *,
        running: bool = True,
        wait_reason: str = "",
        resumes_at: datetime | None = None,
    ) -> None:
        """Write the progress into the caller's transaction. A commit that fails costs the minutes some messages."""
        before = read_progress(session, self.edition)
        # What is being handed over may come back, and is tried again: it counts once.
        minutes = add_to_minute_counts(before.minutes if before else (), max(0, attempted - self.counted), now)
        self.last_written_at, self.counted = now, max(self.counted, attempted)
        stored = {
            "since": self.started_at.isoformat(),
            "at": now.isoformat(),
            "tried": attempted,
            "running": running,
            "waits": wait_reason,
            "until": resumes_at.isoformat() if resumes_at else "",
            "minutes": [[minute.at.isoformat(), minute.messages] for minute in minutes],
        }
        installation_hold.write_installation_state(session, _progress_key(self.edition), stored, now=now)


def read_progress(session: Session, edition: str) -> SendProgress | None:
    """Return the progress of an edition's last run, or None where it never ran."""
    stored = installation_hold.read_installation_state(session, _progress_key(edition))
    if stored is None:
        return None
    return SendProgress(
        started_at=datetime.fromisoformat(stored["since"]),
        reported_at=datetime.fromisoformat(stored["at"]),
        attempted=stored["tried"],
        running=stored["running"],
        wait_reason=stored["waits"],
        resumes_at=datetime.fromisoformat(stored["until"]) if stored["until"] else None,
        minutes=tuple(MinuteCount(datetime.fromisoformat(at), many) for at, many in stored.get("minutes", ())),
    )


def forget_wait_reason(session: Session, edition: str, *, now: datetime) -> None:
    """Forget what an edition's last run waited for when it ended, because sending was resumed now: the next one begins within seconds."""
    key = _progress_key(edition)
    stored = installation_hold.read_installation_state(session, key)
    if stored is not None and not stored["running"]:
        resumed = {**stored, "waits": "", "until": "", "at": now.isoformat()}
        installation_hold.write_installation_state(session, key, resumed, now=now)


def add_to_minute_counts(minutes: tuple[MinuteCount, ...], messages: int, now: datetime) -> tuple[MinuteCount, ...]:
    """Count messages in the minute of `now`; the last KEPT_MINUTES minutes with a number stay."""
    counts = {minute.at: minute.messages for minute in minutes}
    if messages:
        at = now.replace(second=0, microsecond=0)
        counts[at] = counts.get(at, 0) + messages
    return tuple(MinuteCount(at, counts[at]) for at in sorted(counts))[-KEPT_MINUTES:]


def _progress_key(edition: str) -> str:
    return f"sending {edition}"
