"""The audit log for admins: pages with filters, verification, and export."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import IO, Any

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from digest.app.upkeep import audit_topics
from digest.deliver.control import installation_hold
from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation
from digest.store.audit_chain import CHECK_STATE_KEY, AuditProof, read_last_verified_log_end, verify_audit_log
from digest.store.models import AuditEntry
from digest.store.staff import map_staff_display_names, require_staff_member, staff_actor
from subscribers.transfer.spreadsheet_csv import SpreadsheetCsvWriter

AuditRow = AuditEntry  # the name used by commands
SHOW_LOG = Action("audit log shown")
CHECK_LOG = Action("audit log checked")
EXPORT_LOG = Action("audit log exported")

PAGE_SIZE = 50  # rows
MAX_EXAMINED = 2000  # rows examined per page; the next page continues below them
EXPORT_COLUMNS = ("row", "at", "actor", "act", "subject", "detail", "previous", "hash")
TERMINAL_ACTORS = "terminal:"  # the prefix of terminal users' names


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Criteria for rows of the audit log.

    `actor` can be `terminal:`, which stands for all terminal users. `topic` is one of
    `audit_topics.TOPICS`. `since` is inclusive, and `until` is exclusive.
    """

    actor: str = ""
    topic: str = ""
    act: str = ""
    subject: str = ""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class AuditPosition:
    """A position in the log: the time of a row, and its number in the chain."""

    at: datetime
    seq: int


@dataclass(frozen=True, slots=True)
class AuditCheck:
    """The result of the last verification of the log.

    It has the time, the number of rows, the last row that was sealed, and a fault, if any.
    """

    at: datetime
    rows: int
    sealed_through: int
    fault: str


@dataclass(frozen=True, slots=True)
class AuditPage:
    """A page of the log's rows, newest first.

    `next_below` is where the next page starts, or None on the last page. `is_truncated` is True if older
    rows weren't examined. `names` maps actors to the names of staff, `check` is the last
    verification of the log, and `actions` are all that occur in it.
    """

    rows: tuple[AuditEntry, ...]
    next_below: AuditPosition | None
    is_truncated: bool
    names: dict[str, str] = field(default_factory=dict)
    check: AuditCheck | None = None
    actions: tuple[str, ...] = ()


def view_audit_log(
    installation: Installation,
    actor: Actor,
    log_filter: AuditFilter,
    *,
    below: AuditPosition | None = None,
    now: datetime,
) -> AuditPage:
    """Return a page of the log, newest first.

    At most 2,000 rows are examined.

    Raises:
        NotPermittedError: the actor isn't an admin.
    """
    SHOW_LOG.check_role(installation, actor, "audit log", now=now)
    with installation.read() as session:
        rows, next_below, is_truncated = _read_page(session, log_filter, below)
        names = map_staff_display_names(session, with_numbers=True)
        return AuditPage(rows, next_below, is_truncated, names, _read_check(session), tuple(_iterate_actions(session)))


def _iterate_actions(session: Session) -> Iterator[str]:
    """Yield each action in the log, in order. Each is found with the index, so the log isn't read."""
    last = session.scalar(select(func.min(AuditEntry.act)))
    while last is not None:
        yield last
        last = session.scalar(select(func.min(AuditEntry.act)).where(AuditEntry.act > last))


def read_entry_detail(row: AuditEntry) -> Mapping[str, Any] | None:
    """Return the details stored in a row of the audit log.

    Return None if they can't be read because the row was tampered with.
    """
    detail: object = row.detail
    return detail if isinstance(detail, Mapping) else None


def _read_page(
    session: Session, log_filter: AuditFilter, below: AuditPosition | None
) -> tuple[tuple[AuditEntry, ...], AuditPosition | None, bool]:
    """Read rows until a page is full.

    The index that fits is used, and the other criteria are checked row by row.
    """
    is_chained = AuditEntry.seq.is_not(None)
    examined = select(AuditEntry).where(is_chained, *_indexed_conditions(log_filter, below))
    newest_first = (AuditEntry.at.desc(), AuditEntry.seq.desc())
    entries: list[AuditEntry] = []
    last: AuditEntry | None = None
    count = 0
    newest = examined.order_by(*newest_first).limit(MAX_EXAMINED)
    for row in session.scalars(newest).yield_per(500):
        if _matches(row, log_filter):
            if len(entries) == PAGE_SIZE:
                return tuple(entries), _place_of(entries[-1]), False
            entries.append(row)
        last, count = row, count + 1
    is_truncated = count == MAX_EXAMINED and last is not None
    return tuple(entries), _place_of(last) if is_truncated and last is not None else None, is_truncated


