"""Log lines of made-up messages as Postfix writes them, in three syslog formats."""

from collections.abc import Callable, Iterable
from datetime import datetime
from zoneinfo import ZoneInfo

LogLine = Callable[[datetime, str, str], str]
SERVER_ZONE = ZoneInfo("Europe/Berlin")


def traditional_line(at: datetime, daemon: str, text: str) -> str:
    """Write a line by RFC 3164, in the server's zone and without the year."""
    local = at.astimezone(SERVER_ZONE)
    return f"{local:%b} {local.day:2} {local:%H:%M:%S} mx postfix/{daemon}[4711]: {text}"


def iso_line(at: datetime, daemon: str, text: str) -> str:
    """Write a line as rsyslog does by default today."""
    return f"{at.astimezone(SERVER_ZONE).isoformat(timespec='microseconds')} mx postfix/{daemon}[4711]: {text}"


def rfc5424_line(at: datetime, daemon: str, text: str) -> str:
    """Write a line by RFC 5424."""
    return f"<22>1 {at:%Y-%m-%dT%H:%M:%S.%f}Z mx postfix/{daemon} 4711 - - {text}"


def queue_lines(
    line: LogLine,
    at: datetime,
    queue_id: str,
    message_id: str,
    status: str = "sent",
    *,
    dsn: str = "2.0.0",
    sender: str = "b@bounces.example",
) -> list[str]:
    """Write what a message leaves in the log. The status `queued` ends before a delivery, `broken` before the final dot."""
    lines = [
        line(at, "smtpd", f"{queue_id}: client=desk.example[192.0.2.7]"),
        line(at, "cleanup", f"{queue_id}: message-id={message_id}"),
    ]
    if status == "broken":
        return [*lines, line(at, "smtpd", "lost connection after DATA (1024 bytes) from desk.example[192.0.2.7]")]
    lines.append(line(at, "qmgr", f"{queue_id}: from=<{sender}>, size=61234, nrcpt=1 (queue active)"))
    if status == "queued":
        return lines
    answer = "to=<reader@county.example>, relay=mx.county.example[198.51.100.9]:25, delay=0.7, delays=0.1/0/0.2/0.4"
    lines.append(line(at, "smtp", f"{queue_id}: {answer}, dsn={dsn}, status={status} (said <reader@county.example>)"))
    return lines if status == "deferred" else [*lines, line(at, "qmgr", f"{queue_id}: removed")]


def log_text(lines: Iterable[str]) -> bytes:
    """Join lines to the text of a log."""
    return "".join(f"{line}\n" for line in lines).encode()
