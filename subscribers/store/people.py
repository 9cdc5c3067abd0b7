"""The rows of people, found by a keyed hash of the address, created with an encrypted address, and cleared."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from subscribers.address import Address, read_address
from subscribers.crypto.keys import DecryptionError, KeyFileError, KeyRing
from subscribers.crypto.stored_addresses import (
    compute_address_commitment,
    decrypt_address,
    encrypt_address,
    generate_address_salt,
    make_domain_tag,
    make_lookup_hash,
    matches_lookup,
)
from subscribers.loggers import get_logger
from subscribers.store.models import ConsentEvent, Person, PersonState

log = get_logger("people")


def find_person_number(session: Session, keys: KeyRing, address: Address) -> int | None:
    """Return the number of the person with an address, found with any lookup key, or None."""
    query = select(Person.number).where(Person.lookup.in_(list_lookup_hashes(keys, address))).limit(1)
    return session.scalar(query)


def list_lookup_hashes(keys: KeyRing, address: Address) -> list[str]:
    """Return an address's lookup hashes, one for each lookup key."""
    return [make_lookup_hash(keys, address, key_id=key.id) for key in keys.of_kind("lookup")]


def find_person_numbers(
    session: Session,
    keys: KeyRing,
    addresses: Collection[Address],
) -> dict[str, int]:
    """Return the numbers of the people who have these addresses (at most 1,000), by canonical address."""
    hashes = {
        make_lookup_hash(keys, a, key_id=key.id): a.canonical for key in keys.of_kind("lookup") for a in addresses
    }
    query = select(Person.lookup, Person.number).where(Person.lookup.in_(hashes))
    rows = session.execute(query)
    return {hashes[row.lookup]: row.number for row in rows}


def create_person(
    session: Session,
    keys: KeyRing,
    address: Address,
    *,
    asked_at: datetime,
    asked_where: str,
) -> Person:
    """Create a person who has signed up but not consented.

    The caller appends the event.

    Raises:
        sqlalchemy.exc.IntegrityError: another process added the address at the same moment.
    """
    person = Person(
        lookup=make_lookup_hash(keys, address),
        lookup_key=keys.current("lookup").id,
        state=PersonState.REQUESTED,
        choices={},
        chain_head="",
        asked_at=asked_at,
        asked_where=asked_where,
    )
    session.add(person)
    # The flush assigns the number that the ciphertext is bound to.
    session.flush()
    encrypt_person_address(keys, person, address)
    return person


def encrypt_person_address(keys: KeyRing, person: Person, address: Address) -> None:
    """Encrypt an address into a person's row.

    The lookup hash doesn't change. The caller appends an event with the commitment to the address
    (`make_person_address_commitment`).
    """
    person.salt = person.salt or generate_address_salt()
    person.ciphertext, person.key_id = encrypt_address(keys, address, person.number)
    person.domain_tag = make_domain_tag(keys, address)


def make_person_address_commitment(keys: KeyRing, person: Person, address: Address) -> str:
    """Return the commitment for the first event that concerns a person's address.

    Later events repeat it.
    """
    assert person.salt is not None, "encrypt_person_address gave one"
    return compute_address_commitment(keys.current("commitment"), address.mailbox, person.salt)


def decrypt_person_address(keys: KeyRing, person: Person) -> Address | None:
    """Return a person's address, or None if the row has none.

    If the row is damaged, because the address can't be decrypted or doesn't match the lookup hash,
    this is logged, and None is returned.

    Raises:
        KeyFileError: its key isn't in the key file.
    """
    if person.ciphertext is None or person.key_id is None:
        return None
    try:
        mailbox = decrypt_address(keys, (person.ciphertext, person.key_id), person.number)
    except DecryptionError:
        mailbox = None
    if mailbox is None or not matches_lookup(keys, mailbox, person.lookup, person.lookup_key):
        log.error("an address can't be decrypted", person=person.number)
        return None
    return read_address(mailbox)


def read_address_matching_commitment(session: Session, keys: KeyRing, person: Person) -> Address | None:
    """Return a person's address if it matches their chain, or None if it doesn't.

    Use this before emailing or showing anything.
    """
    return read_addresses_matching_commitments(session, keys, [person])[person.number]


def read_addresses_matching_commitments(
    session: Session, keys: KeyRing, people: Collection[Person]
) -> dict[int, Address | None]:
    """Return people's addresses (at most 1,000), by number, like `read_address_matching_commitment` for one person."""
    numbers = [person.number for person in people]
    commitments = select(ConsentEvent.person, ConsentEvent.commitment).where(ConsentEvent.person.in_(numbers))
    newest = {row.person: row.commitment for row in session.execute(commitments.order_by(ConsentEvent.seq))}
    return {person.number: _read_committed_address(keys, person, newest.get(person.number)) for person in people}


def _read_committed_address(keys: KeyRing, person: Person, commitment: str | None) -> Address | None:
    try:
        address = decrypt_person_address(keys, person)
    # The key file was checked when it was opened, so this row is damaged.
    except KeyFileError:
        log.error("an address can't be decrypted", person=person.number)  # noqa: TRY400 - no trace needed
        return None
    if address is None:
        return None
    salt = person.salt or b""
    if commitment and commitment not in [
        compute_address_commitment(k, address.mailbox, salt) for k in keys.of_kind("commitment")
    ]:
        log.error("an address doesn't match the record", person=person.number)
        return None
    return address


# The columns that identify a person, grouped by when they're kept. All of them are cleared when a
# person is emptied.
_ADDRESS_COLUMNS: dict[str, Any] = {"ciphertext": None, "key_id": None, "domain_tag": None}
_LOOKUP_COLUMNS: dict[str, Any] = {"lookup": None, "lookup_key": None}
_RETURN_COLUMNS: dict[str, Any] = {"choices": {}, "salt": None}


def clear_personal_data(
    session: Session, numbers: Collection[int], *, keep_lookup: bool = False, keep_preferences: bool = False
) -> None:
    """Clear the columns that identify people (at most 1,000).

    The rows and their chains are kept. `keep_lookup` keeps the keyed hash, so that a new sign-up
    finds their history and imports are blocked. `keep_preferences` keeps their preferences, in case
    they return, and the salt of their chain's commitments.
    """
    columns = _ADDRESS_COLUMNS if keep_lookup else _ADDRESS_COLUMNS | _LOOKUP_COLUMNS
    if not keep_preferences:
        columns = columns | _RETURN_COLUMNS
    change = update(Person).where(Person.number.in_(numbers)).values(columns)
    session.execute(change)
