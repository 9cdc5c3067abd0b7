"""SendGrid's suppression lists, pulled every night from a loopback fake of its API."""

import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import SecretStr
from sqlalchemy import func, select

from digest.app.doctor.attention import list_attention_sentences
from digest.app.upkeep import nightly_steps
from digest.cli import digest
from digest.deliver.providers.kind import SuppressionPullResult
from digest.deliver.providers.sendgrid import suppression_pull
from digest.deliver.providers.sendgrid.api import SendGridApi
from digest.deliver.providers.sendgrid.suppression_pull import parse_suppression_page, pull_suppressions
from digest.installation.opened_installation import Installation
from digest.settings import Settings
from digest.store.delivery_models import StoredInstallationValue
from subscribers.address import read_address
from subscribers.consent import ledger, suppression
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.lifecycle.feedback import DeliveryFeedbackKind
from subscribers.store.models import ConsentEvent, ConsentKind, Person, PersonState, Suppression
from tests.conftest import WAIT_TIMEOUT
from tests.deliver.conftest import DeliverySetup
from tests.deliver.fake_sendgrid_account import (
    API_KEY,
    SUPPRESSION_LISTS,
    FakeSendGridAccount,
    RecordedRequest,
    ScriptedResponse,
)
from tests.moments import RELEASE

NOW = RELEASE + timedelta(days=1)
THEN = int((RELEASE + timedelta(hours=2)).timestamp())
GONE = {"status": "5.1.1", "reason": "550 5.1.1 no such user ada@example.org"}


def _unsubscribe_log(world: DeliverySetup) -> UnsubscribeLog:
    return UnsubscribeLog(world.settings.left_log, world.keys)


def _pull(
    world: DeliverySetup,
    fake: FakeSendGridAccount,
    *,
    now: datetime = NOW,
    key: str = API_KEY,
    timeout: float = WAIT_TIMEOUT,
    pages: int = 100,
) -> SuppressionPullResult:
    api = SendGridApi(key, fake.host, timeout=timeout)
    return pull_suppressions(world.database, world.keys, _unsubscribe_log(world), api, now=now, max_pages=pages)


def _states(world: DeliverySetup, numbers: list[int]) -> list[PersonState]:
    with world.database.read() as session:
        return [session.get_one(Person, number).state for number in numbers]


def _attention(world: DeliverySetup) -> str:
    with world.database.read() as session:
        return " ".join(list_attention_sentences(session, RELEASE))


def _links(world: DeliverySetup) -> int:
    with world.database.read() as session:
        return session.scalar(select(func.count()).select_from(ConsentEvent)) or 0


@pytest.mark.takes_turns
def test_each_list_does_to_a_subscriber_what_it_means(world: DeliverySetup) -> None:
    names = ("ada", "bo", "cy", "dee", "eve", "flo", "gus")
    people = world.add_subscribers(*(f"{name}@example.org" for name in names))
    with FakeSendGridAccount() as fake:
        fake.add_to_list("spam_reports", "Ada@example.org", THEN, ip="10.0.0.1")
        fake.add_to_list("unsubscribes", "bo@example.org", THEN)
        fake.add_to_list("bounces", "cy@example.org", THEN, **GONE)
        fake.add_to_list("invalid_emails", "dee@example.org", THEN, reason="Mail domain mentioned is unknown")
        fake.add_to_list("bounces", "eve@example.org", THEN, status="5.7.1", reason="550 5.7.1 our policy")
        fake.add_to_list("blocks", "flo@example.org", THEN, status="5.1.1", reason="550 5.1.1 blocked")
        pulled = _pull(world, fake)
    assert _states(world, people) == [
        PersonState.SUPPRESSED,
        PersonState.WITHDRAWN,
        PersonState.SUPPRESSED,
        PersonState.SUPPRESSED,
        PersonState.SUBSCRIBED,
        PersonState.SUBSCRIBED,
        PersonState.SUBSCRIBED,
    ]
    assert pulled.feedback_counts == {"complained": 1, "left": 1, "bounced": 2}
    assert (pulled.entries, pulled.matched_people, pulled.troubles) == (6, 6, [])
    with world.database.read() as session:
        barred = suppression.find_suppression(session, world.keys, read_address("ada@example.org"))
        assert barred is not None
        assert barred.reason == "complained"
    assert [d.kind for d in _unsubscribe_log(world).read()] == ["complained", "left", "bounced", "bounced"]


