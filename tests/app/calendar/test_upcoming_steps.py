"""The steps of the next two weeks, and earlier ones that were missed."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from click.testing import CliRunner
from sqlalchemy import delete

from digest.app.calendar.upcoming_steps import explain_missed_run, find_missed_runs, list_upcoming_steps
from digest.cli import digest
from digest.installation.opened_installation import open_installation
from digest.settings import BackupSettings, ScheduleSettings, SettingsFileContent, load_settings
from digest.store.engine import Database
from digest.store.models import FIRST_LOOK_JOB, ReleaseScheduleChange, ScheduleSlot
from tests.moments import THURSDAY_NOON as NOW
from tests.web.conftest import store_edition

FILE = SettingsFileContent(backup=BackupSettings(folder="/backups"))


def steps(database: Database, now: datetime = NOW, file: SettingsFileContent = FILE) -> list[str]:
    with database.read() as session:
        return [step.describe(file) for step in list_upcoming_steps(session, file, now)]


def missed(database: Database, now: datetime, file: SettingsFileContent = FILE) -> list[str]:
    with database.read() as session:
        return [slot.job for slot in find_missed_runs(session, file, now)]


def test_a_fortnight_is_told_in_its_order_with_what_is_skipped(one_database: Database) -> None:
    change = ReleaseScheduleChange(
        regular_on=date(2026, 11, 27),
        release_at=NOW + timedelta(days=8, hours=-1),
        skipped=True,
        changed_by="eve",
        changed_at=NOW,
    )
    with one_database.write() as session:
        session.add(change)
    assert steps(one_database) == [
        "Thu Nov. 19, 5 p.m.: sources are collected",
        "Thu Nov. 19, 5:30 p.m.: 2026-W47 is drafted",
        "Thu Nov. 19, 7 p.m.: editors are reminded of 2026-W47 if it isn't approved",
        "Thu Nov. 19, 8 p.m.: approval deadline of 2026-W47",
        "Fri Nov. 20, 2:30 a.m.: a backup is created",
        "Fri Nov. 20, 6 a.m.: 2026-W47 is sent if it's approved",
        "Fri Nov. 27, 6 a.m.: 2026-W48 is skipped",
    ]
    assert "Thu Dec. 3, 5:30 p.m.: 2026-W49 is drafted" in steps(one_database, NOW + timedelta(days=1))


def test_several_releases_a_day_are_no_list(one_database: Database) -> None:
    often = SettingsFileContent(schedule=ScheduleSettings(draft="every 2h", send="every 2h"))
    assert steps(one_database, file=often) == ["Thu Nov. 19, 5 p.m.: sources are collected"]


def test_what_did_not_come_is_named_once_it_is_later_than_its_limit(one_database: Database) -> None:
    assert missed(one_database, NOW) == [], "nobody has followed the timetable yet"

    def done(job: str, at: datetime) -> None:
        with one_database.write() as session:
            session.add(ScheduleSlot(job=job, at=at, owner="o", lease_until=at, done_at=at))

    done(FIRST_LOOK_JOB, NOW)
    evening = datetime(2026, 11, 19, 22, tzinfo=UTC)  # 5 p.m.: sources are visited; half an hour later a draft is made
    assert missed(one_database, evening + timedelta(minutes=44)) == []
    assert missed(one_database, evening + timedelta(minutes=45)) == ["collect"]
    with one_database.write() as session:
        lease_until = evening + timedelta(hours=2)
        session.add(ScheduleSlot(job="draft", at=evening + timedelta(minutes=30), owner="o", lease_until=lease_until))
    assert missed(one_database, evening + timedelta(hours=1, minutes=30)) == ["collect"], "the draft is being made"
    assert missed(one_database, evening + timedelta(hours=2, minutes=30)) == ["collect", "draft"]
    with one_database.write() as session:
        session.execute(delete(ScheduleSlot).where(ScheduleSlot.job == "draft"))
    done("draft", evening + timedelta(minutes=30))
    done("collect", evening)
    seven_pm, eight_pm = evening + timedelta(hours=2), evening + timedelta(hours=3)
    assert missed(one_database, seven_pm + timedelta(minutes=45)) == ["remind"]
    assert missed(one_database, eight_pm + timedelta(minutes=45)) == ["remind", "deadline"]
    done("remind", seven_pm)
    done("deadline", eight_pm)
    assert missed(one_database, eight_pm + timedelta(minutes=45)) == []
    assert missed(one_database, evening + timedelta(hours=11, minutes=30)) == ["nightly"]
    with one_database.read() as session:
        (slot,) = find_missed_runs(session, FILE, evening + timedelta(hours=11, minutes=30))
    assert explain_missed_run(slot, FILE).startswith(
        "The nightly maintenance due Friday, November 20, 3:30 a.m., didn't run. Check"
    )


def test_status_says_what_happens_next(initialized_home: Path) -> None:
    assert initialized_home.is_dir()
    with open_installation(load_settings()) as install:
        store_edition(install)
    said = CliRunner().invoke(digest, ["status", "2026-W47"]).output
    assert "What happens next:\n" in said
    assert "sources are collected" in said
    assert "is drafted" in said
    coming = json.loads(CliRunner().invoke(digest, ["status", "2026-W47", "--json"]).output)["next"]
    assert {"at", "what"} == coming[0].keys()


def test_status_of_an_installation_without_an_edition_says_so_and_what_holds_it_and_what_comes(
    initialized_home: Path,
) -> None:
    assert initialized_home.is_dir()
    assert CliRunner().invoke(digest, ["pause", "--all", "--because", "a wrong date"]).exit_code == 0
    said = CliRunner().invoke(digest, ["status"])
    assert said.exit_code == 0, said.output
    assert said.output.startswith("There's no edition yet. ")
    assert "a wrong date" in said.output
    assert "is drafted" in said.output.partition("What happens next:\n")[2]
    found = json.loads(CliRunner().invoke(digest, ["status", "--json"]).output)
    assert found["edition"] is None
    assert "a wrong date" in " ".join(found["attention"])
    assert found["next"]
    assert CliRunner().invoke(digest, ["status", "2026-W47"]).exit_code == 2
