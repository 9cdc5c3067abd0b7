"""Following the mail server's log: each message's result is one event, despite changes of the file and interruptions."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, inspect, select, update

from digest.app.sending import background_tasks
from digest.deliver.compose.return_path import make_return_path
from digest.deliver.events import event_processor
from digest.deliver.events.delivery_event import EventKind
from digest.deliver.events.failure_causes import FailureCause
from digest.deliver.events.postfix_log import MailLogError
from digest.deliver.inbound import mail_log
from digest.deliver.inbound.mail_log import JOURNAL, delete_old_queue_ids, follow_mail_log
from digest.deliver.plan.planning import plan_deliveries
from digest.installation.opened_installation import Installation
from digest.settings import RelaySettings
from digest.store.delivery_models import Delivery, DeliveryState, QueuedMail, StoredDeliveryEvent
from digest.store.models import Edition, EditionState
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.store.models import Base, Person, PersonState
from tests.deliver.conftest import EDITION_NAME, DeliverySetup
from tests.deliver.postfix_lines import iso_line, log_text, queue_lines
from tests.moments import RELEASE

LATER = RELEASE + timedelta(hours=1)
ADDRESSES = [f"reader{number}@county.example" for number in range(4)]
NOTHING: dict[str, int] = {}


@dataclass
class FollowedLog:
    """An edition that Postfix has accepted, and the log that it writes."""

    world: DeliverySetup
    file: Path
    message_ids: list[str]
    return_paths: list[str]

    def write(self, *parts: Sequence[str]) -> None:
        with self.file.open("ab") as log:
            log.writelines(log_text(part) for part in parts)

    def follow(self, *, now: datetime = LATER, source: str = "") -> dict[str, int]:
        world = self.world
        unsubscribe_log = UnsubscribeLog(world.settings.left_log, world.keys)
        place = source or str(self.file)
        counts, _ = follow_mail_log(world.database, world.keys, unsubscribe_log, place, host="mx", clock=lambda: now)
        return dict(counts)

    def lines(self, message: int, queue_id: str, status: str, dsn: str = "2.0.0") -> list[str]:
        sender = self.return_paths[message]
        return queue_lines(iso_line, LATER, queue_id, self.message_ids[message], status, dsn=dsn, sender=sender)

    @property
    def states(self) -> list[DeliveryState]:
        with self.world.database.read() as session:
            states = dict(session.execute(select(Delivery.message_id, Delivery.state)).all())
        return [states[message_id] for message_id in self.message_ids]

    @property
    def queued(self) -> int:
        with self.world.database.read() as session:
            return session.scalar(select(func.count()).select_from(QueuedMail)) or 0


@pytest.fixture
def log(world: DeliverySetup, tmp_path: Path) -> FollowedLog:
    world.add_subscribers(*ADDRESSES)
    plan_deliveries(world.database, EDITION_NAME, world.keys, world.settings, now=RELEASE)
    with world.database.write() as session:
        accepted = {"state": DeliveryState.ACCEPTED, "transport": "smtp", "handed_at": RELEASE}
        session.execute(update(Delivery).values(**accepted, first_handed_at=RELEASE))
        rows = session.execute(select(Delivery.message_id, Delivery.id).order_by(Delivery.person)).all()
    file = tmp_path / "mail.log"
    file.write_bytes(log_text(["Nov 20 11:00:00 mx postfix/master[1]: daemon started"]))
    paths = [make_return_path(world.keys, row.id, "bounce.example.org") for row in rows]
    followed = FollowedLog(world, file, [row.message_id for row in rows], paths)
    assert followed.follow() == NOTHING, "what was written before is not followed"
    return followed


def test_what_the_receiving_server_said_arrives_as_events(log: FollowedLog) -> None:
    log.write(
        log.lines(0, "4A1", "sent"),
        log.lines(1, "4A2", "bounced", "5.1.1"),
        log.lines(2, "4A3", "deferred", "4.7.1"),
        queue_lines(iso_line, LATER, "4A4", "<20261120.another@elsewhere.example>", "bounced", dsn="5.1.1"),
    )
    assert log.follow() == {"delivered": 1, "bounced": 1, "deferred": 1, "person bounced": 1}
    accepted = DeliveryState.ACCEPTED
    assert log.states == [accepted, DeliveryState.REFUSED, accepted, accepted]
    with log.world.database.read() as session:
        causes = dict(session.execute(select(StoredDeliveryEvent.kind, StoredDeliveryEvent.cause)).all())
        people = session.scalars(select(Person.state).order_by(Person.number)).all()
    assert causes == {"delivered": "", "bounced": FailureCause.NO_MAILBOX, "deferred": ""}
    assert people.count(PersonState.SUPPRESSED) == 1
    assert log.queued == 1, "the deferred one stays in the queue"
    assert log.follow() == NOTHING


@pytest.mark.takes_turns
def test_a_message_is_known_by_its_queue_id_until_it_leaves_the_queue(log: FollowedLog) -> None:
    log.write(log.lines(0, "4A1", "deferred", "4.2.2"))
    assert log.follow() == {"deferred": 1}
    status = "to=<reader0@county.example>, relay=none, dsn={}, status={} (said <reader0@county.example>)"
    log.write([iso_line(LATER, "smtp", f"4A1: {status.format('4.2.2', 'deferred')}")])
    assert log.follow() == {"known": 1}, "the same deferral is one event"
    end = [
        iso_line(LATER, "smtp", f"4A1: {status.format('5.2.2', 'bounced')}"),
        iso_line(LATER, "qmgr", "4A1: removed"),
    ]
    log.write(end)
    assert log.follow() == {"bounced": 1}
    assert log.queued == 0
    log.write([iso_line(LATER, "smtp", f"4A1: {status.format('5.1.1', 'bounced')}")])
    assert log.follow() == NOTHING, "Postfix uses a queue ID again, for a message that is not ours"


@pytest.mark.takes_turns
def test_a_message_that_expires_in_the_queue_has_bounced(log: FollowedLog) -> None:
    log.write(log.lines(0, "4A1", "deferred", "4.4.1"))
    log.follow()
    log.write([iso_line(LATER, "qmgr", "4A1: from=<b@bounces.example>, status=expired, returned to sender")])
    assert log.follow() == {"bounced": 1}
    assert log.states[0] is DeliveryState.REFUSED


@pytest.mark.takes_turns
def test_a_message_that_a_content_filter_passes_on_has_not_arrived_yet(log: FollowedLog) -> None:
    first, second = log.lines(0, "4A1", "queued"), log.lines(0, "4B1", "queued")
    passed_on = "to=<x@county.example>, relay=127.0.0.1[127.0.0.1]:10025, dsn=2.0.0, status=sent (250 queued as 4B1)"
    log.write(first, second, [iso_line(LATER, "smtp", f"4A1: {passed_on}"), iso_line(LATER, "qmgr", "4A1: removed")])
    assert log.follow() == NOTHING
    log.write([iso_line(LATER, "smtp", "4B1: to=<x@county.example>, dsn=5.1.1, status=bounced (no)")])
    assert log.follow()["bounced"] == 1


@pytest.mark.takes_turns
@pytest.mark.parametrize("way", ["renamed", "copied and truncated", "dated"])
def test_nothing_is_lost_or_read_twice_where_the_log_is_rotated(log: FollowedLog, way: str) -> None:
    log.write(log.lines(0, "4A1", "sent"))
    if way == "copied and truncated":
        assert log.follow() == {"delivered": 1}
        log.file.write_bytes(b"")
        log.write(log.lines(1, "4A2", "sent"))
        assert log.follow() == {"delivered": 1}
        return
    log.file.rename(log.file.with_name("mail.log.1" if way == "renamed" else "mail.log-20261121"))
    log.write(log.lines(1, "4A2", "sent"))
    assert log.follow() == {"delivered": 1}, "the rest of the old file comes first"
    assert log.follow() == {"delivered": 1}
    assert log.follow() == NOTHING


@pytest.mark.takes_turns
def test_half_a_line_waits_for_its_other_half(log: FollowedLog) -> None:
    text = log_text(log.lines(0, "4A1", "sent"))
    cut = text.index(b"status=sent")
    for part, counts in ((text[:cut], NOTHING), (text[cut:], {"delivered": 1})):
        with log.file.open("ab") as file:
            file.write(part)
        assert log.follow() == counts


@pytest.mark.takes_turns
def test_a_part_that_was_cut_short_is_read_again_and_counts_once(
    log: FollowedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.write(log.lines(0, "4A1", "bounced", "5.2.1"), log.lines(1, "4A2", "deferred", "4.2.2"))

    def break_off(*_arguments: object, **_named: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(event_processor, "MAX_EVENTS_PER_TRANSACTION", 1)
        broken.setattr(mail_log, "_store_queue", break_off)
        with pytest.raises(KeyboardInterrupt):
            log.follow()
    assert log.follow() == {"known": 1, "deferred": 1}
    with log.world.database.read() as session:
        assert session.scalar(select(func.count()).select_from(StoredDeliveryEvent)) == 2


@pytest.mark.takes_turns
def test_no_address_and_no_line_is_stored(log: FollowedLog) -> None:
    log.write(log.lines(0, "4A1", "bounced", "5.1.1"), log.lines(1, "4A2", "deferred", "4.7.1"))
    log.follow()
    with log.world.database.read() as session:
        for table in Base.metadata.sorted_tables:
            for row in session.execute(select(table)):
                assert "county.example" not in repr(tuple(row)), table.name
    columns = {column.key for column in inspect(QueuedMail).columns}
    assert columns == {"id", "delivery", "at"}


@pytest.mark.takes_turns
def test_a_log_that_cannot_be_read_is_an_error_that_names_it(log: FollowedLog) -> None:
    log.file.unlink()
    with pytest.raises(MailLogError, match=r"mail\.log can't be read \(No such file or directory\)"):
        log.follow()


def test_queue_ids_without_an_end_go_after_two_weeks(log: FollowedLog) -> None:
    log.write(log.lines(0, "4A1", "deferred", "4.7.1"))
    log.follow()
    assert delete_old_queue_ids(log.world.database, now=LATER + timedelta(days=13)) == 0
    assert delete_old_queue_ids(log.world.database, now=LATER + timedelta(days=15)) == 1


def test_stop_rules_follow_what_the_log_says(world: DeliverySetup, tmp_path: Path) -> None:
    world.add_subscribers(*(f"reader@county{number}.example" for number in range(12)))
    plan_deliveries(world.database, EDITION_NAME, world.keys, world.settings, now=RELEASE)
    with world.database.write() as session:
        accepted = {"state": DeliveryState.ACCEPTED, "transport": "smtp", "handed_at": RELEASE}
        session.execute(update(Delivery).values(**accepted, first_handed_at=RELEASE))
        session.execute(update(Edition).where(Edition.name == EDITION_NAME).values(state=EditionState.SENDING))
        rows = session.execute(select(Delivery.message_id, Delivery.id)).all()
    log = tmp_path / "mail.log"
    log.touch()
    sender_settings = world.settings.file.sender.model_copy(update={"bounce_domain": "bounce.example.org"})
    parts = {"relay": RelaySettings(log=str(log)), "sender": sender_settings}
    file = world.settings.file.model_copy(update=parts)
    install = Installation(world.settings.model_copy(update={"file": file}), world.database)
    install.__dict__["keys"] = world.keys
    assert not background_tasks.follow_mail_log(install, clock=lambda: LATER)
    for number, row in enumerate(rows):
        sender = make_return_path(world.keys, row.id, "bounce.example.org")
        lines = queue_lines(iso_line, LATER, f"4A{number}", row.message_id, "bounced", dsn="5.1.1", sender=sender)
        with log.open("ab") as out:
            out.write(log_text(lines))
    background_tasks.follow_mail_log(install, clock=lambda: LATER)
    with world.database.read() as session:
        edition = session.scalars(select(Edition).where(Edition.name == EDITION_NAME)).one()
    assert edition.paused_at == LATER


INJECTED = "improper command pipelining after CONNECT from unknown[203.0.113.6]: x postfix/{}[1]: 4A1: {}"
USER_UNKNOWN = "to=<no-such@news.example>, relay=none, delay=0.1, dsn=5.1.1, status=bounced (user unknown)"


@pytest.mark.takes_turns
@pytest.mark.parametrize("tag", ["smtpd", "dovecot: imap-login", "smtp-in/postscreen"])
def test_text_that_a_stranger_sent_to_the_server_is_no_line_of_its_own(log: FollowedLog, tag: str) -> None:
    texts = [
        ("cleanup", f"message-id={log.message_ids[0]}"),
        ("qmgr", f"from=<{log.return_paths[0]}>, size=900, nrcpt=1 (queue active)"),
        ("smtp", USER_UNKNOWN),
    ]
    log.write([iso_line(LATER, tag, INJECTED.format(*text)) for text in texts])
    assert log.follow() == NOTHING
    log.write(log.lines(0, "4A1", "queued"), [iso_line(LATER, tag, INJECTED.format(*texts[2]))])
    assert log.follow() == NOTHING


@pytest.mark.parametrize("sender", ["x@evil.example", "status=expired,@evil.example", "", "bounce+{}.{}@evil.example"])
def test_an_email_from_a_stranger_with_our_message_id_is_not_ours(log: FollowedLog, sender: str) -> None:
    own_id = log.return_paths[0].removeprefix("bounce+").partition(".")[0]
    forged = sender.format(own_id, "a" * 16)
    log.write(queue_lines(iso_line, LATER, "4A1", log.message_ids[0], "bounced", dsn="5.1.1", sender=forged))
    assert log.follow() == NOTHING
    assert log.states[0] is DeliveryState.ACCEPTED


@pytest.mark.takes_turns
def test_fields_are_read_as_fields(log: FollowedLog) -> None:
    log.write(log.lines(0, "4A1", "queued"))
    claim = "dsn=5.1.1, status=bounced (no)"
    log.write([iso_line(LATER, "smtp", f"4A1: host mx.evil.example said: {claim}")])
    log.write([iso_line(LATER, "smtpd", f"4A1: to=<x@county.example>, {claim}")])
    log.write([iso_line(LATER, "qmgr", f"4A1: from=<{log.return_paths[0]}>, size=9, nrcpt=1 (status=expired, x)")])
    assert log.follow() == NOTHING
    delivered = "to=<x@county.example>, orig_to=<y@county.example>, relay=none, dsn=2.0.0, status=sent"
    log.write([iso_line(LATER, "relay/smtp", f"4A1: {delivered} (250 ok; {claim})")])
    assert log.follow() == {"delivered": 1}


JOURNALCTL = """#!/usr/bin/env python3
import json, pathlib, sys
entries = json.loads(pathlib.Path({entries!r}).read_text())
assert "SYSLOG_FACILITY=2" in sys.argv and "--output=json" in sys.argv
since = [word.partition("=")[2] for word in sys.argv if word.startswith("--after-cursor=")]
first = int(since[0]) + 1 if since else max(0, len(entries) - 1)
for number, (tag, message) in list(enumerate(entries))[first:]:
    print(json.dumps({{"__CURSOR": str(number), "__REALTIME_TIMESTAMP": "{micros}", "SYSLOG_IDENTIFIER": tag, "MESSAGE": message}}))
