"""Deliveries that were kept long enough become totals: of their purpose for the books, of their reader for the reader.

What was said of them goes with them. The books of an old edition balance as before, and a reader's page counts as many
passages as before: see docs/decisions/0019-the-provider.md.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, case, delete, func, select
from sqlalchemy.orm import Session

from digest.deliver.plan.delivery_plan import edition_purpose
from digest.deliver.providers.registry import describe_recipient
from digest.deliver.retention.delivery_disclosures import describe_purpose
from digest.settings import Settings
from digest.store.delivery_models import Delivery, DeliveryState, DeliveryTotal, Event, Notice
from digest.store.engine import Database
from digest.store.models import Edition, EditionState
from subscribers.store.database import upsert
from subscribers.store.models import DisclosureTotal, Person

ROWS_PER_SCAN = (
    20_000  # deliveries found by one look over the table, which has no index for their age: the oldest stand first
)
ROWS_PER_TRANSACTION = 500  # deliveries a transaction: some 30 ms on SQLite
_OPEN_STATES = (DeliveryState.WAITING, DeliveryState.HANDING_OVER)
_ONGOING_STATES = (EditionState.APPROVED, EditionState.SENDING)


def aggregate_deliveries(database: Database, settings: Settings, *, now: datetime) -> int:
    """Fold every delivery that is older than the settings say and came to its end; give how many.

    Nothing is counted twice: a page is counted and deleted in one transaction. Cut short, the next run folds the rest.
    """
    before = now - timedelta(days=settings.file.retention.delivery_days)
    folded = 0
    while True:
        with database.read() as session:
            old = _is_old_and_finished(session, before)
            found = session.execute(select(Delivery.id, Delivery.person).where(old).limit(ROWS_PER_SCAN)).all()
        done = 0
        for at in range(0, len(found), ROWS_PER_TRANSACTION):
            with database.write() as session:
                done += _aggregate_page(session, found[at : at + ROWS_PER_TRANSACTION], old, settings)
        folded += done
        if len(found) < ROWS_PER_SCAN or not done:
            _delete_unmatched_events(database, before)
            return folded


def _is_old_and_finished(session: Session, before: datetime) -> ColumnElement[bool]:
    """Say which deliveries may go: none of an edition that is not over, however old."""
    going = session.scalars(select(Edition.name).where(Edition.state.in_(_ONGOING_STATES)))
    purposes = [edition_purpose(name) for name in going]
    long_ago = func.coalesce(Delivery.handed_at, Delivery.due_at) < before
    return long_ago & Delivery.state.not_in(_OPEN_STATES) & Delivery.purpose.not_in(purposes)


def _aggregate_page(session: Session, page: Sequence[Any], condition: ColumnElement[bool], settings: Settings) -> int:
    """Count a page and delete it, unless somebody is at a row at this moment: the next run has it then."""
    # People first, as whoever erases one does: a total's foreign key locks them anyway, and in the other order the two
    # would wait for each other. Whoever is erased is so before this, or after it.
    people = {row.person for row in page if row.person is not None}
    session.execute(select(Person.number).where(Person.number.in_(people)).order_by(Person.number).with_for_update())
    columns = (Delivery.id, Delivery.purpose, Delivery.person, Delivery.state, Delivery.transport)
    still = select(*columns, Delivery.handed_at).where(condition, Delivery.id.in_([row.id for row in page]))
    rows = session.execute(still.with_for_update(skip_locked=True)).all()
    _add_purpose_totals(session, rows)
    _add_reader_totals(session, rows, settings)
    ids = [row.id for row in rows]
    for table, column in ((Notice, Notice.delivery), (Event, Event.delivery), (Delivery, Delivery.id)):
        session.execute(delete(table).where(column.in_(ids)), execution_options={"synchronize_session": False})
    return len(ids)


def total_purpose(purpose: str) -> str:
    """Name the total that a purpose counts in: an edition in its own, all other mails with those of their kind."""
    kind = purpose.partition(":")[0]
    return purpose if purpose == edition_purpose(purpose.partition(":")[2]) else kind


def _add_purpose_totals(session: Session, rows: Iterable[Any]) -> None:
    counts = Counter((total_purpose(row.purpose), row.state) for row in rows)
    put = upsert(session, DeliveryTotal)
    key = [DeliveryTotal.purpose, DeliveryTotal.state]
    put = put.on_conflict_do_update(index_elements=key, set_={"count": DeliveryTotal.count + put.excluded.count})
    said = [{"purpose": p, "state": s, "count": n} for (p, s), n in sorted(counts.items())]
    if said:
        session.execute(put, said)


def _add_reader_totals(session: Session, rows: Iterable[Any], settings: Settings) -> None:
    """Add what was handed over to what the reader sees of old passages; whoever is erased sees nothing."""
    times: dict[tuple[int, str, str], list[datetime]] = {}
    for row in rows:
        if row.person is not None and row.handed_at is not None:
            key = (row.person, describe_recipient(row.transport, settings), describe_purpose(row.purpose))
            times.setdefault(key, []).append(row.handed_at)
    put, kept = upsert(session, DisclosureTotal), DisclosureTotal
    new = put.excluded
    put = put.on_conflict_do_update(
        index_elements=[kept.person, kept.to_whom, kept.why],
        set_={
            "times": kept.times + new.times,
            "first_at": case((new.first_at < kept.first_at, new.first_at), else_=kept.first_at),
            "last_at": case((new.last_at > kept.last_at, new.last_at), else_=kept.last_at),
        },
    )
    said = [
        {"person": p, "to_whom": to, "why": for_, "times": len(at), "first_at": min(at), "last_at": max(at)}
        for (p, to, for_), at in sorted(times.items())
    ]
    if said:
        session.execute(put, said)


def _delete_unmatched_events(database: Database, before: datetime) -> None:
    """Delete what was said of no delivery of ours, once it is as old."""
    loose = select(Event.id).where(Event.delivery.is_(None), Event.received_at < before).limit(ROWS_PER_TRANSACTION)
    while True:
        with database.write() as session:
            ids: Collection[int] = session.scalars(loose).all()
            session.execute(delete(Event).where(Event.id.in_(ids)))
        if len(ids) < ROWS_PER_TRANSACTION:
            return