def _indexed_conditions(log_filter: AuditFilter, below: AuditPosition | None) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if log_filter.subject:
        conditions.append(AuditEntry.subject == log_filter.subject)
    elif log_filter.actor and log_filter.actor != TERMINAL_ACTORS:
        conditions.append(AuditEntry.actor == log_filter.actor)
    if log_filter.since is not None:
        conditions.append(AuditEntry.at >= log_filter.since)
    if log_filter.until is not None:
        conditions.append(AuditEntry.at < log_filter.until)
    if below is not None:
        conditions.append(AuditEntry.at <= below.at)
        conditions.append(or_(AuditEntry.at < below.at, AuditEntry.seq < below.seq))
    return conditions


def _matches(row: AuditEntry, log_filter: AuditFilter) -> bool:
    is_at_terminal = log_filter.actor == TERMINAL_ACTORS and row.actor.startswith(TERMINAL_ACTORS)
    by_actor = row.actor == log_filter.actor or is_at_terminal
    return (
        (not log_filter.actor or by_actor)
        and (not log_filter.act or audit_topics.is_matching_action(row.act, log_filter.act))
        and (not log_filter.topic or audit_topics.is_action_in_topic(row.act, log_filter.topic))
    )


def _place_of(row: AuditEntry) -> AuditPosition:
    return AuditPosition(row.at, row.seq or 0)


def find_audit_name_by_email(installation: Installation, actor: Actor, email: str, *, now: datetime) -> str:
    """Return the name of a staff member in the log, given their email address.

    Raises:
        NotPermittedError: the actor isn't an admin.
        StaffError: no staff member has the address.
    """
    SHOW_LOG.check_role(installation, actor, "audit log", now=now)
    with installation.read() as session:
        return staff_actor(require_staff_member(session, email))


def iterate_audit_log(
    installation: Installation, actor: Actor, log_filter: AuditFilter, *, now: datetime
) -> Iterator[AuditEntry]:
    """Yield all rows that match a filter, newest first.

    Raises:
        NotPermittedError: the actor isn't an admin.
    """
    SHOW_LOG.check_role(installation, actor, "audit log", now=now)
    below: AuditPosition | None = None
    while True:
        with installation.read() as session:
            rows, below, _ = _read_page(session, log_filter, below)
        yield from rows
        if below is None:
            return


def check_audit_log(installation: Installation, actor: Actor, *, now: datetime) -> AuditCheck:
    """Verify the chain of the log from its first row.

    The result is returned, and stored for the page.

    Raises:
        NotPermittedError: the actor isn't an admin.
    """
    CHECK_LOG.check_role(installation, actor, "audit log", now=now)
    with installation.read() as session:
        proof = verify_audit_log(session)
    with installation.write() as session:
        save_check_result(session, proof, now=now)
    return AuditCheck(now, proof.rows, proof.sealed_through, proof.fault)


def save_check_result(session: Session, proof: AuditProof, *, now: datetime) -> None:
    """Store the result and the time of a verification.

    If the log is intact, its end is stored, too, so that the next verification notices when rows
    are cut off.
    """
    check_result = {"at": now.isoformat(), "rows": proof.rows, "sealed": proof.sealed_through, "fault": proof.fault}
    if not proof.fault:
        check_result["end"] = {"rows": proof.rows, "head": proof.head, "at": now.isoformat()}
    elif (checked := read_last_verified_log_end(session)) is not None:
        check_result["end"] = asdict(checked)
    installation_hold.write_installation_value(session, CHECK_STATE_KEY, check_result, now=now)


def _read_check(session: Session) -> AuditCheck | None:
    stored = installation_hold.read_installation_value(session, CHECK_STATE_KEY)
    if stored is None:
        return None
    return AuditCheck(datetime.fromisoformat(stored["at"]), stored["rows"], stored["sealed"], stored["fault"])


def export_audit_log(
    installation: Installation, actor: Actor, log_filter: AuditFilter, reason: str, file: IO[str], *, now: datetime
) -> int:
    """Write the matching rows as CSV, newest first, and return how many were written.

    The export and its reason are logged.

    Raises:
        NotPermittedError: the actor isn't an admin.
    """
    with EXPORT_LOG.transaction(installation, actor, "audit log", now=now) as (_, draft):
        draft.detail = {"why": reason}
    writer = SpreadsheetCsvWriter(file)
    writer.write_row(EXPORT_COLUMNS)
    count = 0
    for row in iterate_audit_log(installation, actor, log_filter, now=now):
        writer.write_row(_as_csv_row(row))
        count += 1
    return count


def _as_csv_row(row: AuditEntry) -> Sequence[Any]:
    row_detail = read_entry_detail(row)
    detail = (
        audit_topics.UNREADABLE if row_detail is None else json.dumps(row_detail, sort_keys=True, ensure_ascii=False)
    )
    at = row.at.isoformat(timespec="milliseconds")
    return (row.seq, at, row.actor, row.act, row.subject, detail, row.previous, row.hash)
