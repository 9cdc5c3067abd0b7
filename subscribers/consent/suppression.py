"""The suppression list: keyed hashes of addresses that must not be emailed.

They're kept even if the person's row isn't, and block imports. Rows are only appended, so that a
seal can cover them. For each address, the rows since its suppression was last lifted count. Of
these, the gravest reason is in effect or, if an admin allowed a sign-up, the gravest one since then.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import compress
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from subscribers.address import Address
from subscribers.consent import ledger
from subscribers.consent.unsubscribe_log import PendingUnsubscribeLogEntry, UnsubscribeLog, UnsubscribeLogEntryKind
from subscribers.crypto import stored_addresses
from subscribers.crypto.keys import KeyRing
from subscribers.crypto.stored_addresses import AddressHashes, is_adopted_key_id, make_departure_hash
from subscribers.store import people
from subscribers.store.adopted_keys import list_suppression_keys, load_key_sets
from subscribers.store.compiled_statements import build_any_hash_condition, insert_many
from subscribers.store.models import EMPTIED_STATES, ConsentKind, Person, PersonState, Suppression, table_of

SuppressionReason = Literal["bounced", "complained", "complaint by mail", "erased", "left elsewhere", "by an admin"]
# All hashes of one address, each with the ID of its key (`AddressHashes.suppressions`).
SuppressionHashes = Sequence[tuple[str, str]]

# The kind in the unsubscribe log for each reason, gravest first.
DEPARTURE_KINDS: dict[SuppressionReason, UnsubscribeLogEntryKind] = {
    "complained": "complained",
    "by an admin": "barred",
    "complaint by mail": "complained by mail",
    "erased": "erased",
    "bounced": "bounced",
    "left elsewhere": "left",
}
# A complaint by email can be forged by anyone to whom one of our emails was forwarded, so it ends
# when the subscriber consents again.
COMPLAINT_REASONS: frozenset[SuppressionReason] = frozenset({"complained", "complaint by mail"})
# This replaces a reason that was lifted by an admin. The address isn't emailed, but its owner is
# asked to confirm after a sign-up.
ALLOWED_AGAIN = "may ask again"
# This ends the suppression, because the owner has consented again.
LIFTED = "lifted"
_REASONS_BY_GRAVITY: tuple[str, ...] = (*DEPARTURE_KINDS, ALLOWED_AGAIN)


def rank_reason(reason: str) -> int:
    """Return the rank of a reason, which is 0 for the gravest one.

    An empty reason ranks last.
    """
    return _REASONS_BY_GRAVITY.index(reason) if reason in _REASONS_BY_GRAVITY else len(_REASONS_BY_GRAVITY)


def parse_reason(reason: str) -> SuppressionReason:
    """Return a stored reason as a suppression reason.

    A reason that was lifted by an admin becomes the mildest one.
    """
    return next((each for each in DEPARTURE_KINDS if each == reason), "left elsewhere")


def outweighs_reason(reason: str, current_reason: str) -> bool:
    """Return True if a reason is graver than the current one."""
    return rank_reason(reason) < rank_reason(current_reason)


def hash_addresses(session: Session, keys: KeyRing, addresses: Iterable[Address]) -> list[AddressHashes]:
    """Return all hashes by which each address may be suppressed, whether here or in adopted files.

    Always use this function for computing them.

    Raises:
        DecryptionError: adopted keys are damaged.
    """
    adopted = list_suppression_keys(load_key_sets(session, keys))
    return stored_addresses.hash_addresses(keys, addresses, adopted)


def hash_address(session: Session, keys: KeyRing, address: Address) -> AddressHashes:
    """Return all hashes by which an address may be suppressed."""
    return hash_addresses(session, keys, (address,))[0]


def find_suppression(session: Session, keys: KeyRing, address: Address) -> Suppression | None:
    """Return the suppression of an address, found with any key, or None if it isn't suppressed."""
    return find_suppressions(session, [hash_address(session, keys, address).suppressions])[0]


