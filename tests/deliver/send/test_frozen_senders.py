"""Senders frozen (SIGSTOP) at each step for longer than their lease: others continue, and nothing is sent twice."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from digest.deliver.send.claims.claim_buffer import MAX_CLAIM_BUFFER
from digest.store.delivery_models import Delivery, DeliveryState, RunLease
from digest.store.engine import open_database
from digest.store.models import Edition
from tests.deliver.kill_harness import (
    WAIT_TIMEOUT,
    KillableSend,
    SendRoute,
    is_stopped,
    open_killable_send,
    sendgrid_route,
    smtp_route,
    wait_until,
)
from tests.deliver.prepared_databases import PreparedDatabase, prepare_postgresql, prepare_sqlite

SUBSCRIBERS = 400
LEASE = 3.0  # seconds
SMTP, SENDGRID = smtp_route(8), sendgrid_route(50)
# The steps at which a sender is frozen: right after a commit, or in the middle of a conversation. `make soak` tries all of them.
CLAIMED, PLANNED = "variant", "planned_at"
STEPS = [(SMTP, PLANNED), (SMTP, "dot"), (SENDGRID, "body")]
FURTHER_STEPS = [(SMTP, CLAIMED), (SMTP, "MAIL"), (SMTP, "DATA"), (SENDGRID, CLAIMED)]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def crowd(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PreparedDatabase:
    folder = tmp_path_factory.mktemp("crowd")
    if request.param == "sqlite":
        return prepare_sqlite(folder, SUBSCRIBERS, kilobytes=4)
    return prepare_postgresql(folder, request.getfixturevalue("postgresql_url"), SUBSCRIBERS, kilobytes=4)


@pytest.fixture
def open_send(crowd: PreparedDatabase, tmp_path: Path) -> Iterator[Callable[[SendRoute], KillableSend]]:
    """Return what sets up an installation over a route."""
    opened = []

    def open_route(route: SendRoute) -> KillableSend:
        block = open_killable_send(route, tmp_path, crowd.copy_into(tmp_path), SUBSCRIBERS)
        opened.append(block)
        return block.__enter__()

    yield open_route
    for block in opened:
        block.__exit__(None, None, None)


def _start_and_freeze(at: KillableSend, step: str) -> BaseProcess:
    """Start a process that sends, and freeze it at a step, with no lock in the database."""
    if step in {PLANNED, CLAIMED}:
        process = at.start_process(send_lease=LEASE, stop_after_commit=step)
        wait_until(lambda: is_stopped(process), process.is_alive)
        assert _is_unlocked(at)
        return process
    process = at.start_process(send_lease=LEASE)
    while True:
        at.receiver.freeze_sender(process, step, after=SUBSCRIBERS // 8)
        if _is_unlocked(at):
            return process
        _wake(process)


def _wake(process: BaseProcess) -> None:
    assert process.pid is not None
    os.kill(process.pid, signal.SIGCONT)


def _is_unlocked(at: KillableSend) -> bool:
    with closing(open_database(at.options.database_url, writer_timeout=0.1)) as database:
        try:
            with database.write() as session:
                for column in (Delivery.id, Edition.id, RunLease.owner):
                    session.execute(select(column).with_for_update(nowait=True)).all()
        except OperationalError:
            return False
    return True


def _finish_and_wake(at: KillableSend, process: BaseProcess) -> None:
    """Let another process finish the send after the lease, then wake the frozen one.

    What was reserved went out; only what was being handed over is uncertain in between.
    """
    frozen = at.delivery_states()
    at.take_over_silent_runs(LEASE)
    at.finish_send()
    uncertain = {number for number, state in at.delivery_states().items() if state is DeliveryState.UNCERTAIN}
    assert uncertain <= {number for number, state in frozen.items() if state is DeliveryState.HANDING_OVER}
    assert len(uncertain) <= at.route.max_in_doubt * 4 + MAX_CLAIM_BUFFER
    received = at.receiver.count_accepted()
    _wake(process)
    process.join(WAIT_TIMEOUT)
    assert process.exitcode in {0, 1}, at.log_tail()
    assert at.receiver.count_accepted() == received, "it sent something when it woke up"


@pytest.mark.parametrize(
    ("route", "step"),
    [*STEPS, *(pytest.param(*step, marks=pytest.mark.soak) for step in FURTHER_STEPS)],
    ids=[f"{route.kind}-{step}" for route, step in [*STEPS, *FURTHER_STEPS]],
)
def test_a_frozen_sender_loses_no_one_and_sends_nothing_when_it_wakes_up(
    open_send: Callable[[SendRoute], KillableSend], route: SendRoute, step: str
) -> None:
    at = open_send(route)
    _finish_and_wake(at, _start_and_freeze(at, step))
    at.finish_send()
    counts = at.check_against_receiver()
    assert counts[DeliveryState.ACCEPTED] == at.receiver.count_accepted() == SUBSCRIBERS


def test_what_a_silent_machine_had_reserved_waits_again_within_its_lease(
    open_send: Callable[[SendRoute], KillableSend],
) -> None:
    at = open_send(SMTP)
    process = _start_and_freeze(at, "dot")
    states = at.delivery_states()
    for file in (at.options.home / "runs").iterdir():  # the machine is gone, and its file with it
        file.unlink()
    at.kill(process)
    at.receiver.resolve()
    at.take_over_silent_runs(LEASE)
    at.finish_send()
    at.check_against_receiver()
    uncertain = {number for number, state in at.delivery_states().items() if state is DeliveryState.UNCERTAIN}
    assert uncertain == {number for number, state in states.items() if state is DeliveryState.HANDING_OVER}
    assert at.receiver.count_accepted() + at.count_doubts_in_vain() == SUBSCRIBERS
