"""Claims ahead of time: a commit covers many messages, but people who unsubscribe still don't get theirs."""

import time
from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from digest.deliver.control.edition_control import pause_edition
from digest.deliver.providers.base import BatchOutcome, HandoverStatus, OutgoingMessage
from digest.deliver.send.claims.claim_buffer import MAX_CLAIM_BUFFER, MAX_CLAIM_BUFFER_SECONDS, ClaimBuffer
from digest.deliver.send.run.edition_sending import SendReport, run_edition
from digest.settings import UsageLimitSettings
from digest.store.delivery_models import CLAIMED_STATES, Delivery, DeliveryState
from digest.store.models import EditionState
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from tests.conftest import WAIT_TIMEOUT
from tests.deliver.conftest import EDITION_NAME, DeliverySetup
from tests.deliver.scripted_provider import ScriptedProvider, same_outcome_for_all
from tests.moments import RELEASE

SUBSCRIBERS = 60
TAKES = same_outcome_for_all(HandoverStatus.ACCEPTED)
QUICK, SLOW = 0.001, 2.0  # seconds that a message takes


class TimedProvider(ScriptedProvider):
    """One connection over which each message takes so long; at the twentieth something happens. It notes what is claimed."""

    def __init__(self, world: DeliverySetup, seconds: float, at_twentieth: Callable[[], object] = lambda: None) -> None:
        super().__init__(self._answer, 1, "timed")
        self.world, self.seconds, self.at_twentieth = world, seconds, at_twentieth
        self.claimed_counts: list[int] = []

    def _answer(self, messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        self.world.clock.sleep(self.seconds)
        self.claimed_counts.append(len(_claimed(self.world)))
        if len(self.received_messages) == 20:
            self.at_twentieth()
        return TAKES(messages)


def _claimed(world: DeliverySetup) -> list[int | None]:
    claimed = Delivery.state.in_(CLAIMED_STATES)
    with world.database.read() as session:
        return list(session.scalars(select(Delivery.person).where(claimed).order_by(Delivery.id)))


def _ids_claimed_ahead(world: DeliverySetup, provider: ScriptedProvider) -> set[str]:
    """Give the deliveries that are claimed and that the provider has not got."""
    with world.database.read() as session:
        claimed = set(session.scalars(select(Delivery.id).where(Delivery.state.in_(CLAIMED_STATES))))
    return claimed - {message.delivery_id for message in provider.received_messages}


def _send(world: DeliverySetup, provider: ScriptedProvider, limits: UsageLimitSettings | None = None) -> SendReport:
    world.add_subscribers(*(f"reader{number}@example.org" for number in range(SUBSCRIBERS)))
    settings = world.settings
    if limits:
        settings = settings.model_copy(update={"file": settings.file.model_copy(update={"limits": limits})})
    clock = world.clock
    return run_edition(world.database, EDITION_NAME, provider, world.keys, settings, clock=clock, sleep=clock.sleep)


def test_over_a_quick_connection_one_commit_carries_many_messages(world: DeliverySetup) -> None:
    provider = TimedProvider(world, QUICK)
    report = _send(world, provider)
    assert (report.state, report.delivery_counts[DeliveryState.ACCEPTED]) == (EditionState.SENT, SUBSCRIBERS)
    assert (
        len({message.address for message in provider.received_messages})
        == SUBSCRIBERS
        == len(provider.received_messages)
    )
    assert SUBSCRIBERS / 4 < max(provider.claimed_counts) <= 1 + MAX_CLAIM_BUFFER
    with world.database.read() as session:
        claims = session.scalar(select(func.count(Delivery.handed_at.distinct())))
    assert claims is not None
    assert claims <= 5


@pytest.mark.parametrize("slow", ["the server", "a limit an hour"])
def test_over_a_slow_connection_and_under_a_limit_nothing_is_claimed_ahead(one_world: DeliverySetup, slow: str) -> None:
    limits = UsageLimitSettings(send_per_hour=100_000) if slow == "a limit an hour" else None
    provider = TimedProvider(one_world, QUICK if limits else SLOW)
    assert _send(one_world, provider, limits).delivery_counts[DeliveryState.ACCEPTED] == SUBSCRIBERS
    assert max(provider.claimed_counts) == 1


def test_the_next_messages_are_claimed_while_the_workers_are_busy(one_world: DeliverySetup) -> None:
    """Once the reserve is used up: each message but the first and the last ones waits until others are claimed beside it."""
    seen_at: list[int] = []

    def answer(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        one_world.clock.sleep(QUICK)
        left = 3 * SUBSCRIBERS - len(provider.received_messages)
        deadline = time.monotonic() + WAIT_TIMEOUT
        while len(provider.received_messages) > 1 and left and time.monotonic() < deadline:
            if _ids_claimed_ahead(one_world, provider):
                seen_at.append(len(provider.received_messages))
                break
        return TAKES(messages)

    provider = ScriptedProvider(answer, 1, "timed")
    one_world.add_subscribers(*(f"more{number}@example.org" for number in range(2 * SUBSCRIBERS)))
    report = _send(one_world, provider)
    assert report.delivery_counts[DeliveryState.ACCEPTED] == 3 * SUBSCRIBERS
    assert seen_at == list(range(2, 3 * SUBSCRIBERS))


def test_a_pause_holds_for_what_is_claimed_ahead_too(one_world: DeliverySetup) -> None:
    def pause() -> None:
        with one_world.database.write() as session:
            pause_edition(session, EDITION_NAME, "a wrong headline", now=one_world.clock())

    provider = TimedProvider(one_world, QUICK, pause)
    report = _send(one_world, provider)
    assert provider.claimed_counts[19] > 1, "something was claimed ahead"
    assert "a wrong headline" in report.wait_reason
    assert report.delivery_counts[DeliveryState.ACCEPTED] == len(provider.received_messages) == 20
    assert report.delivery_counts[DeliveryState.WAITING] == SUBSCRIBERS - 20
    with one_world.database.read() as session:
        dates = session.scalars(select(Delivery.first_handed_at).where(Delivery.state == DeliveryState.WAITING))
        assert set(dates) == {None}, "what never left has no Date yet"


def test_who_leaves_while_their_message_is_claimed_ahead_gets_nothing(world: DeliverySetup) -> None:
    gone: list[int] = []

    def leave() -> None:
        received = [message.delivery_id for message in provider.received_messages]
        with world.database.write() as session:
            ahead = (Delivery.state.in_(CLAIMED_STATES), Delivery.id.not_in(received))
            gone.extend(number for number in session.scalars(select(Delivery.person).where(*ahead)) if number)
            for number in gone:
                log = UnsubscribeLog(world.settings.left_log, world.keys)
                unsubscribe_person(session, log, number, method="one-click", now=world.clock())

    provider = TimedProvider(world, QUICK, leave)
    report = _send(world, provider)
    assert report.delivery_counts[DeliveryState.WITHDRAWN] == len(gone) > 1
    assert report.delivery_counts[DeliveryState.ACCEPTED] == len(provider.received_messages) == SUBSCRIBERS - len(gone)
    assert report.state is EditionState.SENT


def test_what_waited_too_long_in_the_reserve_is_claimed_anew(one_world: DeliverySetup) -> None:
    provider = TimedProvider(one_world, QUICK, lambda: one_world.clock.sleep(MAX_CLAIM_BUFFER_SECONDS))
    report = _send(one_world, provider)
    assert provider.claimed_counts[19] > 1, "something was claimed ahead"
    assert report.delivery_counts[DeliveryState.ACCEPTED] == len(provider.received_messages) == SUBSCRIBERS
    later = [message.delivery_id for message in provider.received_messages[20:]]
    with one_world.database.read() as session:
        claimed_at = session.scalars(select(Delivery.handed_at).where(Delivery.id.in_(later))).all()
    assert min(filter(None, claimed_at)) >= RELEASE + timedelta(seconds=MAX_CLAIM_BUFFER_SECONDS)


@pytest.mark.parametrize(
    ("attempted", "seconds", "size"),
    [(0, 1.0, 0), (8, 1.0, 2), (100, 0.0, 0), (100, -1.0, 0), (10_000, 1.0, MAX_CLAIM_BUFFER), (1, 1.0, 0)],
)
def test_the_reserve_is_what_goes_in_a_quarter_of_a_second(attempted: int, seconds: float, size: int) -> None:
    reserve = ClaimBuffer()
    assert reserve.size_for_rate(attempted, RELEASE) == 0, "no commit yet: the rate is unknown"
    reserve.fill((), 0, RELEASE)
    assert reserve.size_for_rate(attempted, RELEASE + timedelta(seconds=seconds)) == size
