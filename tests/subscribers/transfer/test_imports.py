import csv
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, func, select, update
from sqlalchemy.orm import Session, SessionTransaction

from digest.store.engine import Database
from subscribers.address import read_address
from subscribers.consent import audience, ledger, seals, suppression
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyKind, KeyRing, SecretKey
from subscribers.lifecycle.erasure import erase_person
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.store import people
from subscribers.store.models import ConsentEvent, ConsentKind, ImportBatch, Person, PersonState, Suppression
from subscribers.transfer.formats import ColumnMeaning
from subscribers.transfer.import_batches import drop_import_salts, list_unfinished_imports
from subscribers.transfer.import_report import ImportReport
from subscribers.transfer.import_run import MAX_STEP_ROWS, ImportContext
from subscribers.transfer.imports import rehearse_import, run_import
from subscribers.transfer.list_file import ListFileError, survey_file
from subscribers.transfer.options import ImportOptions
from subscribers.transfer.outcome_file import OutcomeFile, read_outcomes
from tests.conftest import ROOT, forget_nowhere_else
from tests.moments import AFTER_RELEASE as NOW
from tests.run_database import read_stored_bytes
from tests.subscribers.crashes import Crash, crash_at

KEYS = KeyRing.from_seed(b"import tests")
HEADINGS = "Email Address,OPTIN_TIME,OPTIN_IP,CONFIRM_TIME,CONFIRM_IP,LEID"
CONFIRMED = "2019-04-05 10:00:00,192.0.2.1,2019-04-05 10:01:00,192.0.2.1,1"
BARE = "2019-04-05 10:00:00,,,,1"


@pytest.fixture
def context(database: Database, tmp_path: Path) -> ImportContext:
    return ImportContext(database, KEYS, UnsubscribeLog(tmp_path / "left.log", KEYS), "terminal:eve")


@pytest.fixture
def small(one_database: Database, tmp_path: Path) -> ImportContext:
    return ImportContext(one_database, KEYS, UnsubscribeLog(tmp_path / "left.log", KEYS), "terminal:eve")


def _list(folder: Path, *rows: str, name: str = "list.csv", heading: str = HEADINGS) -> Path:
    path = folder / name
    path.write_text("\n".join([heading, *rows]) + "\n")
    return path


DEFAULT_OPTIONS = ImportOptions()


def _import(context: ImportContext, path: Path, options: ImportOptions = DEFAULT_OPTIONS, **more: Any) -> ImportReport:
    survey = survey_file(path, options)
    reject = more.get("reject", lambda *_: None)
    return run_import(context, survey, options, now=NOW, on_reject=reject, outcomes=more.get("outcomes"))


def _rehearse(context: ImportContext, path: Path, options: ImportOptions = DEFAULT_OPTIONS) -> ImportReport:
    return rehearse_import(context, survey_file(path, options), options, now=NOW)


def _counts(report: ImportReport) -> dict[str, int]:
    return {name: number for name, number in report.as_json().items() if number}


def _person(context: ImportContext, name: str) -> Person | None:
    with context.database.read() as session:
        number = people.find_person_number(session, context.keys, read_address(f"{name}@example.org"))
        return session.get(Person, number) if number else None


def _number(context: ImportContext, name: str) -> int:
    person = _person(context, name)
    assert person is not None
    return person.number


def _chain(context: ImportContext, name: str) -> list[ConsentEvent]:
    with context.database.read() as session:
        query = select(ConsentEvent).where(ConsentEvent.person == _number(context, name))
        return list(session.scalars(query.order_by(ConsentEvent.seq)))


def _assert_sound(context: ImportContext) -> None:
    with context.database.read() as session:
        assert seals.verify_ledger(session, KEYS).sound


def _on_roll(context: ImportContext) -> set[str]:
    with context.database.read() as session:
        return {
            subscriber.decrypt_address(context.keys)
            for subscriber in audience.load_audience_page(session, page_size=10_000)
        }


