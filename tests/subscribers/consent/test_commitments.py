"""Each consent is bound to its address, so changes that an intruder makes only in `person` are noticed."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from digest.store.engine import Database
from subscribers.address import read_address
from subscribers.consent import ledger, seals
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto import stored_addresses
from subscribers.crypto.keys import KeyRing
from subscribers.lifecycle import address_change
from subscribers.lifecycle.erasure import erase_person
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.signup import manual_signup
from subscribers.signup.manual_signup import ConsentEvidence
from subscribers.signup.rate_limits import SignupLimits
from subscribers.store import key_rotation, people
from subscribers.store.models import ConsentEvent, ConsentKind, Person
from tests.conftest import forget_nowhere_else
from tests.moments import AFTER_RELEASE as NOW

KEYS = KeyRing.from_seed(b"commitment tests")
YES = ConsentEvidence("Yes.", "1", "en", "hls.today", "form", "eve", NOW, kind=ConsentKind.CONFIRMED)


def _add(database: Database, name: str, keys: KeyRing = KEYS) -> int:
    with database.write() as session:
        return manual_signup.add_subscriber(session, keys, f"{name}@example.org", evidence=YES, now=NOW).number


def _prove(database: Database, keys: KeyRing = KEYS) -> seals.LedgerProof:
    with database.read() as session:
        return seals.verify_ledger(session, keys)


def _faults(database: Database) -> dict[int, str]:
    return {at_fault.person: at_fault.fault for at_fault in _prove(database).address_faults}


def _values(database: Database, number: int) -> dict[str, Any]:
    with database.read() as session:
        person = session.get_one(Person, number)
        return {name: getattr(person, name) for name in ("ciphertext", "key_id", "salt", "lookup", "lookup_key")}


def _encrypted(number: int, name: str) -> dict[str, Any]:
    """Give what an intruder with the vault's key would write: a stranger's address, encrypted for somebody's row."""
    ciphertext, key_id = stored_addresses.encrypt_address(KEYS, read_address(f"{name}@example.org"), number)
    return {"ciphertext": ciphertext, "key_id": key_id}


def _lookup(name: str) -> dict[str, Any]:
    return {"lookup": stored_addresses.make_lookup_hash(KEYS, read_address(f"{name}@example.org"))}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda _, bo: {"ciphertext": bo["ciphertext"]}, "the address can't be decrypted"),
        (lambda ada, _: _encrypted(ada, "mallory"), "the address doesn't match the record"),
        (lambda ada, _: _encrypted(ada, "mallory") | _lookup("mallory"), "the address doesn't match the record"),
        (
            lambda ada, _: _encrypted(ada, "mallory") | _lookup("mallory") | {"salt": b"s" * 16},
            "the address doesn't match the record",
        ),
        (lambda ada, _: _encrypted(ada, "mallory") | {"salt": None}, "the address has no salt"),
        (lambda _, bo: {"salt": bo["salt"]}, "the address doesn't match the record"),
        (lambda _, __: {"salt": None}, "the address has no salt"),
        (lambda _, __: _lookup("mallory"), "the lookup hash doesn't match the address"),
        (lambda _, __: {"lookup": None}, "the lookup hash doesn't match the address"),
        (lambda _, __: {"ciphertext": None}, "the address of an active subscriber is missing"),
        (lambda _, __: {"ciphertext": b"\x07" * 60}, "the address can't be decrypted"),
        (lambda _, __: {"ciphertext": b""}, "the address can't be decrypted"),
        (lambda _, __: {"key_id": "9-unknown"}, "the address can't be decrypted"),
    ],
)
def test_one_update_of_a_person_is_noticed(database: Database, change: Any, fault: str) -> None:
    ada, bo = _add(database, "ada"), _add(database, "bo")
    assert _prove(database).sound
    changed = change(ada, _values(database, bo))
    with database.write() as session:
        session.execute(update(Person).where(Person.number == ada).values(changed))
    assert _faults(database) == {ada: fault}
    assert not _prove(database).sound


def test_what_was_swapped_in_does_not_enter_the_chain_by_a_later_event(database: Database, tmp_path: Path) -> None:
    ada = _add(database, "ada")
    with database.write() as session:
        session.execute(update(Person).values(_encrypted(ada, "mallory") | _lookup("mallory")))
    with database.write() as session:
        unsubscribe_person(session, UnsubscribeLog(tmp_path / "left.log", KEYS), ada, method="page", now=NOW)
    assert _faults(database) == {ada: "the address doesn't match the record"}


def test_a_link_that_speaks_of_another_address_of_a_sudden_is_noticed(database: Database) -> None:
    ada = _add(database, "ada")
    with database.write() as session:
        person = ledger.lock_person(session, ada)
        assert person is not None
        mallory = read_address("mallory@example.org")
        people.encrypt_person_address(KEYS, person, mallory)
        person.lookup = stored_addresses.make_lookup_hash(KEYS, mallory)
        commitment = people.make_person_address_commitment(KEYS, person, mallory)
        ledger.append_event(session, person, ConsentKind.CHOICES_CHANGED, {}, NOW, commitment=commitment)
    broken = _prove(database).broken
    assert broken is not None
    assert (broken.person, broken.seq, broken.fault) == (
        ada,
        2,
        "the event is about a different address from the one before it",
    )


def test_who_moves_is_bound_to_the_new_address(database: Database, tmp_path: Path) -> None:
    database.row_keys.find = lambda: KEYS
    ada, queued = _add(database, "ada"), []
    before = _values(database, ada)
    with database.write() as session:
        new = read_address("Ada.New@example.org")
        address_change.request_address_change(
            session, KEYS, ada, new, lambda _, request: queued.append(request), SignupLimits(), now=NOW
        )
    token = queued[-1].context["token"]
    with database.write() as session:
        log = UnsubscribeLog(tmp_path / "left.log", KEYS)
        address_change.confirm_address_change(session, KEYS, log, token, now=NOW + timedelta(hours=1))
    assert _prove(database).sound
    with database.read() as session:
        first, moved = session.scalars(select(ConsentEvent).order_by(ConsentEvent.seq))
    assert moved.kind is ConsentKind.ADDRESS_CHANGED
    assert first.commitment != moved.commitment
    with database.write() as session:  # the row as a backup of before has it
        session.execute(update(Person).values(before))
    assert _faults(database) == {ada: "the address doesn't match the record"}


def test_commitments_hold_over_rotations_of_every_key(one_database: Database, tmp_path: Path) -> None:
    KeyRing.create(path := tmp_path / "keys.json")
    ada = _add(one_database, "ada", KeyRing.load(path))
    for kind in ("commitment", "vault", "lookup", "suppression"):
        key_rotation.rotate_key(one_database, path, kind)
    keys = KeyRing.load(path)
    bo = _add(one_database, "bo", keys)
    assert (bo, _prove(one_database, keys).sound) == (ada + 1, True)


def test_an_erased_person_leaves_a_chain_that_verifies_and_ties_to_no_address(
    database: Database, tmp_path: Path
) -> None:
    ada = _add(database, "ada")
    with database.write() as session:
        log = UnsubscribeLog(tmp_path / "left.log", KEYS)
        erase_person(session, KEYS, log, ada, method="page", forget_elsewhere=forget_nowhere_else, now=NOW)
    assert _prove(database).sound
    assert _values(database, ada)["salt"] is None
    with database.read() as session:
        commitments = session.scalars(select(ConsentEvent.commitment)).all()
    assert len(commitments) == 2
    assert commitments[0] == commitments[1] is not None
