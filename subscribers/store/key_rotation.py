"""Key rotation, which creates a new key and, for two kinds, rewrites the rows that use older keys.

The installation works at every step. Old keys stay in the file, every row has the ID of its key,
and people are looked up with all lookup keys. If a run is interrupted, the next one finishes it.

- vault: Addresses, the IP addresses of consents, and adopted keys are encrypted again. Data stored
  for hours or days (forms, transactional emails, providers' events) keeps its key until it's
  deleted.
- lookup: People's lookup hashes and domain tags are recomputed from the vault.
- token, return-path, session, suppression, approval, commitment: Nothing is rewritten. Older keys
  remain valid.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Column, ColumnElement, Table, Update, bindparam, func, select, update
from sqlalchemy.orm import Session

from subscribers.address import AddressError, read_address
from subscribers.callback_types import Progress
from subscribers.crypto.encrypted_values import reencrypt
from subscribers.crypto.key_file import lock_file, replace_file
from subscribers.crypto.keys import KEY_KINDS, DecryptionError, KeyFileError, KeyKind, KeyRing
from subscribers.crypto.stored_addresses import decrypt_address, is_adopted_key_id, make_domain_tag, make_lookup_hash
from subscribers.store.database import PeopleDatabase, count_rows
from subscribers.store.key_check import list_key_id_columns
from subscribers.store.models import Person, SuppressionAdoption, table_of
from subscribers.store.signup_models import RequestEvidence

# A transaction with this many rows takes about 10 ms on SQLite.
BATCH_SIZE = 500
REWRITTEN_KINDS = frozenset({"vault", "lookup"})  # the kinds whose rows are rewritten


@dataclass(frozen=True, slots=True)
class KeyUsage:
    """A key and how it's used.

    `rows` is None if stored data doesn't contain the key's ID.
    """

    kind: KeyKind
    number: int
    id: str
    current: bool
    rows: int | None
    in_file: bool = True


@dataclass(frozen=True, slots=True)
class UnrotatedRow:
    """A row that couldn't be rewritten (`person 7`, `trace 12`), and the reason.

    It keeps its old key.
    """

    row: str
    reason: str


@dataclass(frozen=True, slots=True)
class RotationResult:
    """The result of a run: the current key, whether this run created it, and the number of rewritten rows."""

    kind: KeyKind
    key_id: str
    key_added: bool
    rows_moved: int
    unmoved_rows: tuple[UnrotatedRow, ...]


def list_key_usage(session: Session, keys: KeyRing) -> list[KeyUsage]:
    """Return every key, with the number of rows that use it.

    Keys that are missing from the file come last.
    """
    usage: list[KeyUsage] = []
    missing: list[KeyUsage] = []
    for kind in KEY_KINDS:
        counted = _count_rows_by_key(session, kind)
        for key in keys.of_kind(kind):
            rows = counted.pop(key.id, 0) if counted is not None else None
            usage.append(KeyUsage(kind, key.number, key.id, key == keys.current(kind), rows))
        for key_id, rows in sorted((counted or {}).items()):
            number = int(key_id.partition("-")[0]) if key_id[:1].isdigit() else 0
            missing.append(KeyUsage(kind, number, key_id, current=False, rows=rows, in_file=False))
    return usage + missing


def _count_rows_by_key(session: Session, kind: KeyKind) -> dict[str, int] | None:
    columns = [column for of_kind, _, column in list_key_id_columns() if of_kind == kind]
    counts: dict[str, int] = {}
    for column in columns:
        query = select(column, func.count()).where(column.is_not(None)).group_by(column)
        for key_id, rows in session.execute(query):
            if not is_adopted_key_id(key_id):
                counts[key_id] = counts.get(key_id, 0) + rows
    return counts if columns else None


def rotate_key(
    database: PeopleDatabase,
    key_file: Path,
    kind: KeyKind,
    *,
    passphrase: str | None = None,
    force_new_key: bool = False,
    progress: Progress = lambda *_: None,
) -> RotationResult:
    """Create a new key and rewrite the rows that use older ones, or finish an interrupted run.

    1. If there are rows with an older key, continue with the current key, unless
       `force_new_key` is set.
    2. Otherwise, add a new key to the key file atomically.
    3. Rewrite the rows, 500 per transaction. Rows that changed in the meantime are left to the
       next pass.

    Show the recovery copy of the key file after every run. `progress` is called with (rows
    rewritten, rows to rewrite).

    Raises:
        KeyFileError: the file can't be used, or this kind has the maximum number of keys.
    """
    keys = KeyRing.load(key_file, passphrase)
    with database.read() as session:
        key_added = force_new_key or not _count_remaining(session, keys, kind)
    if key_added:
        keys = add_key(key_file, kind, passphrase)
    rows_moved, unmoved = _rewrite_rows(database, keys, kind, progress) if kind in REWRITTEN_KINDS else (0, ())
    return RotationResult(kind, keys.current(kind).id, key_added, rows_moved, unmoved)


def add_key(key_file: Path, kind: KeyKind, passphrase: str | None = None) -> KeyRing:
    """Add a new key to the key file.

    Running processes start using it.

    Raises:
        KeyFileError: the file can't be used or written.
    """
    try:
        with lock_file(key_file):
            keys = KeyRing.load(key_file, passphrase)
            replace_file(key_file, keys.with_new_key(kind).to_file_text(passphrase if keys.under_passphrase else None))
    except OSError as exc:
        raise KeyFileError(f"Can't write {key_file}: {exc.strerror}. The key wasn't added.") from exc
    return KeyRing.load(key_file, passphrase)


@dataclass(frozen=True, slots=True)
class _KeyedColumn:
    """A column of key IDs, with the column of the rows' numbers and the column of values made with the keys."""

    label: str
    table: Table
    number_column: Column[Any]
    key_column: Column[Any]
    value_column: Column[Any]

    def needs_rewrite(self, current_key_id: str) -> ColumnElement[bool]:
        """Return the condition for rows that need to be rewritten.

        Rows without a ciphertext keep their key.
        """
        return (
            self.table.c.ciphertext.is_not(None) & self.value_column.is_not(None) & (self.key_column != current_key_id)
        )


