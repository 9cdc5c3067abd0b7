"""Erasures are queued for SendGrid with the erasure itself, passed on at night, and dropped after 30 days."""

import logging
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import SecretStr
from sqlalchemy import func, select, update

from digest.app.doctor.attention import list_attention_sentences
from digest.app.upkeep import nightly_steps
from digest.cli import digest
from digest.deliver.control import installation_hold
from digest.deliver.plan.planning import plan_deliveries
from digest.deliver.providers.registry import describe_data_recipient
from digest.deliver.providers.sendgrid.account import make_address_eraser
from digest.deliver.providers.sendgrid.api import SendGridApi
from digest.deliver.providers.sendgrid.kind import KIND
from digest.deliver.retention.delivery_disclosures import make_delivery_erasure_callback
from digest.deliver.retention.provider_erasures import (
    ERASURE_KEPT_FOR,
    NIGHT_SLACK,
    ErasureReport,
    choose_erasure_retry_delay,
    forward_erasures,
)
from digest.installation.opened_installation import Installation
from digest.settings import load_settings
from digest.store.delivery_models import Delivery, DeliveryState, ProviderErasure
from digest.store.engine import open_database
from digest.store.models import AuditEntry
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.lifecycle.erasure import erase_person
from subscribers.store.models import Disclosure, DisclosureTotal, Person
from tests.conftest import WAIT_TIMEOUT
from tests.deliver.conftest import EDITION_NAME, DeliverySetup
from tests.deliver.fake_sendgrid_account import API_KEY, FakeSendGridAccount, RecordedRequest, ScriptedResponse
from tests.moments import RELEASE

NOW = RELEASE + timedelta(days=1)
TO_WHOM = "Twilio SendGrid (api.sendgrid.com), which delivers our emails"
ADA = "Ada@example.org"


def _mailed(world: DeliverySetup, *addresses: str, provider: str = "sendgrid") -> list[int]:
    """Add readers to whom an edition went."""
    people = world.add_subscribers(*addresses)
    plan_deliveries(world.database, EDITION_NAME, world.keys, world.settings, now=RELEASE)
    sent = {"state": DeliveryState.ACCEPTED, "transport": provider, "handed_at": RELEASE}
    with world.database.write() as session:
        session.execute(update(Delivery).where(Delivery.person.in_(people)).values(**sent))
    return people


def _erase(world: DeliverySetup, number: int, *, now: datetime = NOW) -> None:
    unsubscribe_log = UnsubscribeLog(world.settings.left_log, world.keys)
    with world.database.write() as session:
        forget = make_delivery_erasure_callback(world.keys, lambda: now)
        erase_person(session, world.keys, unsubscribe_log, number, method="page", forget_elsewhere=forget, now=now)


def _pass_on(world: DeliverySetup, fake: FakeSendGridAccount, *, now: datetime = NOW) -> ErasureReport:
    api = SendGridApi(API_KEY, fake.host, timeout=WAIT_TIMEOUT)
    return forward_erasures(world.database, world.keys, KIND, make_address_eraser(api), recipient=TO_WHOM, now=now)


def _queued(world: DeliverySetup) -> list[ProviderErasure]:
    with world.database.read() as session:
        return list(session.scalars(select(ProviderErasure).order_by(ProviderErasure.id)))


def _actions(world: DeliverySetup) -> list[str]:
    with world.database.read() as session:
        return list(session.scalars(select(AuditEntry.act).where(AuditEntry.act.startswith("erasure"))))


def test_an_erased_subscriber_is_erased_at_sendgrid_too(world: DeliverySetup) -> None:
    (ada,) = _mailed(world, ADA)
    with FakeSendGridAccount() as fake:
        for name in ("bounces", "blocks", "invalid_emails", "spam_reports", "unsubscribes"):
            fake.add_to_list(name, "ada@example.org", 1)
            fake.add_to_list(name, "bo@example.org", 1)
        _erase(world, ada)
        passed = _pass_on(world, fake)
        assert (passed.accepted, passed.waiting, passed.trouble) == (1, 0, "")
        assert fake.erased_addresses == [[ADA]]
        left = {name: [one["email"] for one in rows] for name, rows in fake.lists.items()}
    assert left["bounces"] == left["blocks"] == left["invalid_emails"] == ["bo@example.org"]
    # Their own word to SendGrid stays: it keeps others who mail through the account from writing.
    assert left["spam_reports"] == left["unsubscribes"] == ["ada@example.org", "bo@example.org"]
    assert _queued(world) == []
    assert _actions(world) == ["erasure passed on"]
    assert not [asked.path for asked in fake.requests if "@" in asked.path or "ada" in asked.path.lower()]


def test_each_try_is_a_disclosure_of_nobody(world: DeliverySetup) -> None:
    (ada,) = _mailed(world, ADA)
    _erase(world, ada)
    with FakeSendGridAccount(lambda _: ScriptedResponse(500)) as fake:
        _pass_on(world, fake)
        fake.override = lambda _: None
        _pass_on(world, fake, now=NOW + timedelta(days=1))
    with world.database.read() as session:
        rows = list(session.scalars(select(Disclosure)))
    assert [(row.person, row.to_whom) for row in rows] == [(None, TO_WHOM)] * 2
    assert {row.why for row in rows} == {"To have an erased address erased there too"}


