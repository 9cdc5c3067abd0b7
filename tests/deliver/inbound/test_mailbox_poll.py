"""The bounce mailbox on a real IMAP server on loopback: messages are read over TLS, stored, moved, and applied."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import delete, func, select, text, update

from digest.deliver.control import installation_hold
from digest.deliver.events.failure_causes import FailureCause
from digest.deliver.events.mailbox.incoming_mail import IgnoreReason
from digest.deliver.inbound import mailbox_poll as poll
from digest.deliver.inbound import payloads
from digest.deliver.inbound.imap import MAX_MESSAGE_BYTES, MailboxError
from digest.deliver.inbound.mailbox_poll import MailboxPoller, PollResult
from digest.deliver.inbound.payloads import apply_stored_payloads
from digest.deliver.plan.planning import plan_deliveries
from digest.deliver.providers.base import HandoverStatus
from digest.deliver.providers.registry import open_provider
from digest.deliver.retention import repeated_bounces
from digest.deliver.send.notices import notice_queue
from digest.deliver.send.notices import notice_sending as notices
from digest.deliver.send.run.edition_sending import run_edition
from digest.settings import BounceMailboxSettings
from digest.store.delivery_models import (
    Delivery,
    DeliveryState,
    QueuedNoticeEmail,
    ReceivedEventPayload,
    StoredDeliveryEvent,
)
from digest.store.engine import Database
from subscribers.address import read_address
from subscribers.consent import ledger, suppression
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto import link_tokens
from subscribers.lifecycle.feedback import DeliveryFeedbackKind, DeliveryFeedbackReport, apply_feedback_to_person
from subscribers.lifecycle.undo import find_undo_deadline
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.store.models import Base, ConsentKind, Person, PersonState
from tests.deliver.conftest import EDITION_NAME, DeliverySetup
from tests.deliver.fake_imap_server import PASSWORD, USER, FakeImapServer, ImapFolder
from tests.deliver.returned_mails import SUBSCRIBER_ADDRESS, SentMessage, sent_message
from tests.deliver.scripted_provider import ScriptedProvider, same_outcome_for_all
from tests.deliver.smtp_servers import RecordingHandler, run_smtp_server, server_tls_context
from tests.moments import RELEASE

LATER = RELEASE + timedelta(hours=5)


@dataclass
class MailboxCase:
    """One reader's message, a mailbox, and what is read from it."""

    world: DeliverySetup
    server: FakeImapServer
    place: BounceMailboxSettings
    about: SentMessage
    person: int

    def poll(self, *, most: int = poll.MAX_MESSAGES, now: datetime = LATER, **place: Any) -> PollResult:
        queue = notice_queue.make_notice_queue(self.world.keys, self.world.settings, lambda: now)
        reader = MailboxPoller(
            self.world.database, self.world.keys, self.place.model_copy(update=place), PASSWORD, lambda: now, queue
        )
        return poll.poll_mailbox(reader, limit=most)

    @property
    def unsubscribe_log(self) -> UnsubscribeLog:
        return UnsubscribeLog(self.world.settings.left_log, self.world.keys)

    def apply(self) -> dict[str, int]:
        return dict(
            apply_stored_payloads(self.world.database, self.world.keys, self.unsubscribe_log, clock=lambda: LATER)
        )

    def night(self) -> int:
        """Judge bounces once all events are in."""
        database, keys, kept = self.world.database, self.world.keys, timedelta(days=400)
        return repeated_bounces.suppress_repeated_bounces(
            database, keys, self.unsubscribe_log, now=LATER + timedelta(days=3), lookback=kept
        )

    def arrives(self, *forms: str, about: SentMessage | None = None) -> None:
        for form in forms:
            self.server.inbox.add_message((about or self.about).returned_mail(form))

    @property
    def state(self) -> PersonState:
        with self.world.database.read() as session:
            return session.scalars(select(Person.state).where(Person.number == self.person)).one()

    @property
    def suppression_reason(self) -> str | None:
        with self.world.database.read() as session:
            row = suppression.find_suppression(session, self.world.keys, read_address(SUBSCRIBER_ADDRESS))
            return row.reason if row else None

    @property
    def delivered(self) -> DeliveryState:
        with self.world.database.read() as session:
            return session.scalars(select(Delivery.state).where(Delivery.id == self.about.delivery)).one()

    def count(self, table: type[Base]) -> int:
        with self.world.database.read() as session:
            return session.scalar(select(func.count()).select_from(table)) or 0


