"""The contents of a Postfix log by Message-ID, in every syslog format, and the time it covers."""

import gzip
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import pytest

from digest.deliver.events.delivery_event import EventKind
from digest.deliver.events.postfix_log import MailLogError, PostfixLog, read_postfix_log
from tests.deliver.postfix_lines import (
    SERVER_ZONE,
    LogLine,
    iso_line,
    log_text,
    queue_lines,
    rfc5424_line,
    traditional_line,
)
from tests.moments import RELEASE as AT

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
IDS = [f"<2026-W47.{'abcdefghijklmnopqrst'[n:]}@weekly.news.example>" for n in range(8)]


def read(*files: Path, now: datetime = AT + HOUR, zone: tzinfo | None = SERVER_ZONE) -> PostfixLog:
    return read_postfix_log(files, IDS, zone=zone, longest_silence=HOUR, now=now)


def written(path: Path, *groups: list[str], compressed: bool = False) -> Path:
    text = log_text(line for lines in groups for line in lines)
    path.write_bytes(gzip.compress(text) if compressed else text)
    return path


def kinds(log: PostfixLog) -> dict[str, EventKind]:
    return {id_: message.kind for id_, message in log.messages.items()}


@pytest.mark.parametrize("line", [traditional_line, iso_line, rfc5424_line])
def test_it_knows_what_became_of_each_in_every_form_of_a_syslog(tmp_path: Path, line: LogLine) -> None:
    log = read(
        written(
            tmp_path / "mail.log",
            queue_lines(line, AT, "4Xq1aZ2bY3z", IDS[0]),
            queue_lines(line, AT, "4Xq1aZ2bY4z", IDS[1], "bounced", dsn="5.1.1"),
            queue_lines(line, AT + SECOND, "4Xq1aZ2bY5z", IDS[2], "deferred", dsn="4.2.2"),
            queue_lines(line, AT + MINUTE, "4Xq1aZ2bY6z", IDS[3], "queued"),
            queue_lines(line, AT + MINUTE, "4Xq1aZ2bY7z", IDS[4], "broken"),
            queue_lines(line, AT + MINUTE, "4Xq1aZ2bY8z", "<somebody@else.example>"),
        )
    )
    assert kinds(log) == {
        IDS[0]: EventKind.DELIVERED,
        IDS[1]: EventKind.BOUNCED,
        IDS[2]: EventKind.DEFERRED,
        IDS[3]: EventKind.ACCEPTED,
    }
    assert log.messages[IDS[1]].status == "5.1.1"
    assert log.messages[IDS[2]].entered_at == AT + SECOND
    assert log.coverage.merge_spans() == [(AT, AT + MINUTE)]
    assert "reader@" not in repr(log)


def test_the_last_word_counts_and_a_queue_id_that_is_used_again_is_another_message(tmp_path: Path) -> None:
    again = "to=<r@county.example>, relay=none, dsn=5.4.4, status=bounced (no such host)"
    log = read(
        written(
            tmp_path / "mail.log",
            queue_lines(iso_line, AT, "0A1B2C3D4E", IDS[0], "deferred", dsn="4.4.1"),
            [
                iso_line(AT + MINUTE, "smtp", f"0A1B2C3D4E: {again}"),
                iso_line(AT + MINUTE, "qmgr", "0A1B2C3D4E: removed"),
            ],
            queue_lines(iso_line, AT + 2 * MINUTE, "0A1B2C3D4E", "<somebody@else.example>"),
            queue_lines(iso_line, AT, "0A1B2C3D4F", IDS[1], "deferred", dsn="4.4.1"),
            [iso_line(AT + MINUTE, "qmgr", "0A1B2C3D4F: from=<b@bounces.example>, status=expired, returned to sender")],
        )
    )
    assert kinds(log) == {IDS[0]: EventKind.BOUNCED, IDS[1]: EventKind.BOUNCED}
    assert log.messages[IDS[0]].status == "5.4.4"


def test_what_a_content_filter_took_is_not_delivered_yet(tmp_path: Path) -> None:
    to_filter = (
        "to=<r@county.example>, relay=127.0.0.1[127.0.0.1]:10024, dsn=2.0.0, status=sent (250 2.0.0 queued as B1B2B3)"
    )
    lines = [
        *queue_lines(iso_line, AT, "A1A2A3", IDS[0], "queued"),
        *queue_lines(iso_line, AT, "B1B2B3", IDS[0], "bounced", dsn="5.1.1"),
        iso_line(AT + SECOND, "smtp", f"A1A2A3: {to_filter}"),
    ]
    assert kinds(read(written(tmp_path / "mail.log", lines))) == {IDS[0]: EventKind.BOUNCED}


