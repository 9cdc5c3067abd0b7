"""What a mail in the bounce mailbox says, by its bytes alone."""

import json
import re
from base64 import encodebytes
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digest.deliver.events.delivery_event import DeliveryEvent, EventKind
from digest.deliver.events.failure_causes import FailureCause
from digest.deliver.events.mailbox import incoming_mail, mime
from digest.deliver.events.mailbox.incoming_mail import IgnoreReason, MailboxEvent
from digest.deliver.events.mailbox.unsubscribe_requests import UnsubscribeRequest
from subscribers.crypto import link_tokens
from subscribers.crypto.keys import KeyRing, SecretKey
from tests.deliver.returned_mails import MAIL_FORMS, SUBSCRIBER_ADDRESS, sent_message
from tests.moments import AFTER_RELEASE

KEYS = KeyRing.from_seed(b"mailbox tests")
ADA, BO = sent_message(KEYS, 7), sent_message(KEYS, 8, subscriber_address="bo@example.net")
NOW = AFTER_RELEASE + timedelta(days=1)


def read(raw: bytes) -> MailboxEvent | UnsubscribeRequest | IgnoreReason:
    return incoming_mail.read_incoming_mail(raw, keys=KEYS, received_at=NOW)


def said(raw: bytes) -> DeliveryEvent:
    heard = read(raw)
    assert isinstance(heard, MailboxEvent), heard
    return heard.event


@pytest.mark.parametrize(
    ("form", "kind", "cause", "status"),
    [
        ("postfix", EventKind.BOUNCED, FailureCause.NO_MAILBOX, "550 5.1.1"),
        ("exim", EventKind.BOUNCED, FailureCause.HARD, "550"),
        ("office365", EventKind.BOUNCED, FailureCause.NO_MAILBOX, "550 5.1.10"),
        ("exchange", EventKind.BOUNCED, FailureCause.SOFT, "554 5.2.2"),
        ("gmail", EventKind.BOUNCED, FailureCause.NO_MAILBOX, "550 5.1.1"),
        ("sendmail", EventKind.BOUNCED, FailureCause.HARD, "550 5.1.2"),
        ("qmail", EventKind.BOUNCED, FailureCause.SOFT, ""),
        ("delayed", EventKind.DEFERRED, FailureCause.NONE, "452 4.2.2"),
        ("yahoo", EventKind.COMPLAINED, FailureCause.NONE, ""),
    ],
)
def test_each_form_is_read_and_holds_no_address(form: str, kind: EventKind, cause: FailureCause, status: str) -> None:
    event = said(ADA.returned_mail(form))
    assert (event.delivery_id, event.kind, event.cause, event.detail.get("status", "")) == (
        ADA.delivery,
        kind,
        cause,
        status,
    )
    kept = json.dumps(dict(event.detail)).lower()
    assert "@" not in kept
    assert not re.search("ada|lovelace|analytical", kept)


def test_a_complaint_without_a_return_path_is_proved_by_the_token_to_leave() -> None:
    heard = read(ADA.returned_mail("comcast"))
    assert isinstance(heard, MailboxEvent)
    assert (heard.event.delivery_id, heard.event.kind) == (None, EventKind.COMPLAINED)
    assert heard.subscriber == incoming_mail.ComplainingSubscriber(7, ADA.message_id)


@pytest.mark.parametrize(
    ("form", "why"),
    [
        ("vacation", IgnoreReason.AUTOMATIC),
        ("challenge", IgnoreReason.AUTOMATIC),
        ("letter", IgnoreReason.PERSONAL_REPLY),
        ("spam", IgnoreReason.FOREIGN),
    ],
)
def test_what_is_no_report_is_left_alone_whatever_its_words(form: str, why: IgnoreReason) -> None:
    assert read(ADA.returned_mail(form)) is why


