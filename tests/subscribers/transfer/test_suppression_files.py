"""A suppression file suppresses the same people elsewhere, by one rule, once, despite interruptions."""

import io
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from sqlalchemy import func, select

from digest.store.engine import Database
from subscribers.address import Address, read_address
from subscribers.consent import ledger, seals, suppression
from subscribers.consent.suppression import DEPARTURE_KINDS, SuppressionReason
from subscribers.crypto.keys import KeyRing
from subscribers.crypto.stored_addresses import hash_addresses, is_adopted_key_id
from subscribers.lifecycle.expiry import ADDRESS_RETENTION, delete_expired_addresses
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.signup.manual_signup import ConsentEvidence, SignupRefusedError, add_subscriber
from subscribers.store import key_check, people
from subscribers.store.key_rotation import list_key_usage, rotate_key
from subscribers.store.models import ConsentKind, Person, PersonState, Suppression, SuppressionAdoption
from subscribers.transfer import imports
from subscribers.transfer.import_report import ignore_reject
from subscribers.transfer.list_file import survey_file
from subscribers.transfer.options import ImportOptions
from subscribers.transfer.suppressions import suppression_file
from subscribers.transfer.suppressions.suppression_adoption import AdoptionReport, adopt_suppressions, rehearse_adoption
from subscribers.transfer.suppressions.suppression_file import SuppressedHash, SuppressionFileError
from tests.moments import AFTER_RELEASE as NOW
from tests.subscribers.transfer.suppression_files import ADA, THERE, change_line, export_file, file_of, make_context

HERE = KeyRing.from_seed(b"the adopter")
ManualKind = Literal[ConsentKind.CONFIRMED, ConsentKind.ATTESTED]
BO, CY = (read_address(f"{name}@example.org") for name in ("bo", "cy"))
DAY = timedelta(days=1)


def suppress(database: Database, keys: KeyRing, reason: SuppressionReason, address: Address = ADA) -> None:
    with database.write() as session:
        hashes = suppression.hash_address(session, keys, address).suppressions
        suppression.suppress_hashes(session, hashes, reason, NOW - 10 * DAY)


def subscribe(database: Database, kind: ManualKind = ConsentKind.CONFIRMED, *, days_ago: int = 20) -> int:
    at = NOW - days_ago * DAY
    evidence = ConsentEvidence("Yes.", "1", "en", "hls.today", "double opt-in", "the person", at, kind)
    with database.write() as session:
        return add_subscriber(session, HERE, "ada@example.org", evidence=evidence, now=at).number


def find_reason(database: Database, address: Address = ADA, keys: KeyRing = HERE) -> str:
    with database.read() as session:
        row = suppression.find_suppression(session, keys, address)
    return row.reason if row else ""


def state_of(database: Database, number: int) -> PersonState:
    with database.read() as session:
        return session.get_one(Person, number).state


def count_rows(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(Suppression)) or 0


@pytest.mark.takes_turns
@pytest.mark.parametrize("reason", DEPARTURE_KINDS)
def test_every_cause_is_adopted_with_its_date_and_checked_like_our_own(
    database: Database, tmp_path: Path, reason: SuppressionReason
) -> None:
    report = adopt_suppressions(make_context(database, HERE, tmp_path), file_of(reason), now=NOW)
    assert (report.added, report.entries) == ({reason: 1}, 1)
    with database.read() as session:
        row = suppression.find_suppression(session, HERE, ADA)
    assert row is not None
    assert (row.reason, row.at) == (reason, NOW - 10 * DAY)
    assert not find_reason(database, BO)
    with pytest.raises(SignupRefusedError, match="suppressed"):
        subscribe(database)


def test_no_address_is_in_the_file_and_the_current_key_stays_ours(database: Database, tmp_path: Path) -> None:
    suppress(database, THERE, "bounced")
    file = export_file(database, THERE)
    assert b"ada" not in file.getvalue()
    assert b"example" not in file.getvalue()
    suppress(database, HERE, "by an admin", BO)
    adopt_suppressions(make_context(database, HERE, tmp_path), file_of(), now=NOW)
    suppress(database, HERE, "by an admin", CY)
    with database.read() as session:
        last = session.scalars(select(Suppression.key_id).order_by(Suppression.id.desc())).first()
        assert last == HERE.current("suppression").id
        assert [usage.id for usage in list_key_usage(session, HERE) if is_adopted_key_id(usage.id)] == []


