import csv
import io
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from digest.store.engine import Database
from subscribers.address import read_address
from subscribers.consent import audience, disclosures, seals, suppression
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.crypto.stored_addresses import encrypt_address, make_lookup_hash
from subscribers.lifecycle.erasure import erase_person
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.signup import manual_signup
from subscribers.signup.manual_signup import ConsentEvidence
from subscribers.store import people
from subscribers.store.models import ConsentKind, ListExport, ListExportPart, Person, PersonState
from subscribers.transfer.exports import (
    EXPORT_COLUMNS,
    RECORD_SCHEMA,
    DataController,
    ExportRecipient,
    build_person_record,
    export_list,
)
from subscribers.transfer.formats import ColumnMeaning
from subscribers.transfer.import_report import ignore_reject
from subscribers.transfer.import_run import ImportContext
from subscribers.transfer.imports import run_import
from subscribers.transfer.list_file import read_rows, survey_file
from subscribers.transfer.options import ImportOptions
from subscribers.transfer.rows import parse_row
from tests.conftest import forget_nowhere_else
from tests.moments import AFTER_RELEASE as NOW

KEYS = KeyRing.from_seed(b"export tests")
HERE = DataController("HLS.Today", "editors@example.org", "1 Main Street", "https://hls.today/")
YES = ConsentEvidence(
    wording="Yes, send me the weekly digest.",
    wording_version="3",
    language="en",
    page="hls.today",
    method="double opt-in",
    actor="the person",
    agreed_at=NOW - timedelta(days=30),
    kind=ConsentKind.CONFIRMED,
)


@pytest.fixture
def unsubscribe_log(tmp_path: Path) -> UnsubscribeLog:
    return UnsubscribeLog(tmp_path / "left.log", KEYS)


def _add(database: Database, *names: str) -> list[int]:
    with database.write() as session:
        return [
            manual_signup.add_subscriber(session, KEYS, f"{name}@example.org", evidence=YES, now=NOW).number
            for name in names
        ]


def _export(database: Database, **handed: str) -> list[list[str]]:
    text = io.StringIO()
    exported = export_list(database, KEYS, text, ExportRecipient("Example Mail Ltd", "moving house", **handed), now=NOW)
    rows = list(csv.reader(io.StringIO(text.getvalue())))
    assert rows[0] == list(EXPORT_COLUMNS)
    assert (exported.people, exported.damaged) == (len(rows) - 1, [])
    return rows[1:]


def test_the_list_holds_those_in_the_audience_and_each_sees_that_it_went_out(
    database: Database, unsubscribe_log: UnsubscribeLog
) -> None:
    ada, bo, cy = _add(database, "ada", "bo", "cy")
    with database.write() as session:
        unsubscribe_person(session, unsubscribe_log, bo, method="page", now=NOW)
    assert [row[0] for row in _export(database, reference="ticket 7")] == ["ada@example.org", "cy@example.org"]
    with database.read() as session:
        for number, seen in ((ada, 1), (bo, 0), (cy, 1), (cy + 1, 0)):
            listed = disclosures.list_disclosures(session, number)
            assert [(p.to_whom, p.why, p.reference) for p in listed] == [
                ("Example Mail Ltd", "moving house", "ticket 7")
            ] * seen
        export = session.scalars(select(ListExport)).one()
    assert (export.people, export.done_at) == (2, NOW)


def test_numbers_far_apart_are_kept_in_parts_and_each_is_found(sqlite: Database) -> None:
    numbers = _add(sqlite, "ada", "bo", "cy", "dee")
    distant = [8191, 8192, 8193, 1_000_000]
    with sqlite.engine.begin() as connection:  # people as they stand in a list that is long
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
    with sqlite.write() as session:
        for old, new in zip(numbers, distant, strict=True):
            row = session.get_one(Person, old)
            address = read_address(f"{('ada', 'bo', 'cy', 'dee')[old - 1]}@example.org")
            session.add(
                Person(
                    number=new,
                    state=PersonState.SUBSCRIBED,
                    choices={},
                    asked_at=row.asked_at,
                    asked_where=row.asked_where,
                )
            )
            row.state, lookup_key = PersonState.WITHDRAWN, row.lookup_key
            row.lookup = None
            session.flush()
            ciphertext, key_id = encrypt_address(KEYS, address, new)
            stored = {"ciphertext": ciphertext, "key_id": key_id, "lookup": make_lookup_hash(KEYS, address)}
            session.execute(update(Person).where(Person.number == new).values(**stored, lookup_key=lookup_key))
    assert len(_export(sqlite)) == 4
    with sqlite.read() as session:
        assert [part.first for part in session.scalars(select(ListExportPart))] == [0, 8192, 999_424]
        assert [n for n in (*distant, 1, 8194, 999_999) if disclosures.list_disclosures(session, n)] == distant


def test_a_file_that_breaks_off_has_told_at_least_those_whose_addresses_it_holds(database: Database) -> None:
    (ada,) = _add(database, "ada")

    class Full(io.StringIO):
        def write(self, text: str) -> int:
            if "@" in text:
                raise OSError("no space left on device")
            return super().write(text)

    with pytest.raises(OSError, match="space"):
        export_list(database, KEYS, Full(), ExportRecipient("us", "a try"), now=NOW)
    with database.read() as session:
        assert len(disclosures.list_disclosures(session, ada)) == 1
        assert session.scalars(select(ListExport)).one().done_at is None


def test_an_address_is_no_formula(one_database: Database) -> None:
    _add(one_database, "=cmd")
    assert _export(one_database)[0][0] == "'=cmd@example.org"