@pytest.mark.takes_turns
def test_a_confirmed_row_may_be_mailed_and_its_chain_says_what_is_not_known(
    context: ImportContext, tmp_path: Path
) -> None:
    report = _import(context, _list(tmp_path, f"Ada@Example.org,{CONFIRMED}", f"bo@example.org,{BARE}"))
    assert _counts(report) == {"subscribed": 1, "unverified": 1}
    assert _on_roll(context) == {"Ada@example.org"}
    (event_,) = _chain(context, "ada")
    fields = json.loads(event_.body)
    assert (event_.kind, fields["wording"], fields["row"]) == (ConsentKind.IMPORTED, "not recorded by Mailchimp", 2)
    assert fields["agreed_at"] == "2019-04-05T10:01:00.000+00:00"
    assert event_.body == ledger.encode_canonical_json(fields)
    assert "192.0.2" not in event_.body
    assert fields["confirmed_from"] == fields["requested_from"]
    (listed,) = _chain(context, "bo")
    assert listed.kind == ConsentKind.LISTED
    with context.database.read() as session:
        assert audience.count_people_by_state(session)[PersonState.UNVERIFIED] == 1
    _assert_sound(context)


def _mapped(*meanings: ColumnMeaning) -> ImportOptions:
    return ImportOptions(columns=(ColumnMeaning.ADDRESS, ColumnMeaning.CONFIRMED_AT, *meanings))


@pytest.mark.takes_turns
def test_preferences_of_a_list_count_and_the_chain_says_where_they_came_from(
    context: ImportContext, tmp_path: Path
) -> None:
    heading = "email,confirmed at,frequency,language"
    path = _list(tmp_path, "ada@example.org,2024-01-01,monthly,de", "bo@example.org,2024-01-01,,", heading=heading)
    _import(context, path, _mapped(ColumnMeaning.FREQUENCY, ColumnMeaning.LANGUAGE))
    ada, bo = _person(context, "ada"), _person(context, "bo")
    assert ada is not None
    assert bo is not None
    assert (ada.choices, bo.choices) == ({"frequency": "monthly"}, {})
    imported, chosen = _chain(context, "ada")
    assert (imported.kind, json.loads(imported.body)["language"]) == (ConsentKind.IMPORTED, "de")
    assert imported.body == ledger.encode_canonical_json(json.loads(imported.body))
    body = json.loads(chosen.body)
    assert (chosen.kind, body["before"], body["after"]) == (ConsentKind.CHOICES_CHANGED, {}, {"frequency": "monthly"})
    assert body["method"] == "import: preferences from a file"
    assert len(_chain(context, "bo")) == 1
    _assert_sound(context)


def test_a_list_changes_the_preferences_of_those_whom_it_subscribes_and_of_nobody_else(
    context: ImportContext, tmp_path: Path
) -> None:
    _import(context, _list(tmp_path, f"ada@example.org,{CONFIRMED}", f"bo@example.org,{BARE}"))
    heading = "email,confirmed at,short"
    rows = ["ada@example.org,2024-01-01,yes", "bo@example.org,2024-01-01,yes", "cy@example.org,,yes"]
    _import(context, _list(tmp_path, *rows, name="second.csv", heading=heading), _mapped(ColumnMeaning.SHORT))
    chosen = {name: person.choices for name in ("ada", "bo", "cy") if (person := _person(context, name))}
    assert chosen == {"ada": {}, "bo": {"short": True}, "cy": {"short": True}}
    assert [event.kind for event in _chain(context, "bo")] == [
        *(ConsentKind.LISTED, ConsentKind.IMPORTED, ConsentKind.CHOICES_CHANGED)
    ]
    assert _on_roll(context) == {"ada@example.org", "bo@example.org"}
    _assert_sound(context)


