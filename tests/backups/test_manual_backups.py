"""A manual backup is encrypted with a passphrase from the environment, a file, or the terminal."""

import io
import os
import pty
import select
import sys
import zipfile
from pathlib import Path

from click.testing import CliRunner, Result

from digest.backups.encrypted_file import EncryptedReader
from digest.cli import digest
from tests.conftest import WAIT_TIMEOUT

STAFF_ADDRESS = "sam.okafor@newsroom.example"
PASSPHRASE = "what nobody guesses"
# `digest` in a process of its own, where a backup's passphrase costs as little as in the tests' processes; each file names its cost.
CHEAP_PROGRAM = """
from digest.backups import encrypted_file
encrypted_file.WORK_FACTOR = 4
from digest.cli import main
main()
"""


def run(*words: str, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(digest, list(words))


def type_at_terminal(*words: str, answers: list[str]) -> tuple[int, str]:
    """Run a command in a terminal of its own and type an answer at each prompt; return its exit code and what it showed."""
    process, terminal = pty.fork()
    if process == 0:
        os.execv(sys.executable, [sys.executable, "-c", CHEAP_PROGRAM, *words])
    shown, unanswered, left = "", "", list(answers)
    with os.fdopen(terminal, "r+b", buffering=0) as file:
        while True:
            assert select.select([file], [], [], WAIT_TIMEOUT)[0], f"it waits after: {shown}"
            try:
                piece = file.read(1000)
            except OSError:  # on Linux: the other side has closed
                break
            if not piece:
                break
            shown += piece.decode("utf-8", "replace")
            unanswered += piece.decode("utf-8", "replace")
            if left and unanswered.endswith(": "):
                unanswered = ""
                file.write(left.pop(0).encode() + b"\n")
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), shown


def holds_staff_address(file: Path, passphrase: str = "") -> bool:
    opened = io.BufferedReader(EncryptedReader(file.open("rb"), passphrase)) if passphrase else file.open("rb")
    with opened, zipfile.ZipFile(opened) as archive:
        return STAFF_ADDRESS.encode() in archive.read("rows/staff.jsonl")


def test_without_a_passphrase_a_script_is_told_how_to_give_one(initialized_home: Path) -> None:
    refused = run("backup", "b.zip")
    assert refused.exit_code == 1
    assert "Set DIGEST_BACKUP_PASSPHRASE or DIGEST_BACKUP_PASSPHRASE_FILE" in refused.output
    assert not Path("b.zip").exists()


def test_what_a_script_backs_up_is_encrypted_and_restored_with_its_passphrase_alone(initialized_home: Path) -> None:
    run("staff", "add", STAFF_ADDRESS, "--role", "admin")
    Path("passphrase").write_text(f"{PASSPHRASE}\n")
    Path("passphrase").chmod(0o600)
    made = run("backup", "b.age", DIGEST_BACKUP_PASSPHRASE_FILE="passphrase")
    assert made.exit_code == 0, made.output
    assert STAFF_ADDRESS.encode() not in Path("b.age").read_bytes()
    assert not zipfile.is_zipfile("b.age")
    assert holds_staff_address(Path("b.age"), PASSPHRASE)
    assert "run the command in a terminal" in run("restore", "b.age", "--check").output
    assert run("restore", "b.age", "--check", DIGEST_BACKUP_PASSPHRASE=PASSPHRASE).exit_code == 0


def test_in_a_terminal_the_passphrase_is_asked_for_and_not_shown(initialized_home: Path) -> None:
    run("staff", "add", STAFF_ADDRESS, "--role", "admin")
    answers = ["tiny", "tiny", PASSPHRASE, PASSPHRASE]  # no word of the error: click masks what was typed
    code, shown = type_at_terminal("backup", "b.age", answers=answers)
    assert code == 0, shown
    assert "That passphrase is too short. Use at least 12 characters." in shown
    assert PASSPHRASE not in shown
    assert holds_staff_address(Path("b.age"), PASSPHRASE)
    assert type_at_terminal("restore", "b.age", "--check", answers=["another one"])[0] == 1
    code, shown = type_at_terminal("restore", "b.age", "--check", answers=[PASSPHRASE])
    assert (code, "All rows, records, and seals passed verification" in shown) == (0, True)
