"""Every planted fault is found by the check of its name, and the finding says what to do."""

import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import Mock

import pytest
from click.testing import CliRunner
from sqlalchemy import text
from sqlalchemy.dialects.postgresql.base import PGDialect

from digest.app.doctor.check_registry import ExaminedInstallation
from digest.app.doctor.examination import (
    CONSEQUENCES,
    diagnose_open_failure,
    drop_consequences,
    explain_zone_file_format,
    list_checks,
    run_checks,
    run_local_checks,
    run_online_checks,
)
from digest.app.upkeep.backups import RESTORE
from digest.app.upkeep.disk_growth import forecast_days_left, record_free_space
from digest.cli import digest
from digest.cli.context import CommandContext
from digest.collect.sandbox import client
from digest.collect.sandbox.client import Sandbox
from digest.deliver.providers.kind import DoctorFinding
from digest.installation.opened_installation import Installation, InstallationError, open_installation
from digest.settings import Settings, SettingsError, loader
from digest.store import engine
from digest.store.audit import record_audit
from digest.store.engine import Database, has_schema, open_database
from digest.store.models import FIRST_LOOK_JOB
from digest.store.schedule_slots import record_scheduler_seen, record_unscheduled_pages_seen
from subscribers.crypto.keys import KeyRing
from subscribers.errors import ApplicationError
from tests.app.doctor.outside import OutsideSetup, run_outside
from tests.app.doctor.planted_operations import (
    HOUR,
    MINUTE,
    OPERATIONS_FAULTS,
    FaultyInstallation,
    append_to_unsubscribe_log,
    back_up_to_safe,
    follow,
    keep_unsubscribe_log,
    slot,
)
from tests.app.doctor.planted_outside import OUTSIDE_FAULTS, carry_out
from tests.conftest import has_tool
from tests.moments import AFTER_RELEASE as NOW
from tests.run_database import HomeDatabases, sibling_database_url
from tests.test_layers import module_files

VALUE = re.compile(r"""\S*(?:[\d"=@/+(\[]|\.\w)\S*""")  # of a planted installation: an address, a record, a path
PHRASE = re.compile(r"[A-Za-z']+(?: [A-Za-z']+)+")

# Whose fault is a machine's, or planted in a test of its own.
UNPLANTED_CHECKS = {"import-names", "disk-space", "disk-growth", "parsing-sandbox", "held-rows"}


@pytest.fixture
def world(
    one_database: Database, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> FaultyInstallation:
    # Reading which packages own which names takes as long as all other checks, and it's always the same ones.
    monkeypatch.setattr(metadata, "packages_distributions", read_package_owners)
    return FaultyInstallation.make_sound(tmp_path, one_database, tmp_path_factory.mktemp("safe"))


@cache
def read_package_owners(
    read: Callable[[], Mapping[str, list[str]]] = metadata.packages_distributions,
) -> Mapping[str, list[str]]:
    return read()


class DiskUsage(NamedTuple):
    total: int
    used: int
    free: int


def examine(world: FaultyInstallation, *names: str) -> list[tuple[str, str, str]]:
    """List what is not well: the check, the level, the sentence."""
    findings = run_checks(ExaminedInstallation(world.open(), NOW), names)
    return [(f.check, f.level, f.sentence) for f in findings if f.level != "ok"]


def stands_alone(sentence: str) -> bool:
    """Whether nobody needs a second document for it, and it says nothing twice."""
    parts = sentence.rstrip(".").split(". ")
    return "docs/" not in sentence and ".." not in sentence and len(parts) == len(set(parts))


def test_of_a_sound_installation_everything_is_well(world: FaultyInstallation, monkeypatch: pytest.MonkeyPatch) -> None:
    roomy = DiskUsage(10**12, 0, 10**12)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: roomy)
    beyond_us = set() if has_tool("landlock") and has_tool("seccomp") else {"parsing-sandbox"}
    names = [name for name, check in list_checks().items() if not check.is_online and name not in beyond_us]
    assert examine(world, *names) == []


