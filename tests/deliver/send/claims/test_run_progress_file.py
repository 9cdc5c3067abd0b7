"""The run file: what it says about a run that ended, and when it doesn't count."""

import multiprocessing
import os
import resource
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from digest.app.jobs import JobContext
from digest.deliver.plan.planning import plan_deliveries
from digest.deliver.providers.base import HandoverStatus, MessageOutcome, OutgoingMessage
from digest.deliver.send.claims import delivery_claims as claims
from digest.deliver.send.claims.dead_runs import recover_dead_and_silent_runs, recover_dead_runs
from digest.deliver.send.claims.delivery_claims import LeaseTerms
from digest.deliver.send.claims.run_progress_file import (
    DeadRun,
    RunFile,
    open_run_file,
    read_database_instance_id,
    take_dead_runs,
)
from digest.deliver.send.run.edition_sending import run_edition
from digest.deliver.send.uncertain.uncertain_deliveries import UncertainResolution, resolve_uncertain
from digest.installation.opened_installation import Installation
from digest.store.delivery_models import Delivery, DeliveryState, StoredDeliveryEvent
from digest.store.engine import Database
from digest.store.models import Edition, EditionState
from scheduler import run_in_order
from tests.deliver.conftest import EDITION_NAME, DeliverySetup
from tests.deliver.scripted_provider import ScriptedProvider, same_outcome_for_all
from tests.deliver.silent_runs import hand_over
from tests.deliver.smtp_servers import outgoing_message
from tests.moments import RELEASE

DATABASE = "one database"
ACCEPTED = MessageOutcome(HandoverStatus.ACCEPTED, "250 2.0.0 Ok: queued as 4X")
REFUSED = MessageOutcome(HandoverStatus.REFUSED, "550 5.1.1 no such mailbox")
LATER = MessageOutcome(HandoverStatus.TRY_LATER, "452 4.2.2 mailbox full")
LOST = MessageOutcome(HandoverStatus.UNCERTAIN, "no answer")
UNTOUCHED = MessageOutcome(HandoverStatus.NOT_TRIED)


class CrashError(Exception):
    pass


@contextmanager
def crashing_run(folder: Path, slot_count: int = 4, database: str = DATABASE) -> Iterator[RunFile]:
    """Lend a run's file; at the end of the block the run ends without a word."""
    with suppress(CrashError), open_run_file(folder, database, slot_count) as run_file:
        yield run_file
        raise CrashError


def message(delivery_id: str) -> OutgoingMessage:
    return replace(outgoing_message(), delivery_id=delivery_id)


def taken(folder: Path, database: str = DATABASE) -> list[DeadRun]:
    return list(take_dead_runs(folder, database))


def test_each_message_is_as_far_as_it_was_marked(tmp_path: Path) -> None:
    with crashing_run(tmp_path, 8) as run_file:
        slots = run_file.take_slots(6)
        slots.begin_batch(["begun", "dot", "answer", "refused", "again", "blamed"])
        slots.mark_sending(message("dot"))
        slots.mark_outcome(message("dot"), LOST)
        slots.mark_sending(message("answer"))
        slots.mark_outcome(message("answer"), ACCEPTED)
        slots.mark_outcome(message("refused"), replace(REFUSED, reply="é" * 200))
        slots.mark_sending(message("again"))
        slots.mark_unsent(message("again"))
        slots.mark_outcome(message("blamed"), replace(REFUSED, may_blame_message=True))
        slots.end_batch(["begun", "dot", "answer", "refused", "again", "blamed"])
        owner = run_file.owner
    (dead_run,) = taken(tmp_path)
    results = {delivery: outcome.result for delivery, outcome in dead_run.outcomes.items()}
    assert dead_run.owner == owner
    assert results == {
        "begun": HandoverStatus.NOT_TRIED,
        "dot": HandoverStatus.UNCERTAIN,
        "answer": HandoverStatus.ACCEPTED,
        "refused": HandoverStatus.REFUSED,
        "again": HandoverStatus.NOT_TRIED,
        "blamed": HandoverStatus.NOT_TRIED,
    }
    assert dead_run.outcomes["answer"] == ACCEPTED
    assert dead_run.outcomes["refused"].reply == "é" * 106, "what fits"
    assert taken(tmp_path) == [], "it tells once"


def test_of_a_delivery_with_two_slots_the_one_that_it_began_last_counts(tmp_path: Path) -> None:
    with crashing_run(tmp_path) as run_file:
        first, second = run_file.take_slots(2), run_file.take_slots(2)
        second.begin_batch(["a", "b"])
        second.mark_outcome(message("a"), LATER)
        second.mark_sending(message("b"))
        second.end_batch(["a", "b"])
        first.begin_batch(["a", "b"])
        first.mark_sending(message("a"))
        first.end_batch(["a", "b"])
    (dead_run,) = taken(tmp_path)
    assert dead_run.outcomes["a"].result is HandoverStatus.UNCERTAIN
    assert dead_run.outcomes["b"].result is HandoverStatus.NOT_TRIED


