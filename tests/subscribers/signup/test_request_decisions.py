"""The answer to a form: pure rules over what's known, and the limits."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subscribers.address import read_address
from subscribers.consent.evidence import RequestOrigin, hash_request_origin
from subscribers.signup.mailbox_identity import find_canonical_mailbox, find_registrable_domain
from subscribers.signup.rate_limits import (
    NetworkQuota,
    SignupLimits,
    SubmissionOutcome,
    decide_submission_outcome,
    find_narrowest_network,
    find_window_start,
    list_networks_of_ip_address,
)
from subscribers.signup.request_processor import AddressStatus, SignupReplyKind, decide_signup_answer
from tests.moments import DRAFTING as NOW

BOUNDS = SignupLimits()
NOBODY = AddressStatus(subscribed=False, pending=False, suppression_reason="", recent_mails=())


def ago(kind: str, **by: float) -> tuple[str, datetime]:
    return kind, NOW - timedelta(**by)


MANY = tuple(ago("confirm", days=d) for d in (29, 22, 15, 8))


@pytest.mark.parametrize(
    ("known", "answer"),
    [
        (NOBODY, SignupReplyKind.CONFIRM),
        (replace(NOBODY, recent_mails=MANY[1:]), SignupReplyKind.CONFIRM),
        (replace(NOBODY, recent_mails=MANY), SignupReplyKind.NOTHING),
        (replace(NOBODY, pending=True, recent_mails=(ago("confirm", hours=2),)), SignupReplyKind.REMIND),
        (replace(NOBODY, pending=True, recent_mails=(ago("confirm", minutes=3),)), SignupReplyKind.NOTHING),
        (
            replace(NOBODY, pending=True, recent_mails=(ago("confirm", hours=9), ago("remind", hours=2))),
            SignupReplyKind.NOTHING,
        ),
        (
            replace(NOBODY, pending=True, recent_mails=(ago("known", days=20), ago("confirm", days=2))),
            SignupReplyKind.REMIND,
        ),
        (replace(NOBODY, subscribed=True), SignupReplyKind.KNOWN),
        (replace(NOBODY, subscribed=True, recent_mails=(ago("known", days=6),)), SignupReplyKind.NOTHING),
        (replace(NOBODY, subscribed=True, recent_mails=(ago("link", days=6),)), SignupReplyKind.NOTHING),
        (replace(NOBODY, subscribed=True, recent_mails=(ago("known", days=8),)), SignupReplyKind.KNOWN),
        (replace(NOBODY, suppression_reason="complained"), SignupReplyKind.NOTHING),
        (replace(NOBODY, suppression_reason="by an admin"), SignupReplyKind.NOTHING),
        (replace(NOBODY, suppression_reason="bounced"), SignupReplyKind.CONFIRM),
        (replace(NOBODY, suppression_reason="erased"), SignupReplyKind.CONFIRM),
        (replace(NOBODY, suppression_reason="left elsewhere"), SignupReplyKind.CONFIRM),
        (
            replace(NOBODY, suppression_reason="bounced", recent_mails=(ago("confirm", days=29),)),
            SignupReplyKind.NOTHING,
        ),
        (
            replace(NOBODY, suppression_reason="bounced", pending=True, recent_mails=(ago("confirm", days=2),)),
            SignupReplyKind.NOTHING,
        ),
    ],
)
def test_a_form_to_subscribe_is_answered_by_what_is_known(known: AddressStatus, answer: SignupReplyKind) -> None:
    assert decide_signup_answer("subscribe", known, BOUNDS, now=NOW) is answer


def test_a_lost_link_goes_to_subscribers_alone_and_once_a_week() -> None:
    subscribed = replace(NOBODY, subscribed=True)
    assert decide_signup_answer("lost link", subscribed, BOUNDS, now=NOW) is SignupReplyKind.LINK
    mailed_lately = replace(subscribed, recent_mails=(ago("known", days=2),))
    assert decide_signup_answer("lost link", mailed_lately, BOUNDS, now=NOW) is SignupReplyKind.NOTHING
    for other in (NOBODY, replace(NOBODY, pending=True), replace(NOBODY, suppression_reason="bounced")):
        assert decide_signup_answer("lost link", other, BOUNDS, now=NOW) is SignupReplyKind.NOTHING


@given(
    kinds=st.lists(st.sampled_from(["subscribe", "lost link"]), min_size=1, max_size=40),
    minutes=st.lists(st.integers(1, 3000), min_size=40, max_size=40),
    subscribed=st.booleans(),
    suppressed=st.sampled_from(["", "bounced", "complaint by mail", "erased", "complained"]),
)
def test_no_order_of_forms_brings_more_mail_than_the_limits_allow(
    *, kinds: list[str], minutes: list[int], subscribed: bool, suppressed: str
) -> None:
    """Play forms for one address that nobody ever confirms, with links that run out after 7 days."""
    now = NOW
    mails: list[tuple[str, datetime]] = []
    opened: datetime | None = None
    for kind, later in zip(kinds, minutes, strict=False):
        now += timedelta(minutes=later)
        lately = tuple(m for m in mails if m[1] > now - timedelta(days=30))
        pending = opened is not None and now < opened + timedelta(days=7)
        status = AddressStatus(subscribed and not suppressed, pending, suppressed, lately)
        answer = decide_signup_answer("lost link" if kind == "lost link" else "subscribe", status, BOUNDS, now=now)
        if answer is not SignupReplyKind.NOTHING:
            mails.append((str(answer), now))
        if answer is SignupReplyKind.CONFIRM:
            opened = now
    for _, at in mails:
        month = [k for k, t in mails if at <= t < at + timedelta(days=30)]
        week = [k for k, t in mails if at <= t < at + timedelta(days=7) and k in {"known", "link"}]
        assert len(week) <= 1
        if not subscribed:
            assert len(month) <= BOUNDS.per_address_month + 1  # the last confirmation may have its reminder
        if suppressed in {"bounced", "complaint by mail", "erased"}:
            assert month == ["confirm"]
    assert not (suppressed == "complained" and mails)


@pytest.mark.parametrize(
    ("turn", "wide_turn", "taken", "outcome"),
    [
        (1, 1, 19, SubmissionOutcome.ACCEPTED),
        (1, 1, 20, SubmissionOutcome.TOTAL_LIMIT_REACHED),
        (1, 2, 4, SubmissionOutcome.ACCEPTED),
        (1, 2, 5, SubmissionOutcome.TOTAL_LIMIT_REACHED),
        (3, 3, 0, SubmissionOutcome.ACCEPTED),
        (4, 9, 0, SubmissionOutcome.NETWORK_LIMIT_REACHED),
        (0, 9, 4, SubmissionOutcome.ACCEPTED),  # an unknown network
        (0, 9, 5, SubmissionOutcome.TOTAL_LIMIT_REACHED),
    ],
)
def test_a_wide_networks_first_form_has_room_that_its_further_ones_have_not(
    turn: int, wide_turn: int, taken: int, outcome: SubmissionOutcome
) -> None:
    assert (
        decide_submission_outcome(turn, wide_turn, taken, NetworkQuota(per_network=3, first=20, further=5)) is outcome
    )


@pytest.mark.parametrize(
    ("typed", "mailbox"),
    [
        ("Bo.Peep+news@county.example", "bo.peep@county.example"),
        ("bo.peep@county.example", "bo.peep@county.example"),
        ("+news@county.example", "+news@county.example"),
        ("B.o.Peep+news@GoogleMail.com", "bopeep@gmail.com"),
        ("bo-news@yahoo.co.uk", "bo@yahoo.co.uk"),
        ("bo-peep@county.example", "bo-peep@county.example"),
        ("b_o-peep@pm.me", "bopeep@proton.me"),
        ("bo.peep@me.com", "bo.peep@icloud.com"),
        ("bo.peep@ya.ru", "bopeep@yandex.ru"),
        ("bo-peep+news@yandex.com", "bopeep@yandex.ru"),
    ],
)
def test_a_mailbox_has_one_spelling(typed: str, mailbox: str) -> None:
    assert find_canonical_mailbox(read_address(typed)) == mailbox


@pytest.mark.parametrize(
    ("address", "networks"),
    [
        ("93.184.216.34", ("93.184.0.0/16", "93.184.0.0/16", "93.184.216.0/24")),
        ("2606:2800:220:1:248:1893:25c8:1946", ("2606:2800::/32", "2606:2800:200::/40", "2606:2800:220::/48")),
        ("::ffff:93.184.216.34", ("93.184.0.0/16", "93.184.0.0/16", "93.184.216.0/24")),
        ("127.0.0.1", ()),
        ("10.1.2.3", ()),
        ("fe80::1", ()),
        ("", ()),
        ("unknown", ()),
    ],
)
def test_networks_are_nested_and_only_public_ones_count(address: str, networks: tuple[str, ...]) -> None:
    assert list_networks_of_ip_address(address) == networks
    assert find_narrowest_network(address) == (networks[-1] if networks else None)


@pytest.mark.parametrize(
    ("domain", "registered"),
    [
        ("x7.smallhost.example", "smallhost.example"),
        ("smallhost.example", "smallhost.example"),
        ("a.b.county.co.uk", "county.co.uk"),
        ("x7.github.io", "github.io"),  # below a private suffix, names are free
        ("x7.dyndns.org", "dyndns.org"),
        ("co.uk", "co.uk"),
        ("x7.xn--e1aybc.xn--p1ai", "xn--e1aybc.xn--p1ai"),
    ],
)
def test_a_domain_counts_as_the_one_that_was_registered(domain: str, registered: str) -> None:
    assert find_registrable_domain(domain) == registered


@given(st.datetimes(timezones=st.just(UTC), min_value=NOW.replace(tzinfo=None)))
def test_a_window_holds_its_moment(moment: datetime) -> None:
    for window in (timedelta(minutes=10), timedelta(hours=1), timedelta(days=1)):
        assert find_window_start(moment, window) <= moment < find_window_start(moment, window) + window


def test_digests_need_their_salt_and_say_nothing_of_what_is_not_there() -> None:
    machine = RequestOrigin("203.0.113.9", "Browser/1")
    first, second = hash_request_origin(machine, b"a"), hash_request_origin(machine, b"b")
    assert set(first) == {"network_digest", "agent_digest"}
    assert first["network_digest"] != second["network_digest"]
    assert hash_request_origin(RequestOrigin("", ""), b"a") == {}
    assert "203.0.113.9" not in repr(machine)
