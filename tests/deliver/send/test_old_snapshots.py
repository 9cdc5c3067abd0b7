"""A send during an old snapshot, such as a backup's: PostgreSQL can't remove or skip outdated rows until it ends."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import event, select, text, update

from digest.deliver.plan.planning import plan_deliveries
from digest.deliver.providers.base import BatchOutcome, HandoverStatus, OutgoingMessage
from digest.deliver.send.claims import delivery_claims as claims
from digest.deliver.send.claims.delivery_claims import RETURN_INTERVAL, LeaseTerms
from digest.deliver.send.run.edition_sending import SendReport, run_edition
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.engine import Database
from digest.store.models import EditionState
from tests.deliver.conftest import EDITION_NAME, DeliverySetup
from tests.deliver.delivery_reads import (
    keep_old_snapshot,
    note_what_is_read,
    reads_stay_the_same,
    store_earlier_edition,
)
from tests.deliver.scripted_provider import ScriptedProvider, same_outcome_for_all

BATCH_SIZE = 10
OTHER_RUN = LeaseTerms("elsewhere/1/a/b", "smtp", timedelta(hours=1))


def send(world: DeliverySetup, provider: ScriptedProvider) -> SendReport:
    database, keys, settings, clock = world.database, world.keys, world.settings, world.clock
    return run_edition(database, EDITION_NAME, provider, keys, settings, clock=clock, sleep=clock.sleep)


def test_a_claim_reads_no_more_at_the_end_of_a_send_than_at_its_beginning(postgresql_world: DeliverySetup) -> None:
    world = postgresql_world
    world.add_subscribers(*(f"reader{n}@county{n % 7}.example" for n in range(400)))
    store_earlier_edition(world.database)
    read_by_claim = []
    accept = same_outcome_for_all(HandoverStatus.ACCEPTED)

    def note_claim(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        read_by_claim.append(read[-1])
        return accept(messages)

    provider = ScriptedProvider(note_claim, BATCH_SIZE)
    with keep_old_snapshot(world.database), note_what_is_read(world.database) as read:
        report = send(world, provider)
    assert (report.state, len(read_by_claim)) == (EditionState.SENT, 40)
    assert reads_stay_the_same(read_by_claim)


def let_another_run_reserve(world: DeliverySetup, count: int) -> list[str]:
    """Let another run reserve the first deliveries of the edition; return their IDs."""
    plan_deliveries(world.database, EDITION_NAME, world.keys, world.settings, now=world.clock())
    with world.database.write() as session:
        ids = list(session.scalars(select(Delivery.id).order_by(Delivery.person).limit(count)))
        claims.take_leases(session, OTHER_RUN, ids, now=world.clock())
    return ids


@pytest.mark.parametrize("batch_seconds", [0, 4])
def test_what_another_run_returned_is_claimed_within_half_a_minute_or_before_the_run_ends(
    world: DeliverySetup, batch_seconds: int
) -> None:
    world.add_subscribers(*(f"reader{n}@county.example" for n in range(200)))
    returned = let_another_run_reserve(world, 5)
    accept = same_outcome_for_all(HandoverStatus.ACCEPTED)

    def return_after_the_second_batch(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        if len(provider.received_messages) == 2 * BATCH_SIZE:
            with world.database.write() as session:
                claims.undo_claims(session, OTHER_RUN.owner, returned, withdrawn=False)
        world.clock.advance(seconds=batch_seconds)
        return accept(messages)

    provider = ScriptedProvider(return_after_the_second_batch, BATCH_SIZE)
    report = send(world, provider)
    assert report.state is EditionState.SENT
    received = [message.delivery_id for message in provider.received_messages]
    assert len(received) == len(set(received)) == 200
    if batch_seconds:
        batches = 1 + RETURN_INTERVAL.total_seconds() / batch_seconds
        assert set(returned) <= set(received[: int(batches + 1) * BATCH_SIZE])
    else:
        assert set(returned) == set(received[-5:]), "until then, claims went on from their place"


def test_claims_keep_the_order_of_planning(world: DeliverySetup) -> None:
    numbers = world.add_subscribers(*(f"reader{n}@county.example" for n in range(50)))
    provider = ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED), BATCH_SIZE)
    send(world, provider)
    with world.database.read() as session:
        people = {row.id: row.person for row in session.execute(select(Delivery.id, Delivery.person))}
    assert [people[message.delivery_id] for message in provider.received_messages] == numbers


def test_deliveries_without_a_person_end_wherever_the_cursor_is(world: DeliverySetup) -> None:
    numbers = world.add_subscribers(*(f"reader{n}@county.example" for n in range(40)))
    accept = same_outcome_for_all(HandoverStatus.ACCEPTED)

    def remove_two(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        if len(provider.received_messages) == BATCH_SIZE:
            with world.database.write() as session:
                theirs = update(Delivery).where(Delivery.person.in_((numbers[15], numbers[-1])))
                session.execute(theirs.values(person=None))
        return accept(messages)

    provider = ScriptedProvider(remove_two, BATCH_SIZE)
    report = send(world, provider)
    assert report.state is EditionState.SENT
    assert (report.delivery_counts[DeliveryState.REFUSED], report.delivery_counts[DeliveryState.ACCEPTED]) == (2, 38)


@pytest.mark.takes_turns
def test_claims_of_two_runs_at_once_share_an_edition(world: DeliverySetup) -> None:
    world.add_subscribers(*(f"reader{n}@county.example" for n in range(100)))
    other = replace(
        world, database=Database(world.database.engine, row_keys=world.database.row_keys)
    )  # as in another process
    accept = same_outcome_for_all(HandoverStatus.ACCEPTED)
    others = ScriptedProvider(accept, BATCH_SIZE)

    def run_beside(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        if len(provider.received_messages) == 3 * BATCH_SIZE:
            send(other, others)
        return accept(messages)

    provider = ScriptedProvider(run_beside, BATCH_SIZE)
    assert send(world, provider).state is EditionState.SENT
    received = [message.delivery_id for message in (*provider.received_messages, *others.received_messages)]
    assert len(received) == len(set(received)) == 100
    assert others.received_messages


@pytest.mark.sqlite  # which plans by rules, and might sort all that waits for each claim
def test_a_claim_on_sqlite_reads_what_waits_in_the_order_of_an_index(one_world: DeliverySetup) -> None:
    one_world.add_subscribers("ada@example.org")
    statements: list[str] = []
    one_world.database.engine.dispose()
    event.listen(
        one_world.database.engine, "connect", lambda connection, _: connection.set_trace_callback(statements.append)
    )
    send(one_world, ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED)))
    (claim, *_) = [each for each in statements if "FROM delivery LEFT OUTER JOIN person" in each]
    with one_world.database.read() as session:
        plan = [row.detail for row in session.execute(text(f"EXPLAIN QUERY PLAN {claim}"))]
    assert plan[0].startswith("SEARCH delivery USING INDEX ix_delivery_waiting (purpose=? AND (next_try_at,person)>")
    assert not [step for step in plan if "TEMP B-TREE" in step]
