"""A command that root runs in a service's folder continues as the folder's owner, or says which command to run instead."""

import errno
import json
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from digest import folder_owner
from digest.folder_owner import FolderOwnerError, continue_as_owner, find_user_name

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")
OWNER = 54321  # without an account
AS_NUMBER = f"setpriv --reuid {OWNER} --regid {OWNER} --clear-groups -- digest COMMAND"
# The modules are imported as root: this machine's Python may be where only root reads.
AS_OWNER = """
import os, sys
from pathlib import Path
from digest import folder_owner
folder_owner.PROGRAM_FILES = ()
folder = Path(sys.argv[1])
name = folder_owner.continue_as_owner(folder)
(folder / "written").touch()
print(name, os.getuid(), os.geteuid(), os.getgid(), os.getgroups(), os.environ["HOME"], os.environ.get("USER"))
try:
    os.seteuid(0)
except PermissionError:
    print("for good")
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a folder of a service, where its owner can reach it."""
    with TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o711)
        place = Path(name) / "srv"
        place.mkdir()
        give_away(place)
        yield place


def give_away(place: Path) -> None:
    """Make the owner that of a folder and everything in it."""
    for path in (place, *place.rglob("*")):
        os.chown(path, OWNER, OWNER)


def run_python(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_process_is_the_owners_for_good(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "root")
    done = run_python(AS_OWNER, str(folder))
    assert done.stdout == f"{OWNER} {OWNER} {OWNER} {OWNER} [{OWNER}] {folder} root\nfor good\n", done.stderr
    written = (folder / "written").stat()
    assert (written.st_uid, written.st_gid) == (OWNER, OWNER)


def test_a_folder_that_is_missing_is_taken_for_its_parent_folders(folder: Path) -> None:
    done = run_python(AS_OWNER.replace('(folder / "written").touch()', ""), str(folder / "digest-data" / "more"))
    assert done.stdout.startswith(f"{OWNER} {OWNER} "), done.stderr


def test_in_its_own_folder_root_stays_root(tmp_path: Path) -> None:
    assert continue_as_owner(tmp_path) is None
    assert (os.getuid(), os.geteuid()) == (0, 0)


def test_an_owner_who_cannot_read_the_program_is_refused_with_the_command_to_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "python"
    secret.touch(mode=0o600)
    monkeypatch.setattr(folder_owner, "PROGRAM_FILES", (str(secret),))
    before = os.getuid(), os.geteuid(), os.getegid(), os.getgroups()
    with pytest.raises(FolderOwnerError, match=rf"{OWNER}, who can't read .*{AS_NUMBER}"):
        continue_as_owner(folder)
    assert (os.getuid(), os.geteuid(), os.getegid(), os.getgroups()) == before


@pytest.mark.parametrize("number", [errno.EPERM, errno.EINVAL])
def test_where_the_system_does_not_allow_it_the_command_is_printed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(folder_owner, "PROGRAM_FILES", ())
    monkeypatch.setattr(os, "setuid", refuse)
    monkeypatch.setattr(os, "setgid", lambda _: None)
    monkeypatch.setattr(os, "setgroups", lambda _: None)
    with pytest.raises(
        FolderOwnerError,
        match=rf"can't continue as another user here\. .* --user {OWNER}:{OWNER}\. Elsewhere: {AS_NUMBER}\.",
    ):
        continue_as_owner(folder)


def test_a_user_without_an_account_is_called_by_number() -> None:
    assert (find_user_name(0), find_user_name(OWNER)) == ("root", str(OWNER))


def test_the_program_is_read_with_the_accounts_own_groups(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder's group gives the account nothing that its own groups don't."""
    account = pwd.struct_passwd(("desk", "x", OWNER, OWNER + 1, "", "/srv/desk", "/bin/false"))
    monkeypatch.setattr(pwd, "getpwuid", lambda _: account)
    monkeypatch.setattr(os, "getgrouplist", lambda *_: [OWNER + 1, OWNER + 2])
    monkeypatch.setattr(os, "setuid", lambda _: None)
    monkeypatch.setattr(os, "setgid", lambda _: None)
    monkeypatch.setenv("HOME", "/root")
    program = folder.parent / "python"
    program.touch(mode=0o640)
    monkeypatch.setattr(folder_owner, "PROGRAM_FILES", (str(program),))
    groups = os.getgroups()
    os.chown(program, 0, OWNER)
    with pytest.raises(FolderOwnerError, match=r"desk, who can't read .*(sudo|runuser) -u desk -- digest COMMAND"):
        continue_as_owner(folder)
    os.chown(program, 0, OWNER + 2)
    try:
        assert continue_as_owner(folder) == "desk"
    finally:
        os.setgroups(groups)
    assert os.environ["HOME"] == "/srv/desk"


AS_DOCTOR = """
import os, sys
from pathlib import Path
from digest.settings import SettingsError, load_settings
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[2]))
environ = {"DIGEST_BACKUP_PASSPHRASE_FILE": sys.argv[3]} if sys.argv[3:] else {}
file = Path(sys.argv[1]) / "digest.toml"
try:
    load_settings(file, environ)
