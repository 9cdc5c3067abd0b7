"""Stopping an address change: by a link to the old address, before the new one is confirmed and for seven days after."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Any

import pytest
from sqlalchemy import select, update

from digest.app.sending import background_tasks
from digest.deliver.retention.delivery_disclosures import erase_from_deliveries
from subscribers.address import read_address
from subscribers.consent.evidence import RequestOrigin
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.lifecycle.expiry import expire_unconfirmed_requests
from subscribers.lifecycle.unsubscribe_log_merge import merge_unsubscribe_log
from subscribers.signup.confirmation import confirm_subscription
from subscribers.signup.manual_signup import add_subscriber
from subscribers.store import one_time_tokens, people
from subscribers.store.models import Base, ConsentEvent, ConsentKind, Person, PersonState
from subscribers.store.signup_models import StoredAddressChange
from subscribers.subscriber_language import ENGLISH
from tests.moments import DRAFTING as NOW
from tests.sent_emails import plain_text
from tests.subscribers.pages.test_my_data import ADA, Inbox, at
from tests.web.conftest import sample_evidence

THIEF, OTHER = "thief@elsewhere.example", "other@elsewhere.example"
STOP = re.compile(r"/address/stop/[\w-]{22}")
MOVE = re.compile(r"/address/[\w-]{22}\b")
DAY = timedelta(days=1)


@dataclass
class Hijacker:
    """Somebody who holds the link to Ada's data, with all that was emailed because of them."""

    world: Any
    inbox: Inbox
    secret: str

    def request(self, address: str, now: datetime = NOW) -> dict[str, str]:
        """Request a change; give the link in each email, by its recipient."""
        answer = at(self.world, now).post(f"/my-data/{self.secret}/address", data={"email": address})
        assert answer.status_code == 200
        return {str(mail["To"]): read_link(mail) for mail in self.inbox.new(now)}

    def change(self, address: str, now: datetime = NOW) -> str:
        """Change the address, as its new owner confirms; give the link that stops it."""
        links = self.request(address, now)
        assert "Your address has changed" in at(self.world, now).post(links.pop(address)).text
        (stop,) = links.values()
        return stop

    def renew_data_link(self, now: datetime = NOW) -> None:
        """Have another link to the data."""
        with self.world.database.write() as session:
            self.secret = one_time_tokens.issue_token(session, "my data", self.world.ada, now=now, expires_at=now + DAY)

    def press(self, link: str, now: datetime = NOW) -> Any:
        """Press the button of a link's page."""
        return at(self.world, now).post(link)


def read_link(mail: EmailMessage) -> str:
    match = STOP.search(plain_text(mail)) or MOVE.search(plain_text(mail))
    assert match, "each of these emails has its link"
    return match[0]


@pytest.fixture
def thief(both: Any) -> Hijacker:
    hijacker = Hijacker(both, Inbox(both), "")
    hijacker.renew_data_link()
    return hijacker


def address_of(world: Any, number: int = 0) -> str:
    with world.database.read() as session:
        address = people.decrypt_person_address(world.install.keys, session.get_one(Person, number or world.ada))
        return address.mailbox if address else ""


def state_of(world: Any) -> PersonState:
    with world.database.read() as session:
        state: PersonState = session.get_one(Person, world.ada).state
        return state


def kinds_in_log(world: Any) -> list[str]:
    return [entry.kind for entry in UnsubscribeLog(world.install.settings.left_log, world.install.keys).read()]


def count_changes(world: Any) -> int:
    with world.database.read() as session:
        return len(session.scalars(select(StoredAddressChange)).all())


def test_before_the_confirmation_the_link_cancels_the_change(thief: Hijacker) -> None:
    world = thief.world
    links = thief.request(THIEF)
    before = world.dump()
    page = world.client.get(links[ADA])
    assert page.status_code == 200
    assert "to a new address, t•••@elsewhere.example, instead of this one, a•••@analytical.example." in page.text
    assert page.text.count("<button") == 1
    assert world.dump() == before
    stopped, again = world.client.post(links[ADA]), world.client.post(links[ADA])  # twice is once
    assert "Future editions will go to this address, a•••@analytical.example, as before." in stopped.text
    assert "The address change is canceled" in again.text
    assert "Future editions" not in again.text
    assert world.client.post(links[THIEF]).status_code == 410
    assert world.client.get(f"/my-data/{thief.secret}").status_code == 410, "it's the intruder's link"
    assert address_of(world) == ADA
    assert count_changes(world) == 0
    assert kinds_in_log(world) == []


