"""Parsing Postfix logs: the status of messages, and the time that a log covers without gaps.

`cleanup` logs the Message-ID with the queue ID as soon as the header has arrived. `qmgr` logs the
return path with the queue ID once Postfix has received the whole message. A delivery agent logs the
status. A message without the second line was never accepted. Addresses in the log aren't stored.
"""

import gzip
import re
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from digest.deliver.events.delivery_event import DeliveryEvent, EventKind, hash_event_parts
from digest.deliver.events.failure_causes import FailureCause, find_failure_cause, parse_reply_codes
from subscribers.errors import ApplicationError

REPORTED_BY = "mail log"
LOSS_REACH = timedelta(minutes=1)  # how far before a line that reports lost lines the loss may extend
_GZIP_MAGIC = b"\x1f\x8b"
# RFC 5424, section 6.2, or the traditional format (RFC 3164, section 4.1), each with or without the
# priority (rsyslog, journalctl -o short-iso).
_TIME = re.compile(
    rb"(?:<\d{1,3}>)?(?:1 )?(?:(?P<iso>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:[.,]\d+)?(?P<offset>Z|[+-]\d\d:?\d\d)"
    rb"|(?P<plain>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d)) "
)
# The host, then the tag: `postfix/smtp[123]:`, or `postfix/smtp 123 - -` according to RFC 5424,
# section 6.2. The rest of a line may contain text from strangers, so lines are matched from the
# start rather than searched.
_QUEUE_LINE = re.compile(
    rb"\S+ postfix[\w-]*/(?:[\w.-]+/)*(?P<daemon>\w+)(?:\[\d+\]:| \d+ \S+ (?:-|\[[^\]]*\])) (?P<queue>\w+): (?P<rest>.*)"
)
_FROM_LINE = re.compile(
    rb"from=<(?P<sender>[^<>\s]*)>, (?:size=\d+, nrcpt=\d+ |(?P<expired>status=(?:force-)?expired, ))"
)
_STATUS = re.compile(
    rb"to=<[^<>]*>, (?:\w+=[^ ]*, )*?dsn=(?P<dsn>[245]\.\d{1,3}\.\d{1,3}), status=(?P<word>\w+) (?P<answer>\(.*)"
)
_QUEUED_AS = re.compile(rb"\bqueued as (\w+)")
_DELIVERY_AGENTS = frozenset({b"smtp", b"lmtp", b"local", b"virtual", b"pipe", b"error", b"discard"})
# The formats of systemd-journald and of rsyslog's imjournal and imuxsock.
_LOST_LINES = re.compile(
    rb"\S+ (?:systemd-journald|journal|rsyslogd)\b.*?"
    rb"(?:Suppressed \d+ messages|messages lost due to rate-limiting|drop messages due to rate-limiting)"
)
_KIND_BY_STATUS = {b"sent": EventKind.DELIVERED, b"deferred": EventKind.DEFERRED, b"bounced": EventKind.BOUNCED}
_MOST_TELLING_FIRST = (EventKind.DELIVERED, EventKind.DEFERRED, EventKind.ACCEPTED, EventKind.BOUNCED)


class MailLogError(ApplicationError):
    """Raised when a file can't be read as a mail log. The message names the file and the reason."""


class UnreadableLogError(MailLogError):
    """Raised when one of the files can't be read. `why` is the reason without the file's name."""

    def __init__(self, file: Path, why: str) -> None:
        super().__init__(f"{file} {why}")
        self.file, self.why = file, why


class PostfixQueueStage(StrEnum):
    """The stage of a message in the queue, as reported by a log line."""

    ENTERED = "entered"
    TAKEN = "taken"  # received completely
    REPORTED = "reported"  # status reported by a delivery agent
    EXPIRED = "expired"  # given up by Postfix
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class PostfixQueueLine:
    """A log line about a message in the queue.

    ENTERED lines have its Message-ID with the angle brackets, TAKEN lines have its return path, and
    REPORTED lines have the other fields.
    """

    step: PostfixQueueStage
    queue_id: bytes
    message_id: bytes = b""
    kind: EventKind = EventKind.ACCEPTED
    status: str = ""
    next_queue_id: bytes = b""
    sender: bytes = b""


def parse_queue_line(line: bytes) -> PostfixQueueLine | None:
    """Parse a log line, or return None if it doesn't report a message's stage."""
    time = _TIME.match(line)
    match = _QUEUE_LINE.match(line, time.end()) if time else None
    if match is None:
        return None
    daemon, queue_id, rest = match["daemon"], match["queue"], match["rest"].rstrip()
    if daemon == b"cleanup" and rest.startswith(b"message-id="):
        return PostfixQueueLine(PostfixQueueStage.ENTERED, queue_id, rest.removeprefix(b"message-id="))
    if daemon in {b"qmgr", b"nqmgr"}:
        return _parse_queue_manager(queue_id, rest)
    status = _STATUS.match(rest) if daemon in _DELIVERY_AGENTS else None
    if status is None:
        return None
    queued_as = _QUEUED_AS.search(status["answer"])
    kind = _KIND_BY_STATUS.get(status["word"], EventKind.ACCEPTED)
    next_queue_id = queued_as[1] if queued_as else b""
    return PostfixQueueLine(PostfixQueueStage.REPORTED, queue_id, b"", kind, status["dsn"].decode(), next_queue_id)


