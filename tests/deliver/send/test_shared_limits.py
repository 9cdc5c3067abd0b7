"""Two processes that send one edition share a limit. The claim time of each message counts."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from benchmarks.sample_installation import KEYS
from digest.settings import UsageLimitSettings
from digest.store.delivery_models import Delivery, DeliveryState
from subscribers.address import Address
from subscribers.crypto.stored_addresses import make_domain_tag
from subscribers.store.models import Person
from tests.deliver.kill_harness import WAIT_TIMEOUT, KillableSend, open_killable_send, smtp_route
from tests.deliver.prepared_databases import PreparedDatabase, prepare_postgresql, prepare_sqlite

SUBSCRIBERS = 36


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def crowd(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PreparedDatabase:
    folder = tmp_path_factory.mktemp("crowd")
    if request.param == "sqlite":
        return prepare_sqlite(folder, SUBSCRIBERS, kilobytes=4)
    return prepare_postgresql(folder, request.getfixturevalue("postgresql_url"), SUBSCRIBERS, kilobytes=4)


@pytest.fixture
def at(crowd: PreparedDatabase, tmp_path: Path) -> Iterator[KillableSend]:
    with open_killable_send(smtp_route(4), tmp_path, crowd.copy_into(tmp_path), SUBSCRIBERS) as laid:
        yield laid


def _send_in_two_processes(at: KillableSend, limits: UsageLimitSettings) -> list[datetime]:
    """Send to everybody; return when each was claimed, in order."""
    processes = [at.start_process(limits=limits) for _ in range(2)]
    for process in processes:
        process.join(WAIT_TIMEOUT)
    assert at.check_against_receiver()[DeliveryState.ACCEPTED] == SUBSCRIBERS, at.log_tail()
    with at.database.read() as session:
        moments = session.scalars(select(Delivery.handed_at).order_by(Delivery.handed_at)).all()
    return [moment for moment in moments if moment]


@pytest.mark.takes_turns
def test_no_second_holds_more_than_the_installations_limit(at: KillableSend) -> None:
    moments = _send_in_two_processes(at, UsageLimitSettings(send_per_second=8.0))
    for first in moments:
        assert sum(first <= moment < first + timedelta(seconds=1) for moment in moments) <= 8


def test_a_domain_gets_its_share_from_both_together(at: KillableSend) -> None:
    with at.database.write() as session:  # all of them at one domain
        session.execute(update(Person).values(domain_tag=make_domain_tag(KEYS, Address("x", "big.example"))))
    moments = _send_in_two_processes(at, UsageLimitSettings(domains_per_hour={"big.example": 18_000}))
    # 300 a minute: 15 at once, and 286 are spaced over the minute.
    for first in moments:
        assert sum(first <= moment < first + timedelta(seconds=2) for moment in moments) <= 15 + 2 * 286 / 60