def test_a_slot_that_is_used_again_tells_nothing_of_its_first_message(tmp_path: Path) -> None:
    with crashing_run(tmp_path) as run_file:
        slots = run_file.take_slots()
        slots.begin_batch(["a", "b"])
        slots.mark_outcome(message("a"), ACCEPTED)
        slots.end_batch(["a"])
        slots.free_ended()
        slots.begin_batch(["c"])
        slots.end_batch(["b", "c"])
    (dead_run,) = taken(tmp_path)
    assert dead_run.outcomes == {"b": UNTOUCHED, "c": UNTOUCHED}


def test_the_file_of_a_run_that_goes_on_or_may_go_on_is_left_alone(tmp_path: Path) -> None:
    with open_run_file(tmp_path, DATABASE, 4) as run_file:
        run_file.take_slots().begin_batch(["a"])
        assert taken(tmp_path) == []
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == [], "it ended well"
    with crashing_run(tmp_path) as run_file:
        run_file.take_slots().begin_batch(["a"])  # a thread that nobody waited for may still hand it over
    assert taken(tmp_path) == []
    assert len(list(tmp_path.iterdir())) == 1


def test_a_copied_file_another_database_another_boot_and_a_damaged_file_tell_nothing(tmp_path: Path) -> None:
    with crashing_run(tmp_path) as run_file:
        slots = run_file.take_slots()
        slots.begin_batch(["a"])
        slots.end_batch(["a"])
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    for name, changed in {
        "copied": content,
        "boot": content.replace(b'"boot": "', b'"boot": "0', 1)[: len(content)],
        "empty": b"",
        "cut": content[:700],
        "nonsense": os.urandom(len(content)),
    }.items():
        place = tmp_path / name
        place.mkdir()
        shutil.copy(file, place / "copy.run")
        (place / "copy.run").write_bytes(changed)
        assert taken(place) == []
        assert list(place.iterdir()) == [], "and it is gone"
    damaged = bytearray(content)
    damaged[512 + 255] = 9  # a state that there is not
    for written, database in ((content, "another"), (bytes(damaged), DATABASE)):
        with crashing_run(tmp_path / "kept") as run_file:
            run_file.take_slots()
        (kept,) = (tmp_path / "kept").iterdir()
        header = kept.read_bytes()[:512]
        kept.write_bytes(header + written[512:])
        assert taken(tmp_path / "kept", database) == []
    assert len(taken(tmp_path)) == 1, "the first one still tells"


def _use_slots_with_little_room(folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
    with open_run_file(folder, DATABASE, 1000) as run_file:
        slots = run_file.take_slots()
        ids = [str(number) for number in range(1000)]
        slots.begin_batch(ids)
        slots.mark_sending(message("999"))
        slots.end_batch(ids)
        assert list(folder.iterdir()) == []


def test_on_a_full_disk_a_run_goes_on_without_a_file(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_use_slots_with_little_room, args=(tmp_path,))
    process.start()
    process.join(60)
    assert process.exitcode == 0


@pytest.fixture
def dead_ids(world: DeliverySetup) -> list[str]:
    """Leave what a dead run was handing over: six deliveries, each at another point, and the last was not begun."""
    world.add_subscribers(*(f"reader{number}@example.org" for number in range(7)))
    plan_deliveries(world.database, EDITION_NAME, world.keys, world.settings, now=RELEASE)
    with world.database.write() as session:
        session.scalars(select(Edition)).one().state = EditionState.SENDING
        ids = list(session.scalars(select(Delivery.id).order_by(Delivery.person)))
    number = read_database_instance_id(world.database)
    with crashing_run(world.settings.runs_folder, 8, number) as run_file:
        lease = LeaseTerms(run_file.owner, "smtp", timedelta(hours=1))
        with world.database.write() as session:
            claims.take_leases(session, lease, ids[:6], now=RELEASE)
            hand_over(session, lease, ids[:5])
        slots = run_file.take_slots()
        slots.begin_batch(ids[:5])
        for delivery_id, outcome in zip(ids, (ACCEPTED, REFUSED, LATER, LOST), strict=False):
            slots.mark_sending(message(delivery_id))
            slots.mark_outcome(message(delivery_id), outcome)
        slots.end_batch(ids[:5])
    return ids


def recover(world: DeliverySetup) -> None:
    recover_dead_runs(world.database, world.settings, world.keys, now=RELEASE)


def rows(world: DeliverySetup, ids: list[str]) -> list[Delivery]:
    with world.database.read() as session:
        return [session.get_one(Delivery, id_) for id_ in ids]


@pytest.mark.takes_turns
def test_a_dead_run_leaves_in_doubt_only_what_had_its_final_dot_and_no_answer(
    world: DeliverySetup, dead_ids: list[str]
) -> None:
    recover(world)
    recover(world)
    accepted, refused, later, lost, *unsent = rows(world, dead_ids)
    assert [(row.state, row.reply, row.tries) for row in (accepted, refused, later)] == [
        (DeliveryState.ACCEPTED, ACCEPTED.reply, 1),
        (DeliveryState.REFUSED, REFUSED.reply, 1),
        (DeliveryState.WAITING, LATER.reply, 1),
    ]
    assert lost.state is DeliveryState.UNCERTAIN
    assert {(row.state, row.tries, row.handed_at, row.transport) for row in unsent} == {
        (DeliveryState.WAITING, 0, None, "")
    }
    assert {row.owner for row in rows(world, dead_ids)} == {None}
    with world.database.read() as session:
        event = session.scalars(select(StoredDeliveryEvent)).one()
    assert (event.delivery, event.cause) == (refused.id, "no mailbox"), "what a refusal leads to follows"


@pytest.mark.takes_turns
def test_the_next_run_hands_over_what_had_not_left_and_nothing_else(world: DeliverySetup, dead_ids: list[str]) -> None:
    provider = ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED))
    report = run_edition(
        world.database, EDITION_NAME, provider, world.keys, world.settings, clock=world.clock, sleep=world.clock.sleep
    )
    assert {m.delivery_id for m in provider.received_messages} == set(dead_ids[4:])
    assert report.delivery_counts[DeliveryState.ACCEPTED] == 4
    assert report.delivery_counts[DeliveryState.UNCERTAIN] == 1


