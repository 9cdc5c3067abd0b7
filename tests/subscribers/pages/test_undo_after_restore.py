"""A restored copy learns of unsubscribes, and of their undoing."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from digest.deliver.retention.delivery_disclosures import erase_from_deliveries
from digest.web.app import create_app
from subscribers.consent.unsubscribe_log import PendingUnsubscribeLogEntry, UnsubscribeLog, UnsubscribeLogEntryKind
from subscribers.lifecycle.unsubscribe_log_merge import merge_unsubscribe_log
from subscribers.store.models import ConsentEvent, Person, PersonState
from tests.moments import DRAFTING as NOW


def state_of(world: Any) -> PersonState:
    with world.database.read() as session:
        return PersonState(session.get_one(Person, world.ada).state)


def test_a_restored_copy_hears_of_leaving_and_of_taking_it_back(both: Any) -> None:
    token, keys = both.token("leave"), both.install.keys
    answer = both.client.post(f"/u/{token}", data={"from": "page"})
    both.client.post(answer.text.partition('action="')[2].partition('"')[0])
    unsubscribe_log = UnsubscribeLog(both.install.settings.left_log, keys)
    log_file = unsubscribe_log.path
    log_file.write_bytes(2 * log_file.read_bytes())  # joined with a copy that had all of it
    with both.database.write() as session:  # the copy of the day before knows of neither
        session.query(ConsentEvent).filter(ConsentEvent.seq > 1).delete()
        first = session.scalars(select(ConsentEvent)).one()
        session.get_one(Person, both.ada).chain_head = first.hash
        assert (
            merge_unsubscribe_log(
                session, unsubscribe_log, keys, forget_elsewhere=erase_from_deliveries, now=NOW
            ).departed["left"]
            == 0
        )
    assert state_of(both) == PersonState.SUBSCRIBED
    create_app(both.install, clock=lambda: NOW + timedelta(hours=1)).test_client().post(f"/u/{token}")
    with both.database.write() as session:
        session.query(ConsentEvent).filter(ConsentEvent.seq > 1).delete()
        person = session.get_one(Person, both.ada)
        person.chain_head, person.state = first.hash, PersonState.SUBSCRIBED
        assert (
            merge_unsubscribe_log(
                session, unsubscribe_log, keys, forget_elsewhere=erase_from_deliveries, now=NOW
            ).departed["left"]
            == 1
        )
    assert state_of(both) == PersonState.WITHDRAWN


@pytest.mark.parametrize("repeated", [1, 2])
@pytest.mark.parametrize(
    ("minutes", "left"), [((0, 60, 30), 1), ((0, -30, 30), 1), ((0, -30), 1), ((0, 60), 0), ((0, 0), 0)]
)
def test_only_a_departure_before_it_in_the_log_and_in_time_is_taken_back(
    both: Any, minutes: tuple[int, ...], left: int, repeated: int
) -> None:
    """The clock may have been set back meanwhile, and a joined log has lines twice."""
    unsubscribe_log = UnsubscribeLog(both.install.settings.left_log, both.install.keys)
    kinds: tuple[UnsubscribeLogEntryKind, ...] = ("left", "undone", "left")
    with both.database.write() as session:
        person = session.get_one(Person, both.ada)
        for minute, kind in zip(minutes, kinds, strict=False):
            entry = PendingUnsubscribeLogEntry.of_person(person, kind)
            unsubscribe_log.append(entry, at=NOW + timedelta(hours=1, minutes=minute))
        unsubscribe_log.path.write_bytes(repeated * unsubscribe_log.path.read_bytes())
        merged = merge_unsubscribe_log(
            session, unsubscribe_log, both.install.keys, forget_elsewhere=erase_from_deliveries, now=NOW
        )
    assert merged.departed["left"] == left
    assert state_of(both) == (PersonState.WITHDRAWN if left else PersonState.SUBSCRIBED)
