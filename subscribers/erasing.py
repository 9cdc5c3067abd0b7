"""Erasing: the address goes for good, with all that leads to it; what keeps it from coming back stays.

One way for everybody who may wish it: the person's own page, an admin's hand, a journal after a restore.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from subscribers import ledger, onetime, requests, suppression, traces
from subscribers.addresses import Address, read_address
from subscribers.db import ConsentKind, Disclosure, DisclosureTotal, Person, PersonState, Suppression
from subscribers.journal import Journal
from subscribers.signup_db import AddressMove
from subscribers.vault import Keys, open_, suppression_hash

Forget = Callable[[Session, int, Address | None], None]
"""Lets go of a person elsewhere (their mails, a provider), in the same transaction, while the address is still known."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What came of a wish to be erased. `new` is False where the person had been erased before, or is not there."""

    new: bool


def erase(
    session: Session,
    keys: Keys,
    journal: Journal,
    number: int,
    *,
    method: str,
    forget: Forget,
    now: datetime,
    address: Address | None = None,
) -> Erased:
    """Erase a person: all that leads to them goes; their chain, which holds no address, and the suppression hash stay.

    The suppression needs the address once more. It is taken from the vault; where the vault let it go already
    (30 days after leaving) and the caller does not know it either, the look-up hash stays as the bar.

    Args:
        session: inside a write transaction; the caller commits, and answers only after that.
        keys: the keys of the installation.
        journal: the journal of the installation.
        number: the person's number.
        method: how: "page", "admin: reason". No address in it.
        forget: lets go of them where this package does not reach.
        now: the moment.
        address: the person's address, where the caller has it.

    Raises:
        OSError: the journal could not be written.
        VaultError: the sealed address does not open.
    """
    there = session.get(Person, number)
    if there is None or there.state == PersonState.ERASED:
        return Erased(new=False)
    # Mails before people, as events do it (`digest.deliver.events`): in another order the two could wait for each other.
    forget(session, number, _address_of(keys, there) or address)
    person = ledger.hold(session, number)
    if person is None or person.state == PersonState.ERASED:
        return Erased(new=False)
    known = _address_of(keys, person) or address
    if known is not None:
        requests.forget(session, keys, known)
        if suppression.find(session, keys, known) is None:
            key = keys.current("suppression")
            hashed = suppression_hash(key, known)
            session.add(Suppression(hash=hashed, key_id=key.id, reason="erased", at=now))
    ledger.append(session, person, ConsentKind.ERASED, {"method": method}, now)
    if person.lookup and person.lookup_key:
        journal.append(person.lookup, person.lookup_key, kind="erased", at=now)
    _empty(session, person, keep_lookup=known is None, now=now)
    return Erased(new=True)


def _address_of(keys: Keys, person: Person) -> Address | None:
    if person.ciphertext is None or person.key_id is None:
        return None
    return read_address(open_(keys, (person.ciphertext, person.key_id), person.number))


def _empty(session: Session, person: Person, *, keep_lookup: bool, now: datetime) -> None:
    """Take out all that leads to the person. What was disclosed stays countable, and names nobody.

    Links that were mailed keep their hashes for a while, so that their pages can say that all is erased.
    """
    if not keep_lookup:
        person.lookup = person.lookup_key = None
    person.ciphertext = person.key_id = person.domain_tag = None
    person.choices = {}
    onetime.end_all(session, person.number, now=now)
    session.execute(delete(AddressMove).where(AddressMove.person == person.number))
    traces.forget(session, person.number)
    for table in (Disclosure, DisclosureTotal):
        session.execute(update(table).where(table.person == person.number).values(person=None))
    session.flush()
