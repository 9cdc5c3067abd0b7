"""Consent events counted by day: what came, what went and by which way, so that a page need not count a million events.

Every night counts the events since the night before, each once: `through` is the last one that is counted. The newest few minutes are left to the next
night, for a transaction that is still open may yet commit an event with a smaller number.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from subscribers.consent.audience import count_audience
from subscribers.store.database import upsert
from subscribers.store.models import ConsentDay, ConsentEvent, ConsentKind, Person

READERS_KIND = "readers"  # no event: how many may be mailed at the end of the day
SETTLING_TIME = timedelta(minutes=10)
MAX_WAY_LENGTH = 200
_COUNTED_KINDS = frozenset(ConsentKind) - {ConsentKind.BOUND, ConsentKind.CHOICES_CHANGED, ConsentKind.ADDRESS_CHANGED}
_ROWS_AT_ONCE = 5000

DayKey = tuple[date, str, str]


@dataclass(frozen=True, slots=True)
class CountedEvents:
    """How many events of each day, kind and way there are, up to the event with the number `through`."""

    counts: Mapping[DayKey, int]
    through: int


def count_consent_events(session: Session, zone: ZoneInfo, *, after: int, now: datetime) -> CountedEvents:
    """Count the events with a number above `after`; nothing is written. Days are those of the zone."""
    settled = select(ConsentEvent.id).where(ConsentEvent.id > after, ConsentEvent.at <= now - SETTLING_TIME)
    through = session.scalar(settled.order_by(ConsentEvent.id.desc()).limit(1)) or after
    query = (
        select(ConsentEvent.kind, ConsentEvent.at, Person.asked_where, Person.batch)
        .join(Person, Person.number == ConsentEvent.person)
        .where(ConsentEvent.id > after, ConsentEvent.id <= through)
        .execution_options(yield_per=_ROWS_AT_ONCE)
    )
    counts: Counter[DayKey] = Counter()
    for kind, at, asked_where, batch in session.execute(query):
        if kind in _COUNTED_KINDS:
            way = asked_where if batch is None else f"Import {batch}: {asked_where}"
            counts[at.astimezone(zone).date(), kind.value, way[:MAX_WAY_LENGTH]] += 1
    return CountedEvents(counts, through)


def add_day_counts(session: Session, counts: Mapping[DayKey, int]) -> None:
    """Add counts to those that are kept."""
    for (day, kind, way), count in counts.items():
        statement = upsert(session, ConsentDay).values(day=day, kind=kind, way=way, count=count)
        kept = {"count": ConsentDay.count + statement.excluded["count"]}
        session.execute(statement.on_conflict_do_update(index_elements=["day", "kind", "way"], set_=kept))


def record_reader_count(session: Session, day: date) -> int:
    """Write down how many may be mailed on a day; the last look of the day counts."""
    readers = count_audience(session)
    statement = upsert(session, ConsentDay).values(day=day, kind=READERS_KIND, way="", count=readers)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["day", "kind", "way"], set_={"count": statement.excluded["count"]}
        )
    )
    return readers
