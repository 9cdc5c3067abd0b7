"""Rows about disclosures, sealed: a salted, keyed commitment for each, and a root over at most 500 of them in the disclosure log.

What's shown of a row is what its commitment covers. Erasing a person deletes the salts of their rows, so that nothing ties a commitment
to anybody anymore, and their consent chain says how many rows that were.
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
from subscribers.consent.ledger import canonical_json
from subscribers.crypto.keyed_hashes import keyed_hash
from subscribers.crypto.keys import KeyRing
from subscribers.store.database import PeopleDatabase, is_postgresql
from subscribers.store.models import Base, Disclosure, DisclosureTotal, ListExport, table_of

BATCH_SIZE = 500  # rows of one transaction: some 15 ms on SQLite
_SALT_BYTES = 16
_HOLDER = "'person"


@dataclass(frozen=True, slots=True)
class SealedTable:
    """A table whose rows are sealed, with its columns as `read_raw_rows` names them.

    A commitment covers `columns`, and `settled_columns` too once the SQL condition `settled_condition` holds: before, nobody knows those for
    certain. `subject` is the SQL of what a row is counted under in the log, `totals` that of the rows that became totals, by subject;
    empty where nothing counts them. A table without `batches` has one commitment a row and no root: its rows grow.
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
        """The table's name, which is the source in the log."""
        return table_of(self.model).name

    @property
    def has_holder(self) -> bool:
        """Whether a row is one person's."""
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
    """A row as it is stored: what its commitment covers, as text, and what seals it."""

    id: Any
    salt: object
    commitment: str
    batch: int | None
    is_settled: bool
    subject: str
    values: tuple[str, ...]
    settled_values: tuple[str, ...]


def read_rows(session: Session, table: SealedTable, condition: str, parameters: dict[str, Any]) -> list[StoredRow]:
    """Read rows by a condition in SQL, whatever stands in them."""
    rows = read_raw_rows(session, table.name, _list_columns(table), condition, parameters)
    return [_to_stored_row(table, row) for row in rows]


def stream_rows(session: Session, table: SealedTable) -> Iterator[StoredRow]:
    """Yield all rows, whatever stands in them."""
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


def read_rows_by_id(session: Session, table: SealedTable, ids: Sequence[Any], *, lock: bool = False) -> list[StoredRow]:
    """Read rows by their ids, in this order of theirs; on PostgreSQL, `lock` has others wait who would change them."""
    if is_postgresql(session):
        return read_rows(
            session, table, f"id = ANY(:ids) ORDER BY id{' FOR UPDATE' if lock else ''}", {"ids": list(ids)}
        )
    return read_rows(session, table, "id IN (SELECT value FROM json_each(:ids)) ORDER BY id", {"ids": _as_json(ids)})


def _as_json(ids: Sequence[Any]) -> str:
    return canonical_json({"ids": list(ids)})[7:-1]


def compute_row_commitment(
    secret: bytes, salt: bytes, table: SealedTable, row: StoredRow, *, covers_settled: bool
) -> str:
    """Return the commitment (64 hex digits) to what a row says; `covers_settled` has it cover the settled columns too."""
    content = {"table": table.name, "id": str(row.id), "row": row.values} | (
        {"settled": row.settled_values} if covers_settled else {}
    )
    return keyed_hash(secret, b"disclosure\0", salt + canonical_json(content).encode())


def is_row_intact(keys: KeyRing, table: SealedTable, row: StoredRow) -> bool:
    """Return whether a row is what its commitment says, or one that leads to nobody since its person was erased."""
    if row.salt is None and table.has_holder:
        return bool(row.commitment) and not row.values[table.columns.index(_HOLDER)]
    if not isinstance(row.salt, bytes):
        return False
    # Sealed while it was uncertain, it is known by what was certain then.
    forms = (True, False) if table.settled_columns else (True,)
    return any(
        compute_row_commitment(key.secret, row.salt, table, row, covers_settled=covers_settled) == row.commitment
        for key in keys.of_kind("commitment")
        for covers_settled in forms
    )


def compute_batch_root(commitments: Iterable[str]) -> str:
    """Compute the SHA-256 (64 hex digits) over commitments in ascending order, each ended by a line feed; empty for none."""
    lines = "".join(f"{commitment}\n" for commitment in sorted(commitments))
    return hashlib.sha256(lines.encode()).hexdigest() if lines else ""