"""


@pytest.mark.takes_turns
def test_a_journal_that_cannot_be_read_is_an_error_that_says_why(
    log: FollowedLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MailLogError, match=r"The journal can't be read \(No such file or directory\)"):
        log.follow(source=JOURNAL)
    (tmp_path / "journalctl").write_text(
        "#!/bin/sh\necho No journal files were opened due to insufficient permissions. >&2\n"
    )
    (tmp_path / "journalctl").chmod(0o755)
    with pytest.raises(MailLogError, match="insufficient permissions"):
        log.follow(source=JOURNAL)


def test_the_journal_is_followed_by_its_cursor(
    log: FollowedLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = tmp_path / "entries.json"
    program = tmp_path / "bin" / "journalctl"
    program.parent.mkdir()
    micros = int(LATER.timestamp()) * 1_000_000
    program.write_text(JOURNALCTL.format(entries=str(entries), micros=micros))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    written: list[tuple[str, object]] = [("postfix/master", "daemon started")]

    def follow() -> dict[str, int]:
        entries.write_text(json.dumps(written))
        return log.follow(source=JOURNAL)

    assert follow() == NOTHING
    answer = "4A1: to=<a@county.example>, dsn=5.7.1, status=bounced (no)"
    written += [
        ("postfix/cleanup", f"4A1: message-id={log.message_ids[0]}"),
        ("postfix/qmgr", f"4A1: from=<{log.return_paths[0]}>, size=9, nrcpt=1 (queue active)"),
        ("postfix/smtp", list(answer.encode())),
    ]
    assert follow() == {"bounced": 1}
    assert follow() == NOTHING
    with log.world.database.read() as session:
        assert session.execute(
            select(StoredDeliveryEvent.kind, StoredDeliveryEvent.cause, StoredDeliveryEvent.at)
        ).all() == [(EventKind.BOUNCED, FailureCause.POLICY, LATER)]
