"""The audit log, which records who did what and when.

It's append-only, hash-chained, and free of subscribers' addresses.

Each row carries a MAC over its hash, which in turn covers the row before it, so without the key file,
no row can be appended, changed, or removed. Each row also links to the latest earlier row that changed
someone's access, so that these rows can be followed from the end, and a missing one is noticed.

A row is chained just before its transaction commits. On PostgreSQL, this requires a lock, which is
therefore held only during the commit and can't block transactions that wait for other locks.
"""

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import event, inspect, select, text, update
from sqlalchemy.orm import Session

from digest.store.models import AuditEntry
from subscribers.consent.chain_verification import read_raw_rows, stream_raw_rows
from subscribers.consent.ledger import encode_canonical_json
from subscribers.crypto.keyed_hashes import keyed_hash
from subscribers.crypto.keys import KeyFileError, KeyRing, SecretKey
from subscribers.errors import ApplicationError
from subscribers.loggers import get_logger
from subscribers.store.database import is_postgresql
from subscribers.store.keyed_row_seals import find_keys_of_session
from subscribers.store.models import table_of

# An arbitrary number that no other advisory lock of ours uses.
_CHAIN_LOCK = 0x6175646974
SETTINGS_CHANGED = "settings changed"  # the subject is a table of the settings
SOURCE_ADDED, SOURCE_CHANGED, LOGO_KEPT = "source added", "source changed", "logo kept"
APPROVED, APPROVAL_REVOKED, SENT_BACK = "approve", "void approval", "sent back"
STAFF_ADDED, STAFF_REMOVED, ROLE_CHANGED = "staff added", "staff removed", "staff role changed"
INVITATION_CHANGED, INVITATION_WITHDRAWN = "staff invitation changed", "staff invitation withdrawn"
SIGN_IN_RESET, SIGNED_OUT, PASSWORD_SET = "sign-in reset", "staff signed out", "password or app set"
ACCESS_ACTIONS = frozenset(
    {
        *(STAFF_ADDED, STAFF_REMOVED, INVITATION_CHANGED, INVITATION_WITHDRAWN),
        *(ROLE_CHANGED, SIGN_IN_RESET, SIGNED_OUT, PASSWORD_SET),
    }
)

log = get_logger("audit")

_WAITING = "audit entries to be chained"
_PAGE_SIZE, _TAIL_PAGE_SIZE = 1000, 100  # number of rows
_PREFIX = b"audit row\0"
_COLUMNS = (
    *("seq", "@at", "'actor", "'act", "'subject", "'CAST(detail AS TEXT)", "'previous", "'hash"),
    *("access_seq", "'mac"),
)


class RawAuditRow(NamedTuple):
    """An audit row exactly as stored.

    `at` is in UTC, formatted as 2026-11-20 12:00:00.123000. `access_seq` is the position of the
    latest earlier row that changed someone's access, or None if there isn't one.
    """

    seq: int
    at: str
    actor: str
    act: str
    subject: str
    detail_text: str
    previous: str
    hash: str
    access_seq: int | None
    mac: str

    @property
    def next_access_seq(self) -> int | None:
        """The `access_seq` that the next row is required to have."""
        return self.seq if self.act in ACCESS_ACTIONS else self.access_seq

    @property
    def moment(self) -> datetime:
        """The time of the row.

        Accessing it may raise ValueError if `is_authentic` returns False.
        """
        return datetime.fromisoformat(self.at).replace(tzinfo=UTC)

    def read_detail(self) -> Any:
        """Return the parsed detail, or None if it's unreadable."""
        try:
            return json.loads(self.detail_text)
        except (ValueError, RecursionError):
            return None

    @property
    def is_intact(self) -> bool:
        """True if the row matches its hash."""
        detail = self.read_detail()
        try:
            return detail is not None and self.hash == hash_audit_entry(*self[:5], detail, previous=self.previous)
        except UnicodeEncodeError:
            return False

    def is_authentic(self, keys: KeyRing) -> bool:
        """Return True if we wrote the row, which means that it's intact and has a valid MAC."""
        try:
            key = keys.by_id("audit", self.mac.partition(":")[0])
        except KeyFileError:
            return False
        mac = make_audit_mac(key, self.hash, self.access_seq)
        return hmac.compare_digest(mac.encode(), self.mac.encode()) and self.is_intact


