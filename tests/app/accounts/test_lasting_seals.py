"""Sealed rows stay valid through rotations, backups, and moves, and none of these makes a forged row valid."""

import json
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from digest.app.upkeep.keys import rotate_key
from digest.backups.creation import create_backup
from digest.backups.migration import move_database, parse_target_url
from digest.backups.restore import restore_backup
from digest.installation.audited_actions import make_terminal_actor
from digest.installation.opened_installation import open_installation
from digest.installation.sending_pause import pause_all_sending, resume_all_sending
from digest.settings import Settings
from digest.store import staff, staff_sessions
from digest.store.audit import hash_audit_entry, record_audit
from digest.store.audit_chain import verify_audit_log
from digest.store.delivery_models import StaffMember
from digest.store.engine import open_database
from subscribers.crypto.key_file import create_file
from subscribers.crypto.keys import KeyRing
from subscribers.store.keyed_row_seals import find_forged_rows
from tests.moments import DRAFTING as NOW
from tests.run_database import run_on_server, sibling_database_url

EVE = make_terminal_actor("eve")
SAM = "sam@newsroom.example"
MEMBER = (
    "INSERT INTO staff (email, role, added_at, added_by, proven_at, name) "
    "VALUES ('{}', 'admin', '2026-11-01 00:00:00', 'test', '2026-11-01 00:00:00', '')"
)


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Give an installation with keys, and with Sam on its staff."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    url = f"sqlite:///{home / 'digest.db'}"
    if request.param == "postgresql":
        server = request.getfixturevalue("postgresql_url")
        run_on_server(server, "DROP DATABASE IF EXISTS seals WITH (FORCE)", "CREATE DATABASE seals TEMPLATE template0")
        url = sibling_database_url(server, "seals")
    settings = Settings(home=home, database_url=url)
    KeyRing.create(settings.key_file)
    with open_installation(settings, may_create=True) as installation, installation.write() as session:
        session.add(StaffMember(email=SAM, role="admin", added_at=NOW, added_by="test", proven_at=NOW))
    return settings


def list_staff(settings: Settings) -> list[str]:
    with open_installation(settings) as installation, installation.database.read() as session:
        return [member.email for member in staff.list_staff_members(session)]


def forge_member(settings: Settings, email: str) -> None:
    with closing(open_database(settings.effective_database_url)) as database, database.engine.begin() as connection:
        connection.execute(text(MEMBER.format(email)))


def forge_action(settings: Settings, act: str, subject: str, detail: dict[str, str]) -> None:
    """Append a row to the audit log as anyone can who has no key."""
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


def test_an_audit_row_is_verified_with_the_key_that_it_was_written_with(settings: Settings) -> None:
    with open_installation(settings) as running:
        for _ in range(2):
            with open_installation(settings) as installation:
                rotate_key(installation, EVE, "audit", force_new_key=False, now=NOW, progress=lambda *_: None)
        with running.database.write() as session:
            record_audit(session, "backed up", "installation", {}, actor="test", now=NOW)
    with open_installation(settings) as installation, installation.database.read() as session:
        macs = session.scalars(text("SELECT mac FROM audit ORDER BY seq")).all()
        assert verify_audit_log(session).fault == ""
    assert [mac.partition("-")[0] for mac in macs] == ["1", "2", "3"]


def test_a_row_written_while_the_key_file_was_missing_fails_verification_and_hides_no_other_change(
    settings: Settings,
) -> None:
    kept = settings.key_file.read_text("utf-8")
    with open_installation(settings) as installation:
        pause_all_sending(installation, reason="", actor=EVE, now=NOW)
    settings.key_file.unlink()
    with open_installation(settings) as installation:
        resume_all_sending(installation, actor=EVE, now=NOW)
    create_file(settings.key_file, kept)
    with open_installation(settings) as installation:
        pause_all_sending(installation, reason="", actor=EVE, now=NOW)
    assert find_audit_fault(settings) == "audit log: row 2 wasn't written with this installation's keys"
    with open_installation(settings) as installation:
        result, _ = rotate_key(installation, EVE, "audit", force_new_key=False, now=NOW, progress=lambda *_: None)
    assert (result.rows_moved, find_audit_fault(settings)) == (1, "")
    with closing(open_database(settings.effective_database_url)) as database, database.engine.begin() as connection:
        connection.execute(text("UPDATE audit SET mac = '' WHERE seq = 2"))
        connection.execute(text("UPDATE audit SET subject = 'list' WHERE seq = 3"))
    assert "row 3 was changed" in find_audit_fault(settings)


