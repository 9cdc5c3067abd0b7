"""The newest rows of the audit log, for decisions that depend on them.

The rows are checked for missing or forged ones. If there are any, their content is unknown, and
callers must assume the worst. Rows cut off at the end aren't noticed before the nightly verification.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from digest.store.audit import RawAuditRow, list_unchained_entries, stream_audit_rows_newest_first
from subscribers.crypto.keys import KeyRing
from subscribers.loggers import get_logger
from subscribers.store.keyed_row_seals import find_keys_of_session

# Rows are in order of commit, which differs slightly from the order of their times.
_MARGIN = timedelta(days=1)

log = get_logger("audit")


class LoggedAction(NamedTuple):
    """The content of an audit row."""

    at: datetime
    actor: str
    act: str
    subject: str
    detail: dict[str, Any]


def read_actions_since(
    session: Session, since: datetime | None, names: Collection[str]
) -> tuple[list[LoggedAction], bool]:
    """Return the actions named in `names`, starting a day before `since`.

    Also return whether the log is intact since then. If `since` is None, the whole log is read.
    Actions of this transaction are included.
    """
    waiting = (LoggedAction(e.at, e.actor, e.act, e.subject, e.detail) for e in list_unchained_entries(session))
    rows, is_intact = _read_rows_since(session, since)
    if not is_intact:
        log.error("the newest rows of the audit log fail verification, so the stricter rule applies")
    named = (row for row in rows if row.act in names)
    logged = (LoggedAction(row.moment, row.actor, row.act, row.subject, row.read_detail()) for row in named)
    named_actions = (*(action for action in waiting if action.act in names), *logged)
    return [action for action in named_actions if since is None or action.at > since - _MARGIN], is_intact


def _read_rows_since(session: Session, since: datetime | None) -> tuple[list[RawAuditRow], bool]:
    rows: list[RawAuditRow] = []
    for row in stream_audit_rows_newest_first(session):
        follows = not rows or (row.seq, row.hash) == (rows[-1].seq - 1, rows[-1].previous)
        if not follows or not _is_own(find_keys_of_session(session), row):
            return rows, False
        rows.append(row)
        if since is not None and row.moment <= since - _MARGIN:
            return rows, True
    return rows, not rows or rows[-1].seq == 1


@lru_cache(maxsize=4096)  # each view of an edition reads several weeks of rows, at 25 µs each
def _is_own(keys: KeyRing, row: RawAuditRow) -> bool:
    return row.is_authentic(keys)
