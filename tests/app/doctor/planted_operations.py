"""Faults of an installation and its operation, each with the check that finds it and the advice."""

import json
import os
import re
import shlex
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial, reduce
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from sqlalchemy import delete, select, text, update

import scheduler
from digest.app.accounts.sign_in_log import SCOPE, SURGE
from digest.app.calendar.upcoming_steps import JOB_NAMES
from digest.app.jobs import JobContext, record_schedule_start
from digest.app.upkeep.backups import BACK_UP
from digest.backups.last_backup import BACKUP_STATE_KEY
from digest.deliver.control import article_recheck_results, correction_waits, installation_hold
from digest.deliver.inbound import mail_log
from digest.deliver.inbound import mailbox_poll as poll
from digest.deliver.inbound.mail_log import LogPart, make_log_state_key
from digest.deliver.providers.kind import DoctorFinding
from digest.deliver.send.claims.delivery_claims import CHANGED_ROW
from digest.edition.content.edition_content import EditionContent
from digest.folder_owner import find_user_name
from digest.installation.opened_installation import Installation
from digest.settings import load_settings
from digest.settings.environment_file import change_variables
from digest.store.audit import record_audit
from digest.store.correction_models import Correction
from digest.store.delivery_models import (
    Delivery,
    DeliveryState,
    ProviderErasure,
    QueuedNoticeEmail,
    ReceivedEventPayload,
    StaffMember,
    StoredInstallationValue,
)
from digest.store.engine import Database
from digest.store.models import (
    FIRST_LOOK_JOB,
    Edition,
    EditionState,
    ReleaseScheduleChange,
    ScheduleSlot,
    Source,
    SourceHealth,
)
from digest.store.process_identity import identify_current_process
from digest.store.schedule_slots import SCHEDULER_STATE_KEY, record_scheduler_seen, record_unscheduled_pages_seen
from subscribers.consent.unsubscribe_log import PendingUnsubscribeLogEntry
from subscribers.crypto.keys import KeyRing
from subscribers.signup.manual_signup import ConsentEvidence
from subscribers.signup.rate_limits import SURGE_KIND
from subscribers.store.models import ConsentKind, ImportBatch, Person, PersonState
from subscribers.store.signup_models import RateLimitCount, SignupSurge
from tests.app.doctor.remedies import follow_file_changes, list_commands, read_variable_changes, run_digest, run_shell
from tests.conftest import ROOT, approve_as_stored
from tests.deliver.many_subscribers import add_many_subscribers
from tests.deliver.smtp_servers import ScriptedSmtpServer
from tests.moments import AFTER_RELEASE as NOW
from tests.row_keys import change_rows
from tests.web.conftest import store_edition

LOG_STATE_KEY = make_log_state_key(identify_current_process().host)
OTHER_USER = 54321  # without an account
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
PASSPHRASE = "a rather long passphrase"
ADDRESS_LINE = 'postal_address = "1 Main St, Springfield"\n'
LAST_COLLECTION = datetime(2026, 11, 20, 10, tzinfo=UTC)  # by the default times
NAMELESS_CONSENT = "Yes, send me the news by mail once a week, until I leave by the link in every mail."
LOGOS = '[branding]\nlogo = "a.png"\nlogo_dark = "b.png"\n'
WEBHOOK_KEY = b64encode(
    ec.derive_private_key(1, ec.SECP256R1())
    .public_key()
    .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
).decode()
REFUSED_AS_CHANGED = {"state": DeliveryState.REFUSED, "reply": CHANGED_ROW}
SOUND_SETTINGS = """
[publication]
name = "HLS.Today"

[sender]
address = "digest@hls.test"
reply_to = "desk@hls.test"
list_id = "weekly.hls.test"
postal_address = "1 Main St, Springfield"
bounce_domain = "bounce.hls.test"

[[sources]]
url = "https://feeds.hls.test/all"
name = "Ports"
publisher = "Ports"

[[sources]]
url = "https://feeds.hls.test/products"
name = "Products"
publisher = "Products"
section = "products"

[[sources]]
url = "https://feeds.hls.test/events"
name = "Events"
publisher = "Events"
section = "events"

[[sources]]
url = "https://feeds.hls.test/opportunities"
name = "Opportunities"
publisher = "Opportunities"
section = "opportunities"

[limits]
proxies = 1

[relay]
dkim_record = "mail._domainkey.hls.test"
log = "journal"
"""
SOUND_VARIABLES = {"DIGEST_BASE_URL": "https://news.hls.test", "DIGEST_MAIL_URL": "smtp://mx.hls.test"}


def forge_admin(world: "FaultyInstallation") -> None:
    columns = "email, role, added_at, added_by, proven_at"
    with world.database.engine.begin() as connection:
        connection.execute(
            text(f"INSERT INTO staff ({columns}) SELECT 'x@hls.test', role, added_at, added_by, proven_at FROM staff")
        )


