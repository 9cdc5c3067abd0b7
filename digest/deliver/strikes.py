"""Addresses that fail again and again, judged every night from the events: no counter is kept that could be wrong.

Judged is only what is old enough that no provider will still tell us something about it. So it does not matter
in which order the events came.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from digest.db import Database
from digest.deliver.causes import Cause
from digest.deliver.events import TO_ANOTHER, heed_all
from digest.deliver.inbound.signature import OLDEST
from digest.deliver.judging import Attempt, Kind, struck_out
from digest.delivery_db import Delivery, DeliveryState, Event
from subscribers.db import Person, PersonState
from subscribers.heeding import Report, Word, last_word
from subscribers.journal import Journal
from subscribers.vault import Keys

PAGE = 200  # people a transaction


def judge(database: Database, keys: Keys, journal: Journal, *, now: datetime, looked_back: timedelta) -> int:
    """Suppress everybody whose address has struck out; give how many.

    Args:
        database: the database.
        keys: the keys of the installation.
        journal: the journal of departures.
        now: the moment.
        looked_back: what was handed over longer ago counts no more. It is how long deliveries are kept, so that the
            verdict does not depend on whether they were folded already.

    Raises:
        OSError: the journal could not be written.
    """
    suppressed = after = 0
    since = now - looked_back
    while True:
        with database.read() as session:
            people = _candidates(session, after, since)
            reports = list(_reports(session, people, since, now - OLDEST))
        if reports:
            with database.write() as session:
                counts = heed_all(session, reports, keys=keys, journal=journal, now=now)
                suppressed += counts[f"person {Word.BOUNCED}"]
        if len(people) < PAGE:
            return suppressed
        after = people[-1]


def _candidates(session: Session, after: int, since: datetime) -> Sequence[int]:
    """Name the next people on the list with strikes in two messages or more."""
    query = (
        select(Delivery.person)
        .join(Event, Event.delivery == Delivery.id)
        .join(Person, Person.number == Delivery.person)
        .where(text("event.cause IN ('hard', 'soft')"), Event.at >= since)
        .where(Person.state == PersonState.SUBSCRIBED, Delivery.person > after)
        .where(~Delivery.purpose.startswith(TO_ANOTHER))
        .group_by(Delivery.person)
        .having(func.count(Delivery.id.distinct()) > 1)
        .order_by(Delivery.person)
        .limit(PAGE)
    )
    return [number for number in session.scalars(query) if number is not None]


def _reports(session: Session, people: Sequence[int], since: datetime, until: datetime) -> Iterator[Report]:
    columns = (Delivery.person, Delivery.id, Delivery.state, Delivery.transport, Delivery.handed_at)
    query = (
        select(*columns, Event.kind, Event.cause, Event.at)
        .outerjoin(Event, Event.delivery == Delivery.id)
        .where(Delivery.person.in_(people), ~Delivery.purpose.startswith(TO_ANOTHER))
        .order_by(Delivery.person, Delivery.id)
    )
    for person, rows in groupby(session.execute(query), key=lambda row: row.person):
        spoke = last_word(session, person, Word.BOUNCED)
        first = since if spoke is None else max(since, spoke)
        attempts = [a for a in _attempts(rows) if first <= a.at <= until]
        if struck_out(attempts):
            last = max(attempts)
            detail = {"delivery": last.delivery, "said": "kept failing", "cause": str(last.cause)}
            yield Report(person, Word.BOUNCED, last.at, "events", detail)


def _attempts(rows: Iterable[Any]) -> Iterator[Attempt]:
    for delivery, told in groupby(rows, key=lambda row: row.id):
        attempt = _attempt(delivery, list(told))
        if attempt is not None:
            yield attempt


def _attempt(delivery: str, told: Sequence[Any]) -> Attempt | None:
    """Say what became of one message; None where nobody knows, or where it was not the address's doing.

    Over SendGrid a message arrived when it says so. A mail server that took a message has nothing more to say.
    """
    first, causes = told[0], {row.cause for row in told}
    at = first.handed_at or min((row.at for row in told if row.at), default=None)
    if at is None:
        return None
    if strikes := [cause for cause in (Cause.HARD, Cause.SOFT) if cause in causes]:
        return Attempt(at, delivery, strikes[0])
    by_server = first.state is DeliveryState.ACCEPTED and first.transport == "smtp"
    arrived = by_server or any(row.kind == Kind.DELIVERED for row in told)
    return Attempt(at, delivery, Cause.NONE) if arrived else None
