"""SendGrid against a loopback fake of v3/mail/send."""

import itertools
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from digest.deliver.compose.message import MessageTemplate, PlaceholderValues
from digest.deliver.compose.variant_limit import MAX_VARIANTS
from digest.deliver.providers.base import BatchOutcome, HandoverStatus, OutgoingMessage
from digest.deliver.providers.kind import ProviderSettingsError
from digest.deliver.providers.registry import open_provider
from digest.deliver.providers.sendgrid.provider import SendGridProvider, build_request_body
from digest.deliver.send.run.edition_sending import SendReport, run_edition
from digest.edition.content.slotted_text import LEAVE_SLOT, SlottedText
from digest.edition.edition_queries import count_merged_subscribers, find_edition
from digest.settings import Settings
from digest.store.delivery_models import DeliveryState
from digest.store.engine import Database
from digest.store.models import EditionState
from subscribers.consent.preferences import Preferences
from subscribers.crypto import link_tokens
from subscribers.store.models import Person
from tests.conftest import WAIT_TIMEOUT
from tests.deliver.conftest import DATE_VALUE, EDITION_NAME, KEYS, DeliverySetup, store_approved_edition
from tests.deliver.fake_sendgrid import API_KEY, FakeSendGrid, PlannedAnswer
from tests.deliver.kill_harness import wait_until
from tests.deliver.mark_recorder import MarkRecorder
from tests.moments import RELEASE, Clock

LETTER = MessageTemplate(
    subject="Hello \u2014 there",
    sender_name="Desk",
    sender_address="digest@news.example.org",
    reply_to="editors@news.example.org",
    text=SlottedText.from_parts(["text ", LEAVE_SLOT, "\n"]),
    html=SlottedText.from_parts(["<p>", LEAVE_SLOT, "</p>"]),
    extra_headers={"Precedence": "bulk"},
    list_id=("HLS.Today", "weekly.news.example.org"),
    unsubscribe_url_prefix="https://news.example.org/u/",
    unsubscribe_mail_domain="bounce.example.net",  # left out: the header would be too long for SendGrid's relay
)


def _message(name: str) -> OutgoingMessage:
    filled = PlaceholderValues(
        f"{name}@example.org", "<1@x.example.org>", DATE_VALUE, "l" * 22, "p" * 22, "March 4, 2026"
    )
    return OutgoingMessage(f"id-of-{len(name)}-{sum(map(ord, name)):x}".ljust(26, "x"), "edition", LETTER, filled)


def _hand(fake: FakeSendGrid, *names: str, key: str = API_KEY, clock: Callable[[], float] = time.time) -> BatchOutcome:
    return SendGridProvider(key, fake.host, clock=clock).send_batch([_message(n) for n in names], MarkRecorder())


def _results(handed: BatchOutcome) -> list[HandoverStatus]:
    return [o.result for o in handed.outcomes]


def filled(body: dict[str, Any], person: dict[str, Any], part: int = 0) -> str:
    """Fill one part of a request for one person, as SendGrid does."""
    text = str(body["content"][part]["value"])
    for mark, value in person["substitutions"].items():
        text = text.replace(mark, value)
    return text


ACCEPTED, REFUSED = HandoverStatus.ACCEPTED, HandoverStatus.REFUSED
UNCERTAIN, UNTOUCHED = HandoverStatus.UNCERTAIN, HandoverStatus.NOT_TRIED
NAMES = ("ada", "bo", "cy", "dee")


def test_each_person_has_a_personalization_of_their_own_and_nothing_tracks_them() -> None:
    with FakeSendGrid() as fake:
        handed = _hand(fake, *NAMES)
    assert _results(handed) == [ACCEPTED] * 4
    assert handed.outcomes[0].reply == "202 id-1"
    (body,) = fake.accepted_bodies
    assert fake.recipients == [f"{n}@example.org" for n in NAMES]
    assert not any(t["enable"] for t in body["tracking_settings"].values())
    assert set(body["tracking_settings"]) == {
        "click_tracking", "open_tracking", "subscription_tracking", "ganalytics"
    }  # fmt: skip
    assert body["headers"]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert body["headers"]["List-Id"] == '"HLS.Today" <weekly.news.example.org>'
    person = body["personalizations"][0]
    assert person["headers"] == {"List-Unsubscribe": f"<https://news.example.org/u/{'l' * 22}>"}
    assert [filled(body, person, part) for part in (0, 1)] == [f"text {'l' * 22}\n", f"<p>{'l' * 22}</p>"]
    assert list(person["custom_args"]) == ["delivery_id"]
    assert "asm" not in body


