"""How things stand, in words: the health of sources, the books of editions."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from digest.collect.sources import PATIENCE
from digest.db import Edition, Health, Source
from digest.deliver.planning import Books, books, purpose_of
from digest.delivery_db import DeliveryState
from digest.web.words import many, short_moment


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One source: `state` in a word, `words` for what is the matter and what to do. `tone` colours it."""

    source: Source
    state: str
    tone: str  # ok | warn | bad | quiet
    words: str
    good: str
    next_try: str


@dataclass(frozen=True, slots=True)
class SentRow:
    """One edition with its books."""

    edition: Edition
    books: Books

    @property
    def accepted(self) -> int:
        """How many messages the receiving side took."""
        return self.books[DeliveryState.ACCEPTED]

    @property
    def refused(self) -> int:
        """How many it would not have."""
        return self.books[DeliveryState.REFUSED]

    @property
    def uncertain(self) -> int:
        """How many were in the air when something broke."""
        return self.books[DeliveryState.UNCERTAIN]

    @property
    def other(self) -> str:
        """Name the rest: those who left in time, had nothing in their sections, or were called off."""
        shown = (
            DeliveryState.WITHDRAWN,
            DeliveryState.SKIPPED,
            DeliveryState.CANCELLED,
            DeliveryState.EXPIRED,
        )
        said = [f"{self.books[state]:,} {state}" for state in shown if self.books[state]]
        if not self.books.balanced:
            said.append("the books do not balance")
        return ", ".join(said)


def sent_row(session: Session, edition: Edition) -> SentRow:
    """Read an edition's books."""
    return SentRow(edition, books(session, purpose_of(edition.name)))


_LOOK = (
    "Open it in a browser: if it has moved, put the new address in digest.toml; if it is gone, take it out."
)
_ORDER = {"bad": 0, "warn": 1, "ok": 2, "quiet": 3}


def source_rows(sources: Iterable[Source], now: datetime, zone: ZoneInfo) -> list[SourceRow]:
    """Show every source, those that need somebody first."""
    rows = [_source_row(source, now, zone) for source in sources]
    return sorted(rows, key=lambda r: (_ORDER[r.tone], r.source.name.casefold(), r.source.url))


def _source_row(source: Source, now: datetime, zone: ZoneInfo) -> SourceRow:
    state, tone, words = _behaviour(source, now, zone)
    return SourceRow(
        source=source,
        state=state,
        tone=tone,
        words=words,
        good=short_moment(source.good_at, zone) if source.good_at else "never",
        next_try=short_moment(source.next_try_at, zone) if source.next_try_at and source.active else "",
    )


def _behaviour(source: Source, now: datetime, zone: ZoneInfo) -> tuple[str, str, str]:
    """Give state, tone and words. The stored message of a bad visit says already what to do about it."""
    begun = short_moment(source.failing_since or now, zone)
    since = f" Since {begun.removesuffix('.')}."  # an hour ends with a full stop of its own: "7:00 p.m."
    said = _sentence(source.message)
    if not source.active:
        return "Off", "quiet", "It stands in the settings no more. Its articles are kept."
    match source.health:
        case Health.GOOD:
            moved = (
                f"It has moved to {source.moved_to}: put that address in digest.toml."
                if source.moved_to
                else ""
            )
            return "Good", "ok", moved
        case Health.NEW:
            return "New", "quiet", "Not visited yet. The next collection does, or 'digest collect' now."
        case Health.REFUSING:
            return (
                "Refusing",
                "bad",
                (said or "The publisher turns us away: write and ask to be let in.") + since,
            )
        case Health.GONE:
            return "Gone", "bad", (said or "It is gone for good: look for its new address.") + since
        case Health.FAILING:
            return _failing(source, f"{said or 'It does not answer.'} Since {begun}", now)


def _failing(source: Source, said: str, now: datetime) -> tuple[str, str, str]:
    tried = f"{said}, {many(source.failures, 'try', 'tries')}."
    if now - (source.failing_since or now) < PATIENCE:
        return "Failing", "warn", f"{tried} We try again by ourselves."
    return (
        "Failing for a week",
        "bad",
        f"{tried} Nothing of it reaches the edition. {_LOOK}",
    )


def _sentence(text: str) -> str:
    text = text.strip()
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""
