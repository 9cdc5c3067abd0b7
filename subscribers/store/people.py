"""Rows of people: found by a keyed hash of the address, made with the address sealed."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from subscribers.address import Address
from subscribers.crypto.keys import KeyRing, domain_tag, encrypt_address, lookup_hash
from subscribers.store.models import Person, PersonState


def find_person_number(session: Session, keys: KeyRing, address: Address) -> int | None:
    """Find the person behind an address, by whichever look-up key their row was made with."""
    hashes = [lookup_hash(keys, address, key_id=key.id) for key in keys.of_kind("lookup")]
    return session.scalar(select(Person.number).where(Person.lookup.in_(hashes)).limit(1))


def find_person_numbers(session: Session, keys: KeyRing, addresses: Collection[Address]) -> dict[str, int]:
    """Find the people behind some addresses (at most 1,000): canonical address → number, for those that are known."""
    hashes = {lookup_hash(keys, a, key_id=key.id): a.canonical for key in keys.of_kind("lookup") for a in addresses}
    found = session.execute(select(Person.lookup, Person.number).where(Person.lookup.in_(hashes)))
    return {hashes[row.lookup]: row.number for row in found}


def create_person(session: Session, keys: KeyRing, address: Address, *, asked_at: datetime, asked_where: str) -> Person:
    """Make a person who has asked and not yet consented; the ledger says what follows.

    Raises:
        sqlalchemy.exc.IntegrityError: somebody else added the address in this very moment.
    """
    person = Person(
        lookup=lookup_hash(keys, address),
        lookup_key=keys.current("lookup").id,
        domain_tag=domain_tag(keys, address),
        state=PersonState.REQUESTED,
        choices={},
        chain_head="",
        asked_at=asked_at,
        asked_where=asked_where,
    )
    session.add(person)
    session.flush()  # gives the number, which the ciphertext is bound to
    person.ciphertext, person.key_id = encrypt_address(keys, address, person.number)
    return person