@dataclass
class FaultyInstallation:
    """An installation that is sound until something is planted in it; its settings are read when it is examined.

    `safe` is the folder of what an operator keeps elsewhere: the keys' recovery copy, and backups.
    """

    home: Path
    safe: Path
    database: Database
    now: datetime = NOW

    @classmethod
    def make_sound(cls, home: Path, database: Database, safe: Path | None = None) -> "FaultyInstallation":
        home.chmod(0o700)
        safe = safe or home / "safe"
        safe.mkdir(exist_ok=True)
        (home / "digest.toml").write_text(SOUND_SETTINGS)
        (home / "digest.toml").chmod(0o644)  # whatever the umask of who runs the tests
        (home / "digest.env").touch(mode=0o600)
        KeyRing.create(home / "keys.json")
        world = cls(home, safe, database)
        world.set_variables(DIGEST_HOME=str(home), **SOUND_VARIABLES)
        shutil.copy(home / "keys.json", world.recovery_copy)
        world.add(StaffMember(email="eve@hls.test", role="admin", added_at=NOW, added_by="x", proven_at=NOW))
        world.remember(LOG_STATE_KEY, {"trouble": ""})
        return world

    @property
    def recovery_copy(self) -> Path:
        """The copy of the keys that was made at the beginning."""
        return self.safe / "recovery.json"

    @property
    def backup_file(self) -> Path:
        """Where `make_backup` puts a backup."""
        return self.safe / "backup.zip"

    @property
    def environ(self) -> dict[str, str]:
        """The environment that commands get; the rest is in digest.env."""
        url = self.database.engine.url
        on_server = url.get_backend_name() == "postgresql"
        database = {"DIGEST_DATABASE_URL": url.render_as_string(hide_password=False)} if on_server else {}
        return {"DIGEST_SETTINGS": str(self.home / "digest.toml"), **database}

    def open(self) -> Installation:
        """Open it with the settings as they are now."""
        return Installation(load_settings(self.home / "digest.toml", {}), self.database)

    def replace_setting(self, old: str, new: str) -> None:
        file = self.home / "digest.toml"
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))

    def set_variables(self, **values: str) -> None:
        """Write variables into digest.env."""
        file = self.home / "digest.env"
        file.write_text(change_variables(file.read_text(), values))

    def drop_variable(self, name: str) -> None:
        """Take a variable out of digest.env."""
        file = self.home / "digest.env"
        lines = [line for line in file.read_text().splitlines() if not line.startswith(f"{name}=")]
        file.write_text("\n".join([*lines, ""]))

    def add(self, *rows: object) -> None:
        with self.database.write() as session:
            for row in rows:
                session.add(row)
                session.flush()

    def add_subscriber(self, at: datetime = NOW - HOUR, *, is_backed_up: bool = True, **columns: Any) -> int:
        """Add somebody with a chain, sealed keys, and, unless told otherwise, a backup after them."""
        evidence = ConsentEvidence(
            "Yes, send me HLS.Today.",
            "1",
            "en",
            "hls.test",
            "form",
            "eve",
            agreed_at=at - 30 * DAY,
            kind=ConsentKind.CONFIRMED,
        )
        with self.database.write() as session:
            (number,) = add_many_subscribers(session, self.open().keys, ["ada@example.org"], evidence=evidence, now=at)
            if columns:
                session.execute(update(Person).where(Person.number == number).values(**columns))
            if is_backed_up:
                record_audit(session, BACK_UP.name, "installation", {}, actor="eve", now=at)
        return number

    def add_edition(
        self, release_at: datetime = NOW - 3 * DAY, state: EditionState = EditionState.DRAFT, **columns: Any
    ) -> str:
        """Store an edition, signed as approved if it's public."""
        name = store_edition(self.open(), state=state, release_at=release_at)
        with self.database.write() as session:
            row = session.scalars(select(Edition).where(Edition.name == name)).one()
            for column, value in columns.items():
                setattr(row, column, value)
        return name

    def remember(self, name: str, value: Any) -> None:
        self.add(StoredInstallationValue(name=name, value=value, at=NOW))

    def change_delivery(self, **columns: Any) -> None:
        """Change the one delivery, as its next attempt does."""
        with self.database.write() as session:
            session.execute(update(Delivery).where(Delivery.purpose.not_like("alert:%")).values(**columns))

    def make_backup(self) -> None:
        """Make a backup that stays apart from the installation."""
        self.run(f"digest backup {self.backup_file}")

    def run(self, command: str, typed: str = "", exit_codes: Sequence[int] = (0,)) -> str:
        """Run a command of ours or a shell's line, as an operator would; return what ours printed."""
        self.database.close()
        printed = ""
        commands = (
            [shlex.split(command)] if command.startswith("digest ") else run_shell(self.environ, self.safe, command)
        )
        for words in commands:
            environ = self.environ | {"DIGEST_BACKUP_PASSPHRASE": PASSPHRASE}
            own = words[1:] if words[0] == "digest" else words
            printed += run_digest(environ, *own, typed=typed, exit_codes=exit_codes)
        return printed

    def serve(self) -> None:
        """Do what `digest serve` does at its start, whether or not this machine has a journal."""
        context = JobContext(self.open(), clock=lambda: self.now)
        record_schedule_start(context)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mail_log, "read_log_part", lambda *_: LogPart((), {}))
            for run_tick in scheduler.build_tick_jobs(context).values():
                run_tick()


ASIDE = {"0" * 32: {"place": 0, "at": NOW.isoformat(), "reason": "refusals", "decision": "", "returning": False}}


def delivery(**columns: Any) -> Delivery:
    at = NOW - 2 * HOUR
    usual = {"id": "d" * 26, "purpose": "confirm:1", "state": DeliveryState.WAITING, "due_at": at, "next_try_at": at}
    return Delivery(**(usual | columns))


def slot(
    job: str, at: datetime, *, done: bool = True, outcome: str = "", taken_at: datetime | None = None
) -> ScheduleSlot:
    times = {"lease_until": taken_at or at, "taken_at": taken_at, "done_at": at if done else None}
    return ScheduleSlot(job=job, at=at, owner="-", outcome=outcome, **times)


def done_now(*jobs: str) -> Iterator[Callable[[], ScheduleSlot]]:
    """Yield functions that make a slot of each job, done now."""
    for job in jobs:
        yield partial(slot, job, NOW)


def write_dkim_key(world: FaultyInstallation, bits: int = 2048) -> Path:
    """Sign with a key of so many bits; give its file."""
    sign_nowhere(world)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = world.home / "dkim.pem"
    file.touch(mode=0o600)
    file.write_bytes(rsa.generate_private_key(65537, bits).private_bytes(*form))
    world.set_variables(DIGEST_DKIM_DOMAIN="hls.test", DIGEST_DKIM_SELECTOR="one", DIGEST_DKIM_KEY_FILE=str(file))
    return file


def open_key_file(world: FaultyInstallation) -> None:
    (world.home / "keys.json").chmod(0o644)


def lose_keys(world: FaultyInstallation) -> None:
    world.add_subscriber()
    (world.home / "keys.json").unlink()


def put_folder_for_keys(world: FaultyInstallation) -> None:
    """Have a folder where the key file should be, as Docker makes it for a mount of a missing file."""
    (world.home / "keys.json").unlink()
    (world.home / "keys.json").mkdir()


def restore_keys_for_folder(world: FaultyInstallation, finding: DoctorFinding) -> None:
    (world.home / "keys.json").rmdir()
    follow("digest keys", FILE="{recovery}")(world, finding)


def damage_keys(world: FaultyInstallation) -> None:
    (world.home / "keys.json").write_text("{")


def close_outbox(world: FaultyInstallation) -> None:
    (world.home / "outbox").mkdir(mode=0o500)


def open_outbox(world: FaultyInstallation) -> None:
    (world.home / "outbox").mkdir()
    (world.home / "outbox").chmod(0o755)


def open_database_file(world: FaultyInstallation) -> None:
    (world.home / "digest.db").chmod(0o666)


def give_away(world: FaultyInstallation, *names: str) -> None:
    """Make another user than root the owner of some of an installation's files."""
    for name in names:
        os.chown(world.home / name, OTHER_USER, OTHER_USER)


def keep_only_home_for_root(world: FaultyInstallation) -> None:
    give_away(world, "keys.json", "digest.db", "digest.env", "digest.toml")


def keep_only_database_for_root(world: FaultyInstallation) -> None:
    give_away(world, ".", "keys.json", "digest.env", "digest.toml")


def give_settings_to_root(world: FaultyInstallation) -> None:
    databases = (file.name for file in world.home.glob("digest.db*"))
    give_away(world, ".", "keys.json", "digest.env", *databases)
    lock_settings(world)


def give_all_but_unsubscribe_log(world: FaultyInstallation) -> None:
    keep_only_database_for_root(world)
    databases = (file.name for file in world.home.glob("digest.db*"))
    give_away(world, *databases)
    (world.home / "left.log").touch(mode=0o400)  # as root, only the mode shows that the service can't write to it


def reopen_unsubscribe_log(world: FaultyInstallation, finding: DoctorFinding) -> None:
    """Run the command, after which only the mode is wrong, a finding of its own."""
    follow()(world, finding)
    (world.home / "left.log").chmod(0o600)


def forge_audit(world: FaultyInstallation) -> None:
    with world.database.write() as session:
        record_audit(session, "approved", "2026-W47", {}, actor="eve", now=NOW - HOUR)
    world.make_backup()
    with world.database.write() as session:
        session.execute(text("UPDATE audit SET actor = 'mallory'"))


def act_in_the_future(world: FaultyInstallation) -> None:
    with world.database.write() as session:
        record_audit(session, "approved", "2026-W47", {}, actor="eve", now=NOW + HOUR)


def act_before_the_clock_was_set(world: FaultyInstallation) -> None:
    act_in_the_future(world)
    with world.database.write() as session:
        record_audit(session, "approved", "2026-W48", {}, actor="eve", now=NOW - HOUR)