OWNER_FAULTS = {
    "root owns the folder of another user's files",
    "root owns the database in another user's folder",
    "root owns the settings",
    "root owns the departure log",
}
FILE_FAULTS = {
    "others may write the database",
    "the database may not be written",
    "the database is damaged",
    "the database was cut short",
    "a value is damaged",
    *OWNER_FAULTS,
}
TESTED_NOWHERE_ELSE = {
    *OWNER_FAULTS,
    "the database may not be written",
    "the mail server is stopped",
    "the mail server rejects the password",
    "the site's certificate is self-signed",
    "the web server is stopped",
    "the service was killed",
    "pages are served without the schedule",
    "the log is followed without a bounce domain",
    "the clock was ahead",
    "the database was cut short",
    "the database is an old copy",
    "the backup folder's disk isn't mounted",
    "the environment file can't be read",
    "the alerts' secret isn't base64",
    "a URL without a colon",
    "a file has the place of the folder of templates",
    "a file has a folder's place",
    "a folder has the departure log's place",
    "the folder of templates is missing",
    "the DKIM key is lost",
    "the departure log is lost, and there's a copy",
    "the departure log began anew, and there's a copy",
    "a send doesn't start",
}


def list_faults(checks: dict[str, str]) -> list[Any]:
    """List planted faults as parameters. Those tested elsewhere, beyond the first of each check, are left to `make soak`."""
    first = {check: fault for fault, check in reversed(checks.items())}
    always = {*first.values(), *TESTED_NOWHERE_ELSE}
    return [
        pytest.param(
            fault,
            marks=[pytest.mark.sqlite] * (fault in FILE_FAULTS) + [pytest.mark.soak] * (fault not in always),
        )
        for fault in checks
    ]


OPERATIONS_PARAMETERS = list_faults({name: fault.check for name, fault in OPERATIONS_FAULTS.items()})
OUTSIDE_PARAMETERS = list_faults({name: check for name, (_, check, _) in OUTSIDE_FAULTS.items()})
BEYOND_TESTS = {"parsing-sandbox", "disk-space"}  # what the machine that runs the tests may lack


@pytest.mark.parametrize("fault", OPERATIONS_PARAMETERS)
def test_a_planted_fault_is_found_once_and_gone_once_its_remedy_is_carried_out(
    world: FaultyInstallation, fault: str
) -> None:
    if fault in OWNER_FAULTS and os.geteuid() != 0:
        pytest.skip("only root can give files away")
    planted = OPERATIONS_FAULTS[fault]
    planted.plant(world)
    (finding,) = find_problems(world)
    assert finding.check == planted.check
    assert planted.advice in finding.sentence
    assert stands_alone(finding.sentence)
    planted.repair(world, finding)
    assert [
        f for f in run_checks(ExaminedInstallation(world.open(), world.now), [planted.check]) if f.level != "ok"
    ] == []


def test_a_scheduler_that_stopped_beside_pages_without_one_is_an_error(world: FaultyInstallation) -> None:
    """A schedule that's off by choice is only a warning, and the choice is younger than the scheduler's last sign."""
    world.add(slot(FIRST_LOOK_JOB, NOW - 9 * HOUR))
    record_scheduler_seen(world.database, NOW - 6 * MINUTE)
    levels = []
    for started_at in (NOW - HOUR, NOW - 5 * MINUTE):
        record_unscheduled_pages_seen(world.database, started_at, NOW - MINUTE)
        levels += [level for _, level, _ in examine(world, "timetable")]
    assert levels == ["error", "warning"]


