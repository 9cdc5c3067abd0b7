"""Erasure passed on to SendGrid: queued with the erasure itself, told by night, gone after 30 days."""

import logging
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import SecretStr
from sqlalchemy import func, select, update

from digest import nightly
from digest.attention import needed
from digest.cli import digest
from digest.db import Audit, open_database
from digest.deliver import holding
from digest.deliver.erasures import AN_HOUR, KEPT, Passed, pass_on, pause
from digest.deliver.forgetting import everywhere
from digest.deliver.passages import recipient
from digest.deliver.planning import plan
from digest.deliver.transports.sendgrid_api import Api
from digest.delivery_db import Delivery, DeliveryState, ProviderErasure
from digest.install import Install
from subscribers.db import Disclosure, DisclosureTotal, Person
from subscribers.erasing import erase
from subscribers.journal import Journal
from tests.deliver.account import KEY, Asked, FakeAccount, Instead
from tests.deliver.conftest import NAME, RELEASE, World

NOW = RELEASE + timedelta(days=1)
TO_WHOM = "Twilio SendGrid (api.sendgrid.com), who delivers for us"
ADA = "Ada@example.org"


def _mailed(world: World, *addresses: str, transport: str = "sendgrid") -> list[int]:
    """Add readers to whom an edition went."""
    people = world.readers(*addresses)
    plan(world.database, NAME, world.keys, world.settings, now=RELEASE)
    sent = {"state": DeliveryState.ACCEPTED, "transport": transport, "handed_at": RELEASE}
    with world.database.write() as session:
        session.execute(update(Delivery).where(Delivery.person.in_(people)).values(**sent))
    return people


def _erase(world: World, number: int, *, now: datetime = NOW) -> None:
    journal = Journal(world.settings.left_log, world.keys)
    with world.database.write() as session:
        forget = everywhere(world.keys, lambda: now)
        erase(session, world.keys, journal, number, method="page", forget=forget, now=now)


def _pass_on(world: World, fake: FakeAccount, *, now: datetime = NOW) -> Passed:
    api = Api(KEY, fake.host, timeout=5.0)
    return pass_on(world.database, world.keys, api, to_whom=TO_WHOM, now=now)


def _queued(world: World) -> list[ProviderErasure]:
    with world.database.read() as session:
        return list(session.scalars(select(ProviderErasure).order_by(ProviderErasure.id)))


def _acts(world: World) -> list[str]:
    with world.database.read() as session:
        return list(session.scalars(select(Audit.act).where(Audit.act.startswith("erasure"))))


def test_an_erased_reader_is_erased_at_sendgrid_too(world: World) -> None:
    (ada,) = _mailed(world, ADA)
    with FakeAccount() as fake:
        for name in ("bounces", "blocks", "invalid_emails", "spam_reports", "unsubscribes"):
            fake.put(name, "ada@example.org", 1)
            fake.put(name, "bo@example.org", 1)
        _erase(world, ada)
        passed = _pass_on(world, fake)
        assert (passed.taken, passed.waiting, passed.trouble) == (1, 0, "")
        assert fake.erased == [[ADA]]
        left = {name: [one["email"] for one in rows] for name, rows in fake.lists.items()}
    assert left["bounces"] == left["blocks"] == left["invalid_emails"] == ["bo@example.org"]
    # Their own word to SendGrid stays: it keeps others who mail through the account from writing.
    assert left["spam_reports"] == left["unsubscribes"] == ["ada@example.org", "bo@example.org"]
    assert _queued(world) == []
    assert _acts(world) == ["erasure passed on"]
    assert not [asked.path for asked in fake.asked if "@" in asked.path or "ada" in asked.path.lower()]


def test_each_try_is_a_disclosure_of_nobody(world: World) -> None:
    (ada,) = _mailed(world, ADA)
    _erase(world, ada)
    with FakeAccount(lambda _: Instead(500)) as fake:
        _pass_on(world, fake)
        fake.instead = lambda _: None
        _pass_on(world, fake, now=NOW + timedelta(days=1))
    with world.database.read() as session:
        rows = list(session.scalars(select(Disclosure)))
    assert [(row.person, row.to_whom) for row in rows] == [(None, TO_WHOM)] * 2
    assert {row.why for row in rows} == {"To have an erased address erased there too"}


