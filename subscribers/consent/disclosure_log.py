"""The disclosure log: an append-only chain that records which disclosure rows were sealed and later became totals.

Each entry is hashed with the previous one and has a MAC, so the key file is required for appending
an entry. The nightly seal includes the latest entry. See
docs/decisions/0012-what-a-chain-proves.md.
"""

import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import func, insert, select, text
from sqlalchemy.orm import Session

from subscribers.consent import ledger
from subscribers.consent.chain_verification import convert_to_hashed_time, stream_raw_rows
from subscribers.crypto.keyed_hashes import keyed_hash
from subscribers.crypto.keys import KeyRing
from subscribers.store.database import is_postgresql
from subscribers.store.models import DisclosureLogEntry

PAGE_SIZE = 500  # entries per read
# The number is arbitrary. No other advisory lock of the product uses it.
_LOCK = 0x646973636C
_COLUMNS = (
    *("id", "@at", "'kind", "'source", "'subject", "batch", "rows", "folded", "erased", "added"),
    *("'root", "'previous", "'hash", "'mac"),
)


class LogEntryKind(StrEnum):
    """A kind of log entry."""

    # Rows were sealed, with the root over their commitments.
    SEALED = "sealed"
    # Rows became totals, and the rest of their batch has a new root.
    FOLDED = "folded"
    # All rows of the subject are sealed. No more follow unless it's reopened.
    CLOSED = "closed"
    # Rows left their batch so that they can change, and the rest of it has a new root.
    REOPENED = "reopened"
    BEGUN = "begun"  # the totals at the time when sealing began


@dataclass(frozen=True, slots=True)
class LogEntryDraft:
    """The content of a new entry (see `DisclosureLogEntry`).

    A sealing entry is its own `batch`.
    """

    kind: LogEntryKind
    source: str
    subject: str = ""
    batch: int | None = None
    rows: int = 0
    folded: int = 0
    erased: int = 0
    added: int = 0
    root: str = ""


class SealedBatch(NamedTuple):
    """The remaining rows of a batch: their number, and the root hash of their commitments."""

    number: int
    subject: str
    sealed_at: datetime
    rows: int
    root: str


class LogProof(NamedTuple):
    """The result of verifying the log: the number of checked entries, and the first fault, or "" if there's none."""

    entries: int
    fault: str


def lock_disclosure_log(session: Session) -> tuple[int, str]:
    """Lock the log against other writers until the transaction ends (only needed on PostgreSQL).

    Return the number and hash of the latest entry.
    """
    if is_postgresql(session):
        session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    return read_log_head(session)


def read_log_head(session: Session) -> tuple[int, str]:
    """Return the number and hash of the latest entry, or (0, "") if there's none."""
    newest = select(DisclosureLogEntry.id, DisclosureLogEntry.hash).order_by(DisclosureLogEntry.id.desc()).limit(1)
    row = session.execute(newest).one_or_none()
    return (row.id, row.hash) if row else (0, "")


def append_log_entries(session: Session, keys: KeyRing, drafts: Sequence[LogEntryDraft], now: datetime) -> None:
    """Append entries to the log within the caller's transaction."""
    number, head = lock_disclosure_log(session)
    at, key = ledger.truncate_to_millisecond(now), keys.current("commitment")
    rows = []
    for draft in drafts:
        number += 1
        entry_values = asdict(draft) | {"id": number, "previous": head}
        if draft.kind is LogEntryKind.SEALED:
            entry_values["batch"] = number
        head = hash_log_entry(ledger.format_ledger_time(at), entry_values)
        rows.append(entry_values | {"at": at, "hash": head, "mac": _authenticate(key.secret, head)})
    if rows:
        session.execute(insert(DisclosureLogEntry), rows)


def hash_log_entry(moment: str, entry_values: Mapping[str, Any]) -> str:
    """Return the hash of an entry as 64 hex digits.

    `moment` is text such as 2026-11-20T08:30:00.000+00:00.
    """
    return hashlib.sha256(ledger.encode_canonical_json({**entry_values, "at": moment}).encode()).hexdigest()


def _authenticate(secret: bytes, entry_hash: str) -> str:
    return keyed_hash(secret, b"disclosure log\0", entry_hash.encode())


def verify_disclosure_log(session: Session, keys: KeyRing, sealed_heads: Mapping[int, str]) -> LogProof:
    """Check every entry against the previous entry, its MAC, and the heads (number and hash) in the seals."""
    secrets = [key.secret for key in keys.of_kind("commitment")]
    uncovered = dict(sealed_heads)
    count, head = 0, ""
    for row in stream_raw_rows(session, "disclosure_log", _COLUMNS, page_size=PAGE_SIZE):
        count += 1
        fault = _find_entry_fault(row, count, head, secrets)
        head = row[12]
        if not fault and uncovered.pop(count, head) != head:
            fault = "isn't the one covered by a seal"
        if fault:
            return LogProof(count, f"disclosure log: entry {count:,} {fault}")
    missing = [through for through in uncovered if through]
    lost = (
        f"disclosure log: entries after {count:,} are missing (a seal covers entry {max(missing):,})" if missing else ""
    )
    return LogProof(count, lost)


