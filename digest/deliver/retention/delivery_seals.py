"""Sealing deliveries: an edition's once it's finished, and transactional emails' every night.

Nothing is sealed while an edition is being sent. Its rows are sealed afterward, 500 per
transaction. After an interruption, the next run continues.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, func, select, text
from sqlalchemy.orm import Session

from digest.deliver.plan.delivery_plan import make_edition_delivery_purpose
from digest.edition.edition_queries import FINISHED_STATES, find_edition
from digest.store.delivery_models import OPEN_STATES, UNSEALED_NOTICE, Delivery, DeliveryState
from digest.store.engine import Database
from digest.store.models import Edition
from subscribers.consent import disclosure_log, disclosure_sealing, sealed_rows
from subscribers.consent.disclosure_log import LogEntryDraft, LogEntryKind
from subscribers.consent.disclosure_proof import OWN_TABLES
from subscribers.consent.sealed_rows import BATCH_SIZE, SealedTable
from subscribers.crypto.keys import KeyRing

_SUBJECT = "CASE WHEN substr(purpose, 1, 8) = 'edition:' THEN purpose ELSE '' END"
# The state isn't covered, because late bounces change it. If it's unknown, so is whether and when
# the message was sent.
DELIVERIES = SealedTable(
    Delivery,
    "deliveries",
    columns=("'purpose", "'person", "'message_id"),
    settled_columns=("'transport", "@handed_at", "@first_handed_at"),
    settled_condition=f"CASE WHEN state = '{DeliveryState.UNCERTAIN}' THEN 0 ELSE 1 END",
    subject=_SUBJECT,
    totals=f"SELECT {_SUBJECT}, sum(count) FROM delivery_total GROUP BY 1",  # noqa: S608 - our own names
)
SEALED_TABLES: tuple[SealedTable, ...] = (DELIVERIES, *OWN_TABLES)


def seal_deliveries(database: Database, keys: KeyRing, *, now: datetime) -> int:
    """Seal the deliveries of finished editions and of transactional emails, and return their number."""
    disclosure_sealing.record_initial_totals(database, keys, DELIVERIES, now)
    with database.read() as session:
        closed = disclosure_log.list_fully_sealed_subjects(session, DELIVERIES.name)
        finished = select(Edition.name).where(Edition.state.in_(FINISHED_STATES)).order_by(Edition.release_at)
        names = [name for name in session.scalars(finished) if make_edition_delivery_purpose(name) not in closed]
    sealed = sum(seal_edition_deliveries(database, keys, name, now=now) for name in names)
    notices = and_(text(UNSEALED_NOTICE), _is_over())
    return sealed + disclosure_sealing.seal_matching_rows(database, keys, DELIVERIES, notices, now=now)


def seal_edition_deliveries(
    database: Database,
    keys: KeyRing,
    name: str,
    *,
    now: datetime,
    stopping: Callable[[], bool] = lambda: False,
) -> int:
    """Seal an edition's finished deliveries, and close the edition if no others are left.

    Return the number of deliveries sealed. Once `stopping` returns True, this function stops, and
    the next run continues.
    """
    purpose = make_edition_delivery_purpose(name)
    own = and_(Delivery.purpose == purpose, Delivery.sealed_in.is_(None))
    sealed, after = 0, 0
    # Use the order of the purpose's index, so that a page never reads earlier ones again.
    while not stopping() and (page := _find_unsealed(database, and_(own, Delivery.person > after))):
        sealed += sealed_rows.seal_rows(database, keys, DELIVERIES, [row.id for row in page], subject=purpose, now=now)
        after = page[-1].person
    if stopping():
        return sealed
    anonymous = and_(own, Delivery.person.is_(None))
    sealed += disclosure_sealing.seal_matching_rows(
        database, keys, DELIVERIES, and_(anonymous, _is_over()), subject=purpose, now=now
    )
    _close_edition(database, keys, name, own, now)
    return sealed


def unseal_deliveries(
    session: Session,
    keys: KeyRing,
    ids: Sequence[str],
    *,
    now: datetime,
) -> list[str]:
    """Unseal deliveries so that they can be sent again, and return those that may be sent.

    The caller must have locked them. Once the edition is sent, `seal_edition_deliveries` seals them again.
    """
    return sealed_rows.take_rows_out_of_sealed_batches(session, keys, DELIVERIES, ids, now=now)


def _is_over() -> ColumnElement[bool]:
    return Delivery.state.not_in(OPEN_STATES)


def _find_unsealed(database: Database, condition: ColumnElement[bool]) -> Sequence[Any]:
    query = select(Delivery.id, Delivery.person).where(condition, _is_over()).order_by(Delivery.person)
    with database.read() as session:
        return session.execute(query.limit(BATCH_SIZE)).all()


def _close_edition(
    database: Database,
    keys: KeyRing,
    name: str,
    unsealed: ColumnElement[bool],
    now: datetime,
) -> None:
    """If all of an edition's deliveries are sealed, record in the disclosure log that the edition is closed."""
    purpose = make_edition_delivery_purpose(name)
    with database.read() as session:
        if session.scalar(select(Delivery.id).where(unsealed).limit(1)) is not None:
            return
        rows = session.scalar(select(func.count()).where(Delivery.purpose == purpose)) or 0
    with database.write() as session:
        edition = find_edition(session, name, lock=True)
        disclosure_log.lock_disclosure_log(session)
        # No process is planning it anymore.
        is_over = edition.state in FINISHED_STATES and edition.planned_at is not None
        if is_over and purpose not in disclosure_log.list_fully_sealed_subjects(session, DELIVERIES.name):
            closed = LogEntryDraft(LogEntryKind.CLOSED, DELIVERIES.name, purpose, rows=rows)
            disclosure_log.append_log_entries(session, keys, [closed], now)
