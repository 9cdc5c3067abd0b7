"""The mailbox as operators use it: settings, `digest inbound`, scheduled ticks, and `digest doctor`."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pydantic import SecretStr
from sqlalchemy import update
from structlog.testing import capture_logs

import scheduler
from digest.app.doctor.check_registry import ExaminedInstallation
from digest.app.doctor.examination import run_checks
from digest.app.jobs import JobContext, run_job
from digest.cli import digest
from digest.deliver.control import installation_hold
from digest.deliver.plan.planning import plan_deliveries
from digest.installation.opened_installation import Installation
from digest.settings import BounceMailboxSettings, SettingsError, load_settings
from digest.store.delivery_models import Delivery, DeliveryState
from tests.deliver.conftest import EDITION_NAME, KEYS, DeliverySetup
from tests.deliver.fake_imap_server import PASSWORD, USER, FakeImapServer
from tests.deliver.returned_mails import SUBSCRIBER_ADDRESS, sent_message
from tests.deliver.smtp_servers import server_tls_context
from tests.moments import RELEASE, Clock

GOING_ON = threading.Event()  # never set: nobody stops


@dataclass(frozen=True)
class Operator:
    """An installation in a folder, with a mailbox set."""

    install: Installation
    server: FakeImapServer
    file: Path
    run: Callable[..., Result]

    def doctor(self) -> str:
        return "\n".join(
            f"{d.level} {d.message}" for d in run_checks(ExaminedInstallation(self.install), ["bounce-mailbox"])
        )


@pytest.fixture
def operator(
    one_world: DeliverySetup, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Operator]:
    """Give it with one reader's message accepted and its bounce in the mailbox."""
    world = one_world
    (person,) = world.add_subscribers(SUBSCRIBER_ADDRESS)
    plan_deliveries(world.database, EDITION_NAME, world.keys, world.settings, now=RELEASE)
    with world.database.write() as session:
        values = {"state": DeliveryState.ACCEPTED, "transport": "smtp", "handed_at": RELEASE}
        session.execute(update(Delivery).values(**values))
    world.settings.key_file.touch(mode=0o600)
    world.settings.key_file.write_text(KEYS.to_json())
    file = tmp_path / "digest.toml"
    with FakeImapServer(server_tls_context(certificate)) as server:
        server.inbox.add_message(sent_message(KEYS, person).returned_mail("postfix"))
        server.inbox.add_message(sent_message(KEYS, person).returned_mail("spam"))
        file.write_text(
            f'[inbound]\nhost = "127.0.0.1"\nport = {server.port}\nuser = "{USER}"\nauthorities = "{certificate}"\n'
        )
        environment = {"DIGEST_HOME": str(tmp_path), "DIGEST_INBOUND_PASSWORD": PASSWORD}
        install = Installation(load_settings(file, environment), world.database)
        monkeypatch.setenv("DIGEST_SETTINGS", str(file))
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        yield Operator(install, server, file, lambda *words: CliRunner().invoke(digest, ["inbound", *words]))


def test_the_command_reads_and_applies_and_says_what_came_of_it(operator: Operator) -> None:
    result = operator.run("--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {
        "mailbox": {"stored": 1, "known": 0, "answered": 0, "left": {"foreign": 1}, "more": False},
        "applied": {"bounced": 1, "person bounced": 1},
        "trouble": "",
    }
    again = operator.run()
    assert (again.exit_code, again.stdout) == (
        0,
        "Mailbox: 0 stored, 0 already stored, 0 answered, nothing ignored.\nApplied: nothing.\n",
    )