def _trusting(server: FakeImapServer, certificate: Path, **more: Any) -> BounceMailboxSettings:
    values = {"host": "127.0.0.1", "port": server.port, "user": USER, "authorities": str(certificate)}
    return BounceMailboxSettings.model_validate(values | more)


@pytest.fixture
def server(certificate: Path) -> Iterator[FakeImapServer]:
    """Run an IMAP server with implicit TLS."""
    with FakeImapServer(server_tls_context(certificate)) as server:
        yield server


def _desk(world: DeliverySetup, server: FakeImapServer, certificate: Path) -> MailboxCase:
    (person,) = world.add_subscribers(SUBSCRIBER_ADDRESS)
    plan_deliveries(world.database, EDITION_NAME, world.keys, world.settings, now=RELEASE)
    with world.database.write() as session:
        values = {"state": DeliveryState.ACCEPTED, "transport": "smtp", "handed_at": RELEASE}
        session.execute(update(Delivery).values(**values))
    return MailboxCase(world, server, _trusting(server, certificate), sent_message(world.keys, person), person)


@pytest.fixture
def mailbox(world: DeliverySetup, server: FakeImapServer, certificate: Path) -> MailboxCase:
    """Return a case on each database."""
    return _desk(world, server, certificate)


@pytest.fixture
def quick(one_world: DeliverySetup, server: FakeImapServer, certificate: Path) -> MailboxCase:
    """Return a case on SQLite alone."""
    return _desk(one_world, server, certificate)


@pytest.mark.takes_turns
def test_a_bounce_of_ours_suppresses_and_is_put_away(mailbox: MailboxCase) -> None:
    mailbox.arrives("postfix")
    assert mailbox.poll() == PollResult(stored=1)
    assert mailbox.apply() == {"bounced": 1, "person bounced": 1}
    assert (mailbox.state, mailbox.delivered) == ("suppressed", "refused")
    assert not mailbox.server.inbox.messages
    assert len(mailbox.server.folders["Digest/Done"].messages) == 1
    assert mailbox.suppression_reason == "bounced"
    assert len(list(mailbox.unsubscribe_log.read())) == 1


@pytest.mark.parametrize("form", ["yahoo", "comcast"])
def test_a_complaint_by_mail_suppresses_under_a_reason_of_its_own_by_either_proof(
    mailbox: MailboxCase, form: str
) -> None:
    mailbox.arrives(form)
    mailbox.poll()
    assert mailbox.apply() == {"complained": 1, "person complained by mail": 1}
    assert (mailbox.state, mailbox.delivered) == ("suppressed", "accepted")
    assert mailbox.suppression_reason == "complaint by mail"
    assert [departure.kind for departure in mailbox.unsubscribe_log.read()] == ["complained by mail"]
    mailbox.arrives("yahoo" if form == "comcast" else "comcast")
    mailbox.poll()
    assert "person complained by mail" not in mailbox.apply(), "the same again changes nothing"


@pytest.mark.takes_turns
def test_a_signed_complaint_outweighs_one_by_mail_and_not_the_other_way_round(mailbox: MailboxCase) -> None:
    mailbox.arrives("yahoo")
    mailbox.poll()
    mailbox.apply()
    for kind, reason in (("COMPLAINED", "complained"), ("COMPLAINED_BY_MAIL", "complained")):
        report = DeliveryFeedbackReport(mailbox.person, DeliveryFeedbackKind[kind], LATER, "sendgrid", {})
        with mailbox.world.database.write() as session:
            changed, departure = apply_feedback_to_person(session, mailbox.world.keys, report, now=LATER)
        assert (changed, departure is not None) == (kind == "COMPLAINED", kind == "COMPLAINED")
        assert mailbox.suppression_reason == reason


def test_a_token_without_the_message_that_it_came_in_is_a_departure_and_no_complaint(mailbox: MailboxCase) -> None:
    raw = mailbox.about.returned_mail("comcast").replace(b"Message-ID: <", b"Message-ID: <x")
    mailbox.server.inbox.add_message(raw)
    mailbox.poll()
    assert mailbox.apply() == {"unsubscribed": 1, "person left": 1}
    assert mailbox.state == PersonState.WITHDRAWN
    # Whoever was forwarded a mail can forge such a report: the owner may take it back, as any other departure.
    with mailbox.world.database.read() as session:
        until = find_undo_deadline(session, mailbox.person, now=LATER)
    assert until is not None
    assert until > LATER + timedelta(days=6)