def test_an_older_schema_is_found_and_gone_after_an_upgrade(
    world: FaultyInstallation, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("later_revisions")
    (finding,) = find_problems(world)
    assert finding.check == "database"
    assert "run 'digest upgrade'" in finding.sentence
    follow()(world, finding)
    assert find_problems(world) == []


def test_a_log_joined_with_another_machines_lacks_nothing(world: FaultyInstallation) -> None:
    keep_unsubscribe_log(world)
    back_up_to_safe(world)
    log = world.home / "left.log"
    own = log.read_bytes()
    log.unlink()
    append_to_unsubscribe_log(world, "b" * 64)
    log.write_bytes(log.read_bytes() + own)
    assert examine(world, "departure-log") == []


def find_problems(world: FaultyInstallation) -> list[DoctorFinding]:
    """List what `digest doctor` would report, also of an installation that can't be opened."""
    try:
        findings = drop_consequences(run_local_checks(world.open(), now=world.now))
    except SettingsError as exc:
        findings = diagnose_open_failure(exc, None)
    return [f for f in findings if f.level != "ok" and f.check not in BEYOND_TESTS]


def test_a_server_too_old_and_another_programs_schema_are_named(
    postgresql: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two faults can't be carried away by a command, so each is taken back."""
    url = postgresql.engine.url.render_as_string(hide_password=False)
    settings = Settings(home=tmp_path, database_url=url)

    def explain() -> list[str]:
        try:
            with open_installation(settings, may_migrate=False):
                return []
        except ApplicationError as exc:
            return [finding.sentence for finding in diagnose_open_failure(exc, settings)]

    with monkeypatch.context() as patch:  # what a server of that version answers to a new connection
        patch.setattr(PGDialect, "_get_server_version_info", lambda *_: (engine.MIN_POSTGRESQL_VERSION - 1, 12))
        (sentence,) = explain()
        assert "is PostgreSQL 14.12, which is too old. Move the database to PostgreSQL 15" in sentence
    for revision, advice in (("9999", "Install that version"), ("f3a1c07b", "Check DIGEST_DATABASE_URL")):
        with postgresql.write() as session:
            session.execute(text("UPDATE alembic_version SET version_num = :name"), {"name": revision})
        (sentence,) = explain()
        assert advice in sentence
    with postgresql.write() as session:
        session.execute(
            text("UPDATE alembic_version SET version_num = :name"), {"name": engine.newest_schema_revision()}
        )
    assert explain() == []


def test_a_full_disk_and_a_locked_folder_come_before_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = InstallationError("Can't open the database: unable to open database file.")
    settings = Settings(home=tmp_path)
    roomy = DiskUsage(10**12, 0, 10**12)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: roomy)
    tmp_path.chmod(0o500)
    assert [f.check for f in diagnose_open_failure(error, settings)] == ["home-folder"]
    tmp_path.chmod(0o700)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: roomy._replace(free=10**7))
    (finding,) = diagnose_open_failure(error, settings)
    assert finding.check == "disk-space"
    assert "The disk is almost full" in finding.message
    monkeypatch.setattr(shutil, "disk_usage", lambda _: roomy)
    assert [f.check for f in diagnose_open_failure(error, settings)] == ["database"]


def test_unsealed_events_have_two_days_from_a_restore(world: FaultyInstallation) -> None:
    world.add_subscriber(NOW - timedelta(days=9))
    (unsealed,) = examine(world, "seals")
    with world.database.write() as session:
        record_audit(session, RESTORE.name, "installation", {}, actor="eve", now=NOW - timedelta(days=2) + MINUTE)
    assert examine(world, "seals") == []
    (later,) = run_checks(ExaminedInstallation(world.open(), NOW + HOUR), ["seals"])
    assert (later.check, later.level, later.sentence) == unsealed


MACHINE_FAULTS: dict[str, tuple[object, str, object, object, str]] = {
    "disk-space": (shutil, "disk_usage", DiskUsage(10**12, 10**12, 9 * 10**8), DiskUsage(10**12, 0, 10**12), "Free up"),
    "home-folder": (
        os,
        "statvfs",
        SimpleNamespace(f_flag=os.ST_RDONLY),
        SimpleNamespace(f_flag=0),
        "mount -o remount,rw",
    ),
    "import-names": (
        *(metadata, "packages_distributions"),
        {"digest": ["hls-digest", "digest-tools"], "subscribers": ["hls-digest"]},
        {"digest": ["hls-digest"], "subscribers": ["hls-digest"]},
        "in its own environment",
    ),
}


