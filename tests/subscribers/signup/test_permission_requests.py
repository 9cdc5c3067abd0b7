"""Imported people without evidence of consent can be asked, once."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from digest.app.sending import background_tasks
from digest.cli import digest
from digest.web.app import create_app
from subscribers.address import read_address
from subscribers.consent import audience, seals, suppression
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.stored_addresses import make_departure_hash
from subscribers.lifecycle import expiry
from subscribers.signup import rate_limits
from subscribers.store import people
from subscribers.store.models import ConsentEvent, Person, PersonState
from subscribers.store.signup_models import SignupMail
from subscribers.transfer.import_run import ImportContext
from subscribers.transfer.imports import run_import
from subscribers.transfer.list_file import survey_file
from subscribers.transfer.options import ImportOptions
from tests.sent_emails import plain_text, read_folder
from tests.subscribers.ledger_replay import find_ledger_differences
from tests.web.conftest import WebSetup, build_web_setup

BO, CY = "bo@elsewhere.example", "cy@county.example"


@pytest.fixture
def both(database: Any, tmp_path: Path) -> WebSetup:
    return build_web_setup(database, tmp_path)


def bring(world: WebSetup, *addresses: str, confirmed: str = "") -> dict[str, int]:
    folder = world.install.settings.home
    path = folder / f"{len(list(folder.glob('*.csv')))}.csv"
    path.write_text("\n".join(["email,confirmed_at", *(f"{a},{confirmed}" for a in addresses)]) + "\n")
    desk = ImportContext(world.database, world.install.keys, unsubscribe_log(world), "eve")
    report = run_import(desk, survey_file(path), ImportOptions(), now=datetime.now(UTC), on_reject=lambda *_: None)
    return {name: count for name, count in report.counts.items() if count}


def unsubscribe_log(world: WebSetup) -> UnsubscribeLog:
    return UnsubscribeLog(world.install.settings.left_log, world.install.keys)


def run(world: WebSetup, *words: str, typed: str = "") -> Result:
    url = world.database.engine.url.render_as_string(hide_password=False)
    home = str(world.install.settings.home)
    env = {"DIGEST_HOME": home, "DIGEST_DATABASE_URL": url, "DIGEST_BASE_URL": world.install.settings.link_base}
    return CliRunner(env=env).invoke(digest, ["subscribers", "ask", *words], input=typed)


def asked(world: WebSetup) -> int:
    found: int = json.loads(run(world, "--yes", "--json").output)["asked"]
    return found


def mails(world: WebSetup) -> dict[str, str]:
    """Hand over what is due; give the text of each mail by its receiver."""
    background_tasks.send_due_transactional_emails(world.install, clock=lambda: datetime.now(UTC))
    messages = read_folder(world.install.settings.outbox_folder / "notice")
    return {str(message["To"]): plain_text(message) for message in messages}


def person(world: WebSetup, address: str) -> Person | None:
    with world.database.read() as session:
        number = people.find_person_number(session, world.install.keys, read_address(address))
        return session.get(Person, number) if number else None


def sound(world: WebSetup) -> None:
    with world.database.read() as session:
        assert seals.verify_ledger(session, world.install.keys).sound
        assert list(find_ledger_differences(session)) == []


def test_who_says_yes_is_on_the_list_with_the_words_of_the_question(both: WebSetup) -> None:
    assert bring(both, BO, CY) == {"unverified": 2}
    no = run(both, typed="n\n")
    assert no.exit_code == 1
    assert "You can ask 2 people" in no.output
    assert mails(both) == {}
    assert asked(both) == 2
    mail = mails(both)
    assert set(mail) == {BO, CY}
    assert "We have no proof that you agreed" in " ".join(mail[BO].split())
    link = re.search(r"/confirm/[\w-]{22}", mail[BO])
    assert link
    client = create_app(both.install, clock=lambda: datetime.now(UTC)).test_client()
    page = client.get(link[0]).text
    assert "is on a list we received from another source (a file (imported)), so we asked you" in page
    assert "You signed up on" not in page
    assert person(both, BO).state is PersonState.REQUESTED  # type: ignore[union-attr]
    assert client.post(link[0]).status_code == 200
    bo = person(both, BO)
    assert bo is not None
    with both.database.read() as session:
        assert audience.may_email_person(session, bo.number)
        chain = session.scalars(select(ConsentEvent).where(ConsentEvent.person == bo.number)).all()
    assert [str(e.kind) for e in chain] == ["listed", "re-asked", "confirmed"]
    words = json.loads(chain[1].body)
    assert json.loads(chain[2].body)["wording_hash"] == words["wording_hash"]
    assert words["method"] == "re-permission mail"
    sound(both)


def test_nobody_is_asked_twice_and_no_later_list_has_them_asked_again(both: WebSetup) -> None:
    bring(both, BO)
    assert (asked(both), asked(both)) == (1, 0)
    later = datetime.now(UTC) + timedelta(days=8)
    expiry.expire_unconfirmed_requests(both.database, now=later)
    emptied = person(both, BO)
    assert emptied is not None, "the keyed hash stays"
    assert (emptied.ciphertext, emptied.state) == (None, PersonState.WITHDRAWN)
    assert run(both, "--yes").output.strip() == "There are no people to ask."
    assert bring(both, BO, CY) == {"left or suppressed": 1, "unverified": 1}
    assert bring(both, BO, confirmed="2020-01-01 10:00:00") == {"left or suppressed": 1}
    assert asked(both) == 1
    assert CY in mails(both)
    sound(both)


def form(world: WebSetup) -> None:
    """Have the address typed into the form, and the form answered."""
    client = create_app(world.install, clock=lambda: datetime.now(UTC)).test_client()
    fields = {"email": BO, "agree": "yes", "wording": "1"}
    assert client.post("/subscribe", data=fields).status_code == 200
    background_tasks.process_signup_requests(world.install, clock=lambda: datetime.now(UTC))


def test_whoever_was_asked_and_uses_the_form_gets_a_confirmation_of_their_own(both: WebSetup) -> None:
    bring(both, BO)
    assert asked(both) == 1
    assert set(mails(both)) == {BO}
    form(both)
    with both.database.read() as session:
        kinds = [str(k) for k in session.scalars(select(ConsentEvent.kind).order_by(ConsentEvent.id))]
        sent = session.scalars(select(SignupMail.kind).order_by(SignupMail.id)).all()
    assert kinds[-3:] == ["listed", "re-asked", "requested"]
    assert sent == ["ask", "confirm"]
    later = datetime.now(UTC) + timedelta(days=8)
    expiry.expire_unconfirmed_requests(both.database, now=later)
    emptied = person(both, BO)
    assert emptied is not None, "they were asked, and are not asked again"
    assert emptied.ciphertext is None
    sound(both)


Reason = Callable[[WebSetup], None]


def barred(world: WebSetup) -> None:
    """Their address is known to complain; the bar stands for the address alone, as after a restore."""
    with world.database.write() as session:
        key = world.install.keys.current("suppression")
        row = person(world, BO)
        assert row is not None
        assert row.lookup is not None
        hashed = make_departure_hash(key, row.lookup)
        suppression.suppress_hashes(session, [(hashed, key.id)], "complained", datetime.now(UTC))


def mailed_of_late(world: WebSetup) -> None:
    with world.database.write() as session:
        tag = rate_limits.hash_mailbox(world.install.keys, read_address(BO))
        rate_limits.record_signup_mail(session, tag, "confirm", datetime.now(UTC))


@pytest.mark.parametrize("why", [barred, mailed_of_late])
def test_who_is_suppressed_or_was_mailed_of_late_is_not_asked(both: WebSetup, why: Reason) -> None:
    bring(both, BO, CY)
    why(both)
    assert asked(both) == 1
    assert set(mails(both)) == {CY}


@pytest.mark.takes_turns
def test_as_many_as_wanted_are_asked_and_the_rest_the_next_time(both: WebSetup) -> None:
    bring(both, *(f"r{n}@county.example" for n in range(70)))
    assert json.loads(run(both, "--yes", "--json", "--most", "60").output) == {"could": 70, "asked": 60}
    assert json.loads(run(both, "--yes", "--json", "--most", "60").output) == {"could": 10, "asked": 10}


def test_a_complaint_between_question_and_mail_stops_it(both: WebSetup) -> None:
    bring(both, BO)
    assert asked(both) == 1
    with both.database.write() as session:
        suppression.suppress_address(
            session,
            both.install.keys,
            read_address(BO),
            reason="complained",
            actor="hook",
            now=datetime.now(UTC),
            unsubscribe_log=unsubscribe_log(both),
        )
    assert mails(both) == {}