except SettingsError as exc:
    print(exc)
"""


def test_a_folder_of_roots_is_named_rather_than_a_file_in_it(folder: Path) -> None:
    (folder / "digest.toml").touch()
    (folder / "digest.env").touch(mode=0o600)
    give_away(folder)
    os.chown(folder, 0, 0)
    folder.chmod(0o750)
    advice = f"If the service runs as {OWNER}, run as root: chown -R {OWNER} {folder}"
    assert (
        run_python(AS_DOCTOR, str(folder), str(OWNER)).stdout == f"Can't enter {folder}: Permission denied. {advice}\n"
    )
    subprocess.run(advice.partition("root: ")[2], shell=True, check=True)
    assert run_python(AS_DOCTOR, str(folder), str(OWNER)).stdout == ""
    folder.chmod(0o600)
    assert f"Run: chmod u+rwX {folder}" in run_python(AS_DOCTOR, str(folder), str(OWNER)).stdout
    other = run_python(AS_DOCTOR, str(folder), str(OWNER + 1)).stdout
    assert f"Run the command as {OWNER}, who owns {folder}." in other


def test_a_passphrase_of_roots_comes_with_the_command_that_gives_access(folder: Path) -> None:
    (folder / "digest.toml").touch()
    passphrase = folder.parent / "passphrase"
    passphrase.touch(mode=0o600)
    arguments = str(folder), str(OWNER), str(passphrase)
    advice = f"If the service runs as {OWNER}, run as root: chown {OWNER} {passphrase}"
    assert run_python(AS_DOCTOR, *arguments).stdout.endswith(f" a secret: Permission denied. {advice}\n")
    secret = folder.parent / "secret"
    secret.mkdir(mode=0o700)
    passphrase = passphrase.rename(secret / "passphrase")
    hidden = run_python(AS_DOCTOR, str(folder), str(OWNER), str(passphrase)).stdout
    assert hidden.endswith(f"Move {passphrase} to a folder that {OWNER} can enter.\n")


@pytest.mark.sqlite
def test_roots_doctor_names_a_passphrase_that_only_root_can_read(folder: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DIGEST_")}

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", "from digest.cli import main; main()", *words]
        return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)

    os.chown(folder, 0, 0)
    run("init")
    give_away(folder)
    passphrase = folder.parent / "passphrase"
    passphrase.write_text("a rather long passphrase\n")
    passphrase.chmod(0o600)
    (folder / "digest.env").write_text(f"DIGEST_BACKUP_PASSPHRASE_FILE={passphrase}\n")
    (folder / "digest.env").chmod(0o600)
    give_away(folder)
    done = run("doctor", "--json")
    if AS_NUMBER in done.stderr:
        pytest.skip("this machine's Python is where only root reads")
    (finding,) = json.loads(done.stdout)["findings"]
    assert finding["message"] == f"Can't read {passphrase}, which contains a secret: Permission denied."
    advice = f"If the service runs as {OWNER}, run as root: chown {OWNER} {passphrase}"
    assert finding["remedy"].startswith(f"{advice}. ")
    subprocess.run(advice.partition("root: ")[2], shell=True, check=True)
    assert len(json.loads(run("doctor", "--json").stdout)["findings"]) > 1


@pytest.mark.sqlite  # the files in the folder are what this is about
def test_a_command_of_roots_leaves_no_file_of_roots_behind(folder: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DIGEST_")}

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        command = [str(Path(sys.executable).with_name("digest")), *words]
        return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)

    os.chown(folder, 0, 0)
    made = run("init")
    assert (made.returncode, "\\n" in made.stdout) == (0, False), made.stdout
    give_away(folder)
    done = run("subscribers", "list")
    if done.returncode:  # this machine's Python is where only root reads
        assert AS_NUMBER in done.stderr, done.stderr
    else:
        assert f"Running as {OWNER}, the owner of " in done.stderr
    assert {path.stat().st_uid for path in (folder, *folder.rglob("*"))} == {OWNER}
