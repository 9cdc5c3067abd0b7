"""Verifying all disclosures against the disclosure log, with only a few hundred rows in memory at a time."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from subscribers.consent import disclosure_log, sealed_rows
from subscribers.consent.disclosure_log import SealedBatch
from subscribers.consent.sealed_rows import LIST_EXPORTS, TOTALS, SealedTable
from subscribers.crypto.keys import KeyRing
from subscribers.store.models import DisclosureTotal, ListExport, ListExportPart

CHECKED_EVERY_DAYS = 7
MAX_FAULTS = 20  # the number of faults that are listed; the others are counted
OWN_TABLES: tuple[SealedTable, ...] = (sealed_rows.DISCLOSURES, LIST_EXPORTS)


class DisclosureProof(NamedTuple):
    """The result of verifying disclosures: the number of sealed rows, and a sentence about each fault."""

    rows: int
    faults: tuple[str, ...]


def verify_disclosures(
    session: Session,
    keys: KeyRing,
    tables: Sequence[SealedTable],
    *,
    sealed_heads: Mapping[int, str],
    erased: Mapping[str, int],
    night: datetime | None = None,
) -> DisclosureProof:
    """Verify the disclosure log, and check every sealed row against it.

    Args:
        session: session with a consistent snapshot.
        keys: keys that the commitments were made with.
        tables: tables with sealed rows.
        sealed_heads: log entries in the seals, as number and hash.
        erased: number of rows that lost their salts through erasures, by table, according to
            the consent chains.
        night: if given, only check rows sealed in the past week, and each older batch once a week;
            all rows are still counted.
    """
    log = disclosure_log.verify_disclosure_log(session, keys, sealed_heads)
    if log.fault:
        return DisclosureProof(0, (log.fault,))
    rows, faults = 0, list[str]()
    for table in tables:
        counted, table_fault = _verify_table(session, keys, table, night)
        rows += counted
        faults += [*table_fault, *_find_erasure_fault(session, table, erased)]
    faults += [*_find_total_faults(session, keys), *_find_erasure_fault(session, TOTALS, erased)]
    faults += _find_export_faults(session)
    if len(faults) > MAX_FAULTS:
        faults[MAX_FAULTS:] = [f"more problems with disclosures: {len(faults) - MAX_FAULTS:,}"]
    return DisclosureProof(rows, tuple(faults))


def _verify_table(
    session: Session,
    keys: KeyRing,
    table: SealedTable,
    night: datetime | None,
) -> tuple[int, list[str]]:
    """Return the number of a table's sealed rows, and a sentence about each faulty subject."""
    counted: dict[str, Counter[str]] = {}
    row_count = 0
    for batch in disclosure_log.stream_sealed_batches(session, table.name):
        if night is not None and not is_batch_check_due(batch, night):
            row_count += batch.rows
            continue
        rows = sealed_rows.read_rows(session, table, "sealed_in = :batch ORDER BY id", {"batch": batch.number})
        row_count += len(rows)
        changes = _count_row_changes(keys, table, batch, rows)
        counted.setdefault(_name_subject(table, batch), Counter()).update(changes)
    faults = [_describe(name, table, changes) for name, changes in counted.items() if set(changes) - {"sealed"}]
    stored = session.scalar(text(f"SELECT count(*) FROM {table.name} WHERE sealed_in IS NOT NULL")) or 0  # noqa: S608 - our own name
    if stored != row_count:
        wrong = "are missing" if stored < row_count else "refer to a missing batch"
        faults.append(f"{abs(stored - row_count):,} sealed {table.noun} {wrong}")
    return row_count, faults + _find_late_rows(session, table) + _find_count_faults(session, table)


def is_batch_check_due(batch: SealedBatch, night: datetime) -> bool:
    """Return True if it's a given night's turn to check a batch. Pure.

    In the week after sealing, that's every night, and then weekly.
    """
    return batch.sealed_at > night - timedelta(days=CHECKED_EVERY_DAYS) or (
        batch.number % CHECKED_EVERY_DAYS == night.toordinal() % CHECKED_EVERY_DAYS
    )


def _count_row_changes(
    keys: KeyRing, table: SealedTable, batch: SealedBatch, rows: Sequence[sealed_rows.StoredRow]
) -> Counter[str]:
    """Return the numbers of sealed, missing, added, and changed rows in a batch. Pure."""
    changes = Counter(sealed=batch.rows)
    changed = sum(not sealed_rows.is_row_intact(keys, table, row) for row in rows)
    if len(rows) != batch.rows:
        changes["missing" if len(rows) < batch.rows else "added"] += abs(batch.rows - len(rows))
    elif not changed and sealed_rows.hash_commitments(row.commitment for row in rows) != batch.root:
        changed = 1  # a lower bound, because a row was replaced
    changes["changed"] += changed
    return +changes