def test_adopted_hashes_dont_make_the_key_file_another_databases(database: Database, tmp_path: Path) -> None:
    adopt_suppressions(make_context(database, HERE, tmp_path), file_of(), now=NOW)
    with database.read() as session:
        for every_row in (False, True):
            key_check.check_key_match(session, HERE, every_row=every_row)
            with pytest.raises(key_check.KeyMismatchError):
                key_check.check_key_match(session, THERE, every_row=every_row)
        assert seals.verify_ledger(session, HERE).sound


@pytest.mark.takes_turns
def test_people_who_left_are_handed_on_after_their_address_is_deleted(
    database: Database, elsewhere: Database, tmp_path: Path
) -> None:
    number = subscribe(database)
    with database.write() as session:
        unsubscribe_person(
            session, make_context(database, HERE, tmp_path).unsubscribe_log, number, method="page", now=NOW
        )
    later = NOW + ADDRESS_RETENTION + DAY
    assert delete_expired_addresses(database, now=later) == 1
    report = adopt_suppressions(make_context(elsewhere, THERE, tmp_path), export_file(database, HERE), now=later)
    assert report.added == {"left elsewhere": 1}
    with elsewhere.read() as session:
        row = suppression.find_suppression(session, THERE, ADA)
    assert row is not None
    assert (row.reason, row.at) == ("left elsewhere", ledger.truncate_to_millisecond(NOW))


@pytest.mark.parametrize(("left_days_ago", "expected"), [(30, [NOW - 30 * DAY]), (None, [])])
def test_a_request_that_nobody_confirmed_is_no_departure(
    one_database: Database, left_days_ago: int | None, expected: list[datetime]
) -> None:
    with one_database.write() as session:
        person = people.create_person(session, THERE, ADA, asked_at=NOW - 40 * DAY, asked_where="x")
        if left_days_ago:
            ledger.append_event(session, person, ConsentKind.WITHDRAWN, {}, NOW - left_days_ago * DAY)
        ledger.append_event(session, person, ConsentKind.REQUESTED, {}, NOW - 8 * DAY)
        ledger.append_event(session, person, ConsentKind.EXPIRED, {}, NOW - DAY)
        assert person.state is PersonState.WITHDRAWN
    file = export_file(one_database, THERE)
    suppression_file.read_header(file)
    assert [entry.at for entry in suppression_file.read_entries(file)] == expected


@pytest.mark.takes_turns
def test_a_chain_of_installations_hands_on_what_it_adopted(
    database: Database, elsewhere: Database, tmp_path: Path
) -> None:
    third = KeyRing.from_seed(b"the third")
    adopt_suppressions(make_context(database, HERE, tmp_path), file_of(), now=NOW)
    suppress(database, HERE, "erased", BO)
    file = export_file(database, HERE)
    report = adopt_suppressions(make_context(elsewhere, third, tmp_path), file, now=NOW)
    assert report.added == {"bounced": 1, "erased": 1}
    assert (find_reason(elsewhere, ADA, third), find_reason(elsewhere, BO, third)) == ("bounced", "erased")


@pytest.mark.takes_turns
def test_a_file_that_comes_back_adds_nothing(database: Database, tmp_path: Path) -> None:
    suppress(database, HERE, "bounced")
    report = adopt_suppressions(make_context(database, HERE, tmp_path), export_file(database, HERE), now=NOW)
    assert (report.own, report.added, count_rows(database)) == (1, {}, 1)


def unsubscribe(database: Database, folder: Path, number: int) -> None:
    with database.write() as session:
        log = make_context(database, HERE, folder).unsubscribe_log
        unsubscribe_person(session, log, number, method="page", now=NOW)


def test_people_who_left_here_come_back_in_our_own_file_without_being_added(database: Database, tmp_path: Path) -> None:
    unsubscribe(database, tmp_path, subscribe(database))
    report = adopt_suppressions(make_context(database, HERE, tmp_path), export_file(database, HERE), now=NOW)
    assert (report.own, report.added, count_rows(database)) == (1, {}, 0)