def record_audit(
    session: Session, act: str, subject: str, detail: Mapping[str, Any], *, actor: str, now: datetime
) -> None:
    """Append an entry to the audit log within the caller's transaction."""
    entry = AuditEntry(at=now, actor=actor, act=act, subject=subject[:200], detail=dict(detail))
    session.add(entry)
    session.flush()
    session.info.setdefault(_WAITING, []).append(entry)


def hash_audit_entry(seq: int, at: str, actor: str, act: str, subject: str, detail: object, *, previous: str) -> str:
    """Return the hash of a row as 64 hex digits.

    `at` must be in UTC, formatted as 2026-11-20 12:00:00.123000.
    """
    fields = {"seq": seq, "at": at, "actor": actor, "act": act, "subject": subject, "detail": detail}
    return hashlib.sha256(encode_canonical_json(fields | {"previous": previous}).encode()).hexdigest()


def make_audit_mac(key: SecretKey, row_hash: str, access_seq: int | None) -> str:
    """Return the MAC that proves that we wrote a row.

    It consists of the key ID, a colon, and an HMAC-SHA-256 of 64 hex digits.
    """
    return f"{key.id}:{keyed_hash(key.secret, _PREFIX, f'{row_hash} {access_seq}'.encode())}"


def read_audit_head(session: Session) -> tuple[int, str]:
    """Return the position and hash of the latest row in the chain, or (0, "") if the chain is empty."""
    newest = select(AuditEntry.seq, AuditEntry.hash).where(AuditEntry.seq.is_not(None))
    newest_first = newest.order_by(AuditEntry.seq.desc())
    row = session.execute(newest_first.limit(1)).one_or_none()
    return (row.seq or 0, row.hash) if row else (0, "")


def _read_rows(session: Session, condition: str, **parameters: Any) -> list[RawAuditRow]:
    return [RawAuditRow(*row) for row in read_raw_rows(session, "audit", _COLUMNS, condition, parameters)]


def stream_audit_rows(session: Session) -> Iterator[RawAuditRow]:
    """Yield all chained rows in order."""
    return (RawAuditRow(*row) for row in stream_raw_rows(session, "audit", _COLUMNS, page_size=_PAGE_SIZE))


def stream_audit_rows_newest_first(session: Session) -> Iterator[RawAuditRow]:
    """Yield all chained rows, newest first."""
    condition, parameters = "seq IS NOT NULL", dict[str, int]()
    while rows := _read_rows(session, f"{condition} ORDER BY seq DESC LIMIT {_TAIL_PAGE_SIZE}", **parameters):
        yield from rows
        condition, parameters = "seq < :below", {"below": rows[-1].seq}


def _read_end(session: Session, keys: KeyRing) -> tuple[RawAuditRow | None, RawAuditRow | None]:
    """Return the latest row, and the latest row that we wrote, or None for either if there's none."""
    newest, condition, parameters, count = None, "seq IS NOT NULL", dict[str, int](), 1
    while rows := _read_rows(session, f"{condition} ORDER BY seq DESC LIMIT {count}", **parameters):
        newest = newest or rows[0]
        for row in rows:
            if row.is_authentic(keys):
                return newest, row
        condition, parameters, count = "seq < :below", {"below": rows[-1].seq}, _PAGE_SIZE
    return newest, None


