"""A lost key file: no subscriber becomes unknown, and the recovery copy can be restored."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from digest.app.doctor.examination import run_local_checks
from digest.app.upkeep.keys import restore_keys
from digest.cli import digest as digest_command
from digest.installation.audited_actions import ActionEntryPoint, Actor, NotPermittedError, Role, make_terminal_actor
from digest.installation.opened_installation import Installation, InstallationError, create_key_file
from digest.settings import Settings
from digest.store.delivery_models import StaffMember
from digest.store.engine import Database
from subscribers.address import read_address
from subscribers.consent.suppression import suppress_without_unsubscribe_log
from subscribers.crypto.keys import KeyFileError, KeyKind, KeyRing
from subscribers.signup.manual_signup import ConsentEvidence, add_subscriber
from subscribers.store.key_check import KeyMismatchError
from subscribers.store.key_rotation import add_key
from subscribers.store.models import ConsentKind
from tests.moments import THURSDAY_NOON as NOW

EVE = make_terminal_actor("eve")


@pytest.fixture
def recovery_copy(one_database: Database, tmp_path: Path) -> str:
    """Give the recovery copy of an installation that holds Ada, and whose key file is lost."""
    settings = Settings(home=tmp_path)
    keys = KeyRing.create(settings.key_file)
    evidence = ConsentEvidence(
        wording="Please send me the weekly digest.",
        wording_version="1",
        language="en",
        page="hls.today",
        method="double opt-in",
        actor="terminal:eve",
        agreed_at=NOW,
        kind=ConsentKind.CONFIRMED,
    )
    with one_database.write() as session:
        add_subscriber(session, keys, "ada@example.org", evidence=evidence, now=NOW)
    copy = settings.key_file.read_text("utf-8")
    settings.key_file.unlink()
    return copy


def _installation(database: Database, home: Path) -> Installation:
    return Installation(Settings(home=home), database)


def test_without_the_key_file_the_advice_is_the_recovery_copy_and_no_new_keys(
    one_database: Database, tmp_path: Path, recovery_copy: str
) -> None:
    assert recovery_copy
    installation = _installation(one_database, tmp_path)
    with pytest.raises(InstallationError, match="digest keys restore FILE"):
        _ = installation.keys
    with pytest.raises(InstallationError, match="With new keys, people who unsubscribed would be emailed again"):
        create_key_file(installation)
    assert not installation.settings.key_file.exists()
    errors = [finding for finding in run_local_checks(installation) if finding.level == "error"]
    advice = [f"{finding.message} {finding.remedy}" for finding in errors]
    assert any("digest keys restore FILE" in message for message in advice)
    assert not any("Run 'digest init'" in message for message in advice)


def test_beside_staff_no_new_keys_are_made_either(one_database: Database, tmp_path: Path) -> None:
    with one_database.write() as session:
        session.add(StaffMember(email="eve@newsroom.example", name="Eve", role="admin", added_by="test", added_at=NOW))
    installation = _installation(one_database, tmp_path)
    with pytest.raises(InstallationError, match="contains editions or team members"):
        create_key_file(installation)
    assert not installation.settings.key_file.exists()


def test_other_keys_stop_everything_about_people(one_database: Database, tmp_path: Path, recovery_copy: str) -> None:
    installation = _installation(one_database, tmp_path)
    KeyRing.create(installation.settings.key_file)
    with pytest.raises(KeyMismatchError, match="doesn't belong to this database"):
        _ = installation.keys
    aside = restore_keys(installation, EVE, recovery_copy, replace=True, now=NOW).aside
    assert aside is not None
    assert aside.exists()
    assert _installation(one_database, tmp_path).keys.to_json() == recovery_copy


def test_init_says_that_keys_are_not_the_databases(
    one_database: Database, tmp_path: Path, recovery_copy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    KeyRing.create(Settings(home=tmp_path).key_file)
    one_database.close()
    monkeypatch.setenv("DIGEST_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    run = CliRunner()
    refused = run.invoke(digest_command, ["init"])
    assert (refused.exit_code, "doesn't belong to this database" in refused.output) == (2, True), refused.output
    run.invoke(digest_command, ["keys", "restore", "-", "--replace"], input=recovery_copy)
    again = run.invoke(digest_command, ["init"])
    assert (again.exit_code, "already exists and wasn't changed" in again.output) == (0, True), again.output


def test_only_the_databases_own_whole_copy_is_put_back_and_by_an_admin_only(
    one_database: Database, tmp_path: Path, recovery_copy: str
) -> None:
    installation = _installation(one_database, tmp_path)
    file = installation.settings.key_file
    editor = Actor("staff 3", Role.EDITOR, ActionEntryPoint.TERMINAL)
    with pytest.raises(NotPermittedError):
        restore_keys(installation, editor, recovery_copy, replace=False, now=NOW)
    with pytest.raises(KeyFileError, match="damaged"):
        restore_keys(installation, EVE, recovery_copy[:-20], replace=False, now=NOW)
    with pytest.raises(KeyMismatchError):
        restore_keys(installation, EVE, KeyRing.generate().to_json(), replace=False, now=NOW)
    assert [path.name for path in tmp_path.glob("keys.json*")] == []
    assert restore_keys(installation, EVE, recovery_copy, replace=False, now=NOW).aside is None
    assert file.read_text("utf-8") == recovery_copy
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(InstallationError, match="--replace"):
        restore_keys(installation, EVE, recovery_copy, replace=False, now=NOW)


def test_the_command_puts_it_back_from_standard_input(
    one_database: Database, tmp_path: Path, recovery_copy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_database.close()
    monkeypatch.setenv("DIGEST_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    run = CliRunner()
    refused = run.invoke(digest_command, ["init"])
    assert (refused.exit_code, "digest keys restore FILE" in refused.output) == (2, True)
    done = run.invoke(digest_command, ["keys", "restore", "-"], input=recovery_copy)
    assert done.exit_code == 0, done.output
    assert "Restored the keys in" in done.output
    assert run.invoke(digest_command, ["keys", "list"]).exit_code == 0


def test_an_older_copy_takes_no_newer_key_away(one_database: Database, tmp_path: Path, recovery_copy: str) -> None:
    installation = _installation(one_database, tmp_path)
    file = installation.settings.key_file
    restore_keys(installation, EVE, recovery_copy, replace=False, now=NOW)
    kinds: tuple[KeyKind, ...] = ("token", "commitment")
    for kind in kinds:
        add_key(file, kind)
    newer = KeyRing.load(file)
    aside = restore_keys(_installation(one_database, tmp_path), EVE, recovery_copy, replace=True, now=NOW).aside
    assert aside is not None
    assert KeyRing.load(file).all == newer.all, "no row names a token key, and mails of since then hang on it"


def test_a_copy_that_lacks_a_key_of_any_row_is_refused(
    one_database: Database, tmp_path: Path, recovery_copy: str
) -> None:
    installation = _installation(one_database, tmp_path)
    file = installation.settings.key_file
    restore_keys(installation, EVE, recovery_copy, replace=False, now=NOW)
    old = KeyRing(KeyRing.load(file).all)  # which does not follow the file
    new = add_key(file, "suppression")
    with one_database.write() as session:  # the first row and the last are of the older key
        for name, keys in (("bo", old), ("cy", new), ("di", old)):
            address = read_address(f"{name}@example.org")
            suppress_without_unsubscribe_log(session, keys, address, reason="by an admin", actor="eve", now=NOW)
    file.unlink()
    with pytest.raises(KeyMismatchError, match=f"suppression key {new.current('suppression').id}"):
        restore_keys(_installation(one_database, tmp_path), EVE, recovery_copy, replace=False, now=NOW)
    assert not file.exists()
    restore_keys(_installation(one_database, tmp_path), EVE, new.to_json(), replace=False, now=NOW)
    assert KeyRing.load(file).all == new.all


def test_keys_that_are_lost_with_an_older_copy_are_named_until_the_later_copy_is_put_back(
    one_database: Database, tmp_path: Path, recovery_copy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row names a token key, and the links in mails hang on it."""
    one_database.close()
    monkeypatch.setenv("DIGEST_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    run = CliRunner()
    file = Settings(home=tmp_path).key_file
    run.invoke(digest_command, ["keys", "restore", "-"], input=recovery_copy)
    assert run.invoke(digest_command, ["keys", "rotate", "token"]).exit_code == 0
    later = KeyRing.load(file)
    file.unlink()
    older = run.invoke(digest_command, ["keys", "restore", "-"], input=recovery_copy)
    assert f"older than the key token {later.current('token').id}" in older.output, older.output
    both = run.invoke(digest_command, ["keys", "restore", "-", "--replace"], input=later.to_json())
    assert "older than" not in both.output
    assert KeyRing.load(file).all == later.all