def act_long_ago(world: FaultyInstallation, *_: object) -> None:
    with world.database.write() as session:
        record_audit(session, "approved", "2026-W47", {}, actor="eve", now=NOW - 2 * DAY)


def damage_unsubscribe_log(world: FaultyInstallation) -> None:
    keep_unsubscribe_log(world)
    (world.home / "left.log").write_text("{}\n{}\n")


def lock_unsubscribe_log(world: FaultyInstallation) -> None:
    (world.home / "left.log").touch(mode=0o400)


def misspell_setting(world: FaultyInstallation) -> None:
    change_while_open(world, "postal_address", "postal_adress")


def repeat_setting(world: FaultyInstallation) -> None:
    line = 'postal_address = "1 Main St, Springfield"\n'
    change_while_open(world, line, line * 2)


def change_while_open(world: FaultyInstallation, old: str, new: str) -> None:
    """Change the file under a process that began before."""
    installation = world.open()
    world.replace_setting(old, new)
    os.utime(world.home / "digest.toml", ns=(1, 1))
    world.open = lambda: installation  # type: ignore[method-assign]


def leave_old_backup(world: FaultyInstallation) -> None:
    run_schedule_for_days(world)
    world.add_subscriber(is_backed_up=False)
    with world.database.write() as session:
        record_audit(session, BACK_UP.name, "installation", {}, actor="eve", now=NOW - 9 * DAY)


def leave_unsealed(world: FaultyInstallation) -> None:
    world.add_subscriber(NOW - 3 * DAY)
    run_schedule_for_days(world)


def run_schedule_for_days(world: FaultyInstallation) -> None:
    """Have the timetable followed for nine days, until now."""
    world.add(slot(FIRST_LOOK_JOB, NOW - 9 * DAY), *(slot(job, NOW - timedelta(minutes=1)) for job in JOB_NAMES))


def write_template_mistake(world: FaultyInstallation) -> None:
    folder = world.home / "own" / "web"
    folder.mkdir(parents=True)
    (folder / "error.html").write_text("{% if %}")
    world.set_variables(DIGEST_TEMPLATES=str(world.home / "own"))


def open_dkim_key(world: FaultyInstallation) -> None:
    write_dkim_key(world).chmod(0o644)


def sign_for_a_stranger(world: FaultyInstallation) -> None:
    write_dkim_key(world)
    world.set_variables(DIGEST_DKIM_DOMAIN="other.test")


def lose_article(world: FaultyInstallation) -> None:
    content = json.loads((ROOT / "tests" / "fixtures" / "edition.json").read_text("utf-8"))
    url = next(iter(EditionContent.from_json(content).linked_articles))
    world.add_edition(content=content)
    look = article_recheck_results.ArticleCheck(
        NOW, None, 1, (article_recheck_results.ArticleFinding(url, "Cranes", "404"),)
    )
    with world.database.write() as session:
        article_recheck_results.save_article_check(session, "2026-W47", look)


def refuse_correction(world: FaultyInstallation) -> None:
    texts = dict.fromkeys(("section", "headline", "was", "becomes", "note"), "x")
    made = {"seq": 2, "at": NOW - DAY, "actor": "staff 1", "signed": "Dana", "mail_approved_at": NOW - DAY}
    of_story = {"url": "https://fema.example/", "field": "headline", "is_carried": False}
    world.add_edition(state=EditionState.SENT)
    world.add(Correction(id=5, edition_id=1, **made, **of_story, **texts))
    purpose, later = "correction:5", NOW + HOUR
    world.add(delivery(purpose=purpose, due_at=later, next_try_at=later))
    with world.database.write() as session:
        correction_waits.start_correction_wait(session, purpose, "552 5.3.4 too big", now=NOW)


def choose_again(world: FaultyInstallation) -> None:
    """Choose as a subscriber does at /preferences."""
    with world.database.write() as session:
        session.execute(update(Person).values(choices={}))


def append_to_unsubscribe_log(world: FaultyInstallation, lookup: str = "a" * 64) -> None:
    entry = PendingUnsubscribeLogEntry(lookup, world.open().keys.current("lookup").id, "left")
    world.open().unsubscribe_log.append(entry, at=NOW - DAY)


def keep_unsubscribe_log(world: FaultyInstallation) -> None:
    """Keep a copy of a log with somebody in it."""
    append_to_unsubscribe_log(world)
    shutil.copy(world.home / "left.log", world.safe / "left.log")


def lose_unsubscribe_log(world: FaultyInstallation) -> None:
    world.add_subscriber(state=PersonState.WITHDRAWN)


def lose_copied_unsubscribe_log(world: FaultyInstallation) -> None:
    keep_unsubscribe_log(world)
    (world.home / "left.log").unlink()
    back_up_to_safe(world)


def shorten_copied_unsubscribe_log(world: FaultyInstallation) -> None:
    """Lose the log, after which more people leave than the copy knows of."""
    keep_unsubscribe_log(world)
    (world.home / "left.log").unlink()
    for letter in "bc":
        append_to_unsubscribe_log(world, letter * 64)
    back_up_to_safe(world)


def copy_old_database(world: FaultyInstallation) -> None:
    """Have somebody in the log of whose leaving the database doesn't know."""
    world.add_subscriber()
    append_to_unsubscribe_log(world)
    world.make_backup()


def recover_lost_unsubscribe_log(world: FaultyInstallation, finding: DoctorFinding) -> None:
    """Do what the finding says; the log is the folder owner's, also if root runs the command."""
    follow(FILE="{backup}")(world, finding)
    log = (world.home / "left.log").stat()
    assert (log.st_uid, log.st_mode & 0o777) == (world.home.stat().st_uid, 0o600)


def recover_short_unsubscribe_log(world: FaultyInstallation, finding: DoctorFinding) -> None:
    """Do what the finding says; the entries since the loss stay, behind those of the copy."""
    copied, new = ((folder / "left.log").read_bytes() for folder in (world.safe, world.home))
    log = world.home / "left.log"
    file_number = log.stat().st_ino
    follow(FILE="{backup}")(world, finding)
    assert (log.read_bytes(), log.stat().st_mode & 0o777) == (copied + new, 0o600)
    assert log.stat().st_ino == file_number, "root can run the command, and the file stays its owner's"
    assert not list(world.home.glob("*.joined"))
    append_to_unsubscribe_log(world)
    assert len(list(world.open().unsubscribe_log.read())) == 4


def back_up_to_safe(world: FaultyInstallation) -> None:
    """Set scheduled backups up, and make one."""
    world.replace_setting("[limits]", f'[backup]\nfolder = "{world.safe}"\ncopied = true\n\n[limits]')
    world.set_variables(DIGEST_BACKUP_PASSPHRASE=PASSPHRASE)
    world.remember(BACKUP_STATE_KEY, {"proved_at": NOW.isoformat()})


def use_foreign_keys(world: FaultyInstallation) -> None:
    (world.home / "keys.json").unlink()
    KeyRing.create(world.home / "keys.json")


def lock_settings(world: FaultyInstallation) -> None:
    (world.home / "digest.toml").chmod(0o444)


def fill_outbox_instead(world: FaultyInstallation) -> None:
    world.add_subscriber()
    world.set_variables(DIGEST_MAIL_URL="outbox:")


def back_up_to_same_disk(world: FaultyInstallation) -> None:
    back_up_to_safe(world)
    world.replace_setting("copied = true\n", "")


def sign_nowhere(world: FaultyInstallation) -> None:
    world.replace_setting('dkim_record = "mail._domainkey.hls.test"\n', "")