def unsubscribe_by_mail(
    message: SentMessage, *, sender: str = "mallory@elsewhere.example", at: datetime = LATER
) -> bytes:
    head = f"From: {sender}\nTo: {message.unsubscribe_address}\nSubject: unsubscribe\nDate: {format_datetime(at)}\n"
    return f"Received: by mx.example.net; {format_datetime(at)}\n{head}\n".replace("\n", "\r\n").encode()


@pytest.mark.takes_turns
def test_a_message_to_the_address_in_list_unsubscribe_unsubscribes_its_owner_once(mailbox: MailboxCase) -> None:
    inbox = mailbox.server.inbox
    inbox.add_message(unsubscribe_by_mail(mailbox.about))
    assert mailbox.poll() == PollResult(stored=1)
    assert mailbox.apply() == {"unsubscribed": 1, "person left": 1}
    assert mailbox.state == PersonState.WITHDRAWN
    assert not inbox.messages, "it's put away"
    assert [entry.kind for entry in mailbox.unsubscribe_log.read()] == ["left"]
    # Sent again, by anyone, it changes nothing.
    inbox.add_message(unsubscribe_by_mail(mailbox.about, sender=SUBSCRIBER_ADDRESS))
    inbox.add_message(unsubscribe_by_mail(mailbox.about, at=LATER + timedelta(minutes=1)))
    mailbox.poll(now=LATER + timedelta(minutes=2))
    assert "person left" not in mailbox.apply()
    assert len(list(mailbox.unsubscribe_log.read())) == 1


def test_a_forged_unsubscribe_address_takes_nobody_off_the_list(quick: MailboxCase) -> None:
    forged = quick.about.forged_copy()
    quick.server.inbox.add_message(unsubscribe_by_mail(forged))
    assert quick.poll().stored == 0
    assert quick.state == PersonState.SUBSCRIBED
    # With a subscriber in From, it's a letter like any other: they're emailed their link.
    quick.server.inbox.add_message(unsubscribe_by_mail(forged, sender=SUBSCRIBER_ADDRESS))
    assert quick.poll().answered == 1
    assert quick.state == PersonState.SUBSCRIBED


def test_a_request_from_before_the_owner_signed_up_again_has_no_effect_and_a_later_one_does(quick: MailboxCase) -> None:
    world = quick.world
    quick.server.inbox.add_message(unsubscribe_by_mail(quick.about, at=LATER - timedelta(hours=2)))
    with world.database.write() as session:
        person = ledger.lock_person(session, quick.person)
        assert person is not None
        ledger.append_event(session, person, ConsentKind.CONFIRMED, {"method": "page"}, LATER - timedelta(hours=1))
    quick.poll()
    assert "person left" not in quick.apply()
    assert quick.state == PersonState.SUBSCRIBED
    quick.server.inbox.add_message(unsubscribe_by_mail(quick.about))
    quick.poll()
    assert quick.apply() == {"unsubscribed": 1, "person left": 1}


@pytest.mark.parametrize("purpose", ["move:abc", "edition:2026-W48"])
@pytest.mark.parametrize("form", ["request", "complaint without the message"])
def test_a_token_unsubscribes_whatever_was_emailed_last_and_says_nothing_about_it(
    mailbox: MailboxCase, purpose: str, form: str
) -> None:
    later = LATER - timedelta(hours=1)
    last = Delivery(id="last", purpose=purpose, person=mailbox.person, state=DeliveryState.UNCERTAIN, handed_at=later)
    last.due_at = last.next_try_at = later
    with mailbox.world.database.write() as session:
        session.add(last)
    complaint = mailbox.about.returned_mail("comcast").replace(b"Message-ID: <", b"Message-ID: <x")
    mailbox.server.inbox.add_message(unsubscribe_by_mail(mailbox.about) if form == "request" else complaint)
    mailbox.poll()
    assert mailbox.apply() == {"unsubscribed": 1, "person left": 1}
    assert mailbox.state == PersonState.WITHDRAWN
    with mailbox.world.database.read() as session:
        assert session.get_one(Delivery, "last").state is DeliveryState.UNCERTAIN


