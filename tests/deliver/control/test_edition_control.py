"""Controlling a send: pause, resume, cancel, and hold, the canary, stop rules, limits, and an unreachable database."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.exc import OperationalError

from digest.app.sending import background_tasks
from digest.deliver.control import edition_control, installation_hold
from digest.deliver.events import event_processor
from digest.deliver.events.delivery_event import DeliveryEvent, EventKind
from digest.deliver.events.failure_causes import FailureCause
from digest.deliver.inbound import payloads
from digest.deliver.plan.delivery_plan import count_deliveries, make_edition_delivery_purpose
from digest.deliver.providers.base import BatchOutcome, HandoverStatus, MessageOutcome, OutgoingMessage
from digest.deliver.send.claims import send_progress
from digest.deliver.send.run.edition_sending import SendError, SendReport, run_edition
from digest.edition.edition_queries import UnknownEditionError
from digest.installation.opened_installation import Installation
from digest.settings import Settings
from digest.store.delivery_models import Delivery, DeliveryState, DomainGroupMember, StaffMember, StoredDeliveryEvent
from digest.store.models import AuditEntry, Edition, EditionState
from subscribers.address import Address
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.stored_addresses import make_domain_tag
from subscribers.store.models import Person, PersonState, Suppression
from tests.deliver.conftest import EDITION_NAME, DeliverySetup
from tests.deliver.scripted_provider import ScriptedProvider, same_outcome_for_all
from tests.deliver.silent_runs import silence_runs
from tests.moments import RELEASE

ACCEPT = same_outcome_for_all(HandoverStatus.ACCEPTED)
WAITING, ACCEPTED, CANCELLED = DeliveryState.WAITING, DeliveryState.ACCEPTED, DeliveryState.CANCELLED


def _limited(world: DeliverySetup, table: str, **values: Any) -> DeliverySetup:
    file = world.settings.file
    changed = getattr(file, table).model_copy(update=values)
    settings: Settings = world.settings.model_copy(update={"file": file.model_copy(update={table: changed})})
    return replace(world, settings=settings)


def _send(world: DeliverySetup, provider: ScriptedProvider, stopping: Callable[[], bool] = lambda: False) -> SendReport:
    return run_edition(
        world.database,
        EDITION_NAME,
        provider,
        world.keys,
        world.settings,
        clock=world.clock,
        sleep=world.clock.sleep,
        stopping=stopping,
    )


@pytest.fixture
def watched(world: DeliverySetup) -> DeliverySetup:
    """Give a world where some go ahead, and the rest waits a quarter of an hour for what they bring about."""
    return _limited(world, "alerts", canary_minutes=15)


def _many(world: DeliverySetup, count: int, domain: str = "example.org") -> list[int]:
    return world.add_subscribers(*(f"r{n}@{domain}" for n in range(count)))


def _given(provider: ScriptedProvider) -> list[str]:
    once = Counter(m.delivery_id for m in provider.received_messages)
    assert not [d for d, times in once.items() if times > 1]
    return list(once)


def _action(world: DeliverySetup, act: Callable[..., Any], *args: Any) -> Any:
    with world.database.write() as session:
        return act(session, *args, now=world.clock())


def _hold(world: DeliverySetup, reason: str) -> bool:
    with world.database.write() as session:
        return installation_hold.pause_all_sending(session, reason, actor="eve", now=world.clock())


def _cancel(world: DeliverySetup) -> None:
    with world.database.write() as session:
        edition_control.mark_edition_cancelled(session, EDITION_NAME)
    edition_control.cancel_waiting_deliveries(world.database, EDITION_NAME)


def _at(batch_number: int, act: Callable[[], object]) -> Callable[[Sequence[OutgoingMessage]], BatchOutcome]:
    """Accept everything, and do something while the n-th batch is being handed over."""
    calls = [0]

    def answer(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        calls[0] += 1
        if calls[0] == batch_number:
            act()
        return ACCEPT(messages)

    return answer


def test_a_pause_from_elsewhere_takes_effect_at_the_next_claim_and_resuming_sends_the_rest(
    world: DeliverySetup,
) -> None:
    _many(world, 30)
    first = ScriptedProvider(
        _at(2, lambda: _action(world, edition_control.pause_edition, EDITION_NAME, "a wrong date")), batch_size=5
    )
    report = _send(world, first)
    assert "paused: a wrong date" in report.wait_reason
    assert (report.delivery_counts[ACCEPTED], report.delivery_counts[WAITING], report.delivery_counts.is_balanced) == (
        10,
        20,
        True,
    )
    with pytest.raises(SendError, match=f"digest resume {EDITION_NAME}"):
        _send(world, ScriptedProvider(ACCEPT))
    assert _action(world, edition_control.resume_edition, EDITION_NAME)
    rest = ScriptedProvider(ACCEPT)
    assert _send(world, rest).state is EditionState.SENT
    assert len(set(_given(first) + _given(rest))) == 30


@pytest.mark.takes_turns
def test_holding_stops_every_edition_until_the_release(world: DeliverySetup) -> None:
    _many(world, 12)
    report = _send(world, ScriptedProvider(_at(1, lambda: _hold(world, "moving")), batch_size=4))
    assert (report.delivery_counts[ACCEPTED], report.delivery_counts[WAITING]) == (4, 8)
    assert "digest resume --all" in report.wait_reason
    with pytest.raises(SendError, match="paused by eve"):
        _send(world, ScriptedProvider(ACCEPT))
    assert not _hold(world, "another reason")
    with world.database.write() as session:
        hold = installation_hold.read_current_hold(session)
        assert hold is not None
        assert (hold.reason, hold.actor) == ("moving", "eve")
        assert installation_hold.resume_all_sending(session)
        assert not installation_hold.resume_all_sending(session)
    assert _send(world, ScriptedProvider(ACCEPT)).state is EditionState.SENT


def test_cancelling_in_mid_send_leaves_nobody_waiting_not_even_who_was_put_off(world: DeliverySetup) -> None:
    _many(world, 20)

    calls = [0]

    def answer(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        calls[0] += 1
        if calls[0] == 2:
            _cancel(world)
            return same_outcome_for_all(HandoverStatus.TRY_LATER, reply="451 4.7.1 later")(messages)
        return ACCEPT(messages)

    report = _send(world, ScriptedProvider(answer, batch_size=5))
    assert report.state is EditionState.CANCELLED
    with world.database.read() as session:
        found = count_deliveries(session, make_edition_delivery_purpose(EDITION_NAME))
    assert (found[ACCEPTED], found[CANCELLED], found.open, found.is_balanced) == (5, 15, 0, True)
    with pytest.raises(SendError, match=rf"^{EDITION_NAME} can't be sent: it is canceled\.$"):
        _send(world, ScriptedProvider(ACCEPT))


def test_what_cannot_be_paused_or_cancelled_says_why(world: DeliverySetup) -> None:
    with world.database.write() as session, pytest.raises(UnknownEditionError, match="There's no edition 2020-W01"):
        edition_control.pause_edition(session, "2020-W01", "", now=RELEASE)
    _many(world, 1)
    _send(world, ScriptedProvider(ACCEPT))
    with pytest.raises(edition_control.EditionControlError, match="has already been sent"):
        _cancel(world)
    with world.database.write() as session, pytest.raises(edition_control.EditionControlError, match="can't be paused"):
        edition_control.pause_edition(session, EDITION_NAME, "", now=RELEASE)


@pytest.mark.takes_turns
def test_being_told_to_stop_leaves_nothing_in_doubt(world: DeliverySetup) -> None:
    _many(world, 30)
    told = [False]

    def tell() -> None:
        told[0] = True

    report = _send(world, ScriptedProvider(_at(3, tell), batch_size=5), stopping=lambda: told[0])
    assert report.stop_reason == "it was stopped. Send again to finish."
    assert (report.delivery_counts[ACCEPTED], report.delivery_counts[WAITING]) == (15, 15)


@pytest.mark.takes_turns
def test_how_a_send_gets_on_can_be_asked_from_elsewhere(world: DeliverySetup) -> None:
    _many(world, 30)
    seen = []

    def look() -> None:
        world.clock.sleep(10)
        with world.database.read() as session:
            seen.append(send_progress.read_progress(session, EDITION_NAME))

    _send(world, ScriptedProvider(_at(2, look), batch_size=5))
    (during,) = seen
    assert during is not None
    assert during.is_running(world.clock())
    with world.database.read() as session:
        after = send_progress.read_progress(session, EDITION_NAME)
    assert after is not None
    assert (after.running, after.attempted) == (False, 30)
    assert after.per_second == pytest.approx(3.0)


# The first readers


def _ahead(world: DeliverySetup, provider: ScriptedProvider) -> SendReport:
    report = _send(world, provider)
    assert report.next_due_at == world.clock() + timedelta(minutes=15)
    assert "the canary was sent" in report.wait_reason
    return report


def test_of_a_large_edition_a_few_go_ahead_and_the_rest_follows_after_a_quarter_of_an_hour(
    watched: DeliverySetup,
) -> None:
    _many(watched, 1000)
    with watched.database.write() as session:
        staff = StaffMember(email="r7@example.org", role="editor", added_at=RELEASE, added_by="eve", proven_at=RELEASE)
        session.add(staff)
        seven = session.scalars(select(Person.number).order_by(Person.number)).all()[7]
    first = ScriptedProvider(ACCEPT)
    assert _ahead(watched, first).delivery_counts[ACCEPTED] in {20, 21}
    with watched.database.read() as session:
        query = select(Delivery.person).where(Delivery.id.in_(_given(first)))
        assert seven in set(session.scalars(query))
    again = ScriptedProvider(ACCEPT)
    watched.clock.sleep(60)
    assert _send(watched, again).results.total() == 0
    watched.clock.sleep(14 * 60)
    rest = ScriptedProvider(ACCEPT, batch_size=200)
    assert _send(watched, rest).state is EditionState.SENT
    assert len(set(_given(first) + _given(rest))) == 1000


def test_of_a_small_edition_nobody_goes_ahead(one_world: DeliverySetup) -> None:
    world = _limited(one_world, "alerts", canary_minutes=15)
    _many(world, 999)
    assert _send(world, ScriptedProvider(ACCEPT, batch_size=500)).state is EditionState.SENT


def test_files_need_no_first_subscribers(one_world: DeliverySetup) -> None:
    world = _limited(one_world, "alerts", canary_minutes=15)
    _many(world, 1000)
    assert _send(world, ScriptedProvider(ACCEPT, batch_size=500, name="outbox")).state is EditionState.SENT


# Alarms


def _tell(
    world: DeliverySetup, deliveries: Sequence[str], kind: EventKind, cause: FailureCause = FailureCause.NONE
) -> None:
    now = world.clock()
    said = [
        DeliveryEvent("sendgrid", d, kind, cause, now, now, f"{d}{kind}".ljust(64, "x")[:64], None, {})
        for d in deliveries
    ]
    journal = UnsubscribeLog(world.settings.left_log, world.keys)
    with world.database.write() as session:
        event_processor.process_events(session, said, keys=world.keys, unsubscribe_log=journal, now=now)


def test_complaints_of_the_first_subscribers_keep_the_rest_from_going_until_somebody_resumes(
    watched: DeliverySetup,
) -> None:
    _many(watched, 1000)
    first = ScriptedProvider(ACCEPT)
    _ahead(watched, first)
    watched.clock.sleep(60)
    _tell(watched, _given(first)[:3], EventKind.COMPLAINED)
    watched.clock.sleep(15 * 60)
    report = _send(watched, ScriptedProvider(ACCEPT))
    assert report.results.total() == 0
    assert "3 of 20 subscribers reported the email" in report.wait_reason
    assert "Gmail" in report.wait_reason
    watched.clock.sleep(60)
    _action(watched, edition_control.resume_edition, EDITION_NAME)
    rest = ScriptedProvider(ACCEPT, batch_size=200)
    assert _send(watched, rest).state is EditionState.SENT
    assert len(set(_given(first) + _given(rest))) == 1000


def _let_complaints_arrive(world: DeliverySetup, deliveries: Sequence[str]) -> None:
    """Store a post of the provider and apply it, as the webhook and the timetable do."""
    events = [
        {"event": "spamreport", "delivery_id": d, "timestamp": int(world.clock().timestamp())} for d in deliveries
    ]
    body = json.dumps(events).encode()
    payloads.store_payload(world.database, world.keys, body, origin="sendgrid", now=world.clock())
    background_tasks.apply_inbound_events(Installation(world.settings, world.database), clock=world.clock)


@pytest.mark.parametrize(
    "canary_minutes", [1, 15]
)  # a run sleeps through one minute, and ends before a quarter of an hour
def test_an_alarm_while_the_rest_waits_for_the_first_subscribers_is_raised_at_once_and_once(
    one_world: DeliverySetup, canary_minutes: int
) -> None:
    world = _limited(one_world, "alerts", canary_minutes=canary_minutes)
    world.settings.key_file.touch(mode=0o600)
    world.settings.key_file.write_text(world.keys.to_json())
    _many(world, 1000)
    provider = ScriptedProvider(ACCEPT)
    paused_at: list[datetime | None] = []

    def wait(seconds: float) -> None:
        world.clock.sleep(20)
        for number in range(4):
            _let_complaints_arrive(world, _given(provider)[2 * number : 2 * number + 2])
        with world.database.read() as session:
            paused_at.append(session.scalars(select(Edition.paused_at)).one())
        world.clock.sleep(seconds - 20)

    report = run_edition(
        world.database, EDITION_NAME, provider, world.keys, world.settings, clock=world.clock, sleep=wait
    )
    assert report.delivery_counts[WAITING] == 980
    if canary_minutes == 15:
        assert not paused_at, "the run ended"
        wait(900)
    assert paused_at == [RELEASE + timedelta(seconds=20)]
    with pytest.raises(SendError, match="4 of 20 subscribers reported the email"):
        _send(world, provider)
    assert len(_given(provider)) == 20
    with world.database.read() as session:
        (told,) = session.scalars(select(AuditEntry).where(AuditEntry.act == "paused"))
    assert told.actor == "digest"
    _action(world, edition_control.resume_edition, EDITION_NAME)
    assert _send(world, ScriptedProvider(ACCEPT, batch_size=200)).state is EditionState.SENT


@pytest.mark.takes_turns
def test_two_complaints_are_no_alarm(world: DeliverySetup) -> None:
    _many(world, 30)
    provider = ScriptedProvider(_at(2, lambda: _tell(world, _given(provider)[:2], EventKind.COMPLAINED)), batch_size=5)
    assert _send(world, provider).state is EditionState.SENT


def test_refusals_for_what_we_are_pause_the_send_and_suppress_nobody(world: DeliverySetup) -> None:
    _many(world, 40)
    refused = same_outcome_for_all(
        HandoverStatus.REFUSED, reply="550 5.7.515 Access denied, sending domain does not meet the level"
    )

    def refuse_after_a_second(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        world.clock.sleep(1)  # failures count that came later than the plan
        return refused(messages)

    report = _send(world, ScriptedProvider(refuse_after_a_second, batch_size=5, name="smtp"))
    # What servers say is written down with the next claim, so one more round goes out.
    assert (report.delivery_counts[DeliveryState.REFUSED], report.delivery_counts[WAITING]) == (10, 30)
    assert "by policy" in report.wait_reason
    with world.database.read() as session:
        assert set(session.scalars(select(Person.state))) == {PersonState.SUBSCRIBED}
        assert session.scalar(select(func.count()).select_from(Suppression)) == 0
        assert set(session.scalars(select(StoredDeliveryEvent.cause))) == {FailureCause.POLICY}


def test_a_mailbox_that_the_server_does_not_know_is_never_mailed_again(world: DeliverySetup) -> None:
    ada, bo = world.add_subscribers("ada@example.org", "bo@example.org")

    def answer(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        no = MessageOutcome(HandoverStatus.REFUSED, "550 5.1.1 <address>: no such user")
        return BatchOutcome(
            tuple(no if m.address.startswith("ada") else MessageOutcome(HandoverStatus.ACCEPTED) for m in messages)
        )

    report = _send(world, ScriptedProvider(answer, name="smtp"))
    assert (report.state, report.delivery_counts[DeliveryState.REFUSED]) == (EditionState.SENT, 1)
    with world.database.read() as session:
        states = {p.number: p.state for p in session.scalars(select(Person))}
        assert (states[ada], states[bo]) == (PersonState.SUPPRESSED, PersonState.SUBSCRIBED)
        assert session.scalars(select(Suppression.reason)).one() == "bounced"
        (told,) = session.scalars(select(StoredDeliveryEvent))
        assert (told.cause, told.detail["status"]) == (FailureCause.NO_MAILBOX, "550 5.1.1")


def test_a_mailbox_that_stays_full_until_the_message_expires_is_one_strike(one_world: DeliverySetup) -> None:
    world = one_world
    world.add_subscribers("ada@example.org")
    full = ScriptedProvider(same_outcome_for_all(HandoverStatus.TRY_LATER, reply="452 4.2.2 mailbox full"), name="smtp")
    for _ in range(100):
        report = _send(world, full)
        if not report.delivery_counts.open:
            break
        assert report.next_due_at is not None
        world.clock.now = report.next_due_at
    assert report.delivery_counts[DeliveryState.EXPIRED] == 1
    with world.database.read() as session:
        (told,) = session.scalars(select(StoredDeliveryEvent))
        assert (told.cause, session.scalars(select(Person.state)).one()) == (FailureCause.SOFT, PersonState.SUBSCRIBED)


def _edition_before(world: DeliverySetup, planned: int) -> None:
    with world.database.write() as session:
        now = session.scalars(select(Edition)).one()
        fields = {c.key: getattr(now, c.key) for c in Edition.__table__.columns if c.key not in {"id", "name", "slot"}}
        release = RELEASE - timedelta(days=7)
        fields |= {"state": EditionState.SENT, "planned": planned, "release_at": release, "number": 11}
        session.add(Edition(name="2026-W46", slot=release.isoformat(), **fields))


@pytest.mark.parametrize(("before", "paused"), [(400, True), (229, False), (150, False)])
def test_a_list_that_changed_too_much_since_the_last_edition_is_looked_at_first(
    one_world: DeliverySetup, before: int, *, paused: bool
) -> None:
    _many(one_world, 130)
    _edition_before(one_world, before)
    provider = ScriptedProvider(ACCEPT)
    report = _send(one_world, provider)
    assert bool(report.wait_reason) is paused
    assert len(provider.received_messages) == (0 if paused else 130)
    if paused:
        assert "shrank from 400 to 130 subscribers" in report.wait_reason
        _action(one_world, edition_control.resume_edition, EDITION_NAME)
        assert _send(one_world, ScriptedProvider(ACCEPT)).state is EditionState.SENT


# Bounds


def test_an_hours_bound_holds_in_any_sixty_minutes_and_across_runs(world: DeliverySetup) -> None:
    bounded = _limited(world, "limits", send_per_hour=5)
    _many(bounded, 12)
    moments = []

    def answer(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        moments.extend([world.clock()] * len(messages))
        return ACCEPT(messages)

    provider = ScriptedProvider(answer, batch_size=3)
    for _ in range(3):
        report = _send(bounded, provider)
        world.clock.now = report.next_due_at or world.clock.now
    assert report.state is EditionState.SENT
    assert len(_given(provider)) == 12
    for moment in moments:
        assert sum(moment - timedelta(hours=1) < m <= moment for m in moments) <= 5
    assert moments[-1] - moments[0] <= timedelta(hours=2, minutes=5)


@pytest.mark.takes_turns
def test_a_new_sender_warms_up_day_by_day(world: DeliverySetup) -> None:
    warming = _limited(world, "limits", warm_up=[3, 6])
    _many(warming, 30)
    by_day: Counter[int] = Counter()
    provider = ScriptedProvider(ACCEPT, batch_size=4)
    while True:
        report = _send(warming, provider)
        by_day[(world.clock() - RELEASE).days] += report.results[HandoverStatus.ACCEPTED]
        if report.next_due_at is None:
            break
        assert "warm-up" in report.wait_reason
        world.clock.now = report.next_due_at
    assert (by_day[0], by_day[1], sum(by_day.values())) == (3, 6, 30)


def test_what_a_warm_up_keeps_for_days_is_still_tried_again_when_its_server_says_later(
    one_world: DeliverySetup,
) -> None:
    warming = _limited(one_world, "limits", warm_up=[1] * 5)
    _many(warming, 8)
    tries: Counter[str] = Counter()

    def answer(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        tries.update(message.address for message in messages)
        late = one_world.clock() > RELEASE + timedelta(days=4)
        results = (
            HandoverStatus.TRY_LATER if late and tries[message.address] == 1 else HandoverStatus.ACCEPTED
            for message in messages
        )
        return BatchOutcome(tuple(MessageOutcome(result) for result in results))

    provider = ScriptedProvider(answer)
    while (report := _send(warming, provider)).next_due_at is not None:
        one_world.clock.now = report.next_due_at
    assert (report.delivery_counts[ACCEPTED], report.delivery_counts[DeliveryState.EXPIRED]) == (8, 0)
    assert max(tries.values()) == 2


@pytest.mark.takes_turns
def test_a_bound_by_the_second_holds_in_any_second_and_across_runs(world: DeliverySetup) -> None:
    bounded = _limited(world, "limits", send_per_second=5.0)
    _many(bounded, 40)
    moments: list[datetime] = []

    def answer(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        moments.extend([world.clock()] * len(messages))
        return ACCEPT(messages)

    for _ in range(4):  # whoever starts again and again starts with nothing of its own
        run_edition(
            bounded.database,
            EDITION_NAME,
            ScriptedProvider(answer),
            bounded.keys,
            bounded.settings,
            clock=world.clock,
            sleep=world.clock.sleep,
            limit=10,
        )
    assert len(moments) == 40
    for moment in moments:
        assert sum(moment - timedelta(seconds=1) < m <= moment for m in moments) <= 5
    assert timedelta(seconds=7) <= moments[-1] - moments[0] <= timedelta(seconds=10)


@pytest.mark.parametrize("microseconds", range(1200, 1700, 100))
def test_a_pause_that_ends_between_two_looks_at_the_clock_does_not_end_the_run(
    one_world: DeliverySetup, microseconds: int
) -> None:
    bounded = _limited(one_world, "limits", send_per_second=5000.0)
    _many(bounded, 40)

    def now() -> datetime:
        one_world.clock.sleep(microseconds / 1e6)  # every look takes a part of the pause
        return one_world.clock()

    report = run_edition(
        bounded.database,
        EDITION_NAME,
        ScriptedProvider(ACCEPT),
        bounded.keys,
        bounded.settings,
        clock=now,
        sleep=one_world.clock.sleep,
    )
    assert (report.state, report.delivery_counts[ACCEPTED]) == (EditionState.SENT, 40)


@pytest.mark.takes_turns
def test_a_cap_on_one_domain_is_kept_within_a_run_and_does_not_slow_the_others(world: DeliverySetup) -> None:
    capped = _limited(world, "limits", domains_per_hour={"big.example": 120})
    _many(capped, 5, "big.example")
    _many(capped, 8, "small.example")
    moments: dict[str, list[datetime]] = {"big.example": [], "small.example": []}

    def answer(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        for message in messages:
            moments[message.address.partition("@")[2]].append(world.clock())
        return ACCEPT(messages)

    report = _send(capped, ScriptedProvider(answer))
    assert (report.state, report.delivery_counts[ACCEPTED]) == (EditionState.SENT, 13)
    assert set(moments["small.example"]) == {RELEASE}
    gaps = [later - earlier for earlier, later in pairwise(moments["big.example"])]
    assert all(timedelta(seconds=30) <= gap <= timedelta(seconds=32) for gap in gaps)


@pytest.mark.takes_turns
def test_domains_that_share_mail_servers_share_the_sum_of_their_caps(world: DeliverySetup) -> None:
    capped = _limited(world, "limits", domains_per_hour={"big.example": 60, "large.example": 60})
    domains = ("big.example", "large.example", "hosted.example")
    with world.database.write() as session:
        tags = [make_domain_tag(world.keys, Address("x", domain)) for domain in domains]
        until = RELEASE + timedelta(days=7)
        session.add_all(DomainGroupMember(domain_tag=tag, group_tag="g" * 32, fresh_until=until) for tag in tags)
    for domain in domains:
        _many(capped, 2, domain)
    moments: list[datetime] = []

    def answer(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        moments.extend(world.clock() for _ in messages)
        return ACCEPT(messages)

    report = _send(capped, ScriptedProvider(answer))
    assert (report.state, report.delivery_counts[ACCEPTED]) == (EditionState.SENT, 6)
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert all(timedelta(seconds=30) <= gap <= timedelta(seconds=32) for gap in gaps)


def test_a_domain_that_asks_for_less_slows_those_that_share_its_mail_servers(one_world: DeliverySetup) -> None:
    domains = [f"hosted{n}.example" for n in range(4)]
    with one_world.database.write() as session:
        tags = [make_domain_tag(one_world.keys, Address("x", domain)) for domain in domains]
        until = RELEASE + timedelta(days=7)
        session.add_all(DomainGroupMember(domain_tag=tag, group_tag="g" * 32, fresh_until=until) for tag in tags)
    for domain in domains:
        _many(one_world, 5, domain)
    slow = MessageOutcome(HandoverStatus.TRY_LATER, "421 4.7.0 slow down", slows_domain=True)
    moments: list[datetime] = []

    def answer(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        moments.extend(one_world.clock() for _ in messages)
        return BatchOutcome((slow,)) if len(moments) == 1 else ACCEPT(messages)

    report = _send(one_world, ScriptedProvider(answer, 1))
    assert (len(moments), report.delivery_counts[WAITING]) == (2, 19)


@pytest.mark.takes_turns
def test_a_cap_of_less_than_one_a_minute_ends_the_run_and_says_from_when_it_goes_on(world: DeliverySetup) -> None:
    capped = _limited(world, "limits", domains_per_hour={"big.example": 6})
    _many(capped, 8, "big.example")
    moments: list[datetime] = []
    provider = ScriptedProvider(ACCEPT)
    while True:
        report = _send(capped, provider)
        moments += [world.clock()] * report.results[HandoverStatus.ACCEPTED]
        if report.next_due_at is None:
            break
        world.clock.now = report.next_due_at
    assert (report.state, len(_given(provider))) == (EditionState.SENT, 8)
    for moment in moments:
        assert sum(moment - timedelta(hours=1) < m <= moment for m in moments) <= 6


# A database that is away


def _failing(world: DeliverySetup, broken: Callable[[Any], bool]) -> Callable[[], None]:
    """Let commits fail while `broken` says so; give what ends that."""

    def fail(connection: Any) -> None:
        if broken(connection):
            raise OperationalError("COMMIT", None, Exception("the connection was lost"))

    event.listen(world.database.engine, "commit", fail)
    return lambda: event.remove(world.database.engine, "commit", fail)


@pytest.mark.parametrize("came_through", [False, True])
def test_a_commit_that_seems_lost_loses_and_repeats_nothing_whether_or_not_it_came_through(
    world: DeliverySetup, *, came_through: bool
) -> None:
    _many(world, 40)
    commits = [0]

    def broken(connection: Any) -> bool:
        commits[0] += 1
        if commits[0] % 3:
            return False
        if came_through:
            connection.connection.driver_connection.commit()
        return True

    provider = ScriptedProvider(ACCEPT, batch_size=4)
    mend = _failing(world, broken)
    try:
        report = _send(world, provider)
    finally:
        mend()
    assert commits[0] > 10
    assert (report.state, report.delivery_counts[ACCEPTED], report.delivery_counts.is_balanced) == (
        EditionState.SENT,
        40,
        True,
    )
    assert len(_given(provider)) == 40


def test_a_database_that_stays_away_ends_the_run_after_a_quarter_of_an_hour(one_world: DeliverySetup) -> None:
    _many(one_world, 40)
    away = [False]
    provider = ScriptedProvider(_at(2, lambda: away.__setitem__(0, True)), batch_size=4)
    mend = _failing(one_world, lambda _: away[0])
    with pytest.raises(OperationalError):
        _send(one_world, provider)
    mend()
    assert timedelta(minutes=15) <= one_world.clock() - RELEASE <= timedelta(minutes=40)
    silence_runs(one_world.database)
    rest = ScriptedProvider(ACCEPT)
    report = _send(one_world, rest)
    assert not set(_given(provider)) & set(_given(rest))
    assert report.delivery_counts.is_balanced
    assert report.delivery_counts[DeliveryState.UNCERTAIN] <= 8
