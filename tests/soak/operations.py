"""An operator's drills on a large list, with figures: `python -m tests.soak.operations [--subscribers 20000] [--no-page] [DRILL ...]`.

    faults      all planted faults, also those that `make test` leaves out
    variants    the other tests that `make test` leaves out, each on both databases
    upgrade     an upgrade in the middle of a send, and going back with the backup that it made
    restore     a machine is lost, and its encrypted backup is restored on another one
    move        to PostgreSQL
    homes       two workers, each with a home of its own, send one edition; one of them is killed

Each raises an error if anything is lost, repeated, or sent to someone who unsubscribed.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from aiosmtpd.smtp import SMTP, Envelope, Session
from pydantic import SecretStr
from sqlalchemy import func, select

from benchmarks.databases import fresh_database
from benchmarks.list_import import import_in_subprocess, write_list
from benchmarks.sample_installation import (
    EDITION_NAME,
    KEYS,
    benchmark_settings,
    create_populated_database,
    create_ready_database,
)
from build_version import LAST_RELEASE, ask_git
from digest.app.upkeep import backups
from digest.backups.migration import move_database, parse_target_url
from digest.deliver.control.installation_hold import read_current_hold
from digest.deliver.plan.delivery_plan import count_deliveries, make_edition_delivery_purpose
from digest.deliver.send.claims.claim_buffer import MAX_CLAIM_BUFFER
from digest.installation.opened_installation import Installation
from digest.settings import Settings
from digest.store.delivery_models import DeliveryState
from digest.store.engine import Database, newest_schema_revision, open_database
from digest.store.models import Edition, EditionState
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.store.models import Person, PersonState
from tests.actors import ADMIN
from tests.conftest import ROOT
from tests.deliver.kill_harness import subscriber_number
from tests.deliver.send_process import SendOptions
from tests.deliver.smtp_servers import RecordingHandler, run_smtp_server
from tests.deliver.worker_server import run_worker_server
from tests.later_revisions import write_later_revisions
from tests.soak.result_page import describe_origin, write_section
from tests.tools.build_release import build_wheel
from tests.tools.upgrade_release import SUBSCRIBERS as UPGRADED_SUBSCRIBERS
from tests.tools.upgrade_release import try_upgrade

SUBSCRIBERS = 20_000
UNSUBSCRIBED_SINCE = 25  # after the backup
CONNECTIONS = 8
MAX_UNCERTAIN = CONNECTIONS + MAX_CLAIM_BUFFER
REFUSED_EACH = 200  # one in so many addresses doesn't exist
MAX_SEND_SECONDS = 900.0

FAULTS_FOLDER = "tests/app/doctor"
FAULTS_SECTION = """\
Faults planted in an installation and around it (`tests/app/doctor`): the doctor reported {count} of {count} once, with their cause, and each was gone after
its remedy was carried out. To repeat it, run `python -m tests.soak.operations faults`.