def seal_rows(
    database: PeopleDatabase, keys: KeyRing, table: SealedTable, ids: Sequence[Any], *, subject: str = "", now: datetime
) -> int:
    """Seal rows (at most `BATCH_SIZE`) as one batch; return how many. The next run takes those that somebody changed meanwhile."""
    with database.read() as session:
        rows = [row for row in read_rows_by_id(session, table, ids) if row.batch is None]
    sealed = _commit_rows(keys, table, rows)
    with database.write() as session:
        current = {row.id: row for row in read_rows_by_id(session, table, [row.id for row in rows], lock=True)}
        pairs = zip(rows, sealed, strict=True)
        fresh = [values for row, values in pairs if current.get(row.id) == row]
        if fresh:
            number, _ = disclosure_log.lock_disclosure_log(session)  # after the rows, as whoever folds them does
            _write_commitments(session, table, [{**values, "sealed_in": number + 1} for values in fresh])
            root = compute_batch_root(values["commitment"] for values in fresh)
            draft = LogEntryDraft(LogEntryKind.SEALED, table.name, subject, rows=len(fresh), root=root)
            disclosure_log.append_log_entries(session, keys, [draft], now)
        return len(fresh)


def write_commitments_without_batch(session: Session, keys: KeyRing, table: SealedTable, ids: Sequence[Any]) -> None:
    """Commit to rows (at most `BATCH_SIZE`) of a table without batches as they are now."""
    rows = read_rows_by_id(session, table, ids)
    _write_commitments(session, table, _commit_rows(keys, table, rows))


def _commit_rows(keys: KeyRing, table: SealedTable, rows: Sequence[StoredRow]) -> list[dict[str, Any]]:
    """Return for each row its id, with the salt and the commitment that it gets."""
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


def _write_commitments(session: Session, table: SealedTable, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        columns = table_of(table.model).c
        values: dict[str, Any] = {name: bindparam(name) for name in rows[0] if name != "row_id"}
        change = update(table_of(table.model)).where(columns.id == bindparam("row_id")).values(values)
        session.connection().execute(change, rows)


def delete_row_salts(session: Session, table: SealedTable, person: int) -> int:
    """Delete the salts of a person's rows, who is being erased; return how many were sealed.

    The caller takes the person out of the rows, in the same transaction.
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
    """Rows that may become totals: their ids, and what the log is to say of each batch and of those that never were sealed."""

    ids: frozenset[Any]
    drafts: tuple[LogEntryDraft, ...]


def plan_adding_rows_to_totals(
    session: Session, keys: KeyRing, table: SealedTable, rows: Sequence[StoredRow]
) -> RowsToTotalsPlan:
    """Decide which of some rows, which the caller has locked, may become totals.

    A batch that isn't what was sealed stays as it is, so that the fault stays in sight. So does a row that was added to a subject
    after that was closed.
    """
    closed = disclosure_log.list_fully_sealed_row_groups(session, table.name)
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
    """Return what the log says when rows of a batch became totals; None where the batch isn't what was sealed."""
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
    """Return what the log says when rows leave a batch to change once more; None where the batch isn't what was sealed."""
    if batch is None or not all(is_row_intact(keys, table, row) for row in leaving):
        return None
    stored = _load_commitments(session, table, batch.number)
    if len(stored) != batch.rows or compute_batch_root(stored.values()) != batch.root:
        return None
    gone = {row.id for row in leaving}
    left = [commitment for number, commitment in stored.items() if number not in gone]
    root = compute_batch_root(left)
    return LogEntryDraft(LogEntryKind.REOPENED, table.name, batch.subject, batch.number, rows=len(left), root=root)


def take_rows_out_of_sealed_batches(
    session: Session, keys: KeyRing, table: SealedTable, ids: Sequence[Any], *, now: datetime
) -> list[Any]:
    """Take rows (at most `BATCH_SIZE`), which the caller has locked, out of their batches; return those that may change now.

    Rows without a batch may. Those of a batch that isn't what was sealed stay as they are, so that the fault stays in sight.
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
    """Sort rows by their batch; those without one are under 0."""
    by_batch: dict[int, list[StoredRow]] = {}
    for row in rows:
        by_batch.setdefault(row.batch or 0, []).append(row)
    return by_batch


def _load_commitments(session: Session, table: SealedTable, batch: int) -> dict[Any, str]:
    """Return the commitments of a batch by row; those that are missing as empty texts."""
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
    """Append what a plan says to the log; `added` is by how much the totals of recipients grew."""
    drafts = [replace(draft, added=0 if place else added) for place, draft in enumerate(plan.drafts)]
    disclosure_log.append_log_entries(session, keys, drafts, now)


def find_changed_rows(session: Session, keys: KeyRing, tables: Collection[SealedTable], person: int) -> list[str]:
    """Say of which tables how many of a person's rows aren't what was sealed."""
    faults = []
    for table in tables:
        if table.has_holder:
            rows = read_rows(session, table, f"person = :person AND {_covered(session, table)}", {"person": person})
            if changed := sum(not is_row_intact(keys, table, row) for row in rows):
                faults.append(f"{table.noun} that don't match their seal: {changed:,}")
    return faults


def _covered(session: Session, table: SealedTable) -> str:
    """Return the SQL condition of the rows that have to have a commitment: of those without a batch, all once sealing began."""
    if table.batches:
        return "(commitment IS NOT NULL OR sealed_in IS NOT NULL)"
    return "true" if disclosure_log.has_sealing_begun(session, table.name) else "commitment IS NOT NULL"