@pytest.mark.parametrize("form", MAIL_FORMS)
def test_without_our_mac_nothing_counts(form: str) -> None:
    assert read(ADA.forged_copy().returned_mail(form)) in {IgnoreReason.UNPROVEN, IgnoreReason.FOREIGN}
    others = KeyRing(SecretKey(key.kind, key.number, b"others" + key.secret[6:]) for key in KEYS.all)
    assert incoming_mail.read_incoming_mail(ADA.returned_mail(form), keys=others, received_at=NOW) in {
        IgnoreReason.UNPROVEN,
        IgnoreReason.FOREIGN,
    }


def test_an_envelope_id_or_a_message_id_alone_proves_nothing() -> None:
    raw = ADA.returned_mail("sendmail").replace(ADA.return_path.encode(), b"bounces@news.example.org")
    assert ADA.delivery.encode() in raw
    assert read(raw) is IgnoreReason.UNPROVEN


def test_a_report_that_names_two_messages_of_ours_is_left_alone() -> None:
    other = ADA.returned_mail("sendmail").replace(b"Id: " + ADA.delivery.encode(), b"Id: " + BO.delivery.encode())
    assert read(other) is IgnoreReason.AMBIGUOUS
    both = ADA.returned_mail("postfix").replace(
        b"Delivered-To: bounces@", f"Delivered-To: {ADA.return_path}, {BO.return_path} x@".encode()
    )
    assert read(both.replace(b"X-Original-To", b"X-Nothing")) is IgnoreReason.AMBIGUOUS


def test_who_the_report_was_sent_to_outweighs_what_it_quotes() -> None:
    raw = ADA.returned_mail("postfix").replace(
        f"Return-Path: <{ADA.return_path}>".encode(), f"Return-Path: <{BO.return_path}>".encode()
    )
    assert said(raw).delivery_id == ADA.delivery


@pytest.mark.parametrize("kept", ["X-Original-To:", "for <", "Return-Path: <bounce", "To: bounce"])
def test_one_place_that_holds_the_return_path_is_enough(kept: str) -> None:
    lines = ADA.returned_mail("postfix").decode().split("\r\n")
    lines = [
        one if one.strip().startswith(kept) else one.replace(ADA.return_path, "somebody@far.example") for one in lines
    ]
    assert said("\r\n".join(lines).encode()).delivery_id == ADA.delivery


def test_a_return_path_is_known_in_capitals_and_wrapped_by_a_forwarder() -> None:
    wrapped = f"SRS0=x1y2=AB=bounce.example.net={ADA.return_path.partition('@')[0]}@forwarder.example"
    for path in (ADA.return_path.upper(), wrapped):
        assert said(replace(ADA, return_path=path).returned_mail("postfix")).delivery_id == ADA.delivery


def _status(*groups: str, more: str = "") -> bytes:
    text = "".join(f"{group}\n\n" for group in groups)
    return (
        f"To: {ADA.return_path}\n{more}Content-Type: multipart/report; report-type=delivery-status; boundary=x\n\n"
        f"--x\nContent-Type: text/plain\n\n550 5.1.1 no such user\n--x\nContent-Type: message/delivery-status\n\n"
        f"Reporting-MTA: dns; far.example\n\n{text}--x--\n"
    ).encode()


