"""Leases of runs: when a run counts as silent, what happens to its claims, and that it then sends nothing."""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from digest.app.jobs import JobContext, check_schema
from digest.deliver.plan.planning import plan_deliveries
from digest.deliver.providers.base import BatchOutcome, HandoverStatus, MessageOutcome, OutgoingMessage
from digest.deliver.send.claims import delivery_claims as claims
from digest.deliver.send.claims.dead_runs import GRACE_LEASES, RunVerdict, judge_run, recover_dead_and_silent_runs
from digest.deliver.send.claims.delivery_claims import LeaseTerms
from digest.deliver.send.claims.run_lease import LeaseKeeper, keep_lease
from digest.deliver.send.handover import LEASE_LOST
from digest.deliver.send.run.edition_sending import run_edition
from digest.installation.opened_installation import Installation
from digest.store.delivery_models import Delivery, DeliveryState, RunLease
from digest.store.engine import Database, UnsupportedSchemaError, migrate_schema
from digest.store.models import Edition, EditionState
from digest.store.process_identity import identify_current_process
from scheduler import JobScheduler
from tests.deliver.conftest import EDITION_NAME, DeliverySetup
from tests.deliver.scripted_provider import ScriptedProvider, same_outcome_for_all
from tests.deliver.silent_runs import hand_over, silence_runs
from tests.moments import RELEASE

LEASE = 30.0
ALIVE, SILENT, OVER = RunVerdict
WAITING, RESERVED = DeliveryState.WAITING, DeliveryState.RESERVED
HANDING_OVER, UNCERTAIN = DeliveryState.HANDING_OVER, DeliveryState.UNCERTAIN


@pytest.mark.parametrize(
    ("silence", "is_dead", "at_home", "verdict"),
    [
        (0, False, True, ALIVE),
        (LEASE, False, True, ALIVE),
        (-LEASE, False, True, ALIVE),
        (LEASE + 1, False, True, OVER),
        (-LEASE - 1, False, True, OVER),  # the clock was set back, and nothing renews it
        (LEASE + 1, False, False, SILENT),  # its file may still be read where it is
        (LEASE * (1 + GRACE_LEASES), False, False, SILENT),
        (LEASE * (1 + GRACE_LEASES) + 1, False, False, OVER),
        (1, True, True, OVER),
        (1, True, False, SILENT),
    ],
)
def test_a_run_is_silent_after_its_lease_and_over_once_its_file_tells_nothing(
    silence: float,
    is_dead: bool,  # noqa: FBT001 - a parameter of the test
    at_home: bool,  # noqa: FBT001
    verdict: RunVerdict,
) -> None:
    assert judge_run(silence, LEASE, is_dead=is_dead, at_home=at_home) is verdict


@pytest.fixture
def claimed(world: DeliverySetup) -> list[str]:
    """Leave two deliveries that a run reserved, two that it was handing over, and one that waits."""
    world.add_subscribers(*(f"reader{number}@example.org" for number in range(5)))
    plan_deliveries(world.database, EDITION_NAME, world.keys, world.settings, now=RELEASE)
    with world.database.write() as session:
        session.scalars(select(Edition)).one().state = EditionState.SENDING
        ids = list(session.scalars(select(Delivery.id).order_by(Delivery.person)))
        lease = LeaseTerms(f"{replace(identify_current_process(), host='elsewhere')}/1", "smtp", timedelta(hours=1))
        claims.take_leases(session, lease, ids[:4], now=RELEASE)
        hand_over(session, lease, ids[2:4])
    return ids


def set_silence(world: DeliverySetup, seconds: float) -> None:
    with world.database.write() as session:
        session.execute(update(RunLease).values(beat_at=time.time() - seconds))


def states(world: DeliverySetup, ids: Sequence[str]) -> list[DeliveryState]:
    with world.database.read() as session:
        return [session.get_one(Delivery, id_).state for id_ in ids]


