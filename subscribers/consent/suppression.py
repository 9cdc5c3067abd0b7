"""Addresses that are not to be mailed, as keyed hashes: they outlive the person's row and stop a later import."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from sqlalchemy import ColumnElement, delete, insert, select, tuple_, update
from sqlalchemy.orm import Session

from subscribers.address import Address
from subscribers.consent import ledger
from subscribers.consent.departure_log import DepartureKind, DepartureLog, PendingDeparture
from subscribers.crypto.keys import KeyRing
from subscribers.crypto.stored_addresses import departure_hash, hash_address
from subscribers.store import people
from subscribers.store.bulk_sql import matches_any
from subscribers.store.models import ConsentKind, Person, PersonState, Suppression

SuppressionReason = Literal["bounced", "complained", "complaint by mail", "erased", "left elsewhere", "by an admin"]
SuppressionHashes = Sequence[tuple[str, str]]
"""Every hash of one address, each with its key's id (`AddressHashes.suppressions`)."""

# What the departure log calls each reason, the gravest first.
DEPARTURE_KINDS: dict[SuppressionReason, DepartureKind] = {
    "complained": "complained",
    "by an admin": "barred",
    "complaint by mail": "complained by mail",
    "erased": "erased",
    "bounced": "bounced",
    "left elsewhere": "left",
}
# A complaint that came as a mail can be forged by whoever was forwarded one of ours: its reader's own new consent ends it.
COMPLAINT_REASONS: frozenset[SuppressionReason] = frozenset({"complained", "complaint by mail"})
# Stands in place of a reason that an admin lifted: the address is not mailed, but its owner is asked when a form comes.
ALLOWED_AGAIN = "may ask again"
_REASONS_BY_GRAVITY: tuple[str, ...] = (*DEPARTURE_KINDS, ALLOWED_AGAIN)


def reason_gravity(reason: str) -> int:
    """Return the rank of a reason, 0 for the gravest; no reason at all ("") comes last."""
    return _REASONS_BY_GRAVITY.index(reason) if reason in _REASONS_BY_GRAVITY else len(_REASONS_BY_GRAVITY)


def is_graver(reason: str, current_reason: str) -> bool:
    """Return whether a reason outweighs the current one."""
    return reason_gravity(reason) < reason_gravity(current_reason)


def find_suppression(session: Session, keys: KeyRing, address: Address) -> Suppression | None:
    """Return the suppression of an address, by whichever key it was written with; None where there is none."""
    return find_suppressions(session, [hash_address(keys, address).suppressions])[0]


def find_suppressions(session: Session, addresses: Sequence[SuppressionHashes]) -> list[Suppression | None]:
    """Return the suppression of each address (at most 1,000); None where there is none.

    After a restore an address may have two rows, one of them by the departure log's hash: the graver reason counts.
    """
    positions = {pair: position for position, pairs in enumerate(addresses) for pair in pairs}
    hashes_by_key: dict[str, list[str]] = {}
    for address_hash, key_id in positions:
        hashes_by_key.setdefault(key_id, []).append(address_hash)
    gravest: list[Suppression | None] = [None] * len(addresses)
    for key_id, hashes in hashes_by_key.items():
        query = select(Suppression).where(matches_any(session, Suppression.hash, hashes), Suppression.key_id == key_id)
        for row in session.scalars(query.order_by(Suppression.id)):
            position = positions[row.hash, row.key_id]
            current = gravest[position]
            if current is None or is_graver(row.reason, current.reason):
                gravest[position] = row
    return gravest


def store_suppressions(
    session: Session, requested: Sequence[tuple[SuppressionHashes, SuppressionReason]], now: datetime
) -> list[bool]:
    """Suppress addresses (at most 1,000); return for each whether anything changed.

    A new row is written under an address's last hash. A row that is there is changed by a graver reason only.
    """
    changed, new_rows = [], []
    current_rows = find_suppressions(session, [hashes for hashes, _ in requested])
    for (hashes, reason), current in zip(requested, current_rows, strict=True):
        changes = current is None or is_graver(reason, current.reason)
        if current is None:
            address_hash, key_id = hashes[-1]
            new_rows.append({"hash": address_hash, "key_id": key_id, "reason": reason, "at": now})
        elif changes:
            current.reason, current.at = reason, now
        changed.append(changes)
    session.flush()
    if new_rows:
        session.execute(insert(Suppression), new_rows)
    return changed