@pytest.mark.parametrize("rotates_lookup_key", [False, True])
def test_a_restored_copy_adopts_what_the_old_server_had_since(
    database: Database, elsewhere: Database, tmp_path: Path, *, rotates_lookup_key: bool
) -> None:
    number, context = subscribe(database), make_context(database, HERE, tmp_path)
    old_keys = HERE.with_new_key("lookup") if rotates_lookup_key else HERE
    with elsewhere.write() as session:
        person = people.create_person(session, old_keys, ADA, asked_at=NOW - DAY, asked_where="x")
        ledger.append_event(session, person, ConsentKind.WITHDRAWN, {"method": "page"}, NOW - DAY)
    suppress(elsewhere, old_keys, "bounced", BO)
    file = export_file(elsewhere, old_keys)
    rehearsed = rehearse_adoption(context, file, now=NOW)
    report = adopt_suppressions(context, file, now=NOW)
    assert (report.own, report.added) == (0, {"left elsewhere": 1, "bounced": 1})
    assert report.removed == {"left elsewhere": 1}
    assert report.as_json() == rehearsed.as_json()
    assert state_of(database, number) is PersonState.WITHDRAWN
    assert find_reason(database, BO) == "bounced"
    newer = adopt_suppressions(context, export_file(elsewhere, old_keys), now=NOW)
    assert (newer.added, newer.entries) == ({}, 2)


@pytest.mark.takes_turns
def test_adopting_twice_or_a_newer_file_of_the_same_brings_nobody_back_off(database: Database, tmp_path: Path) -> None:
    context, file = make_context(database, HERE, tmp_path), file_of()
    adopt_suppressions(context, file, now=NOW)
    with database.write() as session:
        suppression.lift_suppression(session, HERE, ADA, now=NOW)
    rows = count_rows(database)
    again = adopt_suppressions(context, file, now=NOW + DAY)
    assert (again.adopted_at, again.added) == (NOW, {"bounced": 1})
    newer = adopt_suppressions(context, file_of(), now=NOW + DAY)
    assert (newer.adopted_at, newer.added, newer.present) == (None, {}, 1)
    assert (find_reason(database), count_rows(database)) == ("", rows)


@pytest.mark.takes_turns
def test_a_newer_file_that_says_worse_counts(database: Database, tmp_path: Path) -> None:
    context = make_context(database, HERE, tmp_path)
    for reason in ("bounced", "complained", "bounced"):
        adopt_suppressions(context, file_of(reason), now=NOW)
    assert (find_reason(database), count_rows(database)) == ("complained", 2)


@pytest.mark.takes_turns
def test_hashes_without_their_key_are_counted(database: Database, tmp_path: Path) -> None:
    keyless = change_line(file_of(), 0, lambda header: header | {"keys": []})
    context = make_context(database, HERE, tmp_path)
    for read in (rehearse_adoption, adopt_suppressions):
        report = read(context, keyless, now=NOW)
        assert (report.unusable, report.added, count_rows(database)) == (1, {}, 0)


SUBSCRIBER_CASES: list[tuple[SuppressionReason, ManualKind, int, PersonState, str]] = [
    # what the file says as of 10 days ago, how they subscribed here, how many days ago, and what becomes of them
    ("left elsewhere", ConsentKind.ATTESTED, 20, PersonState.WITHDRAWN, "left"),
    ("left elsewhere", ConsentKind.ATTESTED, 5, PersonState.WITHDRAWN, "left"),
    ("left elsewhere", ConsentKind.CONFIRMED, 20, PersonState.WITHDRAWN, "left"),
    ("left elsewhere", ConsentKind.CONFIRMED, 5, PersonState.SUBSCRIBED, ""),
    ("erased", ConsentKind.CONFIRMED, 20, PersonState.WITHDRAWN, "left"),
    ("bounced", ConsentKind.CONFIRMED, 20, PersonState.SUPPRESSED, "bounced"),
    ("bounced", ConsentKind.CONFIRMED, 5, PersonState.SUBSCRIBED, ""),
    ("complained", ConsentKind.CONFIRMED, 5, PersonState.SUPPRESSED, "complained"),
    ("complaint by mail", ConsentKind.CONFIRMED, 5, PersonState.SUBSCRIBED, ""),
    ("by an admin", ConsentKind.ATTESTED, 5, PersonState.SUPPRESSED, "barred"),
]