The tables don't record who thought of a fault. By their history, 137 of the 179 on 2026-12-02 came by November 30 along with the checks, 14 with
commit 92e0071b1, which answered a walk through an operator's work, and 28 on December 1 and 2. So it can't be told which 75 that walk planted,
nor which 25 came from people who hadn't read the checks.
"""
VARIANTS_SECTION = """\
{count} tests that `make test` leaves out, most of them further variants of tests that stop and kill processes, each on SQLite and on PostgreSQL: all passed. To
repeat them, run `python -m tests.soak.operations variants`.
"""
UPGRADE_SECTION = """\
From commit {commit} to this one with two more schema changes, on SQLite and PostgreSQL, with {subscribers} subscribers and a send that was killed in the middle: no subscriber was lost, got
the edition twice, or got it after unsubscribing. Then the old version was installed again, and it restored the backup that the upgrade had
made: all subscribers were there, and those who had unsubscribed since stayed unsubscribed. Both took {seconds:.0f} seconds.
"""
RESTORE_SECTION = """\
An encrypted backup of {subscribers:,} imported subscribers ({megabytes:.1f} MB) was made and verified in {backup:.0f} seconds. {since} people unsubscribed afterward. On another machine
with the key file, the passphrase, and the newest `left.log`, it was restored in {restore:.0f} seconds: all rows, records, and seals passed verification,
those {since} people were unsubscribed, and all sending was paused.
"""
MOVE_SECTION = """\
{subscribers:,} imported subscribers ({rows:,} rows) were moved from SQLite to PostgreSQL in {seconds:.0f} seconds. All rows, records, and seals passed verification there, and the old
database no longer sends.
"""
HOMES_SECTION = """\
Two workers on PostgreSQL, each with its own home folder, run file, and `left.log`, sent one edition to {subscribers:,} subscribers over {connections} connections
each. One was killed (SIGKILL) after {killed_after:,} messages. The other one sent the rest in {seconds:.0f} seconds: {accepted:,} were accepted, {refused:,} were refused as unknown, {uncertain} are
uncertain (of at most {most}, because only the killed worker's run file shows which ones were about to be sent), and no one got it twice. The two logs together have {logged:,} bounces, {first_log:,} of them in the killed worker's.
"""


def plant_all_faults(_subscribers: int) -> str:
    """Plant the faults that the suite leaves out, and then those that it doesn't; raise `SystemExit` if any test fails."""
    count = sum(run_tests(*selected, FAULTS_FOLDER) for selected in (("-m", "soak"), ("-k", "found_once_and_gone")))
    return FAULTS_SECTION.format(count=count)


def run_left_out_variants(_subscribers: int) -> str:
    """Run the other tests that the suite leaves out, each on both databases; raise `SystemExit` if any fails."""
    return VARIANTS_SECTION.format(count=run_tests("-m", "soak", f"--ignore={FAULTS_FOLDER}"))


def run_tests(*selection: str) -> int:
    """Run the tests that arguments of pytest select and return how many passed; raise `SystemExit` if any fails."""
    command = [sys.executable, "-m", "pytest", "-q", "--numprocesses", "2", *selection]
    environment = os.environ | {"DIGEST_TEST_DATABASE": "both"}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, stdout=subprocess.PIPE, text=True)
    passed = re.search(r"(\d+) passed", done.stdout)
    if done.returncode or passed is None:
        raise SystemExit(done.stdout)
    return int(passed[1])


def build_later_wheel(folder: Path) -> Path:
    """Build a wheel of this commit with two more revisions of the schema, in a clone; return its path.

    Raises:
        subprocess.CalledProcessError: it can't be cloned or built.
    """
    checkout = folder / "later"
    subprocess.run(["git", "clone", "--quiet", "--shared", str(ROOT), str(checkout)], check=True)
    write_later_revisions(checkout / "digest" / "migrations", newest_schema_revision())
    subprocess.run(["git", "-C", str(checkout), "add", "digest/migrations"], check=True)
    identity = ["-c", "user.name=Soak", "-c", "user.email=soak@news.example.org"]
    subprocess.run(["git", "-C", str(checkout), *identity, "commit", "--quiet", "-m", "Change the schema"], check=True)
    return build_wheel(checkout, folder / "dist")


def drill_upgrade(_subscribers: int) -> str:
    began, commit = time.monotonic(), ask_git(ROOT, "rev-parse", "--short=12", LAST_RELEASE or "HEAD")
    with TemporaryDirectory(prefix="digest-soak-") as folder:
        faults = try_upgrade(build_later_wheel(Path(folder)), commit)
    assert not faults, "\n".join(faults)
    seconds = time.monotonic() - began
    return UPGRADE_SECTION.format(commit=commit, subscribers=UPGRADED_SUBSCRIBERS, seconds=seconds)


def set_up_list(home: Path, subscribers: int) -> Settings:
    """Import a list with its evidence into SQLite, and have backups made in a folder beside the home."""
    home.mkdir()
    settings = benchmark_settings(home)
    backup = settings.file.backup.model_copy(update={"folder": str(home.parent / "backups"), "copied": True})
    file = settings.file.model_copy(update={"backup": backup})
    settings = settings.model_copy(update={"file": file, "backup_passphrase": SecretStr("a rather long passphrase")})
    create_populated_database(settings, 0).close()
    write_list(home / "list.csv", subscribers)
    import_in_subprocess(settings.effective_database_url, home)
    return settings


