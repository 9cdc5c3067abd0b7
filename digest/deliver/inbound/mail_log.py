"""Following the log of the operator's Postfix to turn the fates of accepted messages into events.

The log is read in parts, each from where the last one ended. A message is recognized by its return
path, and from then on by its queue ID. The IDs of messages still in the queue are stored in the
database, but no lines and no addresses.
"""

import json
import os
import subprocess
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from digest.deliver.compose.return_path import extract_delivery_ids
from digest.deliver.control.installation_hold import read_installation_value, write_installation_value
from digest.deliver.events import event_processor
from digest.deliver.events.delivery_event import DeliveryEvent
from digest.deliver.events.postfix_log import (
    LogTimestampParser,
    MailLogError,
    PostfixQueueLine,
    PostfixQueueStage,
    UnreadableLogError,
    make_log_event,
    parse_queue_line,
)
from digest.store.delivery_models import Delivery, QueuedMail
from digest.store.engine import Database
from subscribers.callback_types import Clock
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing

JOURNAL = "journal"
MAX_PART_BYTES = 4_000_000  # maximum number of bytes to read at once
QUEUE_RETENTION = timedelta(days=14)  # Postfix gives up after five days by default
_LOOK_UP_SIZE = 100  # number of deliveries or queue IDs per query
_JOURNAL_COMMAND = (
    *("journalctl", "--quiet", "--no-pager", "--output=json", "--output-fields=MESSAGE,SYSLOG_IDENTIFIER"),
    "SYSLOG_FACILITY=2",  # mail facility (RFC 5424, section 6.2.1)
)


@dataclass(frozen=True, slots=True)
class LogPart:
    """Lines from a log, and the position after them. For an empty journal, the position is empty."""

    lines: tuple[bytes, ...]
    position: Mapping[str, Any]


def read_log_part(source: str, position: Mapping[str, Any]) -> LogPart:
    """Read what was written to a log after a position.

    Without a position, only find the log's end.

    Args:
        source: the path of a log, or "journal".
        position: the position after the previous part of the same source.

    Raises:
        MailLogError: the log can't be read.
    """
    if source == JOURNAL:
        return _read_journal(position)
    file = Path(source)
    try:
        return _read_file(file, position)
    except OSError as exc:
        raise UnreadableLogError(file, f"can't be read ({exc.strerror}).") from None


def _read_file(file: Path, position: Mapping[str, Any]) -> LogPart:
    status = file.stat()
    if not position:
        return LogPart((), {"inode": status.st_ino, "offset": status.st_size})
    if position["inode"] != status.st_ino:
        for rotated in file.parent.glob(f"{file.name}?*"):
            if rotated.stat().st_ino == position["inode"] and (part := _read_lines(rotated, position["offset"])).lines:
                return part
        return _read_lines(file, 0)
    return _read_lines(file, position["offset"] if position["offset"] <= status.st_size else 0)


def _read_lines(file: Path, offset: int) -> LogPart:
    """Read the complete lines that start at or after an offset."""
    with file.open("rb") as log:
        inode = os.fstat(log.fileno()).st_ino
        log.seek(offset)
        whole = log.read(MAX_PART_BYTES).rpartition(b"\n")[0]
    end = offset + len(whole) + bool(whole)
    return LogPart(tuple(whole.split(b"\n") if whole else ()), {"inode": inode, "offset": end})