@pytest.mark.parametrize(("reason", "kind", "days_ago", "state", "logged"), SUBSCRIBER_CASES)
def test_people_on_the_list_leave_it_unless_they_confirmed_here_later(
    database: Database,
    tmp_path: Path,
    reason: SuppressionReason,
    kind: ManualKind,
    days_ago: int,
    state: PersonState,
    logged: str,
) -> None:
    number, context = subscribe(database, kind, days_ago=days_ago), make_context(database, HERE, tmp_path)
    file = file_of(reason)
    rehearsed = rehearse_adoption(context, file, now=NOW)
    assert state_of(database, number) is PersonState.SUBSCRIBED
    report = adopt_suppressions(context, file, now=NOW)
    assert report.as_json() == rehearsed.as_json()
    stays = state is PersonState.SUBSCRIBED
    assert (report.removed, report.consented) == ({} if stays else {reason: 1}, int(stays))
    assert state_of(database, number) is state
    assert [entry.kind for entry in context.unsubscribe_log.read()] == ([logged] if logged else [])
    assert find_reason(database) == ("" if stays else reason)
    with database.read() as session:
        assert seals.verify_ledger(session, HERE).sound


@pytest.mark.takes_turns
@pytest.mark.parametrize("confirmed_days_ago", [5, 1])
def test_consent_counts_only_if_its_later_than_every_date_that_files_gave(
    database: Database, tmp_path: Path, confirmed_days_ago: int
) -> None:
    number, context = subscribe(database, days_ago=confirmed_days_ago), make_context(database, HERE, tmp_path)
    address_hash, key_id = hash_addresses(THERE, [ADA], ())[0].suppressions[0]
    left = SuppressedHash(key_id, address_hash, "left elsewhere", NOW - 3 * DAY)  # after the bounce, 10 days ago
    file = io.BytesIO(file_of("bounced").getvalue() + left.as_line())
    rehearsed = rehearse_adoption(context, file, now=NOW)
    report = adopt_suppressions(context, file, now=NOW)
    assert report.as_json() == rehearsed.as_json()
    stays = confirmed_days_ago == 1
    assert report.consented == int(stays)
    assert state_of(database, number) is (PersonState.SUBSCRIBED if stays else PersonState.SUPPRESSED)


@pytest.mark.takes_turns
@pytest.mark.parametrize(("allowed_days_ago", "expected"), [(5, suppression.ALLOWED_AGAIN), (15, "complained")])
def test_what_an_admin_allowed_since_outweighs_an_older_entry(
    database: Database, tmp_path: Path, allowed_days_ago: int, expected: str
) -> None:
    suppress(database, HERE, "by an admin")
    with database.write() as session:
        suppression.allow_suppressed_signup(session, HERE, ADA, now=NOW - allowed_days_ago * DAY)
    adopt_suppressions(make_context(database, HERE, tmp_path), file_of("complained"), now=NOW)
    assert find_reason(database) == expected


@pytest.mark.takes_turns
def test_our_own_file_doesnt_take_back_what_an_admin_allowed(database: Database, tmp_path: Path) -> None:
    suppress(database, HERE, "by an admin")
    before = export_file(database, HERE)
    with database.write() as session:
        suppression.allow_suppressed_signup(session, HERE, ADA, now=NOW - 5 * DAY)
    for file in (before, export_file(database, HERE)):
        report = adopt_suppressions(make_context(database, HERE, tmp_path), file, now=NOW)
        assert (report.own, report.added) == (1, {})
    assert find_reason(database) == suppression.ALLOWED_AGAIN


def test_an_interrupted_adoption_continues_where_it_was(database: Database, tmp_path: Path) -> None:
    subscribe(database)
    context, file = make_context(database, HERE, tmp_path), file_of()
    file.seek(0, io.SEEK_END)
    for hashes in hash_addresses(THERE, [Address(f"p{number}", "b.org") for number in range(2500)], ()):
        address_hash, key_id = hashes.suppressions[-1]
        file.write(SuppressedHash(key_id, address_hash, "erased", NOW).as_line())
    steps = 0

    def stop_at(step: int) -> Any:
        def count(_done: int, _total: int) -> None:
            nonlocal steps
            steps += 1
            if steps == step:
                raise KeyboardInterrupt

        return count

    for step in (1, 1, 2):
        steps = 0
        with pytest.raises(KeyboardInterrupt):
            adopt_suppressions(context, file, now=NOW, progress=stop_at(step))
    report = adopt_suppressions(context, file, now=NOW)
    assert (report.entries, report.added) == (2501, {"bounced": 1, "erased": 2500})
    assert (report.removed, count_rows(database)) == ({"bounced": 1}, 2502 - 1)
    with database.read() as session:
        assert session.scalars(select(SuppressionAdoption.done_at)).all() == [NOW]


