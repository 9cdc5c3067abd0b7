"""Erasure, which permanently deletes an address and everything that leads to it, but keeps what prevents its return.

It's used by the person's own page, by admins, and when the unsubscribe log is merged after a restore.
"""

from collections.abc import Callable, Mapping
from datetime import datetime

from sqlalchemy.orm import Session

from subscribers.address import Address
from subscribers.consent import disclosures, ledger, suppression
from subscribers.consent.ledger import ERASED_ROWS_FIELD
from subscribers.consent.personal_data import clear_all_personal_data
from subscribers.consent.unsubscribe_log import PendingUnsubscribeLogEntry, UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.signup import request_queue
from subscribers.store import people
from subscribers.store.models import EMPTIED_STATES, ConsentKind, Person

# A function that erases a person elsewhere (deliveries, the provider) in the same transaction, while
# the address is still known. It returns the number of sealed rows that lost their salt, by table.
ErasureCallback = Callable[[Session, int, Address | None], Mapping[str, int]]


def erase_person(
    session: Session,
    keys: KeyRing,
    unsubscribe_log: UnsubscribeLog,
    number: int,
    *,
    method: str,
    forget_elsewhere: ErasureCallback,
    now: datetime,
    address: Address | None = None,
) -> bool:
    """Erase a person. Return True unless they were erased earlier or don't exist.

    Their chain, which contains no address, and the suppression hash remain. The suppression needs
    the address once more, from the vault or from the caller. If the address was deleted (30 days
    after unsubscribing) or can't be decrypted, and the caller doesn't know it either, the lookup
    hash remains as the suppression.

    `session` is a write transaction. The caller commits before answering. `method` says how
    ("page", "admin: reason") and doesn't contain an address. `address` is the person's address, if
    the caller has it.

    Raises:
        OSError: the unsubscribe log couldn't be written.
    """
    unlocked = session.get(Person, number)
    if unlocked is None or unlocked.state in EMPTIED_STATES:
        return False
    # Lock deliveries before people, as for events (`digest.deliver.events.event_processor`),
    # because another order could cause a deadlock.
    released = dict(forget_elsewhere(session, number, people.decrypt_person_address(keys, unlocked) or address))
    person = ledger.lock_person(session, number)
    if person is None or person.state in EMPTIED_STATES:
        return False
    full_address = people.decrypt_person_address(keys, person) or address
    if full_address is not None:
        request_queue.delete_requests_from(session, keys, full_address)
        hashes = suppression.hash_address(session, keys, full_address)
        suppression.suppress_hashes(session, hashes.suppressions, "erased", now)
    released |= disclosures.detach_disclosures(session, number)
    ledger.append_event(session, person, ConsentKind.ERASED, _describe_erasure(method, released), now)
    unsubscribe_log.append(PendingUnsubscribeLogEntry.of_person(person, "erased"), at=now)
    clear_all_personal_data(session, [number], keep_lookup=full_address is None, now=now)
    return True


def _describe_erasure(method: str, released: Mapping[str, int]) -> dict[str, object]:
    """Return the event's body: the method, and the number of sealed rows that no longer have a person.

    The number is used for verification.
    """
    sealed = {table: rows for table, rows in sorted(released.items()) if rows}
    return {"method": method} | ({ERASED_ROWS_FIELD: sealed} if sealed else {})
