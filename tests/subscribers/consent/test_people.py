import json
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from digest.store.engine import Database
from subscribers.address import read_address
from subscribers.consent import audience, seals, suppression
from subscribers.consent.preferences import Preferences, PreferencesError, change_preferences
from subscribers.consent.unsubscribe_log import PendingUnsubscribeLogEntry, UnsubscribeLog, UnsubscribeLogError
from subscribers.crypto.keys import KeyRing
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.signup import manual_signup
from subscribers.signup.manual_signup import ConsentEvidence, SignupRefusedError
from subscribers.store.models import ConsentEvent, ConsentKind, Person, PersonState, Suppression
from tests.moments import AFTER_RELEASE as NOW

KEYS = KeyRing.from_seed(b"people tests")
PAPER = ConsentEvidence(
    wording="Please send me the weekly digest.",
    wording_version="1",
    language="en",
    page="hls.today",
    method="signed paper list",
    actor="eve@example.org",
    agreed_at=NOW - timedelta(days=30),
)


def _add(database: Database, name: str, evidence: ConsentEvidence = PAPER) -> manual_signup.ManualSignup:
    with database.write() as session:
        return manual_signup.add_subscriber(session, KEYS, f"{name}@example.org", evidence=evidence, now=NOW)


def _leave(database: Database, unsubscribe_log: UnsubscribeLog, number: int) -> bool:
    with database.write() as session:
        return unsubscribe_person(session, unsubscribe_log, number, method="one-click", now=NOW)


def _events(database: Database, number: int) -> list[ConsentEvent]:
    with database.read() as session:
        query = select(ConsentEvent).where(ConsentEvent.person == number).order_by(ConsentEvent.seq)
        return list(session.scalars(query))


@pytest.fixture
def unsubscribe_log(tmp_path: Path) -> UnsubscribeLog:
    return UnsubscribeLog(tmp_path / "left.log", KEYS)


@pytest.mark.takes_turns
def test_a_person_is_added_with_the_words_they_agreed_to(database: Database) -> None:
    added = _add(database, "ada")
    assert not added.already_subscribed
    (event,) = _events(database, added.number)
    fields = json.loads(event.body)
    assert event.kind == ConsentKind.ATTESTED
    assert (fields["wording"], fields["method"], fields["actor"]) == (PAPER.wording, PAPER.method, PAPER.actor)
    assert fields["agreed_at"] == "2026-10-21T12:00:00.000+00:00"
    assert "ada@" not in event.body
    with database.read() as session:
        (subscriber,) = audience.load_audience_page(session)
    assert (subscriber.decrypt_address(KEYS), subscriber.asked_where, subscriber.asked_at) == (
        "ada@example.org",
        "hls.today",
        PAPER.agreed_at,
    )


def test_a_consent_confirmed_by_mail_is_recorded_as_that(one_database: Database) -> None:
    added = _add(one_database, "ada", replace(PAPER, kind=ConsentKind.CONFIRMED))
    assert _events(one_database, added.number)[0].kind == ConsentKind.CONFIRMED


@pytest.mark.takes_turns
def test_adding_twice_says_so_and_changes_nothing(database: Database) -> None:
    first = _add(database, "ada")
    assert _add(database, "ADA") == manual_signup.ManualSignup(first.number, already_subscribed=True)
    assert len(_events(database, first.number)) == 1


@pytest.mark.takes_turns
def test_nobody_who_left_is_added_again(database: Database, unsubscribe_log: UnsubscribeLog) -> None:
    ada = _add(database, "ada").number
    _leave(database, unsubscribe_log, ada)
    with pytest.raises(SignupRefusedError, match="withdrawn because its owner unsubscribed"):
        _add(database, "ada")
    with database.read() as session:
        assert not audience.may_email_person(session, ada)


@pytest.mark.takes_turns
@pytest.mark.parametrize("known", [True, False])
def test_nobody_who_is_suppressed_is_added(
    database: Database,
    unsubscribe_log: UnsubscribeLog,
    known: bool,  # noqa: FBT001
) -> None:
    number = _add(database, "cy").number if known else 0
    with database.write() as session:
        for _ in range(2):
            suppression.suppress_address(
                session,
                KEYS,
                read_address("Cy@example.org"),
                reason="complained",
                actor="webhook",
                now=NOW,
                unsubscribe_log=unsubscribe_log,
            )
    with pytest.raises(SignupRefusedError, match=r"suppressed \(complained, 2026-11-20\)"):
        _add(database, "cy")
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Suppression)) == 1
        assert not audience.may_email_person(session, number)
        assert seals.verify_ledger(session, KEYS).sound


def test_evidence_of_the_future_is_refused(one_database: Database) -> None:
    with pytest.raises(SignupRefusedError, match="future"):
        _add(one_database, "ada", replace(PAPER, agreed_at=NOW + timedelta(days=1)))


def _stream(session: Session, page_size: int) -> Iterator[audience.AudienceMember]:
    after = 0
    while page := audience.load_audience_page(session, after_number=after, page_size=page_size):
        yield from page
        after = page[-1].number


@pytest.mark.takes_turns
def test_the_audience_gives_everybody_once_in_order_whatever_the_page(
    database: Database, unsubscribe_log: UnsubscribeLog
) -> None:
    numbers = [_add(database, f"reader{n}").number for n in range(25)]
    for number in numbers[::5]:
        _leave(database, unsubscribe_log, number)
    expected = [n for i, n in enumerate(numbers) if i % 5]
    for batch in (1, 3, 20, 21, 1000):
        with database.read() as session:
            assert [r.number for r in _stream(session, batch)] == expected
    with database.read() as session:
        assert audience.count_audience(session) == 20
        assert audience.filter_mailable(session, numbers[:6]) == frozenset(expected[:4])
        assert audience.count_people_by_state(session)[PersonState.WITHDRAWN] == 5


