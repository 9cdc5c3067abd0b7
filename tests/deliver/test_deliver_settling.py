"""What is uncertain is settled by an admin's word, once, and never against what is known by then."""

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

from digest import weekly
from digest.db import Audit, Edition, EditionState
from digest.deliver import steering
from digest.deliver.causes import Cause
from digest.deliver.events import Said, apply
from digest.deliver.handing import Handed, Outcome, Outgoing, Result
from digest.deliver.judging import Kind
from digest.deliver.moves import GIVE_UP_AFTER, move
from digest.deliver.planning import Books, books, purpose_of
from digest.deliver.sending import send
from digest.deliver.settling import Doubt, Word, doubts, settle, settled
from digest.deliver.steering import SteeringError
from digest.delivery_db import Delivery, DeliveryState
from digest.install import Install
from digest.owner import this_process
from subscribers.journal import Journal
from subscribers.leaving import leave
from tests.deliver.conftest import KEYS, NAME, RELEASE, World
from tests.deliver.scripted import Scripted, every

READERS = ("ada@reader.example", "bo@reader.example", "cy@reader.example")
WAITING, ACCEPTED = DeliveryState.WAITING, DeliveryState.ACCEPTED
UNCERTAIN = DeliveryState.UNCERTAIN


def sent(world: World, result: Result = Result.ACCEPTED) -> Scripted:
    """Send the edition; every message comes to the same."""
    transport = Scripted(every(result, reply="no answer after the final dot"))
    send(world.database, NAME, transport, KEYS, world.settings, now_fn=world.clock, sleep=world.clock.sleep)
    return transport


def word(world: World, word: Word, ids: Sequence[str] | None = None) -> int:
    chosen = [d.delivery for d in listed(world)] if ids is None else ids
    return settle(
        world.database, NAME, chosen, word, because="by the log", actor="terminal:eve", clock=world.clock
    )


def listed(world: World) -> list[Doubt]:
    return doubts(world.database, NAME, now=world.clock())


def states(world: World) -> Books:
    with world.database.read() as session:
        found = books(session, purpose_of(NAME))
    assert found.balanced
    return found


def edition(world: World) -> Edition:
    with world.database.read() as session:
        return session.scalars(select(Edition)).one()


def said(world: World, delivery: str, kind: Kind) -> None:
    event = Said("sendgrid", delivery, kind, Cause.NONE, RELEASE, RELEASE, f"{delivery}{kind}", None, {})
    journal = Journal(world.settings.left_log, KEYS)
    with world.database.write() as session:
        apply(session, [event], keys=KEYS, journal=journal, now=world.clock())


@pytest.fixture
def doubtful(world: World) -> World:
    """Give a world whose edition is out, and nobody knows who of three has it."""
    world.readers(*READERS)
    sent(world, Result.UNCERTAIN)
    assert (edition(world).state, states(world)[UNCERTAIN]) == (EditionState.SENT, 3)
    return world


def test_they_are_listed_with_what_is_known_and_with_nobodys_address(doubtful: World) -> None:
    found = listed(doubtful)
    assert len(found) == 3
    assert {d.over for d in found} == {"scripted"}
    assert {d.said for d in found} == {"no answer after the final dot"}
    assert all(d.handed_at is not None for d in found)
    assert "@" not in repr(found)


def test_what_a_dead_process_left_in_the_air_is_listed_too(world: World) -> None:
    world.readers(*READERS)
    sent(world)
    dead = str(replace(this_process(), nonce="another"))
    with world.database.write() as session:
        one = session.scalars(select(Delivery)).first()
        assert one
        one.state, one.owner, one.lease_until = DeliveryState.HANDING_OVER, dead, RELEASE + timedelta(days=1)
        named = one.id
    assert [d.delivery for d in listed(world)] == [named]


def test_taken_as_accepted_is_accepted_and_nothing_is_sent(doubtful: World) -> None:
    assert word(doubtful, Word.ACCEPTED) == 3
    assert (states(doubtful)[ACCEPTED], edition(doubtful).state) == (3, EditionState.SENT)
    assert sent(doubtful).given == []
    with doubtful.database.read() as session:
        audit = session.scalars(
            select(Audit).where(Audit.subject == NAME, Audit.act.startswith("uncertain"))
        ).one()
    assert (audit.actor, audit.act) == ("terminal:eve", "uncertain taken as accepted")
    assert audit.detail["because"] == "by the log"
    assert len(audit.detail["deliveries"]) == 3


def test_sent_again_goes_to_those_alone_with_the_same_message_id(doubtful: World) -> None:
    with doubtful.database.read() as session:
        ids = {row.id: row.message_id for row in session.scalars(select(Delivery))}
    first, second, third = sorted(ids)
    word(doubtful, Word.ACCEPTED, [third])
    assert word(doubtful, Word.AGAIN, [first, second]) == 2
    assert edition(doubtful).state is EditionState.SENDING
    install = Install(doubtful.settings, doubtful.database)
    assert weekly.releases(install, now=doubtful.clock()).ready == (NAME,), "the scheduler picks it up"
    transport = sent(doubtful)
    assert {m.delivery: m.filled.message_id for m in transport.given} == {k: ids[k] for k in (first, second)}
    assert (states(doubtful)[ACCEPTED], edition(doubtful).state) == (3, EditionState.SENT)
    assert sent(doubtful).given == []


def test_who_left_meanwhile_is_not_sent_it_again(doubtful: World) -> None:
    with doubtful.database.write() as session:
        number = session.scalars(select(Delivery.person)).first()
        assert number
        leave(session, Journal(doubtful.settings.left_log, KEYS), number, method="page", now=RELEASE)
    word(doubtful, Word.AGAIN)
    assert len(sent(doubtful).given) == 2
    assert states(doubtful)[DeliveryState.WITHDRAWN] == 1