def _name_subject(table: SealedTable, batch: SealedBatch) -> str:
    return batch.subject.replace(":", " ") or f"{table.noun} sealed {batch.sealed_at:%Y-%m-%d}"


def _describe(name: str, table: SealedTable, changes: Counter[str]) -> str:
    counts = [f"{changes[word]:,} {word}" for word in ("missing", "changed", "added") if changes[word]]
    return f"{name}: of {changes['sealed']:,} sealed {table.noun}, {', '.join(counts)}"


def _find_late_rows(session: Session, table: SealedTable) -> list[str]:
    """Return descriptions of rows added to closed subjects, which this program never does."""
    closed = disclosure_log.list_fully_sealed_subjects(session, table.name)
    if not closed:
        return []
    query = f"SELECT {table.subject}, count(*) FROM {table.name} WHERE sealed_in IS NULL GROUP BY 1"  # noqa: S608 - our own names
    return [
        f"{subject.replace(':', ' ')}: {table.noun} added after sealing was complete ({count:,})"
        for subject, count in session.execute(text(query))
        if subject in closed
    ]


def _find_count_faults(session: Session, table: SealedTable) -> list[str]:
    """Compare the numbers of rows that became totals with the counts in the totals."""
    if not table.totals or not disclosure_log.has_sealing_begun(session, table.name):
        return []
    folded = Counter(disclosure_log.count_rows_in_disclosure_totals(session, table.name))
    query = text(table.totals)
    totals = Counter({subject: int(count) for subject, count in session.execute(query)})
    return [
        (
            f"{subject.replace(':', ' ') or f'other {table.noun}'}: {folded[subject]:,} replaced with totals, "
            f"but the totals count {totals[subject]:,}"
        )
        for subject in sorted(folded.keys() | totals.keys())
        if folded[subject] != totals[subject]
    ]


def _find_erasure_fault(
    session: Session,
    table: SealedTable,
    erased: Mapping[str, int],
) -> list[str]:
    """Compare the rows without a person with the erasures in the consent chains."""
    if not table.has_holder:
        return []
    emptied = text(f"SELECT count(*) FROM {table.name} WHERE salt IS NULL AND commitment IS NOT NULL")  # noqa: S608 - our own name
    erased_rows = (session.scalar(emptied) or 0) + disclosure_log.count_erased_in_disclosure_totals(session, table.name)
    expected_count = erased.get(table.name, 0)
    if erased_rows == expected_count:
        return []
    return [f"sealed {table.noun} without a subscriber: {erased_rows:,}, but erasures account for {expected_count:,}"]


def _find_total_faults(session: Session, keys: KeyRing) -> Iterator[str]:
    """Check each total against its commitment, and the sum of the totals against the log."""
    if not disclosure_log.has_sealing_begun(session, TOTALS.name):
        return
    changed = sum(not sealed_rows.is_row_intact(keys, TOTALS, row) for row in sealed_rows.stream_rows(session, TOTALS))
    if changed:
        yield f"{TOTALS.noun} that don't match their seal: {changed:,}"
    stored_total = int(session.scalar(select(func.sum(DisclosureTotal.times))) or 0)
    added = disclosure_log.sum_added_to_disclosure_totals(session)
    if stored_total != added:
        yield f"the {TOTALS.noun} count {stored_total:,}, but {added:,} were added to them"


def _find_export_faults(session: Session) -> Iterator[str]:
    """Check the people recorded in each sealed export of the list."""
    sealed = select(ListExport.id, ListExport.at, ListExport.parts_hash).where(ListExport.sealed_in.is_not(None))
    for export in session.execute(sealed.order_by(ListExport.id)).all():
        if hash_export_parts(session, export.id) != export.parts_hash:
            yield f"the list export of {export.at:%Y-%m-%d %H:%M} UTC doesn't list the same people as before"


def hash_export_parts(session: Session, export: int) -> str:
    """Return the SHA-256 of the people in an export as 64 hex digits.

    Each part is hashed as a line `first bits`, with the bits in hex.
    """
    parts = select(ListExportPart.first, ListExportPart.bits).where(ListExportPart.export == export)
    digest = hashlib.sha256()
    for first, bits in session.execute(parts.order_by(ListExportPart.first)):
        digest.update(f"{first} {bits.hex()}\n".encode())
    return digest.hexdigest()
