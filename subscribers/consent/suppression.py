"""Addresses that are not to be mailed, as keyed hashes: they outlive the person's row and stop a later import."""

from datetime import datetime
from typing import Literal

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from subscribers.address import Address, read_address
from subscribers.consent import ledger
from subscribers.consent.departure_log import DepartureKind, DepartureLog, PendingDeparture
from subscribers.crypto.keys import (
    KeyRing,
    decrypt_address,
    departure_hash,
    lookup_hash,
    suppression_hash,
    suppression_hashes,
)
from subscribers.store import people
from subscribers.store.models import ConsentKind, Person, PersonState, Suppression

SuppressionReason = Literal["bounced", "complained", "erased", "left elsewhere", "by an admin"]

DEPARTURE_KINDS: dict[SuppressionReason, DepartureKind] = {
    "complained": "complained",
    "by an admin": "barred",
    "erased": "erased",
    "bounced": "bounced",
    "left elsewhere": "left",
}  # what the journal calls each reason, the gravest first
_REASONS_BY_GRAVITY = tuple(DEPARTURE_KINDS)


def find_suppression(session: Session, keys: KeyRing, address: Address) -> Suppression | None:
    """Say whether, and why, an address is suppressed, by whichever key its row was made with.

    After a restore there may be two rows, one of them by the journal's hash: then the graver reason counts.
    """
    query = select(Suppression).where(
        tuple_(Suppression.hash, Suppression.key_id).in_(suppression_hashes(keys, address))
    )
    rows = session.scalars(query.order_by(Suppression.id))
    return min(rows, key=lambda row: reason_gravity(row.reason), default=None)


def reason_gravity(reason: str) -> int:
    """Give the place of a reason among all, 0 for the gravest; one that was lifted comes last."""
    return next((place for place, known in enumerate(_REASONS_BY_GRAVITY) if known == reason), len(_REASONS_BY_GRAVITY))


def suppress_address(
    session: Session,
    keys: KeyRing,
    address: Address,
    *,
    reason: SuppressionReason,
    actor: str,
    now: datetime,
    departure_log: DepartureLog,
) -> None:
    """Suppress an address, and the person behind it if there is one. Doing it twice changes nothing.

    A graver reason takes the place of what was there: a complaint outweighs all. What is new goes into the journal
    before the caller commits, and the caller answers only after that (see `leaving.leave`).

    Raises:
        OSError: the journal could not be written.
    """
    departed = suppress_without_log(session, keys, address, reason=reason, actor=actor, now=now)
    departure_log.append_all([departed] if departed else [], at=now)


def suppress_without_log(
    session: Session, keys: KeyRing, address: Address, *, reason: SuppressionReason, actor: str, now: datetime
) -> PendingDeparture | None:
    """Do what `suppress_address` does, but for the journal: who calls this writes into it what this gives, many at once."""
    there = find_suppression(session, keys, address)
    key = keys.current("suppression")
    raised = _store_suppression(session, there, suppression_hash(key, address), key.id, reason, now)
    number = people.find_person_number(session, keys, address)
    person = ledger.lock_person(session, number) if number else None
    moved = person is not None and _record_suppression(session, person, reason, actor, graver=raised, now=now)
    if person is not None and person.lookup and person.lookup_key:
        named = person.lookup, person.lookup_key
    else:
        named = lookup_hash(keys, address), keys.current("lookup").id
    return PendingDeparture(*named, DEPARTURE_KINDS[reason]) if raised or moved else None


def suppress_person(
    session: Session, keys: KeyRing, person: Person, *, reason: SuppressionReason, actor: str, now: datetime
) -> PendingDeparture | None:
    """Do to somebody who is held (`ledger.lock_person`) what `suppress_without_log` does to an address.

    Where the vault let their address go, they are barred by the hash that the journal knows them by.

    Raises:
        DecryptionError: the sealed address does not open.
    """
    if person.ciphertext is not None and person.key_id is not None:
        address = read_address(decrypt_address(keys, (person.ciphertext, person.key_id), person.number))
        return suppress_without_log(session, keys, address, reason=reason, actor=actor, now=now)
    raised = False
    if person.lookup is not None:
        key = keys.current("suppression")
        raised = suppress_hash(session, departure_hash(key, person.lookup), key.id, reason, now)
    moved = _record_suppression(session, person, reason, actor, graver=raised, now=now)
    if not (raised or moved) or person.lookup is None or person.lookup_key is None:
        return None
    return PendingDeparture(person.lookup, person.lookup_key, DEPARTURE_KINDS[reason])


def suppress_hash(session: Session, address_hash: str, key_id: str, reason: SuppressionReason, now: datetime) -> bool:
    """Bar an address of which only a hash is known; say whether that is new, or graver than before."""
    same = select(Suppression).where(Suppression.hash == address_hash, Suppression.key_id == key_id)
    return _store_suppression(session, session.scalar(same), address_hash, key_id, reason, now)


def _store_suppression(
    session: Session,
    existing: Suppression | None,
    address_hash: str,
    key_id: str,
    reason: SuppressionReason,
    now: datetime,
) -> bool:
    if existing is None:
        session.add(Suppression(hash=address_hash, key_id=key_id, reason=reason, at=now))
    elif reason_gravity(reason) < reason_gravity(existing.reason):
        existing.reason, existing.at = reason, now
    else:
        return False
    session.flush()
    return True


def _record_suppression(
    session: Session, person: Person, reason: SuppressionReason, actor: str, *, graver: bool, now: datetime
) -> bool:
    """Write into a person's chain that they are suppressed; a complaint also where something lighter did that before."""
    complaint = reason == "complained"
    settled = {PersonState.ERASED} if complaint and graver else {PersonState.ERASED, PersonState.SUPPRESSED}
    if person.state in settled:
        return False
    kind = ConsentKind.COMPLAINED if complaint else ConsentKind.SUPPRESSED
    ledger.append_event(session, person, kind, {"reason": reason, "actor": actor}, now)
    return True


# Stands in place of a reason that an admin has lifted: not mailed yet, but asked when a form comes.
ALLOWED_AGAIN = "may ask again"


def allow_signup(session: Session, keys: KeyRing, address: Address) -> bool:
    """Let somebody who complained, or whom an admin barred, sign up again by their own form and confirmation.

    Nobody is on the list by this: the suppression stays until they confirm. False: the address is not suppressed.
    """
    named = tuple_(Suppression.hash, Suppression.key_id).in_(suppression_hashes(keys, address))
    rows = list(session.scalars(select(Suppression).where(named)))
    for row in rows:
        row.reason = ALLOWED_AGAIN
    return bool(rows)