def read_no_bounces(world: FaultyInstallation) -> None:
    world.add_subscriber()
    world.replace_setting('log = "journal"\n', "")


def read_bounces_without_domain(world: FaultyInstallation) -> None:
    follow_log_without_domain(world)
    world.replace_setting("[limits]", '[inbound]\nhost = "127.0.0.1"\nuser = "u"\ntls = "off"\n[limits]')
    world.set_variables(DIGEST_INBOUND_PASSWORD="secret")


def follow_log_without_domain(world: FaultyInstallation) -> None:
    world.add_subscriber()
    world.replace_setting('bounce_domain = "bounce.hls.test"\n', "")


def reject_events(world: FaultyInstallation) -> None:
    world.add_subscriber()
    world.set_variables(DIGEST_MAIL_URL="sendgrid:", DIGEST_SENDGRID_API_KEY="SG.key")


def overwrite_database_pages(world: FaultyInstallation) -> None:
    """Overwrite a page in the middle of the file, as a failing disk does."""
    world.make_backup()
    with world.database.write() as session:
        session.execute(text("DROP TABLE IF EXISTS padding"))
    world.database.close()
    file = world.home / "digest.db"
    content = bytearray(file.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 8192] = b"\xa5" * 8192
    file.write_bytes(content)


def cut_database_short(world: FaultyInstallation) -> None:
    """Lose the end of the file, as when it's copied while the disk fills up."""
    world.make_backup()
    world.database.close()
    with (world.home / "digest.db").open("r+b") as file:
        file.truncate(200_000)


def damage_value(world: FaultyInstallation) -> None:
    """Store text as a count, which SQLite allows."""
    world.add(Source(url="https://gone.hls.test/", name="Gone", publisher="Gone", topics=[], active=False))
    with world.database.write() as session:
        session.execute(text("UPDATE source SET failures = 'many'"))


def delete_damaged_row(world: FaultyInstallation, finding: DoctorFinding) -> None:
    table, number = re.findall(r"^(\w+) has damaged values, in rows (\d+)", finding.message)[0]
    with world.database.write() as session:
        session.execute(text(f"DELETE FROM {table} WHERE rowid = {number}"))


def leave_run_file(world: FaultyInstallation) -> None:
    (world.home / "runs").mkdir(mode=0o700)
    (world.home / "runs" / "abcd.run").write_bytes(b"{}")


def hold(world: FaultyInstallation) -> None:
    with world.database.write() as session:
        installation_hold.pause_all_sending(session, "a wrong date", actor="eve", now=NOW)


def remove_admin(world: FaultyInstallation) -> None:
    with world.database.write() as session:
        change_rows(session, StaffMember, role="editor")


def forget_proof(world: FaultyInstallation) -> None:
    with world.database.write() as session:
        change_rows(session, StaffMember, proven_at=None)


def set_mail(url: str) -> "Plant":
    return set_variables(DIGEST_MAIL_URL=url)


def set_variables(**values: str) -> "Plant":
    return lambda world: world.set_variables(**values)


def change(old: str, new: str) -> "Plant":
    return lambda world: world.replace_setting(old, new)


def add_rows(*make_rows: Callable[[], object]) -> "Plant":
    return lambda world: world.add(*(make() for make in make_rows))


def remember_poll(**trouble: Any) -> "Plant":
    def plant(world: FaultyInstallation) -> None:
        world.replace_setting("[limits]", '[inbound]\nhost = "127.0.0.1"\nuser = "u"\ntls = "off"\n[limits]')
        world.set_variables(DIGEST_INBOUND_PASSWORD="secret")
        world.remember(poll.LAST_POLL_STATE_KEY, trouble)

    return plant


def skip_two_releases(world: FaultyInstallation) -> None:
    for week in (1, 2):
        day = (NOW + 7 * week * DAY).date()
        world.add(
            ReleaseScheduleChange(
                regular_on=day, release_at=NOW + 7 * week * DAY - HOUR, skipped=True, changed_by="eve", changed_at=NOW
            )
        )


def fail_backup(world: FaultyInstallation) -> None:
    world.replace_setting("[limits]", f'[backup]\nfolder = "{world.safe}"\ncopied = true\n\n[limits]')
    world.set_variables(DIGEST_BACKUP_PASSPHRASE=PASSPHRASE)
    world.remember(BACKUP_STATE_KEY, {"trouble": "no room.", "tried_at": NOW.isoformat()})


def lose_heartbeat(world: FaultyInstallation) -> None:
    world.replace_setting("[limits]", '[heartbeats]\nnightly = "https://watch.hls.test/0123"\n\n[limits]')
    world.remember("heartbeat nightly", {"trouble": "status 404"})


def lose_mail_log(world: FaultyInstallation) -> None:
    overwrite(LOG_STATE_KEY, {"trouble": "The journal can't be read (no permission)."})(world)


def block_backup_folder(world: FaultyInstallation) -> None:
    file = world.home / "digest.toml"
    world.replace_setting("[limits]", f'[backup]\nfolder = "{file}"\ncopied = true\n\n[limits]')
    world.set_variables(DIGEST_BACKUP_PASSPHRASE=PASSPHRASE)


Plant = Callable[[FaultyInstallation], object]
Repair = Callable[[FaultyInstallation, DoctorFinding], object]


def follow(only: str = "", *, then: str = "", **replaced: str) -> Repair:
    """Return what carries out a finding's commands (those with `only` in them) and lines.

    `replaced` has what an operator enters, by the placeholder; {recovery}, {backup}, and {home} are places. `then` is added to a command.
    """

    def repair(world: FaultyInstallation, finding: DoctorFinding) -> None:
        places = {"recovery": world.recovery_copy, "backup": world.backup_file, "home": world.home}
        entered = {shown.replace("_", " "): meant.format(**places) for shown, meant in replaced.items()}
        lines = {"…": entered.pop("value")} if "value" in entered else {}
        steps = 0 if only else follow_file_changes(finding, lines)
        if not only and (variables := read_variable_changes(finding, lines)):
            world.set_variables(**variables)
            steps += 1
        for named in list_commands(finding, only):
            command = reduce(lambda text, pair: text.replace(*pair), entered.items(), named)
            if command not in {"digest serve", "digest setup", "digest doctor --online"}:
                world.run(f"{command}{then}", typed="y\n")
            elif command == "digest serve":
                world.serve()
            steps += 1
        assert steps, finding

    return repair


def by_hand(repair: Plant) -> Repair:
    """Return what an operator does who has read a finding that can't name the exact step."""
    return lambda world, _finding: repair(world)


def outside(repair: Plant) -> Repair:
    """Return what happens outside this program: someone else's reply, a later success, or time passing.

    Most of these change the rows that the reply or the success would change, and don't carry out a command.
    """
    return by_hand(repair)


def run(command: str, typed: str = "") -> Repair:
    """Return the run of a command that a finding names without its arguments."""

    def repair(world: FaultyInstallation, finding: DoctorFinding) -> None:
        assert " ".join(command.split()[:2]) in finding.sentence
        world.run(command.format(home=world.home, backup=world.backup_file), typed=typed)

    return repair


def serve() -> Repair:
    """Return the start of `digest serve`, which the finding must name."""

    def repair(world: FaultyInstallation, finding: DoctorFinding) -> None:
        assert "digest serve" in finding.sentence
        world.serve()

    return repair


def serve_tomorrow(world: FaultyInstallation, _finding: DoctorFinding) -> None:
    """Have the service run again a day later, once what the log told has been corrected."""
    world.now += DAY
    world.serve()