@pytest.mark.takes_turns
def test_a_second_pull_changes_nothing(world: DeliverySetup) -> None:
    world.add_subscribers("ada@example.org", "bo@example.org", "cy@example.org")
    with FakeSendGridAccount() as fake:
        fake.add_to_list("spam_reports", "ada@example.org", THEN)
        fake.add_to_list("unsubscribes", "bo@example.org", THEN)
        fake.add_to_list("bounces", "cy@example.org", THEN, **GONE)
        _pull(world, fake)
        links, departures = _links(world), world.settings.left_log.read_bytes()
        with world.database.write() as session:
            suppression_pull.reset_list_positions(session)
        again = _pull(world, fake)
    assert again.feedback_counts == {}
    assert again.entries == 3
    assert (_links(world), world.settings.left_log.read_bytes()) == (links, departures)


def test_what_is_gone_from_a_list_brings_nobody_back(world: DeliverySetup) -> None:
    people = world.add_subscribers("ada@example.org")
    with FakeSendGridAccount() as fake:
        fake.add_to_list("bounces", "ada@example.org", THEN, **GONE)
        _pull(world, fake)
        fake.lists["bounces"].clear()
        _pull(world, fake, now=NOW + timedelta(days=1))
    assert _states(world, people) == [PersonState.SUPPRESSED]


@pytest.mark.takes_turns
def test_a_word_from_before_the_subscribers_own_last_word_is_over(world: DeliverySetup) -> None:
    people = world.add_subscribers("ada@example.org", "bo@example.org")
    before = int((RELEASE - timedelta(hours=1)).timestamp())
    with world.database.write() as session:
        for number in people:
            person = ledger.lock_person(session, number)
            assert person is not None
            ledger.append_event(session, person, ConsentKind.CONFIRMED, {}, RELEASE)
    with FakeSendGridAccount() as fake:
        fake.add_to_list("unsubscribes", "ada@example.org", before)
        fake.add_to_list("spam_reports", "bo@example.org", before)
        assert _pull(world, fake).feedback_counts == {}
    assert _states(world, people) == [PersonState.SUBSCRIBED] * 2


@pytest.mark.takes_turns
def test_addresses_that_are_not_ours_leave_no_trace(
    world: DeliverySetup, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with FakeSendGridAccount() as fake:
        fake.add_to_list("bounces", "stranger@elsewhere.example.net", THEN, **GONE)
        fake.add_to_list("spam_reports", "not an address", THEN)
        fake.add_to_list("unsubscribes", "x" * 100_000 + "@example.org", THEN)
        pulled = _pull(world, fake)
    assert (pulled.entries, pulled.matched_people) == (3, 0)
    with world.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Suppression)) == 0
        memo = json.dumps(session.get_one(StoredInstallationValue, suppression_pull.POSITIONS_STATE_KEY).value)
    text = f"{caplog.text}{capsys.readouterr()}{memo}{pulled}"
    assert "stranger" not in text
    assert "elsewhere" not in text
    assert API_KEY not in text
    assert not world.settings.left_log.exists()


@pytest.mark.takes_turns
def test_the_next_pull_asks_only_for_what_is_new_and_three_days_more(world: DeliverySetup) -> None:
    with FakeSendGridAccount() as fake:
        _pull(world, fake)
        assert all(a.query["start_time"] == 0 for a in fake.requests)
        fake.requests.clear()
        _pull(world, fake, now=NOW + timedelta(days=1))
    assert {a.path.rpartition("/")[2] for a in fake.requests} == set(SUPPRESSION_LISTS)
    since = int((NOW - timedelta(days=3)).timestamp())
    assert {a.query["start_time"] for a in fake.requests} == {since}
    assert {a.query["end_time"] for a in fake.requests} == {int((NOW + timedelta(days=1)).timestamp())}