def count_people(database: Database) -> Counter[PersonState]:
    with database.read() as session:
        return Counter(dict(session.execute(select(Person.state, func.count()).group_by(Person.state)).all()))


def drill_restore(subscribers: int) -> str:
    """Lose a machine after some people unsubscribed, and restore its backup on another one."""
    with TemporaryDirectory(prefix="digest-soak-") as folder:
        settings = set_up_list(Path(folder) / "lost", subscribers)
        with closing(open_database(settings.effective_database_url)) as database:
            began = time.monotonic()
            made = backups.back_up_into_folder(Installation(settings, database), ADMIN, now=datetime.now(UTC))
            backup_seconds = time.monotonic() - began
            assert made.proof.sound
            before = count_people(database)
            with database.write() as session:
                numbers = session.scalars(select(Person.number).limit(UNSUBSCRIBED_SINCE)).all()
                for number in numbers:
                    log = UnsubscribeLog(settings.left_log, KEYS)
                    unsubscribe_person(session, log, number, method="page", now=datetime.now(UTC))
        new_home = Path(folder) / "new"
        new_home.mkdir()
        new = settings.model_copy(update={"home": new_home})
        for file in (settings.key_file, settings.left_log):
            shutil.copy(file, new_home)
        shutil.rmtree(settings.home)
        began = time.monotonic()
        result = backups.restore_backup(new, ADMIN, made.file, replace=False, now=datetime.now(UTC))
        restore_seconds = time.monotonic() - began
        assert result.proof.sound
        assert result.departures.departed == {"left": UNSUBSCRIBED_SINCE}
        moved = Counter({PersonState.SUBSCRIBED: -UNSUBSCRIBED_SINCE, PersonState.WITHDRAWN: UNSUBSCRIBED_SINCE})
        with closing(open_database(new.effective_database_url)) as database:
            after = count_people(database)
            assert {state: count for state, count in after.items() if count} == {
                state: count for state in PersonState if (count := before[state] + moved[state])
            }
            with database.read() as session:
                assert read_current_hold(session) is not None
        return RESTORE_SECTION.format(
            subscribers=subscribers,
            megabytes=made.file.stat().st_size / 2**20,
            backup=backup_seconds,
            since=UNSUBSCRIBED_SINCE,
            restore=restore_seconds,
        )


def drill_move(subscribers: int) -> str:
    """Move a list to PostgreSQL; what was there before no longer sends."""
    with TemporaryDirectory(prefix="digest-soak-") as folder, fresh_database("postgresql", Path(folder)) as target:
        settings = set_up_list(Path(folder) / "home", subscribers)
        began, source = time.monotonic(), settings.effective_database_url
        moved = move_database(source, parse_target_url(target), KEYS, actor=ADMIN.name, now=datetime.now(UTC))
        seconds = time.monotonic() - began
        assert moved.proof.sound
        with closing(open_database(source)) as old, closing(open_database(target)) as new:
            assert count_people(old) == count_people(new)
            with old.read() as session:
                assert read_current_hold(session) is not None
        return MOVE_SECTION.format(subscribers=subscribers, rows=moved.rows, seconds=seconds)


class RefusingHandler(RecordingHandler):
    """Takes messages, except to some addresses that don't exist."""

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        if subscriber_number(envelope.rcpt_tos[0]) % REFUSED_EACH == 0:
            return "550 5.1.1 no such user"
        return await super().handle_DATA(server, session, envelope)

    @property
    def recipients(self) -> Counter[str]:
        return Counter(address for _, addresses, _ in self.messages for address in addresses)


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + MAX_SEND_SECONDS
    while not condition():
        assert time.monotonic() < end, "it got nowhere"
        time.sleep(0.2)


