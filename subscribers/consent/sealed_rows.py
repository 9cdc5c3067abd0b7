"""Sealed disclosure rows.

Each row has a salted, keyed commitment, and the disclosure log has a root for up to 500 rows. A
commitment covers everything that's shown of its row. When a person is erased, the salts of their
rows are deleted, so that no commitment can be linked to anyone, and their consent chain records the
number of those rows.
"""

import hashlib
import secrets
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from subscribers.consent import disclosure_log
from subscribers.consent.chain_verification import read_raw_rows, stream_raw_rows
from subscribers.consent.disclosure_log import LogEntryDraft, LogEntryKind
from subscribers.consent.ledger import encode_canonical_json
from subscribers.crypto.keyed_hashes import keyed_hash
from subscribers.crypto.keys import KeyRing
from subscribers.store.database import PeopleDatabase, is_postgresql
from subscribers.store.models import Base, Disclosure, DisclosureTotal, ListExport, table_of

# A transaction with this many rows takes about 15 ms on SQLite.
BATCH_SIZE = 500
_SALT_BYTES = 16
_HOLDER = "'person"


@dataclass(frozen=True, slots=True)
class SealedTable:
    """A table that contains sealed rows.

    Columns are named as in `read_raw_rows`. A commitment covers `columns`, and also
    `settled_columns` once the SQL condition `settled_condition` is true, because they can change
    until then. `subject` is the SQL expression by which rows are counted in the log. `totals` is
    the SQL query for rows that became totals, by subject, or empty if they aren't counted. If
    `batches` is False, each row has a commitment, but there are no roots, because the rows change.
    """

    model: type[Base]
    noun: str
    columns: tuple[str, ...]
    settled_columns: tuple[str, ...] = ()
    settled_condition: str = "1"
    subject: str = "''"
    totals: str = ""
    batches: bool = True

    @property
    def name(self) -> str:
        """The name of the table, used as the source in the log."""
        return table_of(self.model).name

    @property
    def has_holder(self) -> bool:
        """True if each row belongs to a person."""
        return _HOLDER in self.columns


DISCLOSURES = SealedTable(Disclosure, "disclosures", (_HOLDER, "@at", "'to_whom", "'why", "'reference"))
LIST_EXPORTS = SealedTable(
    ListExport, "list exports", ("@at", "'to_whom", "'why", "'reference", "@done_at", "'people", "'parts_hash")
)
TOTALS = SealedTable(
    DisclosureTotal,
    "totals of disclosures",
    (_HOLDER, "'to_whom", "'why", "'times", "@first_at", "@last_at"),
    batches=False,
)


class StoredRow(NamedTuple):
    """A row as stored: the values that its commitment covers, as text, and its seal."""

    id: Any
    salt: object
    commitment: str
    batch: int | None
    is_settled: bool
    subject: str
    values: tuple[str, ...]
    settled_values: tuple[str, ...]


def read_rows(
    session: Session,
    table: SealedTable,
    condition: str,
    parameters: dict[str, Any],
) -> list[StoredRow]:
    """Return the rows that match an SQL condition, whatever they contain."""
    rows = read_raw_rows(session, table.name, _list_columns(table), condition, parameters)
    return [_to_stored_row(table, row) for row in rows]


def stream_rows(session: Session, table: SealedTable) -> Iterator[StoredRow]:
    """Yield all rows of a table, whatever they contain."""
    rows = stream_raw_rows(session, table.name, _list_columns(table), page_size=BATCH_SIZE)
    return (_to_stored_row(table, row) for row in rows)


def _list_columns(table: SealedTable) -> tuple[str, ...]:
    batch = "sealed_in" if table.batches else "NULL"
    fixed = ("id", "salt", "'commitment", batch, table.settled_condition, f"'({table.subject})")
    return (*fixed, *table.columns, *table.settled_columns)


def _to_stored_row(table: SealedTable, row: Sequence[Any]) -> StoredRow:
    number, salt, commitment, batch, is_settled, subject, *values = row
    covered = len(table.columns)
    sealed_values, settled_values = tuple(values[:covered]), tuple(values[covered:])
    return StoredRow(number, salt, commitment, batch, bool(is_settled), subject, sealed_values, settled_values)


