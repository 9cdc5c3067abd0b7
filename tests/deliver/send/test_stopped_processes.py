"""Processes that are stopped (SIGSTOP, a paused machine) while others continue, and wake up later."""

import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from benchmarks.sample_installation import KEYS, RELEASE
from digest.deliver.send.claims.dead_runs import recover_dead_runs
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.engine import open_database
from digest.store.models import Edition
from subscribers.signup import manual_signup
from subscribers.signup.manual_signup import ConsentEvidence
from tests.deliver.kill_harness import (
    WAIT_TIMEOUT,
    KillableSend,
    is_stopped,
    open_killable_send,
    sendgrid_route,
    smtp_route,
    wait_until,
)
from tests.deliver.prepared_databases import PreparedDatabase, prepare_postgresql, prepare_sqlite

SUBSCRIBERS = 1100  # two pages of planning
LEASE = 5.0  # seconds
# One route in the suite, and the other one in `make soak`.
BY_SMTP_FIRST = [smtp_route(8), pytest.param(sendgrid_route(50), marks=pytest.mark.soak)]
BY_SENDGRID_FIRST = [sendgrid_route(50), pytest.param(smtp_route(8), marks=pytest.mark.soak)]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def crowd(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PreparedDatabase:
    folder = tmp_path_factory.mktemp("crowd")
    if request.param == "sqlite":
        return prepare_sqlite(folder, SUBSCRIBERS, kilobytes=4)
    return prepare_postgresql(folder, request.getfixturevalue("postgresql_url"), SUBSCRIBERS, kilobytes=4)


@pytest.fixture(params=[sendgrid_route(100)], ids=lambda route: route.name)
def at(request: pytest.FixtureRequest, crowd: PreparedDatabase, tmp_path: Path) -> Iterator[KillableSend]:
    with open_killable_send(request.param, tmp_path, crowd.copy_into(tmp_path), SUBSCRIBERS) as laid:
        yield laid


def _go_on(process: BaseProcess) -> None:
    """Wake a stopped process up."""
    assert process.pid is not None
    os.kill(process.pid, signal.SIGCONT)


def _start_and_stop(at: KillableSend) -> BaseProcess:
    """Start a process that sends, and stop it in the middle, with messages on their way and no lock in the database."""
    with at.receiver.rest(after=SUBSCRIBERS // 4):
        process = at.start_process(send_lease=LEASE)
        wait_until(lambda: at.receiver.count_accepted() >= SUBSCRIBERS // 4, process.is_alive)
        assert process.pid is not None
        while True:
            os.kill(process.pid, signal.SIGSTOP)
            wait_until(lambda: is_stopped(process), process.is_alive)
            if _is_unlocked(at):
                return process
            _go_on(process)


def _is_unlocked(at: KillableSend) -> bool:
    with closing(open_database(at.options.database_url, writer_timeout=0.1)) as database:
        try:
            with database.write() as session:
                for table in (Delivery, Edition):
                    session.execute(select(table.id).with_for_update(nowait=True)).all()
        except OperationalError:
            return False
    return True


def _count_got(at: KillableSend) -> int:
    return len(at.receiver.count_by_subscriber())


def test_a_planner_that_was_stopped_adds_nobody_once_another_has_closed_the_plan(at: KillableSend) -> None:
    stopped = at.start_process(stop_after_commit="insert delivery")
    wait_until(lambda: is_stopped(stopped), stopped.is_alive)
    at.finish_send()
    evidence = ConsentEvidence(
        wording="Yes.",
        wording_version="1",
        language="en",
        page="hls.today",
        method="form",
        actor="test",
        agreed_at=RELEASE - timedelta(days=100),
    )
    with at.database.write() as session:
        manual_signup.add_subscriber(session, KEYS, "later@example.org", evidence=evidence, now=RELEASE)
    _go_on(stopped)
    stopped.join(WAIT_TIMEOUT)
    assert stopped.exitcode == 0, at.log_tail()
    assert at.check_against_receiver()[DeliveryState.ACCEPTED] == SUBSCRIBERS == at.receiver.count_accepted()


@pytest.mark.parametrize("at", BY_SENDGRID_FIRST, indirect=True, ids=lambda route: route.name)
def test_a_sender_that_was_stopped_past_its_lease_repeats_nothing_and_its_answers_count(at: KillableSend) -> None:
    stopped = _start_and_stop(at)
    at.take_over_silent_runs(LEASE)
    at.finish_send()
    assert at.check_against_receiver()[DeliveryState.UNCERTAIN] > 0, "whose lease ran out"
    _go_on(stopped)
    stopped.join(WAIT_TIMEOUT)
    assert stopped.exitcode in {0, 1}, at.log_tail()  # 1: what it had not sent waits again
    at.finish_send()
    counts = at.check_against_receiver()
    assert counts[DeliveryState.ACCEPTED] == SUBSCRIBERS == at.receiver.count_accepted()


@pytest.mark.parametrize("at", BY_SMTP_FIRST, indirect=True, ids=lambda route: route.name)
def test_a_sender_that_is_killed_while_it_is_stopped_past_its_lease_leaves_its_file(at: KillableSend) -> None:
    stopped = _start_and_stop(at)
    at.take_over_silent_runs(LEASE)
    at.finish_send()
    at.kill(stopped)
    doubts = at.recover()
    at.finish_send()
    assert at.check_against_receiver()[DeliveryState.UNCERTAIN] == doubts
    if at.route.kind == "smtp":
        assert at.count_doubts_in_vain() <= 1
    assert _count_got(at) == SUBSCRIBERS - at.count_doubts_in_vain()


@pytest.mark.parametrize("at", BY_SENDGRID_FIRST, indirect=True, ids=lambda route: route.name)
def test_of_two_senders_on_one_database_one_is_killed_and_the_other_finishes(at: KillableSend) -> None:
    with at.receiver.rest(after=SUBSCRIBERS // 2):
        first, second = at.start_process(), at.start_process()
        wait_until(lambda: at.receiver.count_accepted() > SUBSCRIBERS // 4, first.is_alive)
        at.kill(first)
    second.join(WAIT_TIMEOUT)
    assert second.exitcode in {0, 1}, at.log_tail()  # 1: what the first had not begun waits again
    at.finish_send()
    assert _count_got(at) == SUBSCRIBERS - at.count_doubts_in_vain()


def test_a_copied_folder_on_the_same_boot_sends_nothing_that_the_first_had_claimed(
    at: KillableSend, tmp_path: Path
) -> None:
    process = _start_and_stop(at)
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in tmp_path.glob("digest.db*"):  # on SQLite the database lies in the folder, too
        shutil.copy(file, copy / file.name)
    shutil.copytree(tmp_path / "runs", copy / "runs")
    at.kill(process)
    with closing(open_database(at.options.database_url.replace(str(tmp_path), str(copy)))) as database:
        settings = at.options.settings.model_copy(update={"home": copy})
        recover_dead_runs(database, settings, KEYS, now=RELEASE)
        with database.read() as session:
            states = Counter(session.scalars(select(Delivery.state)))
    assert states[DeliveryState.HANDING_OVER] > 0, "nothing is known of what the first had claimed"
    assert list((copy / "runs").iterdir()) == []
    at.finish_send()
    assert _count_got(at) == SUBSCRIBERS - at.count_doubts_in_vain()