def restore_backup(world: FaultyInstallation, finding: DoctorFinding) -> None:
    """Restore the backup from before the fault, as the finding says."""
    world.database.close()
    follow("digest restore", then=" --yes", FILE="{backup}")(world, finding)
    world.database.close()


def let_time_pass(time: timedelta) -> Repair:
    def repair(world: FaultyInstallation, _finding: DoctorFinding) -> None:
        world.now += time

    return repair


def back_up_first(plant: Plant) -> Plant:
    """Return a plant before which a backup is made."""

    def plant_after_backup(world: FaultyInstallation) -> None:
        world.make_backup()
        plant(world)

    return plant_after_backup


def prove_address(world: FaultyInstallation) -> None:
    """Open the link in the email that proves an admin's address."""
    with world.database.write() as session:
        for member in session.scalars(select(StaffMember)):
            member.proven_at = NOW


def add_admin(world: FaultyInstallation, finding: DoctorFinding) -> None:
    follow("digest staff add", EMAIL="dana@hls.example")(world, finding)
    prove_address(world)


def correct_settings(old: str, new: str) -> Repair:
    return by_hand(lambda world: world.replace_setting(old, new))


def add_source(world: FaultyInstallation) -> None:
    source = '[[sources]]\nurl = "https://feeds.hls.test/all"\nname = "Ports"\npublisher = "Ports"\n'
    (world.home / "digest.toml").write_text(f"{(world.home / 'digest.toml').read_text()}\n{source}")


def write_own_texts(world: FaultyInstallation) -> None:
    texts = 'tagline = "News"\nsite = "https://vigie.test"\nabout = "About us"\n'
    world.replace_setting('name = "Vigie"\n', f'name = "Vigie"\n{texts}')
    world.replace_setting("[sender]\n", '[sender]\nname = "Vigie"\n')


def drop_article(world: FaultyInstallation) -> None:
    """Remove the story, after which the articles are checked again."""
    with world.database.write() as session:
        article_recheck_results.save_article_check(
            session, "2026-W47", article_recheck_results.ArticleCheck(NOW, None, 1, ())
        )


def forget(name: str) -> Plant:
    """Return the next success, which takes a note of trouble away."""

    def repair(world: FaultyInstallation) -> None:
        with world.database.write() as session:
            session.execute(delete(StoredInstallationValue).where(StoredInstallationValue.name == name))

    return repair


def overwrite(name: str, value: Any) -> Plant:
    """Return the next success, which is noted in place of trouble."""

    def repair(world: FaultyInstallation) -> None:
        forget(name)(world)
        world.remember(name, value)

    return repair


def approve_edition(world: FaultyInstallation, finding: DoctorFinding) -> None:
    """Approve by the mark that the command shows."""
    assert "'digest approve EDITION'" in finding.sentence
    shown = world.run("digest approve 2026-W47")
    with pytest.MonkeyPatch.context() as patch:
        approve_as_stored(patch)
        world.run(f"digest approve 2026-W47 {re.findall('[0-9a-f]{16}', shown)[-1]}")


def leave_invitation(world: FaultyInstallation) -> None:
    """Queue an invitation that nothing sends for two hours."""
    world.set_variables(DIGEST_MAIL_URL="outbox:")
    world.run("digest staff add dana@hls.example --role editor")
    world.change_delivery(due_at=NOW - 2 * HOUR, next_try_at=NOW - 2 * HOUR)


def stop_mail_server(world: FaultyInstallation) -> None:
    """Queue an invitation, and try to hand it to a server that isn't there, after the warning to the admins."""
    world.set_variables(DIGEST_MAIL_URL="outbox:")
    world.run("digest staff add dana@hls.example --role editor")
    world.change_delivery(due_at=NOW - 6 * MINUTE, next_try_at=NOW - 6 * MINUTE)
    world.set_variables(DIGEST_MAIL_URL="smtp://127.0.0.1:1?starttls=off")
    for minutes in (2, 1):
        world.now = NOW - minutes * MINUTE
        world.serve()
    world.now = NOW


def serve_pages_only(world: FaultyInstallation) -> None:
    """Run the service, then restart it for the pages alone."""
    world.add(slot(FIRST_LOOK_JOB, NOW - HOUR))
    record_scheduler_seen(world.database, NOW - HOUR)
    record_unscheduled_pages_seen(world.database, NOW - HOUR / 2, NOW)


def start_scheduler_too(world: FaultyInstallation) -> None:
    world.now += MINUTE
    world.serve()


def wrong_password(world: FaultyInstallation) -> None:
    """Queue an invitation, and sign in with a password that the server rejects."""
    world.set_variables(DIGEST_MAIL_URL="outbox:")
    world.run("digest staff add dana@hls.example --role editor")
    world.change_delivery(due_at=NOW - 2 * MINUTE, next_try_at=NOW - 2 * MINUTE)
    with ScriptedSmtpServer({"AUTH": [b"535 5.7.8 no"] * 9}, b"AUTH PLAIN") as server:
        world.set_variables(DIGEST_MAIL_URL=f"smtp://digest:wrong@127.0.0.1:{server.port}?starttls=off")
        for minutes in (2, 1):
            world.now = NOW - minutes * MINUTE
            world.serve()
    world.now = NOW


def start_mail_server(world: FaultyInstallation) -> None:
    world.set_variables(DIGEST_MAIL_URL="outbox:")
    world.now += 2 * MINUTE
    world.serve()


def change_settings_after_draft(world: FaultyInstallation) -> None:
    world.run("digest draft", exit_codes=(1,))  # it has too few stories
    world.replace_setting("[limits]", '[branding]\naccent = "#8A2C5E"\n\n[limits]')


def publish_unapproved(world: FaultyInstallation) -> None:
    name = world.add_edition(NOW - 7 * DAY)
    with world.database.write() as session:
        session.execute(update(Edition).where(Edition.name == name).values(state=EditionState.SENT))


def restore_draft(world: FaultyInstallation, finding: DoctorFinding) -> None:
    """Update the draft as the finding says, by the name that it gives."""
    follow("digest draft", EDITION=finding.message.split()[0])(world, finding)


def leave_events(world: FaultyInstallation) -> None:
    key = world.open().keys.current("vault").id
    world.add(ReceivedEventPayload(at=NOW - DAY, origin="x", body_hash="h", ciphertext=b"c", key_id=key))


def leave_warning(world: FaultyInstallation) -> None:
    key = world.open().keys.current("vault").id
    world.add(
        delivery(purpose="guard:1-a", tries=2, due_at=NOW, next_try_at=NOW + HOUR),
        QueuedNoticeEmail(delivery="d" * 26, kind="guard", ciphertext=b"c", key_id=key),
    )


def leave_erasure(world: FaultyInstallation) -> None:
    key = world.open().keys.current("vault").id
    asked = {"asked_at": NOW - DAY, "tries": 2, "next_try_at": NOW}
    world.add(ProviderErasure(provider="sendgrid", mark="m", ciphertext=b"c", key_id=key, **asked))


def finish_erasures(world: FaultyInstallation) -> None:
    """Take the requests away, as the next night does once they're accepted."""
    with world.database.write() as session:
        session.execute(delete(ProviderErasure))


def end_surge(world: FaultyInstallation) -> None:
    with world.database.write() as session:
        session.execute(update(SignupSurge).values(ended_at=NOW))