def test_for_seven_days_after_the_confirmation_the_link_puts_the_old_address_back(thief: Hijacker) -> None:
    world = thief.world
    link = thief.change(THIEF)
    later = NOW + 7 * DAY - timedelta(minutes=1)
    before = world.dump()
    page = at(world, later).get(link)
    assert "is now sent to a new address, t•••@elsewhere.example, instead of this one" in page.text
    assert "You can undo it until" in page.text
    assert world.dump() == before
    undone = thief.press(link, later)
    assert "Future editions will go to this address, a•••@analytical.example, again." in undone.text
    assert "The address change is undone" in undone.text
    assert (address_of(world), state_of(world), count_changes(world)) == (ADA, PersonState.SUBSCRIBED, 0)
    assert kinds_in_log(world) == ["left", "undone", "left", "undone"]
    with world.database.read() as session:
        bodies = session.scalars(
            select(ConsentEvent.body).where(ConsentEvent.kind == ConsentKind.ADDRESS_CHANGED).order_by(ConsentEvent.seq)
        ).all()
        assert "link to the old address" in bodies[-1]
        assert len(bodies) == 2
        person = session.get_one(Person, world.ada)
        assert people.read_address_matching_commitment(session, world.install.keys, person) is not None
    preferences = at(world, later).get(f"/preferences/{world.token('preferences')}")
    assert "a•••@analytical.example" in preferences.text


def test_once_undone_no_link_says_that_the_address_changed_or_was_never_changed(thief: Hijacker) -> None:
    world = thief.world
    links = thief.request(THIEF)
    thief.press(links[THIEF])
    thief.press(links[ADA])
    confirmation = world.client.get(links[THIEF])
    assert confirmation.status_code == 410
    assert "the change was stopped or undone" in confirmation.text
    assert "The address change is canceled" in world.client.get(links[ADA]).text


@pytest.mark.parametrize("stage", ["requested", "confirmed"])
def test_the_owner_gets_a_new_data_link_at_once_to_renew_the_others(thief: Hijacker, stage: str) -> None:
    world, page = thief.world, f"/preferences/{thief.world.token('preferences')}/my-data"
    links = thief.request(THIEF)
    if stage == "confirmed":
        thief.press(links[THIEF])
    thief.press(links[ADA])
    assert at(world, NOW).post(page).status_code == 200
    (mail,) = thief.inbox.new(NOW)
    assert "/my-data/" in plain_text(mail)
    assert at(world, NOW).post(page).status_code == 200
    assert thief.inbox.new(NOW) == [], "the new link works"


def test_after_seven_days_the_old_address_is_deleted_and_the_link_is_over(thief: Hijacker) -> None:
    world = thief.world
    link = thief.change(THIEF)
    week = NOW + 7 * DAY
    assert thief.press(link, week).status_code == 410
    expire_unconfirmed_requests(world.database, now=week - timedelta(seconds=1))
    assert count_changes(world) == 1
    expire_unconfirmed_requests(world.database, now=week)
    assert count_changes(world) == 0
    assert address_of(world) == THIEF


def test_a_change_that_is_confirmed_late_can_be_undone_for_seven_days_all_the_same(thief: Hijacker) -> None:
    world = thief.world
    links = thief.request(THIEF)
    confirmed = NOW + 7 * DAY - timedelta(minutes=1)
    assert at(world, confirmed).post(links[THIEF]).status_code == 200
    expire_unconfirmed_requests(world.database, now=confirmed + 6 * DAY)
    assert thief.press(links[ADA], confirmed + 7 * DAY - timedelta(minutes=1)).status_code == 200
    assert address_of(world) == ADA


def test_a_second_change_does_not_shake_off_the_first_owner(thief: Hijacker) -> None:
    world = thief.world
    mine = thief.change(THIEF)
    thief.renew_data_link(NOW + DAY)
    theirs = thief.change(OTHER, NOW + DAY)
    assert thief.press(theirs, NOW + 2 * DAY).status_code == 200, "the thief's first address undoes the second change"
    assert address_of(world) == THIEF
    assert thief.press(mine, NOW + 3 * DAY).status_code == 200
    assert address_of(world) == ADA
    assert thief.press(theirs, NOW + 3 * DAY).status_code in (200, 410)
    assert address_of(world) == ADA
    assert count_changes(world) == 0


def test_undoing_the_first_change_ends_those_after_it(thief: Hijacker) -> None:
    world = thief.world
    mine = thief.change(THIEF)
    thief.renew_data_link(NOW + DAY)
    theirs = thief.change(OTHER, NOW + DAY)
    assert thief.press(mine, NOW + 2 * DAY).status_code == 200
    assert thief.press(theirs, NOW + 2 * DAY).status_code == 410
    assert address_of(world) == ADA


def test_every_email_about_a_request_stops_the_one_that_was_confirmed(thief: Hijacker) -> None:
    world = thief.world
    first = thief.request(THIEF)[ADA]
    thief.change(OTHER, NOW + timedelta(hours=1))
    assert thief.press(first, NOW + DAY).status_code == 200
    assert address_of(world) == ADA
    assert count_changes(world) == 0


def test_a_sign_up_that_nobody_confirmed_does_not_end_the_offer(thief: Hijacker) -> None:
    world = thief.world
    link = thief.change(THIEF)
    sign_up(world)
    assert thief.press(link, NOW + DAY).status_code == 200
    assert address_of(world) == ADA
    assert state_of(world) is PersonState.SUBSCRIBED