def test_the_rehearsal_counts_what_the_import_then_does_and_writes_nothing(
    context: ImportContext, tmp_path: Path
) -> None:
    _import(context, _list(tmp_path, f"cy@example.org,{CONFIRMED}", name="earlier.csv"))
    with context.database.write() as session:
        unsubscribe_person(session, context.unsubscribe_log, _number(context, "cy"), method="page", now=NOW)
    rows = [
        f"ada@example.org,{CONFIRMED}",
        f"ADA@example.org,{BARE}",
        f"info@mailinator.com,{BARE}",
        "",
        "nobody,,,,,",
        f"cy@example.org,{CONFIRMED}",
        "dee@example.org,2019-04-05 10:00:00,,2019-04-05 10:00:00,,1",
    ]
    path = _list(tmp_path, *rows)
    looked = _rehearse(context, path)
    with context.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Person)) == 1
        assert session.scalar(select(func.count()).select_from(ImportBatch)) == 1
    rejected: list[Any] = []
    report = _import(context, path, reject=lambda *row: rejected.append(row))
    assert _counts(looked) == _counts(report)
    assert _counts(report) == {
        "subscribed": 2,
        "unverified": 1,
        "left or suppressed": 1,
        "duplicates": 1,
        "rejected": 1,
        "blank": 1,
        "role addresses": 1,
        "disposable addresses": 1,
        "confirmed without a network address": 1,
    }
    assert rejected == [(6, "the address has no @", ["nobody", "", "", "", "", ""])]
    assert looked.problems == [(6, "the address has no @")]


@pytest.mark.takes_turns
def test_the_same_file_again_does_nothing(context: ImportContext, tmp_path: Path) -> None:
    path = _list(tmp_path, f"ada@example.org,{CONFIRMED}", f"bo@example.org,{BARE}")
    first, second = _import(context, path), _import(context, path)
    assert (second.already_imported, second.batch, _counts(second)) == (True, first.batch, _counts(first))
    assert len(_chain(context, "ada")) == 1


def test_an_admin_may_attest_for_those_who_are_named_but_for_nobody_who_never_answered(
    context: ImportContext, tmp_path: Path
) -> None:
    heading = "email,status,name"
    path = _list(tmp_path, "ada@example.org,subscribed,A", "bo@example.org,unconfirmed,B", heading=heading)
    assert _counts(_import(context, path)) == {"unverified": 2}
    attested = _import(context, path, ImportOptions(attest_reason="signed list, Denver 2026"))
    assert _counts(attested) == {"subscribed": 1, "vouched for": 1, "known": 1}
    assert [link.kind for link in _chain(context, "ada")] == [ConsentKind.LISTED, ConsentKind.ATTESTED]
    assert json.loads(_chain(context, "ada")[1].body)["method"] == "attested by terminal:eve: signed list, Denver 2026"
    assert _on_roll(context) == {"ada@example.org"}
    _assert_sound(context)


def test_a_confirmation_without_a_network_address_can_be_doubted(small: ImportContext, tmp_path: Path) -> None:
    path = _list(tmp_path, "ada@example.org,,,2019-04-05 10:00:00,,1")
    report = _import(small, path, ImportOptions(need_network=True))
    assert (report.counts["subscribed"], report.counts["unverified"]) == (0, 1)


@pytest.mark.takes_turns
@pytest.mark.parametrize("departed", ["left", "bounced", "complained", "complaint by mail", "suppressed", "erased"])
@pytest.mark.parametrize("known", [True, False])
def test_nobody_who_is_gone_comes_back(
    context: ImportContext,
    tmp_path: Path,
    departed: str,
    known: bool,  # noqa: FBT001
) -> None:
    address, row = read_address("cy@example.org"), f"cy@example.org,{CONFIRMED}"
    if known or departed in {"left", "erased"}:
        _import(context, _list(tmp_path, row, name="first.csv"))
    with context.database.write() as session:
        if departed == "left":
            unsubscribe_person(session, context.unsubscribe_log, _number(context, "cy"), method="page", now=NOW)
        elif departed == "erased":
            erase_person(
                session,
                KEYS,
                context.unsubscribe_log,
                _number(context, "cy"),
                method="page",
                forget_elsewhere=forget_nowhere_else,
                now=NOW,
            )
        else:
            reason: Any = departed if departed != "suppressed" else "by an admin"
            suppression.suppress_address(
                session, KEYS, address, reason=reason, actor="hook", now=NOW, unsubscribe_log=context.unsubscribe_log
            )
    for options in (ImportOptions(), ImportOptions(attest_reason="their word")):
        report = _import(context, _list(tmp_path, row, f"x@example.org,{BARE}", name="again.csv"), options)
        assert report.counts["left or suppressed"] == 1
    assert "cy@example.org" not in _on_roll(context)
    _assert_sound(context)


