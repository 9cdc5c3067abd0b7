"""How a send is getting on, for whoever asks from another terminal: written every few seconds in the claim's commit."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from digest.deliver import memos

EVERY = timedelta(seconds=5)
SILENT = timedelta(minutes=2)  # a run that said nothing for so long is not running


@dataclass(frozen=True, slots=True)
class Pulse:
    """One run as it last said of itself. `waits` says what it waits for, and `until` until when."""

    since: datetime
    at: datetime
    tried: int
    running: bool
    waits: str = ""
    until: datetime | None = None

    @property
    def per_second(self) -> float:
        """How many messages it dealt with in a second, on average."""
        seconds = (self.at - self.since).total_seconds()
        return self.tried / seconds if seconds > 0 else 0.0

    def alive(self, now: datetime) -> bool:
        """Say whether it is still running, as far as anybody can tell."""
        return self.running and now - self.at <= SILENT

    def left(self, waiting: int) -> timedelta | None:
        """Say how long so many messages take at this rate; None where nobody knows."""
        return timedelta(seconds=waiting / self.per_second) if self.per_second else None


def in_words(last: Pulse | None, waiting: int, now: datetime, zone: ZoneInfo) -> str:
    """Say in a sentence how a send with so many waiting deliveries is getting on; empty where nothing waits."""
    if last is None or not waiting:
        return ""
    if last.alive(now):
        left = last.left(waiting)
        rest = f", about {_lasts(left)} left" if left is not None else ""
        return f"{last.tried:,} handed over, {last.per_second:,.1f} a second{rest}"
    said = last.waits or ("it broke off without a word" if last.running else "")
    when = f"goes on {last.until.astimezone(zone):%a %H:%M %Z}" if last.until and last.until > now else ""
    return "; ".join(filter(None, (said, when)))


def _lasts(span: timedelta) -> str:
    minutes = round(span.total_seconds() / 60)
    if minutes < 1:
        return "a minute"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


@dataclass(slots=True)
class Heart:
    """Beats for one run."""

    edition: str
    since: datetime
    last: datetime | None = field(default=None)

    def due(self, now: datetime) -> bool:
        """Say whether it is time for a beat; a clock that was set back does not silence it."""
        return self.last is None or not self.last <= now < self.last + EVERY

    def beat(
        self,
        session: Session,
        tried: int,
        now: datetime,
        *,
        running: bool = True,
        waits: str = "",
        until: datetime | None = None,
    ) -> None:
        """Say how the run is getting on."""
        self.last = now
        said = {
            "since": self.since.isoformat(),
            "at": now.isoformat(),
            "tried": tried,
            "running": running,
            "waits": waits,
            "until": until.isoformat() if until else "",
        }
        memos.remember(session, _name(self.edition), said, now=now)


def pulse(session: Session, edition: str) -> Pulse | None:
    """Ask how the last run of an edition was getting on."""
    found = memos.recall(session, _name(edition))
    if found is None:
        return None
    return Pulse(
        since=datetime.fromisoformat(found["since"]),
        at=datetime.fromisoformat(found["at"]),
        tried=found["tried"],
        running=found["running"],
        waits=found["waits"],
        until=datetime.fromisoformat(found["until"]) if found["until"] else None,
    )


def _name(edition: str) -> str:
    return f"sending {edition}"