def test_the_command_says_what_is_wrong_and_applies_what_waits(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator.server.hang_up_at.append("UID MOVE")
    result = operator.run()
    assert result.exit_code == 1
    assert result.stdout.endswith("Applied: 1 bounced, 1 person bounced.\n")
    assert result.stderr.startswith("Mailbox: 127.0.0.1:")
    monkeypatch.setenv("DIGEST_INBOUND_PASSWORD", "")
    result = operator.run()
    assert result.exit_code == 2
    assert "DIGEST_INBOUND_PASSWORD is required" in result.stderr
    operator.file.write_text("")
    result = operator.run()
    assert (result.exit_code, result.stdout.splitlines()[0]) == (
        0,
        "There's no bounce mailbox. To set one up, see [inbound] in digest.toml.",
    )


@pytest.mark.parametrize("verb", ["UID FETCH", "UID MOVE", "LOGOUT"])
def test_a_process_killed_at_any_step_loses_and_repeats_nothing(operator: Operator, verb: str) -> None:
    operator.install.database.close()  # another process has it now
    operator.server.hang_up_at.append(verb)
    with subprocess.Popen([sys.executable, "-m", "digest", "inbound"], stdout=subprocess.PIPE) as process:
        operator.server.command_hooks[verb] = process.kill
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    result = operator.run("--json")
    assert json.loads(result.stdout)["applied"] == {"bounced": 1, "person bounced": 1}
    assert len(operator.server.folders["Digest/Done"].messages) == 1
    assert list(operator.server.inbox.messages) == [2], "the mail of others"
    assert json.loads(operator.run("--json").stdout)["applied"] == {}


def test_the_timetable_looks_every_minute_and_says_trouble_once(operator: Operator) -> None:
    clock = Clock(RELEASE)
    operator.server.refusals = {"SELECT": "NO gone"}
    with capture_logs() as logs:
        for _ in range(8 * 60):
            run_job(JobContext(operator.install, clock, GOING_ON), "read_mailbox")
            clock.sleep(1)
    assert [line["log_level"] for line in logs] == ["error"]
    tries = sum("SELECT" in line for line in operator.server.received_lines)
    assert tries == 3, "after 0, 2 and 6 minutes"
    assert "error The bounce mailbox INBOX at 127.0.0.1" in operator.doctor()
    assert (
        "can't be read (3 failed attempts, the latest Nov. 20, 6:06 a.m. ET). There's no folder INBOX: gone. Correct the folder setting "
        "under [inbound] in digest.toml."
    ) in operator.doctor()
    operator.server.refusals = {}
    clock.sleep(30 * 60)
    with capture_logs() as logs:
        run_job(JobContext(operator.install, clock, GOING_ON), "read_mailbox")
        run_job(JobContext(operator.install, clock), "apply_inbound_events")
    assert [line["event"] for line in logs] == ["the bounce mailbox works again", "events applied"]
    assert "was last read Nov. 20, 6:38 a.m. ET" in operator.doctor()


def test_a_folder_that_takes_nothing_is_said_until_it_does(operator: Operator) -> None:
    clock, server = Clock(RELEASE), operator.server
    server.refusals = {"UID MOVE": "NO quota", "CREATE": "NO quota"}
    with capture_logs() as logs:
        for _ in range(3):
            run_job(JobContext(operator.install, clock, GOING_ON), "read_mailbox")
            clock.sleep(60)
        assert "error The bounce mailbox INBOX at 127.0.0.1" in operator.doctor()
        assert "but can't move messages to Digest/Done: quota. Correct inbound.done." in operator.doctor()
        server.refusals = {}
        server.inbox.add_message(server.inbox.messages[1] + b"again")
        run_job(JobContext(operator.install, clock, GOING_ON), "read_mailbox")
    assert [line["log_level"] for line in logs] == ["error", "info"]
    assert "cannot move" not in operator.doctor()
    assert sum("SELECT" in line for line in server.received_lines) == 4, "reading itself went on, every minute"


def test_a_process_that_is_about_to_end_stops_between_two_messages(operator: Operator) -> None:
    ending = threading.Event()
    ending.set()
    run_job(JobContext(operator.install, Clock(RELEASE), ending), "read_mailbox")
    assert not operator.server.fetched_uids
    run_job(JobContext(operator.install, Clock(RELEASE), GOING_ON), "read_mailbox")
    assert operator.server.fetched_uids == [1, 2], "whoever is next goes on at once"


def test_of_several_schedulers_one_looks(operator: Operator) -> None:
    for _ in range(3):
        run_job(JobContext(operator.install, Clock(RELEASE), GOING_ON), "read_mailbox")
    assert sum("SELECT" in line for line in operator.server.received_lines) == 1


def test_a_held_copy_takes_nothing_away_from_the_original(operator: Operator) -> None:
    with operator.install.database.write() as session:
        installation_hold.pause_all_sending(session, "a copy", actor="eve", now=RELEASE)
    run_job(JobContext(operator.install, Clock(RELEASE), GOING_ON), "read_mailbox")
    result = operator.run()
    assert result.exit_code == 1
    assert "Mailbox: not read: All sending has been paused by eve" in result.stderr
    assert not operator.server.received_lines
    assert len(operator.server.inbox.messages) == 2


def test_the_scheduler_polls_only_where_a_mailbox_is_set(operator: Operator, one_world: DeliverySetup) -> None:
    jobs = [
        set(scheduler.JobScheduler(JobContext(install))._actions)
        for install in (operator.install, Installation(one_world.settings, one_world.database))
    ]
    assert ["mailbox" in names for names in jobs] == [True, False]


def _doctor(operator: Operator, url: str, *, host: str, domain: str, webhook: str = "") -> list[str]:
    settings = operator.install.settings
    file = settings.file.model_copy(
        update={
            "inbound": settings.file.inbound.model_copy(update={"host": host}),
            "sender": settings.file.sender.model_copy(update={"bounce_domain": domain}),
        }
    )
    changed = {"mail_url": SecretStr(url), "file": file, "sendgrid_webhook_key": webhook}
    install = Installation(settings.model_copy(update=changed), operator.install.database)
    findings = run_checks(ExaminedInstallation(install), ("bounce-mailbox", "bounces", "provider-events"))
    return [f"{d.level} {d.message}" for d in findings if d.message != "no problems found"]


@pytest.mark.parametrize(
    ("url", "host", "domain", "said"),
    [
        ("outbox:", "", "", []),
        ("smtp://mx", "", "", ["warning Bounces go to sender.address but aren't read."]),
        ("smtps://mx", "", "b.example.net", ["warning Bounces go to bounce+…@b.example.net but aren't read."]),
        ("smtp://mx", "x", "b.example.net", ["ok The bounce mailbox INBOX at x:"]),
        ("smtp://mx", "x", "", ["ok The bounce mailbox INBOX at x:", "warning No bounce domain is set"]),
        ("sendgrid:", "", "", ["warning SendGrid's events are rejected"]),
    ],
)
def test_the_doctor_says_whether_bounces_are_heard(
    operator: Operator, url: str, host: str, domain: str, said: list[str]
) -> None:
    findings = _doctor(operator, url, host=host, domain=domain)
    assert len(findings) == len(said)
    assert all(line.startswith(begin) for line, begin in zip(findings, said, strict=True))


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ('host = "mx"', "inbound: user is required"),
        ('host = "mx"\nuser = "u"\ntls = "off"', 'inbound: tls = "off" is allowed only for a server on this machine'),
        (
            'host = "mx"\nuser = "u"\ndone = "INBOX"',
            "inbound: the folder for processed bounces (done) can't be the one that bounces are read from",
        ),
        ('host = "mx"\nuser = "u"\nfolder = "a\\"b"', "inbound.folder: must match the pattern ^[ !#$"),
        ('host = "mx"\nuser = "u"\nfolder = "a\\r\\nb"', "inbound.folder: must match the pattern ^[ !#$"),
        ('host = "mx"\nuser = "u"\ntls = "maybe"', "inbound.tls: "),
        ('host = "mx"\nuser = "u"', "DIGEST_INBOUND_PASSWORD is required"),
        ('password = "secret"', "inbound.password: not a setting"),
    ],
)
def test_settings_that_cannot_work_are_named(tmp_path: Path, table: str, problem: str) -> None:
    file = tmp_path / "digest.toml"
    file.write_text(f"[inbound]\n{table}\n")
    with pytest.raises(SettingsError) as caught:
        load_settings(file, {})
    assert problem in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_port_follows_the_kind_of_tls() -> None:
    place = BounceMailboxSettings(host="mx", user="u")
    assert place.host_and_port == "mx:993"
    assert place.model_copy(update={"tls": "starttls"}).host_and_port == "mx:143"
