"""A list of 2,500 made-up people of every kind is exported and imported elsewhere, and the same people can be emailed there."""

import csv
import io
import json
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.store.engine import Database
from subscribers.address import read_address
from subscribers.consent import audience, disclosures, ledger, seals, suppression
from subscribers.consent.consent_texts import read_claimed_consent_text
from subscribers.consent.subscriber_list import SubscriberFilter
from subscribers.consent.suppression import SuppressionReason
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.lifecycle import undo
from subscribers.lifecycle.erasure import erase_person
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.part_keys import make_topic_slug, slugify_topic
from subscribers.signup.manual_signup import ConsentEvidence, add_subscriber
from subscribers.store import people
from subscribers.store.models import ConsentEvent, ConsentKind, ImportBatch, ListExport, Person, PersonState
from subscribers.store.one_time_tokens import ActionLinkState
from subscribers.transfer import exports
from subscribers.transfer.exports import ExportRecipient, ExportStateError, export_list
from subscribers.transfer.formats import ColumnMeaning
from subscribers.transfer.import_report import ignore_reject
from subscribers.transfer.import_run import ImportContext
from subscribers.transfer.import_store import find_existing_people, find_suppression_reasons
from subscribers.transfer.imports import run_import
from subscribers.transfer.list_file import survey_file
from subscribers.transfer.options import ImportOptions
from subscribers.transfer.rows import parse_row
from subscribers.transfer.suppressions.suppression_adoption import adopt_suppressions
from tests.conftest import forget_nowhere_else
from tests.moments import AFTER_RELEASE as NOW
from tests.subscribers.transfer.suppression_files import export_file

KEYS, OTHER_KEYS = KeyRing.from_seed(b"here"), KeyRing.from_seed(b"elsewhere")
PEOPLE = 2500  # three pages of reading, two steps of each import, and two parts of an export that are this small:
PART_SIZE = 2048
RECIPIENT = ExportRecipient("the new installation", "moving")
CHOICES = [
    ("", "", "", "", "", ""),
    ("jobs, dates", "monthly", "", "", "", ""),
    ("", "fortnightly 2026-03-02", "Europe/Berlin", "0", "", ""),
    ("", "", "America/New_York", "17", "yes", ""),
    ("jobs", "", "", "", "yes", "yes"),
    ("", "", "", "", "", "", "2027-02-01"),
    ("", "", "", "", "", "", "", "maritime, border", "yes"),
]
COLUMNS = (
    *(ColumnMeaning.ADDRESS, ColumnMeaning.CONFIRMED_AT, ColumnMeaning.STATUS),
    *(ColumnMeaning.OMIT, ColumnMeaning.FREQUENCY, ColumnMeaning.ZONE, ColumnMeaning.HOUR, ColumnMeaning.SHORT),
    *(ColumnMeaning.TEXT_ONLY, ColumnMeaning.PAUSE_UNTIL, ColumnMeaning.OMIT_TOPICS, ColumnMeaning.BREAKING_NEWS),
)


def context_of(database: Database, keys: KeyRing, folder: Path) -> ImportContext:
    return ImportContext(database, keys, UnsubscribeLog(folder / f"{keys.current('vault').id}.log", keys), "staff 1")


def bring_in(context: ImportContext, file: Path, options: ImportOptions) -> None:
    run_import(context, survey_file(file, options), options, now=NOW, on_reject=ignore_reject)


def write_list(file: Path, numbers: range, chance: random.Random) -> Path:
    rows = []
    for number in numbers:
        confirmed = f"2024-0{number % 9 + 1}-02 10:20:30" if number % 10 < 8 else ""
        status = ("", "subscribed", "unconfirmed" if number % 10 == 9 else "active")[number % 3]
        choices = (*chance.choice(CHOICES), "", "", "")[:9]
        rows.append(",".join(f'"{cell}"' for cell in (f"p{number}@example.org", confirmed, status, *choices)))
    file.write_text("\n".join(["email,agreed,status,a,b,c,d,e,f,g,h,i", *rows]))
    return file


