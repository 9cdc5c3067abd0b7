"""Keys are rotated while the installation works, and a killed rotation is finished by the next."""

import json
import stat
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import select, update

from digest.cli import digest
from digest.settings import load_settings
from digest.store.engine import Database, migrate_schema, open_database
from digest.store.models import AuditEntry
from subscribers.address import read_address
from subscribers.consent import audience, evidence, seals, suppression
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto import key_file, link_tokens
from subscribers.crypto.keys import KEY_KINDS, KeyFileError, KeyKind, KeyRing, SecretKey
from subscribers.crypto.stored_addresses import decrypt_address, make_lookup_hash
from subscribers.lifecycle.erasure import erase_person
from subscribers.signup import manual_signup
from subscribers.signup.manual_signup import ConsentEvidence
from subscribers.store import key_rotation, people
from subscribers.store.key_rotation import rotate_key
from subscribers.store.models import ConsentEvent, Person, PersonState, Suppression
from subscribers.store.signup_models import RequestEvidence
from tests.conftest import ROOT, forget_nowhere_else
from tests.moments import AFTER_RELEASE as NOW
from tests.shared_statements import share_compiled_statements
from tests.subscribers.stored_evidence import open_evidence

YES = ConsentEvidence(
    wording="Yes.",
    wording_version="1",
    language="en",
    page="hls.today",
    method="form",
    actor="test",
    agreed_at=NOW - timedelta(days=9),
)
NAMES = [f"reader{n:03}" for n in range(12)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give a key file."""
    KeyRing.create(tmp_path / "keys.json")
    return tmp_path / "keys.json"


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_rotation, "BATCH_SIZE", 5)


def _add(database: Database, keys: KeyRing, *names: str) -> list[int]:
    with database.write() as session:
        return [
            manual_signup.add_subscriber(session, keys, f"{n}@{n}.example.org", evidence=YES, now=NOW).number
            for n in names
        ]


def _addresses(database: Database, keys: KeyRing) -> list[str]:
    with database.read() as session:
        return [subscriber.decrypt_address(keys) for subscriber in audience.load_audience_page(session)]


def _number(database: Database, keys: KeyRing, name: str) -> int | None:
    with database.read() as session:
        return people.find_person_number(session, keys, read_address(f"{name}@{name}.example.org"))


def _rows(database: Database) -> list[Person]:
    with database.read() as session:
        return list(session.scalars(select(Person).order_by(Person.number)))


@pytest.mark.parametrize("kind", ["vault", "lookup"])
def test_everybody_is_brought_over_to_the_fresh_key(database: Database, path: Path, kind: KeyKind) -> None:
    old = KeyRing.load(path)
    numbers = _add(database, old, *NAMES)
    before = _rows(database)
    seen: list[tuple[int, int]] = []
    rotation = rotate_key(database, path, kind, progress=lambda d, t: seen.append((d, t)))
    keys = KeyRing.load(path)
    assert rotation == key_rotation.RotationResult(
        kind, keys.current(kind).id, key_added=True, rows_moved=12, unmoved_rows=()
    )
    assert seen == [(5, 12), (10, 12), (12, 12)]
    assert _addresses(database, keys) == [f"{n}@{n}.example.org" for n in NAMES]
    assert [_number(database, keys, n) for n in NAMES] == numbers
    after = _rows(database)
    assert {p.key_id if kind == "vault" else p.lookup_key for p in after} == {rotation.key_id}
    assert not {(p.ciphertext if kind == "vault" else p.lookup) for p in before} & {
        (p.ciphertext if kind == "vault" else p.lookup) for p in after
    }
    assert [p.chain_head for p in before] == [p.chain_head for p in after]
    if kind == "lookup":
        assert len({p.domain_tag for p in before} | {p.domain_tag for p in after}) == 24


def test_each_rotation_makes_a_fresh_key_and_keeps_the_others(one_database: Database, path: Path) -> None:
    before = KeyRing.load(path)
    for kind in KEY_KINDS:
        assert rotate_key(one_database, path, kind).key_added
    after = KeyRing.load(path)
    assert len(after.all) == 2 * len(KEY_KINDS)
    assert set(before.all) < set(after.all)
    assert all(after.current(kind).number == 2 for kind in KEY_KINDS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.glob("*keys*")] == ["keys.json"]


def test_what_older_keys_made_still_verifies(one_database: Database, path: Path) -> None:
    old = KeyRing.load(path)
    (ada,) = _add(one_database, old, "ada")
    token = link_tokens.make_link_token(old, ada, "leave", address="")
    cy, unsubscribe_log = read_address("cy@example.org"), UnsubscribeLog(path.parent / "left.log", old)
    with one_database.write() as session:
        suppression.suppress_address(
            session, old, cy, reason="complained", actor="test", now=NOW, unsubscribe_log=unsubscribe_log
        )
    for kind in KEY_KINDS:
        rotate_key(one_database, path, kind)
    keys = KeyRing.load(path)
    assert link_tokens.read_link_token(keys, token, "leave") == (ada, 0)
    assert link_tokens.make_link_token(keys, ada, "leave", address="") != token
    with one_database.write() as session:
        suppressed = suppression.find_suppression(session, keys, cy)
        assert suppressed is not None
        suppression.suppress_address(
            session, keys, cy, reason="complained", actor="test", now=NOW, unsubscribe_log=unsubscribe_log
        )
        assert len(session.scalars(select(Suppression)).all()) == 1


def test_a_process_that_runs_on_finds_people_by_either_key(database: Database, path: Path) -> None:
    running = KeyRing.load(path)
    numbers = _add(database, running, *NAMES)
    old_id = running.current("lookup").id
    keys = key_rotation.add_key(path, "lookup")
    with database.write() as session:  # half of the people, as a rotation that is under way leaves them
        for person in session.scalars(select(Person).where(Person.number.in_(numbers[::2]))):
            address = read_address(_address_of(keys, person))
            person.lookup, person.lookup_key = make_lookup_hash(keys, address), keys.current("lookup").id
    assert {p.lookup_key for p in _rows(database)} == {old_id, keys.current("lookup").id}
    assert [_number(database, running, n) for n in NAMES] == numbers
    with database.write() as session:
        assert manual_signup.add_subscriber(
            session, running, "READER000@reader000.example.org", evidence=YES, now=NOW
        ).already_subscribed
    assert running.current("lookup") == keys.current("lookup")
    rotation = rotate_key(database, path, "lookup")
    assert (rotation.key_added, rotation.rows_moved) == (False, 6)


def _address_of(keys: KeyRing, person: Person) -> str:
    assert person.ciphertext is not None
    assert person.key_id is not None
    return decrypt_address(keys, (person.ciphertext, person.key_id), person.number)


def test_a_process_that_runs_on_opens_what_a_newer_key_encrypted(one_database: Database, path: Path) -> None:
    running = KeyRing.load(path)
    _add(one_database, running, "ada")
    rotate_key(one_database, path, "vault")
    assert _addresses(one_database, running) == ["ada@ada.example.org"]


def test_a_key_file_that_is_gone_or_damaged_for_a_moment_stops_no_running_process(
    one_database: Database, path: Path
) -> None:
    running = KeyRing.load(path)
    (ada,) = _add(one_database, running, "ada")
    text = path.read_text()
    path.unlink()
    assert _number(one_database, running, "ada") == ada
    path.write_text("half a fi")
    path.chmod(0o600)
    assert _number(one_database, running, "ada") == ada
    key_file.replace_file(path, text)
    assert _number(one_database, running, "ada") == ada


def test_a_key_file_that_lacks_keys_in_use_is_not_taken_by_a_running_process(
    one_database: Database, path: Path
) -> None:
    running, older = KeyRing.load(path), path.read_text()
    (ada,) = _add(one_database, running, "ada")
    rotate_key(one_database, path, "vault")
    assert _number(one_database, running, "ada") == ada
    newer, mine = path.read_text(), running.all
    for text in (KeyRing.generate().to_json(), older):
        key_file.replace_file(path, text)
        assert _number(one_database, running, "ada") == ada
        assert running.of_kind("vault") == tuple(key for key in mine if key.kind == "vault")
    key_file.replace_file(path, newer)
    key_rotation.add_key(path, "vault")
    assert len(running.of_kind("vault")) == 3, "its own file is followed again"


@pytest.mark.parametrize("kind", ["vault", "lookup"])
def test_a_rotation_that_is_cut_short_is_finished_before_a_new_key_is_made(
    one_database: Database, path: Path, kind: KeyKind
) -> None:
    _add(one_database, KeyRing.load(path), *NAMES)

    class _CutShortError(Exception):
        pass

    def cut(done: int, total: int) -> None:
        raise _CutShortError

    with pytest.raises(_CutShortError):
        rotate_key(one_database, path, kind, progress=cut)
    halfway = KeyRing.load(path)
    second = rotate_key(one_database, path, kind)
    assert (second.key_added, second.rows_moved, second.key_id) == (False, 7, halfway.current(kind).id)
    third = rotate_key(one_database, path, kind)
    assert (third.key_added, third.rows_moved) == (True, 12)


def test_the_network_address_behind_a_consent_is_encrypted_anew_too(database: Database, path: Path) -> None:
    keys = KeyRing.load(path)
    (ada,) = _add(database, keys, "ada")
    machine = evidence.RequestOrigin("192.0.2.7", "a browser")
    with database.write() as session:
        event = session.scalars(select(ConsentEvent).where(ConsentEvent.person == ada)).one()
        evidence.store_evidence(session, keys, event, machine, salt=evidence.make_evidence_salt(), until=NOW)
    rotation = rotate_key(database, path, "vault")
    assert (rotation.rows_moved, rotation.unmoved_rows) == (2, ())
    with database.read() as session:
        row = session.scalars(select(RequestEvidence)).one()
        assert row.key_id == rotation.key_id
        assert open_evidence(session, KeyRing.load(path), event.id) == machine


def test_fresh_makes_a_key_though_rows_of_two_older_ones_are_left(one_database: Database, path: Path) -> None:
    _add(one_database, KeyRing.load(path), "ada")
    key_rotation.add_key(path, "vault")
    _add(one_database, KeyRing.load(path), "bo")
    rotation = rotate_key(one_database, path, "vault", force_new_key=True)
    assert (rotation.key_added, rotation.rows_moved, rotation.key_id[0]) == (True, 2, "3")


def test_who_has_no_encrypted_address_keeps_the_old_look_up(one_database: Database, path: Path) -> None:
    keys = KeyRing.load(path)
    ada, bo, cy = _add(one_database, keys, "ada", "bo", "cy")
    with one_database.write() as session:  # Ada left, and the vault let her address go after 30 days
        session.execute(
            update(Person).where(Person.number == ada).values(ciphertext=None, key_id=None, state=PersonState.WITHDRAWN)
        )
        erase_person(
            session,
            keys,
            UnsubscribeLog(path.parent / "left.log", keys),
            bo,
            method="page",
            forget_elsewhere=forget_nowhere_else,
            now=NOW,
        )
    rotation = rotate_key(one_database, path, "lookup")
    assert (rotation.rows_moved, rotation.unmoved_rows) == (1, ())
    assert [p.lookup_key and p.lookup_key[0] for p in _rows(one_database)] == ["1", None, "2"]
    assert _number(one_database, KeyRing.load(path), "ada") == ada
    assert _number(one_database, KeyRing.load(path), "cy") == cy


def test_a_row_that_does_not_open_is_named_and_the_others_are_moved(one_database: Database, path: Path) -> None:
    keys = KeyRing.load(path)
    ada, _ = _add(one_database, keys, "ada", "bo")
    with one_database.write() as session:
        session.execute(update(Person).where(Person.number == ada).values(ciphertext=b"x" * 40))
    rotation = rotate_key(one_database, path, "vault")
    assert rotation.rows_moved == 1
    (stuck,) = rotation.unmoved_rows
    assert stuck.row == f"person {ada}"
    assert f"Can't decrypt the address of person {ada} with the vault key 1-" in stuck.reason
    assert [p.key_id and p.key_id[0] for p in _rows(one_database)] == ["1", "2"]


def test_two_people_of_one_address_are_named_and_left(one_database: Database, path: Path) -> None:
    keys = KeyRing.load(path)
    (ada,) = _add(one_database, keys, "ada")
    newer = key_rotation.add_key(path, "lookup")
    stray = KeyRing([k for k in newer.all if k.kind != "lookup"] + [newer.current("lookup")])
    (twin,) = _add(one_database, stray, "ada")  # by a process on another machine that knew only the new key
    rotation = rotate_key(one_database, path, "lookup")
    assert rotation.unmoved_rows == (
        key_rotation.UnrotatedRow(f"person {ada}", f"person {twin} has the same address; erase one of them"),
    )


def test_the_255th_key_is_the_last(tmp_path: Path) -> None:
    keys = KeyRing.from_seed(b"x")
    full = KeyRing([*keys.all, replace(keys.current("token"), number=255, secret=b"y" * 32)])
    with pytest.raises(KeyFileError, match="already 255 token keys"):
        full.with_new_key("token")
    assert full.with_new_key("vault").current("vault").number == 2


def test_uses_counts_rows_and_names_keys_that_are_missing(one_database: Database, path: Path) -> None:
    keys = KeyRing.load(path)
    _add(one_database, keys, "ada", "bo")
    other = KeyRing([*keys.all, SecretKey("vault", 7, b"z" * 32)])
    _add(one_database, other, "cy")
    with one_database.read() as session:
        usage = key_rotation.list_key_usage(session, keys)
    assert [(u.kind, u.rows) for u in usage if u.current] == [
        ("vault", 2),
        ("lookup", 3),
        ("token", None),
        ("return-path", None),
        ("session", None),
        ("suppression", 0),
        ("approval", None),
        ("commitment", None),
        ("access", None),
        ("audit", None),
    ]
    assert usage[-1] == key_rotation.KeyUsage(
        "vault", 7, other.current("vault").id, current=False, rows=1, in_file=False
    )


@pytest.mark.sqlite  # what a killed process leaves is copied as a file
@pytest.mark.parametrize("kind", [pytest.param("vault", marks=pytest.mark.soak), "lookup"])
def test_killed_at_any_step_the_installation_works_and_the_next_run_finishes(tmp_path: Path, kind: KeyKind) -> None:
    keys = KeyRing.create(tmp_path / "keys.json")
    database = open_database(f"sqlite:///{tmp_path / 'digest.db'}")
    migrate_schema(database)
    numbers = _add(database, keys, *NAMES[:7])
    with database.engine.connect() as connection:
        connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.exec_driver_sql("BEGIN")
    database.close()
    tool = ROOT / "tests" / "tools" / "killed_rotation.py"
    process = subprocess.run(
        [sys.executable, str(tool), str(tmp_path), kind],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT)},
    )
    copies = sorted(tmp_path.glob("died-*"))
    assert int(process.stdout) == len(copies) > 20
    halfway = 0
    for copy in copies:
        halfway += _works_and_finishes(copy, kind, numbers)
    assert halfway > 3


def _works_and_finishes(home: Path, kind: KeyKind, numbers: list[int]) -> bool:
    """Check one installation whose rotation was killed; say whether it had rows of both keys."""
    path = home / "keys.json"
    database = share_compiled_statements(open_database(f"sqlite:///{home / 'digest.db'}"))
    names = NAMES[: len(numbers)]
    keys = KeyRing.load(path)
    addresses = [f"{n}@{n}.example.org" for n in names]
    assert _addresses(database, keys) == addresses
    assert [_number(database, keys, n) for n in names] == numbers
    mixed = len({(p.key_id, p.lookup_key) for p in _rows(database)}) > 1
    rotation = rotate_key(database, path, kind)
    after = KeyRing.load(path)
    assert rotation.key_id == after.current(kind).id
    assert {p.key_id if kind == "vault" else p.lookup_key for p in _rows(database)} == {rotation.key_id}
    assert _addresses(database, after) == addresses
    assert [_number(database, after, n) for n in names] == numbers
    assert sorted(p.name for p in home.glob("*keys*")) == ["keys.json"]
    with database.read() as session:
        assert seals.verify_ledger(session, after).sound
    database.close()
    return mixed


@pytest.fixture
def home(new_home: Path) -> Path:
    """Give the home of an installation with one person, for the command line."""
    keys = KeyRing.create(new_home / "keys.json")
    database = open_database(load_settings().effective_database_url)
    migrate_schema(database)
    _add(database, keys, "ada")
    database.close()
    return new_home


def test_the_command_rotates_prints_the_recovery_copy_and_writes_an_audit_line(home: Path) -> None:
    result = CliRunner().invoke(digest, ["keys", "rotate", "vault"])
    assert result.exit_code == 0
    text = (home / "keys.json").read_text()
    assert f"apart from the backups:\n\n{text.strip()}\n" in result.output
    assert "Rows updated: 1" in result.output
    database = open_database(load_settings().effective_database_url)
    with database.read() as session:
        line = session.scalars(select(AuditEntry).where(AuditEntry.act == "key rotated")).one()
    database.close()
    assert line.subject == f"vault {KeyRing.load(home / 'keys.json').current('vault').id}"
    assert line.detail == {"made": True, "moved": 1, "stuck": 0}


def test_the_command_lists_keys_without_their_secrets(home: Path) -> None:
    CliRunner().invoke(digest, ["keys", "rotate", "token"])
    result = CliRunner().invoke(digest, ["keys", "list"])
    assert result.exit_code == 0
    for key in KeyRing.load(home / "keys.json").all:
        assert key.id in result.output
    rows = json.loads((home / "keys.json").read_text())["keys"]
    assert not [row for row in rows if row["secret"] in result.output]
    listed = json.loads(CliRunner().invoke(digest, ["keys", "list", "--json"]).output)
    assert [(u["kind"], u["rows"]) for u in listed][:2] == [("vault", 1), ("lookup", 1)]


def test_without_a_key_file_the_command_says_what_to_do(home: Path) -> None:
    (home / "keys.json").unlink()
    result = CliRunner().invoke(digest, ["keys", "rotate", "vault"])
    assert result.exit_code == 2
    assert "digest keys restore FILE" in result.output  # there are people, so new keys would be no remedy