def _parse_queue_manager(queue_id: bytes, rest: bytes) -> PostfixQueueLine | None:
    if rest == b"removed":
        return PostfixQueueLine(PostfixQueueStage.REMOVED, queue_id)
    match = _FROM_LINE.match(rest)
    if match is None:
        return None
    if match["expired"]:
        return PostfixQueueLine(PostfixQueueStage.EXPIRED, queue_id, kind=EventKind.BOUNCED)
    return PostfixQueueLine(PostfixQueueStage.TAKEN, queue_id, sender=match["sender"])


@dataclass(frozen=True, slots=True)
class LoggedMessage:
    """The last logged status of a message that Postfix accepted.

    `status` is an enhanced code (RFC 3463, section 2), or empty.
    """

    kind: EventKind
    status: str
    entered_at: datetime
    reported_at: datetime


def make_log_event(
    delivery_id: str, kind: EventKind, status: str, *, reported_at: datetime, now: datetime
) -> DeliveryEvent:
    """Return an event for what a log says about a delivery, to be processed like any other event."""
    bounce_cause = find_failure_cause(*parse_reply_codes(status, "")) or FailureCause.SOFT
    return DeliveryEvent(
        reported_by=REPORTED_BY,
        delivery_id=delivery_id,
        kind=kind,
        cause=bounce_cause if kind is EventKind.BOUNCED else FailureCause.NONE,
        occurred_at=reported_at,
        received_at=now,
        fingerprint=hash_event_parts(REPORTED_BY, delivery_id, kind, status),
        provider_mark=None,
        detail={"by": REPORTED_BY, "status": status},
    )


@dataclass(slots=True)
class _QueuedMail:
    """One pass of a message through the queue. A content filter causes a second pass."""

    entered_at: datetime
    reported_at: datetime
    accepted: bool = False
    kind: EventKind = EventKind.ACCEPTED
    status: str = ""
    next_queue_id: bytes = b""


@dataclass(slots=True)
class LogCoverage:
    """The time that a log covers.

    `spans` are the times without long gaps, and `losses` are the moments at which lines were lost.
    """

    longest_silence: timedelta
    spans: list[tuple[datetime, datetime]] = field(default_factory=list)
    losses: list[datetime] = field(default_factory=list)

    def note_line(self, at: datetime) -> None:
        """Record the time of a line of any kind."""
        start, end = self.spans[-1] if self.spans else (at, at)
        if self.spans and start <= at <= end + self.longest_silence:
            self.spans[-1] = (start, max(end, at))
        else:
            self.spans.append((at, at))

    def covers_time(self, start: datetime, end: datetime) -> bool:
        """Return True if a message accepted in the given period would be in the log."""
        if any(start <= loss <= end + LOSS_REACH for loss in self.losses):
            return False
        return any(first <= start and end <= last for first, last in self.merge_spans())

    def merge_spans(self) -> list[tuple[datetime, datetime]]:
        """Return the spans in order, merging those that are no further apart than the longest silence."""
        joined: list[tuple[datetime, datetime]] = []
        for start, end in sorted(self.spans):
            if joined and start <= joined[-1][1] + self.longest_silence:
                joined[-1] = (joined[-1][0], max(joined[-1][1], end))
            else:
                joined.append((start, end))
        return joined


@dataclass(slots=True)
class PostfixLog:
    """One or more log files, searched for certain Message-IDs."""

    coverage: LogCoverage
    messages: dict[str, LoggedMessage]


def read_postfix_log(
    files: Sequence[Path],
    message_ids: Collection[str],
    *,
    zone: tzinfo | None,
    longest_silence: timedelta,
    now: datetime,
) -> PostfixLog:
    """Parse the files of a log, including rotated and compressed ones, in any order.

    Args:
        files: plain or gzip files.
        message_ids: the Message-IDs to look for, with the angle brackets.
        zone: the time zone of traditional lines; None for this machine's.
        longest_silence: the longest time without a line that isn't a gap.
        now: the current time. Traditional lines lack the year, so the latest one that isn't in
            the future is used.

    Raises:
        MailLogError: a file can't be read or contains no log lines.
    """
    coverage = LogCoverage(longest_silence)
    reader = _LineReader({id_.encode("ascii") for id_ in message_ids}, coverage, LogTimestampParser(zone, now))
    for file in sorted(files, key=lambda file: _first_time(file, LogTimestampParser(zone, now))):
        with _open_log(file) as lines:
            reader.read_lines(lines)
    messages = {id_.decode("ascii"): _judge_passages(mails) for id_, mails in reader.mails.items()}
    return PostfixLog(coverage, {id_: message for id_, message in messages.items() if message})