def sign_up(world: Any) -> None:
    form = {"email": ADA, "agree": "yes", "wording": "1"}
    assert world.client.post("/subscribe", data=form).status_code in (200, 303)
    background_tasks.process_signup_requests(world.install, clock=lambda: NOW)
    with world.database.read() as session:
        assert session.scalars(select(Person).where(Person.state == PersonState.REQUESTED)).one()


def sign_up_and_confirm(world: Any) -> None:
    sign_up(world)
    with world.database.write() as session:
        asked = session.scalars(select(Person).where(Person.state == PersonState.REQUESTED)).one()
        request = session.scalars(select(ConsentEvent).where(ConsentEvent.person == asked.number)).one()
        token = one_time_tokens.issue_token(
            session, "confirm", asked.number, now=NOW, expires_at=NOW + DAY, serial=str(request.seq)
        )
        confirm_subscription(
            session,
            world.install.keys,
            token,
            origin=RequestOrigin("192.0.2.1", "test"),
            evidence_retention=DAY,
            queue=lambda *_: None,
            language=ENGLISH,
            now=NOW,
        )
    assert count_changes(world) == 0, "the old address is deleted at once"


def add_by_admin(world: Any) -> None:
    with world.database.write() as session:
        add_subscriber(session, world.install.keys, ADA, evidence=sample_evidence(), now=NOW)


def leave(world: Any) -> None:
    world.client.post(f"/u/{world.token('leave')}")


def erase(world: Any) -> None:
    with world.database.write() as session:
        token = one_time_tokens.issue_token(session, "my data", world.ada, now=NOW, expires_at=NOW + DAY)
    assert "We’ve erased your data" in world.client.post(f"/my-data/{token}/erase").text
    assert count_changes(world) == 0, "the old address is deleted at once"


def forge(world: Any) -> None:
    """Lend the number to another row, as somebody who can write to the database might."""
    with world.database.write() as session:
        bo = add_subscriber(session, world.install.keys, "bo@county.example", evidence=sample_evidence(), now=NOW)
        session.execute(update(StoredAddressChange).values(person=bo.number))


@pytest.mark.parametrize(
    ("meanwhile", "status", "words"),
    [
        (sign_up_and_confirm, 410, "This link has expired"),
        (add_by_admin, 409, "has been subscribed again"),
        (leave, 410, "the new address has unsubscribed"),
        (erase, 410, "Your data has been erased"),
        (forge, 410, "This link has expired"),
    ],
)
def test_what_ends_the_offer(thief: Hijacker, meanwhile: Callable[[Any], None], status: int, words: str) -> None:
    world = thief.world
    link = thief.change(THIEF)
    meanwhile(world)
    before, logged = world.dump(), kinds_in_log(world)
    for method in ("GET", "POST"):
        answer = world.client.open(link, method=method)
        assert answer.status_code == status
        assert words in answer.text
    assert (world.dump(), kinds_in_log(world)) == (before, logged)


def test_a_link_of_nobody_is_unknown(thief: Hijacker) -> None:
    link = thief.change(THIEF)
    for method in ("GET", "POST"):
        assert thief.world.client.open(link[:-22] + link[-22:][::-1], method=method).status_code == 404


def copy_rows(world: Any) -> Mapping[str, list[dict[str, Any]]]:
    with world.database.read() as session:
        return {
            table.name: [dict(row) for row in session.execute(select(table)).mappings()]
            for table in Base.metadata.sorted_tables
            if table.name in {"person", "consent_event"}
        }


def restore_rows(world: Any, rows: Mapping[str, list[dict[str, Any]]]) -> None:
    with world.database.write() as session:
        person, event = (Base.metadata.tables[name] for name in ("person", "consent_event"))
        session.execute(event.delete().where(event.c.id.not_in([row["id"] for row in rows["consent_event"]])))
        for row in rows["person"]:
            session.execute(person.update().where(person.c.number == row["number"]).values(row))


def test_a_copy_from_before_the_change_agrees_once_it_is_restored(thief: Hijacker) -> None:
    world = thief.world
    copy = copy_rows(world)
    link = thief.change(THIEF)
    assert thief.press(link, NOW + DAY).status_code == 200
    restore_rows(world, copy)
    with world.database.write() as session:
        merge_unsubscribe_log(
            session,
            UnsubscribeLog(world.install.settings.left_log, world.install.keys),
            world.install.keys,
            forget_elsewhere=erase_from_deliveries,
            now=NOW + 2 * DAY,
        )
    assert (address_of(world), state_of(world)) == (ADA, PersonState.SUBSCRIBED)


def test_no_email_follows_and_the_database_holds_no_address(thief: Hijacker) -> None:
    link = thief.change(THIEF)
    assert "elsewhere" not in repr(thief.world.dump())
    assert "lovelace" not in repr(thief.world.dump())
    thief.press(link)
    assert thief.inbox.new(NOW + DAY) == []
    assert read_address(ADA).mailbox == address_of(thief.world)
