"""A subscriber who can write to the database assigns themselves another's number, has links emailed, and restores everything."""

import re
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, text, update

from subscribers.address import read_address
from subscribers.consent import audience
from subscribers.crypto.keys import DecryptionError
from subscribers.crypto.stored_addresses import encrypt_address, make_lookup_hash
from subscribers.lifecycle import my_data
from subscribers.store.models import ConsentEvent, Person, PersonState, table_of
from subscribers.store.people import make_person_address_commitment
from subscribers.store.signup_models import OneTimeToken
from tests.moments import DRAFTING as NOW
from tests.sent_emails import plain_text
from tests.subscribers.pages.test_my_data import ADA, Inbox, ask, secret_of
from tests.subscribers.pages.test_signup import answered, form_for

EVE = "eve.dropper@elsewhere.example"
PERSON, EVENT = table_of(Person), table_of(ConsentEvent)


class Lender:
    """Eve, who can write rows but has no key; her emails arrive."""

    def __init__(self, world: Any) -> None:
        self.world, self.inbox = world, Inbox(world)
        self.saved, self.chain = self.read(world.ada), self.read_chain()

    def read(self, number: int) -> dict[str, Any]:
        with self.world.database.engine.connect() as connection:
            return dict(connection.execute(select(PERSON).where(PERSON.c.number == number)).mappings().one())

    def write(self, number: int, /, **values: Any) -> None:
        with self.world.database.engine.begin() as connection:
            connection.execute(update(PERSON).where(PERSON.c.number == number).values(**values))

    def read_chain(self) -> list[dict[str, Any]]:
        with self.world.database.engine.connect() as connection:
            rows = connection.execute(select(EVENT).where(EVENT.c.person == self.world.ada)).mappings()
            return [dict(row) for row in rows]

    def write_chain(self, chain: list[dict[str, Any]]) -> None:
        with self.world.database.engine.begin() as connection:
            connection.execute(text("DELETE FROM consent_trace"))
            connection.execute(delete(EVENT).where(EVENT.c.person == self.world.ada))
            connection.execute(insert(EVENT), chain)

    def find_eve(self) -> int | None:
        with self.world.database.read() as session:
            lookup = make_lookup_hash(self.world.install.keys, EVE)
            number: int | None = session.scalar(select(Person.number).where(Person.lookup == lookup))
            return number

    def subscribe(self) -> None:
        self.world.client.post("/subscribe", data=form_for(EVE))
        answered(self.world)
        (mail,) = self.inbox.new()
        (link,) = set(re.findall(r"/confirm/[\w-]{22}", plain_text(mail)))
        assert self.world.client.post(link).status_code == 200
        self.inbox.new()

    def take_number(self) -> None:
        """Make Ada's row one that Eve has left, and sign up again: the product encrypts Eve's address for Ada's number."""
        self.subscribe()
        own = self.find_eve()
        assert own is not None
        row = self.read(own)
        self.write(own, lookup=None)
        self.write(
            self.world.ada,
            lookup=row["lookup"],
            ciphertext=None,
            key_id=None,
            salt=self.saved["salt"],
            state=PersonState.WITHDRAWN,
        )
        with self.world.database.engine.begin() as connection:
            connection.execute(text("DELETE FROM signup_mail"))
        self.subscribe()
        assert self.find_eve() == self.world.ada

    def put_back(self) -> None:
        self.write(self.world.ada, **self.saved)
        self.write_chain(self.chain)

    def have_mailed(self, page: str, kind: str) -> str:
        self.world.client.post(page, data={"email": EVE})
        answered(self.world)
        (link,) = {
            found for mail in self.inbox.new() for found in re.findall(rf"/{kind}/[\w-]{{22}}", plain_text(mail))
        }
        return str(link)


@pytest.fixture
def lender(both: Any) -> Lender:
    return Lender(both)


def test_links_to_a_lent_number_open_nothing_of_its_owner(lender: Lender) -> None:
    world = lender.world
    lender.take_number()
    preferences = lender.have_mailed("/preferences", "preferences")
    assert world.client.get(preferences).status_code == 200, "it's Eve's own address now"
    data = lender.have_mailed(f"{preferences}/my-data", "my-data")
    assert EVE in world.client.post(f"{data}/record").text
    lender.put_back()
    assert ADA.partition("@")[2] in world.client.get(f"/preferences/{world.token('preferences')}").text
    before = world.dump()
    for path in (data, f"{data}/erase"):
        assert world.client.get(path).status_code == 404
    for path in ("record", "download", "erase", "renew-links", "address"):
        answer = world.client.post(f"{data}/{path}", data={"email": EVE})
        assert answer.status_code == 404
        assert "analytical.example" not in answer.text
    form = {"section": "events", "length": "4w"}
    for answer in (world.client.get(preferences), world.client.post(preferences, data=form)):
        assert answer.status_code == 410
        assert "analytical.example" not in answer.text
    page = world.client.get(preferences).text
    assert world.client.post(f"{preferences}/my-data").status_code == 410
    (leave,) = set(re.findall(r"/u/[\w-]{22}", page))
    assert "Pause instead" not in world.client.get(leave).text
    world.client.post(f"{leave}/pause", data=form)
    assert world.dump() == before


def test_a_link_that_waits_for_its_owner_is_not_emailed_to_a_lender(lender: Lender) -> None:
    world = lender.world
    lender.take_number()
    lent, chain = lender.read(world.ada), lender.read_chain()
    lender.put_back()
    assert ask(world).status_code == 200
    lender.write(world.ada, **lent)
    lender.write_chain(chain)
    assert lender.inbox.new() == []
    lender.put_back()
    with world.database.read() as session:
        assert session.scalars(select(OneTimeToken).where(OneTimeToken.purpose == "my data")).one().ended_at is None


def test_a_row_put_together_from_two_gets_no_link_and_no_edition(lender: Lender) -> None:
    """Eve's address under Ada's lookup, or beside Ada's record: the parts don't belong together."""
    world, keys = lender.world, lender.world.install.keys
    lender.take_number()
    lent = lender.read(world.ada)
    lender.put_back()
    for columns in (("ciphertext", "key_id"), ("ciphertext", "key_id", "lookup")):
        lender.write(world.ada, **{name: lent[name] for name in columns}, salt=b"another" * 2)
        with world.database.write() as session:
            my_data.request_data_link(session, world.ada, lambda *_: None, now=NOW)
            token = session.scalars(select(OneTimeToken).where(OneTimeToken.purpose == "my data")).one()
            assert token.bound_to == ""
            session.rollback()
        ask(world)
        assert lender.inbox.new() == []
        lender.put_back()
    lender.write(world.ada, lookup="0" * 64)
    with world.database.read() as session:
        (member,) = [each for each in audience.load_audience_page(session) if each.number == world.ada]
        with pytest.raises(DecryptionError, match="lookup hash"):
            member.decrypt_address(keys)


def test_an_address_that_is_typed_otherwise_keeps_its_links(both: Any) -> None:
    """Lookups don't tell Ada from ada, and neither do links."""
    preferences, keys = f"/preferences/{both.token('preferences')}", both.install.keys
    ask(both)
    (mail,) = Inbox(both).new()
    with both.database.write() as session:
        person = session.get_one(Person, both.ada)
        typed = read_address(ADA.title())
        person.ciphertext, person.key_id = encrypt_address(keys, typed, both.ada)
        session.execute(update(ConsentEvent).values(commitment=make_person_address_commitment(keys, person, typed)))
    assert both.client.get(preferences).status_code == 200
    assert both.client.get(f"/my-data/{secret_of(mail)}").status_code == 200