@pytest.mark.takes_turns
def test_somebody_who_leaves_while_the_audience_is_read_is_not_given(
    database: Database, unsubscribe_log: UnsubscribeLog
) -> None:
    numbers = [_add(database, f"reader{n}").number for n in range(6)]
    seen = []
    with database.read() as session:
        for subscriber in _stream(session, 2):
            seen.append(subscriber.number)
            session.rollback()  # as a sender does, who holds no transaction between two pages
            if subscriber.number == numbers[0]:
                _leave(database, unsubscribe_log, numbers[4])
    assert seen == [*numbers[:4], numbers[5]]


@pytest.mark.takes_turns
def test_leaving_twice_is_one_event_and_one_line(database: Database, unsubscribe_log: UnsubscribeLog) -> None:
    ada = _add(database, "ada").number
    assert _leave(database, unsubscribe_log, ada)
    assert not _leave(database, unsubscribe_log, ada)
    assert not _leave(database, unsubscribe_log, 10**6)
    assert [e.kind for e in _events(database, ada)] == [ConsentKind.ATTESTED, ConsentKind.WITHDRAWN]
    (line,) = unsubscribe_log.read()
    with database.read() as session:
        person = session.get_one(Person, ada)
    assert person.lookup is not None
    assert (line.person_hash, line.kind, line.at) == (unsubscribe_log.hash_lookup(person.lookup), "left", NOW)


def test_a_departure_is_on_disk_before_its_commit_and_hides_who_it_was(
    one_database: Database, unsubscribe_log: UnsubscribeLog
) -> None:
    ada = _add(one_database, "ada").number
    with one_database.write() as session:
        unsubscribe_person(session, unsubscribe_log, ada, method="page", now=NOW)
        text = unsubscribe_log.path.read_text()
    assert text.count("\n") == 1
    assert "ada@" not in text
    assert stat.S_IMODE(unsubscribe_log.path.stat().st_mode) == 0o600


def test_a_departure_that_cannot_be_logged_is_no_departure(one_database: Database, tmp_path: Path) -> None:
    ada = _add(one_database, "ada").number
    (tmp_path / "left.log").mkdir()
    with pytest.raises(OSError, match="directory"):
        _leave(one_database, UnsubscribeLog(tmp_path / "left.log", KEYS), ada)
    with one_database.read() as session:
        assert audience.may_email_person(session, ada)


def test_unsubscribe_log_lines_from_many_threads_make_one_chain(unsubscribe_log: UnsubscribeLog) -> None:
    def many(name: int) -> None:
        for n in range(20):
            unsubscribe_log.append(PendingUnsubscribeLogEntry(f"{name}-{n}", "1-key", "left"), at=NOW)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(many, range(4)))
    assert {d.person_hash for d in unsubscribe_log.read()} == {
        unsubscribe_log.hash_lookup(f"{a}-{b}") for a in range(4) for b in range(20)
    }


def test_a_changed_or_missing_unsubscribe_log_line_is_found_and_a_torn_one_is_passed_over(
    unsubscribe_log: UnsubscribeLog,
) -> None:
    for name in "abc":
        unsubscribe_log.append(PendingUnsubscribeLogEntry(name, "1-key", "left"), at=NOW)
    lines = unsubscribe_log.path.read_bytes().splitlines(keepends=True)
    for damaged in (lines[0].replace(b"left", b"kept"), b"", b"{}\n", b"nonsense\n"):
        unsubscribe_log.path.write_bytes(damaged + lines[1] + lines[2])
        with pytest.raises(UnsubscribeLogError, match=r"Line [12] of .*left\.log"):
            list(unsubscribe_log.read())
    unsubscribe_log.path.write_bytes(b"".join(lines) + lines[0][:50])
    assert len(list(unsubscribe_log.read())) == 3
    unsubscribe_log.append(PendingUnsubscribeLogEntry("d", "1-key", "left"), at=NOW)
    assert len(list(unsubscribe_log.read())) == 4
    assert list(unsubscribe_log.path.parent.iterdir()) == [unsubscribe_log.path]


@pytest.mark.takes_turns
def test_choices_are_kept_with_an_event_and_only_when_they_change(database: Database) -> None:
    ada = _add(database, "ada").number
    preferences = Preferences(
        frozenset({"products", "events"}), text_only=True, pause_until=date(2026, 12, 24), short=True
    )
    for changed in (True, False):
        with database.write() as session:
            assert change_preferences(session, ada, preferences, NOW) is changed
    event = _events(database, ada)[-1]
    assert event.kind == ConsentKind.CHOICES_CHANGED
    assert json.loads(event.body)["after"]["omit"] == ["events", "products"]
    with database.read() as session:
        (subscriber,) = audience.load_audience_page(session)
    assert subscriber.preferences == preferences == Preferences.from_json(preferences.as_json())


def test_a_pause_ends_on_its_day() -> None:
    paused = Preferences(pause_until=date(2026, 12, 24))
    assert paused.is_paused(date(2026, 12, 23))
    assert not paused.is_paused(date(2026, 12, 24))


@pytest.mark.parametrize(
    "said",
    [
        {"omit": "events"},
        {"omit": ["Events!"]},
        {"omit": [1]},
        {"text_only": "yes"},
        {"short": "yes"},
        {"pause_until": "soon"},
        {"pause_until": 5},
        {"hour": 3},
    ],
)
def test_choices_that_make_no_sense_name_their_field(said: dict[str, object]) -> None:
    with pytest.raises(PreferencesError, match=next(iter(said))):
        Preferences.from_json(said)