def test_an_old_token_unsubscribes_though_no_delivery_is_kept_anymore(quick: MailboxCase) -> None:
    with quick.world.database.write() as session:
        session.execute(delete(Delivery))
    quick.server.inbox.add_message(unsubscribe_by_mail(quick.about))
    quick.poll()
    assert quick.apply() == {"unsubscribed": 1, "person left": 1}
    assert quick.state == PersonState.WITHDRAWN


def reply(
    *,
    sender: str = SUBSCRIBER_ADDRESS,
    subject: str = "Re: The week",
    text: str = "Please unsubscribe me",
    more: str = "",
    at: datetime = LATER,
) -> bytes:
    head = (
        f"From: Ada <{sender}>\nTo: editors@news.example.org\nSubject: {subject}\nDate: {format_datetime(at)}\n{more}"
    )
    return f"{head}\n{text}\n\n> Ports get ten days\n".replace("\n", "\r\n").encode()


def test_who_replies_that_they_want_to_leave_is_mailed_their_link_once_a_week(mailbox: MailboxCase) -> None:
    world = mailbox.world
    for raw in (reply(), reply(subject="unsubscribe", text="")):
        mailbox.server.inbox.add_message(raw)
    assert mailbox.poll() == PollResult(answered=1, ignored=Counter({IgnoreReason.PERSONAL_REPLY: 1}))
    assert mailbox.state == PersonState.SUBSCRIBED, "the sender may be forged"
    assert len(mailbox.server.inbox.messages) == 2, "they stay for whoever reads that mailbox"
    assert not any(mailbox.server.inbox.flags.values())
    provider = ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED))
    notices.send_due_notices(world.database, provider, world.keys, world.settings, clock=lambda: LATER)
    (answer,) = provider.received_messages
    assert answer.placeholders.to == SUBSCRIBER_ADDRESS
    token = answer.placeholders.leave_token
    assert link_tokens.read_link_token(world.keys, token, "leave") == (mailbox.person, 0)
    mail = answer.to_bytes()
    assert f"/u/{token}".encode() in mail
    assert b"auto-generated" in mail
    assert mailbox.count(ReceivedEventPayload) == 0, "what was written is not kept"
    for days, answered in ((6, 0), (8, 1)):
        now = LATER + timedelta(days=days)
        mailbox.server.inbox.add_message(reply(at=now))
        assert mailbox.poll(now=now).answered == answered


@pytest.mark.parametrize(
    "raw",
    [
        reply(sender="nobody@county.example"),
        reply(sender=SUBSCRIBER_ADDRESS, text="I love it, do not unsubscribe me"),
        reply(more="Auto-Submitted: auto-replied\n"),
        reply(more="Precedence: bulk\n"),
        reply(more="Return-Path: <>\n"),
        reply(more="List-Id: <others.example.org>\n"),
        reply(more="From: eve@county.example\n"),
        reply(at=LATER - timedelta(days=8)),
    ],
    ids=["unknown", "wants to stay", "automatic", "bulk", "no sender", "a list's", "two senders", "old"],
)
def test_no_other_reply_is_answered(quick: MailboxCase, raw: bytes) -> None:
    quick.server.inbox.add_message(raw)
    assert quick.poll().answered == 0
    with quick.world.database.read() as session:
        assert session.scalars(select(QueuedNoticeEmail.kind)).all() == []


def test_who_has_left_already_is_not_answered(quick: MailboxCase) -> None:
    with quick.world.database.write() as session:
        unsubscribe_person(session, quick.unsubscribe_log, quick.person, method="page", now=LATER)
    quick.server.inbox.add_message(reply())
    assert quick.poll().answered == 0


def test_what_is_not_ours_stays_unseen_and_is_not_fetched_again(quick: MailboxCase) -> None:
    quick.arrives("vacation", "challenge", "letter", "spam")
    quick.arrives("postfix", "qmail", "comcast", about=quick.about.forged_copy())
    result = quick.poll()
    assert result.ignored == {
        IgnoreReason.AUTOMATIC: 2,
        IgnoreReason.PERSONAL_REPLY: 1,
        IgnoreReason.FOREIGN: 2,
        IgnoreReason.UNPROVEN: 2,
    }
    assert len(quick.server.inbox.messages) == 7
    assert not any(quick.server.inbox.flags.values())
    assert quick.server.fetched_uids == [1, 2, 3, 4, 5, 6, 7]
    assert quick.poll() == PollResult()
    quick.arrives("spam")
    assert quick.poll().ignored == {IgnoreReason.FOREIGN: 1}
    assert quick.server.fetched_uids == [1, 2, 3, 4, 5, 6, 7, 8]
    assert quick.count(ReceivedEventPayload) == 0, "nothing of others' mail is kept"
    assert quick.apply() == {}
    assert quick.state == PersonState.SUBSCRIBED


