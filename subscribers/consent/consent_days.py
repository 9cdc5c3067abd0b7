"""Consent events counted by day: what came, what went and by which way, so that a page need not count a million events.

Every night counts the events since the night before, each once, in steps of event numbers: whoever calls keeps how far it is, in the transaction that
adds the counts. The newest few minutes are left to the next night, for a transaction that is still open may yet commit an event with a smaller number.
"""

from collections import Counter
from collections.abc import Mapping
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
EVENTS_A_STEP = 10_000  # event numbers that one transaction counts
_ROWS_AT_ONCE = 1000

DayKey = tuple[date, str, str]


def find_settled_event(session: Session, now: datetime) -> int:
    """Return the number of the newest event that no open transaction can come before; 0 where there is none."""
    settled = select(ConsentEvent.id).where(ConsentEvent.at <= now - SETTLING_TIME)
    return session.scalar(settled.order_by(ConsentEvent.id.desc()).limit(1)) or 0


def count_consent_events(session: Session, zone: ZoneInfo, *, after: int, through: int) -> Mapping[DayKey, int]:
    """Count the events with numbers above `after`, to `through`, by day of the zone, kind and way; nothing is written."""
    query = (
        select(ConsentEvent.kind, ConsentEvent.at, Person.asked_where, Person.batch)
        .join(Person, Person.number == ConsentEvent.person)
        .where(ConsentEvent.id > after, ConsentEvent.id <= through)
    )
    counts: Counter[DayKey] = Counter()
    for kind, at, asked_where, batch in session.execute(query):
        if kind in _COUNTED_KINDS:
            way = asked_where if batch is None else f"Import {batch}: {asked_where}"
            counts[at.astimezone(zone).date(), kind.value, way[:MAX_WAY_LENGTH]] += 1
    return counts


def add_day_counts(session: Session, counts: Mapping[DayKey, int]) -> None:
    """Add counts to those that are kept."""
    statement = upsert(session, ConsentDay)
    kept = {"count": ConsentDay.count + statement.excluded["count"]}
    statement = statement.on_conflict_do_update(index_elements=["day", "kind", "way"], set_=kept)
    rows = [{"day": day, "kind": kind, "way": way, "count": count} for (day, kind, way), count in counts.items()]
    for begin in range(0, len(rows), _ROWS_AT_ONCE):
        session.connection().execute(statement, rows[begin : begin + _ROWS_AT_ONCE])


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
