"""A row with invalid ciphertext is reported, shown, and erased, and doesn't hold up anyone else."""

import csv
import io
from datetime import date

import pytest
from sqlalchemy import select, text, update

from digest.templating import create_jinja_environment
from subscribers.address import read_address
from subscribers.consent import seals, suppression
from subscribers.consent.audience import load_audience_page
from subscribers.consent.preferences import Preferences, change_preferences
from subscribers.consent.readable_record import PublicationFacts, build_record_context
from subscribers.consent.unsubscribe_log import PendingUnsubscribeLogEntry, UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.crypto.stored_addresses import make_lookup_hash
from subscribers.lifecycle import feedback, unsubscribe_log_merge
from subscribers.lifecycle.erasure import erase_person
from subscribers.lifecycle.feedback import DeliveryFeedbackKind, DeliveryFeedbackReport
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.signup import manual_signup
from subscribers.signup.manual_signup import ConsentEvidence
from subscribers.store.database import PeopleDatabase
from subscribers.store.models import ConsentKind, ListExport, Person, PersonState
from subscribers.transfer.exports import DataController, ExportRecipient, build_person_record, export_list
from tests.conftest import forget_nowhere_else
from tests.moments import AFTER_RELEASE as NOW

KEYS = KeyRing.from_seed(b"damaged rows")
YES = ConsentEvidence("Yes.", "1", "en", "hls.today", "form", "eve", NOW, kind=ConsentKind.CONFIRMED)
ADA = read_address("ada@example.org")


def _add(database: PeopleDatabase, name: str) -> int:
    with database.write() as session:
        return manual_signup.add_subscriber(session, KEYS, f"{name}@example.org", evidence=YES, now=NOW).number


@pytest.fixture
def ada(database: PeopleDatabase) -> int:
    """Give the number of a reader whose row is damaged, with another reader behind her."""
    number = _add(database, "ada")
    _add(database, "bo")
    with database.write() as session:
        session.execute(update(Person).where(Person.number == number).values(ciphertext=b"\x9b" * 61))
    return number


def _state(database: PeopleDatabase, number: int) -> PersonState:
    with database.read() as session:
        return session.get_one(Person, number).state


def _log(tmp_path_factory: pytest.TempPathFactory) -> UnsubscribeLog:
    return UnsubscribeLog(tmp_path_factory.mktemp("home") / "left.log", KEYS)