_PERSON_TABLE, _EVIDENCE_TABLE = table_of(Person), table_of(RequestEvidence)
_ADOPTION_TABLE = table_of(SuppressionAdoption)
_KEYED_COLUMNS: dict[KeyKind, tuple[_KeyedColumn, ...]] = {
    "vault": (
        _KeyedColumn(
            "person", _PERSON_TABLE, _PERSON_TABLE.c.number, _PERSON_TABLE.c.key_id, _PERSON_TABLE.c.ciphertext
        ),
        _KeyedColumn(
            "trace", _EVIDENCE_TABLE, _EVIDENCE_TABLE.c.event, _EVIDENCE_TABLE.c.key_id, _EVIDENCE_TABLE.c.ciphertext
        ),
        _KeyedColumn(
            "adoption", _ADOPTION_TABLE, _ADOPTION_TABLE.c.id, _ADOPTION_TABLE.c.key_id, _ADOPTION_TABLE.c.ciphertext
        ),
    ),
    "lookup": (
        _KeyedColumn(
            "person", _PERSON_TABLE, _PERSON_TABLE.c.number, _PERSON_TABLE.c.lookup_key, _PERSON_TABLE.c.lookup
        ),
    ),
}


def _count_remaining(session: Session, keys: KeyRing, kind: KeyKind) -> int:
    """Return the number of rows with an older key that can still be rewritten."""
    current = keys.current(kind).id
    columns = _KEYED_COLUMNS.get(kind, ())
    return sum(count_rows(session, column.table, column.needs_rewrite(current)) for column in columns)


def _rewrite_rows(
    database: PeopleDatabase, keys: KeyRing, kind: KeyKind, progress: Progress
) -> tuple[int, tuple[UnrotatedRow, ...]]:
    with database.read() as session:
        total = _count_remaining(session, keys, kind)
    rows_moved = 0
    # Repeat until a pass rewrites nothing, because other processes may have written rows in the meantime.
    while True:
        before, unmoved = rows_moved, []
        for place in _KEYED_COLUMNS[kind]:
            for rewritten, faults in _run_rewrite_pass(database, keys, kind, place):
                rows_moved += rewritten
                unmoved += faults
                progress(rows_moved, max(total, rows_moved))
        if rows_moved == before:
            return rows_moved, tuple(unmoved)