def stop_midway(world: FaultyInstallation) -> None:
    world.add_edition(state=EditionState.SENDING)
    world.add(delivery(purpose="edition:2026-W47"))


def finish_send(world: FaultyInstallation) -> None:
    """Have the edition sent, as a service does once it runs again."""
    with world.database.write() as session:
        session.execute(update(Edition).values(state=EditionState.SENT))


def misshape_alert_secret(world: FaultyInstallation) -> None:
    world.replace_setting("[limits]", '[alerts]\nwebhook = "https://hooks.hls.test/digest"\n\n[limits]')
    world.set_variables(DIGEST_ALERT_SECRET="whsec_%%%")


def make_alert_secret(world: FaultyInstallation, finding: DoctorFinding) -> None:
    """Run the command that the finding names, and enter what it prints."""
    (command,) = re.findall(r"make one with: (.+\))", finding.sentence)
    world.set_variables(DIGEST_ALERT_SECRET=subprocess.check_output(command, shell=True, text=True).strip())


def lock_backups(world: FaultyInstallation) -> None:
    world.replace_setting("[limits]", f'[backup]\nfolder = "{world.safe}"\ncopied = true\n\n[limits]')


def lock_backup_folder(world: FaultyInstallation) -> None:
    back_up_to_safe(world)
    folder = world.safe / "locked"
    folder.mkdir(mode=0o500)
    world.replace_setting(f'folder = "{world.safe}"', f'folder = "{folder}"')


def lose_backup_disk(world: FaultyInstallation) -> None:
    """Have the backup folder on a disk that isn't mounted, below a folder that only root can write to."""
    lock_backup_folder(world)
    world.replace_setting(f'folder = "{world.safe / "locked"}"', f'folder = "{world.safe / "locked" / "backups"}"')


def create_backup_folder(world: FaultyInstallation, finding: DoctorFinding) -> None:
    """Run the finding's command, which is for root; an ordinary user opens the folder above for it."""
    (world.safe / "locked").chmod(0o700)
    follow()(world, finding)
    (world.safe / "locked").chmod(0o500)


class Fault(NamedTuple):
    """What is planted, the only check that names it, a part of what its sentence says, and how that is carried out."""

    plant: Plant
    check: str
    advice: str
    repair: Repair = follow()