@pytest.mark.takes_turns
def test_46_mails_of_one_bounce_count_once(mailbox: MailboxCase) -> None:
    for n in range(46):
        mailbox.server.inbox.add_message(mailbox.about.returned_mail("exchange").replace(b"_000_", b"_%03d_" % n))
        mailbox.server.inbox.add_message(mailbox.about.returned_mail("exchange"))
    result = mailbox.poll()
    assert (result.stored, result.already_stored) == (46, 46)
    assert mailbox.apply() == {"bounced": 1, "known": 45}
    assert (mailbox.count(StoredDeliveryEvent), mailbox.count(ReceivedEventPayload), mailbox.state) == (
        1,
        46,
        "subscribed",
    )


@pytest.mark.parametrize("form", ["exchange", "qmail", "delayed", "exim"])
def test_a_soft_or_unclear_bounce_suppresses_nobody_by_itself(quick: MailboxCase, form: str) -> None:
    quick.arrives(form)
    quick.poll()
    quick.apply()
    assert quick.night() == 0
    assert quick.state == PersonState.SUBSCRIBED


def test_a_policy_refusal_never_suppresses_and_is_counted_as_one(quick: MailboxCase) -> None:
    raw = quick.about.returned_mail("postfix").replace(b"Status: 5.1.1", b"Status: 5.7.1")
    quick.server.inbox.add_message(raw.replace(b"smtp; 550 5.1.1", b"smtp; 550 5.7.26"))
    quick.poll()
    assert quick.apply() == {"bounced": 1}
    with quick.world.database.read() as session:
        assert session.scalars(select(StoredDeliveryEvent.cause)).one() == FailureCause.POLICY
    assert (quick.state, quick.delivered) == ("subscribed", "refused")


def test_two_hard_bounces_in_a_row_suppress_at_night(quick: MailboxCase) -> None:
    earlier = sent_message(quick.world.keys, quick.person, "edition:2026-W46")
    with quick.world.database.write() as session:
        values = {"purpose": "edition:2026-W46", "person": quick.person, "state": DeliveryState.ACCEPTED}
        at = RELEASE - timedelta(weeks=1)
        times = {"due_at": at, "next_try_at": at, "handed_at": at, "transport": "smtp"}
        session.add(Delivery(id=earlier.delivery, **values, **times))
    quick.arrives("exim", about=earlier)
    quick.arrives("exim")
    quick.poll()
    assert quick.apply() == {"bounced": 2}
    assert quick.night() == 1


def test_a_doubt_is_settled_by_a_bounce_and_a_delay_is_a_proof(quick: MailboxCase) -> None:
    for form, settled in (("delayed", "accepted"), ("exim", "refused")):
        with quick.world.database.write() as session:
            session.execute(update(Delivery).values(state=DeliveryState.UNCERTAIN))
        quick.arrives(form)
        quick.poll()
        quick.apply()
        assert quick.delivered == settled


def test_no_address_of_a_report_is_left_in_the_clear(quick: MailboxCase) -> None:
    quick.arrives("postfix", "exim", "office365", "exchange", "gmail", "sendmail", "qmail", "delayed", "yahoo")
    quick.poll()
    quick.apply()
    with quick.world.database.read() as session:
        for table in Base.metadata.tables:
            for row in session.execute(text(f'SELECT * FROM "{table}"')):
                text_shown = " ".join(v.decode("latin-1") if isinstance(v, bytes) else str(v) for v in row).lower()
                assert not any(word in text_shown for word in ("lovelace", "analytical")), table


@pytest.mark.parametrize("step", ["AUTHENTICATE", "SELECT", "UID SEARCH", "UID FETCH", "UID MOVE", "CREATE", "LOGOUT"])
def test_a_connection_cut_at_any_step_loses_and_repeats_nothing(quick: MailboxCase, step: str) -> None:
    quick.arrives("spam", "postfix", "delayed")
    quick.server.hang_up_at.append(step)
    if step == "LOGOUT":
        assert quick.poll().stored == 2
    else:
        with pytest.raises(MailboxError, match=r"127\.0\.0\.1"):
            quick.poll()
    quick.poll()
    assert quick.apply() == {"bounced": 1, "deferred": 1, "person bounced": 1}
    assert quick.count(ReceivedEventPayload) == 2
    assert list(quick.server.inbox.messages) == [1]


