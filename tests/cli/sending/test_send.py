"""`digest send` as a process: what it waits for, what stops it, and its exit codes."""

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import sleep

import pytest
from click.testing import CliRunner, Result
from pydantic import SecretStr
from sqlalchemy import func, select

from benchmarks.page_server import command_environment
from benchmarks.sample_installation import EDITION_NAME, benchmark_settings, create_ready_database
from digest.cli import digest
from digest.cli.sending.send import POLL_SECONDS
from digest.deliver.control import edition_control, installation_hold
from digest.deliver.send.claims.send_progress import SendProgress, read_progress
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.engine import Database
from tests.conftest import WAIT_TIMEOUT
from tests.deliver.kill_harness import wait_until
from tests.deliver.smtp_servers import HeldReply, ScriptedSmtpServer

SUBSCRIBERS = 6


@pytest.fixture
def server() -> Iterator[ScriptedSmtpServer]:
    with ScriptedSmtpServer({}) as server:
        yield server


@pytest.fixture
def installed(tmp_path: Path, server: ScriptedSmtpServer) -> Iterator[tuple[Database, Mapping[str, str]]]:
    """Give an installation with an approved edition that goes out over one connection, and its environment."""
    mail_url = SecretStr(f"smtp://127.0.0.1:{server.port}?starttls=off&connections=1")
    settings = benchmark_settings(tmp_path).model_copy(update={"mail_url": mail_url})
    database = create_ready_database(settings, SUBSCRIBERS, kilobytes=4)
    yield database, command_environment(settings)
    database.close()


@contextmanager
def _sending(environment: Mapping[str, str], *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "digest", "send", EDITION_NAME, "--yes", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _next_wait(process: subprocess.Popen[str]) -> str:
    """Read on until the command says what it waits for."""
    assert process.stderr is not None
    return next(line for line in process.stderr if line.startswith("Waiting: "))


def _now() -> datetime:
    return datetime.now(UTC)


def _accepted(database: Database) -> int:
    with database.read() as session:
        taken = select(func.count()).where(Delivery.state == DeliveryState.ACCEPTED)
        return session.scalar(taken) or 0


def _progress(database: Database) -> SendProgress | None:
    with database.read() as session:
        return read_progress(session, EDITION_NAME)


def test_waiting_outlasts_a_hold_and_a_pause_and_then_sends(installed: tuple[Database, Mapping[str, str]]) -> None:
    database, environment = installed
    with database.write() as session:
        edition_control.pause_edition(session, EDITION_NAME, "a wrong date", now=_now())
        installation_hold.pause_all_sending(session, "moving house", actor="eve", now=_now())
    with _sending(environment, "--wait") as process:
        assert "moving house" in _next_wait(process)
        with database.write() as session:
            installation_hold.resume_all_sending(session)
        assert "is paused: a wrong date" in _next_wait(process)
        assert _accepted(database) == 0
        with database.write() as session:
            edition_control.resume_edition(session, EDITION_NAME, now=_now())
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, _accepted(database)) == (0, SUBSCRIBERS), errors


def test_ctrl_c_ends_the_waiting_and_nothing_is_in_doubt(installed: tuple[Database, Mapping[str, str]]) -> None:
    database, environment = installed
    with database.write() as session:
        edition_control.pause_edition(session, EDITION_NAME, "a wrong date", now=_now())
    with _sending(environment, "--wait") as process:
        _next_wait(process)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "No email was sent" in errors
    assert "Traceback" not in errors


def test_without_waiting_a_paused_edition_is_refused(installed: tuple[Database, Mapping[str, str]]) -> None:
    database, environment = installed
    with database.write() as session:
        edition_control.pause_edition(session, EDITION_NAME, "a wrong date", now=_now())
    refused = CliRunner().invoke(digest, ["send", EDITION_NAME, "--yes"], env=environment)
    assert (refused.exit_code, "is paused: a wrong date" in refused.stderr) == (2, True)


def test_what_is_uncertain_has_an_exit_code_of_its_own(
    installed: tuple[Database, Mapping[str, str]], server: ScriptedSmtpServer
) -> None:
    database, environment = installed
    server.script["DOT"] = [b"250 taken", None]
    sent = CliRunner().invoke(digest, ["send", EDITION_NAME, "--yes"], env=environment)
    assert sent.exit_code == 3, sent.stderr
    assert "1 uncertain" in sent.stdout
    assert f"digest uncertain {EDITION_NAME}" in sent.stderr
    assert _accepted(database) == SUBSCRIBERS - 1


def test_refusals_that_no_one_was_told_of_have_an_exit_code_of_their_own(
    installed: tuple[Database, Mapping[str, str]], server: ScriptedSmtpServer
) -> None:
    _, environment = installed
    server.script["RCPT"] = [b"552 5.2.2 mailbox full"] * 5

    def run(*words: str) -> Result:
        return CliRunner().invoke(digest, words, env=environment)

    sent = run("send", EDITION_NAME, "--yes")
    assert (sent.exit_code, "5 refused" in sent.stdout) == (4, True), sent.stderr
    assert f"digest refused {EDITION_NAME}" in sent.stderr
    status = run("status", EDITION_NAME).stdout
    assert "sent with refusals" in status
    assert (
        f"No. 1 was sent with 5 refusals that need a decision. To see the reasons, send the messages again, or acknowledge the refusals, run 'digest refused {EDITION_NAME}'"
        in status
    )
    assert run("refused", EDITION_NAME, "--acknowledge").exit_code == 0
    assert run("send", EDITION_NAME, "--yes").exit_code == 0
    assert "sent with" not in run("status", EDITION_NAME).stdout


def test_what_another_process_is_handing_over_is_waited_for(
    installed: tuple[Database, Mapping[str, str]], server: ScriptedSmtpServer
) -> None:
    database, environment = installed
    server.script["DOT"] = [answer := HeldReply(b"250 taken")]
    with _sending(environment) as first:
        wait_until(lambda: bool(server.message_lines))
        with _sending(environment) as second:
            assert "another process" in _next_wait(second)
            told = _progress(database)
            sleep(2.5 * POLL_SECONDS)
            assert _progress(database) == told, "it only looks meanwhile"
            answer.may_come.set()
            printed, errors = second.communicate(timeout=WAIT_TIMEOUT)
        first.communicate(timeout=WAIT_TIMEOUT)
    assert (first.returncode, second.returncode, _accepted(database)) == (0, 0, SUBSCRIBERS), errors
    assert f"{SUBSCRIBERS} accepted." in printed


def test_the_end_of_the_other_process_is_noticed_before_its_lease_runs_out(
    installed: tuple[Database, Mapping[str, str]], server: ScriptedSmtpServer
) -> None:
    database, environment = installed
    server.script["DOT"] = [HeldReply(b"250 taken")]
    with _sending(environment) as first:
        wait_until(lambda: bool(server.message_lines))
        with _sending(environment) as second:
            _next_wait(second)
            first.kill()
            printed, errors = second.communicate(timeout=WAIT_TIMEOUT)
    assert (second.returncode, _accepted(database)) == (3, SUBSCRIBERS - 1), errors
    assert "1 uncertain" in printed
