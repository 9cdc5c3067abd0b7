"""An edition's failures: only its own count, and only since it was last resumed."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select, update

from digest.deliver.providers.base import BatchOutcome, HandoverStatus, MessageOutcome, OutgoingMessage
from digest.deliver.send.refusals.stop_rules import FailureCounts, count_failures
from digest.deliver.send.run.edition_sending import run_edition
from digest.store.delivery_models import Delivery, DeliveryState, StoredDeliveryEvent
from digest.store.engine import Database
from tests.deliver.conftest import EDITION_NAME, DeliverySetup
from tests.deliver.scripted_provider import ScriptedProvider, same_outcome_for_all
from tests.moments import RELEASE

THIS, BEFORE = "edition:2026-W47", "edition:2026-W46"


def _failed_delivery(database: Database, number: int, purpose: str, *, at: datetime, **failure: str) -> None:
    name = f"{purpose[-1]}{number:025}"
    with database.write() as session:
        session.add(
            Delivery(id=name, purpose=purpose, state=DeliveryState.REFUSED, due_at=RELEASE, next_try_at=RELEASE)
        )
        session.flush()
        session.add(
            StoredDeliveryEvent(delivery=name, at=at, received_at=at, fingerprint=f"{name}{at}", detail={}, **failure)
        )


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


@pytest.mark.parametrize("others", [0, 540])
def test_an_alarm_counts_what_all_workers_handed_over(one_world: DeliverySetup, others: int) -> None:
    """Ours hands ten over, of which five are refused by policy; meanwhile other processes hand over so many."""
    world = one_world
    world.add_subscribers(*(f"reader{number}@example.org" for number in range(640)))
    refused = MessageOutcome(HandoverStatus.REFUSED, "550 5.7.1 rejected by policy")

    def answer(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        world.clock.sleep(1)
        accepted = same_outcome_for_all(HandoverStatus.ACCEPTED)(messages)
        if len(provider.received_messages) > 10:
            return accepted
        waiting = select(Delivery.id).where(Delivery.state == DeliveryState.WAITING).limit(others)
        with world.database.write() as session:
            session.execute(
                update(Delivery).where(Delivery.id.in_(waiting)).values(state=DeliveryState.ACCEPTED),
                execution_options={"synchronize_session": False},
            )
        return BatchOutcome((*[refused] * 5, *accepted.outcomes[5:]))

    provider = ScriptedProvider(answer, 10, "smtp")
    report = run_edition(
        world.database, EDITION_NAME, provider, world.keys, world.settings, clock=world.clock, sleep=world.clock.sleep
    )
    assert report.delivery_counts[DeliveryState.REFUSED] == 5
    assert ("mailbox providers refused 5 of " in report.wait_reason) is (not others)
    assert (report.delivery_counts[DeliveryState.WAITING] == 0) is bool(others)