TAKEN, FREE = (digit * 36 for digit in "12")  # nonces of marks


@pytest.mark.parametrize("place", ["subject", "sender_name", "text", "html", "signup_text"])
def test_a_mark_that_occurs_in_what_is_sent_is_never_used(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([int(TAKEN), int(FREE)])
    monkeypatch.setattr("digest.edition.rendering.slot_marks.secrets.randbelow", lambda _limit: next(drawn))
    written: Any = f"{TAKEN}00"
    message = _message("ada")
    if place == "signup_text":
        message = replace(message, placeholders=replace(message.placeholders, signup_text=written))
    else:
        written = SlottedText.from_parts([written, LEAVE_SLOT]) if place in {"text", "html"} else written
        message = replace(message, template=replace(LETTER, **{place: written}))
    (person,) = build_request_body([message])["personalizations"]
    assert {mark[:36] for mark in person["substitutions"]} == {FREE}


@pytest.mark.parametrize(
    ("answer", "result", "stop"),
    [
        (PlannedAnswer(200, b"{}"), UNCERTAIN, "200 instead of 202"),
        (PlannedAnswer(302, headers={"Location": "/elsewhere"}), UNCERTAIN, "302 instead of 202"),
        (PlannedAnswer(500, b"{}"), UNCERTAIN, ""),
        (PlannedAnswer(502, b"<html><h1>Bad Gateway for ada@example.org</h1>"), UNCERTAIN, ""),
        (PlannedAnswer(503), UNCERTAIN, ""),
        (PlannedAnswer(202, hang_seconds=None), UNCERTAIN, ""),
        (PlannedAnswer(401, b'{"errors":[{"message":"no ada@example.org"}]}'), UNTOUCHED, "rejected the key"),
        (PlannedAnswer(403, b'{"errors":[{"message":"not verified","field":"from"}]}'), UNTOUCHED, "not verified"),
        (PlannedAnswer(404), UNTOUCHED, "rejected the message"),
        (PlannedAnswer(400, b'{"errors":[{"message":"empty","field":"subject"}]}'), UNTOUCHED, "400 empty"),
    ],
)
def test_only_202_is_success_and_a_doubt_is_a_doubt(answer: PlannedAnswer, result: HandoverStatus, stop: str) -> None:
    with FakeSendGrid(answer) as fake:
        handed = _hand(fake, *NAMES)
    assert _results(handed) == [result] * 4
    assert stop in handed.stop_reason
    assert bool(stop) == bool(handed.stop_reason)
    assert "@" not in handed.stop_reason + "".join(o.reply for o in handed.outcomes)
    assert API_KEY not in handed.stop_reason


def test_a_reset_in_milliseconds_is_read_as_such() -> None:
    now = 1_784_000_000.0
    with FakeSendGrid(PlannedAnswer(429, headers={"X-RateLimit-Reset": "1784000040000"})) as fake:
        assert _hand(fake, "ada", clock=lambda: now).wait_seconds == 41.0


def test_a_redirect_is_not_followed_with_the_key() -> None:
    with FakeSendGrid() as thief, FakeSendGrid(PlannedAnswer(302, headers={"Location": thief.host})) as fake:
        _hand(fake, "ada")
    assert thief.requests == []
    assert len(fake.requests) == 1


def test_a_429_waits_until_its_reset_and_touches_nobody() -> None:
    for headers, wait in (
        ({"X-RateLimit-Reset": "1040"}, 41.0),
        ({"Retry-After": "7"}, 7.0),
        ({}, 60.0),
        ({"X-RateLimit-Reset": "5"}, 1.0),
        ({"X-RateLimit-Reset": "1784000000500"}, 3600.0),  # milliseconds, and further off than anyone waits
        ({"X-RateLimit-Reset": "9" * 400}, 3600.0),
        ({"Retry-After": "9" * 400}, 3600.0),
        ({"X-RateLimit-Reset": "²"}, 60.0),
    ):
        with FakeSendGrid(PlannedAnswer(429, headers=headers)) as fake:
            handed = _hand(fake, *NAMES, clock=lambda: 1000.0)
        assert _results(handed) == [UNTOUCHED] * 4
        assert (handed.wait_seconds, handed.stop_reason) == (wait, "")


@pytest.mark.parametrize("bad", range(11))
def test_one_bad_entry_is_found_by_halves_and_the_others_go_out(bad: int) -> None:
    names = [f"r{n}" for n in range(11)]
    names[bad] = "bad"
    with FakeSendGrid() as fake:
        handed = _hand(fake, *names)
    assert [i for i, r in enumerate(_results(handed)) if r is REFUSED] == [bad]
    assert _results(handed).count(ACCEPTED) == 10
    assert sorted(fake.recipients) == sorted(f"{n}@example.org" for n in names if n != "bad")
    assert len(fake.requests) <= 9


def test_one_bad_entry_in_a_thousand_is_found_and_999_go_out_once() -> None:
    messages = [replace(_message("ada"), delivery_id=f"{n:026}") for n in range(1000)]
    messages = [
        replace(
            m, placeholders=replace(m.placeholders, to=f"bad@d{n}.example.org" if n == 700 else f"r{n}@example.org")
        )
        for n, m in enumerate(messages)
    ]
    with FakeSendGrid() as fake:
        handed = SendGridProvider(API_KEY, fake.host, batch_size=1000).send_batch(messages, MarkRecorder())
    assert [n for n, result in enumerate(_results(handed)) if result is not ACCEPTED] == [700]
    assert _results(handed)[700] is REFUSED
    assert (len(fake.recipients), len(set(fake.recipients))) == (999, 999)
    assert len(fake.requests) <= 2 * 10 + 1, "two requests a halving"


def test_a_row_of_bad_entries_is_not_searched_to_its_end_in_one_batch_and_condemns_nobody_behind_it() -> None:
    with FakeSendGrid() as fake:
        handed = _hand(fake, *(f"bad{n}" for n in range(64)))
    results = _results(handed)
    assert results == [REFUSED] * 8 + [UNTOUCHED] * 56
    assert all(o.may_blame_message for o in handed.outcomes[:8])
    assert handed.stop_reason == ""
    assert len(fake.requests) <= 20


def test_a_batch_that_is_too_large_is_halved() -> None:
    with FakeSendGrid() as fake:
        fake.max_body_bytes = 1800
        handed = _hand(fake, *NAMES)
    assert _results(handed) == [ACCEPTED] * 4
    assert sorted(fake.recipients) == sorted(f"{n}@example.org" for n in NAMES)
    assert len(fake.accepted_bodies) >= 2


def test_nobody_there_touches_nobody() -> None:
    with FakeSendGrid() as fake:
        pass
    handed = _hand(fake, *NAMES)
    assert _results(handed) == [UNTOUCHED] * 4
    assert "couldn't connect to SendGrid" in handed.stop_reason


def test_what_never_left_is_not_marked_as_leaving() -> None:
    with FakeSendGrid() as fake:
        host = fake.host
    marks = MarkRecorder()
    SendGridProvider(API_KEY, host).send_batch([_message("ada"), _message("bo")], marks)
    assert {mark for _, mark in marks.marks} == {"untouched"}


def test_messages_are_marked_as_leaving_after_the_headers_and_before_the_body() -> None:
    received, at_mark = bytearray(), []

    def read_request(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            while part := connection.recv(65536):
                received.extend(part)

    def note() -> None:
        wait_until(lambda: b"\r\n\r\n" in received)
        at_mark.append(bytes(received))

    with socket.create_server(("127.0.0.1", 0)) as server:
        reader = threading.Thread(target=read_request, args=(server,))
        reader.start()
        provider = SendGridProvider(API_KEY, f"http://127.0.0.1:{server.getsockname()[1]}", timeout=1.0)
        handed = provider.send_batch([_message("ada")], MarkRecorder(on_dot=note))
        reader.join(WAIT_TIMEOUT)
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    assert at_mark == [head + b"\r\n\r\n"]
    assert f"content-length: {len(body)}" in head.decode().lower()
    assert json.loads(body)["personalizations"]
    assert _results(handed) == [HandoverStatus.UNCERTAIN]


def test_silence_ends_in_doubt() -> None:
    with FakeSendGrid(PlannedAnswer(202, hang_seconds=WAIT_TIMEOUT)) as fake:
        handed = SendGridProvider(API_KEY, fake.host, timeout=1.0).send_batch([_message("ada")], MarkRecorder())
    assert _results(handed) == [UNCERTAIN]
    assert handed.outcomes[0].reply == "0 TimeoutError"


def test_neither_key_nor_payload_is_logged_at_any_level(caplog: pytest.LogCaptureFixture) -> None:
    with FakeSendGrid(PlannedAnswer(400, b'{"errors":[{"message":"x","field":"subject"}]}')) as fake:
        provider = SendGridProvider(API_KEY, fake.host)
        with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, "python_http_client.client"):
            provider.send_batch([_message("ada")], MarkRecorder())
            provider.send_batch([_message("bo")], MarkRecorder())
    assert "python_http_client" not in {r.name.partition(".")[0] for r in caplog.records}
    assert API_KEY not in caplog.text
    assert API_KEY not in repr(provider)


def _send(world: DeliverySetup, fake: FakeSendGrid, batch: int, connections: int = 1) -> SendReport:
    settings = world.settings.model_copy(
        update={
            "mail_url": SecretStr(f"sendgrid:?batch={batch}&connections={connections}"),
            "sendgrid_api_key": SecretStr(API_KEY),
            "sendgrid_host": fake.host,
        }
    )
    provider = open_provider(settings)
    return run_edition(
        world.database, EDITION_NAME, provider, world.keys, settings, clock=world.clock, sleep=world.clock.sleep
    )


@pytest.mark.takes_turns
def test_an_edition_goes_out_in_batches_with_everybodys_own_marks(world: DeliverySetup) -> None:
    numbers = world.add_subscribers(*(f"reader{n}@example.org" for n in range(30)))
    text_only = world.add_subscribers("plain@example.org", choices=Preferences(text_only=True))
    with FakeSendGrid() as fake:
        report = _send(world, fake, batch=10)
    assert (report.state, report.delivery_counts[DeliveryState.ACCEPTED]) == (EditionState.SENT, 31)
    assert len(fake.recipients) == len(set(fake.recipients)) == 31
    people = {p["to"][0]["email"]: (body, p) for body in fake.accepted_bodies for p in body["personalizations"]}
    for number, address in zip(
        [*numbers, *text_only], [*(f"reader{n}@example.org" for n in range(30)), "plain@example.org"], strict=True
    ):
        body, person = people[address]
        text = filled(body, person)
        leave, preferences = (
            re.findall(rf"https://news\.example\.org/{page}/(\S+)", text) for page in ("u", "preferences")
        )
        assert link_tokens.read_link_token(world.keys, leave[0], "leave") == (number, 0)
        assert link_tokens.read_link_token(world.keys, preferences[0], "preferences") == (number, 0)
        link = person["headers"]["List-Unsubscribe"]
        assert link == f"<https://news.example.org/u/{leave[0]}>"
        assert len(link) <= 77
        assert json.dumps(person).count("@example.org") == 1
    for body in fake.accepted_bodies:
        kinds = [c["type"] for c in body["content"]]
        lone = [p["to"][0]["email"] for p in body["personalizations"]] == ["plain@example.org"]
        assert kinds == (["text/plain"] if lone else ["text/plain", "text/html"])


@pytest.mark.takes_turns
def test_an_edition_of_64_versions_goes_out_in_batches_with_all_that_each_subscriber_chose(
    database: Database, settings: Settings
) -> None:
    topics = [f"t{n}" for n in range(7)]
    names = ["featured", "topics:", *(f"topics:{topic}.topic" for topic in topics), "topics:.end"]
    database.row_keys.find = lambda: KEYS
    store_approved_edition(database, settings, EDITION_NAME, RELEASE, names)
    world = DeliverySetup(database, settings, KEYS, Clock(RELEASE))
    combinations = [frozenset(some) for most in range(7) for some in itertools.combinations(topics, most)]
    omitted = {f"reader{n}@example.org": omit for n, omit in enumerate(combinations)}
    numbers = world.add_subscribers(*omitted)
    with world.database.write() as session:
        for number, omit in zip(numbers, omitted.values(), strict=True):
            session.get_one(Person, number).choices = Preferences(omit_topics=omit).as_json()
    with FakeSendGrid() as fake:
        report = _send(world, fake, batch=100)
    assert (report.state, report.delivery_counts[DeliveryState.ACCEPTED]) == (EditionState.SENT, len(combinations))
    assert len(fake.recipients) == len(set(fake.recipients)) == len(combinations) > MAX_VARIANTS
    exact, contents = 0, set()
    for body in fake.accepted_bodies:
        for person in body["personalizations"]:
            received = set(re.findall(r"section:topics:(t\d)", filled(body, person)))
            chosen = set(topics) - omitted[person["to"][0]["email"]]
            assert received >= chosen, "something that was chosen is missing"
            exact += received == chosen
            contents.add(frozenset(received))
    # The full version and its text-only twin are always among the 64, and no one asked for the latter.
    assert exact == len(contents) == MAX_VARIANTS - 1
    versions = [
        {filled(body, person).partition("You asked")[0] for person in body["personalizations"]}
        for body in fake.accepted_bodies
    ]
    assert {len(one) for one in versions} == {1}, "a request has one version"
    with world.database.read() as session:
        assert find_edition(session, EDITION_NAME).merged == len(combinations) - exact
        assert count_merged_subscribers(session) == len(combinations) - exact


def test_an_edition_whose_versions_are_all_there_is_merged_for_no_one(one_world: DeliverySetup) -> None:
    one_world.add_subscribers("reader@example.org", choices=Preferences(omit=frozenset({"events"})))
    with FakeSendGrid() as fake:
        _send(one_world, fake, batch=100)
    with one_world.database.read() as session:
        assert find_edition(session, EDITION_NAME).merged == 0


def test_several_requests_are_on_the_way_at_a_time_and_none_of_them_holds_up_the_claims_of_the_others(
    one_world: DeliverySetup,
) -> None:
    one_world.add_subscribers(*(f"reader{n}@example.org" for n in range(1_500)))
    with FakeSendGrid() as fake:
        fake.gathering = threading.Barrier(3)  # the third is claimed by a transaction of its own: none takes over 1,000
        report = _send(one_world, fake, batch=500, connections=3)
    assert (report.state, report.delivery_counts[DeliveryState.ACCEPTED]) == (EditionState.SENT, 1_500)
    assert [len(body["personalizations"]) for body in fake.accepted_bodies] == [500, 500, 500]
    assert len(set(fake.recipients)) == 1_500


@pytest.mark.parametrize("bad_domains", [1, 40])
def test_good_subscribers_behind_a_row_of_bad_ones_are_mailed_and_the_bad_ones_are_judged_alone(
    world: DeliverySetup, bad_domains: int
) -> None:
    world.add_subscribers(*(f"bad{n}@d{n % bad_domains}.example.org" for n in range(40)))
    world.add_subscribers(*(f"reader{n}@d{n % 7}.example.org" for n in range(160)))
    with FakeSendGrid() as fake:
        first = _send(world, fake, batch=20)
        assert (first.delivery_counts[DeliveryState.ACCEPTED], first.stop_reason) == (160, "")
        assert first.delivery_counts[DeliveryState.REFUSED] > 0, (
            "once somebody was accepted the message is not at fault"
        )
        world.clock.now += timedelta(hours=1)  # those who came before that are judged again
        report = _send(world, fake, batch=20)
    assert (report.state, report.delivery_counts[DeliveryState.REFUSED]) == (EditionState.SENT, 40)
    assert len(fake.recipients) == len(set(fake.recipients)) == 160


def test_a_row_of_bad_ones_after_others_were_accepted_is_refused_at_once_and_who_stands_behind_is_mailed(
    one_world: DeliverySetup,
) -> None:
    for name, count in (("first", 30), ("bad", 40), ("last", 30)):
        one_world.add_subscribers(*(f"{name}{n}@example.org" for n in range(count)))
    with FakeSendGrid() as fake:
        report = _send(one_world, fake, batch=25)
    assert (report.state, report.stop_reason) == (EditionState.SENT, "")
    assert report.delivery_counts[DeliveryState.REFUSED] == 40
    assert len(fake.recipients) == len(set(fake.recipients)) == 60


@pytest.mark.takes_turns
def test_only_a_message_that_nobody_accepts_is_at_fault_and_its_subscribers_wait(world: DeliverySetup) -> None:
    world.add_subscribers(*(f"bad{n}@d{n % 30}.example.org" for n in range(60)))
    with FakeSendGrid() as fake:
        report = _send(world, fake, batch=20)
        tried_domains = report.results[HandoverStatus.TRY_LATER]
        assert "refused every message" in report.stop_reason
        assert "@" not in report.stop_reason
        assert report.delivery_counts[DeliveryState.WAITING] == 60
        assert 8 < tried_domains <= 25, "a few suspects and a few probes, not the whole list"
    assert fake.accepted_bodies == []


def test_a_list_that_holds_bad_subscribers_alone_says_so(one_world: DeliverySetup) -> None:
    one_world.add_subscribers("bad@example.org", "bad2@example.org")
    with FakeSendGrid() as fake:
        report = _send(one_world, fake, batch=10)
    assert "refused every message" in report.stop_reason
    assert report.delivery_counts[DeliveryState.WAITING] == 2


def test_a_lost_answer_leaves_one_batch_in_doubt_and_nobody_gets_two(one_world: DeliverySetup) -> None:
    world = one_world
    world.add_subscribers(*(f"reader{n}@example.org" for n in range(30)))
    with FakeSendGrid(PlannedAnswer(202), PlannedAnswer(202, hang_seconds=None), PlannedAnswer(429)) as fake:
        report = _send(world, fake, batch=10)
    assert report.delivery_counts[DeliveryState.UNCERTAIN] == 10
    assert report.delivery_counts[DeliveryState.ACCEPTED] == 20
    assert (report.state, report.delivery_counts.is_balanced) == (EditionState.SENT, True)
    assert len(fake.recipients) == len(set(fake.recipients))


def test_a_wrong_key_stops_the_run_and_keeps_everybody_waiting(one_world: DeliverySetup) -> None:
    world = one_world
    world.add_subscribers(*(f"reader{n}@example.org" for n in range(30)))
    with FakeSendGrid(PlannedAnswer(401)) as fake:
        report = _send(world, fake, batch=10)
        assert len(fake.requests) == 1
        assert (report.delivery_counts[DeliveryState.WAITING], report.state) == (30, EditionState.SENDING)
        assert "DIGEST_SENDGRID_API_KEY" in report.stop_reason
        assert _send(world, fake, batch=10).state is EditionState.SENT


def test_a_key_goes_to_loopback_or_over_https_only(one_world: DeliverySetup) -> None:
    settings = one_world.settings.model_copy(
        update={
            "mail_url": SecretStr("sendgrid:"),
            "sendgrid_api_key": SecretStr(API_KEY),
            "sendgrid_host": "http://sendgrid.example.com",
        }
    )
    with pytest.raises(ProviderSettingsError):
        open_provider(settings)
