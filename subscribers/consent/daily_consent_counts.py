"""Consent events counted by day: what came, what went and by which way, so that a page need not count a million events.

Every night counts the events since the night before, each once, in steps of event numbers: whoever calls keeps how far it is, in the transaction that
adds the counts. The newest few minutes are left to the next night, for a transaction that is still open may yet commit an event with a smaller number.

Beside the events stand, night by night, how many are on the list, and how many came onto it and went off it since the night before: by
their chains, so that these three always agree. The kinds of events alone do not tell that: who is erased may have left before.
Reasons for unsubscribing are counted with a position of their own, so that those of before they were counted are, too.
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

SUBSCRIBERS_KIND = "readers"  # no event: how many are on the list as the night counts
JOINED_KIND, WENT_KIND = (
    "joined",
    "went",
)  # no events: how many came onto the list, and went off it, since the night before
REASON_KIND = "reason"  # no event: how many unsubscribed for a reason, whose key is in the place of the way
KINDS_WITHOUT_WAY = frozenset({SUBSCRIBERS_KIND, JOINED_KIND, WENT_KIND, REASON_KIND})
SETTLING_TIME = timedelta(minutes=10)
MAX_WAY_LENGTH = 200
_COUNTED_KINDS = frozenset(ConsentKind) - {
    ConsentKind.BOUND,
    ConsentKind.CHOICES_CHANGED,
    ConsentKind.ADDRESS_CHANGED,
    ConsentKind.LINKS_RENEWED,
    ConsentKind.WITHDRAWN_AGAIN,
}
# The last link of these kinds says whether somebody is on the list.
_DECISIVE_KINDS = ledger.GRANT_KINDS | {
    ConsentKind.WITHDRAWN,
    ConsentKind.COMPLAINED,
    ConsentKind.SUPPRESSED,
    ConsentKind.ERASED,
    ConsentKind.REMOVED,
    ConsentKind.EXPIRED,
}
EVENTS_A_STEP = 10_000  # event numbers that one transaction counts
_ROWS_AT_ONCE = 1000

DayKey = tuple[date, str, str]


def find_last_fully_committed_event(session: Session, now: datetime) -> int:
    """Return the number of the newest event that no open transaction can come before; 0 where there is none."""
    settled_events = select(ConsentEvent.id).where(ConsentEvent.at <= now - SETTLING_TIME)
    return session.scalar(settled_events.order_by(ConsentEvent.id.desc()).limit(1)) or 0


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


def count_unsubscribe_reasons(
    session: Session,
    zone: ZoneInfo,
    *,
    after: int,
    through: int,
) -> Mapping[DayKey, int]:
    """Count the reasons given by people who unsubscribed, by the events with numbers above `after`, to `through`."""
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
    """Read the reason of an event; empty if it has none, or was damaged, which the nightly check reports."""
    try:
        values = json.loads(body)
    except ValueError:
        return ""
    reason = values.get("reason") if isinstance(values, dict) else None
    return reason if isinstance(reason, str) else ""


def count_list_changes(
    session: Session, *, after: int, through: int | None = None, listed_only: bool = False
) -> tuple[int, int]:
    """Count who came onto the list, and who went off it, by the events with numbers above `after`, to `through`.

    `listed_only` leaves out the people of imports that are not done, as the count of readers does.
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
    """Add counts to those that are kept."""
    statement = upsert(session, DailyConsentCount)
    updated_count = {"count": DailyConsentCount.count + statement.excluded["count"]}
    statement = statement.on_conflict_do_update(index_elements=["day", "kind", "way"], set_=updated_count)
    rows = [{"day": day, "kind": kind, "way": way, "count": count} for (day, kind, way), count in counts.items()]
    for begin in range(0, len(rows), _ROWS_AT_ONCE):
        session.connection().execute(statement, rows[begin : begin + _ROWS_AT_ONCE])


def record_subscriber_count(session: Session, day: date, *, after: int) -> int:
    """Write down how many were on the list after the event `after`; the last look of the day counts.

    Later events are counted by the next night, and so is what they changed.
    """
    joined, went = count_list_changes(session, after=after, listed_only=True)
    subscribers = count_audience(session) - joined + went
    # That both stand there says that they were counted.
    add_day_counts(session, {(day, JOINED_KIND, ""): 0, (day, WENT_KIND, ""): 0})
    statement = upsert(session, DailyConsentCount).values(day=day, kind=SUBSCRIBERS_KIND, way="", count=subscribers)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["day", "kind", "way"], set_={"count": statement.excluded["count"]}
        )
    )
    return subscribers