def _run_rewrite_pass(
    database: PeopleDatabase, keys: KeyRing, kind: KeyKind, column: _KeyedColumn
) -> Iterator[tuple[int, list[UnrotatedRow]]]:
    """Rewrite a column's rows once, yielding the number of rewritten rows and the failed ones after each page."""
    after = 0
    while rows := _load_page(database, column, keys.current(kind).id, after):
        changes, damaged = _compute_changes(keys, kind, column, rows)
        rewritten, duplicates = _write_changes(database, kind, column, changes)
        yield rewritten, [*damaged, *duplicates]
        after = rows[-1].number


def _load_page(database: PeopleDatabase, column: _KeyedColumn, current_key_id: str, after: int) -> Sequence[Any]:
    columns = (column.number_column.label("number"), column.value_column.label("made"))
    query = select(*columns, column.table.c.ciphertext, column.table.c.key_id).where(
        column.needs_rewrite(current_key_id), column.number_column > after
    )
    with database.read() as session:
        return session.execute(query.order_by(column.number_column).limit(BATCH_SIZE)).all()


def _compute_changes(
    keys: KeyRing, kind: KeyKind, column: _KeyedColumn, rows: Sequence[Any]
) -> tuple[list[dict[str, Any]], list[UnrotatedRow]]:
    """Compute the new values outside any transaction."""
    changes, damaged = [], []
    for row in rows:
        try:
            changes.append(_compute_change(keys, kind, f"{column.label} {row.number}", row))
        except (DecryptionError, KeyFileError, AddressError) as exc:
            damaged.append(UnrotatedRow(f"{column.label} {row.number}", str(exc)))
    return changes, damaged


def _compute_change(
    keys: KeyRing,
    kind: KeyKind,
    row_label: str,
    row: Any,
) -> dict[str, Any]:
    sealed = (row.ciphertext, row.key_id)
    if kind == "vault":
        ciphertext, key_id = reencrypt(keys, sealed, bound_to=row_label, label=f"the address of {row_label}")
        return {"of": row.number, "was": row.made, "to": ciphertext, "by": key_id}
    address = read_address(decrypt_address(keys, sealed, row.number))
    values = {
        "to": make_lookup_hash(keys, address),
        "by": keys.current("lookup").id,
        "tag": make_domain_tag(keys, address),
    }
    return {"of": row.number, "was": row.made, **values}


def _write_changes(
    database: PeopleDatabase, kind: KeyKind, column: _KeyedColumn, changes: list[dict[str, Any]]
) -> tuple[int, list[UnrotatedRow]]:
    """Write a page of changes.

    Rows that have changed (erased, or rewritten by another run) are left as they are.
    """
    with database.write() as session:
        duplicates = _find_duplicates(session, changes) if kind == "lookup" else {}
        unique = [change for change in changes if change["of"] not in duplicates]
        rewritten = session.connection().execute(_update_statement(kind, column), unique).rowcount if unique else 0
        return rewritten, [
            UnrotatedRow(f"person {number}", f"person {other} has the same address; erase one of them")
            for number, other in duplicates.items()
        ]


def _update_statement(kind: KeyKind, column: _KeyedColumn) -> Update:
    values: dict[Column[Any], Any] = {column.value_column: bindparam("to"), column.key_column: bindparam("by")}
    if kind == "lookup":
        values[column.table.c.domain_tag] = bindparam("tag")
    same = (column.number_column == bindparam("of")) & (column.value_column == bindparam("was"))
    return update(column.table).where(same).values(values)


def _find_duplicates(
    session: Session,
    changes: list[dict[str, Any]],
) -> dict[int, int]:
    """Return the people whose address belongs to someone else under the new key, mapped to that person's number."""
    numbers = {change["to"]: change["of"] for change in changes}
    query = select(Person.lookup, Person.number).where(Person.lookup.in_(numbers))
    rows = session.execute(query)
    return {numbers[row.lookup]: row.number for row in rows if row.number != numbers[row.lookup]}