def _read_journal(position: Mapping[str, Any]) -> LogPart:
    since = f"--after-cursor={position['cursor']}" if position else "--lines=1"
    lines, size, cursor = [], 0, position.get("cursor", "")
    try:
        with subprocess.Popen([*_JOURNAL_COMMAND, since], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as journal:  # noqa: S603 (a fixed command)
            assert journal.stdout is not None, "it is a pipe"
            assert journal.stderr is not None, "it is a pipe"
            for entry in journal.stdout:
                fields = json.loads(entry)
                cursor, size = fields["__CURSOR"], size + len(entry)
                lines.append(_write_journal_line(fields))
                if size > MAX_PART_BYTES:
                    journal.terminate()
                    break
            trouble = journal.stderr.read().decode(errors="replace").strip()
    except (OSError, ValueError, KeyError) as exc:
        raise MailLogError(
            f"The journal can't be read ({getattr(exc, 'strerror', None) or type(exc).__name__})."
        ) from None
    if trouble:
        raise MailLogError(f"The journal can't be read ({trouble.splitlines()[0]}).")
    return LogPart(tuple(lines) if position else (), {"cursor": cursor} if cursor else {})


def _write_journal_line(fields: Mapping[str, Any]) -> bytes:
    """Return a journal entry formatted as a syslog line."""
    at = datetime.fromtimestamp(int(fields["__REALTIME_TIMESTAMP"]) // 1_000_000, UTC)
    message = fields.get("MESSAGE") or ""
    text = message.encode() if isinstance(message, str) else bytes(message)  # a list of bytes if it isn't UTF-8
    return b"%s - %s[0]: %s" % (
        at.strftime("%Y-%m-%dT%H:%M:%SZ").encode(),
        fields.get("SYSLOG_IDENTIFIER", "").encode(),
        text,
    )


@dataclass(slots=True)
class _QueueWalk:
    """A walk through log lines in order, tracking the messages in the queue.

    `in_queue` has the deliveries by queue ID, initially from earlier parts. `own_senders` has them
    by return path.
    """

    in_queue: dict[str, str]
    own_senders: Mapping[bytes, str]
    now: datetime
    events: list[DeliveryEvent] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)  # queue IDs that were added or removed

    def follow(self, line: PostfixQueueLine, at: datetime) -> None:
        """Process one log line."""
        queue_id = line.queue_id.decode()
        if line.step in {PostfixQueueStage.ENTERED, PostfixQueueStage.TAKEN}:
            self.in_queue.pop(queue_id, None)  # Postfix reuses short IDs
            if delivery := self.own_senders.get(line.sender):
                self.in_queue[queue_id] = delivery
            self.touched.add(queue_id)
        elif queue_id not in self.in_queue:
            return
        elif line.step is PostfixQueueStage.REMOVED:
            del self.in_queue[queue_id]
            self.touched.add(queue_id)
        elif line.next_queue_id.decode() not in self.in_queue:
            event = make_log_event(self.in_queue[queue_id], line.kind, line.status, reported_at=at, now=self.now)
            self.events.append(event)


def follow_mail_log(
    database: Database, keys: KeyRing, unsubscribe_log: UnsubscribeLog, source: str, *, host: str, clock: Clock
) -> tuple[Counter[str], bool]:
    """Apply what has been logged since the last call.

    Return the counts of `process_events`, and whether there may be more. `host` distinguishes the
    logs of several machines. After an interruption, the same part is read again, and events that
    are already stored have no effect.

    Raises:
        MailLogError: the log can't be read.
        OSError: the unsubscribe log couldn't be written.
    """
    with database.read() as session:
        state = read_installation_value(session, make_log_state_key(host)) or {}
    position = state.get("position", {}) if state.get("source") == source else {}
    part = read_log_part(source, position)
    if part.position == position and not state.get("trouble"):
        return Counter(), False
    walk = _walk_lines(database, keys, part.lines, host, clock())
    counts: Counter[str] = Counter()
    size = event_processor.MAX_EVENTS_PER_TRANSACTION
    for start in range(0, max(1, len(walk.events)), size):
        with database.write() as session:
            some = walk.events[start : start + size]
            counts += event_processor.process_events(
                session, some, keys=keys, unsubscribe_log=unsubscribe_log, now=clock()
            )
            if start + size >= len(walk.events):
                _store_queue(session, walk, host)
                new_state = {"source": source, "position": dict(part.position), "trouble": ""}
                write_installation_value(session, make_log_state_key(host), new_state, now=clock())
    return counts, sum(map(len, part.lines)) > MAX_PART_BYTES // 2


def record_log_trouble(session: Session, host: str, trouble: str, *, now: datetime) -> bool:
    """Record that a host's log couldn't be read. Return True if the problem is new."""
    state = dict(read_installation_value(session, make_log_state_key(host)) or {})
    if state.get("trouble") == trouble:
        return False
    write_installation_value(session, make_log_state_key(host), state | {"trouble": trouble}, now=now)
    return True


def make_log_state_key(host: str) -> str:
    """Return the name of the stored state that records how far a host's log has been read."""
    return f"mail log {host}"[:60]


def delete_old_queue_ids(database: Database, *, now: datetime) -> int:
    """Delete old queue IDs of messages that the log never showed leaving the queue, and return the number deleted."""
    return database.delete_in_batches(
        QueuedMail, QueuedMail.at < now - QUEUE_RETENTION, size=event_processor.MAX_EVENTS_PER_TRANSACTION
    )


def _walk_lines(
    database: Database,
    keys: KeyRing,
    lines: Iterable[bytes],
    host: str,
    now: datetime,
) -> _QueueWalk:
    clock = LogTimestampParser(None, now)
    parsed = [(step, clock.read_time(line) or now) for line in lines if (step := parse_queue_line(line))]
    with database.read() as session:
        own = _find_deliveries(session, keys, {step.sender for step, _ in parsed})
        known = _load_queue(session, {step.queue_id.decode() for step, _ in parsed}, host)
    walk = _QueueWalk(known, own, now)
    for step, at in parsed:
        walk.follow(step, at)
    return walk


def _find_deliveries(
    session: Session,
    keys: KeyRing,
    senders: Collection[bytes],
) -> dict[bytes, str]:
    """Return the deliveries, keyed by return path.

    A return path's MAC proves the delivery, while a Message-ID or address could be copied.
    """
    paths = {
        (sender, id_) for sender in senders for id_ in extract_delivery_ids(keys, sender.decode("ascii", "replace"))
    }
    ids = set[str]()
    for some in _cut(sorted({id_ for _, id_ in paths})):
        ids |= set(session.scalars(select(Delivery.id).where(Delivery.id.in_(some))))
    return {sender: id_ for sender, id_ in paths if id_ in ids}


def _load_queue(
    session: Session,
    queue_ids: Collection[str],
    host: str,
) -> dict[str, str]:
    deliveries_by_id = dict[str, str]()
    for some in _cut(sorted(queue_ids)):
        query = select(QueuedMail.id, QueuedMail.delivery).where(
            QueuedMail.id.in_([_row_id(host, each) for each in some])
        )
        deliveries_by_id |= {row.id.partition(" ")[0]: row.delivery for row in session.execute(query)}
    return deliveries_by_id


def _store_queue(session: Session, walk: _QueueWalk, host: str) -> None:
    """Store the messages that are still in the queue, and delete those that left it."""
    for some in _cut(sorted(walk.touched)):
        session.execute(delete(QueuedMail).where(QueuedMail.id.in_([_row_id(host, each) for each in some])))
        staying = [each for each in some if each in walk.in_queue]
        session.add_all(
            QueuedMail(id=_row_id(host, each), delivery=walk.in_queue[each], at=walk.now) for each in staying
        )
        session.flush()


def _row_id(host: str, queue_id: str) -> str:
    return f"{queue_id} {host}"[:80]


def _cut(values: list[Any]) -> Iterator[list[Any]]:
    return (values[start : start + _LOOK_UP_SIZE] for start in range(0, len(values), _LOOK_UP_SIZE))