def test_what_another_home_had_reserved_waits_after_its_lease_and_the_rest_is_uncertain_after_a_grace(
    world: DeliverySetup, claimed: list[str]
) -> None:
    def recover_after(seconds: float) -> list[DeliveryState]:
        set_silence(world, seconds)
        recover_dead_and_silent_runs(world.database, world.settings, world.keys, now=RELEASE)
        return states(world, claimed)

    assert recover_after(LEASE / 2) == [RESERVED, RESERVED, HANDING_OVER, HANDING_OVER, WAITING]
    assert recover_after(LEASE + 5) == [WAITING, WAITING, HANDING_OVER, HANDING_OVER, WAITING]
    assert recover_after(LEASE * GRACE_LEASES) == [WAITING, WAITING, HANDING_OVER, HANDING_OVER, WAITING]
    assert recover_after(LEASE * (GRACE_LEASES + 1) + 5) == [WAITING, WAITING, UNCERTAIN, UNCERTAIN, WAITING]
    with world.database.read() as session:
        assert session.scalars(select(RunLease)).all() == []
        assert {row.handed_at for row in session.scalars(select(Delivery).where(Delivery.state == WAITING))} == {None}


def test_a_run_whose_claims_were_taken_hands_nothing_over(world: DeliverySetup) -> None:
    world.add_subscribers(*(f"reader{number}@example.org" for number in range(6)))
    other = replace(world, database=Database(world.database.engine))  # as in another process
    others = ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED))

    def send(setup: DeliverySetup, provider: ScriptedProvider, limit: int | None = None) -> str:
        database, keys, settings, clock = setup.database, setup.keys, setup.settings, setup.clock
        report = run_edition(
            database, EDITION_NAME, provider, keys, settings, clock=clock, sleep=clock.sleep, limit=limit
        )
        return report.stop_reason

    def answer_late(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        silence_runs(world.database)
        assert send(other, others, limit=2) == ""
        return BatchOutcome((MessageOutcome(HandoverStatus.ACCEPTED),) * len(messages))

    late = ScriptedProvider(answer_late, batch_size=2)
    assert send(world, late) == LEASE_LOST
    assert len(late.received_messages) == len(others.received_messages) == 2
    assert send(other, others) == ""
    received = [message.delivery_id for message in (*late.received_messages, *others.received_messages)]
    assert len(received) == len(set(received)) == 6
    assert set(states(world, received)) == {DeliveryState.ACCEPTED}


def test_a_lease_is_valid_for_a_while_after_each_renewal_and_not_after_it_was_lost(world: DeliverySetup) -> None:
    keeper = LeaseKeeper(world.database, "host/1/a/b", "here", 0.3)
    assert not keeper.is_valid
    keeper.begin()
    assert keeper.is_valid
    time.sleep(0.25)
    assert not keeper.is_valid, "its limit comes before that of others"
    keeper.ensure_valid()
    assert keeper.is_valid
    with world.database.write() as session:
        session.execute(update(RunLease).values(epoch=2))
    keeper.renew()
    assert keeper.is_lost
    assert not keeper.is_valid


@pytest.mark.takes_turns
def test_a_lease_is_renewed_while_the_run_goes_on_and_deleted_at_its_end(world: DeliverySetup) -> None:
    settings = world.settings.model_copy(update={"send_lease": 1.0})
    with keep_lease(world.database, "host/1/a/b", settings) as keeper:
        time.sleep(1.5)
        assert keeper.is_valid
    with world.database.read() as session:
        assert session.scalars(select(RunLease)).all() == []


def test_an_upgrade_takes_all_leases(sqlite: Database, request: pytest.FixtureRequest) -> None:
    keeper = LeaseKeeper(sqlite, "host/1/a/b", "here", LEASE)
    keeper.begin()
    request.getfixturevalue("later_revisions")  # now there's something to upgrade to
    migrate_schema(sqlite)
    keeper.renew()
    assert keeper.is_lost


def test_a_process_stops_by_itself_once_the_schema_is_newer(one_world: DeliverySetup) -> None:
    context = JobContext(Installation(one_world.settings, one_world.database), one_world.clock)
    assert check_schema(context) == ""
    assert not context.stopping.is_set()
    scheduler = JobScheduler(context, ())
    scheduler.start()
    with one_world.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    assert context.stopping.wait(20)
    with pytest.raises(UnsupportedSchemaError, match="newer version"):
        scheduler.stop()