def test_a_crash_after_storing_and_before_moving_changes_nothing(quick: MailboxCase) -> None:
    quick.arrives("postfix")
    quick.server.hang_up_at.append("UID MOVE")
    with pytest.raises(MailboxError):
        quick.poll()
    assert (quick.count(ReceivedEventPayload), len(quick.server.inbox.messages)) == (1, 1)
    assert quick.poll() == PollResult(already_stored=1)
    assert not quick.server.inbox.messages
    assert quick.apply() == {"bounced": 1, "person bounced": 1}


def test_messages_that_were_numbered_anew_are_read_again_and_counted_once(quick: MailboxCase) -> None:
    quick.arrives("spam", "postfix")
    quick.poll()
    quick.apply()
    again = ImapFolder(uid_validity=2)
    for raw in (
        quick.about.returned_mail("spam"),
        quick.about.returned_mail("postfix"),
        quick.about.returned_mail("delayed"),
    ):
        again.add_message(raw)
    quick.server.folders["INBOX"] = again
    assert quick.poll() == PollResult(stored=1, already_stored=1, ignored=Counter({IgnoreReason.FOREIGN: 1}))
    assert quick.apply() == {"deferred": 1}


def test_another_folder_is_read_from_its_beginning(quick: MailboxCase) -> None:
    quick.arrives("spam", "spam")
    quick.poll()
    quick.server.folders["Bounces"] = ImapFolder()
    quick.server.folders["Bounces"].add_message(quick.about.returned_mail("postfix"))
    assert quick.poll(folder="Bounces").stored == 1


def test_of_many_messages_so_many_are_taken_at_a_time_until_all_are(quick: MailboxCase) -> None:
    for n in range(7):
        quick.server.inbox.add_message(quick.about.returned_mail("spam") + b"%d" % n)
    results = [quick.poll(most=3) for _ in range(3)]
    assert [(sum(result.ignored.values()), result.more) for result in results] == [(3, True), (3, True), (1, False)]


def test_numbers_far_apart_are_found_and_a_server_that_tells_no_next_one_too(quick: MailboxCase) -> None:
    inbox = quick.server.inbox
    for number in (5, 120_000, 260_000):
        inbox.uid_next = number
        quick.arrives("spam")
    assert sum(quick.poll().ignored.values()) == 3
    quick.server.announces_uid_next = False
    assert quick.poll() == PollResult()
    quick.arrives("delayed")
    assert quick.poll().stored == 1


def test_a_huge_message_is_read_by_its_beginning(quick: MailboxCase) -> None:
    raw = quick.about.returned_mail("postfix") + b"x" * (3 * MAX_MESSAGE_BYTES)
    quick.server.inbox.add_message(raw)
    quick.server.inbox.add_message(b"Subject: x\r\n\r\n" + b"x" * (3 * MAX_MESSAGE_BYTES))
    assert quick.poll() == PollResult(stored=1, ignored=Counter({IgnoreReason.FOREIGN: 1}))
    assert quick.apply()["person bounced"] == 1


@pytest.mark.parametrize(
    ("offers", "done", "left"),
    [
        ("MOVE UIDPLUS", "Digest/Done", set()),
        ("UIDPLUS", "Digest/Done", set()),
        ("", "Digest/Done", {2}),
        ("UIDPLUS", "", set()),
        ("", "", {2}),
    ],
)
def test_ours_is_put_away_by_what_the_server_can_and_others_mail_never(
    quick: MailboxCase, offers: str, done: str, left: set[int]
) -> None:
    quick.server.capabilities = f"AUTH=PLAIN {offers}"
    quick.arrives("spam", "postfix")
    quick.server.inbox.flags[1].add(r"\Deleted")  # somebody marked it, and may think again
    assert quick.poll(done=done).stuck == ""
    assert set(quick.server.inbox.messages) == {1} | left
    assert all(r"\Deleted" in quick.server.inbox.flags[uid] for uid in left)
    assert ("Digest/Done" in quick.server.folders) is bool(done)
    assert "EXPUNGE" not in {line.split()[1] for line in quick.server.received_lines}


