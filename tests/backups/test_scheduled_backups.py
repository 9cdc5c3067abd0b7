"""Scheduled backups are encrypted, verified, and rotated. A failure is explained in a sentence and changes nothing."""

import os
import resource
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import select, text

from digest.app import jobs
from digest.app.alerts.problem_detection import RECOVERY_TIME, DetectedProblem
from digest.app.doctor.attention import build_page_notes, list_attention_sentences
from digest.app.jobs import JobContext
from digest.app.upkeep import backups
from digest.backups.archive import BackupError
from digest.backups.last_backup import find_last_verified_backup
from digest.cli import digest
from digest.installation.opened_installation import Installation
from digest.settings import BackupSettings, Settings, load_settings
from digest.store.engine import Database, open_database
from digest.store.models import AuditEntry, MediaFile, ScheduleSlot
from tests.actors import ADMIN, EDITOR
from tests.moments import DRAFTING as NOW
from tests.run_database import HomeDatabases
from tests.web.conftest import build_web_setup

PASSPHRASE = "what nobody guesses"
DAY = timedelta(days=1)


def with_backups(settings: Settings, folder: Path, passphrase: str = PASSPHRASE) -> Settings:
    file = settings.file.model_copy(update={"backup": BackupSettings(folder=str(folder))})
    values = dict(settings) | {"file": file, "backup_passphrase": passphrase or None}
    return Settings.model_validate(values)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backups"


@pytest.fixture
def install(one_database: Database, tmp_path: Path, folder: Path) -> Installation:
    world = build_web_setup(one_database, tmp_path / "home")
    return Installation(with_backups(world.install.settings, folder), one_database)


def missing(install: Installation, days: float = 0) -> list[str]:
    with install.database.read() as session:
        said = list_attention_sentences(session, NOW + days * DAY, install.settings.file)
    return [sentence for sentence in said if "backup" in sentence]


def run_job(install: Installation, days: int = 0) -> object:
    return jobs.run_job(JobContext(install, lambda: NOW + days * DAY), "backup")


def test_a_backup_by_the_clock_is_encrypted_proved_and_rotated_and_a_missing_one_is_said(
    install: Installation, folder: Path
) -> None:
    assert missing(install) == ["No backup has been made yet. To make one now, use 'digest backup'."]
    with install.database.read() as session:
        on_page = build_page_notes(session, NOW, install.settings.file, is_admin=False).for_admins
    assert (
        "No backup has been made yet. To make one now, use “Back up now” under Admin → Settings → Backups." in on_page
    )
    assert run_job(install) == "digest-20261119T223000Z.zip.age: proved, 0 older ones deleted"
    assert missing(install) == []
    assert [file.stat().st_mode & 0o777 for file in sorted(folder.iterdir())] == [0o600]
    (body,) = [file.read_bytes() for file in folder.iterdir()]
    assert b"rows/person" not in body
    for day in range(1, 41):
        (folder / f"digest-{NOW - day * DAY:%Y%m%dT%H%M%S}Z.zip.age").touch()
    install.settings.left_log.write_text("a departure\n")
    assert run_job(install, 1) == "digest-20261120T223000Z.zip.age: proved, 33 older ones deleted"
    assert len(list(folder.glob("*.age"))) == 9
    assert (folder / "left.log").read_text() == "a departure\n"
    (said,) = missing(install, 3)
    assert "The last backup is from Nov. 20, 5:30 p.m. ET, and another one is overdue." in said
    with install.database.read() as session:
        rows = session.scalars(select(AuditEntry).where(AuditEntry.act == "backed up")).all()
    assert [(row.actor, row.detail["proved"]) for row in rows] == [("scheduler", True), ("scheduler", True)]


def test_the_first_backup_is_not_missed_while_it_is_made_and_the_alert_waits(install: Installation) -> None:
    assert DetectedProblem("missing-backup", "", "").confirmation_time == RECOVERY_TIME
    assert missing(install)
    with install.database.write() as session:
        session.add(ScheduleSlot(job="backup", at=NOW, owner="-", lease_until=NOW + DAY))
    assert not missing(install)


def test_a_broken_ledger_makes_a_backup_that_is_kept_apart_and_said(install: Installation, folder: Path) -> None:
    run_job(install)
    with install.database.engine.begin() as connection:
        connection.execute(text("UPDATE consent_event SET body = '{}'"))
    assert run_job(install, 1) == "digest-20261120T223000Z-unproved.zip.age: its ledger is broken, 0 older ones deleted"
    (said,) = missing(install, 1)
    assert "its consent ledger failed verification. Run 'digest subscribers verify' for details). To try again," in said
    assert min(file.name for file in folder.iterdir()) == "digest-20261119T223000Z.zip.age"


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size: what writes more is refused, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.sqlite  # its journal is a file that grows, too
def test_a_full_disk_is_a_sentence_and_leaves_the_backups_that_are_there(install: Installation, folder: Path) -> None:
    run_job(install)
    picture = {"source_url": "", "content_type": "image/jpeg", "width": 1, "height": 1, "size": 1, "made_at": NOW}
    with install.database.write() as session:
        session.add(MediaFile(hash="0" * 64, body=os.urandom(2_000_000), **picture))
    with install.database.engine.connect() as connection:  # what is written from now on stays small
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    with largest_file(1_000_000):
        outcome = str(run_job(install, 1))
    assert "File too large. Free up space, or choose another location." in outcome
    assert [file.name for file in folder.iterdir()] == ["digest-20261119T223000Z.zip.age"]
    (said,) = missing(install, 1)
    assert said.startswith("The backup of Nov. 20, 5:30 p.m. ET failed (")
    assert "proved" in str(run_job(install, 2))
    assert missing(install, 2) == []