def test_a_backup_makes_no_audit_row_ours_that_was_not(settings: Settings, tmp_path: Path) -> None:
    keys = KeyRing.load(settings.key_file)
    with open_installation(settings) as installation, installation.write() as session:
        record_audit(session, "staff added", "staff 1", {"role": "admin"}, actor="test", now=NOW)
    forge_action(settings, "staff removed", "staff 1", {})
    with closing(open_database(settings.effective_database_url)) as database:
        create_backup(database, tmp_path / "backup.zip", passphrase=None, now=NOW)
    done = restore_backup(settings, tmp_path / "backup.zip", keys, replace=True, actor="terminal:eve", now=NOW)
    assert (done.proof.fault or "").startswith("audit log: row 2 wasn't written")
    assert list_staff(settings) == [SAM]


def test_rotating_the_key_seals_the_genuine_rows_anew_and_discards_the_others(settings: Settings) -> None:
    assert list_staff(settings) == [SAM]
    forge_member(settings, "eve@elsewhere.example")
    with open_installation(settings) as installation:
        result, _ = rotate_key(installation, EVE, "access", force_new_key=False, now=NOW, progress=lambda *_: None)
        assert result.rows_moved == 1
        with installation.database.read() as session:
            seals: dict[str, str] = {
                row.email: row.seal for row in session.execute(text("SELECT email, seal FROM staff"))
            }
    assert seals[SAM].startswith(f"{result.key_id}:")
    assert seals.keys() == {SAM, "staff 2"}
    assert list_staff(settings) == [SAM]
    with open_installation(settings) as installation, installation.database.read() as session:
        assert find_forged_rows(session, installation.keys) == {}
        assert [m.id for m in staff.list_active_staff(session, removed_after=NOW)] == [1]


def test_a_process_that_runs_on_reads_and_writes_rows_after_a_rotation(settings: Settings) -> None:
    with open_installation(settings) as running:
        with open_installation(settings) as installation:
            rotate_key(installation, EVE, "access", force_new_key=False, now=NOW, progress=lambda *_: None)
        with running.database.write() as session:
            member = staff.require_staff_member(session, SAM)
            token = staff_sessions.begin_session(session, member, network="x", browser="x", now=NOW)
        with running.database.read() as session:
            assert staff_sessions.find_session(session, token, now=NOW) is not None


def test_a_backup_keeps_seals_and_makes_no_forged_row_genuine(settings: Settings, tmp_path: Path) -> None:
    assert list_staff(settings) == [SAM]
    forge_member(settings, "eve@elsewhere.example")
    file = tmp_path / "newer.zip"
    with closing(open_database(settings.effective_database_url)) as database:
        create_backup(database, file, passphrase=None, now=NOW)
    restore_backup(settings, file, KeyRing.load(settings.key_file), replace=True, actor="terminal:eve", now=NOW)
    assert list_staff(settings) == [SAM]


def test_rows_moved_to_another_database_keep_their_seals(
    settings: Settings, tmp_path: Path, postgresql_url: str
) -> None:
    assert list_staff(settings) == [SAM]
    to_file = settings.effective_database_url.startswith("postgresql")
    run_on_server(
        postgresql_url,
        "DROP DATABASE IF EXISTS moved_seals WITH (FORCE)",
        "CREATE DATABASE moved_seals TEMPLATE template0",
    )
    url = f"sqlite:///{tmp_path / 'moved.db'}" if to_file else sibling_database_url(postgresql_url, "moved_seals")
    target = parse_target_url(url)
    keys = KeyRing.load(settings.key_file)
    move_database(settings.effective_database_url, target, keys, actor="terminal:eve", now=NOW)
    moved = settings.model_copy(update={"database_url": url})
    assert list_staff(moved) == [SAM]