def test_text_that_a_stranger_sent_to_the_server_says_nothing(tmp_path: Path) -> None:
    injected = "improper command pipelining after CONNECT from unknown[203.0.113.6]: x postfix/{}[1]: A1A2A3: {}"
    lines = [
        iso_line(AT, "smtpd", injected.format("cleanup", f"message-id={IDS[0]}")),
        iso_line(AT, "smtpd", injected.format("smtp", "to=<r@county.example>, dsn=5.1.1, status=bounced (no)")),
        iso_line(AT, "smtpd", "warning: from unknown: rsyslogd: 9 messages lost due to rate-limiting"),
    ]
    log = read(written(tmp_path / "mail.log", lines))
    assert (log.messages, log.coverage.losses) == ({}, [])


def test_of_two_copies_one_that_arrived_is_an_arrival(tmp_path: Path) -> None:
    first, second = (
        queue_lines(iso_line, AT, "A1A2A3", IDS[0]),
        queue_lines(iso_line, AT, "B1B2B3", IDS[0], "bounced"),
    )
    assert kinds(read(written(tmp_path / "mail.log", first, second))) == {IDS[0]: EventKind.DELIVERED}


def test_rotated_and_compressed_files_are_one_log_in_whatever_order_they_are_named(tmp_path: Path) -> None:
    lines = queue_lines(traditional_line, AT, "A1A2A3", IDS[0])
    older = written(tmp_path / "mail.log.1.gz", lines[:3], compressed=True)
    newer = written(tmp_path / "mail.log", [line.replace(":00:00 mx", ":00:09 mx") for line in lines[3:]])
    log = read(newer, older)
    assert kinds(log) == {IDS[0]: EventKind.DELIVERED}
    assert log.coverage.merge_spans() == [(AT, AT + 9 * SECOND)]


def test_a_traditional_line_is_of_the_last_year_that_is_not_to_come(tmp_path: Path) -> None:
    eve = datetime(2026, 12, 31, 12, tzinfo=UTC)
    lines = [
        *queue_lines(traditional_line, eve, "A1A2A3", IDS[0]),
        traditional_line(eve + 24 * HOUR, "anvil", "statistics"),
    ]
    log = read(written(tmp_path / "mail.log", lines), now=datetime(2027, 1, 2, tzinfo=UTC))
    assert log.coverage.merge_spans() == [(eve, eve), (eve + 24 * HOUR, eve + 24 * HOUR)]


def ticks(start: datetime, end: datetime) -> list[str]:
    """Write a line of no message every half hour."""
    return [
        iso_line(start + n * 30 * MINUTE, "anvil", "statistics: max") for n in range((end - start) // (30 * MINUTE) + 1)
    ]


@pytest.mark.parametrize(
    ("lines", "covered"),
    [
        (ticks(AT - HOUR, AT + 3 * HOUR), True),
        (ticks(AT - HOUR, AT) + ticks(AT + HOUR, AT + 3 * HOUR), True),
        (ticks(AT - HOUR, AT) + ticks(AT + HOUR + MINUTE, AT + 3 * HOUR), False),
        (ticks(AT - HOUR, AT + HOUR), False),
        (ticks(AT + MINUTE, AT + 3 * HOUR), False),
    ],
    ids=["whole", "silent for an hour", "silent for longer", "ends too early", "begins too late"],
)
def test_a_time_is_covered_where_the_log_encloses_it_without_a_long_silence(
    tmp_path: Path,
    lines: list[str],
    covered: bool,  # noqa: FBT001 - what is expected
) -> None:
    log = read(written(tmp_path / "mail.log", lines))
    assert log.coverage.covers_time(AT, AT + 2 * HOUR) is covered


@pytest.mark.parametrize(
    "told",
    [
        "systemd-journald[301]: Suppressed 5123 messages from postfix.service",
        "rsyslogd: imjournal: 7340 messages lost due to rate-limiting",
        "rsyslogd: imuxsock[pid 880]: begin to drop messages due to rate-limiting",
    ],
)
def test_a_syslog_that_dropped_lines_covers_no_time_around_that(tmp_path: Path, told: str) -> None:
    loss = f"{(AT + HOUR).isoformat()} mx {told}"
    lines = [*ticks(AT - HOUR, AT + HOUR), loss, *ticks(AT + HOUR, AT + 5 * HOUR)]
    log = read(written(tmp_path / "mail.log", lines))
    assert not log.coverage.covers_time(AT, AT + 2 * HOUR)
    assert log.coverage.covers_time(AT + 2 * HOUR, AT + 4 * HOUR)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no lines that start with a time"),
        (b"From: somebody\n\nhello\n\xff\xfe", "no lines that start with a time"),
        (gzip.compress(b"x" * 9000, mtime=0)[:40], "can't be read"),
        (gzip.compress(bytes(range(256)))[:40] + bytes(400), "can't be read"),
        (b"Feb 30 11:00:00 mx postfix/qmgr[1]: x\n", "no lines that start with a time"),
    ],
)
def test_what_is_no_log_is_refused_by_name(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "mail.log").write_bytes(content)
    with pytest.raises(MailLogError, match=why):
        read(tmp_path / "mail.log")
