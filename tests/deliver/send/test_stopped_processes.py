"""Processes that are stopped (SIGSTOP, a machine that is paused) while others go on, and wake up later."""

import os
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from benchmarks.sample_installation import KEYS, RELEASE
from digest.store.delivery_models import DeliveryState
from subscribers.signup import manual_signup
from subscribers.signup.manual_signup import ConsentEvidence
from tests.deliver.kill_harness import (
    WAIT_TIMEOUT,
    KillableSend,
    is_stopped,
    open_killable_send,
    sendgrid_route,
    wait_until,
)
from tests.deliver.prepared_databases import PreparedDatabase, prepare_postgresql, prepare_sqlite

READERS = 1100  # two pages of planning


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def crowd(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PreparedDatabase:
    folder = tmp_path_factory.mktemp("crowd")
    if request.param == "sqlite":
        return prepare_sqlite(folder, READERS, kilobytes=4)
    return prepare_postgresql(folder, request.getfixturevalue("postgresql_url"), READERS, kilobytes=4)


@pytest.fixture
def at(crowd: PreparedDatabase, tmp_path: Path) -> Iterator[KillableSend]:
    with open_killable_send(sendgrid_route(100), tmp_path, crowd.copy_into(tmp_path), READERS) as laid:
        yield laid


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
    assert stopped.pid is not None
    os.kill(stopped.pid, signal.SIGCONT)
    stopped.join(WAIT_TIMEOUT)
    assert stopped.exitcode == 0, at.log_tail()
    assert at.check_against_receiver()[DeliveryState.ACCEPTED] == READERS == at.receiver.count_accepted()
