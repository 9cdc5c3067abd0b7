"""A suppression list is exported to an encrypted file, and adopted by another installation, in the terminal."""

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pyrage import passphrase as age
from sqlalchemy import func, select

from digest.backups.encrypted_file import EncryptedReader
from digest.cli import digest
from digest.settings import load_settings
from digest.store.engine import open_database
from digest.store.models import AuditEntry
from subscribers.crypto.keys import KeyRing
from subscribers.store.models import Suppression
from tests.subscribers.transfer.suppression_files import ADA, PASSPHRASE, THERE, encrypt_file, file_of

ADOPT = ("adopt-suppressions", "theirs.age", "--passphrase-file", "passphrase.txt")
EXPORT = ("export-suppressions", "ours.age", "--reason", "moving", "--to", "our new server")


@pytest.fixture
def home(new_home: Path, tmp_path: Path) -> Path:
    """Give an installation with another one's file and its passphrase beside it."""
    KeyRing.create(new_home / "keys.json")
    encrypt_file(file_of(), tmp_path / "theirs.age")
    (tmp_path / "passphrase.txt").write_text(f"{PASSPHRASE}\n")
    return new_home


def _run(*words: str, typed: str = "") -> Result:
    return CliRunner().invoke(digest, words, input=typed)


def _subscribers(*words: str, typed: str = "") -> Result:
    result = _run("subscribers", *words, typed=typed)
    assert PASSPHRASE not in result.output
    return result


def _count_suppressions() -> int:
    database = open_database(load_settings().effective_database_url)
    with database.read() as session:
        count = session.scalar(select(func.count()).select_from(Suppression)) or 0
    database.close()
    return count


def _read_audit() -> list[tuple[str, str]]:
    database = open_database(load_settings().effective_database_url)
    with database.read() as session:
        rows = [
            (row.act, json.dumps(row.detail)) for row in session.scalars(select(AuditEntry).order_by(AuditEntry.id))
        ]
    database.close()
    assert PASSPHRASE not in str(rows)
    return rows


def test_the_list_is_exported_under_a_passphrase_typed_twice(home: Path, tmp_path: Path) -> None:
    _subscribers("suppress", "bo@okapi.example.org", "--reason", "asked for it")
    done = _subscribers(*EXPORT, typed=f"{PASSPHRASE}\n{PASSPHRASE}\n")
    assert done.exit_code == 0
    assert "Exported 1 suppression to ours.age." in done.output
    file = tmp_path / "ours.age"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    header, entry, rest = age.decrypt(file.read_bytes(), PASSPHRASE).split(b"\n")
    assert json.loads(header)["version"] == 1
    assert json.loads(entry)[2] == "by an admin"
    assert (rest, b"okapi" in header + entry) == (b"", False)
    act, detail = _read_audit()[-1]
    assert (act, json.loads(detail)) == (
        "suppressions exported",
        {"why": "moving", "to": "our new server", "counts": {"suppressed by an admin": 1}},
    )


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        ("short\nshort\n", "That passphrase is too short. Use at least 12 characters."),
        (f"{PASSPHRASE}\n{PASSPHRASE}\n", "Choose a file that doesn't exist yet."),
    ],
)
def test_nothing_is_written_under_a_short_passphrase_or_over_a_file(
    home: Path, tmp_path: Path, typed: str, problem: str
) -> None:
    if "exist" in problem:
        (tmp_path / "ours.age").write_text("mine")
    refused = _subscribers(*EXPORT, typed=typed)
    assert refused.exit_code == 1
    assert problem in refused.output
    assert not (tmp_path / "ours.age").exists() or (tmp_path / "ours.age").read_text() == "mine"


