"""Several connections at once work independently, and together keep the rules of one."""

import threading
from collections.abc import Callable, Sequence

import pytest
from sqlalchemy import select

from digest.deliver.providers.base import BatchOutcome, HandoverStatus, OutgoingMessage, ParallelProvider
from digest.deliver.send.run.edition_sending import SendReport, run_edition
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.models import EditionState
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from tests.conftest import WAIT_TIMEOUT
from tests.deliver.conftest import EDITION_NAME, DeliverySetup
from tests.deliver.scripted_provider import ScriptedProvider, same_outcome_for_all

Answer = Callable[[Sequence[OutgoingMessage]], BatchOutcome]


class Lane(ScriptedProvider):
    """One connection that answers by a script and remembers whom it was given messages for."""

    def __init__(self, answer: Answer, batch: int = 1) -> None:
        super().__init__(answer, batch, "lane")

    @property
    def given(self) -> list[str]:
        return [message.address for message in self.received_messages]


TAKES = same_outcome_for_all(HandoverStatus.ACCEPTED)


def _send(world: DeliverySetup, *lanes: Lane, limit: int | None = None) -> SendReport:
    return run_edition(
        world.database,
        EDITION_NAME,
        ParallelProvider(lanes),
        world.keys,
        world.settings,
        clock=world.clock,
        sleep=world.clock.sleep,
        limit=limit,
    )


def _subscribers(world: DeliverySetup, count: int) -> set[str]:
    addresses = {f"reader{n}@example.org" for n in range(count)}
    world.add_subscribers(*sorted(addresses))
    return addresses


