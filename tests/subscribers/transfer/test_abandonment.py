"""An interrupted import can be dropped, and no one whom it added stays."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import func, select

from digest.cli import digest
from digest.installation.opened_installation import open_installation
from digest.settings import load_settings
from digest.store.engine import Database
from digest.store.models import AuditEntry
from subscribers.address import read_address
from subscribers.consent import audience, ledger, seals
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.store import one_time_tokens, people
from subscribers.store.models import ConsentKind, ImportBatch, Person, PersonState
from subscribers.transfer.import_batches import list_unfinished_imports
from subscribers.transfer.import_run import MAX_STEP_ROWS, ImportContext
from subscribers.transfer.import_undo import PAGE_SIZE, abandon_batch
from subscribers.transfer.imports import run_import
from subscribers.transfer.list_file import ListFileError, survey_file
from subscribers.transfer.options import ImportOptions
from tests.moments import AFTER_RELEASE as NOW
from tests.subscribers.crashes import Crash, crash_at
from tests.subscribers.ledger_replay import find_ledger_differences

KEYS = KeyRing.from_seed(b"abandoning")
HEADINGS = "Email Address,CONFIRM_TIME,CONFIRM_IP"
MANY = 2 * MAX_STEP_ROWS + 100


@pytest.fixture
def context(database: Database, tmp_path: Path) -> ImportContext:
    return ImportContext(database, KEYS, UnsubscribeLog(tmp_path / "left.log", KEYS), "terminal:eve")


def _file(folder: Path, *names: str, confirmed: bool = True) -> Path:
    evidence = "2020-01-01 10:00:00,203.0.113.9" if confirmed else ","
    rows = [f"{name}@example.org,{evidence}" for name in names]
    path = folder / f"{len(names)}-{names[0]}-{confirmed}.csv"
    path.write_text("\n".join([HEADINGS, *rows]) + "\n")
    return path


def _import(context: ImportContext, path: Path) -> dict[str, int]:
    report = run_import(context, survey_file(path), ImportOptions(), now=NOW, on_reject=lambda *_: None)
    return {name: count for name, count in report.counts.items() if count}


def _cut_short(context: ImportContext, path: Path, commit: int = 4) -> int:
    with pytest.raises(Crash), crash_at(commit):
        _import(context, path)
    with context.database.read() as session:
        (unfinished,) = list_unfinished_imports(session)
        assert session.scalar(select(func.count()).select_from(Person).where(Person.batch == unfinished.batch))
    return unfinished.batch


def _state(context: ImportContext, name: str) -> PersonState | None:
    with context.database.read() as session:
        number = people.find_person_number(session, KEYS, read_address(f"{name}@example.org"))
        return session.get_one(Person, number).state if number else None


def _sound(context: ImportContext) -> None:
    with context.database.read() as session:
        assert seals.verify_ledger(session, KEYS).sound
        assert list(find_ledger_differences(session)) == []


def test_nothing_stays_of_a_dropped_import_and_its_file_can_come_again(context: ImportContext, tmp_path: Path) -> None:
    path = _file(tmp_path, *(f"r{n}" for n in range(MANY)))
    batch = _cut_short(context, path)
    result = abandon_batch(context.database, batch, actor="eve", now=NOW)
    assert result is not None
    assert result.removed >= MAX_STEP_ROWS
    with context.database.read() as session:
        assert list_unfinished_imports(session) == []
        for column in (Person.lookup, Person.ciphertext, Person.domain_tag):
            assert session.scalars(select(Person).where(column.is_not(None))).all() == []
        assert audience.count_audience(session) == 0
        assert session.get_one(ImportBatch, batch).salt is None
    _sound(context)
    assert abandon_batch(context.database, batch, actor="eve", now=NOW) is None
    assert _import(context, path) == {"subscribed": MANY}
    with context.database.read() as session:
        assert audience.count_audience(session) == MANY
    _sound(context)


@pytest.mark.takes_turns
def test_a_finished_import_and_an_unknown_one_are_left_alone(context: ImportContext, tmp_path: Path) -> None:
    _import(context, _file(tmp_path, "ada"))
    assert abandon_batch(context.database, 1, actor="eve", now=NOW) is None
    assert abandon_batch(context.database, 7, actor="eve", now=NOW) is None
    assert _state(context, "ada") is PersonState.SUBSCRIBED


def test_whoever_was_there_before_or_acted_since_stands_as_they_did(context: ImportContext, tmp_path: Path) -> None:
    _import(context, _file(tmp_path, "bo", confirmed=False))  # a list named bo; nobody has evidence
    with context.database.write() as session:
        address = read_address("cy@example.org")
        cy = people.create_person(session, KEYS, address, asked_at=NOW, asked_where="hls.today")
        commitment = people.make_person_address_commitment(KEYS, cy, address)
        ledger.append_event(session, cy, ConsentKind.REQUESTED, {}, NOW, commitment=commitment)
        one_time_tokens.issue_token(
            session, "confirm", cy.number, now=NOW, expires_at=NOW + timedelta(days=7), serial="1"
        )
    names = ["bo", "cy", "dee", *(f"r{n}" for n in range(MANY))]
    batch = _cut_short(context, _file(tmp_path, *names))
    with context.database.write() as session:
        number = people.find_person_number(session, KEYS, read_address("dee@example.org"))
        dee = ledger.lock_person(session, number or 0)
        assert dee is not None
        ledger.append_event(session, dee, ConsentKind.CONFIRMED, {}, NOW)
    assert _state(context, "bo") is PersonState.SUBSCRIBED  # as soon as the import is done
    abandon_batch(context.database, batch, actor="eve", now=NOW)
    assert _state(context, "bo") is PersonState.UNVERIFIED
    assert _state(context, "cy") is PersonState.UNVERIFIED
    assert _state(context, "dee") is PersonState.SUBSCRIBED
    assert _state(context, "r0") is None
    with context.database.read() as session:
        assert [r.number for r in audience.load_audience_page(session)] == [number]
        open_token = one_time_tokens.find_open_token(session, cy.number, "confirm", now=NOW)
        assert open_token is not None, "their own request still waits for its answer"
    _sound(context)


@pytest.mark.takes_turns
def test_a_drop_that_is_cut_short_is_finished_by_the_next(context: ImportContext, tmp_path: Path) -> None:
    path = _file(tmp_path, *(f"r{n}" for n in range(MANY)))
    batch = _cut_short(context, path)
    with pytest.raises(Crash), crash_at(2):
        abandon_batch(context.database, batch, actor="eve", now=NOW)
    with context.database.read() as session:
        assert [unfinished.batch for unfinished in list_unfinished_imports(session)] == [batch]
        assert audience.count_audience(session) == 0
    result = abandon_batch(context.database, batch, actor="eve", now=NOW)
    assert result is not None
    assert result.removed == MAX_STEP_ROWS - PAGE_SIZE
    with context.database.read() as session:
        assert session.scalars(select(Person).where(Person.ciphertext.is_not(None))).all() == []
    _sound(context)


@pytest.mark.takes_turns
def test_an_import_that_is_dropped_while_it_runs_ends_and_nobody_is_mailed(
    context: ImportContext, tmp_path: Path
) -> None:
    path = _file(tmp_path, *(f"r{n}" for n in range(3 * MAX_STEP_ROWS)))
    dropped: list[int] = []

    def drop(row: int) -> None:
        if row > MAX_STEP_ROWS and not dropped:
            with context.database.read() as session:
                (one,) = list_unfinished_imports(session)
            dropped.append(one.batch)
            abandon_batch(context.database, one.batch, actor="eve", now=NOW)

    small = {"on_reject": lambda *_: None, "progress": drop}
    with pytest.raises(ListFileError, match="undone by another process"):
        run_import(context, survey_file(path), ImportOptions(), now=NOW, **small)  # type: ignore[arg-type]
    with context.database.read() as session:
        assert audience.count_audience(session) == 0
        assert session.scalars(select(Person).where(Person.ciphertext.is_not(None))).all() == []
    _sound(context)


def _run(*words: str, typed: str = "") -> Result:
    return CliRunner().invoke(digest, ["subscribers", "import", *words], input=typed)


def test_the_command_lists_asks_and_drops(new_home: Path, tmp_path: Path) -> None:
    KeyRing.create(new_home / "keys.json")
    assert "There are no unfinished imports." in _run("--list").output
    with open_installation(load_settings()) as install:
        context = ImportContext(
            install.database, install.keys, UnsubscribeLog(tmp_path / "left.log", install.keys), "eve"
        )
        batch = _cut_short(context, _file(tmp_path, *(f"r{n}" for n in range(MANY))))
    (row,) = json.loads(_run("--list", "--json").output)
    assert (row["batch"], row["name"]) == (batch, "Mailchimp")
    assert row["people"] >= MAX_STEP_ROWS
    no = _run("--abandon", str(batch), typed="n\n")
    assert (no.exit_code, len(json.loads(_run("--list", "--json").output))) == (1, 1)
    yes = _run("--abandon", str(batch), typed="y\n")
    assert yes.exit_code == 0
    assert f"Undid import {batch} (1,000 people removed)." in yes.output
    second = _run("--abandon", str(batch), "--yes")
    assert second.exit_code == 1
    assert f"There's no unfinished import {batch}." in second.output
    assert _run().exit_code == 2
    assert _run("--list", "--abandon", "1").exit_code == 2
    with open_installation(load_settings()) as install, install.database.read() as session:
        assert session.scalars(select(AuditEntry.act)).all() == ["import abandoned"]