FAILED = f"Final-Recipient: rfc822; {SUBSCRIBER_ADDRESS}\nAction: failed\n"


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ("Status: 5.1.1", FailureCause.NO_MAILBOX),
        ("Status: 5.1.1 (bad destination mailbox address)", FailureCause.NO_MAILBOX),
        ("Status: 5.0.0\nDiagnostic-Code: smtp; 550 5.7.1 spam", FailureCause.POLICY),
        ("Status: 5.1.1\nDiagnostic-Code: smtp; 550-5.7.26 unauthenticated", FailureCause.POLICY),
        ("Status: 5.7.515", FailureCause.POLICY),
        ("Status: 5.2.2", FailureCause.SOFT),
        ("Status: 4.2.2", FailureCause.SOFT),
        ("Status: 4.4.7\nDiagnostic-Code: smtp; 421 4.4.7 expired", FailureCause.NONE),
        ("Status: 5.4.6", FailureCause.OUR_FAULT),
        ("Status: 5.4.4\nDiagnostic-Code: X-Postfix; Host not found, 550 5.1.1", FailureCause.HARD),
        ("Status: 5.0.0", FailureCause.SOFT),
        ("Status: 5.0.0\nDiagnostic-Code: smtp; no such user, 550 5.1.1", FailureCause.SOFT),
        ("Status: 5.0.0\nDiagnostic-Code: x-unix; 550 5.1.1", FailureCause.SOFT),
        ("", FailureCause.SOFT),
        ("Original-Recipient: rfc822; ada.lovelace@ANALYTICAL.example\nStatus: 5.1.1", FailureCause.NO_MAILBOX),
        ("Original-Recipient: rfc822; staff@analytical.example\nStatus: 5.1.1", FailureCause.HARD),
    ],
)
def test_only_codes_where_codes_belong_decide(fields: str, cause: FailureCause) -> None:
    event = said(_status(FAILED + fields))
    assert (event.kind, event.cause) == (EventKind.BOUNCED, cause)


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("delivered", EventKind.DELIVERED),
        ("relayed", EventKind.ACCEPTED),
        ("expanded", EventKind.ACCEPTED),
        ("Delayed", EventKind.DEFERRED),
    ],
)
def test_what_did_not_fail_is_a_proof_and_no_more(action: str, kind: EventKind) -> None:
    event = said(_status(f"Action: {action}\nStatus: 5.1.1"))
    assert (event.kind, event.cause) == (kind, FailureCause.NONE)


def test_of_several_recipients_the_one_that_fared_best_counts() -> None:
    gone, full = f"{FAILED}Status: 5.1.1", f"{FAILED}Status: 5.2.2"
    assert said(_status(gone, full)).cause is FailureCause.SOFT
    assert said(_status(gone, "Action: expanded\nStatus: 2.0.0")).kind is EventKind.ACCEPTED


@pytest.mark.parametrize("action", ["", "Action: exploded", "Status: 5.1.1"])
def test_a_report_without_a_known_action_says_nothing(action: str) -> None:
    assert read(_status(action)) is IgnoreReason.NO_VERDICT


@pytest.mark.parametrize("form", ["yahoo", "comcast"])
@pytest.mark.parametrize("other", ["fraud", "virus", "not-spam", "auth-failure", "other", "opt-out", "", "abuse2"])
def test_feedback_that_is_no_complaint_takes_nobody_off(form: str, other: str) -> None:
    assert read(ADA.returned_mail(form).replace(b"Type: abuse", b"Type: " + other.encode())) is IgnoreReason.NO_VERDICT


def test_another_tokens_purpose_complains_of_nothing() -> None:
    purposes: list[link_tokens.LinkPurpose] = ["preferences", "test leave"]
    for purpose in purposes:
        wrong = replace(ADA, leave_token=link_tokens.make_link_token(KEYS, 7, purpose, address=""))
        assert read(wrong.returned_mail("comcast")) is IgnoreReason.UNPROVEN


def test_the_same_thing_said_in_46_mails_is_one_event() -> None:
    mails = [
        ADA.returned_mail("postfix").replace(b"4Cf8", b"4C%02d" % n).replace(b"11:20:05", b"11:20:%02d" % n)
        for n in range(46)
    ]
    assert len(set(mails)) == 46
    assert len({said(m).fingerprint for m in mails}) == 1
    assert said(BO.returned_mail("postfix")).fingerprint != said(mails[0]).fingerprint


