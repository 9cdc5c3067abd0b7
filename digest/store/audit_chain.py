"""Verifying the audit log, row by row.

Rows are checked against the chain, the nightly seals, and the last verification. Deleting rows from
the end leaves a valid chain, and the nightly seal may not cover them yet, so each verification
stores the log's length and the hash of its last row.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from digest.store.audit import RawAuditRow, stream_audit_rows
from digest.store.delivery_models import StoredInstallationValue
from digest.store.models import AuditEntry
from subscribers.consent.seals import LedgerProof
from subscribers.store.keyed_row_seals import find_keys_of_session
from subscribers.store.models import Seal

CHECK_STATE_KEY = "audit log check"


@dataclass(frozen=True, slots=True)
class AuditProof:
    """The result of verifying the audit log.

    `fault` describes the first fault, or is empty if there isn't one. `sealed_through` is the last
    row covered by the latest seal. `head` is the hash of the last row.
    """

    rows: int
    fault: str
    sealed_through: int = 0
    head: str = ""


@dataclass(frozen=True, slots=True)
class LastVerifiedLogEnd:
    """The end of the log when it was last verified."""

    rows: int
    head: str
    at: str


def read_last_verified_log_end(session: Session) -> LastVerifiedLogEnd | None:
    """Return the end of the log when it was last verified, or None if it never was."""
    query = select(StoredInstallationValue.value).where(StoredInstallationValue.name == CHECK_STATE_KEY)
    stored = (session.scalar(query) or {}).get("end")
    return LastVerifiedLogEnd(stored["rows"], stored["head"], stored["at"]) if stored else None


def verify_audit_log(session: Session) -> AuditProof:
    """Verify the whole audit log.

    Each row is checked against the one before it, the seals against their rows, and the end against
    the last verification.
    """
    covering = select(Seal.at, Seal.log_through, Seal.log_head).where(Seal.log_through.is_not(None))
    seals = covering.order_by(Seal.id)
    sealed = {row.log_through: row for row in session.execute(seals)}
    checked = read_last_verified_log_end(session)
    rows, head, fault, keys, strange = 0, "", "", find_keys_of_session(session), list[int]()
    for row in stream_audit_rows(session):
        rows += 1
        seal = sealed.pop(rows, None)
        is_own = row.is_authentic(keys)
        fault = _find_row_fault(row, rows, head, is_own=is_own) or _find_witness_fault(row, rows, seal, checked)
        if fault:
            break
        head = row.hash
        if not is_own:
            strange.append(rows)
    fault = fault or _find_missing_rows(session, rows, sealed, checked) or _name_strange_rows(strange)
    total = session.scalar(select(func.count()).select_from(AuditEntry)) or 0
    through = session.scalar(select(func.max(Seal.log_through))) or 0
    return AuditProof(total, f"audit log: {fault}" if fault else "", through, head)


def add_audit_fault_to_proof(session: Session, proof: LedgerProof) -> LedgerProof:
    """Return the ledger's proof, with the audit log's fault added if the ledger has none."""
    return replace(proof, fault=proof.fault or verify_audit_log(session).fault)


def _find_row_fault(row: RawAuditRow, place: int, head: str, *, is_own: bool) -> str:
    if row.seq != place:
        return f"row {place:,} is missing; the next one is {row.seq}"
    if row.previous != head:
        return f"row {place:,} doesn't match the row before it"
    return "" if is_own or row.is_intact else f"row {place:,} was changed; its hash doesn't match"


def _find_witness_fault(row: RawAuditRow, place: int, seal: Any, checked: LastVerifiedLogEnd | None) -> str:
    """Compare a row with the seal that covers it and with the end stored by the last verification."""
    head = row.hash
    if seal is not None and seal.log_head != head:
        return f"row {place:,} isn't the one covered by the seal of {seal.at:%Y-%m-%d %H:%M} UTC"
    if checked is not None and place == checked.rows and head != checked.head:
        return f"row {place:,} isn't the one verified on {_write_minute(checked.at)} UTC"
    return ""


def _write_minute(at: str) -> str:
    return f"{datetime.fromisoformat(at).astimezone(UTC):%Y-%m-%d %H:%M}"


def _find_missing_rows(
    session: Session, rows: int, uncovered: dict[int | None, Any], checked: LastVerifiedLogEnd | None
) -> str:
    for through, seal in uncovered.items():
        if through:
            return f"rows after {rows:,} are missing; the seal of {seal.at:%Y-%m-%d %H:%M} UTC covers row {through:,}"
    if checked is not None and checked.rows > rows:
        last_check = f"{checked.rows:,} rows were verified on {_write_minute(checked.at)} UTC"
        return f"rows after {rows:,} are missing; {last_check}"
    outside = select(func.min(AuditEntry.id)).where(AuditEntry.seq.is_(None))
    stray = session.scalar(outside)
    return "" if stray is None else f"the row with ID {stray} wasn't written by this program"


def _name_strange_rows(places: list[int]) -> str:
    """Describe the rows that have no valid MAC.

    They're reported last, so that rows written while the key file was missing don't hide a change.
    """
    if not places:
        return ""
    other_rows = f", nor were {len(places) - 1:,} after it" if len(places) > 1 else ""
    return f"row {places[0]:,} wasn't written with this installation's keys{other_rows}"