OPERATIONS_FAULTS: dict[str, Fault] = {
    "others may read the key file": Fault(
        open_key_file, "key-file", "for kind in vault lookup session; do digest keys rotate $kind; done"
    ),
    "the key file is lost": Fault(
        lose_keys, "key-file", "digest keys restore", follow("digest keys", FILE="{recovery}")
    ),
    "a folder has the key file's place": Fault(
        put_folder_for_keys, "key-file", "Delete it, and restore the key file", restore_keys_for_folder
    ),
    "the key file is damaged": Fault(
        damage_keys, "key-file", "digest keys restore FILE --replace", follow("digest keys", FILE="{recovery}")
    ),
    "the key file is another installation's": Fault(
        use_foreign_keys, "key-file", "digest keys restore FILE --replace", follow("digest keys", FILE="{recovery}")
    ),
    "the outbox cannot be written": Fault(close_outbox, "home-folder", "chmod 700"),
    "others may look into the outbox": Fault(open_outbox, "home-folder", "chmod 700"),
    "the database may not be written": Fault(
        lambda w: (w.home / "digest.db").chmod(0o444),
        "home-folder",
        f"digest.db (owner {find_user_name(os.geteuid())}, mode 0444), so nothing",
    ),
    "root owns the folder of another user's files": Fault(
        keep_only_home_for_root, "home-folder", f"Run as root: chown -R {OTHER_USER} "
    ),
    "root owns the database in another user's folder": Fault(
        keep_only_database_for_root, "home-folder", f"the service runs as {OTHER_USER}"
    ),
    "the environment file can't be read": Fault(
        # Only root gets as far as the other checks.
        lambda w: (w.home / "digest.env").chmod(0),
        "home-folder" if os.geteuid() == 0 else "settings",
        "Can't read",
    ),
    "a file has a folder's place": Fault(lambda w: (w.home / "runs").touch(), "home-folder", "isn't a folder"),
    "others may write the database": Fault(open_database_file, "database", "chmod 600"),
    "the database is damaged": Fault(overwrite_database_pages, "database", "lose everything newer", restore_backup),
    "the database was cut short": Fault(cut_database_short, "database", "lose everything newer", restore_backup),
    "a value is damaged": Fault(damage_value, "damaged-values", "or delete the row", delete_damaged_row),
    "a row of the audit log was changed": Fault(forge_audit, "audit-log", "lose everything newer", restore_backup),
    "the clock went back": Fault(act_in_the_future, "clock", "timedatectl", let_time_pass(2 * HOUR)),
    "the clock was ahead": Fault(
        act_before_the_clock_was_set, "clock", "there's nothing to do", let_time_pass(2 * HOUR)
    ),
    "the departure log is damaged": Fault(
        damage_unsubscribe_log,
        "departure-log",
        "left.log from a copy",
        by_hand(lambda w: shutil.copy(w.safe / "left.log", w.home / "left.log")),
    ),
    "a folder has the departure log's place": Fault(
        lambda w: (w.home / "left.log").mkdir(), "departure-log", "Then restore the file"
    ),
    "the departure log cannot be written": Fault(lock_unsubscribe_log, "departure-log", "chmod 600"),
    "root owns the departure log": Fault(
        give_all_but_unsubscribe_log, "home-folder", f"chown -R {OTHER_USER} ", reopen_unsubscribe_log
    ),
    "the departure log is lost": Fault(
        lose_unsubscribe_log, "departure-log", "run: install -o ", recover_lost_unsubscribe_log
    ),
    "the departure log is lost, and there's a copy": Fault(
        lose_copied_unsubscribe_log, "departure-log", "Run: install -o ", recover_lost_unsubscribe_log
    ),
    "the departure log began anew, and there's a copy": Fault(
        shorten_copied_unsubscribe_log, "departure-log", "Stop the server", recover_short_unsubscribe_log
    ),
    "the database is an old copy": Fault(
        copy_old_database, "departure-log", "first back it up: digest backup FILE", restore_backup
    ),
    "a setting stands twice": Fault(
        repeat_setting,
        "settings",
        "on lines 9 and 10. Remove one of the two lines.",
        correct_settings(ADDRESS_LINE * 2, ADDRESS_LINE),
    ),
    "a setting is misspelt": Fault(
        misspell_setting, "settings", "Correct the listed settings", correct_settings("postal_adress", "postal_address")
    ),
    "the alerts' secret isn't base64": Fault(
        misshape_alert_secret, "settings", "the part after whsec_ isn't base64", make_alert_secret
    ),
    "others may change the settings": Fault(lambda w: (w.home / "digest.toml").chmod(0o666), "settings", "chmod 644"),
    "the settings can't be written": Fault(lock_settings, "settings", "chmod u+w"),
    "root owns the settings": Fault(give_settings_to_root, "settings", f"Run as root: chown {OTHER_USER} "),
    "no source": Fault(
        change(SOUND_SETTINGS[SOUND_SETTINGS.index("[[") : SOUND_SETTINGS.index("[limits")], ""),
        "sources",
        "sources add",
        by_hand(add_source),
    ),
    "no postal address": Fault(
        change("1 Main St, Springfield", ""), "postal-address", 'digest.toml, change line 9 to: postal_address = "'
    ),
    "no postal address, and no line of it": Fault(change(ADDRESS_LINE, ""), "postal-address", "Under [sender] in "),
    "another name, and HLS.Today's words": Fault(
        change("HLS.Today", "Vigie"), "own-texts", "Enter your own", by_hand(write_own_texts)
    ),
    "consent to nobody": Fault(
        change("[limits]", f'[consent]\ntext = "{NAMELESS_CONSENT}"\n[limits]'),
        "consent-wording",
        "{name}",
        correct_settings("the news by mail", "{name} by mail"),
    ),
    "links without https": Fault(
        set_variables(DIGEST_BASE_URL="http://news.hls.test"), "base-url", "DIGEST_BASE_URL=https://news.hls.test"
    ),
    "a proxy that nobody declared": Fault(
        change("proxies = 1", "proxies = 0"), "proxies", "digest.toml, change line 36 to: proxies = 1"
    ),
    "a template with a mistake": Fault(
        write_template_mistake,
        "templates",
        "or remove it from",
        by_hand(lambda w: (w.home / "own" / "web" / "error.html").unlink()),
    ),
    "the folder of templates is missing": Fault(
        set_variables(DIGEST_TEMPLATES="/nowhere"),
        "templates",
        "correct or remove DIGEST_TEMPLATES",
        by_hand(lambda w: w.drop_variable("DIGEST_TEMPLATES")),
    ),
    "a file has the place of the folder of templates": Fault(
        lambda w: w.set_variables(DIGEST_TEMPLATES=str(w.home / "digest.toml")),
        "templates",
        "digest.toml is a file, not a folder",
        by_hand(lambda w: w.drop_variable("DIGEST_TEMPLATES")),
    ),
    "a logo that is not kept": Fault(
        change("[limits]", f"{LOGOS}[limits]"), "logo", "or remove both settings", correct_settings(LOGOS, "")
    ),
    "the sender is at a free mailbox provider": Fault(
        change("digest@hls.test", "hls.digest@gmail.com"), "sender-domain", 'address = "digest@news.hls.test"'
    ),
    "emails are written to files": Fault(
        fill_outbox_instead, "provider", "DIGEST_MAIL_URL=smtp://", follow(value="mx.hls.test")
    ),
    "no such provider": Fault(set_mail("carrier-pigeon:"), "provider", "DIGEST_MAIL_URL"),
    "a password that breaks the URL": Fault(set_mail("smtp://digest:pass#word@mx.hls.test"), "provider", "%23 for #"),
    "a URL without a colon": Fault(
        set_mail("smtp//localhost"), "provider", "to: DIGEST_MAIL_URL=smtp://user:password@host:587"
    ),
    "an option that SMTP has not": Fault(
        set_mail("smtp://mx.hls.test?speed=9"),
        "provider",
        "Remove or correct these options",
        by_hand(set_mail("smtp://mx.hls.test")),
    ),
    "SendGrid without a key": Fault(
        set_mail("sendgrid:"), "provider", "DIGEST_SENDGRID_API_KEY", follow(value="SG.key")
    ),
    "SendGrid's key was copied with quotes": Fault(
        set_variables(DIGEST_MAIL_URL="sendgrid:", DIGEST_SENDGRID_API_KEY="“SG.key”"),
        "provider",
        "Copy the key again",
        follow(value="SG.key"),
    ),
    "SendGrid's events are rejected": Fault(
        reject_events, "provider-events", "DIGEST_SENDGRID_WEBHOOK_KEY", follow(value=WEBHOOK_KEY)
    ),
    "mail is not signed": Fault(sign_nowhere, "signing", "openssl genrsa -out"),
    "the DKIM key is lost": Fault(lambda w: write_dkim_key(w).unlink(), "provider", "Make a new key: openssl genrsa"),
    "others may read the DKIM key": Fault(open_dkim_key, "provider", "chmod 600"),
    "signed for another domain": Fault(sign_for_a_stranger, "signing", "to: DIGEST_DKIM_DOMAIN=hls.test"),
    "bounces aren't read": Fault(
        read_no_bounces, "bounces", "Enter the server, user, and password", follow(value="bounce")
    ),
    "bounces can't be matched": Fault(
        read_bounces_without_domain, "bounces", "bounce_domain", follow(value="bounce.hls.test")
    ),
    "the log is followed without a bounce domain": Fault(
        follow_log_without_domain, "bounces", "usually the sender's", follow(value="hls.test")
    ),
    "the bounce mailbox can't be read": Fault(
        remember_poll(trouble="no folder", troubles=3),
        "bounce-mailbox",
        "'digest inbound'",
        outside(forget(poll.LAST_POLL_STATE_KEY)),
    ),
    "somebody made himself an admin in the database": Fault(
        forge_admin, "access-rows", "Find out what changed", follow("digest keys rotate access")
    ),
    "an email is for someone else than when it was queued": Fault(
        add_rows(
            lambda: Delivery(id="changed", purpose="data:1", due_at=NOW - DAY, next_try_at=NOW, **REFUSED_AS_CHANGED)
        ),
        "changed-deliveries",
        "request other emails again",
        let_time_pass(30 * DAY),
    ),
    "an edition on the public pages was never approved": Fault(
        back_up_first(publish_unapproved), "public-editions", "lose everything newer", restore_backup
    ),
    "a draft was changed in the database": Fault(
        change_settings_after_draft, "drafts", "'digest draft --update EDITION'", restore_draft
    ),
    "no admin": Fault(remove_admin, "staff", "digest staff add", add_admin),
    "an admin who has not proven the address": Fault(
        forget_proof, "staff", "open the link emailed to ", outside(prove_address)
    ),
    "the timetable stands still": Fault(
        add_rows(lambda: slot(FIRST_LOOK_JOB, NOW - 9 * DAY), lambda: slot("nightly", NOW - 2 * DAY)),
        "timetable",
        "digest serve",
        serve(),
    ),
    "the service was killed": Fault(
        add_rows(
            lambda: slot(FIRST_LOOK_JOB, NOW - HOUR),
            lambda: StoredInstallationValue(name=SCHEDULER_STATE_KEY, value={}, at=NOW - 6 * MINUTE),
        ),
        "timetable",
        "isn't running. It was last seen 2026-11-20 11:54 UTC",
        serve(),
    ),
    "pages are served without the schedule": Fault(
        serve_pages_only,
        "timetable",
        "To turn them on, start hls-scheduler, or restart 'digest serve'",
        by_hand(start_scheduler_too),
    ),
    "nothing follows the timetable": Fault(act_long_ago, "timetable", "Start 'digest serve'", serve()),
    "a job hangs": Fault(
        add_rows(
            lambda: slot(FIRST_LOOK_JOB, NOW - DAY),
            lambda: slot("collect", LAST_COLLECTION, done=False),
            *done_now("draft", "remind", "deadline", "nightly"),
        ),
        "stuck-job",
        "journalctl -u digest",
        outside(lambda w: w.serve()),
    ),
    "nightly maintenance fails and is retried": Fault(
        add_rows(
            lambda: slot(FIRST_LOOK_JOB, NOW - 9 * DAY),
            lambda: slot("nightly", NOW - 3 * DAY),
            lambda: slot("nightly", NOW - 2 * DAY, done=False, outcome="OperationalError", taken_at=NOW - HOUR / 4),
            *done_now("collect", "draft", "remind", "deadline"),
        ),
        "stuck-job",
        "started but didn't finish: OperationalError",
        serve_tomorrow,
    ),
    "a step of the night failed": Fault(
        add_rows(lambda: slot("nightly", NOW - 8 * HOUR, outcome="sealed; prune_media failed: OSError")),
        "nightly-steps",
        "Find the error in the log",
        outside(lambda w: w.add(slot("nightly", NOW - HOUR, outcome="sealed; pruned"))),
    ),
    "the ledger is not sealed": Fault(leave_unsealed, "seals", "digest serve", follow("--seal-now")),
    "no backup": Fault(
        lambda w: w.add_subscriber(is_backed_up=False), "backup", "digest backup", follow(FILE="{backup}")
    ),
    "an old backup": Fault(leave_old_backup, "backup", "digest backup", follow(FILE="{backup}")),
    "notices do not leave": Fault(leave_invitation, "waiting-mail", "digest serve", serve()),
    "the mail server is stopped": Fault(
        stop_mail_server,
        "waiting-mail",
        "Couldn't connect to 127.0.0.1:1: Connection refused. Start the mail server",
        by_hand(start_mail_server),
    ),
    "the mail server rejects the password": Fault(
        wrong_password,
        "waiting-mail",
        "rejected the sign-in: 535 5.7.8 no. Correct the user and password",
        by_hand(start_mail_server),
    ),
    "Bounces and events haven't been processed": Fault(
        leave_events, "unapplied-events", "digest inbound", follow("digest inbound")
    ),
    "messages are in doubt": Fault(
        add_rows(lambda: delivery(state=DeliveryState.UNCERTAIN)),
        "uncertain",
        "digest uncertain",
        run("digest uncertain notices --lost all --because lost --yes"),
    ),
    "a process of another machine fell silent with a message": Fault(
        add_rows(lambda: delivery(state=DeliveryState.HANDING_OVER, lease_until=NOW - HOUR)),
        "uncertain",
        "digest uncertain",
        outside(lambda w: w.change_delivery(state=DeliveryState.ACCEPTED)),
    ),
    "a run was killed": Fault(leave_run_file, "dead-run", "digest send", serve()),
    "choices cannot be read": Fault(
        lambda w: w.add_subscriber(choices={"hour": "noon"}),
        "choices",
        "choose again at /preferences",
        outside(choose_again),
    ),
    "the installation is held": Fault(hold, "held", '("a wrong date"). Ask whether'),
    "an edition rests": Fault(
        lambda w: w.add_edition(state=EditionState.SENDING, paused_at=NOW, paused_because="too many bounces"),
        "paused",
        "digest resume",
    ),
    "a provider's emails are set aside": Fault(
        lambda w: w.add_edition(state=EditionState.SENDING, set_aside=ASIDE),
        "set-aside",
        "run 'digest set-aside 2026-W47'",
        run("digest set-aside 2026-W47 --drop all --yes"),
    ),
    "a correction is refused": Fault(
        refuse_correction,
        "refused-correction",
        "552 5.3.4 too big. Check",
        outside(lambda w: w.change_delivery(state=DeliveryState.ACCEPTED)),
    ),
    "an article is gone": Fault(lose_article, "gone-articles", "approve the edition again", outside(drop_article)),
    "sign-ups surge": Fault(
        add_rows(lambda: SignupSurge(kind=SURGE_KIND, at=NOW, detail={"most": 120})),
        "signup-surge",
        "wait until the surge is over",
        outside(end_surge),
    ),
    "sign-ins were rejected": Fault(
        add_rows(lambda: RateLimitCount(scope=SCOPE, tag="wrong password", began=NOW, count=SURGE)),
        "refused-sign-ins",
        "Ask your team",
        let_time_pass(2 * HOUR),
    ),
    "a warning is refused": Fault(
        leave_warning,
        "undelivered-warnings",
        "audit log",
        outside(lambda w: w.change_delivery(state=DeliveryState.ACCEPTED)),
    ),
    "an import stopped": Fault(
        add_rows(
            lambda: ImportBatch(
                origin="Mailchimp", file_hash="f", options={}, actor="eve", started_at=NOW, counts={}, reached=0
            )
        ),
        "unfinished-import",
        "--abandon 1",
    ),
    "a release was missed": Fault(
        lambda w: w.add_edition(state=EditionState.APPROVED, approved_at=NOW - 4 * DAY, approved_by="eve"),
        "missed-release",
        "digest send 2026-W47",
        follow("digest cancel"),
    ),
    "a source is dead": Fault(
        add_rows(
            lambda: Source(
                url="https://feeds.hls.test/products",
                name="Products",
                publisher="Products",
                topics=[],
                health=SourceHealth.REFUSING,
                tried_at=NOW,
            )
        ),
        "dead-source",
        "remove the source",
        run("digest sources remove https://feeds.hls.test/products", typed="y\n"),
    ),
    "the provider's lists were not read": Fault(
        lambda w: w.remember("sendgrid pull trouble", {"troubles": ["403"]}),
        "suppression-lists",
        "DIGEST_SENDGRID_API_KEY",
        outside(forget("sendgrid pull trouble")),
    ),
    "the provider erases nobody": Fault(
        leave_erasure, "stuck-erasures", "The API key needs Suppressions", outside(finish_erasures)
    ),
    "a deadline is over": Fault(
        lambda w: w.add_edition(NOW - HOUR), "missed-deadline", "digest approve", approve_edition
    ),
    "sources are not visited": Fault(
        add_rows(lambda: slot(FIRST_LOOK_JOB, NOW - 2 * DAY), *done_now("draft", "remind", "deadline", "nightly")),
        "missed-run",
        "digest serve",
        serve(),
    ),
    "nothing goes out for weeks": Fault(
        skip_two_releases,
        "coming-steps",
        "digest calendar restore",
        follow("digest calendar restore", RELEASE="2026-11-27"),
    ),
    "a send stands still": Fault(
        stop_midway, "stuck-send", "digest send", follow("digest send", then=" --yes", EDITION="2026-W47")
    ),
    "a send doesn't start": Fault(
        lambda w: w.add_edition(NOW - HOUR, state=EditionState.APPROVED, approved_at=NOW - DAY, approved_by="eve"),
        "stuck-send",
        "sending hasn't started",
        outside(finish_send),
    ),
    "an edition was sent with refusals": Fault(
        lambda w: w.add_edition(state=EditionState.SENT, sent_at=None, refusals=12),
        "refusals",
        "digest refused 2026-W47",
        run("digest refused 2026-W47 --acknowledge --because old --yes"),
    ),
    "a backup by the clock failed": Fault(fail_backup, "missing-backup", "digest backup"),
    "the mail server's log can't be read": Fault(
        lose_mail_log,
        "mail-log",
        "install the unit file",
        outside(overwrite(LOG_STATE_KEY, {"trouble": ""})),
    ),
    "a heartbeat isn't taken": Fault(
        lose_heartbeat, "heartbeats", "and its server", outside(forget("heartbeat nightly"))
    ),
    "backups without a passphrase": Fault(
        lock_backups, "backup-folder", "digest.env, add: DIGEST_BACKUP_PASSPHRASE", follow(value=PASSPHRASE)
    ),
    "a backup folder that is none": Fault(block_backup_folder, "backup-folder", "Choose a folder"),
    "a backup folder that can't be written": Fault(lock_backup_folder, "backup-folder", "Run: chmod 700"),
    "the backup folder's disk isn't mounted": Fault(
        lose_backup_disk, "backup-folder", "Otherwise, run as root: install -d", create_backup_folder
    ),
    "backups on the same disk": Fault(back_up_to_same_disk, "backup-folder", "copied = true"),
}