def test_no_cell_of_an_export_is_a_formula_where_semicolons_part_the_cells(one_database: Database) -> None:
    (ada,) = _add(one_database, "ada")
    with one_database.write() as session:
        session.get_one(Person, ada).asked_where = "Expo;=cmd|' /C calc'!A0;x"
    file = io.StringIO(newline="")
    export_list(one_database, KEYS, file, ExportRecipient("us", "a try"), now=NOW)
    cells = [cell for line in csv.reader(io.StringIO(file.getvalue()), delimiter=";") for cell in line]
    assert [cell[:5] for cell in cells if "cmd" in cell] == ["'=cmd"]


def test_an_exported_address_comes_back_as_it_was(one_database: Database, tmp_path: Path) -> None:
    _add(one_database, "+cmd")
    file = tmp_path / "list.csv"
    with file.open("w", newline="") as stream:
        export_list(one_database, KEYS, stream, ExportRecipient("us", "a try"), now=NOW)
    survey = survey_file(file)
    assert [
        parse_row(survey.layout, fields, number, now=NOW).address.mailbox for number, fields in read_rows(survey)
    ] == ["+cmd@example.org"]


@pytest.mark.takes_turns
def test_words_without_a_version_are_exported_and_a_placeholder_for_none_is_not(
    database: Database, unsubscribe_log: UnsubscribeLog, tmp_path: Path
) -> None:
    evidence = replace(YES, wording_version="")
    with database.write() as session:
        manual_signup.add_subscriber(session, KEYS, "ada@example.org", evidence=evidence, now=NOW)
    file = tmp_path / "list.csv"
    file.write_text("email,confirmed,words\nbo@example.org,2024-01-02,Send it.\ncy@example.org,2024-01-02,\n")
    columns = (ColumnMeaning.ADDRESS, ColumnMeaning.CONFIRMED_AT, ColumnMeaning.WORDING)
    options = ImportOptions(columns=columns)
    context = ImportContext(database, KEYS, unsubscribe_log, "staff 1")
    run_import(context, survey_file(file, options), options, now=NOW, on_reject=ignore_reject)
    rows = _export(database)
    words, version = (EXPORT_COLUMNS.index(name) for name in ("consent_text", "consent_version"))
    assert [(row[0][:2], row[words], row[version]) for row in rows] == [
        ("ad", YES.wording, ""),
        ("bo", "Send it.", ""),
        ("cy", "", ""),
    ]


@pytest.mark.takes_turns
def test_a_record_names_its_fields_after_the_standard_and_holds_the_words(database: Database) -> None:
    (ada,) = _add(database, "ada")
    with database.write() as session:
        disclosures.record_disclosures(session, [ada], to_whom="our staff", why="a question", reference="", now=NOW)
    mail = {"disclosed_at": "2026-11-20", "recipient": "smtp", "purpose": "edition:2026-W47", "reference": "<1>"}
    with database.read() as session:
        record = build_person_record(session, KEYS, ada, controller=HERE, now=NOW, other_disclosures=[mail])
    assert record is not None
    assert record["schema_version"] == RECORD_SCHEMA
    assert record["pii_information"]["email_address"] == "ada@example.org"
    assert (record["state"], record["may_be_mailed"]) == ("subscribed", True)
    (event,) = record["events"]
    assert (event["event_type"], event["entity_id"]) == ("confirmed", "the person")
    assert (event["details"]["wording"], event["details"]["wording_version"]) == (YES.wording, "3")
    assert [d["recipient"] for d in record["recipient_third_parties"]] == ["our staff", "smtp"]
    assert record["parties"][0]["name"] == "HLS.Today"
    json.dumps(record)


def test_nobody_has_no_record(one_database: Database) -> None:
    with one_database.read() as session:
        assert build_person_record(session, KEYS, 5, controller=HERE, now=NOW) is None


@pytest.mark.takes_turns
def test_erasing_leaves_the_chain_and_the_suppression_and_nothing_else(
    database: Database, unsubscribe_log: UnsubscribeLog
) -> None:
    (ada,) = _add(database, "ada")
    with database.write() as session:
        disclosures.record_disclosures(session, [ada], to_whom="our staff", why="a question", reference="", now=NOW)
    for new in (True, False):
        with database.write() as session:
            assert (
                erase_person(
                    session, KEYS, unsubscribe_log, ada, method="page", forget_elsewhere=forget_nowhere_else, now=NOW
                )
                is new
            )
    with database.read() as session:
        row = session.get_one(Person, ada)
        assert (row.state, row.lookup, row.ciphertext, row.domain_tag, row.choices) == (
            PersonState.ERASED,
            None,
            None,
            None,
            {},
        )
        assert not audience.may_email_person(session, ada)
        barred = suppression.find_suppression(session, KEYS, read_address("ada@example.org"))
        assert barred is not None
        assert barred.reason == "erased"
        record = build_person_record(session, KEYS, ada, controller=HERE, now=NOW)
        assert record is not None
        assert record["pii_information"]["email_address"] is None
        assert [event["event_type"] for event in record["events"]] == ["confirmed", "erased"]
    assert [line.kind for line in unsubscribe_log.read()] == ["erased"]
    with database.read() as session:
        assert seals.verify_ledger(session, KEYS).sound


def test_somebody_whose_address_went_long_ago_stays_away_after_erasure(
    database: Database, unsubscribe_log: UnsubscribeLog
) -> None:
    (ada,) = _add(database, "ada")
    with database.write() as session:
        unsubscribe_person(session, unsubscribe_log, ada, method="page", now=NOW)
        session.execute(update(Person).values(ciphertext=None, key_id=None))
    with database.write() as session:
        assert erase_person(
            session, KEYS, unsubscribe_log, ada, method="page", forget_elsewhere=forget_nowhere_else, now=NOW
        )
    with database.read() as session:
        assert people.find_person_number(session, KEYS, read_address("ada@example.org")) == ada