@pytest.mark.takes_turns
def test_a_file_of_departures_makes_nobody_and_takes_people_off(context: ImportContext, tmp_path: Path) -> None:
    _import(context, _list(tmp_path, f"ada@example.org,{CONFIRMED}", name="subscribed_1.csv"))
    departures = _list(
        tmp_path,
        "ada@example.org,2020-01-01",
        "bo@example.org,",
        name="unsubscribed_1.csv",
        heading="Email Address,UNSUB_TIME",
    )
    looked = _rehearse(context, departures)
    assert _counts(looked) == _counts(_import(context, departures))
    assert _counts(looked) == {"departures": 2, "subscribers unsubscribed": 1}
    assert _on_roll(context) == set()
    assert [link.kind for link in _chain(context, "ada")] == [ConsentKind.IMPORTED, ConsentKind.WITHDRAWN]
    assert _person(context, "bo") is None
    assert [line.kind for line in context.unsubscribe_log.read()] == ["left"]
    late = _import(context, _list(tmp_path, f"bo@example.org,{CONFIRMED}", name="subscribed_2.csv"))
    assert _counts(late) == {"left or suppressed": 1}
    _assert_sound(context)


@pytest.mark.takes_turns
def test_the_order_of_rows_in_a_file_brings_nobody_back(context: ImportContext, tmp_path: Path) -> None:
    heading = "email,status,confirmed_at,Global status"
    for name, order in (("ada", 1), ("bo", -1)):
        rows = [f"{name}@example.org,subscribed,2020-01-01,", f"{name}@example.org,unsubscribed,2020-01-01,"]
        path = _list(tmp_path, *rows[::order], name=f"{name}.csv", heading=heading)
        looked = _rehearse(context, path)
        assert _counts(looked) == _counts(_import(context, path))
    assert _on_roll(context) == set()


@pytest.mark.takes_turns
def test_those_who_confirmed_here_after_they_left_elsewhere_stay(context: ImportContext, tmp_path: Path) -> None:
    with context.database.write() as session:
        for name in ("ada", "bo"):
            address = read_address(f"{name}@example.org")
            person = people.create_person(session, KEYS, address, asked_at=NOW, asked_where="hls.today")
            commitment = people.make_person_address_commitment(KEYS, person, address)
            ledger.append_event(session, person, ConsentKind.CONFIRMED, {}, NOW, commitment=commitment)
    path = _list(
        tmp_path, "ada@example.org,2020-01-01", "bo@example.org,?", name="u.csv", heading="Email Address,UNSUB_TIME"
    )
    assert _counts(_import(context, path)) == {"known": 1, "departures": 1, "subscribers unsubscribed": 1}
    assert _on_roll(context) == {"ada@example.org"}


def test_a_complaint_is_kept_as_one(context: ImportContext, tmp_path: Path) -> None:
    _import(context, _list(tmp_path, f"cy@example.org,{CONFIRMED}"))
    path = _list(tmp_path, "cy@example.org,complained", name="b.csv", heading="email,status")
    assert _counts(_import(context, path)) == {"departures": 1, "subscribers unsubscribed": 1}
    with context.database.read() as session:
        assert session.scalars(select(Suppression.reason)).one() == "complained"
    assert [line.kind for line in context.unsubscribe_log.read()] == ["complained"]