def test_an_import_that_was_under_way_checks_its_people_again(
    one_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(one_database, HERE, tmp_path)
    table = tmp_path / "list.csv"
    table.write_text("email,confirmed_at\nada@example.org,2025-01-01\nbo@example.org,2025-01-01\n")
    hash_rows = imports._hash_rows

    def hash_and_let_others_adopt(*arguments: Any) -> Any:
        hashed = hash_rows(*arguments)
        assert adopt_suppressions(context, file_of(), now=NOW).added == {"bounced": 1}
        return hashed

    monkeypatch.setattr(imports, "_hash_rows", hash_and_let_others_adopt)
    imports.run_import(context, survey_file(table), ImportOptions(), now=NOW, on_reject=ignore_reject)
    with one_database.read() as session:
        opened = [
            (people.decrypt_person_address(HERE, each), each.state)
            for each in session.scalars(select(Person).order_by(Person.number))
        ]
    assert opened == [(ADA, PersonState.SUPPRESSED), (BO, PersonState.SUBSCRIBED)]


def test_after_rotating_the_vault_key_adopted_keys_open(database: Database, tmp_path: Path) -> None:
    key_file = tmp_path / "keys.json"
    keys = KeyRing.create(key_file)
    adopt_suppressions(make_context(database, keys, tmp_path), file_of(), now=NOW)
    rotate_key(database, key_file, "vault")
    rotated = KeyRing.load(key_file)
    with database.read() as session:
        assert session.scalars(select(SuppressionAdoption.key_id)).all() == [rotated.current("vault").id]
    assert find_reason(database, ADA, rotated) == "bounced"


def test_a_lifted_suppression_stays_behind_under_every_key(
    database: Database, elsewhere: Database, tmp_path: Path
) -> None:
    suppress(database, HERE, "bounced")
    suppress(database, HERE, "bounced", BO)
    newer = HERE.with_new_key("suppression")
    with database.write() as session:
        suppression.lift_suppression(session, newer, ADA, now=NOW)
        people.create_person(session, newer, ADA, asked_at=NOW, asked_where="x").state = PersonState.SUBSCRIBED
    adopt_suppressions(make_context(elsewhere, THERE, tmp_path), export_file(database, newer), now=NOW)
    assert (find_reason(elsewhere, ADA, THERE), find_reason(elsewhere, BO, THERE)) == ("", "bounced")


def _header(**changes: Any) -> dict[str, Any]:
    fields = {"format": suppression_file.FORMAT, "version": 1, "id": "0" * 32, "keys": []}
    return fields | changes


def _key(number: int) -> dict[str, Any]:
    return {"number": number, "secret": "A" * 43 + "="}


BAD_KEYS: list[Any] = [
    7,
    [7],
    [{"suppression": []}],
    [{"suppression": [{"number": 0, "secret": "A" * 43 + "="}], "lookup": []}],
    [{"suppression": [{"number": True, "secret": "A" * 43 + "="}], "lookup": []}],
    [{"suppression": [{"number": 1, "secret": "AAAA"}], "lookup": []}],
    [{"suppression": [{"number": 1, "secret": "A" * 4000}], "lookup": []}],
    [{"suppression": [_key(n) for n in range(1, 24)], "lookup": [_key(n) for n in range(1, 24)]}],
    [{"suppression": [], "lookup": [_key(1)] * 1000}],
]
BAD_HEADERS = [
    *(b"", b"\n", b"[]\n", b"7\n", b"email\nada@example.org\n", b"[" * 100_000, b"9" * 6000 + b"\n", b"\xff\xfe"),
    *(json.dumps(_header(keys=keys)).encode() for keys in BAD_KEYS),
    *(json.dumps(_header(**{name: 7})).encode() for name in ("format", "id", "keys")),
]
GOOD_LINE = SuppressedHash("1-" + "a" * 10, "b" * 64, "bounced", NOW).as_line()
BAD_ENTRIES = [
    *(b"\n", b"7\n", b"[]\n", b"ada@example.org\n", b"[" * 240, b"\xff\n"),
    GOOD_LINE.replace(b"bounced", b"liked"),
    GOOD_LINE.replace(b"bounced", b"lifted"),
    GOOD_LINE.replace(b'"bounced"', b"[]"),
    GOOD_LINE.replace(b"b" * 64, b"B" * 64),
    GOOD_LINE.replace(b"b" * 64, b"b" * 63),
    GOOD_LINE.replace(b"1-", b"a1-"),
    GOOD_LINE.replace(b"+00:00", b""),
    GOOD_LINE[:-40] + b'0001-01-01T00:00:00+14:00"]\n',
    b" " * 300 + GOOD_LINE,
]


@pytest.mark.parametrize("header", BAD_HEADERS)
def test_what_is_no_suppression_file_is_refused_in_a_sentence(
    one_database: Database, tmp_path: Path, header: bytes
) -> None:
    context = make_context(one_database, HERE, tmp_path)
    for read in (rehearse_adoption, adopt_suppressions):
        with pytest.raises(SuppressionFileError, match=r"^The file isn't a suppression file\.$"):
            read(context, io.BytesIO(header), now=NOW)


@pytest.mark.parametrize("line", BAD_ENTRIES)
def test_a_damaged_entry_has_no_effect(one_database: Database, tmp_path: Path, line: bytes) -> None:
    context = make_context(one_database, HERE, tmp_path)
    file = file_of().getvalue() + line + GOOD_LINE
    for read in (rehearse_adoption, adopt_suppressions):
        with pytest.raises(SuppressionFileError, match=r"^Entry 2 of the suppression file is damaged"):
            read(context, io.BytesIO(file), now=NOW)
    with one_database.read() as session:
        assert session.scalar(select(func.count()).select_from(SuppressionAdoption)) == 0


def test_another_version_and_too_many_entries_are_refused(
    one_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(one_database, HERE, tmp_path)
    newer = change_line(file_of(), 0, lambda header: header | {"version": 2, "keys": "new"})
    with pytest.raises(SuppressionFileError, match="from the version that made this one"):
        adopt_suppressions(context, newer, now=NOW)
    monkeypatch.setattr(suppression_file, "MAX_ENTRIES", 1)
    with pytest.raises(SuppressionFileError, match="more than 1 entries"):
        adopt_suppressions(context, io.BytesIO(file_of().getvalue() + GOOD_LINE), now=NOW)


def test_two_processes_cant_adopt_one_file_at_once(one_database: Database, tmp_path: Path) -> None:
    context, file = make_context(one_database, HERE, tmp_path), file_of()

    def adopt_too(_done: int, _total: int) -> None:
        adopt_suppressions(context, io.BytesIO(file.getvalue()), now=NOW)

    with pytest.raises(SuppressionFileError, match="Another process"):
        adopt_suppressions(context, file, now=NOW, progress=adopt_too)
    assert count_rows(one_database) == 1


def test_two_processes_cant_begin_one_file_at_once(
    postgresql: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On SQLite, the second one waits before it looks."""
    context, file = make_context(postgresql, HERE, tmp_path), file_of()
    as_json = AdoptionReport.as_json

    def begin_too(report: AdoptionReport) -> dict[str, Any]:
        monkeypatch.setattr(AdoptionReport, "as_json", as_json)
        adopt_suppressions(context, io.BytesIO(file.getvalue()), now=NOW)
        return as_json(report)

    monkeypatch.setattr(AdoptionReport, "as_json", begin_too)
    with pytest.raises(SuppressionFileError, match="Another process is adopting this file"):
        adopt_suppressions(context, file, now=NOW)
    assert count_rows(postgresql) == 1


def test_a_report_survives_being_stored() -> None:
    report = AdoptionReport(entries=3, present=1)
    report.added["bounced"] += 2
    assert AdoptionReport.from_json(json.loads(json.dumps(report.as_json())), None) == report