def read_staff_access_changes(session: Session, keys: KeyRing) -> tuple[list[RawAuditRow], bool]:
    """Return the rows that changed someone's access, newest first, and whether those are all of them.

    Each row links to the one before it. If a row is missing or forged, older ones aren't returned.
    """
    _, own = _read_end(session, keys)
    if own is None:
        return [], True
    walk = _walked.get(own.mac)
    if walk is None:
        walk = _walk_staff_access_changes(session, keys, own.next_access_seq)
        _walked.clear()
        _walked[own.mac] = walk
    return walk


def _walk_staff_access_changes(session: Session, keys: KeyRing, place: int | None) -> tuple[list[RawAuditRow], bool]:
    rows: list[RawAuditRow] = []
    for row in _read_rows(session, _ACCESS_WALK, start=place) if place is not None else ():
        if row.seq != place or not row.is_authentic(keys):
            break
        rows.append(row)
        place = row.access_seq
    return rows, place is None


# The last result, keyed by the MAC of the row that it started from. Every page needs it, and a MAC
# covers all earlier rows.
_walked: dict[str, tuple[list[RawAuditRow], bool]] = {}


_ACCESS_WALK = (
    "seq IN (WITH RECURSIVE walk(place) AS (SELECT CAST(:start AS INTEGER) UNION SELECT audit.access_seq"
    " FROM audit JOIN walk ON audit.seq = walk.place WHERE audit.access_seq < audit.seq) SELECT place FROM walk)"
    " ORDER BY seq DESC"
)


def list_unchained_entries(session: Session) -> list[AuditEntry]:
    """Return the entries that this session's transaction has recorded but not chained yet.

    Entries from a savepoint that was rolled back are omitted.
    """
    return [entry for entry in session.info.get(_WAITING, ()) if inspect(entry).persistent]


def chain_audit_entries(session: Session) -> None:
    """Chain the entries that this session's transaction has recorded.

    Sessions do this when they commit. Call this function explicitly for a session that shares a
    connection's transaction. Without the key file, rows get no MAC and fail verification, because
    an emergency can't wait for keys.
    """
    entries = list_unchained_entries(session)
    session.info.pop(_WAITING, None)
    if not entries:
        return
    try:
        keys = find_keys_of_session(session)
    except ApplicationError as exc:
        log.warning("audit rows are written without the key file, so they fail verification", why=str(exc))
        keys = None
    if is_postgresql(session):
        session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _CHAIN_LOCK})
    newest, own = _read_end(session, keys) if keys else (None, None)
    seq, head = (newest.seq, newest.hash) if newest else read_audit_head(session)
    access_seq = own.next_access_seq if own else None
    for entry in entries:
        seq += 1
        at = f"{entry.at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"
        entry.seq, entry.previous, entry.access_seq = seq, head, access_seq
        entry.hash = head = hash_audit_entry(
            seq, at, entry.actor, entry.act, entry.subject, entry.detail, previous=entry.previous
        )
        if keys:
            entry.mac = make_audit_mac(keys.current("audit"), head, access_seq)
            access_seq = seq if entry.act in ACCESS_ACTIONS else access_seq
    session.flush()


def add_macs_to_rows_without_mac(session: Session, keys: KeyRing) -> int:
    """Add MACs to intact rows that were written without the key file, and return the number of rows.

    Rows that change someone's access don't get one.
    """
    key, access_seq, count = keys.current("audit"), None, 0
    table = table_of(AuditEntry)
    for row in stream_audit_rows(session):
        if row.is_authentic(keys):
            access_seq = row.next_access_seq
        elif not row.mac and row.act not in ACCESS_ACTIONS and row.is_intact:
            mac = make_audit_mac(key, row.hash, access_seq)
            of_row = update(table).where(table.c.seq == row.seq)
            session.connection().execute(of_row.values(mac=mac, access_seq=access_seq))
            count += 1
    return count


@event.listens_for(Session, "before_commit")
def _chain_before_commit(session: Session) -> None:
    if session.info.get(_WAITING) and not session.in_nested_transaction():
        chain_audit_entries(session)