@pytest.mark.takes_turns
@pytest.mark.parametrize("before", ["left elsewhere", "bounced", "left here", "bounced here"])
def test_a_complaint_in_a_list_outweighs_what_was_there_and_is_logged(
    context: ImportContext, tmp_path: Path, before: str
) -> None:
    cy, header = read_address("cy@example.org"), "email,status"
    if before.endswith("here"):
        _import(context, _list(tmp_path, f"cy@example.org,{CONFIRMED}"))
    with context.database.write() as session:
        if before == "left here":
            unsubscribe_person(session, context.unsubscribe_log, _number(context, "cy"), method="page", now=NOW)
        else:
            reason: Any = before.removesuffix(" here")
            suppression.suppress_address(
                session, KEYS, cy, reason=reason, actor="hook", now=NOW, unsubscribe_log=context.unsubscribe_log
            )
    path = tmp_path / "complaints.csv"
    for again in (1, 0):
        path.write_text(f"{header}\ncy@example.org,spam\n" + "\n" * again)
        assert _import(context, path).counts["departures"] == again
    with context.database.read() as session:
        suppressed = suppression.find_suppression(session, KEYS, cy)
        assert suppressed is not None
        assert suppressed.reason == "complained"
        reasons = [] if before == "left here" else [before.removesuffix(" here")]
        assert session.scalars(select(Suppression.reason).order_by(Suppression.id)).all() == [*reasons, "complained"]
    assert [d.kind for d in context.unsubscribe_log.read()][1:] == ["complained"]
    if before.endswith("here"):
        with context.database.read() as session:
            assert session.get_one(Person, _number(context, "cy")).state is PersonState.SUPPRESSED
    _assert_sound(context)


def test_people_found_by_an_earlier_key_are_known(one_database: Database, tmp_path: Path) -> None:
    old = ImportContext(one_database, KEYS, UnsubscribeLog(tmp_path / "left.log", KEYS), "terminal:eve")
    _import(old, _list(tmp_path, f"ada@example.org,{CONFIRMED}"))
    with one_database.write() as session:
        address = read_address("cy@example.org")
        suppression.suppress_address(
            session, KEYS, address, reason="bounced", actor="hook", now=NOW, unsubscribe_log=old.unsubscribe_log
        )
    kinds: tuple[KeyKind, ...] = ("lookup", "suppression")
    newer = KeyRing([*KEYS.all, *(SecretKey(kind, 2, os.urandom(32)) for kind in kinds)])
    path = _list(tmp_path, f"ada@example.org,{CONFIRMED}", f"cy@example.org,{CONFIRMED}", name="b.csv")
    report = _import(ImportContext(one_database, newer, old.unsubscribe_log, "terminal:eve"), path)
    assert _counts(report) == {"known": 1, "left or suppressed": 1}


def test_salts_go_and_the_chains_still_hold(small: ImportContext, tmp_path: Path) -> None:
    _import(small, _list(tmp_path, f"ada@example.org,{CONFIRMED}"))
    with small.database.write() as session:
        assert drop_import_salts(session, before=NOW) == 0
        assert drop_import_salts(session, before=NOW + timedelta(days=1)) == 1
        assert drop_import_salts(session, before=NOW + timedelta(days=1)) == 0
    _assert_sound(small)


def _long_list(folder: Path, rows: int = 2 * MAX_STEP_ROWS + 500) -> Path:
    lines = [f"r{n}@example.org,{CONFIRMED if n % 3 else BARE}" for n in range(rows)]
    lines[7] = "nobody,,,,,"
    lines[MAX_STEP_ROWS + 3] = lines[3]
    return _list(folder, *lines)


@pytest.mark.takes_turns
def test_a_crash_at_any_commit_leaves_nobody_to_be_mailed_and_the_next_run_completes(
    context: ImportContext, tmp_path: Path
) -> None:
    path = _long_list(tmp_path)
    expected = _counts(_rehearse(context, path))
    crashes = 0
    for commit in range(1, 20):
        try:
            with crash_at(commit):
                report = _import(context, path)
            break
        except Crash:
            crashes += 1
        with context.database.read() as session:
            assert audience.count_audience(session) == 0
            assert audience.count_people_by_state(session)[PersonState.UNVERIFIED] == 0
    assert crashes >= 3
    assert _counts(report) == expected
    with context.database.read() as session:
        assert audience.count_audience(session) == expected["subscribed"]
        assert (
            session.scalar(select(func.count()).select_from(Person)) == expected["subscribed"] + expected["unverified"]
        )
        assert list_unfinished_imports(session) == []
    _assert_sound(context)