def read_rows_by_id(
    session: Session,
    table: SealedTable,
    ids: Sequence[Any],
    *,
    lock: bool = False,
) -> list[StoredRow]:
    """Return the rows with the given IDs, ordered by ID.

    On PostgreSQL, `lock` makes concurrent writers wait.
    """
    if is_postgresql(session):
        return read_rows(
            session, table, f"id = ANY(:ids) ORDER BY id{' FOR UPDATE' if lock else ''}", {"ids": list(ids)}
        )
    return read_rows(session, table, "id IN (SELECT value FROM json_each(:ids)) ORDER BY id", {"ids": _as_json(ids)})


def _as_json(ids: Sequence[Any]) -> str:
    return encode_canonical_json({"ids": list(ids)})[7:-1]


def compute_row_commitment(
    secret: bytes, salt: bytes, table: SealedTable, row: StoredRow, *, covers_settled: bool
) -> str:
    """Return the commitment to a row as 64 hex digits, including the settled columns if `covers_settled`."""
    content = {"table": table.name, "id": str(row.id), "row": row.values} | (
        {"settled": row.settled_values} if covers_settled else {}
    )
    return keyed_hash(secret, b"disclosure\0", salt + encode_canonical_json(content).encode())


def is_row_intact(keys: KeyRing, table: SealedTable, row: StoredRow) -> bool:
    """Return True if a row matches its commitment, or can't be checked because its person was erased."""
    if row.salt is None and table.has_holder:
        return bool(row.commitment) and not row.values[table.columns.index(_HOLDER)]
    if not isinstance(row.salt, bytes):
        return False
    # If a row was uncertain when it was sealed, its commitment only covers the values that were certain.
    forms = (True, False) if table.settled_columns else (True,)
    return any(
        compute_row_commitment(key.secret, row.salt, table, row, covers_settled=covers_settled) == row.commitment
        for key in keys.of_kind("commitment")
        for covers_settled in forms
    )


def hash_commitments(commitments: Iterable[str]) -> str:
    """Return the SHA-256 of sorted commitments, each followed by a line feed, as 64 hex digits.

    If there are none, return "".
    """
    lines = "".join(f"{commitment}\n" for commitment in sorted(commitments))
    return hashlib.sha256(lines.encode()).hexdigest() if lines else ""


def seal_rows(
    database: PeopleDatabase,
    keys: KeyRing,
    table: SealedTable,
    ids: Sequence[Any],
    *,
    subject: str = "",
    now: datetime,
) -> int:
    """Seal rows (at most `BATCH_SIZE`) as one batch, and return their number.

    Rows that have changed are left for the next run.
    """
    with database.read() as session:
        rows = [row for row in read_rows_by_id(session, table, ids) if row.batch is None]
    sealed = _commit_rows(keys, table, rows)
    with database.write() as session:
        current = {row.id: row for row in read_rows_by_id(session, table, [row.id for row in rows], lock=True)}
        pairs = zip(rows, sealed, strict=True)
        fresh = [values for row, values in pairs if current.get(row.id) == row]
        if fresh:
            # After the rows, in the same order as when adding rows to totals.
            number, _ = disclosure_log.lock_disclosure_log(session)
            _write_commitments(session, table, [{**values, "sealed_in": number + 1} for values in fresh])
            root = hash_commitments(values["commitment"] for values in fresh)
            draft = LogEntryDraft(LogEntryKind.SEALED, table.name, subject, rows=len(fresh), root=root)
            disclosure_log.append_log_entries(session, keys, [draft], now)
        return len(fresh)


def write_commitments_without_batch(session: Session, keys: KeyRing, table: SealedTable, ids: Sequence[Any]) -> None:
    """Write commitments to the current versions of rows (at most `BATCH_SIZE`) in a table without batches."""
    rows = read_rows_by_id(session, table, ids)
    _write_commitments(session, table, _commit_rows(keys, table, rows))


