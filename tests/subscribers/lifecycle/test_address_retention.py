"""An address is deleted thirty days after its owner unsubscribes, but what keeps them off the list stays."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.store.engine import Database
from subscribers.address import read_address
from subscribers.consent import ledger, seals, suppression
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.lifecycle import expiry, undo
from subscribers.lifecycle.erasure import erase_person
from subscribers.lifecycle.expiry import ADDRESS_RETENTION, delete_expired_addresses
from subscribers.lifecycle.feedback import DeliveryFeedbackKind, DeliveryFeedbackReport, apply_feedback_to_person
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.signup import manual_signup
from subscribers.signup.manual_signup import ConsentEvidence
from subscribers.store import one_time_tokens, people
from subscribers.store.key_rotation import rotate_key
from subscribers.store.models import ConsentKind, Person, PersonState, Suppression
from subscribers.transfer.decisions import RowOutcome
from subscribers.transfer.import_run import ImportContext
from subscribers.transfer.imports import run_import
from subscribers.transfer.list_file import survey_file
from subscribers.transfer.options import ImportOptions
from tests.conftest import forget_nowhere_else
from tests.moments import AFTER_RELEASE as NOW
from tests.subscribers.ledger_replay import find_ledger_differences

LATER = NOW + ADDRESS_RETENTION
YES = ConsentEvidence("Yes.", "1", "en", "hls.today", "form", "eve", NOW, kind=ConsentKind.CONFIRMED)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    KeyRing.create(tmp_path / "keys.json")
    return tmp_path / "keys.json"


@pytest.fixture
def keys(path: Path) -> KeyRing:
    return KeyRing.load(path)


@pytest.fixture
def unsubscribe_log(tmp_path: Path, keys: KeyRing) -> UnsubscribeLog:
    return UnsubscribeLog(tmp_path / "left.log", keys)


def _add(database: Database, keys: KeyRing, name: str) -> int:
    with database.write() as session:
        return manual_signup.add_subscriber(session, keys, f"{name}@example.org", evidence=YES, now=NOW).number


def _gone(database: Database, keys: KeyRing, unsubscribe_log: UnsubscribeLog, name: str, at: datetime = NOW) -> int:
    number = _add(database, keys, name)
    with database.write() as session:
        unsubscribe_person(session, unsubscribe_log, number, method="page", now=at)
    return number


def _person(database: Database, number: int) -> Person:
    with database.read() as session:
        return session.get_one(Person, number)


def _sound(database: Database, keys: KeyRing) -> None:
    with database.read() as session:
        assert seals.verify_ledger(session, keys).sound
        assert list(find_ledger_differences(session)) == []


def _suppress(
    database: Database, keys: KeyRing, unsubscribe_log: UnsubscribeLog, name: str, reason: suppression.SuppressionReason
) -> None:
    with database.write() as session:
        address = read_address(f"{name}@example.org")
        suppression.suppress_address(
            session, keys, address, reason=reason, actor="hook", now=NOW, unsubscribe_log=unsubscribe_log
        )


def _import(
    database: Database, keys: KeyRing, unsubscribe_log: UnsubscribeLog, file: Path, now: datetime
) -> dict[str, int]:
    desk = ImportContext(database, keys, unsubscribe_log, "eve")
    report = run_import(desk, survey_file(file), ImportOptions(), now=now, on_reject=lambda *_: None)
    return {name: count for name, count in report.counts.items() if count}


def _list(tmp_path: Path, *names: str, confirmed: bool = True) -> Path:
    day = "2020-01-01 10:00:00" if confirmed else ""
    rows = [f"{name}@example.org,{day},{'203.0.113.9' if day else ''}" for name in names]
    text = "\n".join(["Email Address,CONFIRM_TIME,CONFIRM_IP", *rows]) + "\n"
    path = tmp_path / f"{hashlib.sha256(text.encode()).hexdigest()[:8]}.csv"
    path.write_text(text)
    return path


@pytest.mark.takes_turns
def test_the_address_goes_after_30_days_and_the_look_up_stays(
    database: Database, keys: KeyRing, unsubscribe_log: UnsubscribeLog
) -> None:
    ada, bo = _gone(database, keys, unsubscribe_log, "ada"), _add(database, keys, "bo")
    before = _person(database, ada)
    assert delete_expired_addresses(database, now=LATER - timedelta(seconds=1)) == 0
    assert _person(database, ada).ciphertext == before.ciphertext
    assert delete_expired_addresses(database, now=LATER) == 1
    after = _person(database, ada)
    assert (after.ciphertext, after.key_id, after.domain_tag) == (None, None, None)
    assert (after.lookup, after.state) == (before.lookup, PersonState.WITHDRAWN)
    assert _person(database, bo).ciphertext is not None
    assert delete_expired_addresses(database, now=LATER) == 0
    _sound(database, keys)


@pytest.mark.takes_turns
def test_who_took_it_back_stays_and_who_left_anew_has_30_days_again(
    database: Database, keys: KeyRing, unsubscribe_log: UnsubscribeLog
) -> None:
    ada = _gone(database, keys, unsubscribe_log, "ada")
    with database.write() as session:
        token = undo.issue_undo_token(session, ada, now=NOW)
        assert undo.undo_unsubscribe(session, keys, token, now=NOW + timedelta(days=6)).undone
    assert delete_expired_addresses(database, now=LATER) == 0
    left_anew = NOW + timedelta(days=20)
    with database.write() as session:
        unsubscribe_person(session, unsubscribe_log, ada, method="page", now=left_anew)
    assert delete_expired_addresses(database, now=LATER) == 0
    assert delete_expired_addresses(database, now=left_anew + ADDRESS_RETENTION) == 1


@pytest.mark.takes_turns
@pytest.mark.parametrize("reason", ["bounced", "complained", "by an admin"])
def test_who_was_suppressed_goes_alike_and_stays_suppressed(
    database: Database,
    keys: KeyRing,
    unsubscribe_log: UnsubscribeLog,
    tmp_path: Path,
    reason: suppression.SuppressionReason,
) -> None:
    ada = _add(database, keys, "ada")
    _suppress(database, keys, unsubscribe_log, "ada", reason)
    assert delete_expired_addresses(database, now=LATER) == 1
    assert _person(database, ada).ciphertext is None
    with database.read() as session:
        suppressed = suppression.find_suppression(session, keys, read_address("ada@example.org"))
    assert suppressed is not None
    assert suppressed.reason == reason
    counts = _import(database, keys, unsubscribe_log, _list(tmp_path, "ada"), LATER)
    assert counts == {RowOutcome.LEFT_OR_SUPPRESSED: 1}
    _sound(database, keys)


@pytest.mark.takes_turns
def test_a_complaint_that_follows_keeps_no_address_longer(
    database: Database, keys: KeyRing, unsubscribe_log: UnsubscribeLog
) -> None:
    ada = _gone(database, keys, unsubscribe_log, "ada", at=NOW - timedelta(days=29))
    _suppress(database, keys, unsubscribe_log, "ada", "complained")
    assert _person(database, ada).state is PersonState.SUPPRESSED
    assert delete_expired_addresses(database, now=NOW + timedelta(days=1)) == 1


def test_of_people_whom_a_list_named_without_evidence_nothing_stays(
    database: Database, keys: KeyRing, unsubscribe_log: UnsubscribeLog, tmp_path: Path
) -> None:
    file = _list(tmp_path, "ada", confirmed=False)
    assert _import(database, keys, unsubscribe_log, file, NOW) == {RowOutcome.UNVERIFIED: 1}
    assert delete_expired_addresses(database, now=LATER - timedelta(hours=1)) == 0
    assert delete_expired_addresses(database, now=LATER) == 1
    with database.read() as session:
        (row,) = session.scalars(select(Person))
        assert session.scalars(select(Suppression)).all() == []
    assert (row.ciphertext, row.lookup, row.state) == (None, None, PersonState.WITHDRAWN)
    assert _import(database, keys, unsubscribe_log, _list(tmp_path, "ada"), LATER)[RowOutcome.SUBSCRIBED] == 1
    _sound(database, keys)


def test_who_is_asked_again_keeps_the_address_while_they_can_answer(
    database: Database, keys: KeyRing, unsubscribe_log: UnsubscribeLog
) -> None:
    ada = _gone(database, keys, unsubscribe_log, "ada")
    with database.write() as session:
        person = ledger.lock_person(session, ada)
        assert person is not None
        event = ledger.append_event(session, person, ConsentKind.REQUESTED, {}, LATER)
        until = LATER + timedelta(days=7)
        one_time_tokens.issue_token(session, "confirm", ada, now=LATER, expires_at=until, serial=str(event.seq))
    assert delete_expired_addresses(database, now=LATER) == 0
    assert delete_expired_addresses(database, now=until) == 1


@contextmanager
def _nothing_more() -> Iterator[Session]:
    raise ConnectionError("the database is gone")
    yield


class _Failing:
    """Books that fail at a certain write."""

    def __init__(self, database: Database, at: int) -> None:
        self.database, self.at = database, at

    def read(self) -> object:
        return self.database.read()

    def write(self) -> object:
        self.at -= 1
        return _nothing_more() if self.at < 0 else self.database.write()


def test_a_run_that_is_cut_short_is_finished_by_the_next(
    database: Database, keys: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "ADDRESS_BATCH_SIZE", 25)
    with database.write() as session:
        for n in range(45):
            number = manual_signup.add_subscriber(session, keys, f"r{n}@example.org", evidence=YES, now=NOW).number
            person = ledger.lock_person(session, number)
            assert person is not None
            ledger.append_event(session, person, ConsentKind.WITHDRAWN, {"method": "page"}, NOW)
    with pytest.raises(ConnectionError):
        delete_expired_addresses(_Failing(database, 1), now=LATER)  # type: ignore[arg-type]
    assert delete_expired_addresses(database, now=LATER) == 20
    with database.read() as session:
        assert session.scalars(select(Person).where(Person.ciphertext.is_not(None))).all() == []
    _sound(database, keys)


@pytest.mark.takes_turns
def test_new_keys_still_find_who_was_let_go(
    database: Database, keys: KeyRing, unsubscribe_log: UnsubscribeLog, path: Path, tmp_path: Path
) -> None:
    ada = _gone(database, keys, unsubscribe_log, "ada")
    delete_expired_addresses(database, now=LATER)
    for kind in ("vault", "lookup"):
        assert rotate_key(database, path, kind).unmoved_rows == ()
    newer = KeyRing.load(path)
    with database.read() as session:
        assert people.find_person_number(session, newer, read_address("ada@example.org")) == ada
    assert _import(database, newer, unsubscribe_log, _list(tmp_path, "ada"), LATER) == {
        RowOutcome.LEFT_OR_SUPPRESSED: 1
    }
    with pytest.raises(manual_signup.SignupRefusedError, match="its owner unsubscribed"):
        _add(database, newer, "ada")


@pytest.mark.takes_turns
def test_a_complaint_about_who_was_let_go_suppresses_the_address_and_is_logged(
    database: Database, keys: KeyRing, unsubscribe_log: UnsubscribeLog
) -> None:
    ada = _gone(database, keys, unsubscribe_log, "ada")
    delete_expired_addresses(database, now=LATER)
    with database.write() as session:
        report = DeliveryFeedbackReport(ada, DeliveryFeedbackKind.COMPLAINED, LATER, "mailbox", {})
        changed, departed = apply_feedback_to_person(session, keys, report, now=LATER)
        unsubscribe_log.append_all([departed] if departed else [], at=LATER)
    assert changed
    assert [d.kind for d in unsubscribe_log.read()] == ["left", "complained"]
    with database.read() as session:
        suppressed = suppression.find_suppression(session, keys, read_address("ada@example.org"))
    assert suppressed is not None
    assert suppressed.reason == "complained"
    _sound(database, keys)


@pytest.mark.takes_turns
@pytest.mark.parametrize("known", [True, False])
def test_who_was_let_go_can_still_be_erased_and_stays_away(
    database: Database,
    keys: KeyRing,
    unsubscribe_log: UnsubscribeLog,
    tmp_path: Path,
    known: bool,  # noqa: FBT001
) -> None:
    ada = _gone(database, keys, unsubscribe_log, "ada")
    delete_expired_addresses(database, now=LATER)
    address = read_address("ada@example.org") if known else None
    with database.write() as session:
        assert erase_person(
            session,
            keys,
            unsubscribe_log,
            ada,
            method="admin: by letter",
            forget_elsewhere=forget_nowhere_else,
            now=LATER,
            address=address,
        )
    row = _person(database, ada)
    assert row.state is PersonState.ERASED
    assert (row.lookup is None) is known  # where the address is not known, the look-up is the only bar there is
    assert _import(database, keys, unsubscribe_log, _list(tmp_path, "ada"), LATER) == {RowOutcome.LEFT_OR_SUPPRESSED: 1}
    assert [d.kind for d in unsubscribe_log.read()] == ["left", "erased"]
    _sound(database, keys)
