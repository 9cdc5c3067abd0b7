"""Subscribers who have been inactive for long can be asked, once, whether they still want the emails."""

import json
import re
from datetime import datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from digest.app.sending import background_tasks
from digest.app.subscribers.inactivity_questions import ask_inactive_subscribers, count_inactive_subscribers
from digest.app.upkeep.nightly_steps import unsubscribe_nonresponders
from digest.installation.audited_actions import make_terminal_actor
from digest.web.app import create_app
from subscribers.consent import ledger, seals
from subscribers.consent.preferences import Preferences, change_preferences
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.lifecycle.inactivity_questions import ANSWER_PERIOD
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.signup.manual_signup import ConsentEvidence, add_subscriber
from subscribers.store import one_time_tokens
from subscribers.store.models import ConsentEvent, ConsentKind, ImportBatch, Person, PersonState
from tests.moments import DRAFTING as NOW
from tests.sent_emails import plain_text, read_folder
from tests.subscribers.ledger_replay import find_ledger_differences
from tests.web.conftest import WebSetup, build_web_setup

ADMIN = make_terminal_actor("eve")


@pytest.fixture
def both(database: Any, tmp_path: Path) -> WebSetup:
    return build_web_setup(database, tmp_path)


def add_old_subscriber(world: WebSetup, name: str, *, years: float) -> int:
    """Add a reader who agreed so many years ago, and has done nothing since."""
    agreed_at = NOW - timedelta(days=365.25 * years)
    evidence = ConsentEvidence("Send it to me.", "1", "en", "hls.today", "signed list", "eve", agreed_at)
    with world.database.write() as session:
        return add_subscriber(
            session, world.install.keys, f"{name}@county.example", evidence=evidence, now=agreed_at
        ).number


def ask(world: WebSetup, *, years: int = 2, takes_off: bool = False, limit: int = 50, now: datetime = NOW) -> int:
    return ask_inactive_subscribers(world.install, ADMIN, years, takes_off=takes_off, limit=limit, now=now)


def count(world: WebSetup, years: int = 2, *, now: datetime = NOW) -> int:
    return count_inactive_subscribers(world.install, ADMIN, years, now=now)


def mails(world: WebSetup, now: datetime = NOW) -> dict[str, Any]:
    """Hand over what is due; give the mails by their receivers."""
    background_tasks.send_due_transactional_emails(world.install, clock=lambda: now)
    return {str(message["To"]): message for message in read_folder(world.install.settings.outbox_folder / "notice")}


def text_of(message: EmailMessage) -> str:
    return " ".join(plain_text(message).split())


def link_of(message: Any) -> str:
    found = re.search(r"/stay/[\w-]{22}", text_of(message))
    assert found
    return found[0]


def person(world: WebSetup, number: int) -> Person:
    with world.database.read() as session:
        return session.get_one(Person, number)


def chain(world: WebSetup, number: int) -> list[ConsentEvent]:
    with world.database.read() as session:
        events = select(ConsentEvent).where(ConsentEvent.person == number).order_by(ConsentEvent.seq)
        return list(session.scalars(events))


def assert_sound(world: WebSetup) -> None:
    with world.database.read() as session:
        assert seals.verify_ledger(session, world.install.keys).sound
        assert list(find_ledger_differences(session)) == []


@pytest.mark.takes_turns
def test_only_who_was_silent_for_so_long_is_counted(both: WebSetup) -> None:
    old, chose, left, importing = (
        add_old_subscriber(both, name, years=3) for name in ("old", "chose", "left", "importing")
    )
    add_old_subscriber(both, "new", years=1)
    with both.database.write() as session:
        change_preferences(session, chose, Preferences(text_only=True), NOW - timedelta(days=300))
        log = UnsubscribeLog(both.install.settings.left_log, both.install.keys)
        unsubscribe_person(session, log, left, method="page", now=NOW - timedelta(days=600))
        batch = ImportBatch(origin="x", file_hash="0", options={}, actor="x", started_at=NOW, counts={})
        session.add(batch)
        session.flush()
        session.get_one(Person, importing).batch = batch.id
    assert (count(both), count(both, 1), count(both, 5)) == (1, 2, 0)
    assert (ask(both), ask(both)) == (1, 0)
    assert [str(event.kind) for event in chain(both, old)] == ["attested", "re-asked"]


def test_preferences_that_an_import_set_are_no_sign_of_life(both: WebSetup) -> None:
    number = add_old_subscriber(both, "old", years=3)

    def set_preferences_by_import(now: datetime) -> None:
        with both.database.write() as session:
            row = ledger.lock_person(session, number)
            assert row is not None
            body = {"before": {}, "after": {}, "batch": 5}
            ledger.append_event(session, row, ConsentKind.CHOICES_CHANGED, body, now)

    set_preferences_by_import(NOW - timedelta(days=30))
    assert (count(both), ask(both, takes_off=True)) == (1, 1)
    set_preferences_by_import(NOW + timedelta(days=1))
    assert count(both) == 0, "not asked twice"
    assert unsubscribe_nonresponders(both.install, NOW + ANSWER_PERIOD).startswith("1 ")