def populate(context: ImportContext, folder: Path) -> None:
    """Make people of every kind, by the ways that they come and go."""
    chance = random.Random(30)
    first, second = range(PEOPLE // 2), range(PEOPLE // 2, PEOPLE - 300)
    bring_in(context, write_list(folder / "a.csv", first, chance), ImportOptions(columns=COLUMNS))
    bring_in(context, write_list(folder / "b.csv", second, chance), ImportOptions("paper sheets", columns=COLUMNS))
    keys = context.keys
    with context.database.write() as session:
        for number in range(200):
            evidence = ConsentEvidence(
                *("Yes, send me the weekly digest, =really.", str(number % 3 + 1), "fr" if number % 2 else "en"),
                page="hls.today; Expo",
                method="double opt-in",
                actor="the person",
                agreed_at=NOW - timedelta(days=number + 1),
                kind=ConsentKind.CONFIRMED,
            )
            add_subscriber(session, keys, f"own{number}@example.org", evidence=evidence, now=NOW)
    with context.database.write() as session:
        everyone = list(session.scalars(select(Person).order_by(Person.number)))
        for person in everyone[::23]:
            if person.state is PersonState.SUBSCRIBED:
                _end(session, context, person.number, person.number % 5)
        for number in range(100):
            address = read_address(f"asked{number}@example.org")
            person = people.create_person(session, keys, address, asked_at=NOW, asked_where="hls.today")
            commitment = people.make_person_address_commitment(keys, person, address)
            body = {"asked_at": ledger.format_ledger_time(NOW), "where": "hls.today", "method": "form"}
            ledger.append_event(session, person, ConsentKind.REQUESTED, body, NOW, commitment=commitment)
    batch = ImportBatch(
        origin="half", file_hash="0" * 64, options={}, actor="eve", started_at=NOW, counts={}, reached=0
    )
    with context.database.write() as session:
        session.add(batch)
        session.flush()
        for person in session.scalars(select(Person).order_by(Person.number).limit(50)):
            person.batch = batch.id


def _end(session: Session, context: ImportContext, number: int, how: int) -> None:
    """Have somebody unsubscribe, be erased, bounce, or complain, or unsubscribe and take it back."""
    keys, log = context.keys, context.unsubscribe_log
    if how == 1:
        erase_person(session, keys, log, number, method="page", forget_elsewhere=forget_nowhere_else, now=NOW)
    elif how in {2, 3}:
        person = ledger.lock_person(session, number)
        assert person is not None
        reason: SuppressionReason = "bounced" if how == 2 else "complained"
        suppression.suppress_person(session, keys, person, reason=reason, actor="provider", now=NOW)
    else:
        unsubscribe_person(session, log, number, method="page", now=NOW)
    if how == 4:
        undone = undo.undo_unsubscribe(session, keys, undo.issue_undo_token(session, number, now=NOW), now=NOW)
        assert undone.stage is ActionLinkState.DONE


def emailable(database: Database, keys: KeyRing) -> dict[str, dict[str, object]]:
    """Return who may be emailed, with what counts of each: preferences, source, and what they agreed to."""
    found: dict[str, dict[str, object]] = {}
    with database.read() as session:
        after = 0
        while page := audience.load_audience_page(session, after_number=after):
            grants = (
                select(ConsentEvent.person, ConsentEvent.body)
                .where(ConsentEvent.person.in_([member.number for member in page]))
                .where(ConsentEvent.kind.in_(ledger.GRANT_KINDS - {ConsentKind.UNDONE}))
                .order_by(ConsentEvent.seq)
            )
            bodies = {person: json.loads(body) for person, body in session.execute(grants)}
            for member in page:
                body = bodies[member.number]
                words = read_claimed_consent_text(body)
                found[member.decrypt_address(keys)] = {
                    "preferences": member.preferences,
                    "source": member.asked_where.removesuffix(" (imported)"),
                    "words": (words, body.get("wording_version"), body.get("language")),
                    "method": body["method"].removeprefix("import: "),
                }
            after = page[-1].number
    return found


def test_the_same_people_may_be_emailed_elsewhere_and_the_same_may_not(
    database: Database, elsewhere: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "_PART_SIZE", PART_SIZE)
    database.row_keys.find = lambda: KEYS
    here = context_of(database, KEYS, tmp_path)
    populate(here, tmp_path)
    with database.read() as session:
        states = audience.count_people_by_state(session)
    assert sum(states.values()) > PEOPLE - 100
    assert all(states[state] for state in set(states) - {PersonState.REMOVED}), f"people of each kind: {states}"
    expected = emailable(database, KEYS)
    assert len(expected) > PEOPLE * 0.8
    file = tmp_path / "list.csv"
    with file.open("w", newline="", encoding="utf-8") as stream:
        exported = export_list(database, KEYS, stream, RECIPIENT, now=NOW)
    assert (exported.people, exported.damaged) == (len(expected), [])
    there = context_of(elsewhere, OTHER_KEYS, tmp_path)
    survey = survey_file(file)
    assert survey.layout.origin == "hls-digest"
    report = run_import(there, survey, ImportOptions(), now=NOW, on_reject=ignore_reject)
    assert report.counts["rejected"] == 0
    arrived = emailable(elsewhere, OTHER_KEYS)
    assert arrived.keys() == expected.keys()
    assert [address for address in expected if arrived[address] != expected[address]] == []
    suppressions = export_file(database, KEYS)
    reported = adopt_suppressions(there, suppressions, now=NOW)
    assert set(reported.added) == {"left elsewhere", "erased", "bounced", "complained"}
    assert (reported.present, reported.own, reported.unusable, reported.removed) == (0, 0, 0, {})
    assert emailable(elsewhere, OTHER_KEYS) == arrived
    everyone = {f"p{number}@example.org" for number in range(PEOPLE - 300)} | expected.keys()
    refused = list_refused(database, KEYS, everyone)
    assert len(refused) > PEOPLE * 0.02
    assert list_refused(elsewhere, OTHER_KEYS, everyone) == refused
    with elsewhere.read() as session:
        assert seals.verify_ledger(session, OTHER_KEYS).sound
        assert audience.count_people_by_state(session)[PersonState.SUBSCRIBED] == len(expected)


def list_refused(database: Database, keys: KeyRing, addresses: Iterable[str]) -> set[str]:
    """Return the addresses that no list brings in, whatever it says of them: they're suppressed, or their people left."""
    parsed = [read_address(address) for address in sorted(addresses)]
    refused = set()
    with database.read() as session:
        for chunk in [parsed[at : at + 1000] for at in range(0, len(parsed), 1000)]:
            hashes = suppression.hash_addresses(session, keys, chunk)
            existing = find_existing_people(session, hashes)
            reasons = find_suppression_reasons(session, hashes)
            for address, each in zip(chunk, hashes, strict=True):
                person = existing.get(each.lookup)
                if each.lookup in reasons or (person is not None and person.state in ledger.DEPARTED_STATES):
                    refused.add(address.canonical)
    return refused


@pytest.mark.parametrize("state", [state for state in PersonState if state is not PersonState.SUBSCRIBED])
def test_only_subscribers_are_exported_by_any_filter(one_database: Database, state: PersonState) -> None:
    file = io.StringIO()
    with pytest.raises(ExportStateError, match="may not be exported"):
        export_list(one_database, KEYS, file, RECIPIENT, now=NOW, list_filter=SubscriberFilter(state=state))
    assert not file.getvalue()
    with one_database.read() as session:
        assert not session.scalars(select(ListExport)).all()


def test_a_filter_exports_those_who_match_and_only_they_see_it(database: Database, tmp_path: Path) -> None:
    context = context_of(database, KEYS, tmp_path)
    lists = [tmp_path / f"{name}.csv" for name in ("one", "two")]
    for number, file in enumerate(lists):
        file.write_text(f"email,confirmed_at\np{number}@example.org,202{number}-01-01\nbare{number}@example.org,\n")
        bring_in(context, file, ImportOptions())
    since = datetime(2021, 1, 1, tzinfo=UTC)
    filters = {
        SubscriberFilter(batch=1): ["p0@example.org"],
        SubscriberFilter(since=since): ["p1@example.org"],
        SubscriberFilter(state=PersonState.SUBSCRIBED, batch=2): ["p1@example.org"],
        SubscriberFilter(asked_where="nowhere"): [],
    }
    for chosen, addresses in filters.items():
        text = io.StringIO(newline="")
        export_list(database, KEYS, text, RECIPIENT, now=NOW, list_filter=chosen)
        rows = list(csv.DictReader(io.StringIO(text.getvalue())))
        assert [row["email"] for row in rows] == addresses
        assert {row["status"] for row in rows} <= {"subscribed"}
    with database.read() as session:
        seen = {number: len(disclosures.list_disclosures(session, number)) for number in range(1, 5)}
    assert seen == {1: 1, 2: 0, 3: 2, 4: 0}


def test_a_topic_with_a_long_title_leaves_and_arrives_by_its_name(one_database: Database, tmp_path: Path) -> None:
    title = "Chemical, biological, radiological, and nuclear"
    key, name = make_topic_slug(title), "chemical-biological-radiological-and-nuclear"
    context, file = context_of(one_database, KEYS, tmp_path), tmp_path / "list.csv"
    file.write_text("email,confirmed_at\np@example.org,2024-01-01\n", "utf-8")
    bring_in(context, file, ImportOptions())
    with one_database.write() as session:
        session.get_one(Person, 1).choices = {"omit_topics": [key]}
    text = io.StringIO(newline="")
    export_list(one_database, KEYS, text, RECIPIENT, now=NOW, topic_names={key: slugify_topic(title)})
    heading, fields = csv.reader(io.StringIO(text.getvalue()))
    assert fields[heading.index("topics_left_out")] == name
    file.write_text(text.getvalue(), "utf-8")
    layout = survey_file(file, part_keys={name: f"topics:{key}"}).layout
    assert parse_row(layout, fields, 2, now=NOW).preferences["omit_topics"] == [key]


def test_texts_of_a_list_never_bring_an_address_into_the_record(one_database: Database, tmp_path: Path) -> None:
    context = context_of(one_database, KEYS, tmp_path)
    file = tmp_path / "list.csv"
    heading = (
        "email,status,asked_at,asked_where,consent_at,consent_method,consent_text,consent_version,consent_language"
    )
    row = "ada@example.org,,,a@b.org,2024-01-01,told bo@example.org,I am ADA@example.org,1,x@y.org"
    file.write_text(f"{heading}\n{row}\n")
    bring_in(context, file, ImportOptions())
    with one_database.read() as session:
        person, event = session.scalars(select(Person)).one(), session.scalars(select(ConsentEvent)).one()
    assert "@" not in event.body + person.asked_where
    assert json.loads(event.body)["method"] == "import: confirmed, according to hls-digest"