def test_whom_sendgrid_never_knew_it_is_not_told_of(world: World) -> None:
    ada, bo = _mailed(world, ADA, "bo@example.org", transport="smtp")
    with world.database.write() as session:  # planned for SendGrid, and never handed over
        never = {"transport": "sendgrid", "handed_at": None, "state": DeliveryState.WITHDRAWN}
        session.execute(update(Delivery).where(Delivery.person == bo).values(**never))
    _erase(world, ada)
    _erase(world, bo)
    assert _queued(world) == []


def test_a_delivery_that_is_only_a_total_by_now_counts_too(world: World) -> None:
    (ada,) = world.readers(ADA)
    said = {"to_whom": recipient("sendgrid", world.settings), "why": "To deliver an edition", "times": 3}
    with world.database.write() as session:
        session.add(DisclosureTotal(person=ada, first_at=RELEASE, last_at=RELEASE, **said))
    _erase(world, ada)
    assert len(_queued(world)) == 1


def _erase_and_fail(world: World, number: int) -> None:
    journal = Journal(world.settings.left_log, world.keys)
    with world.database.write() as session:
        forget = everywhere(world.keys, lambda: NOW)
        erase(session, world.keys, journal, number, method="page", forget=forget, now=NOW)
        assert len(list(session.scalars(select(ProviderErasure)))) == 1
        raise RuntimeError("the power goes")


def test_the_address_is_queued_in_the_transaction_that_erases_it(world: World) -> None:
    (ada,) = _mailed(world, ADA)
    with pytest.raises(RuntimeError):
        _erase_and_fail(world, ada)
    assert _queued(world) == []
    _erase(world, ada)
    _erase(world, ada)
    (row,) = _queued(world)
    assert b"ada" not in row.ciphertext.lower()
    assert len(row.ciphertext) == 12 + 512 + 16  # its length says nothing of the address


def test_nothing_is_said_while_the_installation_is_held(world: World) -> None:
    (ada,) = _mailed(world, ADA)
    _erase(world, ada)
    with world.database.write() as session:
        holding.hold(session, "a copy", actor="eve", now=NOW)
    with FakeAccount() as fake:
        assert _pass_on(world, fake).waiting == 1
        assert fake.asked == []
        with world.database.write() as session:
            holding.release(session, actor="eve", now=NOW)
        assert _pass_on(world, fake).taken == 1