@pytest.mark.takes_turns
def test_a_yes_is_a_new_consent_and_the_first_one_stays_in_mind(both: WebSetup) -> None:
    number = add_old_subscriber(both, "old", years=3)
    before = person(both, number)
    assert ask(both) == 1
    message = mails(both)["old@county.example"]
    assert "We don’t track who opens it" in text_of(message)
    assert "you’ll stay subscribed, and we won’t ask again" in text_of(message)
    assert "If you still want the newsletter, please confirm:" in text_of(message)
    assert "To stay subscribed, please confirm" not in text_of(message)
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    client = create_app(both.install, clock=lambda: NOW).test_client()
    assert "If you close this page, you’ll stay subscribed." in client.get(link_of(message)).text
    assert len(chain(both, number)) == 2, "a link that is opened changes nothing"
    assert "We’ve recorded your answer." in client.post(link_of(message)).text
    assert "has already been used" in client.post(link_of(message)).text
    events, after = chain(both, number), person(both, number)
    assert [str(event.kind) for event in events] == ["attested", "re-asked", "confirmed"]
    body = json.loads(events[-1].body)
    assert (body["method"], body["wording_hash"]) == (
        "answer to a question after a long silence",
        json.loads(events[1].body)["wording_hash"],
    )
    assert (after.asked_at, after.asked_where, after.state) == (before.asked_at, "hls.today", PersonState.SUBSCRIBED)
    assert list(mails(both)) == ["old@county.example"], "no welcome to somebody who was there"
    later = [count(both, now=NOW + timedelta(days=days)) for days in (365, 800)]
    assert later == [0, 2], "a yes counts as a word; Ada is silent by then too"
    assert_sound(both)


@pytest.mark.takes_turns
@pytest.mark.parametrize("takes_off", [True, False])
def test_who_does_not_answer_leaves_only_where_the_mail_said_so(both: WebSetup, *, takes_off: bool) -> None:
    number, chose = (add_old_subscriber(both, name, years=3) for name in ("old", "chose"))
    assert ask(both, takes_off=takes_off) == 2
    message = mails(both)["old@county.example"]
    assert ("by then, we’ll unsubscribe you" in text_of(message)) == takes_off
    with both.database.write() as session:
        change_preferences(session, chose, Preferences(text_only=True), NOW + timedelta(days=3))
    over = NOW + ANSWER_PERIOD
    assert unsubscribe_nonresponders(both.install, over - timedelta(minutes=1)).startswith("0 ")
    assert unsubscribe_nonresponders(both.install, over).startswith("1 " if takes_off else "0 ")
    assert unsubscribe_nonresponders(both.install, over).startswith("0 ")
    state = PersonState.WITHDRAWN if takes_off else PersonState.SUBSCRIBED
    assert (person(both, number).state, person(both, chose).state) == (state, PersonState.SUBSCRIBED)
    client = create_app(both.install, clock=lambda: over).test_client()
    late = client.post(link_of(message))
    assert (late.status_code, "more than 30 days old" in late.text) == (410, True)
    assert person(both, number).state is state
    assert count(both, now=over) == 0, "nobody is asked twice"
    assert_sound(both)


def test_who_left_meanwhile_does_not_come_back_by_the_link(both: WebSetup) -> None:
    number = add_old_subscriber(both, "old", years=3)
    ask(both, takes_off=True)
    message = mails(both)["old@county.example"]
    with both.database.write() as session:
        log = UnsubscribeLog(both.install.settings.left_log, both.install.keys)
        unsubscribe_person(session, log, number, method="page", now=NOW)
    client = create_app(both.install, clock=lambda: NOW).test_client()
    assert client.post(link_of(message)).status_code == 410
    assert person(both, number).state is PersonState.WITHDRAWN
    assert unsubscribe_nonresponders(both.install, NOW + ANSWER_PERIOD).startswith("0 ")
    assert [str(event.kind) for event in chain(both, number)] == ["attested", "re-asked", "withdrawn"]


@pytest.mark.takes_turns
def test_as_many_as_one_says_are_asked_who_came_first_first(both: WebSetup) -> None:
    numbers = [add_old_subscriber(both, f"r{n}", years=4) for n in range(3)]
    assert (ask(both, limit=2), count(both)) == (2, 1)
    assert [len(chain(both, number)) for number in numbers] == [2, 2, 1]


@pytest.mark.takes_turns
def test_a_question_is_settled_however_late_the_night_comes(both: WebSetup) -> None:
    number = add_old_subscriber(both, "old", years=3)
    ask(both, takes_off=True)
    late = NOW + ANSWER_PERIOD + timedelta(days=100)
    with both.database.write() as session:
        one_time_tokens.delete_old_tokens(session, now=late)
    assert unsubscribe_nonresponders(both.install, late).startswith("1 ")
    assert person(both, number).state is PersonState.WITHDRAWN