def _find_entry_fault(
    row: Sequence[Any],
    place: int,
    head: str,
    secrets: Sequence[bytes],
) -> str:
    entry_values = dict(zip((name.lstrip("'@") for name in _COLUMNS), row, strict=True))
    stored_at, stored_hash, mac = (entry_values.pop(name) for name in ("at", "hash", "mac"))
    if entry_values["id"] != place:
        return f"is missing; the next one is {entry_values['id']}"
    if entry_values["previous"] != head:
        return "doesn't follow from the one before it"
    moment = convert_to_hashed_time(stored_at)
    if moment is None or stored_hash != hash_log_entry(moment, entry_values):
        return "was changed (its hash doesn't match)"
    if not any(hmac.compare_digest(mac.encode(), _authenticate(secret, stored_hash).encode()) for secret in secrets):
        return "wasn't written by this program (its MAC doesn't match)"
    if min(entry_values["rows"], entry_values["folded"], entry_values["erased"]) < 0:
        return "has a negative count"
    return ""


def stream_sealed_batches(session: Session, source: str) -> Iterator[SealedBatch]:
    """Yield a table's batches that have rows left, in the order in which they were sealed."""
    after = 0
    while page := session.execute(_SELECT_BATCHES, {"source": source, "after": after}).all():
        yield from (SealedBatch(*row) for row in page)
        after = page[-1].number


def load_sealed_batches(session: Session, numbers: Sequence[int]) -> dict[int, SealedBatch]:
    """Return the remaining rows of batches, keyed by batch number.

    Unknown numbers are omitted.
    """
    last = select(func.max(DisclosureLogEntry.id)).where(DisclosureLogEntry.batch.in_(numbers))
    entries = session.scalars(
        select(DisclosureLogEntry).where(DisclosureLogEntry.id.in_(last.group_by(DisclosureLogEntry.batch)))
    )
    return {e.batch: SealedBatch(e.batch, e.subject, e.at, e.rows, e.root) for e in entries if e.batch is not None}


_SELECT_BATCHES = text(
    "SELECT sealed.batch AS number, sealed.subject, sealed.at, newest.rows, newest.root"
    " FROM disclosure_log AS sealed JOIN disclosure_log AS newest"
    " ON newest.id = (SELECT max(id) FROM disclosure_log WHERE batch = sealed.batch)"
    " WHERE sealed.kind = 'sealed' AND sealed.source = :source AND sealed.batch > :after"
    " AND newest.rows > 0 ORDER BY sealed.batch LIMIT 500"
).columns(at=DisclosureLogEntry.at.type)


def has_sealing_begun(session: Session, source: str) -> bool:
    """Return True if the log contains the table's initial totals."""
    is_begin_entry = DisclosureLogEntry.kind == LogEntryKind.BEGUN, DisclosureLogEntry.source == source
    query = select(DisclosureLogEntry.id).where(*is_begin_entry).limit(1)
    return session.scalar(query) is not None


def list_fully_sealed_subjects(session: Session, source: str) -> set[str]:
    """Return the subjects whose rows have all been sealed."""
    is_stated = (
        DisclosureLogEntry.kind.in_((LogEntryKind.CLOSED, LogEntryKind.REOPENED)),
        DisclosureLogEntry.source == source,
    )
    newest = select(func.max(DisclosureLogEntry.id)).where(*is_stated).group_by(DisclosureLogEntry.subject)
    closed = DisclosureLogEntry.id.in_(newest), DisclosureLogEntry.kind == LogEntryKind.CLOSED
    return set(session.scalars(select(DisclosureLogEntry.subject).where(*closed)))


def count_rows_in_disclosure_totals(session: Session, source: str) -> dict[str, int]:
    """Return how many of a table's rows became totals, by subject."""
    folded = select(DisclosureLogEntry.subject, func.sum(DisclosureLogEntry.folded))
    grouped = folded.where(DisclosureLogEntry.source == source).group_by(DisclosureLogEntry.subject)
    return {subject: int(count) for subject, count in session.execute(grouped)}


def count_erased_in_disclosure_totals(session: Session, source: str) -> int:
    """Return how many of a table's rows had already lost their salt when they became totals."""
    erased = select(func.sum(DisclosureLogEntry.erased)).where(DisclosureLogEntry.source == source)
    return int(session.scalar(erased) or 0)


def sum_added_to_disclosure_totals(session: Session) -> int:
    """Return the number of disclosures that all entries together added to totals."""
    return int(session.scalar(select(func.sum(DisclosureLogEntry.added))) or 0)
