"""The pace of one run: the bounds of the settings against what the whole installation handed over.

Where nothing is bounded nothing is counted, and a send costs what it costs without this.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from digest.db import Database
from digest.deliver import memos
from digest.deliver.pacing import DAY, MINUTE, Bucket, Lines, Room, bounds_of, room
from digest.delivery_db import Handed
from digest.settings import Limits
from subscribers.addresses import Address
from subscribers.vault import Keys, domain_tag

BEGAN = "first handed over"  # the memo that says since when a new sender warms up
KEPT = 2 * DAY


@dataclass(slots=True)
class Pace:
    """What one run knows of its pace; it serves one thread."""

    limits: Limits
    lines: Lines
    bucket: Bucket
    began: datetime | None = None
    _asked: bool = field(default=False)

    @classmethod
    def of(cls, limits: Limits, keys: Keys) -> "Pace":
        """Make the pace of a run out of the settings."""
        caps = {
            domain_tag(keys, Address("x", domain.lower())): most
            for domain, most in limits.domains_per_hour.items()
        }
        return cls(limits, Lines(caps), Bucket(limits.send_per_second))

    @property
    def bounded(self) -> bool:
        """Whether what is handed over has to be counted."""
        return bool(self.limits.send_per_second or self.limits.send_per_hour or self.limits.warm_up)

    def room(self, session: Session, wanted: int, now: datetime) -> Room:
        """Say how many of `wanted` messages may leave now; other processes wait until this transaction ends."""
        if not self.bounded:
            return Room(wanted)
        smooth = self.bucket.room(now)
        if not smooth.messages:
            return smooth
        _count(session, 0, now)  # takes the row's lock
        bounds = bounds_of(self.limits, self._since(session), now)
        if not bounds:
            return Room(wanted)
        longest = max(bound.span for bound in bounds)
        query = select(Handed.minute, Handed.messages).where(Handed.minute > now - longest - MINUTE)
        found = room(bounds, [(row.minute, row.messages) for row in session.execute(query)], now)
        return Room(min(wanted, smooth.messages, found.messages), found.free_at, found.why)

    def count(self, session: Session, messages: int, now: datetime) -> None:
        """Count messages in the transaction that claims them."""
        if messages and self.bounded:
            self.bucket.take(messages)
            if self._since(session) is None:
                memos.remember(session, BEGAN, {"at": now.isoformat()}, now=now)
                self.began = now
            _count(session, messages, now)

    def _since(self, session: Session) -> datetime | None:
        if self.began is None and not self._asked:
            found = memos.recall(session, BEGAN)
            self.began, self._asked = datetime.fromisoformat(found["at"]) if found else None, True
        return self.began


def _count(session: Session, messages: int, now: datetime) -> None:
    dialect: Any = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    row = {"minute": now.replace(second=0, microsecond=0), "messages": messages}
    put = dialect.insert(Handed).values(**row)
    more = {"messages": Handed.messages + messages}
    session.execute(put.on_conflict_do_update(index_elements=["minute"], set_=more))


def forget_old(database: Database, *, now: datetime) -> int:
    """Delete counts that no bound looks at any more; give how many."""
    with database.write() as session:
        old = delete(Handed).where(Handed.minute < now - KEPT)
        return session.connection().execute(old).rowcount
