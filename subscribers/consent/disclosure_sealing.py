"""Nightly sealing of disclosures other than deliveries, and a record, made once, of earlier totals."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from subscribers.consent import disclosure_log, sealed_rows
from subscribers.consent.disclosure_log import LogEntryDraft, LogEntryKind
from subscribers.consent.disclosure_proof import hash_export_parts
from subscribers.consent.sealed_rows import BATCH_SIZE, DISCLOSURES, LIST_EXPORTS, TOTALS, SealedTable
from subscribers.crypto.keys import KeyRing
from subscribers.store.database import PeopleDatabase
from subscribers.store.models import DisclosureTotal, ListExport, table_of

# If an export is older than this, it was interrupted. It's still shown to its people.
_UNFINISHED_EXPORT_AGE = timedelta(days=1)


def seal_disclosures(database: PeopleDatabase, keys: KeyRing, *, now: datetime) -> int:
    """Seal every unsealed disclosure and export of the list, and return the number of rows.

    It can be resumed after an interruption.
    """
    _begin_totals(database, keys, now)
    _hash_exports(database, now)
    finished = ListExport.parts_hash.is_not(None)
    exports = seal_matching_rows(database, keys, LIST_EXPORTS, finished, now=now)
    return exports + seal_matching_rows(database, keys, DISCLOSURES, text("true"), now=now)


def seal_matching_rows(
    database: PeopleDatabase,
    keys: KeyRing,
    table: SealedTable,
    condition: Any,
    *,
    subject: str = "",
    now: datetime,
) -> int:
    """Seal all unsealed rows of a table that match a condition, and return the number of rows sealed.

    Each transaction seals 500 rows.
    """
    columns = table_of(table.model).c
    unsealed = select(columns.id).where(text("sealed_in IS NULL"), condition).order_by(columns.id)
    sealed, after = 0, None
    while True:
        page = unsealed if after is None else unsealed.where(columns.id > after)
        with database.read() as session:
            ids: Sequence[Any] = session.scalars(page.limit(BATCH_SIZE)).all()
        if not ids:
            return sealed
        sealed += sealed_rows.seal_rows(database, keys, table, ids, subject=subject, now=now)
        after = ids[-1]


def _hash_exports(database: PeopleDatabase, now: datetime) -> None:
    """Store a hash of the people in each export that was finished or interrupted."""
    over = ListExport.done_at.is_not(None) | (ListExport.at < now - _UNFINISHED_EXPORT_AGE)
    with database.read() as session:
        query = select(ListExport.id).where(ListExport.parts_hash.is_(None), over)
        ids = session.scalars(query).all()
    for number in ids:
        with database.read() as session:
            parts_hash = hash_export_parts(session, number)
        with database.write() as session:
            session.execute(update(ListExport).where(ListExport.id == number).values(parts_hash=parts_hash))


def _begin_totals(database: PeopleDatabase, keys: KeyRing, now: datetime) -> None:
    """Write commitments, once, to the totals that predate sealing, and record how many disclosures they count."""
    with database.read() as session:
        if disclosure_log.has_sealing_begun(session, TOTALS.name):
            return
    page = (
        select(DisclosureTotal.id)
        .where(DisclosureTotal.commitment.is_(None))
        .order_by(DisclosureTotal.id)
        .limit(BATCH_SIZE)
    )
    while True:
        with database.write() as session:
            ids = session.scalars(page.with_for_update()).all()
            sealed_rows.write_commitments_without_batch(session, keys, TOTALS, ids)
            if not ids:
                _note_totals(session, keys, now)
                return


def _note_totals(session: Session, keys: KeyRing, now: datetime) -> None:
    disclosure_log.lock_disclosure_log(session)
    if not disclosure_log.has_sealing_begun(session, TOTALS.name):
        stored_total = int(session.scalar(select(func.sum(DisclosureTotal.times))) or 0)
        before = stored_total - disclosure_log.sum_added_to_disclosure_totals(session)
        disclosure_log.append_log_entries(
            session, keys, [LogEntryDraft(LogEntryKind.BEGUN, TOTALS.name, added=before)], now
        )


def record_initial_totals(database: PeopleDatabase, keys: KeyRing, table: SealedTable, now: datetime) -> None:
    """Record, once, how many of a table's rows had become totals before the log existed."""
    with database.write() as session:
        disclosure_log.lock_disclosure_log(session)
        if disclosure_log.has_sealing_begun(session, table.name):
            return
        logged_counts = disclosure_log.count_rows_in_disclosure_totals(session, table.name)
        query = text(table.totals)
        rows = session.execute(query)
        before = {s: int(count) - logged_counts.get(s, 0) for s, count in rows}
        drafts = [
            LogEntryDraft(LogEntryKind.BEGUN, table.name, subject, folded=count)
            for subject, count in sorted(({"": 0} | before).items())
            if count or not subject
        ]
        disclosure_log.append_log_entries(session, keys, drafts, now)