@pytest.mark.takes_turns
def test_whom_sendgrid_never_knew_it_is_not_told_of(world: DeliverySetup) -> None:
    ada, bo = _mailed(world, ADA, "bo@example.org", provider="smtp")
    with world.database.write() as session:  # planned for SendGrid, and never handed over
        never = {"transport": "sendgrid", "handed_at": None, "state": DeliveryState.WITHDRAWN}
        session.execute(update(Delivery).where(Delivery.person == bo).values(**never))
    _erase(world, ada)
    _erase(world, bo)
    assert _queued(world) == []


def test_a_delivery_that_is_only_a_total_by_now_counts_too(world: DeliverySetup) -> None:
    (ada,) = world.add_subscribers(ADA)
    values = {
        "to_whom": describe_data_recipient("sendgrid", world.settings),
        "why": "To send you an edition",
        "times": 3,
    }
    with world.database.write() as session:
        session.add(DisclosureTotal(person=ada, first_at=RELEASE, last_at=RELEASE, **values))
    _erase(world, ada)
    assert len(_queued(world)) == 1


def _erase_and_fail(world: DeliverySetup, number: int) -> None:
    unsubscribe_log = UnsubscribeLog(world.settings.left_log, world.keys)
    with world.database.write() as session:
        forget = make_delivery_erasure_callback(world.keys, lambda: NOW)
        erase_person(session, world.keys, unsubscribe_log, number, method="page", forget_elsewhere=forget, now=NOW)
        assert len(list(session.scalars(select(ProviderErasure)))) == 1
        raise RuntimeError("the power goes")


def test_the_address_is_queued_in_the_transaction_that_erases_it(world: DeliverySetup) -> None:
    (ada,) = _mailed(world, ADA)
    with pytest.raises(RuntimeError):
        _erase_and_fail(world, ada)
    assert _queued(world) == []
    _erase(world, ada)
    _erase(world, ada)
    (row,) = _queued(world)
    assert ADA.encode() not in row.ciphertext
    assert len(row.ciphertext) == 12 + 512 + 16  # its length says nothing of the address


def test_nothing_is_said_while_the_installation_is_held(world: DeliverySetup) -> None:
    (ada,) = _mailed(world, ADA)
    _erase(world, ada)
    with world.database.write() as session:
        installation_hold.pause_all_sending(session, "a copy", actor="eve", now=NOW)
    with FakeSendGridAccount() as fake:
        assert _pass_on(world, fake).waiting == 1
        assert fake.requests == []
        with world.database.write() as session:
            installation_hold.resume_all_sending(session)
        assert _pass_on(world, fake).accepted == 1