def test_sent_again_after_days_it_does_not_expire_at_the_first_not_now(doubtful: World) -> None:
    doubtful.clock.now += GIVE_UP_AFTER + timedelta(hours=8)
    word(doubtful, Word.AGAIN)
    sent(doubtful, Result.LATER)
    assert states(doubtful)[WAITING] == 3
    doubtful.clock.now += GIVE_UP_AFTER
    sent(doubtful, Result.LATER)
    assert states(doubtful)[DeliveryState.EXPIRED] == 3, "and not for ever either"


@given(st.timedeltas(timedelta(0), timedelta(days=3650)), st.integers(0, 20))
def test_however_long_ago_it_was_due_a_not_now_lets_it_wait(since: timedelta, tries: int) -> None:
    now = RELEASE + since
    values = settled(Word.AGAIN, now)
    later = move(Outcome(Result.LATER), delivery="d", tries=tries, due_at=values["due_at"], now=now)
    assert later.state is WAITING


@pytest.mark.parametrize(
    ("kind", "ends"), [(Kind.DELIVERED, ACCEPTED), (Kind.BOUNCED, DeliveryState.REFUSED)]
)
@pytest.mark.parametrize("by", list(Word))
def test_what_an_event_has_settled_by_then_is_left_as_it_is(
    doubtful: World, kind: Kind, ends: DeliveryState, by: Word
) -> None:
    ids = [d.delivery for d in listed(doubtful)]
    said(doubtful, ids[0], kind)
    assert word(doubtful, by, ids) == 2
    with doubtful.database.read() as session:
        assert session.get_one(Delivery, ids[0]).state is ends


def test_an_event_that_comes_after_the_word_still_keeps_it_from_being_sent_again(doubtful: World) -> None:
    ids = [d.delivery for d in listed(doubtful)]
    word(doubtful, Word.AGAIN)
    said(doubtful, ids[0], Kind.DELIVERED)
    assert {m.delivery for m in sent(doubtful).given} == set(ids[1:])


def test_the_same_word_twice_settles_once(doubtful: World) -> None:
    ids = [d.delivery for d in listed(doubtful)]
    assert [word(doubtful, Word.AGAIN, ids), word(doubtful, Word.AGAIN, ids)] == [3, 0]
    sent(doubtful)
    assert word(doubtful, Word.AGAIN, ids) == 0
    assert states(doubtful)[ACCEPTED] == 3


def test_a_row_that_somebody_else_has_in_hand_is_left_to_them(postgresql_world: World) -> None:
    world = postgresql_world
    world.readers(*READERS)
    sent(world, Result.UNCERTAIN)
    ids = [d.delivery for d in listed(world)]
    with world.database.write() as session:
        session.execute(update(Delivery).where(Delivery.id == ids[0]).values(state=ACCEPTED))
        assert word(world, Word.AGAIN, ids) == 2
    assert (states(world)[ACCEPTED], states(world)[WAITING]) == (1, 2)


def test_a_run_that_ends_in_the_moment_of_the_word_does_not_close_the_edition_over_it(
    postgresql_world: World,
) -> None:
    world = postgresql_world
    world.readers(*READERS[:2])
    words = Session(world.database.engine)

    def commit() -> None:
        _somebody_waits(world)
        words.commit()

    committing = Thread(target=commit)

    def answer(messages: Sequence[Outgoing]) -> Handed:
        if len(transport.given) == 1:
            return every(Result.UNCERTAIN)(messages)
        words.scalars(select(Edition).with_for_update()).one()
        words.execute(
            update(Delivery).where(Delivery.state == UNCERTAIN).values(settled(Word.AGAIN, world.clock()))
        )
        committing.start()
        return every(Result.ACCEPTED)(messages)

    transport = Scripted(answer, batch=1)
    report = send(
        world.database, NAME, transport, KEYS, world.settings, now_fn=world.clock, sleep=world.clock.sleep
    )
    committing.join()
    words.close()
    assert (report.state, report.books[WAITING], edition(world).state) == (
        EditionState.SENDING,
        1,
        EditionState.SENDING,
    )


def _somebody_waits(world: World) -> None:
    """Come back once another transaction waits for a lock."""
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    deadline = monotonic() + 60
    while monotonic() < deadline:
        with world.database.read() as session:
            if session.scalar(waiting):
                return
        sleep(0.01)


def test_nothing_of_a_cancelled_edition_is_sent_again_but_its_doubts_can_be_closed(world: World) -> None:
    world.readers(*READERS)
    transport = Scripted(every(Result.UNCERTAIN), batch=1)
    send(
        world.database,
        NAME,
        transport,
        KEYS,
        world.settings,
        now_fn=world.clock,
        sleep=world.clock.sleep,
        limit=1,
    )
    steering.cancel(world.database, NAME, actor="eve", clock=world.clock)
    with pytest.raises(SteeringError, match="is cancelled: nothing of it is sent again"):
        word(world, Word.AGAIN)
    assert word(world, Word.ACCEPTED) == 1
    assert edition(world).state is EditionState.CANCELLED


def test_another_editions_deliveries_are_not_touched(doubtful: World) -> None:
    with doubtful.database.write() as session:
        row = session.scalars(select(Delivery)).first()
        assert row
        row.purpose, other = "edition:2026-W46", row.id
    assert word(doubtful, Word.ACCEPTED, [other]) == 0
    with doubtful.database.read() as session:
        assert session.get_one(Delivery, other).state is UNCERTAIN