@pytest.mark.takes_turns
def test_a_begun_import_is_named_and_waits_for_the_same_options(context: ImportContext, tmp_path: Path) -> None:
    path = _long_list(tmp_path)
    with pytest.raises(Crash), crash_at(4):
        _import(context, path)
    with context.database.read() as session:
        (unfinished,) = list_unfinished_imports(session)
    assert (unfinished.name, unfinished.started_at) == ("Mailchimp", NOW)
    with pytest.raises(ListFileError, match="other options"):
        _import(context, path, ImportOptions(attest_reason="their word"))


@pytest.mark.takes_turns
def test_a_mended_file_takes_over_the_people_of_a_broken_run(context: ImportContext, tmp_path: Path) -> None:
    path = _long_list(tmp_path)
    with pytest.raises(Crash), crash_at(4):
        _import(context, path)
    with context.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Person))
    path.write_text(path.read_text().replace("nobody,,,,,", f"r7@example.org,{CONFIRMED}"))
    report = _import(context, path)
    with context.database.read() as session:
        assert audience.count_audience(session) == report.counts["subscribed"] == len(_on_roll(context))


def test_whoever_confirms_in_the_middle_of_a_broken_import_is_mailed(context: ImportContext, tmp_path: Path) -> None:
    path = _long_list(tmp_path)
    with pytest.raises(Crash), crash_at(4):
        _import(context, path)
    with context.database.write() as session:
        person = ledger.lock_person(session, _number(context, "r1"))
        assert person is not None
        ledger.append_event(session, person, ConsentKind.CONFIRMED, {}, NOW)
    assert _on_roll(context) == {"r1@example.org"}


@pytest.mark.takes_turns
def test_somebody_who_is_added_or_suppressed_between_look_and_commit_is_judged_again(
    context: ImportContext, tmp_path: Path
) -> None:
    path = _list(tmp_path, f"ada@example.org,{CONFIRMED}", f"cy@example.org,{CONFIRMED}", f"dee@example.org,{BARE}")

    def meanwhile() -> None:
        with context.database.write() as session:
            address = read_address("ada@example.org")
            person = people.create_person(session, KEYS, address, asked_at=NOW, asked_where="hls.today")
            commitment = people.make_person_address_commitment(KEYS, person, address)
            ledger.append_event(session, person, ConsentKind.CONFIRMED, {}, NOW, commitment=commitment)
            suppression.suppress_address(
                session,
                KEYS,
                read_address("cy@example.org"),
                reason="complained",
                actor="hook",
                now=NOW,
                unsubscribe_log=context.unsubscribe_log,
            )

    with _after_the_look(meanwhile):
        report = _import(context, path)
    assert _counts(report) == {"known": 1, "left or suppressed": 1, "unverified": 1}
    assert _on_roll(context) == {"ada@example.org"}
    _assert_sound(context)