def _commit_rows(
    keys: KeyRing,
    table: SealedTable,
    rows: Sequence[StoredRow],
) -> list[dict[str, Any]]:
    """Return each row's ID with a new salt and commitment."""
    secret, random_bytes = keys.current("commitment").secret, secrets.token_bytes(_SALT_BYTES * len(rows))
    salts = (random_bytes[at : at + _SALT_BYTES] for at in range(0, len(random_bytes), _SALT_BYTES))
    pairs = zip(rows, salts, strict=True)
    return [
        {
            "row_id": row.id,
            "salt": salt,
            "commitment": compute_row_commitment(secret, salt, table, row, covers_settled=row.is_settled),
        }
        for row, salt in pairs
    ]


def _write_commitments(
    session: Session,
    table: SealedTable,
    rows: Sequence[dict[str, Any]],
) -> None:
    if rows:
        columns = table_of(table.model).c
        values: dict[str, Any] = {name: bindparam(name) for name in rows[0] if name != "row_id"}
        change = update(table_of(table.model)).where(columns.id == bindparam("row_id")).values(values)
        session.connection().execute(change, rows)


def delete_row_salts(session: Session, table: SealedTable, person: int) -> int:
    """Delete the salts of an erased person's rows, and return how many of the rows were sealed.

    The caller detaches the person from the rows in the same transaction.
    """
    columns = table_of(table.model).c
    own = select(columns.id, columns.commitment, columns.salt).where(columns.person == person).order_by(columns.id)
    query = own.with_for_update()
    rows = session.execute(query)
    sealed = [row.id for row in rows if row.commitment and row.salt is not None]
    change = update(table_of(table.model)).where(columns.person == person).values(salt=None)
    session.connection().execute(change)
    return len(sealed)


@dataclass(frozen=True, slots=True)
class RowsToTotalsPlan:
    """Rows that may become totals: their IDs, and the log entries for each batch and for the unsealed rows."""

    ids: frozenset[Any]
    drafts: tuple[LogEntryDraft, ...]


def plan_adding_rows_to_totals(
    session: Session, keys: KeyRing, table: SealedTable, rows: Sequence[StoredRow]
) -> RowsToTotalsPlan:
    """Determine which rows may become totals, and plan the log entries for them.

    The rows must be locked by the caller. Rows of batches that fail verification aren't included,
    so that the fault remains visible. Rows added to closed subjects aren't, either.
    """
    closed = disclosure_log.list_fully_sealed_subjects(session, table.name)
    by_batch = _sort_by_batch(rows)
    never_sealed = [row for row in by_batch.pop(0, []) if row.subject not in closed]
    drafts = _describe_unsealed(table, never_sealed)
    ids = {row.id for row in never_sealed}
    batches = disclosure_log.load_sealed_batches(session, list(by_batch))
    for number, leaving in by_batch.items():
        draft = _describe_fold(session, keys, table, batches.get(number), leaving)
        if draft is not None:
            drafts.append(draft)
            ids |= {row.id for row in leaving}
    return RowsToTotalsPlan(frozenset(ids), tuple(drafts))


def _describe_fold(
    session: Session,
    keys: KeyRing,
    table: SealedTable,
    batch: disclosure_log.SealedBatch | None,
    leaving: Sequence[StoredRow],
) -> LogEntryDraft | None:
    """Return the log entry for a batch's rows that become totals, or None if the batch fails verification."""
    draft = _describe_leaving(session, keys, table, batch, leaving)
    erased = sum(row.salt is None for row in leaving)
    return draft and replace(draft, kind=LogEntryKind.FOLDED, folded=len(leaving), erased=erased)