@pytest.mark.parametrize("check", MACHINE_FAULTS)
def test_a_fault_of_the_machine_is_found_and_gone_once_it_is_repaired(
    world: FaultyInstallation, monkeypatch: pytest.MonkeyPatch, check: str
) -> None:
    module, function, faulty, repaired, advice = MACHINE_FAULTS[check]
    monkeypatch.setattr(module, function, lambda *_: faulty)
    ((found, _, sentence),) = examine(world, check)
    assert found == check
    assert advice in sentence
    monkeypatch.setattr(module, function, lambda *_: repaired)
    assert examine(world, check) == []


@pytest.mark.seccomp
def test_a_system_without_landlock_is_found_and_still_parses(
    world: FaultyInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = Sandbox("tests.collect.sandbox.old_kernel_broker")
    monkeypatch.setattr(client, "SANDBOX", sandbox)
    try:
        ((check, level, sentence),) = examine(world, "parsing-sandbox")
        page = b'{"version": "https://jsonfeed.org/version/1.1", "title": "Port", "items": []}'
        assert client.parse_document(page, url="https://port.example.org/feed", now=NOW).title == "Port"
    finally:
        sandbox.stop()
        monkeypatch.undo()
    assert examine(world, "parsing-sandbox") == [] or not has_tool("landlock"), "on a newer system it's gone"
    assert (check, level) == ("parsing-sandbox", "warning")
    assert "can access files on this system" in sentence
    assert "landlock_create_ruleset" in sentence


@pytest.mark.parametrize(
    ("gone_a_night", "level"), [(0, "ok"), (10**9, "ok"), (3 * 10**9, "warning"), (10**10, "error")]
)
def test_a_disk_that_fills_is_forecast_from_its_nights(
    world: FaultyInstallation, monkeypatch: pytest.MonkeyPatch, gone_a_night: int, level: str
) -> None:
    """With a hundred GB left: a hundred days, thirty-three, ten."""
    for night in range(10):
        left = shutil.disk_usage("/")._replace(free=10**11 + (9 - night) * gone_a_night)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, left=left: left)
        record_free_space(world.open(), NOW - timedelta(days=9 - night))
    (finding,) = run_checks(ExaminedInstallation(world.open(), NOW), ["disk-growth"])
    assert (finding.check, finding.level) == ("disk-growth", level)
    assert ("Delete old backups" in finding.sentence) is (level != "ok")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: DiskUsage(10**13, 0, 10**13))
    assert examine(world, "disk-growth") == [], "once backups were deleted"
    assert forecast_days_left({NOW.date(): 1}, 1) is None, "one night tells nothing"