@pytest.mark.parametrize(
    ("instead", "said"),
    [
        (Instead(401, b"{}"), "refuses the key"),
        (
            Instead(403, b'{"errors":[{"message":"access forbidden","field":null}]}'),
            "recipients.erasejob.create",
        ),
        (Instead(400, b'{"errors":[{"message":"Email_address Ada@example.org is not valid"}]}'), "not valid"),
        (Instead(429, headers={"Retry-After": "9"}), "patience"),
        (Instead(502, b"<html>Ada@example.org"), "502"),
        (Instead(200, b"{}"), "no answer of its API"),
        (Instead(302, headers={"Location": "http://127.0.0.1:1/"}), "no answer of its API"),
        (Instead(hang=None), "no answer that counts"),
    ],
)
def test_a_failed_try_rests_and_is_made_again(
    sqlite_world: World, instead: Instead, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    world = sqlite_world
    (ada,) = _mailed(world, ADA)
    _erase(world, ada)

    def only_the_job(asked: Asked) -> Instead | None:
        return instead if asked.path.endswith("erasejob") else None

    with FakeAccount(only_the_job) as fake:
        passed = _pass_on(world, fake)
        assert (passed.taken, passed.waiting) == (0, 1)
        assert said in passed.trouble
        asked = len(fake.asked)
        assert _pass_on(world, fake, now=NOW + timedelta(hours=12)).trouble == ""
        assert len(fake.asked) == asked, "it rests"
        fake.instead = lambda _: None
        assert _pass_on(world, fake, now=NOW + timedelta(days=1)).taken == 1
        assert fake.erased == [[ADA]]
    assert "example.org" not in passed.trouble
    assert "ada" not in f"{passed} {caplog.text}".lower()


def test_lists_that_cannot_be_cleared_are_tried_again_and_one_bad_address_holds_up_nobody(
    world: World,
) -> None:
    people = _mailed(world, "ada@example.org", "bo@example.org", "cy@example.org")
    for number in people:
        _erase(world, number)

    def turned_away(asked: Asked) -> Instead | None:
        named = asked.body.get("emails") or asked.body["email_addresses"]
        return Instead(400, b"{}") if named == ["ada@example.org"] else None

    with FakeAccount(turned_away) as fake:
        passed = _pass_on(world, fake)
        assert (passed.taken, passed.waiting) == (2, 1)
        assert fake.erased == [["bo@example.org"], ["cy@example.org"]]


def test_trouble_with_the_account_ends_the_night_after_one_try(world: World) -> None:
    for number in _mailed(world, "ada@example.org", "bo@example.org"):
        _erase(world, number)
    with FakeAccount(lambda _: Instead(401, b"{}")) as fake:
        _pass_on(world, fake)
        assert len(fake.asked) == 1
    assert sorted(row.tries for row in _queued(world)) == [0, 1]


def test_the_pauses_grow_and_after_thirty_days_the_address_is_gone(world: World) -> None:
    (ada,) = _mailed(world, ADA)
    _erase(world, ada)
    tried = []
    with FakeAccount(lambda _: Instead(403, b"{}")) as fake:
        for night in range(32):
            before = len(fake.asked)
            passed = _pass_on(world, fake, now=NOW + timedelta(days=night, seconds=night % 7))
            tried += [night] if len(fake.asked) > before else []
            assert passed.given_up == (night == KEPT.days)
            with world.database.read() as session:
                said = " ".join(needed(session, RELEASE))
            assert ("has not taken 1 of the erasures" in said) == (1 <= night < KEPT.days)
    assert tried == [0, 1, 3, 7, 11, 15, 19, 23, 27]
    assert _queued(world) == []
    assert _acts(world) == ["erasure not passed on"]
    assert pause(1) == timedelta(days=1) - AN_HOUR


def test_a_damaged_row_is_passed_over(world: World) -> None:
    for number in _mailed(world, "ada@example.org", "bo@example.org"):
        _erase(world, number)
    with world.database.write() as session:
        first = session.scalars(select(ProviderErasure).order_by(ProviderErasure.id)).first()
        assert first is not None
        first.ciphertext = first.ciphertext[:-1] + b"?"
    with FakeAccount() as fake:
        assert _pass_on(world, fake).taken == 1
        assert fake.erased == [["bo@example.org"]]


def test_the_night_passes_erasures_on_where_there_is_a_key(sqlite_world: World, tmp_path: Path) -> None:
    world = sqlite_world
    (ada,) = _mailed(world, ADA)
    _erase(world, ada)
    (tmp_path / "keys.json").write_text(world.keys.to_json())
    (tmp_path / "keys.json").chmod(0o600)
    without = Install(world.settings, world.database)
    assert "1 waiting" in nightly.pass_on_erasures(without, NOW)
    with FakeAccount() as fake:
        said = {"sendgrid_api_key": SecretStr(KEY), "sendgrid_host": fake.host}
        install = Install(world.settings.model_copy(update=said), world.database)
        assert "erasures for SendGrid: 1 passed on, 0 waiting" in nightly.run(install, NOW)
    with world.database.read() as session:
        counted = select(func.count()).select_from(Disclosure).where(Disclosure.to_whom.startswith("Twilio"))
        assert session.scalar(counted) == 1


def test_an_admins_erasure_is_queued_with_the_address_that_the_admin_gave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runner = CliRunner(env={"DIGEST_HOME": str(tmp_path / "home")})
    runner.invoke(digest, ["init"])
    added = ["subscribers", "add", "-", "--where", "here", "--on", "2026-03-04", "--method", "form"]
    runner.invoke(digest, [*added, "--confirmed", "--wording", "Yes."], input=ADA)
    database = open_database(f"sqlite:///{tmp_path / 'home' / 'digest.db'}")
    with database.write() as session:
        person = session.scalars(select(Person)).one()
        person.ciphertext = person.key_id = None  # as thirty days after leaving
        said = {"purpose": "edition:2026-W01", "state": DeliveryState.ACCEPTED, "transport": "sendgrid"}
        when = dict.fromkeys(("due_at", "next_try_at", "handed_at"), RELEASE)
        session.add(Delivery(id="d" * 26, person=person.number, **said, **when))
    done = runner.invoke(digest, ["subscribers", "erase", "-", "--reason", "asked by letter"], input=ADA)
    assert done.exit_code == 0, done.output
    with database.read() as session:
        assert len(session.scalars(select(ProviderErasure)).all()) == 1
    database.close()
