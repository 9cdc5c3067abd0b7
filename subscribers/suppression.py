"""Addresses that are not to be mailed, as keyed hashes: they outlive the person's row and stop a later import."""

from datetime import datetime
from typing import Literal

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from subscribers import ledger, people
from subscribers.addresses import Address, read_address
from subscribers.db import ConsentKind, Person, PersonState, Suppression
from subscribers.journal import Departed, Journal, Kind
from subscribers.vault import Keys, left_hash, lookup, open_, suppression_hash, suppression_hashes

Reason = Literal["bounced", "complained", "erased", "left elsewhere", "by an admin"]

KINDS: dict[Reason, Kind] = {
    "complained": "complained",
    "by an admin": "barred",
    "erased": "erased",
    "bounced": "bounced",
    "left elsewhere": "left",
}  # what the journal calls each reason, the gravest first
_GRAVEST = tuple(KINDS)


def find(session: Session, keys: Keys, address: Address) -> Suppression | None:
    """Say whether, and why, an address is suppressed, by whichever key its row was made with.

    After a restore there may be two rows, one of them by the journal's hash: then the graver reason counts.
    """
    query = select(Suppression).where(
        tuple_(Suppression.hash, Suppression.key_id).in_(suppression_hashes(keys, address))
    )
    rows = session.scalars(query.order_by(Suppression.id))
    return min(rows, key=lambda row: gravity(row.reason), default=None)


def gravity(reason: str) -> int:
    """Give the place of a reason among all, 0 for the gravest; one that was lifted comes last."""
    return next((place for place, known in enumerate(_GRAVEST) if known == reason), len(_GRAVEST))


def suppress(
    session: Session,
    keys: Keys,
    address: Address,
    *,
    reason: Reason,
    actor: str,
    now: datetime,
    journal: Journal,
) -> None:
    """Suppress an address, and the person behind it if there is one. Doing it twice changes nothing.

    A graver reason takes the place of what was there: a complaint outweighs all. What is new goes into the journal
    before the caller commits, and the caller answers only after that (see `leaving.leave`).

    Raises:
        OSError: the journal could not be written.
    """
    departed = bar(session, keys, address, reason=reason, actor=actor, now=now)
    journal.append_all([departed] if departed else [], at=now)


def bar(
    session: Session, keys: Keys, address: Address, *, reason: Reason, actor: str, now: datetime
) -> Departed | None:
    """Do what `suppress` does, but for the journal: who calls this writes into it what this gives, many at once."""
    there = find(session, keys, address)
    key = keys.current("suppression")
    raised = _raise(session, there, suppression_hash(key, address), key.id, reason, now)
    number = people.number_of(session, keys, address)
    person = ledger.hold(session, number) if number else None
    moved = person is not None and _take_off(session, person, reason, actor, raised=raised, now=now)
    if person is not None and person.lookup and person.lookup_key:
        named = person.lookup, person.lookup_key
    else:
        named = lookup(keys, address), keys.current("lookup").id
    return Departed(*named, KINDS[reason]) if raised or moved else None


def bar_person(
    session: Session, keys: Keys, person: Person, *, reason: Reason, actor: str, now: datetime
) -> Departed | None:
    """Do to somebody who is held (`ledger.hold`) what `bar` does to an address.

    Where the vault let their address go, they are barred by the hash that the journal knows them by.

    Raises:
        VaultError: the sealed address does not open.
    """
    if person.ciphertext is not None and person.key_id is not None:
        address = read_address(open_(keys, (person.ciphertext, person.key_id), person.number))
        return bar(session, keys, address, reason=reason, actor=actor, now=now)
    raised = False
    if person.lookup is not None:
        key = keys.current("suppression")
        raised = bar_hash(session, left_hash(key, person.lookup), key.id, reason, now)
    moved = _take_off(session, person, reason, actor, raised=raised, now=now)
    if not (raised or moved) or person.lookup is None or person.lookup_key is None:
        return None
    return Departed(person.lookup, person.lookup_key, KINDS[reason])


def bar_hash(session: Session, hashed: str, key_id: str, reason: Reason, now: datetime) -> bool:
    """Bar an address of which only a hash is known; say whether that is new, or graver than before."""
    same = select(Suppression).where(Suppression.hash == hashed, Suppression.key_id == key_id)
    return _raise(session, session.scalar(same), hashed, key_id, reason, now)


def _raise(
    session: Session, there: Suppression | None, hashed: str, key_id: str, reason: Reason, now: datetime
) -> bool:
    if there is None:
        session.add(Suppression(hash=hashed, key_id=key_id, reason=reason, at=now))
    elif gravity(reason) < gravity(there.reason):
        there.reason, there.at = reason, now
    else:
        return False
    session.flush()
    return True


def _take_off(
    session: Session, person: Person, reason: Reason, actor: str, *, raised: bool, now: datetime
) -> bool:
    """Write into a person's chain that they are suppressed; a complaint also where something lighter did that before."""
    complaint = reason == "complained"
    settled = {PersonState.ERASED} if complaint and raised else {PersonState.ERASED, PersonState.SUPPRESSED}
    if person.state in settled:
        return False
    kind = ConsentKind.COMPLAINED if complaint else ConsentKind.SUPPRESSED
    ledger.append(session, person, kind, {"reason": reason, "actor": actor}, now)
    return True


# Stands in place of a reason that an admin has lifted: not mailed yet, but asked when a form comes.
ALLOWED = "may ask again"


def allow(session: Session, keys: Keys, address: Address) -> bool:
    """Let somebody who complained, or whom an admin barred, sign up again by their own form and confirmation.

    Nobody is on the list by this: the suppression stays until they confirm. False: the address is not suppressed.
    """
    named = tuple_(Suppression.hash, Suppression.key_id).in_(suppression_hashes(keys, address))
    rows = list(session.scalars(select(Suppression).where(named)))
    for row in rows:
        row.reason = ALLOWED
    return bool(rows)