def test_a_list_is_checked_first_and_adopted_by_commit_once(home: Path) -> None:
    checked = _subscribers("adopt-suppressions", "theirs.age", typed=f"{PASSPHRASE}\n")
    assert checked.exit_code == 0
    assert "1  bounced, not suppressed here yet" in checked.output
    assert "Adopting can't be undone." in checked.output
    assert _subscribers(*ADOPT, "--commit").exit_code == 2
    assert _count_suppressions() == 0
    done = _subscribers(*ADOPT, "--commit", "--reason", "moved")
    assert done.exit_code == 0
    assert _count_suppressions() == 1
    again = _subscribers(*ADOPT, "--commit", "--reason", "moved")
    assert "You already adopted this file" in again.output
    answer = json.loads(_subscribers(*ADOPT, "--json").output)
    assert (answer["present"], answer["repeated"]) == (1, False)
    assert [act for act, _ in _read_audit()] == ["adoption tried", "suppressions adopted", "adoption tried"]
    refused = _subscribers(
        *("add", ADA.mailbox, "--where", "Expo", "--on", "2026-06-02", "--method", "paper", "--consent-text", "Yes.")
    )
    assert "This address is suppressed (bounced" in refused.output


def test_hashes_that_cant_be_used_are_named(home: Path, tmp_path: Path) -> None:
    entry = file_of().getvalue().split(b"\n")[1]
    file = file_of()
    file.write(file.getvalue() + entry.replace(b"1-", b"2-") + b"\n")
    encrypt_file(file, tmp_path / "theirs.age")
    assert "1  can't be used because their key isn't in the file" in _subscribers(*ADOPT).output


def test_a_wrong_passphrase_and_a_damaged_file_change_nothing(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "theirs.age"
    whole = file.read_bytes()
    cut, changed = whole[:-20], whole[:-40] + bytes([whole[-40] ^ 1]) + whole[-39:]
    greedy = whole.replace(whole.split(b"\n")[1].rpartition(b" ")[2] + b"\n", b"19\n", 1)
    damaged = "The file is damaged, or it isn't a suppression file."
    for content, problem in (
        *((text, damaged) for text in (b"", b"email\nada@okapi.example.org\n", cut, changed, greedy)),
        (whole, "The passphrase doesn't decrypt this file."),
    ):
        file.write_bytes(content)
        typed = f"{PASSPHRASE}\n" if problem is damaged else "something else\n"
        refused = _subscribers("adopt-suppressions", "theirs.age", "--commit", "--reason", "moved", typed=typed)
        assert (refused.exit_code, problem in refused.output) == (1, True), refused.output
        assert "okapi" not in refused.output
        assert _count_suppressions() == 0
    assert {act for act, _ in _read_audit()} == {"failed: suppressions adopted"}


def test_a_restored_backup_has_what_was_adopted_before_it_and_takes_the_file_again(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIGEST_BACKUP_PASSPHRASE", PASSPHRASE)
    commit = (*ADOPT, "--commit", "--reason", "moved")
    assert _run("backup", "before.zip.age").exit_code == 0
    assert _subscribers(*commit).exit_code == 0
    assert _run("backup", "after.zip.age").exit_code == 0
    for backup, rows in (("before", 0), ("after", 1), ("before", 0)):
        restored = _run("restore", f"{backup}.zip.age", "--replace", "--yes")
        assert restored.exit_code == 0, restored.output
        assert _count_suppressions() == rows
        answer = json.loads(_subscribers(*ADOPT, "--json").output)
        assert (answer["present"], answer["added"]) == (rows, {} if rows else {"bounced": 1})
    assert _subscribers(*commit).exit_code == 0
    assert _count_suppressions() == 1
    assert _run("keys", "list").exit_code == 0
    assert THERE.current("suppression").id not in _run("keys", "list").output


def test_our_own_file_adds_nothing_here(home: Path, tmp_path: Path) -> None:
    _subscribers("suppress", "bo@okapi.example.org", "--reason", "asked for it")
    _subscribers(*EXPORT, typed=f"{PASSPHRASE}\n{PASSPHRASE}\n")
    with (tmp_path / "ours.age").open("rb") as file:
        assert EncryptedReader(file, PASSPHRASE).readable()
    own = _subscribers("adopt-suppressions", "ours.age", "--commit", "--reason", "by mistake", typed=f"{PASSPHRASE}\n")
    assert "1  exported by this installation, so skipped" in own.output
    assert _count_suppressions() == 1