def test_a_time_is_when_it_came_and_never_to_come() -> None:
    assert said(ADA.returned_mail("postfix")).occurred_at == datetime(2026, 11, 20, 11, 20, 5, tzinfo=UTC)
    for date in ("soon", "Fri, 20 Nov 2099 11:20:05 +0000", "Fri, 99 Nov 2026 99:00:00", "1 Jan 0001 00:00:00 +2359"):
        raw = _status(f"{FAILED}Status: 5.1.1", more=f"Date: {date}\n")
        assert said(raw).occurred_at <= NOW


def test_a_report_in_transfer_encodings_is_read() -> None:
    inner = f"Reporting-MTA: dns; x\n\n{FAILED}Status: 5.1.1\n".encode()
    for how, body in ((b"base64", encodebytes(inner)), (b"quoted-printable", inner.replace(b"5.1.1", b"5.1=2E1"))):
        raw = (
            b"To: %s\nContent-Type: multipart/report; report-type=delivery-status; boundary=x\n\n--x\n"
            b"Content-Type: message/delivery-status\nContent-Transfer-Encoding: %s\n\n%s\n--x--\n"
        ) % (ADA.return_path.encode(), how, body)
        assert said(raw).cause is FailureCause.NO_MAILBOX


def _quoting(inner: bytes) -> bytes:
    return (
        b"To: %s\nContent-Type: multipart/report; report-type=delivery-status; boundary=outer\n\n--outer\n"
        b"Content-Type: message/rfc822\n\n%s\n--outer--\n"
    ) % (ADA.return_path.encode(), inner)


def test_a_report_that_stands_in_a_quoted_message_is_not_read() -> None:
    assert read(_quoting(ADA.returned_mail("postfix"))) is IgnoreReason.PERSONAL_REPLY
    assert read(ADA.returned_mail("letter") + b"\r\n" + ADA.returned_mail("postfix")) is IgnoreReason.PERSONAL_REPLY


def _nested(depth: int) -> bytes:
    head = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(depth))
    return b"To: %s\n" % ADA.return_path.encode() + head + b"x"


HOSTILE = {
    "deep": _nested(5000),
    "ten thousand parts": b"Content-Type: multipart/report; report-type=delivery-status; boundary=x\n\n"
    + b"--x\nContent-Type: text/plain\n\na\n" * 10_000,
    "a megabyte of boundary-like lines": b"Content-Type: multipart/report; boundary=x\n\n" + b"--x" * 300_000,
    "a head without an end": b"X-A: b\n" * 150_000,
    "one endless field": b"To: " + b"bounce+" * 150_000,
    "folded for ever": b"To: a" + b"\n " * 400_000,
    "a content type of quotes": b"Content-Type: multipart/report; " + b'a=";' * 200_000 + b"\n\n",
    "return paths without end": b"Delivered-To: " + ADA.forged_copy().return_path.encode() * 10_000,
    "blank lines": b"Content-Type: multipart/report; report-type=delivery-status; boundary=x\n\n"
    b"--x\nContent-Type: message/delivery-status\n\n" + b" \n" * 300_000,
    "a long hello": b"Return-Path: <>\nTo: %s\n\nHi. This is the x\n" % ADA.return_path.encode() + b"<a>\n" * 200_000,
    "charsets": b"Content-Type: text/plain; charset=x-martian\nContent-Transfer-Encoding: uuencode\n\n\xff\xfe\x00",
    "nul": bytes(1_000_000),
    "a boundary of nothing": b'Content-Type: multipart/report; boundary=""; report-type=delivery-status\n\n--\n--\n',
    "parameters of RFC 2231": b"Content-Type: multipart/report; boundary*=x-martian''%FF; report-type*0*=utf-8'';\n\n",
    "base64 that is none": b"Content-Type: multipart/report; report-type=delivery-status; boundary=x\n\n--x\n"
    b"Content-Type: message/delivery-status\nContent-Transfer-Encoding: base64\n\n\xff===A",
    "a sender of comments within comments": b"From: " + b"(" * 1000 + b"\nSubject: unsubscribe\n\nunsubscribe\n",
    "nothing": b"",
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE)
def test_what_is_hostile_is_left_alone_with_bounded_work(raw: bytes) -> None:
    assert isinstance(
        read(raw), IgnoreReason
    )  # within milliseconds: what grew with the square would run into the time limit


