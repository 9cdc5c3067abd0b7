"""How a send is getting on, for whoever asks from another terminal: written every few seconds in the claim's commit."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from digest.deliver.control import installation_state

WRITE_INTERVAL = timedelta(seconds=5)
STALE_AFTER = timedelta(minutes=2)  # a run that said nothing for so long is not running


@dataclass(frozen=True, slots=True)
class SendProgress:
    """One run as it last said of itself. `wait_reason` says what it waits for, and `resumes_at` until when."""

    started_at: datetime
    reported_at: datetime
    attempted: int
    running: bool
    wait_reason: str = ""
    resumes_at: datetime | None = None

    @property
    def per_second(self) -> float:
        """How many messages it dealt with in a second, on average."""
        seconds = (self.reported_at - self.started_at).total_seconds()
        return self.attempted / seconds if seconds > 0 else 0.0

    def is_running(self, now: datetime) -> bool:
        """Say whether it is still running, as far as anybody can tell."""
        return self.running and now - self.reported_at <= STALE_AFTER

    def time_left(self, waiting: int) -> timedelta | None:
        """Say how long so many messages take at this rate; None where nobody knows."""
        return timedelta(seconds=waiting / self.per_second) if self.per_second else None


def describe_progress(progress: SendProgress | None, waiting: int, now: datetime, zone: ZoneInfo) -> str:
    """Say in a sentence how a send with so many waiting deliveries is getting on; empty where nothing waits."""
    if progress is None or not waiting:
        return ""
    if progress.is_running(now):
        left = progress.time_left(waiting)
        rest = f", about {_format_duration(left)} left" if left is not None else ""
        return f"{progress.attempted:,} handed over, {progress.per_second:,.1f} a second{rest}"
    said = progress.wait_reason or ("it broke off without a word" if progress.running else "")
    when = (
        f"goes on {progress.resumes_at.astimezone(zone):%a %H:%M %Z}"
        if progress.resumes_at and progress.resumes_at > now
        else ""
    )
    return "; ".join(filter(None, (said, when)))


def _format_duration(span: timedelta) -> str:
    minutes = round(span.total_seconds() / 60)
    if minutes < 1:
        return "a minute"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


@dataclass(slots=True)
class ProgressWriter:
    """Beats for one run."""

    edition: str
    started_at: datetime
    last_written_at: datetime | None = field(default=None)

    def is_due(self, now: datetime) -> bool:
        """Say whether it is time for a beat; a clock that was set back does not silence it."""
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
        """Say how the run is getting on."""
        self.last_written_at = now
        said = {
            "since": self.started_at.isoformat(),
            "at": now.isoformat(),
            "tried": attempted,
            "running": running,
            "waits": wait_reason,
            "until": resumes_at.isoformat() if resumes_at else "",
        }
        installation_state.write_installation_state(session, _progress_key(self.edition), said, now=now)


def read_progress(session: Session, edition: str) -> SendProgress | None:
    """Ask how the last run of an edition was getting on."""
    found = installation_state.read_installation_state(session, _progress_key(edition))
    if found is None:
        return None
    return SendProgress(
        started_at=datetime.fromisoformat(found["since"]),
        reported_at=datetime.fromisoformat(found["at"]),
        attempted=found["tried"],
        running=found["running"],
        wait_reason=found["waits"],
        resumes_at=datetime.fromisoformat(found["until"]) if found["until"] else None,
    )


def _progress_key(edition: str) -> str:
    return f"sending {edition}"