@contextmanager
def _after_the_look(act: Callable[[], None]) -> Iterator[None]:
    """Act once between an import's look and its commit: when the transaction that takes numbers has ended."""
    at = "before"

    def watch(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        nonlocal at
        if at == "before" and ("UPDATE sqlite_sequence" in statement or "nextval" in statement):
            at = "taking"

    def ended(_session: Session, transaction: SessionTransaction) -> None:
        nonlocal at
        if at == "taking" and transaction.parent is None:
            at = "acted"
            act()

    event.listen(Engine, "before_cursor_execute", watch)
    event.listen(Session, "after_transaction_end", ended)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", watch)
        event.remove(Session, "after_transaction_end", ended)
    assert at == "acted"


# Forks a process for each line of its standard input, which imports and is killed by a signal that nobody catches once it has
# worked for so many seconds of the processor: however busy the machine is, that is as far on. Writes how each ended.
WRITER = """
import os, signal, sys
from datetime import datetime
from pathlib import Path
from digest.store.engine import open_database
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.transfer.options import ImportOptions
from subscribers.transfer.import_run import ImportContext
from subscribers.transfer.imports import run_import
from subscribers.transfer.list_file import survey_file
from subscribers.transfer.outcome_file import OutcomeFile
url, path, log = sys.argv[1:]
keys = KeyRing.from_seed(b"import tests")
for seconds in sys.stdin:
    child = os.fork()
    if not child:
        signal.setitimer(signal.ITIMER_PROF, float(seconds))
        desk = ImportContext(open_database(url), keys, UnsubscribeLog(Path(log), keys), "terminal:eve")
        run_import(desk, survey_file(Path(path)), ImportOptions(), now=datetime.fromisoformat("2026-11-20T12:00:00+00:00"),
                   on_reject=lambda *_: None, outcomes=OutcomeFile(Path(path + ".outcomes")))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_a_killed_import_leaves_nobody_to_be_mailed_and_is_completed_by_the_next(
    small: ImportContext, tmp_path: Path
) -> None:
    path = _long_list(tmp_path, rows=6 * MAX_STEP_ROWS)
    with OutcomeFile(tmp_path / "tried") as outcomes:
        survey = survey_file(path)
        expected = _counts(rehearse_import(small, survey, DEFAULT_OPTIONS, now=NOW, outcomes=outcomes))
    would_be = list(read_outcomes(tmp_path / "tried"))
    chance, killed = random.Random(7), 0
    url = str(small.database.engine.url)  # type: ignore[attr-defined]
    command = [sys.executable, "-c", WRITER, url, str(path), str(small.unsubscribe_log.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True) as writer:
        assert writer.stdin
        assert writer.stdout
        for _ in range(4):
            print(0.05 + 0.3 * chance.random(), file=writer.stdin, flush=True)
            killed += int(writer.stdout.readline()) == -signal.SIGPROF
            with small.database.read() as session:
                done = not list_unfinished_imports(session) and session.scalar(select(func.count()).select_from(Person))
                assert done or audience.count_audience(session) == 0
    assert killed
    account = path.with_name(f"{path.name}.outcomes")
    with OutcomeFile(account) as outcomes:
        report = _import(small, path, outcomes=outcomes)
    assert _counts(report) == expected
    # Whatever run settled a row, the account says what it came to.
    assert list(read_outcomes(account)) == would_be
    with small.database.read() as session:
        assert audience.count_audience(session) == expected["subscribed"]
    _assert_sound(small)


def test_memory_of_the_file_is_not_needed_for_its_duplicates(small: ImportContext, tmp_path: Path) -> None:
    lines = [f"r{n % 1500}@example.org,{CONFIRMED}" for n in range(4500)]
    assert _counts(_import(small, _list(tmp_path, *lines))) == {"subscribed": 1500, "duplicates": 3000}


def test_no_address_stands_in_the_database_after_an_import(small: ImportContext, tmp_path: Path) -> None:
    _import(small, _list(tmp_path, f"zebra.quagga@okapi.example.org,{CONFIRMED}", "zebra.quagga@,,,,,"))
    content = read_stored_bytes(small.database.engine)  # type: ignore[attr-defined]
    assert b"zebra" not in content
    assert b"okapi" not in content


def test_a_csv_writer_and_our_subscriber_agree_on_a_million_ways_to_quote(small: ImportContext, tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=";", quoting=csv.QUOTE_ALL)
        writer.writerow(["E-Mail", "note", "confirmed_at"])
        writer.writerow(["ada@example.org", 'a;"b"\r\nc', "2020-01-01"])
    assert _counts(_import(small, path)) == {"subscribed": 1, "confirmed without a network address": 1}
    with small.database.write() as session:
        session.execute(update(ImportBatch).values(done_at=None))
        assert audience.count_audience(session) == 0
