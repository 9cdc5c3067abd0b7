"""Daily counts of consent events by kind and method, so that pages don't have to count a million events.

Every night, the events since the previous night are counted once, in steps of event numbers.
Callers store the last number in the transaction that adds the counts. The events of the last few
minutes are counted the next night, because an open transaction may still commit an event with a
smaller number.

The number of people on the list, and of those who joined and left since the previous night, is also
recorded each night. It's computed from the chains, so the three numbers are always consistent. The
kinds of events wouldn't be enough, because an erased person may have unsubscribed earlier. Reasons
for unsubscribing have their own position, so earlier ones are counted, too.
"""

import json
from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import or_, select
from sqlalchemy.orm import Session, aliased

from subscribers.consent import ledger
from subscribers.consent.audience import count_audience
from subscribers.store.database import upsert
from subscribers.store.models import ConsentEvent, ConsentKind, DailyConsentCount, ImportBatch, Person

# This isn't an event. It's the number of people on the list at the time of the count.
SUBSCRIBERS_KIND = "readers"
# These aren't events. They're the people who joined and left the list since the previous night.
JOINED_KIND, WENT_KIND = (
    "joined",
    "went",
)
# This isn't an event. It counts unsubscribes for a reason, whose key replaces the method.
REASON_KIND = "reason"
KINDS_WITHOUT_WAY = frozenset({SUBSCRIBERS_KIND, JOINED_KIND, WENT_KIND, REASON_KIND})
SETTLING_TIME = timedelta(minutes=10)
MAX_WAY_LENGTH = 200
_COUNTED_KINDS = frozenset(ConsentKind) - {
    ConsentKind.CHOICES_CHANGED,
    ConsentKind.ADDRESS_CHANGED,
    ConsentKind.LINKS_RENEWED,
    ConsentKind.WITHDRAWN_AGAIN,
}
# The last event of one of these kinds determines whether someone is on the list.
_DECISIVE_KINDS = ledger.GRANT_KINDS | {
    ConsentKind.WITHDRAWN,
    ConsentKind.COMPLAINED,
    ConsentKind.SUPPRESSED,
    ConsentKind.ERASED,
    ConsentKind.REMOVED,
    ConsentKind.EXPIRED,
}
EVENTS_A_STEP = 10_000  # event numbers counted per transaction
_ROWS_AT_ONCE = 1000

DayKey = tuple[date, str, str]


def find_last_fully_committed_event(session: Session, now: datetime) -> int:
    """Return the highest event number up to which no open transaction can add events, or 0 if there's none."""
    settled_events = select(ConsentEvent.id).where(ConsentEvent.at <= now - SETTLING_TIME)
    return session.scalar(settled_events.order_by(ConsentEvent.id.desc()).limit(1)) or 0


def count_consent_events(
    session: Session,
    zone: ZoneInfo,
    *,
    after: int,
    through: int,
) -> Mapping[DayKey, int]:
    """Count the events numbered above `after` and up to `through`, by day in `zone`, kind, and method.

    Nothing is written.
    """
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


def count_unsubscribe_reasons(
    session: Session,
    zone: ZoneInfo,
    *,
    after: int,
    through: int,
) -> Mapping[DayKey, int]:
    """Count the reasons for unsubscribing given in the events numbered above `after` and up to `through`."""
    query = select(ConsentEvent.at, ConsentEvent.body).where(
        ConsentEvent.id > after, ConsentEvent.id <= through, ConsentEvent.kind == ConsentKind.WITHDRAWN
    )
    counts: Counter[DayKey] = Counter()
    for at, body in session.execute(query):
        reason = _read_reason(body)
        if reason in ledger.UNSUBSCRIBE_REASONS:
            counts[at.astimezone(zone).date(), REASON_KIND, reason] += 1
    return counts


def _read_reason(body: str) -> str:
    """Return the reason in an event, or "" if it has none or is damaged.

    Damaged events are reported by the nightly check.
    """
    try:
        values = json.loads(body)
    except ValueError:
        return ""
    reason = values.get("reason") if isinstance(values, dict) else None
    return reason if isinstance(reason, str) else ""


def count_list_changes(
    session: Session, *, after: int, through: int | None = None, listed_only: bool = False
) -> tuple[int, int]:
    """Count the people who joined and those who left the list in the events numbered above `after` and up to `through`.

    With `listed_only`, people of unfinished imports are omitted, as in the number of subscribers.
    """
    earlier = aliased(ConsentEvent)
    last_before = (
        select(earlier.kind)
        .where(earlier.person == ConsentEvent.person, earlier.seq < ConsentEvent.seq, earlier.kind.in_(_DECISIVE_KINDS))
        .order_by(earlier.seq.desc())
        .limit(1)
        .correlate(ConsentEvent)
        .scalar_subquery()
    )
    query = select(ConsentEvent.kind, last_before).where(
        ConsentEvent.id > after, ConsentEvent.kind.in_(_DECISIVE_KINDS)
    )
    if through is not None:
        query = query.where(ConsentEvent.id <= through)
    if listed_only:
        unfinished = select(ImportBatch.id).where(ImportBatch.done_at.is_(None))
        query = query.join(Person, Person.number == ConsentEvent.person).where(
            or_(Person.batch.is_(None), Person.batch.not_in(unfinished))
        )
    joined = went = 0
    for kind, before in session.execute(query):
        was_listed, is_listed = before in ledger.GRANT_KINDS, kind in ledger.GRANT_KINDS
        joined += is_listed and not was_listed
        went += was_listed and not is_listed
    return joined, went


def add_day_counts(session: Session, counts: Mapping[DayKey, int]) -> None:
    """Add counts to the stored counts for the same day, kind, and method."""
    statement = upsert(session, DailyConsentCount)
    updated_count = {"count": DailyConsentCount.count + statement.excluded["count"]}
    statement = statement.on_conflict_do_update(index_elements=["day", "kind", "way"], set_=updated_count)
    rows = [{"day": day, "kind": kind, "way": way, "count": count} for (day, kind, way), count in counts.items()]
    for begin in range(0, len(rows), _ROWS_AT_ONCE):
        session.connection().execute(statement, rows[begin : begin + _ROWS_AT_ONCE])


def record_subscriber_count(session: Session, day: date, *, after: int) -> int:
    """Record and return the number of people on the list as of event `after`.

    The last count of a day is kept. Later events, and the changes made by them, are counted the next night.
    """
    joined, went = count_list_changes(session, after=after, listed_only=True)
    subscribers = count_audience(session) - joined + went
    # Both rows are written even if they're zero, to show that they were counted.
    add_day_counts(session, {(day, JOINED_KIND, ""): 0, (day, WENT_KIND, ""): 0})
    statement = upsert(session, DailyConsentCount).values(day=day, kind=SUBSCRIBERS_KIND, way="", count=subscribers)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["day", "kind", "way"], set_={"count": statement.excluded["count"]}
        )
    )
    return subscribers