def test_a_lease_that_ran_out_before_does_not_stand_against_the_file(world: DeliverySetup, dead_ids: list[str]) -> None:
    later = RELEASE + timedelta(days=1)
    elsewhere = world.settings.model_copy(update={"home": world.settings.home / "another"})
    recover_dead_and_silent_runs(world.database, elsewhere, world.keys, now=later)
    with world.database.write() as session:
        states = Counter(session.scalars(select(Delivery.state)))
        assert states == {DeliveryState.UNCERTAIN: 5, DeliveryState.WAITING: 2}, "what was reserved waits again"
        edition = session.scalars(select(Edition)).one()
        edition.state, edition.sent_at = EditionState.SENT, later
        assert resolve_uncertain(session, EDITION_NAME, dead_ids[:1], UncertainResolution.ACCEPTED, now=later)
    recover(world)
    resolved, refused, *_, begun, _, _ = rows(world, dead_ids)
    assert resolved.reply == "taken as accepted, by an admin's word", "what somebody resolved stays"
    assert (refused.state, begun.state) == (DeliveryState.REFUSED, DeliveryState.WAITING)
    with world.database.read() as session:
        assert session.scalars(select(Edition.state)).one() is EditionState.SENDING, "it goes on"


@pytest.mark.takes_turns
def test_the_timetable_reads_the_file_of_a_dead_run_at_its_next_look_though_no_mail_is_due(
    world: DeliverySetup, dead_ids: list[str]
) -> None:
    world.settings.key_file.touch(mode=0o600)
    world.settings.key_file.write_text(world.keys.to_json())
    run_in_order(JobContext(Installation(world.settings, world.database), world.clock), "check_schema", "recover_runs")
    assert Counter(row.state for row in rows(world, dead_ids)) == {
        DeliveryState.ACCEPTED: 1,
        DeliveryState.REFUSED: 1,
        DeliveryState.UNCERTAIN: 1,
        DeliveryState.WAITING: 4,
    }
    assert list(world.settings.runs_folder.iterdir()) == []


def test_an_edition_marked_as_sent_goes_on_where_a_dead_run_had_recorded_that_a_message_waits(
    world: DeliverySetup, dead_ids: list[str]
) -> None:
    with world.database.write() as session:
        session.execute(update(Delivery).values(state=DeliveryState.ACCEPTED, owner=None, lease_until=None))
        session.get_one(Delivery, dead_ids[2]).state = DeliveryState.WAITING
        session.scalars(select(Edition)).one().state = EditionState.SENT
    recover(world)
    with world.database.read() as session:
        assert session.scalars(select(Edition.state)).one() is EditionState.SENDING


def test_what_comes_back_to_wait_in_a_cancelled_edition_is_cancelled(world: DeliverySetup, dead_ids: list[str]) -> None:
    with world.database.write() as session:
        session.scalars(select(Edition)).one().state = EditionState.CANCELLED
    recover(world)
    assert {row.state for row in rows(world, dead_ids[4:])} == {DeliveryState.CANCELLED}


def test_a_restored_database_at_the_same_place_has_another_number(sqlite: Database) -> None:
    number = read_database_instance_id(sqlite)
    file = Path(str(sqlite.engine.url.database))
    restored = file.with_name("restored.db")
    sqlite.close()
    shutil.copy(file, restored)
    restored.replace(file)
    assert read_database_instance_id(sqlite) != number