def find_suppressions(session: Session, addresses: Sequence[SuppressionHashes]) -> list[Suppression | None]:
    """Return the row in effect for each address (at most 1,000), or None if it isn't suppressed."""
    return [find_effective_row(rows) for rows in list_suppression_rows(session, addresses)]


def list_suppression_rows(session: Session, addresses: Sequence[SuppressionHashes]) -> list[list[Suppression]]:
    """Return all rows for each address (at most 1,000), oldest first.

    After a restore, rows may also have hashes of the unsubscribe log. They count like the others.
    """
    positions = {pair: position for position, pairs in enumerate(addresses) for pair in pairs}
    hashes_by_key: dict[str, list[str]] = {}
    for address_hash, key_id in positions:
        hashes_by_key.setdefault(key_id, []).append(address_hash)
    rows: list[Suppression] = []
    for key_id, hashes in hashes_by_key.items():
        query = select(Suppression).where(
            build_any_hash_condition(session, Suppression.hash, hashes), Suppression.key_id == key_id
        )
        rows += session.scalars(query)
    by_address: list[list[Suppression]] = [[] for _ in addresses]
    for row in sorted(rows, key=lambda row: row.id):
        by_address[positions[row.hash, row.key_id]].append(row)
    return by_address


def find_effective_row(rows: Iterable[Suppression]) -> Suppression | None:
    """Return the row in effect among an address's rows, or None if the address isn't suppressed.

    The rows must be ordered by age, oldest first. Rows from adopted files are ignored if they're
    older than an admin's permission to sign up.
    """
    counting: Suppression | None = None
    allowed: Suppression | None = None
    for row in rows:
        if row.reason == LIFTED:
            counting = None
        elif row.reason == ALLOWED_AGAIN:
            counting = allowed = row
        elif allowed is not None and is_adopted_key_id(row.key_id) and row.at < allowed.at:
            continue
        elif counting is None or outweighs_reason(row.reason, counting.reason):
            counting = row
    return counting


def store_suppressions(
    session: Session, requested: Sequence[tuple[SuppressionHashes, SuppressionReason]], now: datetime
) -> list[bool]:
    """Suppress addresses (at most 1,000), and return whether each one was changed.

    Addresses that are already suppressed for as grave a reason aren't changed.
    """
    current_rows = find_suppressions(session, [hashes for hashes, _ in requested])
    changed = [
        current is None or outweighs_reason(reason, current.reason)
        for (_, reason), current in zip(requested, current_rows, strict=True)
    ]
    _append_rows(session, compress(requested, changed), now)
    return changed


def _append_rows(
    session: Session,
    rows: Iterable[tuple[SuppressionHashes, str]],
    now: datetime,
) -> None:
    """Append rows, each with the last of its address's hashes."""
    values = [{"hash": hashes[-1][0], "key_id": hashes[-1][1], "reason": reason, "at": now} for hashes, reason in rows]
    if values:
        insert_many(session, table_of(Suppression), values)


def suppress_hashes(session: Session, hashes: SuppressionHashes, reason: SuppressionReason, now: datetime) -> bool:
    """Suppress an address, given its hashes, without changing any person's row, and return True if anything changed."""
    return store_suppressions(session, [(hashes, reason)], now)[0]


def suppress_address(
    session: Session,
    keys: KeyRing,
    address: Address,
    *,
    reason: SuppressionReason,
    actor: str,
    now: datetime,
    unsubscribe_log: UnsubscribeLog,
    method: str = "",
) -> bool:
    """Suppress an address, along with its person if there is one, and return True if anything changed.

    `method` says how and why, for the person's chain, and doesn't contain an address. Changes are
    written to the unsubscribe log before the caller commits. The caller answers only afterward (see
    `lifecycle.unsubscribe`).

    Raises:
        OSError: the unsubscribe log couldn't be written.
    """
    departure = suppress_without_unsubscribe_log(
        session, keys, address, reason=reason, actor=actor, now=now, method=method
    )
    unsubscribe_log.append(departure, at=now)
    return departure is not None