def test_all_connections_carry_and_nobody_gets_it_twice(world: DeliverySetup) -> None:
    addresses = _subscribers(world, 30)
    together = threading.Barrier(3, timeout=WAIT_TIMEOUT)  # breaks unless three carry at the same time

    def answer(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        together.wait()
        return TAKES(messages)

    lanes = [Lane(answer) for _ in range(3)]
    report = _send(world, *lanes)
    assert sorted(address for lane in lanes for address in lane.given) == sorted(addresses)
    assert [len(lane.given) for lane in lanes] == [10, 10, 10]
    assert (report.state, report.delivery_counts.is_balanced) == (EditionState.SENT, True)


def test_nothing_is_handed_over_before_its_claim_is_in_the_database(world: DeliverySetup) -> None:
    _subscribers(world, 12)

    def answer(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        with world.database.read() as session:
            ids = [m.delivery_id for m in messages]
            states = session.scalars(select(Delivery.state).where(Delivery.id.in_(ids))).all()
            out = session.scalars(select(Delivery.id).where(Delivery.state == DeliveryState.HANDING_OVER)).all()
        assert set(states) == {DeliveryState.HANDING_OVER}
        assert len(out) <= 3, "one message a connection is in the air"
        return TAKES(messages)

    report = _send(world, *(Lane(answer) for _ in range(3)))
    assert report.delivery_counts[DeliveryState.ACCEPTED] == 12


@pytest.mark.takes_turns
def test_a_slow_connection_holds_up_no_other(world: DeliverySetup) -> None:
    _subscribers(world, 20)
    others_done = threading.Event()
    quick = Lane(TAKES)

    def slowly(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        assert others_done.wait(WAIT_TIMEOUT)
        return TAKES(messages)

    def quickly(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        if len(quick.given) == 19:
            others_done.set()
        return TAKES(messages)

    quick.answer = quickly
    slow = Lane(slowly)
    assert _send(world, slow, quick).delivery_counts[DeliveryState.ACCEPTED] == 20
    assert (len(slow.given), len(quick.given)) == (1, 19)


@pytest.mark.takes_turns
def test_a_limit_counts_what_all_of_them_carry(world: DeliverySetup) -> None:
    _subscribers(world, 20)
    lanes = [Lane(TAKES, batch=3) for _ in range(3)]
    report = _send(world, *lanes, limit=11)
    assert sum(len(lane.given) for lane in lanes) == report.results[HandoverStatus.ACCEPTED] == 11
    assert report.delivery_counts[DeliveryState.WAITING] == 9


@pytest.mark.takes_turns
def test_when_no_connection_is_taken_from_the_start_the_run_stops(world: DeliverySetup) -> None:
    _subscribers(world, 20)
    lanes = [
        Lane(same_outcome_for_all(HandoverStatus.NOT_TRIED, stop="no connection to mx", is_busy=True)) for _ in range(3)
    ]
    report = _send(world, *lanes)
    assert report.stop_reason == "no connection to mx"
    assert report.delivery_counts[DeliveryState.WAITING] == 20
    assert [len(lane.given) for lane in lanes] == [1, 1, 1]


@pytest.mark.takes_turns
def test_what_is_about_us_stops_all_of_them(world: DeliverySetup) -> None:
    _subscribers(world, 40)
    refused = Lane(same_outcome_for_all(HandoverStatus.NOT_TRIED, stop="the server refuses the sender"))
    works = Lane(TAKES)
    report = _send(world, refused, works)
    assert report.stop_reason == "the server refuses the sender"
    assert report.delivery_counts[DeliveryState.WAITING] == 40 - len(works.given)
    assert report.delivery_counts[DeliveryState.HANDING_OVER] == 0


@pytest.mark.takes_turns
def test_answers_that_all_connections_miss_end_the_run_after_a_minute_of_single_messages(world: DeliverySetup) -> None:
    _subscribers(world, 40)
    began = world.clock()
    report = _send(world, *(Lane(same_outcome_for_all(HandoverStatus.UNCERTAIN)) for _ in range(4)))
    assert "7 times in a row" in report.stop_reason
    assert report.delivery_counts[DeliveryState.UNCERTAIN] == 4 + 6
    assert (world.clock() - began).total_seconds() == 63


@pytest.mark.takes_turns
def test_one_connection_that_misses_its_answers_does_not_stop_the_others(world: DeliverySetup) -> None:
    _subscribers(world, 30)
    began = world.clock()
    works = Lane(TAKES)
    answers = [same_outcome_for_all(HandoverStatus.UNCERTAIN)]

    def once(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        return answers.pop()(messages) if answers else TAKES(messages)

    flaky = Lane(once)
    report = _send(world, flaky, works)
    assert (report.state, report.stop_reason) == (EditionState.SENT, "")
    assert (report.delivery_counts[DeliveryState.UNCERTAIN], report.delivery_counts[DeliveryState.ACCEPTED]) == (1, 29)
    assert world.clock() == began


@pytest.mark.takes_turns
def test_a_fault_in_one_lets_the_others_finish_and_leaves_its_own_claimed(world: DeliverySetup) -> None:
    _subscribers(world, 30)
    out, crashed = threading.Event(), threading.Event()

    def crash(_: Sequence[OutgoingMessage]) -> BatchOutcome:
        assert out.wait(WAIT_TIMEOUT)
        crashed.set()
        raise MemoryError

    def take(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        out.set()
        assert crashed.wait(WAIT_TIMEOUT)
        return TAKES(messages)

    with pytest.raises(MemoryError):
        _send(world, Lane(crash), Lane(take))
    with world.database.read() as session:
        states = list(session.scalars(select(Delivery.state)))
    assert states.count(DeliveryState.HANDING_OVER) == 1
    assert 1 <= states.count(DeliveryState.ACCEPTED) <= 29
    assert len(states) == 30
    assert set(states) <= {DeliveryState.HANDING_OVER, DeliveryState.ACCEPTED, DeliveryState.WAITING}


@pytest.mark.takes_turns
def test_who_interrupts_a_run_gets_the_answers_that_are_under_way_written_down(world: DeliverySetup) -> None:
    _subscribers(world, 30)

    def interrupt(done: int, _planned: int) -> None:
        if done >= 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_edition(
            world.database,
            EDITION_NAME,
            ParallelProvider([Lane(TAKES) for _ in range(3)]),
            world.keys,
            world.settings,
            clock=world.clock,
            report_progress=interrupt,
        )
    with world.database.read() as session:
        states = list(session.scalars(select(Delivery.state)))
    assert states.count(DeliveryState.HANDING_OVER) == 0
    assert 5 <= states.count(DeliveryState.ACCEPTED) <= 8


def test_who_leaves_gets_nothing_after_that_moment_on_any_connection(world: DeliverySetup) -> None:
    numbers = world.add_subscribers(*(f"r{n}@example.org" for n in range(30)))
    lock, left_numbers = threading.Lock(), list[int]()
    unsubscribe_log = UnsubscribeLog(world.settings.left_log, world.keys)

    def answer(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        with lock:
            waits = [n for n in _waiting(world) if n not in left_numbers]
            if len(left_numbers) < 5 and waits:
                with world.database.write() as session:
                    unsubscribe_person(session, unsubscribe_log, waits[-1], method="one-click", now=world.clock())
                left_numbers.append(waits[-1])
        return TAKES(messages)

    lanes = [Lane(answer) for _ in range(3)]
    report = _send(world, *lanes)
    left_addresses = {f"r{numbers.index(n)}@example.org" for n in left_numbers}
    assert not left_addresses & {address for lane in lanes for address in lane.given}
    assert report.delivery_counts[DeliveryState.WITHDRAWN] == len(left_numbers) == 5
    assert report.state is EditionState.SENT


def _waiting(world: DeliverySetup) -> list[int]:
    waits = Delivery.state == DeliveryState.WAITING
    with world.database.read() as session:
        return [n for n in session.scalars(select(Delivery.person).where(waits)) if n is not None]
