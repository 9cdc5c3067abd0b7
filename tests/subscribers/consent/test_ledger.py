from datetime import timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, select, update

from digest.store.engine import Database
from subscribers.address import read_address
from subscribers.consent import ledger, seals
from subscribers.crypto.keys import KeyRing
from subscribers.store import people
from subscribers.store.models import ConsentEvent, ConsentKind, Person, PersonState
from tests.moments import BETWEEN_SECONDS as NOON

KEYS = KeyRing.from_seed(b"ledger tests")


def _chain(database: Database, name: str, kinds: list[ConsentKind]) -> int:
    with database.write() as session:
        address = read_address(f"{name}@example.org")
        person = people.create_person(session, KEYS, address, asked_at=NOON, asked_where="hls.today")
        commitment = people.make_person_address_commitment(KEYS, person, address)
        for place, kind in enumerate(kinds):
            at = NOON + timedelta(hours=place)
            ledger.append_event(session, person, kind, {"n": place, "text": "\u00e9 yes"}, at, commitment=commitment)
            commitment = ""
        return person.number


def _verify(database: Database) -> seals.LedgerProof:
    with database.read() as session:
        return seals.verify_ledger(session, KEYS)


def test_a_chain_verifies_and_brings_the_state_along(database: Database) -> None:
    ada = _chain(database, "ada", [ConsentKind.REQUESTED, ConsentKind.CONFIRMED, ConsentKind.WITHDRAWN])
    bo = _chain(database, "bo", [ConsentKind.ATTESTED, ConsentKind.CHOICES_CHANGED])
    assert _verify(database) == seals.LedgerProof(people=2, links=5, seals=0, suppressions=0, broken=None, fault="")
    with database.read() as session:
        states = {p.number: p.state for p in session.scalars(select(Person))}
        events = session.scalars(select(ConsentEvent).where(ConsentEvent.person == ada)).all()
    assert states == {ada: PersonState.WITHDRAWN, bo: PersonState.SUBSCRIBED}
    assert [e.seq for e in events] == [1, 2, 3]
    assert events[0].at == NOON.replace(microsecond=123000)


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"body": '{"n":1}'}, "content"),
        ({"kind": ConsentKind.IMPORTED}, "content"),
        ({"at": NOON}, "content"),
        ({"hash": "0" * 64}, "content"),
        ({"previous": "0" * 64}, "doesn't match the one before it"),
    ],
)
def test_whatever_is_changed_in_a_link_is_found_at_that_link(
    database: Database, changed: dict[str, object], fault: str
) -> None:
    _chain(database, "ada", [ConsentKind.REQUESTED, ConsentKind.CONFIRMED])
    bo = _chain(database, "bo", [ConsentKind.REQUESTED, ConsentKind.CONFIRMED, ConsentKind.CHOICES_CHANGED])
    with database.write() as session:
        session.execute(update(ConsentEvent).where(ConsentEvent.person == bo, ConsentEvent.seq == 2).values(**changed))
    broken = _verify(database).broken
    assert broken is not None
    assert (broken.person, broken.seq) == (bo, 2)
    assert fault in broken.fault


@pytest.mark.parametrize("seq", [1, 2, 3])
def test_a_removed_link_is_found(database: Database, seq: int) -> None:
    ada = _chain(database, "ada", [ConsentKind.REQUESTED, ConsentKind.CONFIRMED, ConsentKind.CHOICES_CHANGED])
    with database.write() as session:
        session.execute(delete(ConsentEvent).where(ConsentEvent.seq == seq))
    broken = _verify(database).broken
    assert broken is not None
    assert broken.person == ada


def test_a_state_that_the_chain_does_not_give_is_found(database: Database) -> None:
    ada = _chain(database, "ada", [ConsentKind.CONFIRMED, ConsentKind.WITHDRAWN])
    with database.write() as session:
        session.execute(update(Person).values(state=PersonState.SUBSCRIBED))
    broken = _verify(database).broken
    assert broken is not None
    assert (broken.person, broken.fault) == (ada, "the state is withdrawn in the record but subscribed in the row")


def test_a_forged_link_at_the_end_is_found(one_database: Database) -> None:
    ada = _chain(one_database, "ada", [ConsentKind.CONFIRMED, ConsentKind.WITHDRAWN])
    with one_database.write() as session:
        last = session.scalars(select(ConsentEvent).where(ConsentEvent.seq == 2)).one()
        forged = ConsentEvent(
            person=ada,
            seq=3,
            kind=ConsentKind.UNDONE,
            at=ledger.truncate_to_millisecond(NOON),
            body="{}",
            previous=last.hash,
            commitment=last.commitment,
            hash="",
        )
        forged.hash = ledger.hash_chain_link(
            forged.person,
            forged.seq,
            forged.kind,
            forged.at,
            body=forged.body,
            previous=forged.previous,
            commitment=last.commitment,
        )
        session.add(forged)
    broken = _verify(one_database).broken
    assert broken is not None
    assert "in the subscriber's row" in broken.fault


def test_a_moment_reads_the_same_whichever_zone_it_is_given_in() -> None:
    elsewhere = NOON.astimezone(timezone(timedelta(hours=-5)))
    assert ledger.format_ledger_time(elsewhere) == ledger.format_ledger_time(NOON)


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.booleans(), max_size=5))
def test_canonical_json_does_not_depend_on_the_order_of_its_keys(body: dict[str, object]) -> None:
    turned = dict(reversed(list(body.items())))
    assert ledger.encode_canonical_json(body) == ledger.encode_canonical_json(turned)


@given(st.lists(st.sampled_from(list(ConsentKind)), max_size=12))
def test_only_a_grant_after_everything_else_lets_a_person_be_mailed(kinds: list[ConsentKind]) -> None:
    state = PersonState.REQUESTED
    for kind in kinds:
        state = ledger.find_next_person_state(state, kind)
    # What decides for everybody, and a word that an abandoned import takes back.
    moving = [
        k
        for k in kinds
        if k is ConsentKind.EXPIRED or len({ledger.find_next_person_state(before, k) for before in PersonState}) == 1
    ]
    assert (state is PersonState.SUBSCRIBED) == bool(moving and moving[-1] in ledger.GRANT_KINDS)


@pytest.mark.parametrize(
    ("kinds", "began"),
    [
        ("requested", None),
        ("requested confirmed choices_changed", 1),
        ("requested confirmed address_changed confirmed", 1),
        ("requested confirmed withdrawn", 2),
        ("requested confirmed withdrawn restored", 1),
        ("requested confirmed withdrawn undone withdrawn withdrawn_again", 4),
        ("requested confirmed withdrawn requested confirmed", 4),
        ("listed re_asked confirmed", 2),
    ],
)
def test_a_corrected_address_or_an_undone_unsubscribe_continues_a_subscription(kinds: str, began: int | None) -> None:
    events = [(ConsentKind[kind.upper()], NOON + timedelta(hours=n)) for n, kind in enumerate(kinds.split())]
    assert ledger.find_state_start(events) == (None if began is None else NOON + timedelta(hours=began))