def drill_homes(subscribers: int) -> str:
    """Have two workers send one edition from homes of their own, and kill one."""
    mailbox = RefusingHandler()
    with (
        TemporaryDirectory(prefix="digest-soak-") as folder,
        fresh_database("postgresql", Path(folder)) as url,
        run_smtp_server(mailbox) as port,
    ):
        homes = [Path(folder) / name for name in ("first", "second")]
        mail = f"smtp://127.0.0.1:{port}?starttls=off&connections={CONNECTIONS}"
        options = [SendOptions(home, url, mail, canary_minutes=0) for home in homes]
        for home in homes:
            home.mkdir()
        now = datetime.now(UTC) - timedelta(seconds=1)
        with closing(create_ready_database(options[0].settings, subscribers, kilobytes=4, now=now)) as database:
            shutil.copy(options[0].settings.key_file, homes[1])

            def is_sent() -> bool:
                with database.read() as session:
                    query = select(Edition.state).where(Edition.name == EDITION_NAME)
                    return session.scalars(query).one() is EditionState.SENT

            began = time.monotonic()
            with run_worker_server(options[0]) as first, run_worker_server(options[1]) as second:
                killed, other = first.start_worker(), second.start_worker()
                wait_for(lambda: len(mailbox.messages) > subscribers // 3)
                first.kill_worker(killed)
                killed_after = len(mailbox.messages)
                wait_for(is_sent)
                assert second.stop_worker(other) == 0
            seconds = time.monotonic() - began
            with database.read() as session:
                counts = count_deliveries(session, make_edition_delivery_purpose(EDITION_NAME))
        assert counts.is_balanced
        assert max(mailbox.recipients.values()) == 1, "somebody got it twice"
        uncertain, accepted = counts[DeliveryState.UNCERTAIN], counts[DeliveryState.ACCEPTED]
        assert uncertain <= MAX_UNCERTAIN, f"{uncertain} are uncertain"
        assert accepted <= len(mailbox.recipients) <= accepted + uncertain
        logged = [len(list(UnsubscribeLog(home / "left.log", KEYS).read())) for home in homes]
        refused = counts[DeliveryState.REFUSED]
        assert refused - uncertain <= sum(logged) <= refused + uncertain, f"{logged} of {refused} bounces were logged"
        return HOMES_SECTION.format(
            subscribers=subscribers,
            connections=CONNECTIONS,
            killed_after=killed_after,
            seconds=seconds,
            accepted=accepted,
            refused=refused,
            uncertain=uncertain,
            most=MAX_UNCERTAIN,
            logged=sum(logged),
            first_log=logged[0],
        )


@dataclass(frozen=True)
class Drill:
    """What's drilled, under the heading of its section; `run` takes the number of subscribers and returns the section."""

    heading: str
    run: Callable[[int], str]


DRILLS = {
    "faults": Drill("Planted faults", plant_all_faults),
    "variants": Drill("Variants of tests", run_left_out_variants),
    "upgrade": Drill("Upgrade and back", drill_upgrade),
    "restore": Drill("Restore drill", drill_restore),
    "move": Drill("Move to PostgreSQL", drill_move),
    "homes": Drill("Two homes", drill_homes),
}


def record_drills(origin: str, report: Callable[[str], None], subscribers: int = SUBSCRIBERS) -> None:
    """Do all drills, and write a section of each."""
    for name, drill in DRILLS.items():
        report(f"drill: {name} …")
        write_section(drill.heading, drill.run(subscribers), origin)


def main() -> None:
    """Do some of the drills by themselves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subscribers", type=int, default=SUBSCRIBERS)
    parser.add_argument(
        "--no-page", action="store_true", help="print the sections instead of writing benchmarks/soak.md"
    )
    parser.add_argument("drills", nargs="*", choices=[*DRILLS, []], metavar="DRILL")
    arguments = parser.parse_args()
    for name in arguments.drills or DRILLS:
        section = DRILLS[name].run(arguments.subscribers)
        if arguments.no_page:
            print(section)
        else:
            write_section(DRILLS[name].heading, section, describe_origin())


if __name__ == "__main__":
    main()