@pytest.mark.parametrize(
    ("instead", "said"),
    [
        (ScriptedResponse(401, b"{}"), "SendGrid rejected the API key (401)"),
        (
            ScriptedResponse(403, b'{"errors":[{"message":"access forbidden","field":null}]}'),
            "recipients.erasejob.create",
        ),
        (ScriptedResponse(400, b'{"errors":[{"message":"Email_address Ada@example.org is not valid"}]}'), "not valid"),
        (ScriptedResponse(429, headers={"Retry-After": "9"}), "SendGrid asked senders to wait 9 seconds"),
        (ScriptedResponse(502, b"<html>Ada@example.org"), "502"),
        (ScriptedResponse(200, b"{}"), "isn't from SendGrid's API"),
        (ScriptedResponse(302, headers={"Location": "http://127.0.0.1:1/"}), "isn't from SendGrid's API"),
        (ScriptedResponse(hang_seconds=None), "response isn't usable"),
    ],
)
def test_a_failed_try_rests_and_is_made_again(
    one_world: DeliverySetup, instead: ScriptedResponse, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    world = one_world
    (ada,) = _mailed(world, ADA)
    _erase(world, ada)

    def only_the_job(asked: RecordedRequest) -> ScriptedResponse | None:
        return instead if asked.path.endswith("erasejob") else None

    with FakeSendGridAccount(only_the_job) as fake:
        passed = _pass_on(world, fake)
        assert (passed.accepted, passed.waiting) == (0, 1)
        assert said in passed.trouble
        asked = len(fake.requests)
        assert _pass_on(world, fake, now=NOW + timedelta(hours=12)).trouble == ""
        assert len(fake.requests) == asked, "it rests"
        fake.override = lambda _: None
        assert _pass_on(world, fake, now=NOW + timedelta(days=1)).accepted == 1
        assert fake.erased_addresses == [[ADA]]
    assert "example.org" not in passed.trouble
    assert "ada" not in f"{passed} {caplog.text}".lower()


@pytest.mark.takes_turns
def test_lists_that_cannot_be_cleared_are_tried_again_and_one_bad_address_holds_up_nobody(world: DeliverySetup) -> None:
    people = _mailed(world, "ada@example.org", "bo@example.org", "cy@example.org")
    for number in people:
        _erase(world, number)

    def turned_away(asked: RecordedRequest) -> ScriptedResponse | None:
        named = asked.body.get("emails") or asked.body["email_addresses"]
        return ScriptedResponse(400, b"{}") if named == ["ada@example.org"] else None

    with FakeSendGridAccount(turned_away) as fake:
        passed = _pass_on(world, fake)
        assert (passed.accepted, passed.waiting) == (2, 1)
        assert fake.erased_addresses == [["bo@example.org"], ["cy@example.org"]]


@pytest.mark.takes_turns
def test_trouble_with_the_account_ends_the_night_after_one_try(world: DeliverySetup) -> None:
    for number in _mailed(world, "ada@example.org", "bo@example.org"):
        _erase(world, number)
    with FakeSendGridAccount(lambda _: ScriptedResponse(401, b"{}")) as fake:
        _pass_on(world, fake)
        assert len(fake.requests) == 1
    assert sorted(row.tries for row in _queued(world)) == [0, 1]


def test_the_pauses_grow_and_after_thirty_days_the_address_is_gone(world: DeliverySetup) -> None:
    (ada,) = _mailed(world, ADA)
    _erase(world, ada)
    tried = []
    with FakeSendGridAccount(lambda _: ScriptedResponse(403, b"{}")) as fake:
        for night in range(32):
            before = len(fake.requests)
            passed = _pass_on(world, fake, now=NOW + timedelta(days=night, seconds=night % 7))
            tried += [night] if len(fake.requests) > before else []
            assert passed.given_up == (night == ERASURE_KEPT_FOR.days)
            with world.database.read() as session:
                text = " ".join(list_attention_sentences(session, RELEASE))
            assert ("hasn't processed 1 erasure request." in text) == (1 <= night < ERASURE_KEPT_FOR.days)
    assert tried == [0, 1, 3, 7, 11, 15, 19, 23, 27]
    assert _queued(world) == []
    assert _actions(world) == ["erasure not passed on"]
    assert choose_erasure_retry_delay(1) == timedelta(days=1) - NIGHT_SLACK


def test_a_damaged_row_is_passed_over(world: DeliverySetup) -> None:
    for number in _mailed(world, "ada@example.org", "bo@example.org"):
        _erase(world, number)
    with world.database.write() as session:
        first = session.scalars(select(ProviderErasure).order_by(ProviderErasure.id)).first()
        assert first is not None
        first.ciphertext = first.ciphertext[:-1] + bytes([first.ciphertext[-1] ^ 1])
    with FakeSendGridAccount() as fake:
        assert _pass_on(world, fake).accepted == 1
        assert fake.erased_addresses == [["bo@example.org"]]


def test_the_night_passes_erasures_on_where_there_is_a_key(one_world: DeliverySetup, tmp_path: Path) -> None:
    world = one_world
    (ada,) = _mailed(world, ADA)
    _erase(world, ada)
    (tmp_path / "keys.json").write_text(world.keys.to_json())
    (tmp_path / "keys.json").chmod(0o600)
    without = Installation(world.settings, world.database)
    assert "1 waiting" in nightly_steps.request_provider_erasures(without, NOW)
    with FakeSendGridAccount() as fake:
        values = {"sendgrid_api_key": SecretStr(API_KEY), "sendgrid_host": fake.host}
        install = Installation(world.settings.model_copy(update=values), world.database)
        assert "erasures for SendGrid: 1 passed on, 0 waiting" in nightly_steps.run_nightly_steps(install, NOW)
    with world.database.read() as session:
        counted = select(func.count()).select_from(Disclosure).where(Disclosure.to_whom.startswith("Twilio"))
        assert session.scalar(counted) == 1


def test_an_admins_erasure_is_queued_with_the_address_that_the_admin_gave(new_home: Path) -> None:
    runner = CliRunner()
    runner.invoke(digest, ["init"])
    added = ["subscribers", "add", "-", "--where", "here", "--on", "2026-03-04", "--method", "form"]
    runner.invoke(digest, [*added, "--confirmed", "--consent-text", "Yes."], input=ADA)
    database = open_database(load_settings().effective_database_url)
    with database.write() as session:
        person = session.scalars(select(Person)).one()
        person.ciphertext = person.key_id = None  # as thirty days after leaving
        values = {"purpose": "edition:2026-W01", "state": DeliveryState.ACCEPTED, "transport": "sendgrid"}
        when = dict.fromkeys(("due_at", "next_try_at", "handed_at"), RELEASE)
        session.add(Delivery(id="d" * 26, person=person.number, **values, **when))
    result = runner.invoke(digest, ["subscribers", "erase", "-", "--reason", "asked by letter"], input=ADA)
    assert result.exit_code == 0, result.output
    with database.read() as session:
        assert len(session.scalars(select(ProviderErasure)).all()) == 1
    database.close()