@pytest.mark.parametrize(
    ("offers", "namespace", "name"),
    [("NAMESPACE", '(("INBOX." ".")) NIL NIL', "INBOX.Digest.Done"), ("", "", "Digest.Done")],
)
def test_the_folders_name_is_written_as_the_server_writes_it(
    quick: MailboxCase, offers: str, namespace: str, name: str
) -> None:
    quick.server.capabilities, quick.server.capabilities_after_login = (
        "AUTH=PLAIN",
        f"MOVE {offers}",
    )  # as Dovecot does
    quick.server.namespace, quick.server.separator = namespace, "."
    quick.arrives("postfix")
    quick.poll()
    assert set(quick.server.folders) == {"INBOX", name}


def test_what_cannot_be_moved_is_applied_all_the_same_and_said(quick: MailboxCase) -> None:
    quick.server.refusals = {"UID MOVE": "NO quota", "CREATE": "NO quota"}
    quick.arrives("postfix", "delayed")
    result = quick.poll()
    assert (result.stored, result.stuck) == (2, "can't move messages to Digest/Done: quota. Correct inbound.done.")
    assert quick.apply()["person bounced"] == 1
    assert quick.poll() == PollResult()


@pytest.mark.parametrize(
    ("place", "error"),
    [
        (
            {"user": "nobody"},
            "the server rejected the sign-in: not nobody with <password>. Correct the user setting under [inbound]",
        ),
        (
            {"folder": "Elsewhere"},
            "there's no folder Elsewhere: no such folder. Correct the folder setting under [inbound]",
        ),
        ({"authorities": ""}, "couldn't establish a trusted TLS connection to 127.0.0.1"),
        ({"authorities": "/nowhere.pem"}, "inbound.authorities: No such file or directory"),
        ({"port": 1}, "couldn't connect to 127.0.0.1:1: Connection refused"),
        ({"tls": "starttls"}, "127.0.0.1"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_without_a_password(quick: MailboxCase, place: dict[str, Any], error: str) -> None:
    if place.get("tls") == "starttls":
        quick.server.tls = None  # a server that offers none
    with pytest.raises(MailboxError) as caught:
        quick.poll(**place)
    assert error in str(caught.value)
    assert PASSWORD not in str(caught.value)
    with quick.world.database.read() as session:
        last = poll.read_last_mailbox_poll(session)
    assert last is not None
    assert (last.troubles, last.trouble) == (1, str(caught.value))


@pytest.mark.parametrize("offers", ["AUTH=PLAIN STARTTLS", "STARTTLS"])
def test_starttls_comes_before_the_sign_in(quick: MailboxCase, certificate: Path, offers: str) -> None:
    with FakeImapServer(server_tls_context(certificate), implicit_tls=False, capabilities=offers) as server:
        server.inbox.add_message(quick.about.returned_mail("postfix"))
        if "PLAIN" in offers:
            assert quick.poll(port=server.port, tls="starttls").stored == 1
        else:
            with pytest.raises(MailboxError, match="only ASCII passwords"):
                quick.poll(port=server.port, tls="starttls")
        verbs = [line.split()[1] for line in server.received_lines]
        assert verbs[:3] == ["CAPABILITY", "STARTTLS", "CAPABILITY"]


def test_nothing_is_said_in_the_clear_where_starttls_is_stripped(quick: MailboxCase) -> None:
    with FakeImapServer(capabilities="AUTH=PLAIN", implicit_tls=False) as server:
        with pytest.raises(MailboxError, match="TLS not supported"):
            quick.poll(port=server.port, tls="starttls")
        assert [line.split()[1] for line in server.received_lines] == ["CAPABILITY"]
        assert quick.poll(port=server.port, tls="off") == PollResult()


@pytest.mark.parametrize("greeting", ["* BYE too busy", "HTTP/1.1 200 OK", "* OK [UIDVALIDITY x]", ""])
def test_a_server_that_speaks_no_imap_is_an_error_in_words(quick: MailboxCase, greeting: str) -> None:
    quick.server.greeting = greeting
    quick.server.refusals = {"SELECT": "BAD \x00 what"}
    with pytest.raises(MailboxError):
        quick.poll()


ODD_ANSWERS = [
    *("* OK", "* SEARCH x 1", "* SEARCH 99999999999999999999 0 -1", "* 1 FETCH (UID 1 BODY[]<0> NIL)"),
    *("* NAMESPACE NIL NIL NIL", "* LIST", "* LIST () NIL x", "* OK [UIDVALIDITY x]", "* OK [UIDNEXT -1]"),
    *("* 1 FETCH (UID 1 BODY[]<0> {3}\r\nabc", "* 1 FETCH {9999999999}", "* BYE", "+ go on", "\x00\xff", ""),
    "* CAPABILITY",
]


def test_whatever_a_server_says_is_read_or_is_an_error_in_words(quick: MailboxCase) -> None:
    quick.arrives("postfix")
    errors = 0
    for verb in ("CAPABILITY", "NAMESPACE", "LIST", "SELECT", "UID SEARCH", "UID FETCH", "UID MOVE"):
        for said in ODD_ANSWERS:
            quick.server.inbox.uid_validity += 1  # so that it is read from its beginning
            quick.server.capabilities = "AUTH=PLAIN MOVE" + " NAMESPACE" * (verb == "NAMESPACE")
            quick.server.answer_overrides = {verb: said}
            try:
                quick.poll()
            except MailboxError:
                errors += 1
    assert 0 < errors < 7 * len(ODD_ANSWERS)
    assert quick.count(ReceivedEventPayload) == 1


def test_polls_rest_for_a_minute_and_after_trouble_ever_longer(world: DeliverySetup) -> None:
    database, start = world.database, RELEASE
    turn = poll.claim_poll_turn
    assert [turn(database, now=start), turn(database, now=start)] == [True, False]
    assert not turn(database, now=start + timedelta(seconds=59))
    assert turn(database, now=start + timedelta(seconds=60))
    _went(database, troubles=3)
    assert not turn(database, now=start + timedelta(minutes=7))
    assert turn(database, now=start + timedelta(minutes=8))
    _went(database, troubles=500)
    assert not turn(database, now=start + timedelta(minutes=29))
    assert turn(database, now=start + timedelta(minutes=30))
    _went(database, more=True)
    assert turn(database, now=start)


def _went(database: Database, **how: Any) -> None:
    with database.write() as session:
        installation_hold.write_installation_value(session, poll.LAST_POLL_STATE_KEY, how, now=RELEASE)


@pytest.mark.takes_turns
def test_from_a_send_over_smtp_to_a_suppressed_subscriber(
    world: DeliverySetup, server: FakeImapServer, certificate: Path
) -> None:
    ada, bo = world.add_subscribers(SUBSCRIBER_ADDRESS, "bo@example.net")
    sender = world.settings.file.sender.model_copy(update={"bounce_domain": "bounce.example.net"})
    settings = world.settings.model_copy(update={"file": world.settings.file.model_copy(update={"sender": sender})})
    box = RecordingHandler()
    with run_smtp_server(box) as port:
        url = SecretStr(f"smtp://127.0.0.1:{port}?starttls=off")
        provider = open_provider(settings.model_copy(update={"mail_url": url}))
        run_edition(world.database, EDITION_NAME, provider, world.keys, settings, clock=world.clock)
        provider.close()
    paths = {to: path for path, (to,), _ in box.messages}
    spoken = sent_message(world.keys, ada)
    assert paths[SUBSCRIBER_ADDRESS] == spoken.return_path
    mailbox = MailboxCase(world, server, _trusting(server, certificate), spoken, ada)
    forged = sent_message(world.keys, bo, subscriber_address="bo@example.net").forged_copy()
    mailbox.arrives("postfix", about=forged)
    mailbox.arrives("postfix")
    assert mailbox.poll() == PollResult(stored=1, ignored=Counter({IgnoreReason.UNPROVEN: 1}))
    assert mailbox.apply()["person bounced"] == 1
    with world.database.read() as session:
        states = {p.number: p.state for p in session.scalars(select(Person))}
    assert states == {ada: PersonState.SUPPRESSED, bo: PersonState.SUBSCRIBED}


def test_bodies_of_both_origins_are_applied_by_who_can_read_them(quick: MailboxCase) -> None:
    event = {"event": "delivered", "delivery_id": quick.about.delivery, "timestamp": 1}
    payloads.store_payload(
        quick.world.database, quick.world.keys, json.dumps([event]).encode(), origin="sendgrid", now=LATER
    )
    quick.arrives("delayed")
    quick.poll()
    assert quick.apply() == {"delivered": 1, "deferred": 1}
