"""What a form is answered with: pure rules over what is known, and what counts as too much."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subscribers.asking import Answer, Known, decide
from subscribers.limits import Bounds, Pace, began, network_of, pace
from subscribers.traces import Machine, digests
from subscribers.wordings import current, of_version

NOW = datetime(2026, 11, 19, 22, 30, tzinfo=UTC)
BOUNDS = Bounds()
NOBODY = Known(subscribed=False, pending=False, suppressed="", mails=(), asked_today=1)


def ago(kind: str, **by: float) -> tuple[str, datetime]:
    return kind, NOW - timedelta(**by)


MANY = tuple(ago("confirm", days=d) for d in (29, 22, 15, 8))


@pytest.mark.parametrize(
    ("known", "answer"),
    [
        (NOBODY, Answer.CONFIRM),
        (replace(NOBODY, asked_today=6), Answer.NOTHING),
        (replace(NOBODY, mails=MANY[1:]), Answer.CONFIRM),
        (replace(NOBODY, mails=MANY), Answer.NOTHING),
        (replace(NOBODY, pending=True, mails=(ago("confirm", hours=2),)), Answer.REMIND),
        (replace(NOBODY, pending=True, mails=(ago("confirm", minutes=3),)), Answer.NOTHING),
        (
            replace(NOBODY, pending=True, mails=(ago("confirm", hours=9), ago("remind", hours=2))),
            Answer.NOTHING,
        ),
        (
            replace(NOBODY, pending=True, mails=(ago("known", days=20), ago("confirm", days=2))),
            Answer.REMIND,
        ),
        (replace(NOBODY, subscribed=True), Answer.KNOWN),
        (replace(NOBODY, subscribed=True, mails=(ago("known", days=6),)), Answer.NOTHING),
        (replace(NOBODY, subscribed=True, mails=(ago("link", days=6),)), Answer.NOTHING),
        (replace(NOBODY, subscribed=True, mails=(ago("known", days=8),)), Answer.KNOWN),
        (replace(NOBODY, suppressed="complained"), Answer.NOTHING),
        (replace(NOBODY, suppressed="by an admin"), Answer.NOTHING),
        (replace(NOBODY, suppressed="bounced"), Answer.CONFIRM),
        (replace(NOBODY, suppressed="erased"), Answer.CONFIRM),
        (replace(NOBODY, suppressed="left elsewhere"), Answer.CONFIRM),
        (replace(NOBODY, suppressed="bounced", mails=(ago("confirm", days=29),)), Answer.NOTHING),
        (
            replace(NOBODY, suppressed="bounced", pending=True, mails=(ago("confirm", days=2),)),
            Answer.NOTHING,
        ),
    ],
)
def test_a_form_to_subscribe_is_answered_by_what_is_known(known: Known, answer: Answer) -> None:
    assert decide("subscribe", known, BOUNDS, now=NOW) is answer


def test_a_lost_link_goes_to_subscribers_alone_and_once_a_week() -> None:
    subscribed = replace(NOBODY, subscribed=True)
    assert decide("lost link", subscribed, BOUNDS, now=NOW) is Answer.LINK
    again = replace(subscribed, mails=(ago("known", days=2),))
    assert decide("lost link", again, BOUNDS, now=NOW) is Answer.NOTHING
    for other in (NOBODY, replace(NOBODY, pending=True), replace(NOBODY, suppressed="bounced")):
        assert decide("lost link", other, BOUNDS, now=NOW) is Answer.NOTHING


@given(
    kinds=st.lists(st.sampled_from(["subscribe", "lost link"]), min_size=1, max_size=40),
    minutes=st.lists(st.integers(1, 3000), min_size=40, max_size=40),
    subscribed=st.booleans(),
    suppressed=st.sampled_from(["", "bounced", "erased", "complained"]),
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
        known = Known(subscribed and not suppressed, pending, suppressed, lately, 1)
        answer = decide("lost link" if kind == "lost link" else "subscribe", known, BOUNDS, now=now)
        if answer is not Answer.NOTHING:
            mails.append((str(answer), now))
        if answer is Answer.CONFIRM:
            opened = now
    for _, at in mails:
        month = [k for k, t in mails if at <= t < at + timedelta(days=30)]
        week = [k for k, t in mails if at <= t < at + timedelta(days=7) and k in {"known", "link"}]
        assert len(week) <= 1
        if not subscribed:
            assert len(month) <= BOUNDS.per_address_month + 1  # the last confirmation may have its reminder
        if suppressed in {"bounced", "erased"}:
            assert month == ["confirm"]
    assert not (suppressed == "complained" and mails)


@pytest.mark.parametrize(
    ("asked", "mailed", "expected"),
    [
        (100, 0, Pace(200, alarm=False, brake=False)),
        (101, 150, Pace(50, alarm=True, brake=False)),
        (500, 250, Pace(0, alarm=True, brake=False)),
        (501, 0, Pace(0, alarm=True, brake=True)),
    ],
)
def test_the_pace_slows_before_the_brake_closes(asked: int, mailed: int, expected: Pace) -> None:
    assert pace(asked, mailed, BOUNDS) == expected


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("93.184.216.34", "93.184.216.0/24"),
        ("2606:2800:220:1:248:1893:25c8:1946", "2606:2800:220::/48"),
        ("::ffff:93.184.216.34", "93.184.216.0/24"),
        ("127.0.0.1", None),
        ("10.1.2.3", None),
        ("fe80::1", None),
        ("", None),
        ("unknown", None),
    ],
)
def test_a_network_is_a_24_or_a_48_and_only_a_public_one_counts(address: str, network: str | None) -> None:
    assert network_of(address) == network


@given(st.datetimes(timezones=st.just(UTC), min_value=NOW.replace(tzinfo=None)))
def test_a_window_holds_its_moment(moment: datetime) -> None:
    for window in (timedelta(minutes=10), timedelta(hours=1), timedelta(days=1)):
        assert began(moment, window) <= moment < began(moment, window) + window


def test_the_words_are_those_of_the_version_that_was_shown() -> None:
    now = current("HLS.Today")
    assert "HLS.Today" in now.text
    assert of_version(now.version, "HLS.Today") == now
    assert of_version("99", "HLS.Today") is None
    assert of_version("", "HLS.Today") is None
    assert now.hash != current("Another").hash


def test_a_published_wording_never_changes() -> None:
    wording = of_version("1", "HLS.Today")
    assert wording is not None
    assert wording.hash == "74fa20a722537048d62fb5a1b221de20876e3cd01f2920a9dd73dd1d8ffd7cb0"


def test_digests_need_their_salt_and_say_nothing_of_what_is_not_there() -> None:
    machine = Machine("203.0.113.9", "Browser/1")
    first, second = digests(machine, b"a"), digests(machine, b"b")
    assert set(first) == {"network_digest", "agent_digest"}
    assert first["network_digest"] != second["network_digest"]
    assert digests(Machine("", ""), b"a") == {}
    assert "203.0.113.9" not in repr(machine)
