"""What is counted against an edition: its own failures alone, and those since somebody resumed it."""

from datetime import datetime, timedelta

import pytest

from digest.deliver.send.alarms import FailureCounts, count_failures
from digest.store.delivery_models import Delivery, DeliveryState, Event
from digest.store.engine import Database
from tests.deliver.conftest import RELEASE

THIS, BEFORE = "edition:2026-W47", "edition:2026-W46"


def _failed_delivery(database: Database, number: int, purpose: str, *, at: datetime, **failure: str) -> None:
    name = f"{purpose[-1]}{number:025}"
    with database.write() as session:
        session.add(
            Delivery(id=name, purpose=purpose, state=DeliveryState.REFUSED, due_at=RELEASE, next_try_at=RELEASE)
        )
        session.flush()
        session.add(Event(delivery=name, at=at, received_at=at, fingerprint=f"{name}{at}", detail={}, **failure))


@pytest.mark.parametrize(
    ("failure", "counted"),
    [
        ({"kind": "bounced", "cause": "no mailbox"}, FailureCounts(dead_addresses=1)),
        ({"kind": "bounced", "cause": "hard"}, FailureCounts(dead_addresses=1)),
        ({"kind": "bounced", "cause": "policy"}, FailureCounts(policy_refusals=1)),
        ({"kind": "complained"}, FailureCounts(complaints=1)),
    ],
)
def test_failures_count_against_their_own_edition_since_the_last_resume(
    database: Database, failure: dict[str, str], counted: FailureCounts
) -> None:
    resumed_at = RELEASE + timedelta(hours=1)
    for number in range(12):
        _failed_delivery(database, number, BEFORE, at=resumed_at + timedelta(minutes=1), **failure)
        _failed_delivery(database, number + 100, THIS, at=resumed_at - timedelta(minutes=1), **failure)
    with database.read() as session:
        assert count_failures(session, THIS, resumed_at) == FailureCounts()
    _failed_delivery(database, 200, THIS, at=resumed_at + timedelta(minutes=1), **failure)
    with database.read() as session:
        assert count_failures(session, THIS, resumed_at) == counted