def suppress_without_unsubscribe_log(
    session: Session,
    keys: KeyRing,
    address: Address,
    *,
    reason: SuppressionReason,
    actor: str,
    now: datetime,
    method: str = "",
) -> PendingUnsubscribeLogEntry | None:
    """Suppress an address as `suppress_address` does.

    Return the entry that the caller has to write to the unsubscribe log, or None if nothing changed.
    """
    hashes = hash_address(session, keys, address)
    raised = suppress_hashes(session, hashes.suppressions, reason, now)
    number = people.find_person_number(session, keys, address)
    person = ledger.lock_person(session, number) if number else None
    cause = {"reason": reason, "actor": actor} | ({"method": method} if method else {})
    recorded = person is not None and _record_suppression(session, person, reason, cause, is_graver=raised, now=now)
    if not (raised or recorded):
        return None
    kind = DEPARTURE_KINDS[reason]
    own = PendingUnsubscribeLogEntry.of_person(person, kind) if person is not None else None
    return own or PendingUnsubscribeLogEntry(hashes.lookup, hashes.lookup_key, kind)


def suppress_person(
    session: Session,
    keys: KeyRing,
    person: Person,
    *,
    reason: SuppressionReason,
    actor: str,
    now: datetime,
    method: str = "",
) -> PendingUnsubscribeLogEntry | None:
    """Suppress a locked person (see `ledger.lock_person`) as `suppress_without_unsubscribe_log` does an address.

    If their address was deleted or can't be decrypted, their hash in the unsubscribe log is suppressed.
    """
    address = people.decrypt_person_address(keys, person)
    if address is not None:
        return suppress_without_unsubscribe_log(
            session, keys, address, reason=reason, actor=actor, now=now, method=method
        )
    raised = False
    if person.lookup is not None:
        key = keys.current("suppression")
        raised = suppress_hashes(session, [(make_departure_hash(key, person.lookup), key.id)], reason, now)
    cause = {"reason": reason, "actor": actor} | ({"method": method} if method else {})
    recorded = _record_suppression(session, person, reason, cause, is_graver=raised, now=now)
    return PendingUnsubscribeLogEntry.of_person(person, DEPARTURE_KINDS[reason]) if raised or recorded else None


def _record_suppression(
    session: Session,
    person: Person,
    reason: SuppressionReason,
    cause: dict[str, str],
    *,
    is_graver: bool,
    now: datetime,
) -> bool:
    """Append a suppression, or a complaint after a milder one, to a person's chain, and return True if it was added."""
    complaint = reason in COMPLAINT_REASONS
    final_states = EMPTIED_STATES if complaint and is_graver else EMPTIED_STATES | {PersonState.SUPPRESSED}
    if person.state in final_states:
        return False
    kind = ConsentKind.COMPLAINED if complaint else ConsentKind.SUPPRESSED
    ledger.append_event(session, person, kind, cause, now)
    return True


def allow_suppressed_signup(session: Session, keys: KeyRing, address: Address, *, now: datetime) -> bool:
    """Allow the owner of a suppressed address to sign up again by form and confirmation.

    The address stays suppressed until they confirm. Return False if it isn't suppressed.
    """
    return _end_suppression(session, keys, address, ALLOWED_AGAIN, now)


def lift_suppression(session: Session, keys: KeyRing, address: Address, *, now: datetime) -> None:
    """End the suppression of an address whose owner has consented again."""
    _end_suppression(session, keys, address, LIFTED, now)


def _end_suppression(
    session: Session,
    keys: KeyRing,
    address: Address,
    reason: str,
    now: datetime,
) -> bool:
    hashes = hash_address(session, keys, address).suppressions
    suppressed = find_suppressions(session, [hashes])[0] is not None
    if suppressed:
        _append_rows(session, [(hashes, reason)], now)
    return suppressed
