"""Uncertain deliveries are resolved once, by an admin, and never against what's known by then."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from threading import Thread
from time import monotonic, sleep

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from digest.app.jobs import JobContext
from digest.app.sending import send_control as sending
from digest.app.sending import uncertain_delivery_actions
from digest.deliver.control.edition_control import EditionControlError
from digest.deliver.events.delivery_event import DeliveryEvent, EventKind
from digest.deliver.events.event_processor import process_events
from digest.deliver.events.failure_causes import FailureCause
from digest.deliver.plan.delivery_plan import DeliveryCounts, count_deliveries, make_edition_delivery_purpose
from digest.deliver.providers.base import BatchOutcome, HandoverStatus, MessageOutcome, OutgoingMessage
from digest.deliver.send.claims import restored_copy
from digest.deliver.send.claims.dead_runs import recover_dead_and_silent_runs
from digest.deliver.send.claims.restored_copy import RestoreGap
from digest.deliver.send.claims.retry_policy import GIVE_UP_AFTER, decide_state_change
from digest.deliver.send.claims.run_lease import make_run_folder_id
from digest.deliver.send.run.edition_sending import run_edition
from digest.deliver.send.uncertain.uncertain_deliveries import (
    UncertainDelivery,
    UncertainResolution,
    build_resolution_values,
    list_uncertain_deliveries,
)
from digest.installation.opened_installation import Installation
from digest.store.delivery_models import Delivery, DeliveryState, RunLease
from digest.store.models import AuditEntry, Edition, EditionState
from digest.store.process_identity import identify_current_process
from scheduler import EditionSendBackoff, send_due_editions
from subscribers.consent.preferences import Preferences
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from tests.actors import ADMIN
from tests.deliver.conftest import EDITION_NAME, KEYS, DeliverySetup
from tests.deliver.scripted_provider import ScriptedProvider, same_outcome_for_all
from tests.moments import RELEASE

SUBSCRIBERS = ("ada@reader.example", "bo@reader.example", "cy@reader.example")
WAITING, ACCEPTED = DeliveryState.WAITING, DeliveryState.ACCEPTED
UNCERTAIN = DeliveryState.UNCERTAIN


def sent(world: DeliverySetup, result: HandoverStatus = HandoverStatus.ACCEPTED) -> ScriptedProvider:
    """Send the edition; every message comes to the same."""
    provider = ScriptedProvider(same_outcome_for_all(result, reply="no answer after the final dot"))
    run_edition(
        world.database, EDITION_NAME, provider, KEYS, world.settings, clock=world.clock, sleep=world.clock.sleep
    )
    return provider


def word(world: DeliverySetup, word: UncertainResolution, ids: Sequence[str] | None = None) -> int:
    chosen = [d.delivery_id for d in listed(world)] if ids is None else ids
    installation = Installation(world.settings, world.database)
    return uncertain_delivery_actions.resolve_uncertain(
        installation, EDITION_NAME, chosen, word, reason="by the log", actor=ADMIN, clock=world.clock
    )


def listed(world: DeliverySetup) -> list[UncertainDelivery]:
    return list_uncertain_deliveries(world.database, EDITION_NAME, now=world.clock())


def states(world: DeliverySetup) -> DeliveryCounts:
    with world.database.read() as session:
        counts = count_deliveries(session, make_edition_delivery_purpose(EDITION_NAME))
    assert counts.is_balanced
    return counts


def edition(world: DeliverySetup) -> Edition:
    with world.database.read() as session:
        return session.scalars(select(Edition)).one()


def said(world: DeliverySetup, delivery: str, kind: EventKind) -> None:
    event = DeliveryEvent(
        "sendgrid", delivery, kind, FailureCause.NONE, RELEASE, RELEASE, f"{delivery}{kind}", None, {}
    )
    unsubscribe_log = UnsubscribeLog(world.settings.left_log, KEYS)
    with world.database.write() as session:
        process_events(session, [event], keys=KEYS, unsubscribe_log=unsubscribe_log, now=world.clock())


@pytest.fixture
def doubtful(world: DeliverySetup) -> DeliverySetup:
    """Give a world whose edition is out, and nobody knows who of three has it."""
    world.add_subscribers(*SUBSCRIBERS)
    sent(world, HandoverStatus.UNCERTAIN)
    assert (edition(world).state, states(world)[UNCERTAIN]) == (EditionState.SENT, 3)
    return world


@pytest.mark.takes_turns
def test_they_are_listed_with_what_is_known_and_with_nobodys_address(doubtful: DeliverySetup) -> None:
    uncertain = listed(doubtful)
    assert len(uncertain) == 3
    assert {d.provider_name for d in uncertain} == {"scripted"}
    assert {d.reply for d in uncertain} == {"no answer after the final dot"}
    assert all(d.handed_at is not None for d in uncertain)
    assert "@" not in repr(uncertain)


def test_what_a_dead_process_left_claimed_is_listed_too(world: DeliverySetup) -> None:
    world.add_subscribers(*SUBSCRIBERS)
    sent(world)
    dead = str(replace(identify_current_process(), nonce="another"))
    with world.database.write() as session:
        delivery = session.scalars(select(Delivery)).first()
        assert delivery
        delivery.state, delivery.owner, delivery.lease_until = (
            DeliveryState.HANDING_OVER,
            dead,
            RELEASE + timedelta(days=1),
        )
        session.add(RunLease(owner=dead, epoch=1, beat_at=0.0, home=make_run_folder_id(world.settings)))
        delivery_id = delivery.id
    recover_dead_and_silent_runs(world.database, world.settings, world.keys, now=world.clock())
    assert [d.delivery_id for d in listed(world)] == [delivery_id]


def test_taken_as_accepted_is_accepted_and_nothing_is_sent(doubtful: DeliverySetup) -> None:
    assert word(doubtful, UncertainResolution.ACCEPTED) == 3
    assert (states(doubtful)[ACCEPTED], edition(doubtful).state) == (3, EditionState.SENT)
    assert sent(doubtful).received_messages == []
    with doubtful.database.read() as session:
        audit = session.scalars(
            select(AuditEntry).where(AuditEntry.subject == EDITION_NAME, AuditEntry.act.startswith("uncertain"))
        ).one()
    assert (audit.actor, audit.act) == ("terminal:eve", "uncertain taken as accepted")
    assert audit.detail["because"] == "by the log"
    assert len(audit.detail["deliveries"]) == 3


@pytest.mark.takes_turns
def test_sent_again_goes_to_those_alone_with_the_same_message_id(doubtful: DeliverySetup) -> None:
    with doubtful.database.read() as session:
        ids = {row.id: row.message_id for row in session.scalars(select(Delivery))}
    first, second, third = sorted(ids)
    word(doubtful, UncertainResolution.ACCEPTED, [third])
    assert word(doubtful, UncertainResolution.SEND_AGAIN, [first, second]) == 2
    assert edition(doubtful).state is EditionState.SENDING
    installation = Installation(doubtful.settings, doubtful.database)
    assert sending.find_pending_sends(installation, now=doubtful.clock()).ready_to_send == (EDITION_NAME,), (
        "the scheduler picks it up"
    )
    provider = sent(doubtful)
    assert {m.delivery_id: m.placeholders.message_id for m in provider.received_messages} == {
        k: ids[k] for k in (first, second)
    }
    assert (states(doubtful)[ACCEPTED], edition(doubtful).state) == (3, EditionState.SENT)
    assert sent(doubtful).received_messages == []


@pytest.mark.takes_turns
def test_sent_again_goes_at_once_though_all_others_of_the_edition_wait_for_their_hours(world: DeliverySetup) -> None:
    world.settings.key_file.touch(mode=0o600)
    world.settings.key_file.write_text(KEYS.to_json())
    world.add_subscribers("ada@reader.example")
    world.add_subscribers("bo@reader.example", choices=Preferences(hour=RELEASE.hour + 5, zone="UTC"))
    sent(world, HandoverStatus.UNCERTAIN)
    context, backoff = JobContext(Installation(world.settings, world.database), world.clock), EditionSendBackoff()
    send_due_editions(context, backoff)
    assert (states(world)[UNCERTAIN], states(world)[WAITING]) == (1, 1)
    assert not backoff.is_due(EDITION_NAME, world.clock() + timedelta(minutes=14)), "nothing is due for hours"
    word(world, UncertainResolution.SEND_AGAIN)
    send_due_editions(context, backoff)
    assert (states(world)[ACCEPTED], states(world)[WAITING]) == (1, 1)


@pytest.mark.takes_turns
def test_who_left_meanwhile_is_not_sent_it_again(doubtful: DeliverySetup) -> None:
    with doubtful.database.write() as session:
        number = session.scalars(select(Delivery.person)).first()
        assert number
        unsubscribe_person(
            session, UnsubscribeLog(doubtful.settings.left_log, KEYS), number, method="page", now=RELEASE
        )
    word(doubtful, UncertainResolution.SEND_AGAIN)
    assert len(sent(doubtful).received_messages) == 2
    assert states(doubtful)[DeliveryState.WITHDRAWN] == 1


@pytest.mark.takes_turns
def test_sent_again_after_days_it_does_not_expire_at_the_first_not_now(doubtful: DeliverySetup) -> None:
    doubtful.clock.now += GIVE_UP_AFTER + timedelta(hours=8)
    word(doubtful, UncertainResolution.SEND_AGAIN)
    sent(doubtful, HandoverStatus.TRY_LATER)
    assert states(doubtful)[WAITING] == 3
    doubtful.clock.now += GIVE_UP_AFTER
    sent(doubtful, HandoverStatus.TRY_LATER)
    assert states(doubtful)[DeliveryState.EXPIRED] == 3, "and not for ever either"


@given(st.timedeltas(timedelta(0), timedelta(days=3650)), st.integers(0, 20))
def test_however_long_ago_it_was_due_a_not_now_lets_it_wait(since: timedelta, tries: int) -> None:
    now = RELEASE + since
    values = build_resolution_values(UncertainResolution.SEND_AGAIN, RELEASE, now)
    later = decide_state_change(
        MessageOutcome(HandoverStatus.TRY_LATER),
        delivery_id="d",
        tries=tries,
        due_at=values["due_at"],
        first_tried_at=RELEASE,
        now=now,
    )
    assert later.state is WAITING


@pytest.mark.takes_turns
@pytest.mark.parametrize(
    ("kind", "ends"), [(EventKind.DELIVERED, ACCEPTED), (EventKind.BOUNCED, DeliveryState.REFUSED)]
)
@pytest.mark.parametrize("by", [UncertainResolution.ACCEPTED, UncertainResolution.SEND_AGAIN])
def test_what_an_event_has_resolved_by_then_is_left_as_it_is(
    doubtful: DeliverySetup, kind: EventKind, ends: DeliveryState, by: UncertainResolution
) -> None:
    ids = [d.delivery_id for d in listed(doubtful)]
    said(doubtful, ids[0], kind)
    assert word(doubtful, by, ids) == 2
    with doubtful.database.read() as session:
        assert session.get_one(Delivery, ids[0]).state is ends


@pytest.mark.takes_turns
def test_an_event_that_comes_after_the_word_still_keeps_it_from_being_sent_again(doubtful: DeliverySetup) -> None:
    ids = [d.delivery_id for d in listed(doubtful)]
    word(doubtful, UncertainResolution.SEND_AGAIN)
    said(doubtful, ids[0], EventKind.DELIVERED)
    assert {m.delivery_id for m in sent(doubtful).received_messages} == set(ids[1:])


@pytest.mark.takes_turns
def test_resolving_the_same_delivery_twice_happens_once(doubtful: DeliverySetup) -> None:
    ids = [d.delivery_id for d in listed(doubtful)]
    assert [
        word(doubtful, UncertainResolution.SEND_AGAIN, ids),
        word(doubtful, UncertainResolution.SEND_AGAIN, ids),
    ] == [3, 0]
    sent(doubtful)
    assert word(doubtful, UncertainResolution.SEND_AGAIN, ids) == 0
    assert states(doubtful)[ACCEPTED] == 3


def test_a_row_that_somebody_else_has_in_hand_is_left_to_them(postgresql_world: DeliverySetup) -> None:
    world = postgresql_world
    world.add_subscribers(*SUBSCRIBERS)
    sent(world, HandoverStatus.UNCERTAIN)
    ids = [d.delivery_id for d in listed(world)]
    with world.database.write() as session:
        session.execute(update(Delivery).where(Delivery.id == ids[0]).values(state=ACCEPTED))
        assert word(world, UncertainResolution.SEND_AGAIN, ids) == 2
    assert (states(world)[ACCEPTED], states(world)[WAITING]) == (1, 2)


def test_a_run_that_ends_in_the_moment_of_the_word_does_not_close_the_edition_over_it(
    postgresql_world: DeliverySetup,
) -> None:
    world = postgresql_world
    world.add_subscribers(*SUBSCRIBERS[:2])
    words = Session(world.database.engine)

    def commit() -> None:
        _somebody_waits(world)
        words.commit()

    committing = Thread(target=commit)

    def answer(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        if len(provider.received_messages) == 1:
            return same_outcome_for_all(HandoverStatus.UNCERTAIN)(messages)
        words.scalars(select(Edition).with_for_update()).one()
        words.execute(
            update(Delivery)
            .where(Delivery.state == UNCERTAIN)
            .values(build_resolution_values(UncertainResolution.SEND_AGAIN, RELEASE, world.clock()))
        )
        committing.start()
        return same_outcome_for_all(HandoverStatus.ACCEPTED)(messages)

    provider = ScriptedProvider(answer, batch_size=1)
    report = run_edition(
        world.database, EDITION_NAME, provider, KEYS, world.settings, clock=world.clock, sleep=world.clock.sleep
    )
    committing.join()
    words.close()
    assert (report.state, report.delivery_counts[WAITING], edition(world).state) == (
        EditionState.SENDING,
        1,
        EditionState.SENDING,
    )


def _somebody_waits(world: DeliverySetup) -> None:
    """Come back once another transaction waits for a lock."""
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    deadline = monotonic() + 60
    while monotonic() < deadline:
        with world.database.read() as session:
            if session.scalar(waiting):
                return
        sleep(0.01)


@pytest.mark.takes_turns
def test_nothing_of_a_cancelled_edition_is_sent_again_but_its_doubts_can_be_closed(world: DeliverySetup) -> None:
    world.add_subscribers(*SUBSCRIBERS)
    provider = ScriptedProvider(same_outcome_for_all(HandoverStatus.UNCERTAIN), batch_size=1)
    run_edition(
        world.database,
        EDITION_NAME,
        provider,
        KEYS,
        world.settings,
        clock=world.clock,
        sleep=world.clock.sleep,
        limit=1,
    )
    sending.cancel_edition(Installation(world.settings, world.database), EDITION_NAME, actor=ADMIN, now=world.clock())
    with pytest.raises(EditionControlError, match="is canceled, so its messages can't be sent again"):
        word(world, UncertainResolution.SEND_AGAIN)
    assert word(world, UncertainResolution.ACCEPTED) == 1
    assert edition(world).state is EditionState.CANCELLED


def test_another_editions_deliveries_are_not_touched(doubtful: DeliverySetup) -> None:
    with doubtful.database.write() as session:
        row = session.scalars(select(Delivery)).first()
        assert row
        row.purpose, other = "edition:2026-W46", row.id
    assert word(doubtful, UncertainResolution.ACCEPTED, [other]) == 0
    with doubtful.database.read() as session:
        assert session.get_one(Delivery, other).state is UNCERTAIN


@pytest.fixture
def unanswered(world: DeliverySetup) -> DeliverySetup:
    """Give a world whose first batch of two SendGrid took, and whose second, a minute later, got no answer."""
    world.add_subscribers(*SUBSCRIBERS, "dee@reader.example")

    def answer(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        first = world.clock() == RELEASE
        world.clock.now += timedelta(minutes=1)
        result = HandoverStatus.ACCEPTED if first else HandoverStatus.UNCERTAIN
        return BatchOutcome(tuple(MessageOutcome(result) for _ in messages))

    provider = ScriptedProvider(answer, batch_size=2, name="sendgrid")
    run_edition(
        world.database, EDITION_NAME, provider, KEYS, world.settings, clock=world.clock, sleep=world.clock.sleep
    )
    assert (states(world)[ACCEPTED], states(world)[UNCERTAIN]) == (2, 2)
    return world


def silent(world: DeliverySetup) -> list[bool]:
    return sorted(d.is_silent for d in listed(world))


def accepted_id(world: DeliverySetup) -> str:
    with world.database.read() as session:
        return session.scalars(select(Delivery.id).where(Delivery.state == ACCEPTED)).first() or ""


@pytest.mark.takes_turns
def test_a_day_of_silence_tells_something_where_others_of_that_time_were_reported(unanswered: DeliverySetup) -> None:
    unanswered.clock.now += timedelta(hours=25)
    assert silent(unanswered) == [False, False], "nothing was reported at all: the webhook may be away"
    said(unanswered, accepted_id(unanswered), EventKind.DELIVERED)
    assert silent(unanswered) == [True, True]
    unanswered.clock.now -= timedelta(hours=2)
    assert silent(unanswered) == [False, False], "not a whole day yet"


def test_silence_tells_nothing_of_what_was_sent_at_another_time_or_reports_nothing(unanswered: DeliverySetup) -> None:
    unanswered.clock.now += timedelta(days=3)
    said(unanswered, accepted_id(unanswered), EventKind.DELIVERED)
    for change in ({"handed_at": RELEASE - timedelta(hours=2)}, {"handed_at": RELEASE, "transport": "smtp"}):
        with unanswered.database.write() as session:
            session.execute(update(Delivery).where(Delivery.state == UNCERTAIN).values(change))
        assert silent(unanswered) == [False, False]


@pytest.mark.takes_turns
def test_silence_tells_nothing_where_a_restore_may_have_lost_the_events(unanswered: DeliverySetup) -> None:
    unanswered.clock.now += timedelta(hours=25)
    said(unanswered, accepted_id(unanswered), EventKind.DELIVERED)
    with unanswered.database.write() as session:
        restored_copy.mark_open_deliveries_uncertain(
            session, RestoreGap(RELEASE + timedelta(hours=3), unanswered.clock())
        )
    unanswered.clock.now += timedelta(days=2)
    assert silent(unanswered) == [False, False]
