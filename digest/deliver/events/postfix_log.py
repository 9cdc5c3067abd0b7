"""What a Postfix log says of messages, by their Message-IDs, and which time it covers without a gap.

`cleanup` writes the Message-ID with the queue ID as soon as a header has arrived, `qmgr` the return path with the queue ID
once Postfix has taken the whole message, and a delivery agent the status. A message without the second line was never accepted.
No address of the log is kept.
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
LOSS_REACH = timedelta(minutes=1)  # before the line that tells of lost lines
_GZIP_MAGIC = b"\x1f\x8b"
# RFC 5424, section 6.2, the same without its priority (rsyslog, journalctl -o short-iso), or traditional (RFC 3164, section 4.1), with or without.
_TIME = re.compile(
    rb"(?:<\d{1,3}>)?(?:1 )?(?:(?P<iso>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:[.,]\d+)?(?P<offset>Z|[+-]\d\d:?\d\d)"
    rb"|(?P<plain>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d)) "
)
# The host, then the tag: `postfix/smtp[123]:`, or `postfix/smtp 123 - -` by RFC 5424, section 6.2. Postfix writes what strangers
# sent to it later in a line, so nothing is searched for: a line is read from its start.
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
# systemd-journald; rsyslog's imjournal and imuxsock.
_LOST_LINES = re.compile(
    rb"\S+ (?:systemd-journald|journal|rsyslogd)\b.*?"
    rb"(?:Suppressed \d+ messages|messages lost due to rate-limiting|drop messages due to rate-limiting)"
)
_KIND_BY_STATUS = {b"sent": EventKind.DELIVERED, b"deferred": EventKind.DEFERRED, b"bounced": EventKind.BOUNCED}
_MOST_TELLING_FIRST = (EventKind.DELIVERED, EventKind.DEFERRED, EventKind.ACCEPTED, EventKind.BOUNCED)


class MailLogError(ApplicationError):
    """A file cannot be read as a mail log; the message names it and says why."""


class UnreadableLogError(MailLogError):
    """One file cannot be read; `why` says what is the matter without its name."""

    def __init__(self, file: Path, why: str) -> None:
        super().__init__(f"{file} {why}")
        self.file, self.why = file, why


class PostfixQueueStage(StrEnum):
    """What a line says of a message in the queue."""

    ENTERED = "entered"
    TAKEN = "taken"  # all of it has arrived
    REPORTED = "reported"  # by a delivery agent
    EXPIRED = "expired"  # Postfix has given up
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class PostfixQueueLine:
    """A line about a message in the queue. ENTERED has its Message-ID, with the angle brackets; TAKEN its return path; REPORTED the other fields."""

    step: PostfixQueueStage
    queue_id: bytes
    message_id: bytes = b""
    kind: EventKind = EventKind.ACCEPTED
    status: str = ""
    next_queue_id: bytes = b""
    sender: bytes = b""


def parse_queue_line(line: bytes) -> PostfixQueueLine | None:
    """Parse a line of a log; None if it's about no message, or doesn't say where one is."""
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
    """What the log says last of one message that Postfix accepted; `status` is an enhanced code (RFC 3463, section 2), or empty."""

    kind: EventKind
    status: str
    entered_at: datetime
    reported_at: datetime


def make_event(
    delivery_id: str, kind: EventKind, status: str, *, reported_at: datetime, now: datetime
) -> DeliveryEvent:
    """Make an event of what a log says of a delivery: it goes the way of all events."""
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
    """One passage of a message through the queue; a content filter makes a second one of it."""

    entered_at: datetime
    reported_at: datetime
    accepted: bool = False
    kind: EventKind = EventKind.ACCEPTED
    status: str = ""
    next_queue_id: bytes = b""


@dataclass(slots=True)
class LogCoverage:
    """The time that a log covers: `spans` without a silence that is too long, and the moments at which lines were lost."""

    longest_silence: timedelta
    spans: list[tuple[datetime, datetime]] = field(default_factory=list)
    losses: list[datetime] = field(default_factory=list)

    def note_line(self, at: datetime) -> None:
        """Count a line of any kind."""
        start, end = self.spans[-1] if self.spans else (at, at)
        if self.spans and start <= at <= end + self.longest_silence:
            self.spans[-1] = (start, max(end, at))
        else:
            self.spans.append((at, at))

    def covers_time(self, start: datetime, end: datetime) -> bool:
        """Return whether a message that was accepted in this time would stand in the log."""
        if any(start <= loss <= end + LOSS_REACH for loss in self.losses):
            return False
        return any(first <= start and end <= last for first, last in self.joined_spans())

    def joined_spans(self) -> list[tuple[datetime, datetime]]:
        """Return the spans in order; those between which no line had to be are one."""
        joined: list[tuple[datetime, datetime]] = []
        for start, end in sorted(self.spans):
            if joined and start <= joined[-1][1] + self.longest_silence:
                joined[-1] = (joined[-1][0], max(joined[-1][1], end))
            else:
                joined.append((start, end))
        return joined


@dataclass(slots=True)
class PostfixLog:
    """One or more files of a log, read for some Message-IDs."""

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
    """Read the files of a log, rotated and compressed ones too, in any order.

    Args:
        files: plain or gzip.
        message_ids: what to look for, with the angle brackets.
        zone: of the times in traditional lines; None is this machine's.
        longest_silence: a longer time without any line is a gap.
        now: traditional lines lack the year: the last one that is not after now is meant.

    Raises:
        MailLogError: a file cannot be read, or holds no line of a log.
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
    """Reads the times of lines; neighbours mostly share theirs. `zone` is that of traditional lines; None is this machine's."""

    zone: tzinfo | None
    now: datetime
    _last: tuple[bytes, datetime] | None = None

    def read_time(self, line: bytes) -> datetime | None:
        """Return the time of a line in UTC, to the second; None where it has none."""
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
        except ValueError:  # no such day
            pass
        return None


@dataclass(slots=True)
class _LineReader:
    """Follows the wanted messages through the lines of a log, file after file."""

    message_ids: Collection[bytes]
    coverage: LogCoverage
    clock: LogTimestampParser
    mails: dict[bytes, dict[tuple[bytes, int], _QueuedMail]] = field(default_factory=dict)
    _in_queue: dict[bytes, _QueuedMail] = field(default_factory=dict)

    def read_lines(self, lines: Iterable[bytes]) -> None:
        """Read the lines of one file."""
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
            del self._in_queue[line.queue_id]  # Postfix uses short ids again
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
    """Say what became of a message: None where Postfix never accepted it. One copy that arrived is an arrival."""
    own_ids = {queue_id for queue_id, _ in passages}
    ends = [mail for mail in passages.values() if mail.accepted and mail.next_queue_id not in own_ids]
    if not ends:
        return None
    last = min(ends, key=lambda mail: _MOST_TELLING_FIRST.index(mail.kind))
    entered_at = min(mail.entered_at for mail in passages.values())
    return LoggedMessage(last.kind, last.status, entered_at, last.reported_at)
