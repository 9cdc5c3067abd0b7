"""The time and place of a sign-up are evidence, so both columns must follow from the chain."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text, update

from digest.store.engine import Database
from subscribers.address import read_address
from subscribers.consent import chain_verification, ledger, seals
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.signup.manual_signup import ConsentEvidence, add_subscriber
from subscribers.store import people
from subscribers.store.models import ConsentKind, Person
from subscribers.transfer.import_run import ImportContext
from subscribers.transfer.imports import run_import
from subscribers.transfer.list_file import survey_file
from subscribers.transfer.options import ImportOptions
from tests.moments import BETWEEN_SECONDS as NOW

KEYS = KeyRing.from_seed(b"origin tests")
ASKED = NOW - timedelta(days=3)
FORM = {"page": "https://hls.today/", "where": "hls.today", "asked_at": ASKED.isoformat(timespec="milliseconds")}


def _ask(database: Database, name: str, *kinds: ConsentKind, **more: Any) -> int:
    with database.write() as session:
        address = read_address(f"{name}@example.org")
        person = people.create_person(session, KEYS, address, asked_at=ASKED, asked_where="hls.today")
        commitment = people.make_person_address_commitment(KEYS, person, address)
        for kind in kinds:
            ledger.append_event(session, person, kind, FORM | more, NOW, commitment=commitment)
        return person.number


def _add_by_hand(database: Database) -> int:
    evidence = ConsentEvidence("Yes.", "1", "en", "paper list", "signed list", "terminal:eve", ASKED)
    with database.write() as session:
        return add_subscriber(session, KEYS, "ada@example.org", evidence=evidence, now=NOW).number


def _import_rows(database: Database, folder: Path, *rows: str) -> int:
    path = folder / "list.csv"
    path.write_text("\n".join(["Email Address,OPTIN_TIME,OPTIN_IP,CONFIRM_TIME,CONFIRM_IP,LEID", *rows]) + "\n")
    context = ImportContext(database, KEYS, UnsubscribeLog(folder / "left.log", KEYS), "terminal:eve")
    run_import(context, survey_file(path, ImportOptions()), ImportOptions(), now=NOW, on_reject=lambda *_: None)
    with database.read() as session:
        return session.scalars(select(Person.number)).one()


def _proof(database: Database) -> seals.LedgerProof:
    with database.read() as session:
        return seals.verify_ledger(session, KEYS)


CONFIRMED_ROW = "ada@example.org,2019-04-05 10:00:00,192.0.2.1,2019-04-05 10:01:00,192.0.2.1,1"
TIMELESS_ROW = "ada@example.org,,,,,1"
UNPROVEN_ROW = "ada@example.org,2019-04-05 10:00:00,192.0.2.1,2019-04-05 10:01:00,,1"  # no address confirmed it


@pytest.mark.parametrize("way", ["form", "confirmed", "hand", CONFIRMED_ROW, TIMELESS_ROW, UNPROVEN_ROW])
@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"asked_where": "elsewhere"}, "the sign-up source in the record and the row differ"),
        ({"asked_at": ASKED + timedelta(days=1)}, "the sign-up time in the record and the row differ"),
    ],
)
def test_a_changed_origin_is_reported_for_the_person_and_by_the_seal(
    database: Database, tmp_path: Path, way: str, changed: dict[str, Any], told: str
) -> None:
    match way:
        case "form":
            number = _ask(database, "ada", ConsentKind.REQUESTED)
        case "confirmed":
            number = _ask(database, "ada", ConsentKind.REQUESTED, ConsentKind.CONFIRMED)
        case "hand":
            number = _add_by_hand(database)
        case row:
            number = _import_rows(database, tmp_path, row)
    assert _proof(database).sound
    with database.write() as session:
        session.execute(update(Person).values(**changed))
    proof = _proof(database)
    assert proof.broken is not None
    assert (proof.broken.person, told in proof.broken.fault) == (number, True)
    with database.read() as session:
        assert chain_verification.find_broken_link(chain_verification.load_chain(session, number)) == proof.broken


@pytest.mark.parametrize("end", ["-23:59", "+23:59", "000-23:59", "Z", "\n"])
def test_a_time_of_asking_that_says_more_than_we_write_is_reported(sqlite: Database, end: str) -> None:
    number = _ask(sqlite, "ada", ConsentKind.REQUESTED)
    with sqlite.write() as session:
        moved = text("UPDATE person SET asked_at = substr(asked_at, 1, 23) || :end WHERE number = :number")
        session.execute(moved, {"end": end, "number": number})
    broken = _proof(sqlite).broken
    assert broken is not None
    assert "the sign-up time in the record and the row differ" in broken.fault


def test_an_inactive_subscribers_answer_leaves_where_they_asked_as_it_was(database: Database) -> None:
    number = _ask(database, "ada", ConsentKind.REQUESTED, ConsentKind.CONFIRMED)
    with database.write() as session:
        person = ledger.lock_person(session, number)
        assert person is not None
        body = FORM | {"method": ledger.SILENCE_ANSWER_METHOD, "asked_at": NOW.isoformat(timespec="milliseconds")}
        ledger.append_event(session, person, ConsentKind.CONFIRMED, body, NOW)
    assert _proof(database).sound


def test_a_request_of_somebody_who_is_there_changes_nothing_until_it_is_confirmed(database: Database) -> None:
    number = _ask(database, "ada", ConsentKind.REQUESTED, ConsentKind.CONFIRMED)
    later = FORM | {"where": "partner.example", "asked_at": NOW.isoformat(timespec="milliseconds")}
    with database.write() as session:
        person = ledger.lock_person(session, number)
        assert person is not None
        ledger.append_event(session, person, ConsentKind.REQUESTED, later, NOW)
    assert _proof(database).sound
    with database.write() as session:
        person = ledger.lock_person(session, number)
        assert person is not None
        ledger.append_event(session, person, ConsentKind.CONFIRMED, later, NOW)
    assert not _proof(database).sound
    with database.write() as session:
        session.execute(update(Person).values(asked_at=NOW, asked_where="partner.example"))
    assert _proof(database).sound


def test_a_listing_without_a_time_has_that_of_the_import() -> None:
    listed = (1, "listed", "2026-11-20 12:00:00.123000", '{"batch":1,"page":"mailchimp","row":2}')
    assert ledger.find_signup_source([listed]) == ledger.SignupSource(
        datetime.fromisoformat("2026-11-20T12:00:00.123+00:00"), "mailchimp (imported)"
    )
    assert ledger.find_signup_source([(1, "requested", "2026-11-20 12:00:00.123000", '{"page":"hls.today"}')]) is None
    assert ledger.find_signup_source([(1, "confirmed", "2026-11-20 12:00:00.123000", "[1]")]) is None