def _describe_leaving(
    session: Session,
    keys: KeyRing,
    table: SealedTable,
    batch: disclosure_log.SealedBatch | None,
    leaving: Sequence[StoredRow],
) -> LogEntryDraft | None:
    """Return the log entry for rows that leave a batch so that they can be changed.

    Return None if the batch fails verification.
    """
    if batch is None or not all(is_row_intact(keys, table, row) for row in leaving):
        return None
    stored = _load_commitments(session, table, batch.number)
    if len(stored) != batch.rows or hash_commitments(stored.values()) != batch.root:
        return None
    gone = {row.id for row in leaving}
    left = [commitment for number, commitment in stored.items() if number not in gone]
    root = hash_commitments(left)
    return LogEntryDraft(LogEntryKind.REOPENED, table.name, batch.subject, batch.number, rows=len(left), root=root)


def take_rows_out_of_sealed_batches(
    session: Session, keys: KeyRing, table: SealedTable, ids: Sequence[Any], *, now: datetime
) -> list[Any]:
    """Remove rows (at most `BATCH_SIZE`) from their batches, and return the IDs of the rows that may change.

    The rows must be locked by the caller. Rows without a batch may change. Rows of batches that
    fail verification aren't changed, so that the fault remains visible.
    """
    rows = read_rows_by_id(session, table, ids)
    by_batch = _sort_by_batch(rows)
    free, drafts = by_batch.pop(0, []), []
    disclosure_log.lock_disclosure_log(session)
    batches = disclosure_log.load_sealed_batches(session, list(by_batch))
    for number, leaving in by_batch.items():
        if draft := _describe_leaving(session, keys, table, batches.get(number), leaving):
            drafts.append(draft)
            free += leaving
    unsealed = {"salt": None, "commitment": None, "sealed_in": None}
    _write_commitments(session, table, [{"row_id": row.id, **unsealed} for row in free if row.batch])
    disclosure_log.append_log_entries(session, keys, drafts, now)
    return [row.id for row in free]


def _sort_by_batch(rows: Sequence[StoredRow]) -> dict[int, list[StoredRow]]:
    """Group rows by batch.

    The key of rows without a batch is 0.
    """
    by_batch: dict[int, list[StoredRow]] = {}
    for row in rows:
        by_batch.setdefault(row.batch or 0, []).append(row)
    return by_batch


def _load_commitments(session: Session, table: SealedTable, batch: int) -> dict[Any, str]:
    """Return the commitments in a batch, keyed by row ID.

    A missing one is "".
    """
    columns = table_of(table.model).c
    query = select(columns.id, columns.commitment).where(columns.sealed_in == batch)
    stored = session.execute(query)
    return {row.id: row.commitment or "" for row in stored}


def _describe_unsealed(table: SealedTable, leaving: Sequence[StoredRow]) -> list[LogEntryDraft]:
    subjects = [row.subject for row in leaving]
    return [
        LogEntryDraft(LogEntryKind.FOLDED, table.name, subject, folded=subjects.count(subject))
        for subject in sorted(set(subjects))
    ]


def record_row_aggregation(
    session: Session, keys: KeyRing, plan: RowsToTotalsPlan, *, added: int, now: datetime
) -> None:
    """Append a plan's entries to the log.

    `added` is the number of disclosures that were added to totals.
    """
    drafts = [replace(draft, added=0 if place else added) for place, draft in enumerate(plan.drafts)]
    disclosure_log.append_log_entries(session, keys, drafts, now)


def find_changed_rows(
    session: Session,
    keys: KeyRing,
    tables: Collection[SealedTable],
    person: int,
) -> list[str]:
    """Return a phrase for each table in which a person's rows don't match their seals, with the number of such rows."""
    faults = []
    for table in tables:
        if table.has_holder:
            rows = read_rows(session, table, f"person = :person AND {_covered(session, table)}", {"person": person})
            if changed := sum(not is_row_intact(keys, table, row) for row in rows):
                faults.append(f"{table.noun} that don't match their seal: {changed:,}")
    return faults


def _covered(session: Session, table: SealedTable) -> str:
    """Return the SQL condition for rows that must have a commitment.

    In a table without batches, all rows must have one once sealing has begun.
    """
    if table.batches:
        return "(commitment IS NOT NULL OR sealed_in IS NOT NULL)"
    return "true" if disclosure_log.has_sealing_begun(session, table.name) else "commitment IS NOT NULL"