def test_without_a_passphrase_nothing_is_written_and_the_reason_is_said(install: Installation, folder: Path) -> None:
    bare = Installation(with_backups(install.settings, folder, ""), install.database)
    assert "no passphrase to encrypt backups with" in str(run_job(bare))
    (said,) = missing(bare)
    assert said.startswith("The backup of Nov. 19, 5:30 p.m. ET failed (There's a backup folder but no passphrase")
    assert not folder.exists()
    assert run_job(install, 1) != ""
    assert missing(install, 1) == []


def test_a_folder_that_cannot_be_used_is_named(install: Installation, folder: Path) -> None:
    folder.write_text("a file")
    with pytest.raises(BackupError, match=r"backups: File exists\. Check backup\.folder"):
        backups.back_up_into_folder(install, ADMIN, now=NOW)
    assert folder.read_text() == "a file"


@pytest.mark.parametrize("newer", ["one\n", "four\nfive\nsix\n"])
def test_a_copy_of_the_unsubscribe_log_is_never_written_over_by_less(
    install: Installation, folder: Path, newer: str
) -> None:
    """A log that was lost and began anew lacks what the copy has, however long it becomes."""
    folder.mkdir()
    (folder / "left.log").write_text("one\ntwo\n")
    install.settings.left_log.write_text(newer)
    backups.copy_unsubscribe_log(install.settings.left_log, folder, NOW)
    assert (folder / "left.log").read_text() == "one\ntwo\n"
    assert (folder / "left-20261119T223000Z.log").read_text() == newer
    install.settings.left_log.write_text(f"{newer}seven\n")
    backups.copy_unsubscribe_log(install.settings.left_log, folder, NOW + DAY)
    assert (folder / "left-20261119T223000Z.log").read_text() == f"{newer}seven\n", "the next night needs no third file"
    assert len(list(folder.iterdir())) == 2


def test_a_log_joined_with_another_machines_replaces_its_copy(install: Installation, folder: Path) -> None:
    folder.mkdir()
    (folder / "left.log").write_text("one\ntwo\n")
    install.settings.left_log.write_text("other\none\ntwo\nthree\n")
    backups.copy_unsubscribe_log(install.settings.left_log, folder, NOW)
    assert [file.read_text() for file in folder.iterdir()] == ["other\none\ntwo\nthree\n"]


def test_a_line_that_is_being_written_is_copied_once_it_is_whole(install: Installation, folder: Path) -> None:
    folder.mkdir()
    log = install.settings.left_log
    for written, copied in (("one\ntw", "one\n"), ("one\ntwo\n", "one\ntwo\n")):
        log.write_text(written)
        backups.copy_unsubscribe_log(log, folder, NOW)
        assert [file.read_text() for file in folder.iterdir()] == [copied]


def test_an_encrypted_backup_is_restored_with_its_passphrase_alone(
    install: Installation, home_databases: HomeDatabases, tmp_path: Path, folder: Path
) -> None:
    done = backups.back_up_into_folder(install, ADMIN, now=NOW)
    home = tmp_path / "other"
    home.mkdir()
    url = home_databases.create_bare(home)
    (home / "keys.json").write_text(install.keys.to_json())
    (home / "keys.json").chmod(0o600)
    whole, cut = done.file.read_bytes(), tmp_path / "cut.age"
    cut.write_bytes(whole[: len(whole) // 2])

    def restore(file: Path, passphrase: str) -> str:
        said = {"DIGEST_HOME": str(home), "DIGEST_DATABASE_URL": url, "DIGEST_BACKUP_PASSPHRASE": passphrase}
        return CliRunner(env=said).invoke(digest, ["restore", str(file)]).output

    assert "is encrypted. Set DIGEST_BACKUP_PASSPHRASE to its passphrase" in restore(done.file, "")
    assert f"The passphrase doesn't decrypt {done.file}." in restore(done.file, "another")
    assert "is damaged or isn't a backup made by this program. Restore from a different backup" in restore(
        cut, PASSPHRASE
    )
    assert not (home / "digest.db").exists()
    assert "All rows, records, and seals passed verification" in restore(done.file, PASSPHRASE)
    with closing(open_database(url)) as restored, restored.read() as session:
        assert find_last_verified_backup(session) == NOW, "the backup it comes from isn't missing"


def test_the_passphrase_comes_from_a_file_or_a_credential_too(tmp_path: Path) -> None:
    (tmp_path / "digest.backup-passphrase").write_text("from systemd\n")
    credentials = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert load_settings(None, credentials).backup_passphrase_text == "from systemd"
    (tmp_path / "secret").write_text("from a file\n")
    named = credentials | {"DIGEST_BACKUP_PASSPHRASE_FILE": str(tmp_path / "secret")}
    assert load_settings(None, named).backup_passphrase_text == "from a file"
    assert load_settings(None, named | {"DIGEST_BACKUP_PASSPHRASE": "said"}).backup_passphrase_text == "said"


def test_an_editor_makes_none(install: Installation, folder: Path) -> None:
    with pytest.raises(Exception, match="only an admin"):
        backups.back_up_into_folder(install, EDITOR, now=NOW)
    assert not folder.exists()