def test_settings_and_a_database_that_cannot_be_opened_are_findings_too(
    initialized_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script reads the same form, whatever is wrong."""
    monkeypatch.setenv("DIGEST_SPEED", "high")
    refused = CliRunner().invoke(digest, ["doctor", "--json"])
    assert refused.exit_code == 1
    (finding,) = json.loads(refused.output)["findings"]
    assert (finding["check"], finding["level"]) == ("settings", "error")
    assert "DIGEST_SPEED isn't a setting" in finding["message"]
    assert finding["remedy"] == "Correct the listed settings. Then run doctor again. The other checks haven't run yet."
    monkeypatch.delenv("DIGEST_SPEED")
    monkeypatch.setenv("DIGEST_DATABASE_URL", f"sqlite:///{initialized_home}")
    (finding,) = json.loads(CliRunner().invoke(digest, ["doctor", "--json"]).output)["findings"]
    assert finding["check"] == "database"
    assert "DIGEST_DATABASE_URL" in finding["remedy"]
    monkeypatch.setenv("DIGEST_DATABASE_URL", "postgresql+psycopg://eve:hid-den@127.0.0.1:1/digest")
    (finding,) = json.loads(CliRunner().invoke(digest, ["doctor", "--json"]).output)["findings"]
    assert finding["check"] == "database"
    assert finding["message"].startswith("Can't open the database: ")
    assert finding["message"].endswith(" refused.")
    assert f"{finding['message']}{finding['remedy']}".isprintable()
    assert f"{finding['message']} {finding['remedy']}".lower().count("server is running") == 1
    Path("digest.toml").write_text("[publication]\nname = HLS\n")
    (finding,) = json.loads(CliRunner().invoke(digest, ["doctor", "--json"]).output)["findings"]
    assert finding["check"] == "settings"
    assert (
        finding["message"] == f"{Path('digest.toml').absolute()} isn't valid TOML, at line 2, column 8: Invalid value."
    )
    assert finding["remedy"].startswith("Correct the file at this position. Then run doctor again")


def test_a_folder_that_cannot_be_entered_is_a_finding_too(
    initialized_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> object:
        raise PermissionError(errno.EACCES, "Permission denied", str(initialized_home / "digest.db"))

    monkeypatch.setattr(CommandContext, "installation_without_upgrade", property(refuse))
    (finding,) = json.loads(CliRunner().invoke(digest, ["doctor", "--json"]).output)["findings"]
    assert finding["check"] == "database"
    assert finding["message"] == f"Can't open {initialized_home / 'digest.db'}: Permission denied."
    initialized_home.chmod(0)
    (finding,) = json.loads(CliRunner().invoke(digest, ["doctor", "--json"]).output)["findings"]
    assert (finding["check"], finding["remedy"]) == ("home-folder", f"Run: chmod 700 {initialized_home}")


def test_the_command_reads_the_settings_once(initialized_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They're read again only by another user, who may not be able to."""
    read = Mock(wraps=loader._read_toml)
    monkeypatch.setattr(loader, "_read_toml", read)
    CliRunner().invoke(digest, ["doctor"])
    assert read.call_count == 2, "and one of the checks reads what's in the file now"


def test_settings_that_others_can_read_hinder_no_other_check(initialized_home: Path) -> None:
    """Two wrong modes are named in one run."""
    environment_file = Path("digest.env")
    environment_file.write_text("DIGEST_BASE_URL=https://news.hls.test\n")
    environment_file.chmod(0o644)
    (initialized_home / "keys.json").chmod(0o644)
    found = json.loads(CliRunner().invoke(digest, ["doctor", "--json"]).output)["findings"]
    messages = {finding["check"]: finding["message"] for finding in found}
    assert messages["home-folder"] == f"Other users can read {environment_file.absolute()}, which contains secrets."
    assert "Other users can read" in messages["key-file"]
    assert messages["base-url"] == "links start with https://news.hls.test"
    assert "Run: chmod 600" in CliRunner().invoke(digest, ["status"]).output, "nothing else reads them"


@pytest.mark.parametrize(
    ("remedy", "times"),
    [
        ('Enter into the DNS: _dmarc.hls.test. TXT "v=DMARC1; p=none"', 1),
        ("enter into the DNS: mx.hls.test. A NUMBER", 1),
        ("Run: chmod 600 keys.json", 0),
        ("Free up space, or move DIGEST_HOME to a larger disk. A full disk stops sending.", 0),
    ],
)
def test_how_dns_records_are_entered_is_said_once_where_there_are_any(remedy: str, times: int) -> None:
    finding = DoctorFinding("x", "error", "it is wrong.", remedy)
    assert explain_zone_file_format([finding, finding]).count("can leave out the dot") == times


@pytest.fixture(scope="module")
def outside_world(tmp_path_factory: pytest.TempPathFactory, home_databases: HomeDatabases) -> Iterator[OutsideSetup]:
    folder = tmp_path_factory.mktemp("outside")
    KeyRing.create(folder / "keys.json")
    with (
        closing(open_database(home_databases.create(folder))) as database,
        run_outside(folder, lambda settings: Installation(settings, database)) as world,
    ):
        yield world


@pytest.fixture
def outside(outside_world: OutsideSetup) -> OutsideSetup:
    outside_world.reset()
    return outside_world


def test_of_a_sound_world_outside_everything_is_well(outside: OutsideSetup) -> None:
    """By SMTP and by SendGrid; the checks run beside each other, and say how far they are."""
    steps: list[tuple[int, int]] = []
    findings = run_online_checks(outside.examined(), progress=lambda done, total: steps.append((done, total)))
    assert [f for f in findings if f.level != "ok"] == []
    online = [name for name, check in list_checks().items() if check.is_online]
    assert {f.check for f in findings} == set(online)
    assert steps == [(done, len(online)) for done in range(1, len(online) + 1)]
    outside.change_table("relay", dkim_record="one._domainkey.hls.test")
    assert [f for f in run_online_checks(outside.examined()) if f.level != "ok"] == []
    outside.use_sendgrid()
    assert [f for f in run_online_checks(outside.examined()) if f.level != "ok"] == []


@pytest.mark.parametrize("fault", OUTSIDE_PARAMETERS)
def test_a_planted_fault_outside_is_found_once_and_gone_once_its_remedy_is_carried_out(
    outside: OutsideSetup, fault: str
) -> None:
    plant, check, remedy = OUTSIDE_FAULTS[fault]
    plant(outside)
    (finding,) = [f for f in drop_consequences(run_online_checks(outside.examined())) if f.level != "ok"]
    assert finding.check == check
    assert remedy in finding.sentence
    assert stands_alone(finding.sentence)
    carry_out(outside, finding)
    assert [f for f in run_checks(outside.examined(), [check]) if f.level != "ok"] == []


def fail(*names: str, is_exposure: bool = False, is_unexamined: bool = False) -> list[DoctorFinding]:
    return [DoctorFinding(name, "error", "x", is_exposure=is_exposure, is_unexamined=is_unexamined) for name in names]


def drop(findings: list[DoctorFinding]) -> list[str]:
    return [finding.check for finding in drop_consequences(findings)]


def test_only_the_first_cause_is_reported_of_checks_that_could_not_look() -> None:
    """A cause that's left out itself leaves nothing out, and neither does what others can read."""
    unexamined = fail("spf", "mail-host", "database", "seals", "site-clock", is_unexamined=True)
    assert drop(fail("resolver") + unexamined) == ["resolver", "database"]
    assert drop(fail("mail-server") + unexamined) == ["mail-server", "database", "site-clock"]
    assert drop([*fail("home-folder", "postal-address"), *unexamined[2:4]]) == ["home-folder", "postal-address"]
    assert drop(fail("home-folder", is_exposure=True) + unexamined[3:]) == ["home-folder", "seals", "site-clock"]
    assert drop(fail("timetable", "backup-folder", "missing-backup", "backup")) == ["timetable", "backup-folder"]


@pytest.mark.parametrize(
    ("cause", "others"),
    [
        ("base-url", ("site-sign-in", "site-one-click")),
        ("disk-space", ("audit-log", "access-rows")),
        ("disk-space", ("key-file", "backup-folder")),
        ("home-folder", ("audit-log", "access-rows", "departure-log", "seals")),
        ("home-folder", ("key-file", "backup-folder")),
        ("resolver", ("site-sign-in", "exchangers")),
        ("nightly-steps", ("seals",)),
        ("timetable", ("stuck-job", "nightly-steps", "bounce-mailbox", "mail-log", "stuck-send")),
        ("alignment", ("exchangers",)),
        ("site-certificate", ("site-sign-in", "site-one-click", "site-visitors")),
        ("key-file", ("missing-backup", "stuck-send", "departure-log")),
    ],
)
def test_what_a_check_saw_is_reported_unless_the_cause_makes_it(cause: str, others: tuple[str, ...]) -> None:
    assert drop(fail(cause, *others)) == [cause, *others]


def test_an_exposure_is_always_reported(outside: OutsideSetup) -> None:
    exposed = fail("database", is_exposure=True)
    assert drop(fail("disk-space") + exposed) == ["disk-space", "database"]
    outside.site.answers.update(
        {"GET /metrics": ("200 OK", [], "digest_people 3"), "GET /": ("200 OK", [], "Welcome to nginx!")}
    )
    findings = run_checks(outside.examined(), ["site-address", "site-sign-in"])
    problems = [finding.check for finding in drop_consequences(findings) if finding.level != "ok"]
    assert problems == ["site-address", "site-sign-in"]


def test_the_demos_keys_hide_nothing(world: FaultyInstallation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KeyRing, "has_demo_keys", True)
    findings = run_checks(ExaminedInstallation(world.open(), NOW), ["key-file"])
    (finding,) = [finding for finding in findings if finding.level != "ok"]
    assert finding.is_exposure
    assert "Set DIGEST_HOME to a new folder" in finding.remedy


def test_every_cause_and_consequence_is_a_check_and_causes_come_first() -> None:
    causes = list(CONSEQUENCES)
    for place, (cause, (unexamined, made)) in enumerate(CONSEQUENCES.items()):
        assert {cause, *unexamined, *made} <= set(list_checks())
        assert not {*unexamined, *made} & set(causes[: place + 1])


def test_the_command_asks_outside_when_it_is_told_to(
    outside: OutsideSetup, initialized_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of links that lead to this machine alone nothing is asked, of mail that goes into files little."""
    assert initialized_home.is_dir()
    settings_file = Path("digest.toml")
    head, _, _ = settings_file.read_text("utf-8").partition("\n[[sources]]\n")
    settings_file.write_text(head, "utf-8")  # without sources in the world
    port = outside.names.server_address[1]
    before = len(outside.names.asked)
    alone = json.loads(CliRunner().invoke(digest, ["doctor", "--json"]).output)
    assert not {f["check"] for f in alone["findings"]} & {"spf", "dmarc", "site-address"}
    assert len(outside.names.asked) == before
    words = ["doctor", "--online", "--name-server", f"127.0.0.1:{port}", "--json"]
    asked = json.loads(CliRunner().invoke(digest, words).stdout)
    found = {f["check"]: f["level"] for f in asked["findings"]}
    assert (found["dmarc"], found["site-address"]) == ("error", "ok")
    assert len(outside.names.asked) > before
    wrong = CliRunner().invoke(digest, ["doctor", "--online", "--name-server", "nowhere"])
    assert wrong.exit_code == 2
    assert "isn't the IP address of a name server" in wrong.output


def test_every_check_has_a_planted_fault() -> None:
    planted = {fault.check for fault in OPERATIONS_FAULTS.values()} | {check for _, check, _ in OUTSIDE_FAULTS.values()}
    assert set(list_checks()) - planted == UNPLANTED_CHECKS


def test_the_words_expected_of_faults_left_to_the_soak_are_still_in_the_product() -> None:
    """Phrases only, because names, numbers, and records come from the installation that a fault is planted in."""
    source = "".join(file.read_text("utf-8") for file in module_files().values())
    said = re.sub(r'"\n *f?"', "", source).lower()  # with literals on several lines joined
    advice = {name: fault.advice for name, fault in OPERATIONS_FAULTS.items()}
    advice |= {name: remedy for name, (_, _, remedy) in OUTSIDE_FAULTS.items()}
    left = [p.values[0] for p in (*OPERATIONS_PARAMETERS, *OUTSIDE_PARAMETERS) if pytest.mark.soak in p.marks]
    phrases = {phrase: name for name in left for phrase in PHRASE.findall(VALUE.sub("…", advice[name]))}
    assert len(phrases) > len(left) / 2
    assert {phrase: name for phrase, name in phrases.items() if phrase.lower() not in said} == {}


@pytest.mark.parametrize(
    "words",
    [
        ("doctor",),
        ("doctor", "--json"),
        ("status",),
        ("upgrade",),
        ("pause", "--all", "--because", "a wrong date"),
        ("migrate", "--to", "sqlite:///new.db", "--yes"),
    ],
)
def test_where_no_installation_is_a_command_says_so_and_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """Whether the folder is missing, or there is one without a database; only what makes an installation may make one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DIGEST_DATABASE_URL", raising=False)
    (tmp_path / "empty").mkdir()
    for name, reason in (
        ("mistyped", "the folder doesn't exist"),
        ("empty", f"{tmp_path / 'empty' / 'digest.db'} doesn't exist"),
    ):
        monkeypatch.setenv("DIGEST_HOME", str(tmp_path / name))
        refused = CliRunner().invoke(digest, words)
        assert refused.exit_code != 0
        for part in (f"There's no installation in {tmp_path / name} ({reason}", "Check DIGEST_HOME", "'digest init'"):
            assert part in refused.output
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


def test_old_snapshots_and_unused_replication_slots_on_postgresql_are_reported(
    postgresql: Database, tmp_path: Path
) -> None:
    world = FaultyInstallation.make_sound(tmp_path, postgresql, tmp_path / "safe")
    later = datetime.now(UTC) + timedelta(hours=2)

    def list_held_rows(now: datetime) -> list[str]:
        findings = run_checks(ExaminedInstallation(world.open(), now), ["held-rows"])
        return [finding.sentence for finding in findings if finding.level != "ok"]

    assert list_held_rows(later) == []
    with postgresql.snapshot() as session:
        session.execute(text("SET application_name = 'nightly dump'"))
        session.execute(text("SELECT count(*) FROM delivery"))
        assert list_held_rows(datetime.now(UTC)) == [], "a backup may take its time"
        (sentence,) = list_held_rows(later)
        pid = session.scalar(text("SELECT pg_backend_pid()"))
    assert sentence.startswith(f"A transaction from nightly dump (pid {pid}) has been open since 20")
    assert list_held_rows(later) == [], "once its connection ended"
    with postgresql.write() as session:  # between two statements it has no snapshot
        session.execute(text("INSERT INTO memo VALUES ('test', '1', now())"))
        assert len(list_held_rows(later)) == 1, "it may have written what others must not see yet"
    with postgresql.write() as session:
        session.execute(text("SELECT pg_create_physical_replication_slot('standby')"))
    try:
        (sentence,) = list_held_rows(datetime.now(UTC))
    finally:
        with postgresql.write() as session:
            session.execute(text("SELECT pg_drop_replication_slot('standby')"))
    assert list_held_rows(datetime.now(UTC)) == [], "once the slot was dropped"
    assert sentence.startswith("The replication slot standby isn't used")
    assert "pg_drop_replication_slot" in sentence


def test_deliveries_on_postgresql_have_vacuum_settings_of_their_own(postgresql: Database) -> None:
    with postgresql.read() as session:
        options = session.scalar(text("SELECT reloptions FROM pg_class WHERE oid = 'delivery'::regclass"))
    assert {option.partition("=")[0] for option in options} == {
        *("fillfactor", "autovacuum_vacuum_scale_factor", "autovacuum_vacuum_threshold"),
        "autovacuum_analyze_scale_factor",
    }


def test_an_empty_database_on_a_server_is_no_installation(postgresql_url: str, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, database_url=sibling_database_url(postgresql_url, "postgres"))
    refused = pytest.raises(
        InstallationError, match=r"the database is empty.*Check DIGEST_HOME and DIGEST_DATABASE_URL"
    )
    with refused, open_installation(settings):
        pass
    with closing(open_database(settings.effective_database_url)) as database:
        assert not has_schema(database)
