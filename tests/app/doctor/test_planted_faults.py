"""Every planted fault is found by the check of its name, and the sentence says what to do."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from digest.app.doctor.check_registry import ExaminedInstallation
from digest.app.doctor.examination import list_checks, run_checks
from digest.cli import digest
from digest.store.engine import Database
from tests.app.doctor.planted_operations import NOW, OPERATIONS_FAULTS, FaultyInstallation


@pytest.fixture
def world(sqlite: Database, tmp_path: Path) -> FaultyInstallation:
    return FaultyInstallation.make_sound(tmp_path, sqlite)


def examine(world: FaultyInstallation, *names: str) -> list[tuple[str, str, str]]:
    """List what is not well: the check, the level, the sentence."""
    findings = run_checks(ExaminedInstallation(world.open(), NOW), names)
    return [(f.check, f.level, f.sentence) for f in findings if f.level != "ok"]


def test_of_a_sound_installation_everything_is_well(world: FaultyInstallation, monkeypatch: pytest.MonkeyPatch) -> None:
    roomy = shutil.disk_usage("/")._replace(free=10**12)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: roomy)
    assert examine(world, *list_checks()) == []


@pytest.mark.parametrize("fault", OPERATIONS_FAULTS)
def test_a_planted_fault_is_found_by_its_name_with_what_to_do(world: FaultyInstallation, fault: str) -> None:
    plant, check, remedy = OPERATIONS_FAULTS[fault]
    plant(world)
    found = examine(world, check)
    assert found
    assert {name for name, _, _ in found} == {check}
    assert [sentence for _, _, sentence in found if remedy in sentence], found


def test_a_disk_that_is_nearly_full_is_found(world: FaultyInstallation, monkeypatch: pytest.MonkeyPatch) -> None:
    scarce = shutil.disk_usage("/")._replace(free=900_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: scarce)
    ((check, _, sentence),) = examine(world, "disk-space")
    assert check == "disk-space"
    assert "Make room" in sentence


def test_settings_and_a_database_that_cannot_be_opened_are_findings_too(
    initialised_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script reads the same form, whatever is wrong."""
    monkeypatch.setenv("DIGEST_SPEED", "high")
    refused = CliRunner().invoke(digest, ["doctor", "--json"])
    assert refused.exit_code == 1
    (finding,) = json.loads(refused.output)["findings"]
    assert (finding["check"], finding["level"]) == ("settings", "error")
    assert "DIGEST_SPEED: no such setting" in finding["message"]
    assert "docs/settings.md" in finding["remedy"]
    monkeypatch.delenv("DIGEST_SPEED")
    monkeypatch.setenv("DIGEST_DATABASE_URL", f"sqlite:///{initialised_home}")
    (finding,) = json.loads(CliRunner().invoke(digest, ["doctor", "--json"]).output)["findings"]
    assert finding["check"] == "database"
    assert "DIGEST_DATABASE_URL" in finding["remedy"]