def test_a_long_list_is_read_by_pages_and_goes_on_where_it_was_cut_short(
    one_world: DeliverySetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert suppression_pull.PAGE_SIZE == 500
    monkeypatch.setattr(suppression_pull, "PAGE_SIZE", 50)
    world = one_world
    people = world.add_subscribers(*(f"r{n}@example.org" for n in range(111)))
    with FakeSendGridAccount() as fake:
        for n in range(111):
            fake.add_to_list("spam_reports", f"r{n}@example.org", THEN + n)
        first = _pull(world, fake, pages=2)
        assert first.feedback_counts == {"complained": 100}
        assert "spam_reports not completely read yet; the next run continues" in first.troubles[0]
        fake.add_to_list(
            "spam_reports", "late@example.org", int(NOW.timestamp()) + 60
        )  # must not move the pages of this reading
        rest = _pull(world, fake, now=NOW + timedelta(days=1))
    assert rest.feedback_counts == {"complained": 11}
    assert rest.troubles == []
    assert [a.query["offset"] for a in fake.requests if a.path.endswith("spam_reports")] == [0, 50, 100, 111]
    assert set(_states(world, people)) == {PersonState.SUPPRESSED}


def test_a_list_that_gives_the_same_page_for_ever_is_given_up(one_world: DeliverySetup) -> None:
    page = json.dumps([{"created": THEN, "email": "a@example.net"}]).encode()
    with FakeSendGridAccount(lambda _: ScriptedResponse(200, page)) as fake:
        pulled = _pull(one_world, fake)
    assert len(fake.requests) == 2 * len(SUPPRESSION_LISTS)
    assert all("the same page twice" in trouble for trouble in pulled.troubles)


HTML = b"<html><h1>Bad Gateway for ada@example.org</h1>"


@pytest.mark.parametrize(
    ("instead", "said", "asked"),
    [
        (
            ScriptedResponse(401, b'{"errors":[{"message":"no ada@example.org","field":null}]}'),
            "rejected the API key (401",
            1,
        ),
        (ScriptedResponse(403, b'{"errors":[{"message":"access forbidden","field":null}]}'), "Suppressions (read)", 5),
        (ScriptedResponse(429, headers={"Retry-After": "17"}), "SendGrid asked senders to wait 17 seconds", 1),
        (ScriptedResponse(500, b"{}"), "response isn't usable: 500", 5),
        (ScriptedResponse(502, HTML), "response isn't usable: 502", 5),
        (ScriptedResponse(200, HTML), "isn't from SendGrid's API", 5),
        (ScriptedResponse(200, b'{"result": []}'), "isn't from SendGrid's API", 5),
        (ScriptedResponse(200, b"[1, 2]"), "isn't from SendGrid's API", 5),
        (ScriptedResponse(200, b"[" * 100_000), "isn't from SendGrid's API", 5),
        (ScriptedResponse(200, b"[", {"Content-Length": "900"}), "response isn't usable: IncompleteRead", 5),
        (ScriptedResponse(200, b" " * 4_000_001), "response isn't usable: OSError", 5),
        (ScriptedResponse(302, headers={"Location": "http://127.0.0.1:1/"}), "isn't from SendGrid's API", 5),
        (ScriptedResponse(hang_seconds=None), "response isn't usable", 5),
    ],
)
def test_trouble_is_said_in_a_line_and_the_next_night_reads_all_the_same(
    one_world: DeliverySetup, instead: ScriptedResponse, said: str, asked: int
) -> None:
    world = one_world
    people = world.add_subscribers("ada@example.org")
    with FakeSendGridAccount(lambda _: instead) as fake:
        fake.add_to_list("spam_reports", "ada@example.org", THEN)
        pulled = _pull(world, fake)
        assert len(fake.requests) == asked
        assert all(said in trouble for trouble in pulled.troubles)
        assert pulled.troubles
        assert "@" not in str(pulled)
        assert API_KEY not in str(pulled)
        assert _states(world, people) == [PersonState.SUBSCRIBED]
        assert said in _attention(world)
        fake.override = lambda _: None
        assert _pull(world, fake, now=NOW + timedelta(days=1)).feedback_counts == {"complained": 1}
        assert _attention(world) == ""


def test_silence_ends_after_the_time_limit(one_world: DeliverySetup) -> None:
    with FakeSendGridAccount(lambda _: ScriptedResponse(200, b"[]", hang_seconds=WAIT_TIMEOUT)) as fake:
        pulled = _pull(one_world, fake, timeout=0.4)
    assert "TimeoutError" in pulled.troubles[0]


def test_one_list_in_trouble_does_not_keep_the_others_from_being_read(one_world: DeliverySetup) -> None:
    people = one_world.add_subscribers("ada@example.org")

    def broken(asked: RecordedRequest) -> ScriptedResponse | None:
        return ScriptedResponse(500) if asked.path.endswith("spam_reports") else None

    with FakeSendGridAccount(broken) as fake:
        fake.add_to_list("unsubscribes", "ada@example.org", THEN)
        pulled = _pull(one_world, fake)
    assert _states(one_world, people) == [PersonState.WITHDRAWN]
    assert len(pulled.troubles) == 1


@pytest.mark.parametrize(
    ("name", "entry", "word"),
    [
        ("bounces", GONE, DeliveryFeedbackKind.BOUNCED),
        ("bounces", {"status": "5.1.1", "reason": "550 5.7.1 blocked"}, None),
        ("bounces", {"status": "", "reason": "550 mailbox unavailable"}, None),  # a soft bounce at most
        ("bounces", {"status": 5.0, "reason": None}, None),
        ("bounces", {}, None),
        ("invalid_emails", {"reason": "Known bad domain"}, DeliveryFeedbackKind.BOUNCED),
        ("invalid_emails", {"reason": "550 5.7.1 policy"}, None),
        ("spam_reports", {}, DeliveryFeedbackKind.COMPLAINED),
        ("unsubscribes", {}, DeliveryFeedbackKind.UNSUBSCRIBED),
        ("blocks", GONE, None),
    ],
)
def test_an_entry_is_read_by_its_codes(name: str, entry: dict[str, object], word: DeliveryFeedbackKind | None) -> None:
    body = json.dumps([{"created": THEN, "email": "ada@example.org", **entry}]).encode()
    page = parse_suppression_page(name, body, received_at=NOW)
    assert page is not None
    assert [e.feedback for e in page.entries] == [word]
    assert "ada" not in json.dumps(dict(page.entries[0].detail))


def test_a_time_that_is_none_or_in_the_future_is_the_time_of_asking() -> None:
    rows = [{"email": "ada@example.org", "created": c} for c in (None, "x", 10**30, THEN + 10**9, [1])]
    page = parse_suppression_page("spam_reports", json.dumps(rows).encode(), received_at=NOW)
    assert page is not None
    assert [e.at for e in page.entries] == [NOW] * 5


def _settings(world: DeliverySetup, fake: FakeSendGridAccount, mail: str = "sendgrid:") -> Settings:
    values = {"mail_url": SecretStr(mail), "sendgrid_api_key": SecretStr(API_KEY), "sendgrid_host": fake.host}
    return world.settings.model_copy(update=values)


def test_the_night_pulls_where_mail_goes_over_sendgrid(one_world: DeliverySetup) -> None:
    world = one_world
    people = world.add_subscribers("ada@example.org")
    world.settings.key_file.write_text(world.keys.to_json())
    world.settings.key_file.chmod(0o600)
    with FakeSendGridAccount() as fake:
        fake.add_to_list("unsubscribes", "ada@example.org", THEN)
        other = Installation(_settings(world, fake, "outbox:"), world.database)
        assert "isn't sent with SendGrid" in nightly_steps.pull_provider_suppressions(other, NOW)
        keyless = _settings(world, fake).model_copy(update={"sendgrid_api_key": None})
        assert "DIGEST_SENDGRID_API_KEY" in nightly_steps.pull_provider_suppressions(
            Installation(keyless, world.database), NOW
        )
        assert fake.requests == []
        report = nightly_steps.run_nightly_steps(Installation(_settings(world, fake), world.database), NOW)
    assert "SendGrid's lists: 1 left (1 entries, 1 for people on this list)" in report
    assert _states(world, people) == [PersonState.WITHDRAWN]


def _environment(fake: FakeSendGridAccount) -> dict[str, str]:
    return {"DIGEST_MAIL_URL": "sendgrid:", "DIGEST_SENDGRID_API_KEY": API_KEY, "DIGEST_SENDGRID_HOST": fake.host}


def test_an_admin_pulls_by_hand_and_a_script_reads_what_came_of_it(new_home: Path) -> None:
    with FakeSendGridAccount() as fake:
        runner = CliRunner(env=_environment(fake))
        assert runner.invoke(digest, ["init"]).exit_code == 0
        added = ["subscribers", "add", "-", "--where", "here", "--on", "2026-03-04", "--method", "form"]
        runner.invoke(digest, [*added, "--confirmed", "--consent-text", "Yes."], input="ada@example.org\n")
        fake.add_to_list("spam_reports", "ada@example.org", int(datetime.now(UTC).timestamp()))
        result = runner.invoke(digest, ["subscribers", "pull", "--json"])
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout) == {"entries": 1, "ours": 1, "people": {"complained": 1}, "troubles": []}
        again = runner.invoke(digest, ["subscribers", "pull", "--all"])
        assert again.stdout == "SendGrid's lists: no changes (1 entries, 1 for people on this list).\n"
        fake.override = lambda _: ScriptedResponse(503)
        failed = runner.invoke(digest, ["subscribers", "pull"])
        assert failed.exit_code == 1
        assert "503" in failed.stdout


def test_the_command_says_what_is_missing(new_home: Path) -> None:
    runner = CliRunner()
    runner.invoke(digest, ["init"])
    result = runner.invoke(digest, ["subscribers", "pull"])
    assert result.exit_code == 1
    assert "DIGEST_SENDGRID_API_KEY is missing" in result.output


def test_every_list_has_a_meaning() -> None:
    assert set(suppression_pull.FEEDBACK_OF_LIST) == set(SUPPRESSION_LISTS)