WORDS = st.sampled_from(
    [
        *(
            f"{name}: {ADA.return_path}\r\n".encode()
            for name in ("To", "Delivered-To", "Return-Path", "Original-Mail-From")
        ),
        b"Content-Type: multipart/report; report-type=delivery-status; boundary=x\n",
        b"Content-Type: multipart/report; report-type=feedback-report; boundary=x\r\n",
        *(b"Content-Type: " + kind + b"\n" for kind in (b"message/delivery-status", b"message/feedback-report")),
        *(b"Content-Type: message/rfc822\n", b"\n", b"\r\n\r\n", b"--x\n", b"--x--\n", b" folded\n", b"\x00", b"\xff:"),
        *(b"Action: failed\n", b"Status: 5.1.1\n", b"Feedback-Type: abuse\n", b"Auto-Submitted: auto-replied\n"),
        f"Diagnostic-Code: smtp; 550 5.1.1 <{SUBSCRIBER_ADDRESS}> {SUBSCRIBER_ADDRESS}\n".encode(),
        f"Final-Recipient: rfc822;{SUBSCRIBER_ADDRESS}\n".encode(),
        *(b"Hi. This is the x\n", b"<a@b>:\n", b"--- Below this line is a copy of the message.\n", b"Date: x;\n"),
        f"List-Unsubscribe: <https://x/u/{ADA.leave_token}>\n".encode(),
    ]
)


@given(st.lists(WORDS | st.binary(max_size=20), max_size=30))
def test_reading_never_raises_and_keeps_no_address(pieces: list[bytes]) -> None:
    heard = read(b"".join(pieces))
    if isinstance(heard, MailboxEvent):
        assert heard.event.delivery_id == ADA.delivery or heard.subscriber is not None
        assert heard.event.occurred_at <= heard.event.received_at == NOW
        assert SUBSCRIBER_ADDRESS not in json.dumps(dict(heard.event.detail))


@given(st.sampled_from(MAIL_FORMS), st.data())
def test_a_report_that_is_cut_or_damaged_never_says_worse_than_the_whole(form: str, data: st.DataObject) -> None:
    raw = ADA.returned_mail(form)
    cut = data.draw(st.integers(0, len(raw)))
    heard = read(raw[:cut])
    if isinstance(heard, MailboxEvent):
        whole = said(raw) if not isinstance(read(raw), IgnoreReason) else None
        assert whole is not None
        assert heard.event.kind is whole.kind
    put = data.draw(st.binary(max_size=5))
    read(raw[:cut] + put + raw[cut + len(put) :])


@given(st.binary(max_size=300))
def test_parts_are_cut_without_loss_or_error(body: bytes) -> None:
    part = mime.parse_mime(b"Content-Type: multipart/mixed; boundary=x\n\n" + body)
    assert len(part.parts()) <= mime.MAX_PARTS
    assert sum(len(p.body) for p in part.parts()) <= len(body)


def test_an_old_bounce_with_a_sender_is_a_personal_reply() -> None:
    raw = ADA.returned_mail("qmail").replace(b"Return-Path: <>", b"Return-Path: <ezmlm@lists.example>")
    assert read(raw) is IgnoreReason.PERSONAL_REPLY
    assert (
        said(
            b"X-Failed-Recipients: %s\nTo: %s\n\nfailed" % (SUBSCRIBER_ADDRESS.encode(), ADA.return_path.encode())
        ).cause
        is FailureCause.SOFT
    )


def test_it_is_dated_before_a_later_word_of_the_subscriber() -> None:
    assert NOW - said(ADA.returned_mail("yahoo")).occurred_at > timedelta(hours=20)