@contextmanager
def _open_log(file: Path) -> Iterator[BinaryIO]:
    try:
        with file.open("rb") as raw:
            compressed = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            if not compressed:
                yield raw
                return
            with gzip.open(raw) as lines:
                yield lines  # type: ignore[misc]  # a GzipFile is read like any binary file
    except (OSError, EOFError, zlib.error) as exc:
        raise UnreadableLogError(file, f"can't be read ({getattr(exc, 'strerror', None) or exc}).") from None


def _first_time(file: Path, clock: "LogTimestampParser") -> datetime:
    with _open_log(file) as lines:
        for line in lines:
            if at := clock.read_time(line):
                return at
    raise UnreadableLogError(file, "has no lines that start with a time, as lines in syslog files do.")


@dataclass(slots=True)
class LogTimestampParser:
    """A parser of log lines' times.

    It caches the last time, because neighboring lines usually share it.

    `zone` is the time zone of traditional lines, or None for this machine's.
    """

    zone: tzinfo | None
    now: datetime
    _last: tuple[bytes, datetime] | None = None

    def read_time(self, line: bytes) -> datetime | None:
        """Return a line's time in UTC, to the second, or None if it has none."""
        match = _TIME.match(line)
        if match is None:
            return None
        text = b"".join(part for part in match.groups() if part)
        if self._last is None or self._last[0] != text:
            at = self._convert_time(match)
            if at is None:
                return None
            self._last = (text, at)
        return self._last[1]

    def _convert_time(self, match: re.Match[bytes]) -> datetime | None:
        try:
            if match["iso"]:
                return datetime.fromisoformat((match["iso"] + match["offset"]).decode()).astimezone(UTC)
            today = self.now.astimezone(self.zone)
            for year in (today.year, today.year - 1):
                local = datetime.strptime(f"{year} {match['plain'].decode()}", "%Y %b %d %H:%M:%S")  # noqa: DTZ007 - in a zone below
                at = local.astimezone(UTC) if self.zone is None else local.replace(tzinfo=self.zone).astimezone(UTC)
                if at <= self.now + timedelta(days=1):
                    return at
        except ValueError:  # invalid date
            pass
        return None


@dataclass(slots=True)
class _LineReader:
    """A reader that tracks the wanted messages through the lines of successive files."""

    message_ids: Collection[bytes]
    coverage: LogCoverage
    clock: LogTimestampParser
    mails: dict[bytes, dict[tuple[bytes, int], _QueuedMail]] = field(default_factory=dict)
    _in_queue: dict[bytes, _QueuedMail] = field(default_factory=dict)

    def read_lines(self, lines: Iterable[bytes]) -> None:
        """Parse the lines of one file."""
        for line in lines:
            at = self.clock.read_time(line)
            if at is None:
                continue
            self.coverage.note_line(at)
            if queue_line := parse_queue_line(line):
                self._read_queue_line(queue_line, at)
            elif (time := _TIME.match(line)) and _LOST_LINES.match(line, time.end()):
                self.coverage.losses.append(at)

    def _read_queue_line(self, line: PostfixQueueLine, at: datetime) -> None:
        if line.step is PostfixQueueStage.ENTERED:
            self._enter_queue(line.queue_id, line.message_id, at)
            return
        mail = self._in_queue.get(line.queue_id)
        if mail is None:
            return
        if line.step is PostfixQueueStage.REMOVED:
            del self._in_queue[line.queue_id]  # Postfix reuses short IDs
        elif line.step is PostfixQueueStage.TAKEN:
            mail.accepted = True
        elif line.step is PostfixQueueStage.EXPIRED:
            mail.kind, mail.reported_at = line.kind, at
        else:
            mail.accepted, mail.reported_at, mail.status = True, at, line.status
            mail.kind, mail.next_queue_id = line.kind, line.next_queue_id

    def _enter_queue(self, queue_id: bytes, message_id: bytes, at: datetime) -> None:
        self._in_queue.pop(queue_id, None)
        if message_id in self.message_ids:
            passages = self.mails.setdefault(message_id, {})
            self._in_queue[queue_id] = passages[queue_id, len(passages)] = _QueuedMail(at, at)


def _judge_passages(passages: dict[tuple[bytes, int], _QueuedMail]) -> LoggedMessage | None:
    """Return a message's final status, or None if Postfix never accepted it.

    The message counts as delivered if one copy arrived.
    """
    own_ids = {queue_id for queue_id, _ in passages}
    ends = [mail for mail in passages.values() if mail.accepted and mail.next_queue_id not in own_ids]
    if not ends:
        return None
    last = min(ends, key=lambda mail: _MOST_TELLING_FIRST.index(mail.kind))
    entered_at = min(mail.entered_at for mail in passages.values())
    return LoggedMessage(last.kind, last.status, entered_at, last.reported_at)