def suppress_hashes(session: Session, hashes: SuppressionHashes, reason: SuppressionReason, now: datetime) -> bool:
    """Suppress one address by its hashes, the person's row apart; return whether anything changed."""
    return store_suppressions(session, [(hashes, reason)], now)[0]


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

    What is new goes into the departure log before the caller commits, and the caller answers only after that (see
    `lifecycle.unsubscribe`).

    Raises:
        OSError: the departure log could not be written.
    """
    departure = suppress_without_log(session, keys, address, reason=reason, actor=actor, now=now)
    departure_log.append_all([departure] if departure else [], at=now)


def suppress_without_log(
    session: Session, keys: KeyRing, address: Address, *, reason: SuppressionReason, actor: str, now: datetime
) -> PendingDeparture | None:
    """Suppress an address as `suppress_address` does; the caller writes the departure that this returns to the log."""
    hashes = hash_address(keys, address)
    raised = suppress_hashes(session, hashes.suppressions, reason, now)
    number = people.find_person_number(session, keys, address)
    person = ledger.lock_person(session, number) if number else None
    recorded = person is not None and _record_suppression(session, person, reason, actor, graver=raised, now=now)
    if not (raised or recorded):
        return None
    if person is not None and person.lookup and person.lookup_key:
        return PendingDeparture(person.lookup, person.lookup_key, DEPARTURE_KINDS[reason])
    return PendingDeparture(hashes.lookup, hashes.lookup_key, DEPARTURE_KINDS[reason])


def suppress_person(
    session: Session, keys: KeyRing, person: Person, *, reason: SuppressionReason, actor: str, now: datetime
) -> PendingDeparture | None:
    """Suppress a person who is locked (`ledger.lock_person`) as `suppress_without_log` does an address.

    Where their address is not kept any more, the hash by which the departure log knows them is suppressed.

    Raises:
        DecryptionError: the address does not open.
    """
    address = people.decrypt_person_address(keys, person)
    if address is not None:
        return suppress_without_log(session, keys, address, reason=reason, actor=actor, now=now)
    raised = False
    if person.lookup is not None:
        key = keys.current("suppression")
        raised = suppress_hashes(session, [(departure_hash(key, person.lookup), key.id)], reason, now)
    recorded = _record_suppression(session, person, reason, actor, graver=raised, now=now)
    if not (raised or recorded) or person.lookup is None or person.lookup_key is None:
        return None
    return PendingDeparture(person.lookup, person.lookup_key, DEPARTURE_KINDS[reason])


def _record_suppression(
    session: Session, person: Person, reason: SuppressionReason, actor: str, *, graver: bool, now: datetime
) -> bool:
    """Append to a person's chain that they are suppressed; a complaint also where something lighter did that before."""
    complaint = reason in COMPLAINT_REASONS
    final_states = {PersonState.ERASED} if complaint and graver else {PersonState.ERASED, PersonState.SUPPRESSED}
    if person.state in final_states:
        return False
    kind = ConsentKind.COMPLAINED if complaint else ConsentKind.SUPPRESSED
    ledger.append_event(session, person, kind, {"reason": reason, "actor": actor}, now)
    return True


def allow_signup(session: Session, keys: KeyRing, address: Address) -> bool:
    """Let somebody who complained, or whom an admin suppressed, sign up again by their own form and confirmation.

    The suppression stays until they confirm. Return False where the address is not suppressed.
    """
    allowed = update(Suppression).where(_rows_of(keys, address)).values(reason=ALLOWED_AGAIN)
    return bool(session.scalars(allowed.returning(Suppression.id)).all())


def lift_suppression(session: Session, keys: KeyRing, address: Address) -> None:
    """Delete what suppresses an address: its owner gave their own new consent."""
    session.execute(delete(Suppression).where(_rows_of(keys, address)))


def _rows_of(keys: KeyRing, address: Address) -> ColumnElement[bool]:
    return tuple_(Suppression.hash, Suppression.key_id).in_(hash_address(keys, address).suppressions)