# PostgreSQL takes no text that is not JSON into the column.
@pytest.mark.parametrize(
    "written",
    ['{"omit": 7}', '"often"', *(pytest.param(text, marks=pytest.mark.sqlite) for text in ("no JSON", b"\x00\xff"))],
)
def test_choices_that_cannot_be_read_hold_up_nobody_and_are_made_anew(
    one_database: PeopleDatabase, written: str | bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ada, bo = _add(one_database, "ada"), _add(one_database, "bo")
    with one_database.write() as session:
        session.execute(
            text("UPDATE person SET choices = :written WHERE number = :ada"), {"written": written, "ada": ada}
        )
    with one_database.read() as session:
        mailed = load_audience_page(session)
        broken = seals.verify_ledger(session, KEYS).broken
    assert broken is not None
    assert (broken.person, "until the subscriber chooses again" in broken.fault) == (ada, True)
    assert [(member.number, member.preferences) for member in mailed] == [
        (ada, Preferences(is_readable=False)),
        (bo, Preferences()),
    ]
    assert mailed[0].preferences.is_paused(date.max)
    with one_database.write() as session:
        assert change_preferences(session, ada, Preferences(text_only=True), NOW)
    with one_database.read() as session:
        assert seals.verify_ledger(session, KEYS).sound
    with one_database.write() as session:
        unsubscribe_person(session, _log(tmp_path_factory), ada, method="page", now=NOW)
    assert _state(one_database, ada) is PersonState.WITHDRAWN


@pytest.mark.takes_turns
def test_it_is_named_by_verify(database: PeopleDatabase, ada: int) -> None:
    with database.read() as session:
        proof = seals.verify_ledger(session, KEYS)
    assert [(at_fault.person, at_fault.fault) for at_fault in proof.address_faults] == [
        (ada, "the address can't be decrypted")
    ]


@pytest.mark.takes_turns
def test_it_is_shown_as_damaged_with_its_number(database: PeopleDatabase, ada: int) -> None:
    with database.read() as session:
        record = build_person_record(session, KEYS, ada, controller=DataController("", "", "", ""), now=NOW)
    assert record is not None
    information = record["pii_information"]
    assert (information["email_address"], information["email_address_damaged"]) == (None, True)
    page = (
        create_jinja_environment()
        .get_template("web/record.html")
        .render(build_record_context(record, PublicationFacts((), NOW.date())))
    )
    assert f"<dd>person-{ada}</dd>" in page
    assert "<dt>Address</dt>\n<dd>damaged: it can’t be decrypted</dd>" in page


@pytest.mark.takes_turns
@pytest.mark.parametrize("known", [True, False])
def test_it_is_erased_and_no_list_brings_it_back(
    database: PeopleDatabase,
    ada: int,
    known: bool,  # noqa: FBT001
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with database.write() as session:
        erased = erase_person(
            session,
            KEYS,
            _log(tmp_path_factory),
            ada,
            method="admin: damaged",
            forget_elsewhere=forget_nowhere_else,
            now=NOW,
            address=ADA if known else None,
        )
    assert (erased, _state(database, ada)) == (True, PersonState.ERASED)
    with database.read() as session:
        person = session.get_one(Person, ada)
        assert (person.ciphertext, person.salt) == (None, None)
        barred = suppression.find_suppression(session, KEYS, ADA) is not None
        assert (barred, person.lookup is not None) == (known, not known)
        assert seals.verify_ledger(session, KEYS).sound


@pytest.mark.takes_turns
def test_it_is_suppressed_by_what_is_left_of_it(
    database: PeopleDatabase, ada: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    report = DeliveryFeedbackReport(ada, DeliveryFeedbackKind.BOUNCED, NOW, "sendgrid", {})
    with database.write() as session:
        changed, departure = feedback.apply_feedback_to_person(session, KEYS, report, now=NOW)
        _log(tmp_path_factory).append_all([departure] if departure else [], at=NOW)
    assert (changed, departure is not None, _state(database, ada)) == (True, True, PersonState.SUPPRESSED)
    with database.read() as session:
        barred = suppression.find_suppression(session, KEYS, ADA)
    assert barred is not None
    assert barred.reason == "bounced"


def test_an_export_names_it_and_goes_on(database: PeopleDatabase, ada: int) -> None:
    file = io.StringIO()
    exported = export_list(database, KEYS, file, ExportRecipient("us", "moving"), now=NOW)
    assert (exported.people, exported.damaged) == (1, [ada])
    assert [row["email"] for row in csv.DictReader(io.StringIO(file.getvalue()))] == ["bo@example.org"]
    with database.read() as session:
        assert session.scalars(select(ListExport.people)).one() == 1


def test_a_restored_copy_learns_who_left_all_the_same(
    database: PeopleDatabase, ada: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    keys, log = KEYS.with_new_key("lookup"), _log(tmp_path_factory)
    log.append(
        PendingUnsubscribeLogEntry(make_lookup_hash(keys, "zoe@example.org"), keys.current("lookup").id, "left"), at=NOW
    )
    with database.read() as session:
        bo = session.scalars(select(Person).where(Person.number != ada)).one()
    log.append(PendingUnsubscribeLogEntry.of_person(bo, "left"), at=NOW)
    with database.write() as session:
        merged = unsubscribe_log_merge.merge_unsubscribe_log(
            session, log, keys, forget_elsewhere=forget_nowhere_else, now=NOW
        )
    assert (merged.departed["left"], _state(database, bo.number)) == (1, PersonState.WITHDRAWN)


@pytest.mark.takes_turns
def test_its_owner_leaves_by_the_link_of_a_mail(
    database: PeopleDatabase, ada: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with database.write() as session:
        assert unsubscribe_person(session, _log(tmp_path_factory), ada, method="page", now=NOW)
