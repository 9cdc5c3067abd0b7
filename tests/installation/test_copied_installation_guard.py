"""A database opened in a different place than last time may be a copy, so nothing is sent until an admin decides."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy import text

from digest.deliver.control import installation_hold
from digest.deliver.control.installation_hold import InstallationHold
from digest.installation import copied_installation_guard
from digest.installation.opened_installation import open_installation
from digest.settings import Settings
from digest.store.engine import Database
from tests.moments import AFTER_RELEASE as NOW

file_mark = pytest.mark.sqlite  # files are copied, moved and put back; PostgreSQL's marks have tests of their own


def open_at(home: Path, **said: str) -> InstallationHold | None:
    with open_installation(Settings(home=home, **said), may_create=True) as install, install.database.read() as session:  # type: ignore[arg-type]
        return installation_hold.read_current_hold(session)


def release(home: Path) -> None:
    with open_installation(Settings(home=home)) as install, install.database.write() as session:
        installation_hold.resume_all_sending(session)


@file_mark
def test_an_installation_that_stays_where_it_is_is_never_held(tmp_path: Path) -> None:
    assert [open_at(tmp_path / "home") for _ in range(3)] == [None, None, None]


@file_mark
def test_another_way_to_the_same_folder_is_no_other_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_at(tmp_path / "home")
    (tmp_path / "link").symlink_to(tmp_path / "home")
    monkeypatch.chdir(tmp_path)
    assert open_at(tmp_path / "link") is None
    assert open_at(Path("home")) is None


@file_mark
def test_a_copy_is_held_says_how_to_go_on_and_the_original_is_not(tmp_path: Path) -> None:
    open_at(tmp_path / "home")
    shutil.copytree(tmp_path / "home", tmp_path / "copy")
    held = open_at(tmp_path / "copy")
    assert held is not None
    assert f"in another location ({tmp_path}/home/digest.db)" in held.reason
    assert "run 'digest resume --all'" in str(held)
    assert open_at(tmp_path / "home") is None
    release(tmp_path / "copy")
    assert open_at(tmp_path / "copy") is None


@file_mark
def test_a_copy_of_a_copy_is_held_again(tmp_path: Path) -> None:
    open_at(tmp_path / "home")
    shutil.copytree(tmp_path / "home", tmp_path / "copy")
    open_at(tmp_path / "copy")
    release(tmp_path / "copy")
    shutil.copytree(tmp_path / "copy", tmp_path / "third")
    assert open_at(tmp_path / "third") is not None


@file_mark
def test_an_older_file_that_was_put_in_the_place_of_the_database_is_held(tmp_path: Path) -> None:
    home = tmp_path / "home"
    open_at(home)
    shutil.copy(home / "digest.db", tmp_path / "yesterday.db")
    (home / "digest.db").unlink()
    for log in home.glob("digest.db-*"):
        log.unlink()
    shutil.move(tmp_path / "yesterday.db", home / "digest.db")
    held = open_at(home)
    assert held is not None
    assert "because its database was last used in another file." in held.reason


@file_mark
def test_a_folder_that_was_moved_costs_one_command(tmp_path: Path) -> None:
    open_at(tmp_path / "home")
    (tmp_path / "home").rename(tmp_path / "moved")
    assert open_at(tmp_path / "moved") is not None
    release(tmp_path / "moved")
    assert open_at(tmp_path / "moved") is None


@file_mark
def test_a_name_in_the_settings_takes_the_place_of_all_marks(tmp_path: Path) -> None:
    open_at(tmp_path / "home", installation="hls")
    shutil.copytree(tmp_path / "home", tmp_path / "container")
    assert open_at(tmp_path / "container", installation="hls") is None
    held = open_at(tmp_path / "container", installation="test")
    assert held is not None
    assert "under another name (hls)" in held.reason


def test_what_a_container_does_not_know_is_no_difference() -> None:
    here = {"machine": "", "path": "/data/digest.db", "file": "7"}
    assert copied_installation_guard.describe_differences(here | {"machine": "abc"}, here) == []
    assert copied_installation_guard.describe_differences(here, here | {"machine": "abc"}) == []
    assert len(copied_installation_guard.describe_differences(here | {"file": "8"}, here)) == 1
    assert len(copied_installation_guard.describe_differences({"name": "hls"}, here)) == 1


@pytest.mark.parametrize("mark", ["server", "database", "file"])
def test_postgresql_knows_another_server_and_another_database(postgresql: Database, tmp_path: Path, mark: str) -> None:
    settings = Settings(home=tmp_path)
    here = copied_installation_guard.read_database_identity(postgresql, settings)
    assert all(here.values())
    for _ in range(2):
        copied_installation_guard.pause_if_copied(postgresql, settings, now=NOW)
    with postgresql.write() as session:
        assert installation_hold.read_current_hold(session) is None
        installation_hold.write_installation_value(
            session, installation_hold.IDENTITY_STATE_KEY, here | {mark: "another"}, now=NOW
        )
    copied_installation_guard.pause_if_copied(postgresql, settings, now=NOW)
    with postgresql.read() as session:
        held = installation_hold.read_current_hold(session)
        acts = session.execute(text("SELECT act, actor FROM audit")).all()
    assert held is not None
    assert "this may be a copy" in held.reason
    assert [tuple(row) for row in acts] == [("held", "the copy guard")]
