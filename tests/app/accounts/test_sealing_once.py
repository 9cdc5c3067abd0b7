"""Rows of before are sealed once in the life of a key file, and the database can't ask for it again."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from digest.app.upkeep.keys import restore_keys, rotate_key
from digest.backups.creation import create_backup
from digest.backups.migration import move_database, parse_target_url
from digest.backups.restore import restore_backup
from digest.deliver.retention.edition_figures import load_edition_figures
from digest.installation.audited_actions import terminal_actor
from digest.installation.opened_installation import open_installation
from digest.installation.sending_pause import pause_all_sending, resume_all_sending
from digest.settings import Settings
from digest.store import staff, staff_sessions
from digest.store.audit import hash_audit_entry, record_audit
from digest.store.audit_chain import verify_audit_log
from digest.store.delivery_models import StaffMember
from digest.store.engine import Database, open_database, run_migrations_to_revision
from subscribers.crypto.key_file import create_file
from subscribers.crypto.keys import KeyRing
from subscribers.store.keyed_row_seals import find_forged_rows
from tests.moments import DRAFTING as NOW
from tests.run_database import run_on_server, sibling_database_url

EVE = terminal_actor("eve")
SAM = "sam@newsroom.example"
MEMBER = (
    "INSERT INTO staff (email, role, added_at, added_by, proven_at, name) "
    "VALUES ('{}', 'admin', '2026-11-01 00:00:00', 'test', '2026-11-01 00:00:00', '')"
)


def write_key_file(home: Path, *, marked: bool, without: tuple[str, ...] = ("access", "audit")) -> str:
    """Write a key file as an older version did, or one that says that rows are sealed; return its text."""
    said = json.loads(KeyRing.generate().to_json())
    said["keys"] = [key for key in said["keys"] if marked or key["kind"] not in without]
    create_file(home / "keys.json", json.dumps(said))
    return (home / "keys.json").read_text("utf-8")


def make_home(home: Path, url: str) -> Settings:
    """Make an installation of the version before, with Sam on its staff."""
    home.mkdir(mode=0o700, exist_ok=True)
    with (
        closing(open_database(url)) as database,
        database.engine.execution_options(immediate=True).begin() as connection,
    ):
        run_migrations_to_revision(connection, "head")
        connection.execute(text(MEMBER.format(SAM)))
    return Settings(home=home, database_url=url)


@pytest.fixture(params=["sqlite", "postgresql"])
def older(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """Give an installation of the version before, without a key file."""
    home = tmp_path / "home"
    if request.param == "sqlite":
        yield make_home(home, f"sqlite:///{home / 'digest.db'}")
        return
    server = request.getfixturevalue("postgresql_url")
    run_on_server(server, "DROP DATABASE IF EXISTS older WITH (FORCE)", "CREATE DATABASE older TEMPLATE template0")
    yield make_home(home, sibling_database_url(server, "older"))


def list_staff(settings: Settings) -> list[str]:
    with open_installation(settings) as installation, installation.database.read() as session:
        return [member.email for member in staff.list_staff_members(session)]


def forge_member(settings: Settings, email: str) -> None:
    with closing(open_database(settings.effective_database_url)) as database, database.engine.begin() as connection:
        connection.execute(text(MEMBER.format(email)))


def test_rows_of_before_are_sealed_when_the_new_version_first_opens_them_and_never_again(older: Settings) -> None:
    write_key_file(older.home, marked=False)
    assert list_staff(older) == [SAM]
    assert not KeyRing.load(older.key_file).unmarked_kinds
    forge_member(older, "eve@elsewhere.example")
    assert list_staff(older) == [SAM]


def log_older_action(settings: Settings, act: str, subject: str, detail: dict[str, str]) -> None:
    """Append a row to the audit log as anyone can, and as versions did that had no key for it."""
    with closing(open_database(settings.effective_database_url)) as database, database.engine.begin() as connection:
        newest = text("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")
        last = connection.execute(newest).one_or_none()
        seq, previous = (last.seq + 1, last.hash) if last else (1, "")
        said = (seq, "2026-11-01 00:00:00.000000", "terminal:root", act, subject, detail)
        values = "'{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}'".format(
            *(seq, said[1], *said[2:5], json.dumps(detail), previous, hash_audit_entry(*said, previous=previous))
        ).replace(":", "\\:")
        connection.execute(
            text(f"INSERT INTO audit (seq, at, actor, act, subject, detail, previous, hash) VALUES ({values})")
        )


def find_audit_fault(settings: Settings) -> str:
    with open_installation(settings) as installation, installation.database.read() as session:
        return verify_audit_log(session).fault


@pytest.mark.parametrize("without", [("access", "audit"), ("audit",)], ids=["0043", "0060"])
def test_the_audit_log_of_before_is_keyed_once_and_never_again(older: Settings, without: tuple[str, ...]) -> None:
    write_key_file(older.home, marked=False)
    list_staff(older)
    before = KeyRing.load(older.key_file)
    older.key_file.unlink()
    create_file(older.key_file, json.dumps(left_out(before, without)))
    log_older_action(older, "staff added", "staff 1", {"role": "admin"})
    for act in ("staff removed", "settings changed", "settings changed"):
        log_older_action(older, act, "staff 1", {})
    assert find_audit_fault(older) == ""
    assert list_staff(older) == []
    log_older_action(older, "staff added", "staff 1", {"role": "admin"})
    with closing(open_database(older.effective_database_url)) as database, database.engine.begin() as connection:
        connection.execute(text("UPDATE audit SET mac = '', access_seq = NULL"))
    assert "row 1 wasn't written with this installation's keys, nor were 4 after it" in find_audit_fault(older)


def left_out(keys: KeyRing, kinds: tuple[str, ...]) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(keys.to_json())
    return said | {"keys": [key for key in said["keys"] if key["kind"] not in kinds]}


def test_after_a_schema_was_put_back_no_audit_row_is_keyed(older: Settings) -> None:
    write_key_file(older.home, marked=True)
    log_older_action(older, "staff added", "staff 1", {"role": "admin"})
    assert "row 1 wasn't written" in find_audit_fault(older)


def test_an_audit_row_is_verified_with_the_key_that_it_was_written_with(older: Settings) -> None:
    write_key_file(older.home, marked=True)
    with open_installation(older) as running:
        for _ in range(2):
            with open_installation(older) as installation:
                rotate_key(installation, EVE, "audit", force_new_key=False, now=NOW, progress=lambda *_: None)
        with running.database.write() as session:
            record_audit(session, "backed up", "installation", {}, actor="test", now=NOW)
    with open_installation(older) as installation, installation.database.read() as session:
        macs = session.scalars(text("SELECT mac FROM audit ORDER BY seq")).all()
        assert verify_audit_log(session).fault == ""
    assert [mac.partition("-")[0] for mac in macs] == ["1", "2", "3"]


def test_a_row_written_while_the_key_file_was_missing_fails_verification_and_hides_no_other_change(
    older: Settings,
) -> None:
    kept = write_key_file(older.home, marked=True)
    with open_installation(older) as installation:
        pause_all_sending(installation, reason="", actor=EVE, now=NOW)
    older.key_file.unlink()
    with open_installation(older) as installation:
        resume_all_sending(installation, actor=EVE, now=NOW)
    create_file(older.key_file, kept)
    with open_installation(older) as installation:
        pause_all_sending(installation, reason="", actor=EVE, now=NOW)
    assert find_audit_fault(older) == "audit log: row 2 wasn't written with this installation's keys"
    with open_installation(older) as installation:
        result, _ = rotate_key(installation, EVE, "audit", force_new_key=False, now=NOW, progress=lambda *_: None)
    assert (result.rows_moved, find_audit_fault(older)) == (1, "")
    with closing(open_database(older.effective_database_url)) as database, database.engine.begin() as connection:
        connection.execute(text("UPDATE audit SET mac = '' WHERE seq = 2"))
        connection.execute(text("UPDATE audit SET subject = 'list' WHERE seq = 3"))
    assert "row 3 was changed" in find_audit_fault(older)


def test_a_backup_makes_no_audit_row_ours_that_was_not(older: Settings, tmp_path: Path) -> None:
    keys = KeyRing.parse("keys", write_key_file(older.home, marked=False))
    log_older_action(older, "staff added", "staff 1", {"role": "admin"})
    list_staff(older)
    log_older_action(older, "staff removed", "staff 1", {})
    with closing(open_database(older.effective_database_url)) as database:
        create_backup(database, tmp_path / "backup.zip", passphrase=None, now=NOW)
    done = restore_backup(older, tmp_path / "backup.zip", keys, replace=True, actor="terminal:eve", now=NOW)
    assert (done.proof.fault or "").startswith("audit log: row 2 wasn't written")
    assert list_staff(older) == [SAM]


def test_the_figures_of_before_are_kept_and_sealed_once(older: Settings) -> None:
    write_key_file(older.home, marked=False)
    forge_figures(older, "2026-W46", at="2026-11-13 11:00:00.123456")
    assert list_figures(older) == [("2026-W46", 7, {"2026-11-13 11": 7}, 123456)]
    forge_figures(older, "2026-W47", at="2026-11-20 11:00:00")
    assert [name for name, *_ in list_figures(older)] == ["2026-W46"]


def forge_figures(settings: Settings, name: str, *, at: str) -> None:
    columns = "name, number, release_at, handed_over, refused, complained, hours, counted_at"
    values = f"""'{name}', 1, '{at}', 7, 0, 0, '{{"2026-11-13 11": 7}}', '{at}'"""
    statement = f"INSERT INTO edition_figures ({columns}) VALUES ({values})".replace(":", "\\:")
    with closing(open_database(settings.effective_database_url)) as database, database.engine.begin() as connection:
        connection.execute(text(statement))


def list_figures(settings: Settings) -> list[tuple[str, int, dict[str, int], int]]:
    with open_installation(settings) as installation, installation.database.read() as session:
        found = load_edition_figures(session, 9)
        return [(each.name, each.handed_over, each.hours, each.release_at.microsecond) for each in found]


def test_the_edits_and_the_proposal_of_a_draft_of_before_are_sealed_once(older: Settings) -> None:
    write_key_file(older.home, marked=False)
    run_statements(older, EDITION, EDIT.format(seq=1), "INSERT INTO proposal (id, hash, body) VALUES (1, 'h', '')")
    assert list_forged(older) == {}
    run_statements(older, EDIT.format(seq=2))
    assert list_forged(older) == {"edit": [2]}


EDITION = (
    "INSERT INTO edition (id, slot, name, number, state, opens_at, cut_off, release_at, drafted_at, subject, preheader, content, "
    "held_because) VALUES (1, 's', '2026-W47', 1, 'draft', '2026-11-13 11:00:00', '2026-11-20 11:00:00', '2026-11-20 12:00:00', "
    "'2026-11-20 11:00:00', '', '', '{{}}', '')"
).format()
EDIT = (
    "INSERT INTO edit (edition_id, seq, at, actor, kind, target, value) "
    "VALUES (1, {seq}, '2026-11-20 11:00:00', 'staff 1', 'note', 'x', '{{}}')"
)


def run_statements(settings: Settings, *statements: str) -> None:
    with closing(open_database(settings.effective_database_url)) as database, database.engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement.replace(":", "\\:")))


def list_forged(settings: Settings) -> dict[str, list[int]]:
    with open_installation(settings) as installation, installation.database.read() as session:
        return {model.__tablename__: ids for model, ids in find_forged_rows(session, installation.keys).items()}


def test_a_schema_that_was_put_back_has_no_row_sealed(older: Settings) -> None:
    write_key_file(older.home, marked=True)
    run_statements(older, EDITION, EDIT.format(seq=1), "INSERT INTO proposal (id, hash, body) VALUES (1, 'h', '')")
    assert list_staff(older) == []  # whoever made these rows, this key file sealed its own long ago
    assert list_forged(older) == {"edit": [1], "proposal": [1], "staff": [1]}


def test_a_second_machine_with_a_key_file_of_before_seals_nothing(older: Settings) -> None:
    copy = write_key_file(older.home, marked=False)
    assert list_staff(older) == [SAM]
    forge_member(older, "eve@elsewhere.example")
    older.key_file.unlink()
    create_file(older.key_file, copy)
    assert list_staff(older) == [SAM]
    assert not KeyRing.load(older.key_file).unmarked_kinds


def test_a_recovery_copy_of_before_finds_the_rows_sealed(older: Settings) -> None:
    copy = write_key_file(older.home, marked=False)
    assert list_staff(older) == [SAM]
    older.key_file.unlink()
    with open_installation(older) as installation:
        restore_keys(installation, EVE, copy, replace=False, now=NOW)
    assert list_staff(older) == [SAM]


def test_rotating_the_key_seals_the_genuine_rows_anew_and_discards_the_others(older: Settings) -> None:
    write_key_file(older.home, marked=False)
    assert list_staff(older) == [SAM]
    forge_member(older, "eve@elsewhere.example")
    with open_installation(older) as installation:
        result, _ = rotate_key(installation, EVE, "access", force_new_key=False, now=NOW, progress=lambda *_: None)
        assert result.rows_moved == 1
        with installation.database.read() as session:
            seals: dict[str, str] = {
                row.email: row.seal for row in session.execute(text("SELECT email, seal FROM staff"))
            }
    assert seals[SAM].startswith(f"{result.key_id}:")
    assert seals.keys() == {SAM, "staff 2"}
    assert list_staff(older) == [SAM]
    with open_installation(older) as installation, installation.database.read() as session:
        assert find_forged_rows(session, installation.keys) == {}
        assert [m.id for m in staff.list_active_staff(session, removed_after=NOW)] == [1]


def test_a_process_that_runs_on_reads_and_writes_rows_after_a_rotation(older: Settings) -> None:
    write_key_file(older.home, marked=False)
    with open_installation(older) as running:
        with open_installation(older) as installation:
            rotate_key(installation, EVE, "access", force_new_key=False, now=NOW, progress=lambda *_: None)
        with running.database.write() as session:
            member = staff.require_staff_member(session, SAM)
            token = staff_sessions.begin_session(session, member, network="x", browser="x", now=NOW)
        with running.database.read() as session:
            assert staff_sessions.find_session(session, token, now=NOW) is not None


def test_a_backup_keeps_seals_and_makes_no_forged_row_genuine(older: Settings, tmp_path: Path) -> None:
    write_key_file(older.home, marked=False)
    assert list_staff(older) == [SAM]
    forge_member(older, "eve@elsewhere.example")
    file = tmp_path / "newer.zip"
    with closing(open_database(older.effective_database_url)) as database:
        create_backup(database, file, passphrase=None, now=NOW)
    restore_backup(older, file, KeyRing.load(older.key_file), replace=True, actor="terminal:eve", now=NOW)
    assert list_staff(older) == [SAM]


def test_rows_moved_to_another_database_keep_their_seals(older: Settings, tmp_path: Path, postgresql_url: str) -> None:
    write_key_file(older.home, marked=False)
    assert list_staff(older) == [SAM]
    to_file = older.effective_database_url.startswith("postgresql")
    run_on_server(
        postgresql_url,
        "DROP DATABASE IF EXISTS moved_seals WITH (FORCE)",
        "CREATE DATABASE moved_seals TEMPLATE template0",
    )
    url = f"sqlite:///{tmp_path / 'moved.db'}" if to_file else sibling_database_url(postgresql_url, "moved_seals")
    target = parse_target_url(url)
    keys = KeyRing.load(older.key_file)
    move_database(older.effective_database_url, target, keys, actor="terminal:eve", now=NOW)
    moved = older.model_copy(update={"database_url": url})
    assert list_staff(moved) == [SAM]


def test_a_new_installation_says_from_the_start_that_its_rows_are_sealed(
    one_database: Database, tmp_path: Path
) -> None:
    keys = KeyRing.create(tmp_path / "keys.json")
    assert not keys.unmarked_kinds
    with one_database.write() as session:
        session.add(StaffMember(email=SAM, role="editor", added_at=NOW, added_by="test"))
    with one_database.read() as session:
        assert [member.email for member in staff.list_staff_members(session)] == [SAM]
